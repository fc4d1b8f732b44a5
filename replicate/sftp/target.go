package sftp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"closefs/replicate"
	"closefs/replicate/sftp/wire"
	"closefs/replicate/staging"
)

// bulkSize is from where on, in bytes, a file goes through the bulk session.
const bulkSize = 256 << 10

// bulkPuts bounds the puts under way on the bulk session, and so the memory for
// what is sent ahead.
const bulkPuts = 8

// A Target is one SSH connection with two SFTP sessions.
type Target struct {
	main  *wire.Client
	bulk  *wire.Client // for large files; main itself where the server allows one session only
	hangs func() error // ends the connection

	root  string // the target directory
	caps  replicate.Caps
	lstat bool // lsetstat@openssh.com is offered
	vfs   bool // statvfs@openssh.com is offered
	names *staging.Namer
	log   *slog.Logger

	bulkSlots chan struct{} // one token for each put under way on bulk
	parents   parents

	ctx    context.Context // ends with Close or the connection
	cancel context.CancelCauseFunc
	closed sync.Once

	// unlocking is held while a directory's mode is not what it should be; see unlock.go.
	unlocking sync.Mutex
}

var _ replicate.Target = (*Target)(nil)

// Caps tells what the server and the account allow.
func (t *Target) Caps() replicate.Caps { return t.caps }

// Close ends the connection. It does not wait for the server: the connection
// goes first, since saying goodbye on one that is stuck would wait for ever.
func (t *Target) Close() (err error) {
	t.closed.Do(func() {
		t.cancel(fmt.Errorf("%w: closed", replicate.ErrConnection))
		err = t.hangs()
		t.main.Close()
		if t.bulk != t.main {
			t.bulk.Close()
		}
	})
	return err
}

// follow ends the target when one of its sessions has ended.
func (t *Target) follow() {
	select {
	case <-t.main.Done():
	case <-t.bulk.Done():
	case <-t.ctx.Done():
	}
	t.Close()
}

// do runs one method: it checks the path, ends f's waiting when the connection
// or the caller ends, and gives the error operation, path and sentinel.
func (t *Target) do(ctx context.Context, op, path string, f func(ctx context.Context) error) error {
	if err := staging.CheckPath(path); err != nil {
		return fmt.Errorf("%s: %w: %w", op, replicate.ErrUnsupported, err)
	}
	if len(path) > pathMax-len(t.root)-1 {
		return fmt.Errorf("%s %.40q…: %w: the path has %d bytes", op, path, replicate.ErrUnsupported, len(path))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	err := ctx.Err()
	if err == nil {
		err = f(ctx)
	}
	if err != nil && t.ctx.Err() != nil && !errors.Is(err, replicate.ErrConnection) {
		err = fmt.Errorf("%w: %w", replicate.ErrConnection, err)
	}
	if err != nil {
		return fmt.Errorf("%s %q: %w", op, path, classify(err))
	}
	return nil
}

// pathMax is PATH_MAX of a Linux server, without the final NUL: sftp-server
// resolves whole paths only.
const pathMax = 4095

// abs is path as the server wants it.
func (t *Target) abs(path string) string {
	switch {
	case path == "":
		return t.root
	case t.root == "/":
		return "/" + path
	}
	return t.root + "/" + path
}

// tmpPath is a new name in .closefs/tmp, absolute.
func (t *Target) tmpPath() string {
	return t.abs(staging.Tmp + "/" + t.names.Tmp(time.Now()))
}

// classify adds the sentinel that a status stands for, unless err has one.
func classify(err error) error {
	if hasSentinel(err) {
		return err
	}
	for status, s := range map[error]error{
		wire.NoSuchFile:       replicate.ErrNotExist,
		wire.PermissionDenied: replicate.ErrPermission,
		wire.OpUnsupported:    replicate.ErrUnsupported,
		wire.BadMessage:       replicate.ErrUnsupported, // EINVAL and ENAMETOOLONG, from OpenSSH
		wire.NoConnection:     replicate.ErrConnection,
		wire.ConnectionLost:   replicate.ErrConnection,
		wire.ErrClosed:        replicate.ErrConnection,
		wire.ErrPacket:        replicate.ErrConnection,
	} {
		if errors.Is(err, status) {
			return fmt.Errorf("%w: %w", s, err)
		}
	}
	return err
}

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

// explain tells a full disk from the other reasons of a generic failure of
// something that needed so many bytes.
func (t *Target) explain(ctx context.Context, err error, need int64) error {
	if !errors.Is(err, wire.Failure) || hasSentinel(err) || !t.vfs {
		return err
	}
	b := t.main.Batch()
	call := b.StatVFS(t.abs(staging.Tmp))
	b.Send()
	v, verr := call.VFS(ctx)
	if verr != nil {
		return err
	}
	switch free := v.Available * v.FragmentSize; {
	case free < uint64(max(need, 1)):
		return fmt.Errorf("%w (%d bytes free): %w", replicate.ErrNoSpace, free, err)
	case v.Files > 0 && v.FilesAvailable == 0:
		return fmt.Errorf("%w (no inode is free): %w", replicate.ErrNoSpace, err)
	}
	return err
}

// lstatNow describes an absolute path.
func (t *Target) lstatNow(ctx context.Context, abs string) (wire.Attrs, error) {
	b := t.main.Batch()
	call := b.Lstat(abs)
	b.Send()
	return call.Attrs(ctx)
}
