package fs

import (
	"strconv"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// stale turns "no such name" into "that handle is stale": the kernel then
// drops what it believes about the name and asks again (LOOKUP_REVAL).
func stale(err error) error {
	if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
		return unix.ESTALE
	}
	return err
}

func openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// procPath names an open descriptor, whatever it is of. Following it leads to
// that very inode, even for a symlink.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// reopen opens what fd, possibly O_PATH, refers to.
func reopen(fd int, flags int) (int, error) {
	return openat(unix.AT_FDCWD, procPath(fd), flags, 0)
}

// fileID is the identity of n in the backing directory, as it stands in records.
func (f *FS) fileID(n *node) journal.FileID {
	if n.id == rootNode {
		return journal.FileID(f.rootID)
	}
	return journal.FileID(n.id)
}

// fstat describes n by a descriptor that is known to be n's, which saves asking
// for its identity. The error is an errno.
func (f *FS) fstat(n *node, fd int) (st backing.Stat, err error) {
	st.ID = f.fileID(n)
	return st, unix.Fstat(fd, &st.Stat_t)
}

// verified returns fd if it is n's, else it closes fd and answers ESTALE.
func (f *FS) verified(n *node, fd int) (int, error) {
	st, err := f.root.Fstat(fd)
	if err == nil && st.ID != f.fileID(n) {
		err = unix.ESTALE
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// stat describes n. The caller holds order. The error is an errno.
func (f *FS) stat(n *node) (backing.Stat, error) {
	if of := f.acquireOpen(n); of != nil {
		defer f.releaseOpen(of)
		return f.fstat(n, of.fd)
	}
	if n.id == rootNode {
		return f.fstat(n, f.root.FD())
	}
	parent, name, orphan := f.table.where(n)
	if parent == nil {
		if orphan < 0 {
			return backing.Stat{}, unix.ESTALE
		}
		return f.fstat(n, orphan)
	}
	d, err := f.dirs.acquire(parent)
	if err != nil {
		return backing.Stat{}, err
	}
	defer d.release()
	st, err := f.root.Fstatat(d.fd, name)
	if err == nil && st.ID != f.fileID(n) {
		err = unix.ESTALE
	}
	return st, stale(err)
}

// openPath opens n with O_PATH: what is at n's name is compared with n before
// anything else is done to it. The caller holds order and closes the
// descriptor. The error is an errno.
func (f *FS) openPath(n *node) (int, error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW
	if of := f.acquireOpen(n); of != nil {
		defer f.releaseOpen(of)
		return reopen(of.fd, unix.O_PATH)
	}
	if n.id == rootNode {
		return openat(f.root.FD(), ".", flags, 0)
	}
	parent, name, orphan := f.table.where(n)
	if parent == nil {
		if orphan < 0 {
			return -1, unix.ESTALE
		}
		return unix.FcntlInt(uintptr(orphan), unix.F_DUPFD_CLOEXEC, 0)
	}
	d, err := f.dirs.acquire(parent)
	if err != nil {
		return -1, err
	}
	defer d.release()
	fd, err := openat(d.fd, name, flags, 0)
	if err != nil {
		return -1, stale(err)
	}
	return f.verified(n, fd)
}

// withPath calls fn with n's O_PATH descriptor, or a better one. The caller
// holds order.
func (f *FS) withPath(n *node, fn func(fd int) error) error {
	if of := f.acquireOpen(n); of != nil {
		defer f.releaseOpen(of)
		return fn(of.fd)
	}
	fd, err := f.openPath(n)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fn(fd)
}

// inDir calls op with directory id open and order held shared.
func (f *FS) inDir(id uint64, op func(*dirFD) error) fuse.Status {
	dir := f.table.get(id)
	if dir == nil {
		return fuse.Status(unix.ESTALE)
	}
	f.order.RLock()
	defer f.order.RUnlock()
	d, err := f.dirs.acquire(dir)
	if err != nil {
		return errno(err)
	}
	defer d.release()
	return errno(op(d))
}

// inName is inDir with the lock of name in the directory held.
func (f *FS) inName(id uint64, name string, op func(*dirFD) error) fuse.Status {
	return f.inDir(id, func(d *dirFD) error {
		mu := f.nameLock(d.n, name)
		mu.Lock()
		defer mu.Unlock()
		return op(d)
	})
}
