package sftp

import (
	"context"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"closefs/replicate"
	"closefs/replicate/sftp/wire"
)

func isDir(a wire.Attrs) bool     { return a.Mode&unix.S_IFMT == unix.S_IFDIR }
func isSymlink(a wire.Attrs) bool { return a.Mode&unix.S_IFMT == unix.S_IFLNK }

// SetAttr changes the attributes of path; see replicate.Target.
func (t *Target) SetAttr(ctx context.Context, path string, attr replicate.Attr) error {
	return t.do(ctx, "set attributes of", path, func(ctx context.Context) error {
		return t.withAccess(ctx, reach{ways: []string{path}}, func() error { return t.setAttr(ctx, path, attr) })
	})
}

func (t *Target) setAttr(ctx context.Context, path string, attr replicate.Attr) error {
	if path != "" {
		if err := t.verify(ctx, path); err != nil {
			return err
		}
	}
	if known, _ := t.parents.has(path); !known {
		a, err := t.lstatNow(ctx, t.abs(path))
		if err != nil {
			return err
		}
		if isSymlink(a) {
			return t.setSymlink(ctx, t.abs(path), attr)
		}
	}
	b := t.main.Batch()
	var calls []*wire.Call
	for _, a := range t.attrs(attr) {
		calls = append(calls, b.Setstat(t.abs(path), a))
	}
	b.Send()
	return firstError(ctx, calls)
}

// attrs are the requests that set attr, in their order: a change of owner
// clears the set-id bits, so that the mode comes after it. Within one request
// OpenSSH would do it the other way round.
func (t *Target) attrs(attr replicate.Attr) []wire.Attrs {
	rest := wire.Attrs{Flags: wire.AttrPermissions, Mode: attr.Mode & 0o7777}
	if !attr.Mtime.IsZero() {
		rest.Flags |= wire.AttrTimes
		rest.Atime, rest.Mtime = times(attr)
	}
	if !t.caps.Owner {
		return []wire.Attrs{rest}
	}
	return []wire.Attrs{{Flags: wire.AttrOwner, UID: attr.UID, GID: attr.GID}, rest}
}

// setSymlink sets a symlink's own owner and times, where that is possible.
func (t *Target) setSymlink(ctx context.Context, abs string, attr replicate.Attr) error {
	b := t.main.Batch()
	calls := t.symlinkAttrs(b, abs, attr)
	b.Send()
	return firstError(ctx, calls)
}

// symlinkAttrs adds the requests of setSymlink to a batch.
func (t *Target) symlinkAttrs(b *wire.Batch, abs string, attr replicate.Attr) []*wire.Call {
	if !t.lstat {
		return nil
	}
	var a wire.Attrs
	if t.caps.Owner {
		a.Flags |= wire.AttrOwner
		a.UID, a.GID = attr.UID, attr.GID
	}
	if !attr.Mtime.IsZero() {
		a.Flags |= wire.AttrTimes
		a.Atime, a.Mtime = times(attr)
	}
	return []*wire.Call{b.Lsetstat(abs, a)}
}

// times are attr's times in seconds. The protocol sets both or none: a missing
// access time becomes the modification time.
func times(attr replicate.Attr) (atime, mtime uint32) {
	if attr.Atime.IsZero() {
		attr.Atime = attr.Mtime
	}
	return seconds(attr.Atime), seconds(attr.Mtime)
}

// seconds rounds down to what the protocol can say.
func seconds(at time.Time) uint32 {
	return uint32(min(max(at.Unix(), 0), math.MaxUint32))
}

// firstError waits for all calls and returns the error of the first that failed.
func firstError(ctx context.Context, calls []*wire.Call) error {
	var first error
	for _, call := range calls {
		if err := call.Status(ctx); err != nil && first == nil {
			first = err
		}
	}
	if first != nil {
		return fmt.Errorf("set attributes: %w", first)
	}
	return nil
}
