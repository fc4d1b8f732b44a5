package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/backing"
)

// Lookup finds name in a directory. A name that does not exist is remembered
// by the kernel too.
func (f *FS) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return f.inDir(in.NodeId, func(d *dirFD) error {
		err := f.lookupIn(d, name, out)
		if err == unix.ENOENT && f.opts.Timeout > 0 {
			out.NodeId = 0
			out.SetEntryTimeout(f.opts.Timeout)
			return nil
		}
		return err
	})
}

// lookupIn fills out with what d has at name and counts a reference of the
// kernel. The caller holds order.
func (f *FS) lookupIn(d *dirFD, name string, out *fuse.EntryOut) error {
	mu := f.nameLock(d.n, name)
	mu.Lock()
	defer mu.Unlock()
	_, err := f.lookupName(d, name, out)
	return err
}

// lookupName is lookupIn for a caller that holds the name's lock.
func (f *FS) lookupName(d *dirFD, name string, out *fuse.EntryOut) (*node, error) {
	st, err := f.root.Fstatat(d.fd, name)
	if err != nil {
		return nil, err
	}
	n := f.table.add(uint64(st.ID), st.Mode, d.n, name, 1)
	if st.Nlink > 1 && !n.isDir() {
		// The kernel may come by any name that it knows, also after another is
		// removed.
		if path, ok := f.table.childPath(d.n, name); ok {
			f.links.add(n.id, path)
		}
	}
	f.fillEntry(&st, out)
	return n, nil
}

func (f *FS) fillEntry(st *backing.Stat, out *fuse.EntryOut) {
	out.NodeId = uint64(st.ID)
	out.Generation = 1
	out.SetEntryTimeout(f.opts.Timeout)
	out.SetAttrTimeout(f.opts.Timeout)
	fillAttr(st, &out.Attr)
}

func fillAttr(st *backing.Stat, a *fuse.Attr) {
	a.Ino, a.Size, a.Blocks = st.Ino, uint64(st.Size), uint64(st.Blocks)
	a.Atime, a.Atimensec = uint64(st.Atim.Sec), uint32(st.Atim.Nsec)
	a.Mtime, a.Mtimensec = uint64(st.Mtim.Sec), uint32(st.Mtim.Nsec)
	a.Ctime, a.Ctimensec = uint64(st.Ctim.Sec), uint32(st.Ctim.Nsec)
	a.Mode, a.Nlink = st.Mode, uint32(st.Nlink)
	a.Uid, a.Gid = st.Uid, st.Gid
	a.Rdev, a.Blksize = uint32(st.Rdev), uint32(st.Blksize)
}

// Forget takes back references that Lookup and others counted.
func (f *FS) Forget(id, lookups uint64) { f.table.forget(id, lookups) }
