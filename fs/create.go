package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

const aclDefault = "system.posix_acl_default"

// newMode is the mode to create something in d with. The kernel leaves the
// umask to us (FUSE_DONT_MASK), because it does not apply where the directory
// has a default ACL, which the backing filesystem then applies.
func (f *FS) newMode(d *dirFD, mode, umask uint32) uint32 {
	if umask == 0 || !f.noACL.Load() && f.hasDefaultACL(d) {
		return mode
	}
	return mode &^ (umask & 0o777)
}

func (f *FS) hasDefaultACL(d *dirFD) bool {
	_, err := unix.Getxattr(procPath(d.fd), aclDefault, nil)
	if err == unix.EOPNOTSUPP {
		f.noACL.Store(true)
	}
	return err == nil
}

// A making is the creation of one name.
type making struct {
	in    *fuse.InHeader
	name  string
	mode  uint32
	umask uint32
	make  func(dirfd int, mode uint32) error // the system call
}

// makeNode creates what is not opened: directory, symlink, special file.
func (f *FS) makeNode(m making, out *fuse.EntryOut) fuse.Status {
	return f.inName(m.in.NodeId, m.name, func(d *dirFD) error { return f.makeIn(d, m, out) })
}

func (f *FS) makeIn(d *dirFD, m making, out *fuse.EntryOut) (err error) {
	path, named := f.table.childPath(d.n, m.name)
	mode := f.newMode(d, m.mode, m.umask)
	var lookupErr error
	err = f.commit(change{
		intent: intent{path: path, skip: !named},
		apply: func() error {
			return f.cred.as(&m.in.Caller, func() error { return m.make(d.fd, mode) })
		},
		update: func() []*journal.Record {
			var st backing.Stat
			if st, lookupErr = f.root.Fstatat(d.fd, m.name); lookupErr != nil {
				return nil // removed behind the mount's back
			}
			f.table.add(uint64(st.ID), st.Mode, d.n, m.name, 1)
			f.fillEntry(&st, out)
			return []*journal.Record{makeRecord(&st, path)}
		},
	})
	if err == nil {
		err = lookupErr
	}
	return err
}

func makeRecord(st *backing.Stat, path string) *journal.Record {
	return &journal.Record{
		Kind: journal.Make, ID: st.ID, Mode: st.Mode, Path: path,
		Size: st.Size, Mtime: st.ModTime(), Ctime: st.ChangeTime(),
	}
}

// Mkdir makes a directory.
func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.makeNode(making{
		in: &in.InHeader, name: name, mode: in.Mode, umask: in.Umask,
		make: func(dirfd int, mode uint32) error { return unix.Mkdirat(dirfd, name, mode) },
	}, out)
}

// Mknod makes a special file, or an empty regular one.
func (f *FS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return f.makeNode(making{
		in: &in.InHeader, name: name, mode: in.Mode, umask: in.Umask,
		make: func(dirfd int, mode uint32) error { return unix.Mknodat(dirfd, name, mode, int(in.Rdev)) },
	}, out)
}

// Symlink makes a symlink.
func (f *FS) Symlink(_ <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return f.makeNode(making{
		in: in, name: name,
		make: func(dirfd int, _ uint32) error { return unix.Symlinkat(target, dirfd, name) },
	}, out)
}

// Readlink reads a symlink.
func (f *FS) Readlink(_ <-chan struct{}, in *fuse.InHeader) (target []byte, status fuse.Status) {
	n := f.table.get(in.NodeId)
	if n == nil {
		return nil, fuse.Status(unix.ESTALE)
	}
	f.order.RLock()
	defer f.order.RUnlock()
	err := f.withPath(n, func(fd int) error {
		buf := make([]byte, unix.PathMax)
		size, err := unix.Readlinkat(fd, "", buf)
		target = buf[:max(size, 0)]
		return err
	})
	return target, errno(err)
}

// Create makes a regular file and opens it.
func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return f.inName(in.NodeId, name, func(d *dirFD) error {
		h, err := f.createIn(d, in, name, &out.EntryOut)
		if err == unix.EEXIST && in.Flags&unix.O_EXCL == 0 {
			h, err = f.openExisting(d, in, name, &out.EntryOut)
		}
		if err == nil {
			f.answerOpen(h, &out.OpenOut)
		}
		return err
	})
}

// openExisting is for a file that came into being behind the mount's back.
func (f *FS) openExisting(d *dirFD, in *fuse.CreateIn, name string, out *fuse.EntryOut) (*handle, error) {
	n, err := f.lookupName(d, name, out)
	if err != nil {
		return nil, err
	}
	h, err := f.openHandle(n, in.Flags, in.OpenFlags&fuse.OPEN_KILL_SUIDGID != 0, &in.Caller)
	if err != nil {
		f.table.forget(n.id, 1)
	}
	return h, err
}

// createFlags are those to create a file with. A file that is passed through
// is opened read-only, whatever its mode says, so that our descriptor does not
// count as a writer.
func (f *FS) createFlags(flags uint32) int {
	how := int(flags) & (unix.O_ACCMODE | unix.O_LARGEFILE)
	if f.passthrough.Load() {
		how = unix.O_RDONLY
	}
	return how | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW
}

// createIn makes the file name in d, which must not exist.
func (f *FS) createIn(d *dirFD, in *fuse.CreateIn, name string, out *fuse.EntryOut) (h *handle, err error) {
	path, named := f.table.childPath(d.n, name)
	mode := f.newMode(d, in.Mode, in.Umask)
	fd := -1
	var openErr error
	err = f.commit(change{
		intent: intent{path: path, skip: !named},
		apply: func() error {
			return f.cred.as(&in.Caller, func() (err error) {
				fd, err = openat(d.fd, name, f.createFlags(in.Flags), mode)
				return err
			})
		},
		update: func() []*journal.Record {
			// The record is appended by addHandle, as for each open for writing.
			h, openErr = f.created(fd, d.n, name, in, out)
			return nil
		},
	})
	if err == nil {
		err = openErr
	}
	return h, err
}

// created makes node, open file and handle of a new file that is open as fd,
// which it takes over. dir nil: it has no name (O_TMPFILE). A file made for
// reading only is dirty for a moment, so that it is recorded like the others.
func (f *FS) created(fd int, dir *node, name string, in *fuse.CreateIn, out *fuse.EntryOut) (*handle, error) {
	st, err := f.root.Fstat(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	n := f.table.add(uint64(st.ID), st.Mode, dir, name, 1)
	h, err := f.handleOf(n, fd, in.Flags, &in.Caller)
	if err == nil {
		if err = f.addHandle(h, true, true); err != nil {
			f.dropHandle(h)
		}
	}
	if err != nil {
		f.table.forget(n.id, 1)
		return nil, err
	}
	if !h.write {
		f.publishNow(h.of)
	}
	f.fillEntry(&st, out)
	return h, nil
}

// handleOf makes the first handle of a new file. A read-only fd stays with the
// open file, which may be passed through; one that can write is the handle's.
func (f *FS) handleOf(n *node, fd int, flags uint32, opener *fuse.Caller) (h *handle, err error) {
	h = newHandle(flags)
	if how, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && mayWrite(uint32(how)) {
		h.fd = fd
		if fd, err = reopen(fd, unix.O_PATH); err != nil {
			unix.Close(h.fd)
			return nil, err
		}
	}
	if h.of, err = f.attach(n, fd, opener); err != nil || h.of.passthrough || h.fd >= 0 {
		return h, err
	}
	if h.fd, err = reopen(h.of.fd, int(flags)&unix.O_ACCMODE); err != nil {
		f.releaseOpen(h.of)
	}
	return h, err
}
