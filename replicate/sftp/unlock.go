package sftp

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"closefs/replicate/sftp/wire"
	"closefs/replicate/staging"
)

// reach says what a step has to get at.
type reach struct {
	ways []string // paths whose parents have to be passable and writable
	// self is a path that is moved or read: a directory that moves to another
	// parent has to be writable for that, as its ".." changes.
	self  string
	lands string // where self is after success, absolute
}

// withAccess runs f, and once more with the directories of r made passable and
// writable for the account if it was denied and modes, which are the
// primary's, shut the account out. They are put back at once, whatever f says.
// Losing the connection meanwhile leaves them with u+wx added, which a
// reconcile mends.
func (t *Target) withAccess(ctx context.Context, r reach, f func() error) error {
	err := f()
	if !errors.Is(err, wire.PermissionDenied) {
		return err
	}
	t.unlocking.Lock()
	defer t.unlocking.Unlock()
	var opened []unlocked
	for _, path := range r.ways {
		opened = t.unlockWay(ctx, path, opened)
	}
	if r.self != "" {
		opened = t.widen(ctx, r.self, unix.S_IRWXU, opened)
	}
	if len(opened) == 0 {
		return err
	}
	err = f()
	t.relock(ctx, opened, r, err == nil)
	return err
}

// unlocked is a directory whose mode has been widened.
type unlocked struct {
	abs  string
	mode uint32
}

// unlockWay widens what is too narrow on the way to path and appends it to opened.
func (t *Target) unlockWay(ctx context.Context, path string, opened []unlocked) []unlocked {
	up, _ := staging.Split(path)
	for i := 0; i < len(up); i++ {
		if i == 0 || up[i] == '/' {
			opened = t.widen(ctx, up[:i], unix.S_IXUSR, opened)
		}
	}
	return t.widen(ctx, up, unix.S_IWUSR|unix.S_IXUSR, opened)
}

// widen adds the bits of want to the mode of directory path if it lacks them.
func (t *Target) widen(ctx context.Context, path string, want uint32, opened []unlocked) []unlocked {
	abs := t.abs(path)
	a, err := t.lstatNow(ctx, abs)
	if err != nil || path != "" && !isDir(a) || a.Mode&want == want {
		return opened
	}
	b := t.main.Batch()
	call := b.Setstat(abs, wire.Attrs{Flags: wire.AttrPermissions, Mode: a.Mode&0o7777 | want})
	b.Send()
	if call.Status(ctx) != nil {
		return opened
	}
	return append(opened, unlocked{abs: abs, mode: a.Mode & 0o7777})
}

// relock puts the modes back, innermost first, where the directories are now.
// It goes on if the caller has given up meanwhile.
func (t *Target) relock(ctx context.Context, opened []unlocked, r reach, moved bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	b := t.main.Batch()
	var calls []*wire.Call
	for i := len(opened) - 1; i >= 0; i-- {
		abs := opened[i].abs
		if from := t.abs(r.self); moved && r.self != "" && (abs == from || strings.HasPrefix(abs, from+"/")) {
			abs = r.lands + strings.TrimPrefix(abs, from)
		}
		calls = append(calls, b.Setstat(abs, wire.Attrs{Flags: wire.AttrPermissions, Mode: opened[i].mode}))
	}
	b.Send()
	if err := firstError(ctx, calls); err != nil {
		t.log.Warn("cannot put back the mode of a directory", "target", t.root, "error", err)
	}
}
