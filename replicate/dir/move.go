package dir

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"closefs/replicate"
	"closefs/replicate/staging"
)

// Rename moves from to to; see replicate.Target.
func (t *Target) Rename(ctx context.Context, from, to string) error {
	return t.do(ctx, "rename", from, func() error {
		if err := staging.CheckPath(to); err != nil {
			return fmt.Errorf("%w: %w", replicate.ErrUnsupported, err)
		}
		return t.withAccess(func() error { return t.rename(from, to) }, true, from, to)
	})
}

// rename is renameat(2) with both directories synced after it.
func (t *Target) rename(from, to string) error {
	fromDir, fromName, err := t.parent(from)
	if err != nil {
		return err
	}
	defer unix.Close(fromDir)
	toDir, toName, err := t.parent(to)
	if err != nil {
		return fmt.Errorf("to %q: %w", to, err)
	}
	defer unix.Close(toDir)
	if err := renameErr(unix.Renameat(fromDir, fromName, toDir, toName)); err != nil {
		return fmt.Errorf("to %q: %w", to, err)
	}
	if err := t.finishSameInode(from, to, fromDir, fromName, toDir, toName); err != nil {
		return err
	}
	return errors.Join(syncDir(toDir), syncDir(fromDir))
}

// renameErr tells apart what the errnos of rename(2) mean for the contract.
func renameErr(err error) error {
	switch err {
	case unix.EEXIST, unix.ENOTEMPTY:
		return fmt.Errorf("%w: %w", replicate.ErrNotEmpty, err)
	case unix.ENOTDIR: // a directory over something else
		return fmt.Errorf("%w: %w", replicate.ErrExist, err)
	}
	return err
}

// finishSameInode completes a rename between two names of one inode, for which
// rename(2) does nothing and says success.
func (t *Target) finishSameInode(from, to string, fromDir int, fromName string, toDir int, toName string) error {
	var a, b unix.Stat_t
	if from == to ||
		unix.Fstatat(fromDir, fromName, &a, unix.AT_SYMLINK_NOFOLLOW) != nil ||
		unix.Fstatat(toDir, toName, &b, unix.AT_SYMLINK_NOFOLLOW) != nil ||
		a.Dev != b.Dev || a.Ino != b.Ino {
		return nil
	}
	return unix.Unlinkat(fromDir, fromName, 0)
}

// Remove moves path into the trash; see replicate.Target.
func (t *Target) Remove(ctx context.Context, path string) error {
	err := t.do(ctx, "remove", path, func() error {
		return t.withAccess(func() error { return t.discard(path) }, true, path)
	})
	if errors.Is(err, replicate.ErrNotExist) {
		return nil
	}
	return err
}

func (t *Target) discard(path string) error {
	dir, name, err := t.parent(path)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	entry, long := t.names.Trash(path, time.Now())
	if err := unix.Renameat(dir, name, t.trash, entry); err != nil {
		return err
	}
	if long {
		if err := t.writeFile(t.trash, entry+staging.PathFile, []byte(path)); err != nil {
			t.log.Warn("cannot note the whole path of a removed entry", "target", t.path, "entry", entry, "error", err)
		}
	}
	return syncDir(dir)
}

// writeFile makes a small file of closefs's own in the directory dir.
func (t *Target) writeFile(dir int, name string, b []byte) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return writeAll(fd, b)
}
