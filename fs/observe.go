package fs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// observed measures each request. What the kernel does not wait for (FORGET)
// and what is not served (locks) it leaves out.
type observed struct {
	fuse.RawFileSystem
	fs   *FS
	done func(op string, took time.Duration)
}

func (o *observed) since(op string, start time.Time) { o.done(op, time.Since(start)) }

func (o *observed) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	defer o.since("lookup", time.Now())
	return o.fs.Lookup(cancel, header, name, out)
}

func (o *observed) GetAttr(cancel <-chan struct{}, input *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer o.since("getattr", time.Now())
	return o.fs.GetAttr(cancel, input, out)
}

func (o *observed) SetAttr(cancel <-chan struct{}, input *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer o.since("setattr", time.Now())
	return o.fs.SetAttr(cancel, input, out)
}

func (o *observed) Mknod(cancel <-chan struct{}, input *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	defer o.since("mknod", time.Now())
	return o.fs.Mknod(cancel, input, name, out)
}

func (o *observed) Mkdir(cancel <-chan struct{}, input *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	defer o.since("mkdir", time.Now())
	return o.fs.Mkdir(cancel, input, name, out)
}

func (o *observed) Unlink(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	defer o.since("unlink", time.Now())
	return o.fs.Unlink(cancel, header, name)
}

func (o *observed) Rmdir(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	defer o.since("rmdir", time.Now())
	return o.fs.Rmdir(cancel, header, name)
}

func (o *observed) Rename(cancel <-chan struct{}, input *fuse.RenameIn, oldName string, newName string) fuse.Status {
	defer o.since("rename", time.Now())
	return o.fs.Rename(cancel, input, oldName, newName)
}

func (o *observed) Link(cancel <-chan struct{}, input *fuse.LinkIn, filename string, out *fuse.EntryOut) fuse.Status {
	defer o.since("link", time.Now())
	return o.fs.Link(cancel, input, filename, out)
}

func (o *observed) Symlink(cancel <-chan struct{}, header *fuse.InHeader, pointedTo string, linkName string, out *fuse.EntryOut) fuse.Status {
	defer o.since("symlink", time.Now())
	return o.fs.Symlink(cancel, header, pointedTo, linkName, out)
}

func (o *observed) Readlink(cancel <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	defer o.since("readlink", time.Now())
	return o.fs.Readlink(cancel, header)
}

func (o *observed) GetXAttr(cancel <-chan struct{}, header *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	defer o.since("getxattr", time.Now())
	return o.fs.GetXAttr(cancel, header, attr, dest)
}

func (o *observed) ListXAttr(cancel <-chan struct{}, header *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	defer o.since("listxattr", time.Now())
	return o.fs.ListXAttr(cancel, header, dest)
}

func (o *observed) SetXAttr(cancel <-chan struct{}, input *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	defer o.since("setxattr", time.Now())
	return o.fs.SetXAttr(cancel, input, attr, data)
}

func (o *observed) RemoveXAttr(cancel <-chan struct{}, header *fuse.InHeader, attr string) fuse.Status {
	defer o.since("removexattr", time.Now())
	return o.fs.RemoveXAttr(cancel, header, attr)
}

func (o *observed) Create(cancel <-chan struct{}, input *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	defer o.since("create", time.Now())
	return o.fs.Create(cancel, input, name, out)
}

func (o *observed) Tmpfile(cancel <-chan struct{}, input *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	defer o.since("tmpfile", time.Now())
	return o.fs.Tmpfile(cancel, input, out)
}

func (o *observed) Open(cancel <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer o.since("open", time.Now())
	return o.fs.Open(cancel, input, out)
}

func (o *observed) Read(cancel <-chan struct{}, input *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	defer o.since("read", time.Now())
	return o.fs.Read(cancel, input, buf)
}

func (o *observed) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	defer o.since("lseek", time.Now())
	return o.fs.Lseek(cancel, in, out)
}

func (o *observed) Release(cancel <-chan struct{}, input *fuse.ReleaseIn) {
	defer o.since("release", time.Now())
	o.fs.Release(cancel, input)
}

func (o *observed) Write(cancel <-chan struct{}, input *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	defer o.since("write", time.Now())
	return o.fs.Write(cancel, input, data)
}

func (o *observed) CopyFileRange(cancel <-chan struct{}, input *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	defer o.since("copy_file_range", time.Now())
	return o.fs.CopyFileRange(cancel, input)
}

func (o *observed) Flush(cancel <-chan struct{}, input *fuse.FlushIn) fuse.Status {
	defer o.since("flush", time.Now())
	return o.fs.Flush(cancel, input)
}

func (o *observed) Fsync(cancel <-chan struct{}, input *fuse.FsyncIn) fuse.Status {
	defer o.since("fsync", time.Now())
	return o.fs.Fsync(cancel, input)
}

func (o *observed) Fallocate(cancel <-chan struct{}, input *fuse.FallocateIn) fuse.Status {
	defer o.since("fallocate", time.Now())
	return o.fs.Fallocate(cancel, input)
}

func (o *observed) OpenDir(cancel <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer o.since("opendir", time.Now())
	return o.fs.OpenDir(cancel, input, out)
}

func (o *observed) ReadDir(cancel <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	defer o.since("readdir", time.Now())
	return o.fs.ReadDir(cancel, input, out)
}

func (o *observed) ReadDirPlus(cancel <-chan struct{}, input *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	defer o.since("readdirplus", time.Now())
	return o.fs.ReadDirPlus(cancel, input, out)
}

func (o *observed) FsyncDir(cancel <-chan struct{}, input *fuse.FsyncIn) fuse.Status {
	defer o.since("fsyncdir", time.Now())
	return o.fs.FsyncDir(cancel, input)
}

func (o *observed) StatFs(cancel <-chan struct{}, input *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	defer o.since("statfs", time.Now())
	return o.fs.StatFs(cancel, input, out)
}

func (o *observed) Statx(cancel <-chan struct{}, input *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	defer o.since("statx", time.Now())
	return o.fs.Statx(cancel, input, out)
}
