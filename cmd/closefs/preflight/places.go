// Package preflight looks at the machine before a mount: whether the
// directories are there and apart from each other, whether another instance
// serves them, whether FUSE is there. Nothing is changed but a dead mount detached.
package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"closefs/cmd/closefs/config"
)

// Places are the directories of one mount, absolute and free of symlinks.
type Places struct {
	Backing    string
	Mountpoint string // the same as Backing: in place
	State      string
	Targets    []config.Address
}

// Check looks at all of them. Errors that wrap config.ErrInvalid are about what
// was asked for; the others about what the machine has.
func (p Places) Check() error {
	if err := directory("backing directory", p.Backing); err != nil {
		return err
	}
	if err := directory("mountpoint", p.Mountpoint); err != nil {
		return err
	}
	if err := p.checkBacking(); err != nil {
		return err
	}
	if err := p.checkState(); err != nil {
		return err
	}
	return p.checkTargets()
}

// InPlace says that the backing directory is what the mount will cover.
func (p Places) InPlace() bool { return sameFile(p.Backing, p.Mountpoint) }

func (p Places) checkBacking() error {
	if p.InPlace() {
		return nil
	}
	if inside(p.Backing, p.Mountpoint) {
		return misplaced("backing directory", p.Backing, "inside the mountpoint", p.Mountpoint)
	}
	if inside(p.Mountpoint, p.Backing) {
		return misplaced("mountpoint", p.Mountpoint, "inside the backing directory", p.Backing)
	}
	return nil
}

// checkState keeps the journal out of what it journals and out of the mount,
// where writing it would wait for itself.
func (p Places) checkState() error {
	if inside(p.State, p.Backing) {
		return misplaced("state directory", p.State, "inside the backing directory", p.Backing)
	}
	if inside(p.State, p.Mountpoint) {
		return misplaced("state directory", p.State, "inside the mountpoint", p.Mountpoint)
	}
	return nil
}

func (p Places) checkTargets() error {
	for i, a := range p.Targets {
		for _, b := range p.Targets[:i] {
			if a.Overlaps(b) || a.Local() && b.Local() && (inside(a.Path, b.Path) || inside(b.Path, a.Path)) {
				return fmt.Errorf("targets %s and %s: are the same place or one inside the other: %w", b, a, config.ErrInvalid)
			}
		}
		if !a.Local() {
			continue
		}
		for _, other := range []struct{ what, path string }{
			{"backing directory", p.Backing}, {"mountpoint", p.Mountpoint}, {"state directory", p.State}} {
			if inside(a.Path, other.path) {
				return misplaced("target", a.Path, "inside the "+other.what, other.path)
			}
			if inside(other.path, a.Path) {
				return misplaced(other.what, other.path, "inside the target", a.Path)
			}
		}
	}
	return nil
}

func misplaced(what, path, where, dir string) error {
	if path == dir {
		return fmt.Errorf("%s %s: has to be apart from the other directories, but is or lies %s: %w", what, path, where, config.ErrInvalid)
	}
	return fmt.Errorf("%s %s: lies %s %s: %w", what, path, where, dir, config.ErrInvalid)
}

func directory(what, path string) error {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s: does not exist", what, path)
	case err != nil:
		return fmt.Errorf("%s %s: %w", what, path, errors.Unwrap(err))
	case !fi.IsDir():
		return fmt.Errorf("%s %s: is not a directory", what, path)
	}
	return nil
}

// inside says whether p is dir or below it, by their names and, which sees
// through bind mounts, by identity of p's ancestors. p need not exist.
func inside(p, dir string) bool {
	p = realPath(p)
	for {
		if config.Inside(p, dir) || sameFile(p, dir) {
			return true
		}
		if p == "/" {
			return false
		}
		p = filepath.Dir(p)
	}
}

// realPath resolves the symlinks in what exists of p.
func realPath(p string) string {
	if real, err := filepath.EvalSymlinks(p); err == nil {
		return real
	}
	if p == "/" {
		return p
	}
	return filepath.Join(realPath(filepath.Dir(p)), filepath.Base(p))
}

func sameFile(a, b string) bool {
	fa, errA := os.Stat(a)
	fb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(fa, fb)
}

// FUSE says whether this kernel offers it to us.
func FUSE() error {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) && os.Geteuid() != 0 {
		return nil // fusermount3 opens it for an ordinary user
	}
	if err != nil {
		return fmt.Errorf("open /dev/fuse: %w: want a kernel with FUSE (modprobe fuse) and, in a container, access to /dev/fuse", err)
	}
	return unix.Close(fd)
}
