package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// xattr calls fn with a path that leads to the node, even if it is a symlink.
func (f *FS) xattr(id uint64, fn func(n *node, path string) error) fuse.Status {
	n := f.table.get(id)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	f.order.RLock()
	defer f.order.RUnlock()
	return errno(f.withPath(n, func(fd int) error { return fn(n, procPath(fd)) }))
}

// GetXAttr reads an extended attribute.
func (f *FS) GetXAttr(_ <-chan struct{}, in *fuse.InHeader, attr string, dest []byte) (size uint32, status fuse.Status) {
	status = f.xattr(in.NodeId, func(_ *node, path string) error {
		n, err := unix.Getxattr(path, attr, dest)
		size = uint32(max(n, 0))
		return err
	})
	return size, status
}

// ListXAttr lists the extended attributes.
func (f *FS) ListXAttr(_ <-chan struct{}, in *fuse.InHeader, dest []byte) (size uint32, status fuse.Status) {
	status = f.xattr(in.NodeId, func(_ *node, path string) error {
		n, err := unix.Listxattr(path, dest)
		size = uint32(max(n, 0))
		return err
	})
	return size, status
}

// SetXAttr sets an extended attribute.
func (f *FS) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	return f.xattr(in.NodeId, func(n *node, path string) error {
		return f.changeXattr(n, path, func() error {
			err := unix.Setxattr(path, attr, data, int(in.Flags))
			if err == nil && in.SetXAttrFlags&fuse.SETXATTR_ACL_KILL_SGID != 0 {
				err = clearSgid(path)
			}
			return err
		})
	})
}

// RemoveXAttr removes an extended attribute.
func (f *FS) RemoveXAttr(_ <-chan struct{}, in *fuse.InHeader, attr string) fuse.Status {
	return f.xattr(in.NodeId, func(n *node, path string) error {
		return f.changeXattr(n, path, func() error { return unix.Removexattr(path, attr) })
	})
}

// changeXattr applies a change of n's attributes, n being open as procPath.
func (f *FS) changeXattr(n *node, procPath string, apply func() error) error {
	mu := f.inodeLock(n.id)
	mu.Lock()
	defer mu.Unlock()
	path, named := f.table.path(n)
	return f.commit(change{
		intent: intent{path: path, skip: !named},
		apply:  apply,
		update: func() []*journal.Record {
			st, err := statPath(procPath)
			if err != nil || !named || st.Nlink == 0 {
				return nil
			}
			return []*journal.Record{f.attrRecord(&backing.Stat{Stat_t: st, ID: f.fileID(n)}, path)}
		},
	})
}

// clearSgid takes the sgid bit away, as setting an ACL by somebody who is not of
// the group does.
func clearSgid(path string) error {
	st, err := statPath(path)
	if err != nil || st.Mode&unix.S_ISGID == 0 {
		return err
	}
	return unix.Chmod(path, st.Mode&^(unix.S_IFMT|unix.S_ISGID))
}

func statPath(path string) (st unix.Stat_t, err error) {
	err = unix.Stat(path, &st)
	return st, err
}
