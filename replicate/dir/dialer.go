package dir

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/replicate"
	"closefs/replicate/staging"
)

// Options configure a Dialer.
type Options struct {
	Path     string // the target directory, absolute
	Instance string // who ships, for the names of staged files; "": the host name
	// Met says that this target has been shipped to before, by an earlier process
	// too: an empty directory there is then an unmounted mountpoint, and refused.
	Met bool
	Log *slog.Logger
}

// A Dialer opens one target directory.
type Dialer struct {
	path     string
	instance string
	log      *slog.Logger

	mu  sync.Mutex
	met bool // .closefs has been seen below path, or is known to have been
}

var _ replicate.Dialer = (*Dialer)(nil)

// New checks the options; nothing is opened yet.
func New(o Options) (*Dialer, error) {
	if !filepath.IsAbs(o.Path) {
		return nil, fmt.Errorf("target directory %q: not an absolute path", o.Path)
	}
	if o.Instance == "" {
		o.Instance, _ = os.Hostname()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Dialer{path: filepath.Clean(o.Path), instance: o.Instance, log: o.Log, met: o.Met}, nil
}

// String is the path.
func (d *Dialer) String() string { return d.path }

// Dial opens the directory; see replicate.Dialer.
func (d *Dialer) Dial(ctx context.Context) (replicate.Target, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := backing.Open(d.path)
	if err != nil {
		return nil, refused(d.path, err)
	}
	t := &Target{
		root:   root,
		path:   d.path,
		log:    d.log,
		names:  staging.NewNamer(d.instance, rand.Uint64()),
		asRoot: os.Geteuid() == 0,
		tmp:    -1, trash: -1,
	}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	if err := d.prepare(t); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// refused makes the error of a Dial that cannot succeed until somebody acts,
// or one that may, if the filesystem below path is only away for now.
func refused(path string, err error) error {
	if away(err) {
		return fmt.Errorf("target directory %s: %w: %w", path, replicate.ErrConnection, err)
	}
	return fmt.Errorf("target directory %s: %w: %w", path, replicate.ErrRefused, err)
}

// prepare opens the staging area, making it on the first meeting, removes what
// was left in it, and finds out what the filesystem can represent.
func (d *Dialer) prepare(t *Target) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.notEmptied(t); err != nil {
		return refused(d.path, err)
	}
	own, err := makeDir(t.root.FD(), staging.Dir)
	if err != nil {
		return refused(d.path, err)
	}
	defer unix.Close(own)
	d.met = true
	if t.tmp, err = makeDir(own, path.Base(staging.Tmp)); err != nil {
		return refused(d.path, err)
	}
	if t.trash, err = makeDir(own, path.Base(staging.Trash)); err != nil {
		return refused(d.path, err)
	}
	if err := t.sweep(time.Now()); err != nil {
		return err
	}
	if err := t.probe(); err != nil {
		return refused(d.path, err)
	}
	return nil
}

// notEmptied is an error if a target that was met before has nothing in it.
func (d *Dialer) notEmptied(t *Target) error {
	if _, err := t.root.Lstat(staging.Dir); !d.met || !errors.Is(err, unix.ENOENT) {
		return nil
	}
	names, err := readNames(t.root.FD())
	if err == nil && len(names) == 0 {
		err = errors.New("it is empty, and was not before: is its filesystem mounted? (If it was emptied on purpose, make .closefs in it.)")
	}
	return err
}

// makeDir makes the directory name in the directory at, unless it is there, and
// opens it. Anything else in its place, a symlink above all, is an error.
func makeDir(at int, name string) (int, error) {
	if err := unix.Mkdirat(at, name, 0o700); err != nil && err != unix.EEXIST {
		return -1, fmt.Errorf("make %s: %w", name, err)
	}
	fd, err := openBeneath(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	if err := unix.Fchmod(fd, 0o700); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("make %s private: %w", name, err)
	}
	return fd, nil
}

// sweep removes what earlier connections left in .closefs/tmp. Nothing in it is
// a directory.
func (t *Target) sweep(now time.Time) error {
	names, err := readNames(t.tmp)
	if err != nil {
		return refused(t.path, fmt.Errorf("read %s: %w", staging.Tmp, err))
	}
	for _, name := range names {
		if !t.names.Stale(name, now) {
			continue
		}
		if err := unix.Unlinkat(t.tmp, name, 0); err != nil && err != unix.ENOENT {
			t.log.Warn("cannot remove a staged file that was left behind", "target", t.path, "name", name, "error", err)
		}
	}
	return nil
}

// probe proves that the directory is writable, by a file that also tells
// whether the filesystem stores extended attributes.
func (t *Target) probe() error {
	name := t.names.Tmp(time.Now())
	fd, err := unix.Openat(t.tmp, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("not writable: %w", err)
	}
	defer unix.Close(fd)
	defer func() { _ = unix.Unlinkat(t.tmp, name, 0) }()
	xattr := unix.Fsetxattr(fd, "user.closefs.probe", []byte("1"), 0) == nil
	t.caps = replicate.Caps{
		Fsync:    true,
		Hardlink: unix.Linkat(t.tmp, name, t.tmp, name+"l", 0) == nil,
		Special:  true,
		Owner:    t.asRoot,
		Xattr:    xattr,
		TimeUnit: time.Nanosecond,
	}
	if t.caps.Hardlink {
		return unix.Unlinkat(t.tmp, name+"l", 0)
	}
	return nil
}
