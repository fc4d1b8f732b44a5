package dir

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"closefs/replicate"
)

// chunk is how much of a file is read and written at once.
const chunk = 1 << 20

// Put publishes a regular file; see replicate.Target.
//
// A crash before the rename leaves the staged file, after it the new file;
// the sync of the directory is what makes the second survive a power cut.
func (t *Target) Put(ctx context.Context, path string, src io.ReaderAt, size int64, attr replicate.Attr, ready func() error) error {
	return t.do(ctx, "put", path, func() error {
		return t.publish(path, func(name string) error {
			fd, err := unix.Openat(t.tmp, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
			if err != nil {
				return fmt.Errorf("stage: %w", err)
			}
			defer unix.Close(fd)
			if err := t.fill(ctx, fd, src, size); err != nil {
				return err
			}
			if err := t.apply(fd, attr); err != nil {
				return err
			}
			if err := unix.Fsync(fd); err != nil {
				return fmt.Errorf("sync: %w", err)
			}
			if ready == nil {
				return nil
			}
			if err := ready(); err != nil {
				return foreign{err}
			}
			return nil
		})
	})
}

// publish lets stage make the entry of .closefs/tmp that it is given the name
// of, and renames that to path, replacing a non-directory.
func (t *Target) publish(path string, stage func(name string) error) error {
	if err := t.replaceable(path); err != nil {
		return err
	}
	name := t.names.Tmp(time.Now())
	err := stage(name)
	if err == nil {
		err = t.withAccess(func() error { return t.into(name, path) }, false, path)
	}
	if err != nil {
		_ = unix.Unlinkat(t.tmp, name, 0) // ENOENT if stage never made it
	}
	return err
}

// replaceable refuses early, before anything is staged, what the rename would
// refuse: a missing parent, and a directory at path.
func (t *Target) replaceable(path string) error {
	return t.withAccess(func() error {
		dir, name, err := t.parent(path)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		var st unix.Stat_t
		switch err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
		case err == unix.ENOENT:
			return nil
		case err != nil:
			return err
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			return replicate.ErrIsDir
		}
		return nil
	}, false, path)
}

// into renames the staged entry to path and makes that durable.
func (t *Target) into(staged, path string) error {
	dir, name, err := t.parent(path)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Renameat(t.tmp, staged, dir, name); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return syncDir(dir)
}

// fill writes size bytes of src to fd and checks that this is what is there.
func (t *Target) fill(ctx context.Context, fd int, src io.ReaderAt, size int64) error {
	buf := make([]byte, min(size, chunk))
	for off := int64(0); off < size; {
		if err := t.alive(ctx); err != nil {
			return err
		}
		n, err := src.ReadAt(buf[:min(size-off, chunk)], off)
		if n == 0 && err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read source at %d of %d: %w", off, size, foreign{err})
		}
		if err := writeAll(fd, buf[:n]); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		off += int64(n)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Size != size {
		return fmt.Errorf("staged file has %d bytes instead of %d", st.Size, size)
	}
	return nil
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
