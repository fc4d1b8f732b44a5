package dir

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"closefs/replicate"
	"closefs/replicate/staging"
)

// Lstat describes path; see replicate.Target.
func (t *Target) Lstat(ctx context.Context, path string) (e replicate.Entry, err error) {
	err = t.do(ctx, "lstat", path, func() error {
		return t.withAccess(func() error {
			fd, err := t.entry(path)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			_, name := staging.Split(path)
			e, err = t.describe(fd, name)
			return err
		}, false, path)
	})
	return e, err
}

// List returns the entries of directory path; see replicate.Target.
func (t *Target) List(ctx context.Context, path string) (entries []replicate.Entry, err error) {
	err = t.do(ctx, "list", path, func() error {
		return t.withAccess(func() error {
			entries, err = t.list(path)
			return err
		}, true, path)
	})
	return entries, err
}

func (t *Target) list(path string) ([]replicate.Entry, error) {
	fd, err := t.open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return nil, onTheWay(err)
	}
	defer unix.Close(fd)
	names, err := readNames(fd)
	if err != nil {
		return nil, err
	}
	entries := make([]replicate.Entry, 0, len(names))
	for _, name := range names {
		if path == "" && name == staging.Dir {
			continue
		}
		switch e, err := t.describeAt(fd, name); err {
		case nil:
			entries = append(entries, e)
		case unix.ENOENT: // removed since
		default:
			return nil, err
		}
	}
	return entries, nil
}

// readNames reads the whole directory open at fd, which stays open.
func readNames(fd int) ([]string, error) {
	dup, err := openBeneath(fd, "", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dup), "directory")
	defer f.Close()
	return f.Readdirnames(-1)
}

func (t *Target) describeAt(dir int, name string) (replicate.Entry, error) {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return replicate.Entry{}, err
	}
	defer unix.Close(fd)
	return t.describe(fd, name)
}

// describe describes the inode open at fd (O_PATH).
func (t *Target) describe(fd int, name string) (replicate.Entry, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return replicate.Entry{}, err
	}
	e := replicate.Entry{
		Name: name, Mode: st.Mode, UID: st.Uid, GID: st.Gid,
		Mtime: time.Unix(st.Mtim.Sec, st.Mtim.Nsec),
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Size = st.Size
	case unix.S_IFLNK:
		dest := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", dest)
		if err != nil {
			return e, err
		}
		e.Dest = string(dest[:n])
	}
	if t.caps.Xattr {
		e.Xattr, err = readXattr(fd)
	}
	return e, err
}
