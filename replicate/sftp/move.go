package sftp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"closefs/replicate"
	"closefs/replicate/sftp/wire"
	"closefs/replicate/staging"
)

// Rename moves from to to; see replicate.Target.
func (t *Target) Rename(ctx context.Context, from, to string) error {
	return t.do(ctx, "rename", from, func(ctx context.Context) error {
		return t.do(ctx, "to", to, func(ctx context.Context) error {
			var left bool
			err := t.withAccess(ctx, reach{ways: []string{from, to}, self: from, lands: t.abs(to)}, func() (err error) {
				left, err = t.rename(ctx, from, to)
				return err
			})
			if err == nil && left {
				return t.discard(ctx, from)
			}
			return err
		})
	})
}

// rename renames, and says whether from is left all the same: where both are
// names of one inode, rename(2) does nothing and says success.
func (t *Target) rename(ctx context.Context, from, to string) (left bool, err error) {
	for _, path := range []string{from, to} {
		if err := t.verify(ctx, path); err != nil {
			return false, err
		}
	}
	b := t.main.Batch()
	renamed := b.PosixRename(t.abs(from), t.abs(to))
	source := b.Lstat(t.abs(from))
	b.Send()
	err = renamed.Status(ctx)
	a, sourceErr := source.Attrs(ctx)
	t.parents.forget(from)
	t.parents.forget(to)
	if err != nil {
		// nil if it has been done another way
		return false, t.whyNotRenamed(ctx, err, from, to)
	}
	return sourceErr == nil && !isDir(a) && from != to, nil
}

// whyNotRenamed finds the reason of a refused rename, which the status hardly
// tells, and does what can be done about it.
func (t *Target) whyNotRenamed(ctx context.Context, err error, from, to string) error {
	if !errors.Is(err, wire.Failure) && !errors.Is(err, wire.NoSuchFile) {
		return err
	}
	t.parents.reset()
	for _, path := range []string{from, to} {
		if verr := t.verify(ctx, path); verr != nil {
			return verr
		}
	}
	b := t.main.Batch()
	source, there := b.Lstat(t.abs(from)), b.Lstat(t.abs(to))
	b.Send()
	a, aerr := source.Attrs(ctx)
	z, zerr := there.Attrs(ctx)
	switch {
	case aerr != nil:
		return aerr
	case zerr != nil:
		return t.explain(ctx, err, 0)
	case isDir(z) && !isDir(a):
		return fmt.Errorf("%w: %w", replicate.ErrIsDir, err)
	case isDir(a) && !isDir(z):
		return fmt.Errorf("%w: %w", replicate.ErrExist, err)
	case isDir(a) && isDir(z):
		return t.renameOverEmpty(ctx, err, from, to)
	}
	return t.explain(ctx, err, 0)
}

// renameOverEmpty moves a directory to where another one is, for a server that
// has refused that with err, as those do whose rename is not rename(2). Here
// alone to is missing for a moment.
func (t *Target) renameOverEmpty(ctx context.Context, err error, from, to string) error {
	names, lerr := t.readDir(ctx, t.abs(to))
	switch {
	case lerr != nil:
		return lerr
	case len(names) > 0:
		return fmt.Errorf("%w: %w", replicate.ErrNotEmpty, err)
	case strings.HasPrefix(to, from+"/"):
		return err // below itself
	}
	b := t.main.Batch()
	removed, renamed := b.Rmdir(t.abs(to)), b.PosixRename(t.abs(from), t.abs(to))
	b.Send()
	if rerr := removed.Status(ctx); rerr != nil {
		_ = renamed.Status(ctx)
		return rerr
	}
	return renamed.Status(ctx)
}

// Remove moves path into the trash; see replicate.Target.
func (t *Target) Remove(ctx context.Context, path string) error {
	err := t.do(ctx, "remove", path, func(ctx context.Context) error { return t.discard(ctx, path) })
	if errors.Is(err, replicate.ErrNotExist) {
		return nil
	}
	return err
}

func (t *Target) discard(ctx context.Context, path string) error {
	entry, long := t.names.Trash(path, time.Now())
	into := t.abs(staging.Trash + "/" + entry)
	return t.withAccess(ctx, reach{ways: []string{path}, self: path, lands: into}, func() error {
		if err := t.verify(ctx, path); err != nil {
			return err
		}
		b := t.main.Batch()
		renamed := b.PosixRename(t.abs(path), into)
		b.Send()
		err := renamed.Status(ctx)
		t.parents.forget(path)
		if err != nil {
			return t.whyNotRemoved(ctx, err, path)
		}
		if !long {
			return nil
		}
		if err := t.writeFile(ctx, into+staging.PathFile, []byte(path)); err != nil {
			t.log.Warn("cannot note the whole path of a removed entry", "target", t.root, "entry", entry, "error", err)
		}
		return nil
	})
}

// whyNotRemoved tells a path that is not there from a trash that is not.
func (t *Target) whyNotRemoved(ctx context.Context, err error, path string) error {
	if !errors.Is(err, wire.NoSuchFile) {
		return t.explain(ctx, err, 0)
	}
	t.parents.reset()
	if _, lerr := t.lstatNow(ctx, t.abs(path)); lerr == nil {
		if _, terr := t.lstatNow(ctx, t.abs(staging.Trash)); errors.Is(terr, wire.NoSuchFile) {
			return fmt.Errorf("%w: %s is gone: %w", replicate.ErrConnection, staging.Trash, err)
		}
	}
	return err
}
