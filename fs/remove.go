package fs

import (
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// Unlink removes a name of anything but a directory.
func (f *FS) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.removeNode(in.NodeId, name, 0)
}

// Rmdir removes an empty directory.
func (f *FS) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return f.removeNode(in.NodeId, name, unix.AT_REMOVEDIR)
}

func (f *FS) removeNode(dirID uint64, name string, flags int) fuse.Status {
	return f.inName(dirID, name, func(d *dirFD) error { return f.removeIn(d, name, flags) })
}

// removeIn removes name from d. The caller holds order and the name's lock.
func (f *FS) removeIn(d *dirFD, name string, flags int) error {
	fd, st, err := f.openVictim(d, name)
	if err != nil {
		return err
	}
	mu := f.inodeLock(uint64(st.ID))
	mu.Lock()
	defer mu.Unlock()
	path, named := f.table.childPath(d.n, name)
	return f.commit(change{
		intent: intent{path: path, skip: !named},
		apply: func() error {
			err := unix.Unlinkat(d.fd, name, flags)
			if err != nil {
				unix.Close(fd)
			}
			return err
		},
		update: func() []*journal.Record {
			return f.victimGone(fd, &st, d.n, name, path)
		},
	})
}

// openVictim opens what is going to lose its name, so that it can be reached
// while the kernel still refers to it. With no descriptor to be had (fd is -1
// then) it will not be, which is better than not to remove it.
func (f *FS) openVictim(d *dirFD, name string) (fd int, st backing.Stat, err error) {
	fd, err = openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err == unix.EMFILE || err == unix.ENFILE {
		st, err = f.root.Fstatat(d.fd, name)
		return -1, st, err
	}
	if err != nil {
		return -1, st, err
	}
	if st, err = f.root.Fstat(fd); err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

// victimGone follows the removal of name from dir in table and index and says
// what to record. It takes over fd, the removed inode's. st, of before the
// removal, is brought up to date. The caller holds order and the inode's lock,
// or order exclusively.
func (f *FS) victimGone(fd int, st *backing.Stat, dir *node, name, path string) []*journal.Record {
	id := uint64(st.ID)
	var after unix.Stat_t
	if err := unix.Fstat(fd, &after); err == nil {
		st.Stat_t = after
	} else {
		st.Nlink--
	}
	last := st.Nlink == 0 || st.Mode&unix.S_IFMT == unix.S_IFDIR
	n := f.table.get(id)
	if n == nil {
		unix.Close(fd)
	} else {
		f.takeName(n, st, dir, name, path)
		f.table.setOrphan(n, fd)
		if n.isDir() {
			f.dirs.drop(n)
		}
	}
	r := &journal.Record{Kind: journal.Remove, ID: st.ID, Mode: st.Mode, Path: path, Last: last}
	return append([]*journal.Record{r}, f.removeName(n, st, path)...)
}

// takeName takes (dir, name) away from n if that is the name the table has. A
// file that has others, by which the kernel may open it at any time, goes by
// one of those from then on.
func (f *FS) takeName(n *node, st *backing.Stat, dir *node, name, path string) {
	f.links.remove(n.id, path, int(st.Nlink))
	parent, have, _ := f.table.where(n)
	if parent != dir || have != name {
		return
	}
	f.table.rename(n, nil, "")
	if st.Nlink > 0 && !n.isDir() {
		f.adoptName(n, st)
	}
}

// adoptName gives n a name from the index. Without one n stays nameless until
// it is looked up again.
func (f *FS) adoptName(n *node, st *backing.Stat) {
	for _, path := range f.verifiedNames(st, "") {
		parent, name, err := f.internParent(path)
		if err == nil {
			f.table.rename(n, parent, name)
			f.table.unpin(parent)
			return
		}
	}
}

// internParent returns the node of the directory of path, pinned, and the last
// component. Directories that the kernel does not know are put into the table.
func (f *FS) internParent(path string) (*node, string, error) {
	dir := f.table.root
	f.table.pin(dir)
	done := 0
	for {
		rest := path[done:]
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			return dir, rest, nil
		}
		st, err := f.root.Lstat(path[:done+i])
		if err != nil {
			f.table.unpin(dir)
			return nil, "", err
		}
		child := f.table.addPinned(uint64(st.ID), st.Mode, dir, rest[:i])
		f.table.unpin(dir)
		dir = child
		done += i + 1
	}
}
