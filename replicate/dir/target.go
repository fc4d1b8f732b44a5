package dir

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/replicate"
	"closefs/replicate/staging"
)

// A Target is one open target directory.
type Target struct {
	root   *backing.Root
	path   string // for messages, and for Heartbeat to see whether it still leads here
	tmp    int    // descriptor of .closefs/tmp
	trash  int    // descriptor of .closefs/trash
	caps   replicate.Caps
	names  *staging.Namer
	asRoot bool
	log    *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc

	// closing is held shared by every method while it uses descriptors, and
	// exclusively by Close. Lock order: closing, unlocking.
	closing sync.RWMutex
	closed  bool

	// unlocking is held while a directory's mode is not what it should be; see unlock.go.
	unlocking sync.Mutex
}

var _ replicate.Target = (*Target)(nil)

// Caps tells what the directory's filesystem can represent.
func (t *Target) Caps() replicate.Caps { return t.caps }

// Close ends the connection; a Put under way stops between two chunks.
func (t *Target) Close() error {
	t.cancel(replicate.ErrConnection)
	t.closing.Lock()
	defer t.closing.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	for _, fd := range []int{t.tmp, t.trash} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	return t.root.Close()
}

// do runs one method: it checks the path, keeps the descriptors open meanwhile,
// and names operation and path in the error.
func (t *Target) do(ctx context.Context, op, path string, f func() error) error {
	if err := staging.CheckPath(path); err != nil {
		return fmt.Errorf("%s: %w: %w", op, replicate.ErrUnsupported, err)
	}
	t.closing.RLock()
	defer t.closing.RUnlock()
	err := t.alive(ctx)
	if err == nil {
		err = f()
	}
	if err != nil {
		return fmt.Errorf("%s %q: %w", op, path, classify(err))
	}
	return nil
}

// alive is nil while neither the caller nor Close has given up.
func (t *Target) alive(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return context.Cause(t.ctx)
}

// classify adds the sentinel that an errno stands for. Errors that have one
// already stay as they are.
func classify(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) || hasSentinel(err) || errors.As(err, new(foreign)) {
		return err
	}
	if s := sentinel(errno); s != nil {
		return fmt.Errorf("%w: %w", s, err)
	}
	return err
}

// foreign is an error of the source or of ready: what its errno says is not
// said of the target.
type foreign struct{ error }

// Unwrap returns the error itself.
func (f foreign) Unwrap() error { return f.error }

func hasSentinel(err error) bool {
	for _, s := range []error{
		replicate.ErrConnection, replicate.ErrNotExist, replicate.ErrExist, replicate.ErrIsDir,
		replicate.ErrNotEmpty, replicate.ErrUnsupported, replicate.ErrPermission, replicate.ErrNoSpace,
	} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

func sentinel(errno unix.Errno) error {
	switch errno {
	case unix.ENOENT:
		return replicate.ErrNotExist
	case unix.EISDIR:
		return replicate.ErrIsDir
	case unix.EEXIST, unix.ENOTDIR:
		return replicate.ErrExist
	case unix.ENOTEMPTY:
		return replicate.ErrNotEmpty
	case unix.EACCES, unix.EPERM, unix.EROFS:
		return replicate.ErrPermission
	case unix.ENOSPC, unix.EDQUOT:
		return replicate.ErrNoSpace
	case unix.ENOTSUP, unix.ENOSYS, unix.ENAMETOOLONG, unix.EMLINK, unix.EFBIG, unix.EXDEV:
		return replicate.ErrUnsupported
	}
	if away(errno) {
		return replicate.ErrConnection
	}
	return nil
}

// away says whether err means that the filesystem itself is gone for now: a
// network filesystem's server, a device, a FUSE daemon.
func away(err error) bool {
	for _, e := range []unix.Errno{
		unix.ESTALE, unix.ENOTCONN, unix.ENODEV, unix.ENXIO, unix.ESHUTDOWN, unix.ETIMEDOUT,
		unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.EREMOTEIO, unix.ECONNREFUSED, unix.ECONNABORTED, unix.ECONNRESET,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
