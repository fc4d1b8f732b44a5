package sftp

import (
	"context"
	"errors"
	"fmt"

	"closefs/replicate"
	"closefs/replicate/sftp/wire"
)

// Mkdir makes a directory; see replicate.Target.
func (t *Target) Mkdir(ctx context.Context, path string, attr replicate.Attr) error {
	return t.do(ctx, "mkdir", path, func(ctx context.Context) error {
		if path == "" {
			return t.setAttr(ctx, path, attr)
		}
		return t.withAccess(ctx, reach{ways: []string{path}}, func() error {
			if err := t.mkdir(ctx, path); err != nil {
				return err
			}
			return t.setAttr(ctx, path, attr)
		})
	})
}

// mkdir makes the directory, or sees that it is there, and remembers that it
// is real.
func (t *Target) mkdir(ctx context.Context, path string) error {
	_, moves := t.parents.has(path)
	if err := t.verify(ctx, path); err != nil {
		return err
	}
	b := t.main.Batch()
	made := b.Mkdir(t.abs(path), wire.Attrs{Flags: wire.AttrPermissions, Mode: 0o700})
	seen := b.Lstat(t.abs(path))
	b.Send()
	makeErr := made.Status(ctx)
	a, err := seen.Attrs(ctx)
	switch {
	case errors.Is(err, wire.NoSuchFile) && makeErr != nil:
		t.parents.reset()
		return t.explain(ctx, makeErr, 0)
	case err != nil:
		return err
	case !isDir(a):
		return replicate.ErrExist
	}
	t.parents.add(moves, path)
	return nil
}

// Symlink makes a symlink; see replicate.Target.
func (t *Target) Symlink(ctx context.Context, path, dest string, attr replicate.Attr) error {
	return t.do(ctx, "symlink", path, func(ctx context.Context) error {
		staged := t.tmpPath()
		return t.replace(ctx, staged, []string{path}, func(b *wire.Batch) []*wire.Call {
			return append([]*wire.Call{b.Symlink(dest, staged)}, t.symlinkAttrs(b, staged, attr)...)
		})
	})
}

// Special is not possible over SFTP.
func (t *Target) Special(_ context.Context, path string, _ uint64, _ replicate.Attr) error {
	return fmt.Errorf("make special file %q: %w", path, replicate.ErrUnsupported)
}

// Link makes path one more name of existing; see replicate.Target.
func (t *Target) Link(ctx context.Context, existing, path string) error {
	if !t.caps.Hardlink {
		return fmt.Errorf("link %q: %w", path, replicate.ErrUnsupported)
	}
	return t.do(ctx, "link", path, func(ctx context.Context) error {
		return t.do(ctx, "to", existing, func(ctx context.Context) error {
			staged := t.tmpPath()
			err := t.replace(ctx, staged, []string{path, existing}, func(b *wire.Batch) []*wire.Call {
				return []*wire.Call{b.Hardlink(t.abs(existing), staged)}
			})
			if err == nil {
				// A rename between two names of one inode does nothing and says
				// success: a link made once more leaves its staged name behind.
				t.unstage(ctx, t.main.Batch(), staged)
			}
			return t.whyNotLinked(ctx, err, existing)
		})
	})
}

// whyNotLinked tells a directory, which can have no second name, from the other
// reasons to refuse a link.
func (t *Target) whyNotLinked(ctx context.Context, err error, existing string) error {
	if !errors.Is(err, wire.PermissionDenied) && !errors.Is(err, wire.Failure) {
		return err
	}
	if a, lerr := t.lstatNow(ctx, t.abs(existing)); lerr == nil && isDir(a) {
		return fmt.Errorf("%w: it is a directory: %w", replicate.ErrUnsupported, err)
	}
	return err
}

// replace makes staged by the requests that stage adds, sees that no directory
// is in its way, and renames it to the first of ways. The parents of all ways
// are verified before.
func (t *Target) replace(ctx context.Context, staged string, ways []string, stage func(b *wire.Batch) []*wire.Call) error {
	err := t.withAccess(ctx, reach{ways: ways}, func() error {
		for _, path := range ways {
			if err := t.verify(ctx, path); err != nil {
				return err
			}
		}
		err := t.stage(ctx, t.abs(ways[0]), stage)
		if err != nil {
			t.unstage(ctx, t.main.Batch(), staged)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := t.publish(ctx, staged, ways[0]); err != nil {
		t.unstage(ctx, t.main.Batch(), staged)
		return err
	}
	return nil
}

// stage sends the requests that add makes, and looks at the absolute path that
// is to be replaced in the same round trip.
func (t *Target) stage(ctx context.Context, replaced string, add func(b *wire.Batch) []*wire.Call) error {
	b := t.main.Batch()
	there := b.Lstat(replaced)
	calls := add(b)
	b.Send()
	err := firstStaging(ctx, calls)
	switch a, lerr := there.Attrs(ctx); {
	case lerr == nil && isDir(a):
		return replicate.ErrIsDir
	case lerr != nil && !errors.Is(lerr, wire.NoSuchFile):
		return lerr
	}
	return t.explain(ctx, err, 0)
}

// firstStaging is firstError for requests that make something.
func firstStaging(ctx context.Context, calls []*wire.Call) error {
	var first error
	for _, call := range calls {
		if err := call.Status(ctx); err != nil && first == nil {
			first = fmt.Errorf("stage: %w", err)
		}
	}
	return first
}
