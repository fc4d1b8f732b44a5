package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// Link gives a file one more name.
func (f *FS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	n := f.table.get(in.Oldnodeid)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	return f.inName(in.NodeId, name, func(d *dirFD) error {
		return f.withPath(n, func(fd int) error {
			mu := f.inodeLock(n.id)
			mu.Lock()
			defer mu.Unlock()
			return f.linkIn(d, n, fd, name, out)
		})
	})
}

// linkIn links n, open as fd, to name in d. The caller holds order, the name's
// lock and the inode lock.
func (f *FS) linkIn(d *dirFD, n *node, fd int, name string, out *fuse.EntryOut) (err error) {
	path, named := f.table.childPath(d.n, name)
	old, hadName := f.table.path(n)
	var statErr error
	err = f.commit(change{
		intent: intent{path: path, skip: !named},
		apply: func() error {
			return unix.Linkat(unix.AT_FDCWD, procPath(fd), d.fd, name, unix.AT_SYMLINK_FOLLOW)
		},
		update: func() []*journal.Record {
			var st backing.Stat
			if st, statErr = f.fstat(n, fd); statErr != nil {
				return nil
			}
			f.table.add(n.id, st.Mode, d.n, name, 1)
			f.fillEntry(&st, out)
			if st.Nlink < 2 {
				return f.tmpfileLinked(n, &st, path)
			}
			if hadName {
				f.links.add(n.id, old)
			}
			r := makeRecord(&st, path)
			r.Links = f.otherNames(&st, path)
			return []*journal.Record{r}
		},
	})
	if err == nil {
		err = statErr
	}
	return err
}
