package dir

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"closefs/replicate"
)

// Mkdir makes a directory; see replicate.Target. It is made in place: an empty
// directory is whole from the start, and appears with mode 0700.
func (t *Target) Mkdir(ctx context.Context, path string, attr replicate.Attr) error {
	return t.do(ctx, "mkdir", path, func() error {
		if path == "" {
			return t.applyTo(path, attr)
		}
		return t.withAccess(func() error {
			dir, name, err := t.parent(path)
			if err != nil {
				return err
			}
			defer unix.Close(dir)
			err = unix.Mkdirat(dir, name, 0o700)
			if err != nil && err != unix.EEXIST {
				return err
			}
			if err := t.applyTo(path, attr); err != nil {
				return err
			}
			return syncDir(dir)
		}, false, path)
	})
}

// applyTo gives the directory path its attributes.
func (t *Target) applyTo(path string, attr replicate.Attr) error {
	fd, err := t.open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return fmt.Errorf("%w: %w", replicate.ErrExist, err)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return t.apply(fd, attr)
}

// Symlink makes a symlink; see replicate.Target.
func (t *Target) Symlink(ctx context.Context, path, dest string, attr replicate.Attr) error {
	return t.do(ctx, "symlink", path, func() error {
		return t.publish(path, func(name string) error {
			if err := unix.Symlinkat(dest, t.tmp, name); err != nil {
				return fmt.Errorf("to %q: %w", dest, err)
			}
			return t.applyStaged(name, attr)
		})
	})
}

// Special makes a FIFO, socket or device node; see replicate.Target.
func (t *Target) Special(ctx context.Context, path string, rdev uint64, attr replicate.Attr) error {
	return t.do(ctx, "make special file", path, func() error {
		switch attr.Mode & unix.S_IFMT {
		case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK:
		default:
			return fmt.Errorf("%w: mode %#o is none of a special file", replicate.ErrUnsupported, attr.Mode)
		}
		return t.publish(path, func(name string) error {
			err := unix.Mknodat(t.tmp, name, attr.Mode&unix.S_IFMT|0o600, int(rdev))
			if err == unix.EPERM { // a device node, and the account is not root
				return fmt.Errorf("%w: %w", replicate.ErrUnsupported, err)
			}
			if err != nil {
				return err
			}
			return t.applyStaged(name, attr)
		})
	})
}

func (t *Target) applyStaged(name string, attr replicate.Attr) error {
	fd, err := openBeneath(t.tmp, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return t.apply(fd, attr)
}

// Link makes path one more name of existing; see replicate.Target.
func (t *Target) Link(ctx context.Context, existing, path string) error {
	if !t.caps.Hardlink {
		return fmt.Errorf("link %q: %w", path, replicate.ErrUnsupported)
	}
	return t.do(ctx, "link", path, func() error {
		var staged string
		err := t.publish(path, func(name string) error {
			staged = name
			return t.withAccess(func() error { return t.linkTmp(existing, name) }, false, existing)
		})
		if err == nil {
			// Renamed over another name of the same inode, it stays where it is.
			_ = unix.Unlinkat(t.tmp, staged, 0)
		}
		return err
	})
}

// linkTmp makes the entry name of .closefs/tmp one more name of existing.
func (t *Target) linkTmp(existing, name string) error {
	dir, base, err := t.parent(existing)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	err = unix.Linkat(dir, base, t.tmp, name, 0)
	if err == unix.EPERM { // a directory, or a file that protected_hardlinks keeps from us
		return fmt.Errorf("to %q: %w: %w", existing, replicate.ErrUnsupported, err)
	}
	if err != nil {
		return fmt.Errorf("to %q: %w", existing, err)
	}
	return nil
}
