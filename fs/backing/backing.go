// Package backing reads the backing directory: paths below it are resolved
// without ever following a symlink or leaving it, and every inode has a 64-bit
// identity. It is shared by the filesystem, which serves the directory, and by
// the worker, which ships from it; both must agree on what a file's identity is.
package backing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"closefs/fs/journal"
)

// A Root is an open backing directory. It stays valid when something is mounted
// over the path it was opened by.
type Root struct {
	fd   int
	tree int // keeps the mounts below fd together, see OpenDetached; -1: none
	dev  uint64
	path string
}

// Stat is what Lstat and Fstat tell of a file.
type Stat struct {
	unix.Stat_t
	ID journal.FileID
}

// ModTime is st_mtim.
func (s *Stat) ModTime() time.Time { return time.Unix(s.Mtim.Sec, s.Mtim.Nsec) }

// ChangeTime is st_ctim.
func (s *Stat) ChangeTime() time.Time { return time.Unix(s.Ctim.Sec, s.Ctim.Nsec) }

// Open opens the directory at path.
func Open(path string) (*Root, error) {
	r, err := open(unix.AT_FDCWD, path)
	if err != nil {
		return nil, fmt.Errorf("open backing directory: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	r.path = path
	return r, nil
}

// OpenDetached opens the directory at path in a copy of its mount, and of the
// mounts below it, that is attached nowhere (open_tree(2)). It stays whole when
// the mount namespace in which path was looked up is gone. It needs
// CAP_SYS_ADMIN and Linux 5.2.
func OpenDetached(path string) (*Root, error) {
	const copied = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, copied)
	if err != nil {
		return nil, fmt.Errorf("open backing directory: %w", &os.PathError{Op: "open_tree", Path: path, Err: err})
	}
	r, err := open(tree, ".")
	if err != nil {
		unix.Close(tree)
		return nil, fmt.Errorf("open backing directory: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	r.path, r.tree = path, tree
	return r, nil
}

func open(dirfd int, name string) (*Root, error) {
	fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Root{fd: fd, tree: -1, dev: st.Dev}, nil
}

// Close closes the directory.
func (r *Root) Close() error {
	if r.tree < 0 {
		return unix.Close(r.fd)
	}
	return errors.Join(unix.Close(r.fd), unix.Close(r.tree))
}

// FD is the directory's descriptor (readable, not O_PATH).
func (r *Root) FD() int { return r.fd }

// Dev is the st_dev of the directory.
func (r *Root) Dev() uint64 { return r.dev }

// Path is the path it was opened by, for messages only.
func (r *Root) Path() string { return r.path }

// Openat opens path ("" is the root) with flags, following no symlink: a
// symlink on the way is ELOOP, and at the end too unless flags has
// O_PATH|O_NOFOLLOW. O_CLOEXEC is added. The error is an errno.
func (r *Root) Openat(path string, flags int, mode uint32) (int, error) {
	if path == "" {
		path = "."
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(r.fd, path, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// Lstat describes path without following it. The error is an errno.
func (r *Root) Lstat(path string) (Stat, error) {
	fd, err := r.Openat(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return Stat{}, err
	}
	defer unix.Close(fd)
	return r.Fstat(fd)
}

// Fstat describes an open descriptor (O_PATH will do). The error is an errno.
func (r *Root) Fstat(fd int) (Stat, error) {
	var s Stat
	if err := unix.Fstat(fd, &s.Stat_t); err != nil {
		return s, err
	}
	var err error
	s.ID, err = r.identify(fd, "", unix.AT_EMPTY_PATH, &s.Stat_t)
	return s, err
}

// Fstatat describes name in the open directory dirfd without following it. The
// error is an errno.
func (r *Root) Fstatat(dirfd int, name string) (Stat, error) {
	var s Stat
	if err := unix.Fstatat(dirfd, name, &s.Stat_t, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return s, err
	}
	var err error
	s.ID, err = r.identify(dirfd, name, 0, &s.Stat_t)
	return s, err
}

// Readlinkat returns the destination of the symlink at path. The error is an errno.
func (r *Root) Readlink(path string) (string, error) {
	fd, err := r.Openat(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// The kernel's exportfs handle types that hold a 32-bit inode number and a
// 32-bit generation and nothing else (include/linux/exportfs.h, FILEID_INO32_GEN).
const fileidIno32Gen = 1

// rawHandle is struct file_handle with room for MAX_HANDLE_SZ bytes.
type rawHandle struct {
	bytes uint32
	typ   int32
	data  [128]byte
}

// identify computes the identity of an inode: on filesystems whose file handle
// is inode number and generation (ext2, ext3, ext4) those two, packed; on
// others with handles (XFS, btrfs, tmpfs…) a hash of the handle; elsewhere a
// hash of device, inode number and birth time. It is stable for the life of the
// inode and not reused for another one, across restarts too.
func (r *Root) identify(dirfd int, name string, flags int, st *unix.Stat_t) (journal.FileID, error) {
	var h rawHandle
	h.bytes = uint32(len(h.data))
	if st.Dev == r.dev {
		switch err := nameToHandle(dirfd, name, &h, flags); {
		case err == nil && h.typ == fileidIno32Gen && h.bytes == 8:
			return nonZero(binary.NativeEndian.Uint64(h.data[:8])), nil
		case err == nil:
			return hashID(h.data[:h.bytes], uint64(h.typ)), nil
		case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE):
			return 0, err
		}
	}
	var sx unix.Statx_t
	if err := unix.Statx(dirfd, name, flags|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME|unix.STATX_INO, &sx); err != nil {
		return 0, err
	}
	var b [32]byte
	binary.NativeEndian.PutUint64(b[0:], st.Dev)
	binary.NativeEndian.PutUint64(b[8:], st.Ino)
	binary.NativeEndian.PutUint64(b[16:], uint64(sx.Btime.Sec))
	binary.NativeEndian.PutUint64(b[24:], uint64(sx.Btime.Nsec))
	return hashID(b[:], 0), nil
}

func hashID(b []byte, salt uint64) journal.FileID {
	f := fnv.New64a()
	var s [8]byte
	binary.NativeEndian.PutUint64(s[:], salt)
	f.Write(s[:])
	f.Write(b)
	return nonZero(f.Sum64())
}

func nonZero(v uint64) journal.FileID {
	if v == 0 {
		v = 1
	}
	return journal.FileID(v)
}

// nameToHandle is name_to_handle_at(2) into h, without allocating the handle.
func nameToHandle(dirfd int, name string, h *rawHandle, flags int) error {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	var mountID int32
	_, _, e := unix.Syscall6(unix.SYS_NAME_TO_HANDLE_AT, uintptr(dirfd), uintptr(unsafe.Pointer(p)),
		uintptr(unsafe.Pointer(h)), uintptr(unsafe.Pointer(&mountID)), uintptr(flags), 0)
	if e != 0 {
		return e
	}
	return nil
}
