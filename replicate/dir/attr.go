package dir

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"closefs/replicate"
)

// SetAttr changes the attributes of path; see replicate.Target.
func (t *Target) SetAttr(ctx context.Context, path string, attr replicate.Attr) error {
	return t.do(ctx, "set attributes of", path, func() error {
		return t.withAccess(func() error {
			fd, err := t.entry(path)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return t.apply(fd, attr)
		}, false, path)
	})
}

// apply gives the inode open at fd (O_PATH will do) its attributes. The order
// matters: a change of owner clears set-id bits and capabilities, an ACL changes
// the mode's group bits, and a mode may take away the right to set attributes.
func (t *Target) apply(fd int, attr replicate.Attr) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if t.caps.Owner && (st.Uid != attr.UID || st.Gid != attr.GID) {
		if err := unix.Fchownat(fd, "", int(attr.UID), int(attr.GID), unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("set owner %d:%d: %w", attr.UID, attr.GID, err)
		}
	}
	if t.caps.Xattr && attr.Xattr != nil {
		if err := t.applyXattr(fd, st.Mode, attr); err != nil {
			return err
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(procPath(fd), attr.Mode&0o7777); err != nil {
			return fmt.Errorf("set mode %04o: %w", attr.Mode&0o7777, err)
		}
	}
	return setTimes(fd, attr)
}

// setTimes sets both times to the nanosecond; a zero time is left alone.
func setTimes(fd int, attr replicate.Attr) error {
	ts := []unix.Timespec{timespec(attr.Atime), timespec(attr.Mtime)}
	// AT_EMPTY_PATH came with Linux 5.8, later than openat2.
	if err := unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

func timespec(at time.Time) unix.Timespec {
	if at.IsZero() {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.Timespec{Sec: at.Unix(), Nsec: int64(at.Nanosecond())}
}

// stored says whether the extended attribute called name is part of a file's
// replicated state. Others (security labels, a filesystem's own) belong to the
// host that they are on.
func stored(name string) bool {
	switch name {
	case "system.posix_acl_access", "system.posix_acl_default", "security.capability":
		return true
	}
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "trusted.")
}

// applyXattr makes the extended attributes equal to attr.Xattr. Those that the
// account or the filesystem cannot have are left out.
func (t *Target) applyXattr(fd int, mode uint32, attr replicate.Attr) error {
	have, err := readXattr(fd)
	if err != nil {
		return err
	}
	for name := range have {
		if _, keep := attr.Xattr[name]; keep {
			continue
		}
		err := withWrite(fd, mode, func() error { return unix.Removexattr(procPath(fd), name) })
		if err != nil && err != unix.ENODATA && !beyondUs(name, err) {
			return fmt.Errorf("remove attribute %s: %w", name, err)
		}
	}
	for name, value := range attr.Xattr {
		if old, ok := have[name]; !stored(name) || ok && string(old) == string(value) {
			continue
		}
		err := withWrite(fd, mode, func() error { return unix.Setxattr(procPath(fd), name, value, 0) })
		if err != nil && !beyondUs(name, err) {
			return fmt.Errorf("set attribute %s: %w", name, err)
		}
	}
	return nil
}

// withWrite runs f, and once more with u+w added to the mode if that is what
// it lacked. The caller sets the mode afterwards anyhow.
func withWrite(fd int, mode uint32, f func() error) error {
	err := f()
	if err == unix.EACCES && mode&unix.S_IWUSR == 0 && unix.Chmod(procPath(fd), mode&0o7777|unix.S_IWUSR) == nil {
		err = f()
	}
	return err
}

// beyondUs says whether err only means that an attribute other than the
// users' own cannot be had here.
func beyondUs(name string, err error) bool {
	return errors.Is(err, unix.ENOTSUP) ||
		errors.Is(err, unix.EPERM) && !strings.HasPrefix(name, "user.")
}

// readXattr returns the replicated extended attributes of the inode open at fd.
func readXattr(fd int) (map[string][]byte, error) {
	names, err := grow(func(b []byte) (int, error) { return unix.Listxattr(procPath(fd), b) })
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list attributes: %w", err)
	}
	var got map[string][]byte
	for name := range strings.SplitSeq(string(names), "\x00") {
		if !stored(name) {
			continue
		}
		value, err := grow(func(b []byte) (int, error) { return unix.Getxattr(procPath(fd), name, b) })
		if err == unix.ENODATA || err == unix.EACCES || err == unix.EPERM {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read attribute %s: %w", name, err)
		}
		if got == nil {
			got = make(map[string][]byte)
		}
		got[name] = value
	}
	return got, nil
}

// grow calls read with a buffer that is large enough.
func grow(read func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		n, err := read(buf)
		if err != unix.ERANGE {
			return buf[:max(n, 0)], err
		}
		if n, err = read(nil); err != nil {
			return nil, err
		}
		buf = make([]byte, n+256)
	}
}
