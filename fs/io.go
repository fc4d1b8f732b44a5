package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// file returns the handle of a regular file, or nil.
func (f *FS) file(fh uint64) *handle {
	if h := f.handles.get(fh); h != nil && h.of != nil {
		return h
	}
	return nil
}

// Read serves a file that is not passed through.
func (f *FS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h := f.file(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	fd := h.fd
	if fd < 0 {
		fd = h.of.fd
	}
	return fuse.ReadResultFd(uintptr(fd), int64(in.Offset), len(buf)), fuse.OK
}

// Write serves a file that is not passed through, with the writer's credentials
// (see asWriter). An append goes to the end
// that the backing file has now, whatever the kernel believes it is; what the
// kernel writes back from its page cache (mapped pages) goes where it was.
func (f *FS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h := f.file(in.Fh)
	if h == nil || h.fd < 0 {
		return 0, fuse.EBADF
	}
	how := 0
	if in.Flags&unix.O_APPEND != 0 && in.WriteFlags&fuse.WRITE_CACHE == 0 {
		how = unix.RWF_APPEND
	}
	h.wrote()
	n := 0
	err := f.cred.asWriter(&in.Caller, func() (err error) {
		n, err = unix.Pwritev2(h.fd, [][]byte{data}, int64(in.Offset), how)
		return err
	})
	if err == nil && in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		err = f.clearSuid(h.fd)
	}
	h.wrote()
	return uint32(max(n, 0)), errno(err)
}

// wrote notes that the file changes through h. It is called before, so that a
// publication meanwhile does not call the file unmodified, and after, so that
// one that described the file meanwhile is not the last.
func (h *handle) wrote() {
	h.of.modified.Store(true)
	h.flushed.Store(false)
}

// Flush comes once per close(2) of a handle for writing that is not passed
// through; the close waits for it. See Settle.
func (f *FS) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	if h := f.file(in.Fh); h != nil {
		h.flushed.Store(true)
	}
	return fuse.OK
}

// Lseek finds data and holes.
func (f *FS) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	h := f.handles.get(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	if h.dir != nil {
		return fuse.ENOSYS
	}
	return errno(h.withFD(false, func(fd int) error {
		n, err := unix.Seek(fd, int64(in.Offset), int(in.Whence))
		out.Offset = uint64(n)
		return err
	}))
}

const fsyncDataOnly = 1 // FsyncIn.FsyncFlags: fdatasync(2)

// Fsync makes the journal durable first and then the file: what the
// application knows to be on disk is shipped even after a power cut.
func (f *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := f.file(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	if err := f.journal.Sync(); err != nil {
		return errno(err)
	}
	return errno(h.withFD(false, func(fd int) error {
		if in.FsyncFlags&fsyncDataOnly != 0 {
			return unix.Fdatasync(fd)
		}
		return unix.Fsync(fd)
	}))
}

// Fallocate changes what is allocated of a file.
func (f *FS) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h := f.file(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	h.wrote()
	defer h.wrote()
	return errno(h.withFD(true, func(fd int) error {
		return f.cred.asWriter(&in.Caller, func() error {
			return unix.Fallocate(fd, in.Mode, int64(in.Offset), int64(in.Length))
		})
	}))
}

// CopyFileRange copies inside the backing directory, sharing blocks where the
// filesystem can.
func (f *FS) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	src, dst := f.file(in.FhIn), f.file(in.FhOut)
	if src == nil || dst == nil {
		return 0, fuse.EBADF
	}
	dst.wrote()
	defer dst.wrote()
	// The answer has 32 bits; the caller goes on after a short copy.
	size := int(min(in.Len, 1<<30))
	copied := 0
	err := src.withFD(false, func(from int) error {
		return dst.withFD(true, func(to int) error {
			offIn, offOut := int64(in.OffIn), int64(in.OffOut)
			return f.cred.asWriter(&in.Caller, func() (err error) {
				copied, err = unix.CopyFileRange(from, &offIn, to, &offOut, size, int(in.Flags))
				return err
			})
		})
	})
	return uint32(max(copied, 0)), errno(err)
}

// Ioctl is refused, as by a filesystem that has none.
func (f *FS) Ioctl(_ <-chan struct{}, _ *fuse.IoctlIn, _ []byte, _ *fuse.IoctlOut, _ []byte) fuse.Status {
	return fuse.Status(unix.ENOTTY)
}

// StatFs describes the backing filesystem.
func (f *FS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	var st unix.Statfs_t
	if err := unix.Fstatfs(f.root.FD(), &st); err != nil {
		return errno(err)
	}
	out.Blocks, out.Bfree, out.Bavail = st.Blocks, st.Bfree, st.Bavail
	out.Files, out.Ffree = st.Files, st.Ffree
	out.Bsize, out.Frsize, out.NameLen = uint32(st.Bsize), uint32(st.Frsize), uint32(st.Namelen)
	return fuse.OK
}
