package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// GetAttr describes a node.
func (f *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.table.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	f.order.RLock()
	defer f.order.RUnlock()
	st, err := f.stat(n)
	if err != nil {
		return errno(err)
	}
	fillAttr(&st, &out.Attr)
	out.SetTimeout(f.opts.Timeout)
	return fuse.OK
}

// SetAttr changes mode, owner, size and times.
func (f *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.table.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	f.order.RLock()
	defer f.order.RUnlock()
	err := f.withPath(n, func(fd int) error {
		mu := f.inodeLock(n.id)
		mu.Lock()
		defer mu.Unlock()
		st, err := f.setAttr(n, fd, &in.SetAttrInCommon)
		fillAttr(&st, &out.Attr)
		return err
	})
	out.SetTimeout(f.opts.Timeout)
	return errno(err)
}

// setAttr applies in to n, which is open as fd, and returns what n is
// afterwards. The caller holds order and the inode lock.
func (f *FS) setAttr(n *node, fd int, in *fuse.SetAttrInCommon) (st backing.Stat, err error) {
	size, resize := in.GetSize()
	path, named := f.table.path(n)
	if resize {
		return f.resize(n, fd, int64(size), in)
	}
	err = f.commit(change{
		intent: intent{path: path, skip: !named},
		apply:  func() error { return f.applyAttr(fd, in) },
		update: func() []*journal.Record {
			if st, err = f.fstat(n, fd); err != nil || !named || st.Nlink == 0 || onlyAtime(in) {
				return nil
			}
			return []*journal.Record{f.attrRecord(&st, path)}
		},
	})
	return st, err
}

// onlyAtime tells whether in changes nothing that is shipped.
func onlyAtime(in *fuse.SetAttrInCommon) bool {
	return in.Valid&(fuse.FATTR_MODE|fuse.FATTR_UID|fuse.FATTR_GID|fuse.FATTR_SIZE|fuse.FATTR_MTIME|fuse.FATTR_MTIME_NOW) == 0
}

// attrRecord tells of new attributes of st, which the table calls path. The
// caller holds order.
func (f *FS) attrRecord(st *backing.Stat, path string) *journal.Record {
	return &journal.Record{
		Kind: journal.Attr, ID: st.ID, Mode: st.Mode, Path: path, Links: f.otherNames(st, path),
		Size: st.Size, Mtime: st.ModTime(), Ctime: st.ChangeTime(),
	}
}

// resize is truncate(2) and ftruncate(2). Without a writer the new content is
// complete at once; an Open record goes before it, so that a crash in between
// leaves the file dirty and not changed unnoticed.
func (f *FS) resize(n *node, fd int, size int64, in *fuse.SetAttrInCommon) (backing.Stat, error) {
	of := n.open
	if of == nil {
		of = &openFile{n: n, fd: fd}
	}
	if err := f.beginWriting(of, false); err != nil {
		return backing.Stat{}, err
	}
	err := f.truncateFD(fd, size, false)
	if err == nil {
		of.modified.Store(true)
		err = f.applyAttr(fd, in)
	}
	f.finishWriting(of)
	if err != nil {
		return backing.Stat{}, err
	}
	return f.fstat(n, fd)
}

// applyAttr changes everything but the size. Owner goes before mode, because
// chown takes suid and sgid away, and times go last.
func (f *FS) applyAttr(fd int, in *fuse.SetAttrInCommon) error {
	uid, setUID := in.GetUID()
	gid, setGID := in.GetGID()
	if setUID || setGID {
		if err := unix.Fchownat(fd, "", orKeep(uid, setUID), orKeep(gid, setGID), unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if mode, ok := in.GetMode(); ok {
		if err := unix.Chmod(procPath(fd), mode); err != nil {
			return err
		}
	} else if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		if err := f.clearSuid(fd); err != nil {
			return err
		}
	}
	return setTimes(fd, in)
}

// orKeep is the argument of chown(2): -1 keeps what is.
func orKeep(id uint32, set bool) int {
	if !set {
		return -1
	}
	return int(id)
}

func setTimes(fd int, in *fuse.SetAttrInCommon) error {
	if in.Valid&(fuse.FATTR_ATIME|fuse.FATTR_MTIME) == 0 {
		return nil
	}
	ts := []unix.Timespec{
		timeArg(in.Valid, fuse.FATTR_ATIME, fuse.FATTR_ATIME_NOW, in.Atime, in.Atimensec),
		timeArg(in.Valid, fuse.FATTR_MTIME, fuse.FATTR_MTIME_NOW, in.Mtime, in.Mtimensec),
	}
	err := unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH)
	if err == unix.EINVAL || err == unix.ENOENT || err == unix.EBADF { // before Linux 5.8
		return unix.UtimesNanoAt(unix.AT_FDCWD, procPath(fd), ts, 0)
	}
	return err
}

func timeArg(valid, set, now uint32, sec uint64, nsec uint32) unix.Timespec {
	switch {
	case valid&set == 0:
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	case valid&now != 0:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	}
	return unix.Timespec{Sec: int64(sec), Nsec: int64(nsec)}
}
