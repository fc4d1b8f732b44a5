package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"closefs/fs/journal"
)

// What this package implements, proved by the compiler.
var (
	_ fuse.RawFileSystem = (*FS)(nil)
	_ fuse.RawFileSystem = (*observed)(nil)
	_ Journal            = (*journal.Journal)(nil)
	_ error              = (*BusyError)(nil)

	_ served = (*FS)(nil)
)

// served are the requests that FS answers itself. The others get ENOSYS from
// the embedded default, which makes the kernel do without: Access
// (default_permissions), GetLk, SetLk and SetLkw (locks are the kernel's own),
// Writev.
type served interface {
	Lookup(<-chan struct{}, *fuse.InHeader, string, *fuse.EntryOut) fuse.Status
	Forget(uint64, uint64)
	GetAttr(<-chan struct{}, *fuse.GetAttrIn, *fuse.AttrOut) fuse.Status
	SetAttr(<-chan struct{}, *fuse.SetAttrIn, *fuse.AttrOut) fuse.Status
	Mknod(<-chan struct{}, *fuse.MknodIn, string, *fuse.EntryOut) fuse.Status
	Mkdir(<-chan struct{}, *fuse.MkdirIn, string, *fuse.EntryOut) fuse.Status
	Unlink(<-chan struct{}, *fuse.InHeader, string) fuse.Status
	Rmdir(<-chan struct{}, *fuse.InHeader, string) fuse.Status
	Rename(<-chan struct{}, *fuse.RenameIn, string, string) fuse.Status
	Link(<-chan struct{}, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status
	Symlink(<-chan struct{}, *fuse.InHeader, string, string, *fuse.EntryOut) fuse.Status
	Readlink(<-chan struct{}, *fuse.InHeader) ([]byte, fuse.Status)
	GetXAttr(<-chan struct{}, *fuse.InHeader, string, []byte) (uint32, fuse.Status)
	ListXAttr(<-chan struct{}, *fuse.InHeader, []byte) (uint32, fuse.Status)
	SetXAttr(<-chan struct{}, *fuse.SetXAttrIn, string, []byte) fuse.Status
	RemoveXAttr(<-chan struct{}, *fuse.InHeader, string) fuse.Status
	Create(<-chan struct{}, *fuse.CreateIn, string, *fuse.CreateOut) fuse.Status
	Tmpfile(<-chan struct{}, *fuse.CreateIn, *fuse.CreateOut) fuse.Status
	Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status
	Read(<-chan struct{}, *fuse.ReadIn, []byte) (fuse.ReadResult, fuse.Status)
	Write(<-chan struct{}, *fuse.WriteIn, []byte) (uint32, fuse.Status)
	Lseek(<-chan struct{}, *fuse.LseekIn, *fuse.LseekOut) fuse.Status
	Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status
	Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status
	Fallocate(<-chan struct{}, *fuse.FallocateIn) fuse.Status
	CopyFileRange(<-chan struct{}, *fuse.CopyFileRangeIn) (uint32, fuse.Status)
	Release(<-chan struct{}, *fuse.ReleaseIn)
	OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status
	ReadDir(<-chan struct{}, *fuse.ReadIn, *fuse.DirEntryList) fuse.Status
	ReadDirPlus(<-chan struct{}, *fuse.ReadIn, *fuse.DirEntryList) fuse.Status
	ReleaseDir(*fuse.ReleaseIn)
	FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status
	Statx(<-chan struct{}, *fuse.StatxIn, *fuse.StatxOut) fuse.Status
	StatFs(<-chan struct{}, *fuse.InHeader, *fuse.StatfsOut) fuse.Status
	Ioctl(<-chan struct{}, *fuse.IoctlIn, []byte, *fuse.IoctlOut, []byte) fuse.Status
}
