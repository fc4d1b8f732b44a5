package preflight

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrServed: another instance has it.
var ErrServed = errors.New("already served by another instance of closefs")

// LockDir locks an open directory for this process (flock(2)); the kernel drops
// the lock when the process dies. ErrServed if another one has it.
func LockDir(what, path string, fd int) error {
	err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s %s: %w", what, path, ErrServed)
	}
	if err != nil {
		return fmt.Errorf("%s %s: lock: %w", what, path, err)
	}
	return nil
}

// StateDir makes the state directory (0700), locks it until the file returned
// is closed, and proves that something can be stored there.
func StateDir(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("state directory %s: %w", path, reason(err))
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("state directory %s: %w", path, reason(err))
	}
	if err := LockDir("state directory", path, int(dir.Fd())); err != nil {
		dir.Close()
		return nil, err
	}
	if err := probeWrite(filepath.Join(path, ".probe")); err != nil {
		dir.Close()
		return nil, fmt.Errorf("state directory %s: not writable: %w", path, reason(err))
	}
	return dir, nil
}

// probeWrite stores a block and removes it again: a full disk fails here, before
// the mount, and not at the application's first write.
func probeWrite(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 64<<10))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(path))
}

// reason drops the path that the message already has.
func reason(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
