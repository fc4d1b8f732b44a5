package sftp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"closefs/replicate"
	"closefs/replicate/sftp/wire"
	"closefs/replicate/staging"
)

// open makes a Target of a connection that session starts SFTP sessions on and
// hangUp ends. After an error the caller ends the connection.
func (d *Dialer) open(ctx context.Context, session func(context.Context) (*wire.Client, error), hangUp func() error) (*Target, error) {
	main, err := session(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: start sftp: %w", d.addr(), replicate.ErrConnection, err)
	}
	t := &Target{
		main: main, bulk: main, hangs: hangUp,
		root:      d.o.Path,
		names:     staging.NewNamer(d.o.Instance, rand.Uint64()),
		log:       d.o.Log,
		bulkSlots: make(chan struct{}, bulkPuts),
		lstat:     main.Has(wire.ExtLsetstat),
		vfs:       main.Has(wire.ExtStatVFS),
		caps: replicate.Caps{
			Fsync:    main.Has(wire.ExtFsync),
			Hardlink: main.Has(wire.ExtHardlink),
			TimeUnit: time.Second,
		},
	}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	if bulk, err := session(ctx); err == nil {
		t.bulk = bulk
	} else {
		d.o.Log.Info("large files share the session of small ones", "target", d.String(), "error", err)
	}
	if err := d.prepare(ctx, t); err != nil {
		t.Close()
		return nil, err
	}
	go t.follow()
	return t, nil
}

// prepare checks the target directory, makes the staging area on the first
// meeting, empties it of what was left, and finds out what the account may do.
func (d *Dialer) prepare(ctx context.Context, t *Target) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !t.main.Has(wire.ExtPosixRename) {
		return d.refused(errors.New("the server does not offer posix-rename@openssh.com, without which nothing can be replaced atomically"))
	}
	b := t.main.Batch()
	root, own := b.Stat(t.root), b.Lstat(t.abs(staging.Dir))
	b.Send()
	a, err := root.Attrs(ctx)
	o, ownErr := own.Attrs(ctx)
	switch {
	case errors.Is(err, wire.NoSuchFile):
		return d.refused(errors.New("does not exist"))
	case err != nil:
		return d.refused(err)
	case !isDir(a):
		return d.refused(errors.New("is not a directory"))
	case ownErr == nil && !isDir(o):
		return d.refused(fmt.Errorf("%s is not a directory", staging.Dir))
	}
	if errors.Is(ownErr, wire.NoSuchFile) && d.met {
		names, err := t.readDir(ctx, t.root)
		if err == nil && len(names) == 0 {
			err = errors.New("is empty, and was not before: is its filesystem mounted? (If it was emptied on purpose, make .closefs in it.)")
		}
		if err != nil {
			return d.refused(err)
		}
	}
	for _, step := range []func(context.Context) error{t.makeStaging, t.sweep, t.probe} {
		if err := step(ctx); err != nil {
			return d.refused(err)
		}
	}
	d.met = true
	return nil
}

// refused names the target directory in an error that ends a Dial. One that only
// means that the connection was lost stays so.
func (d *Dialer) refused(err error) error {
	err = classify(err)
	if errors.Is(err, replicate.ErrConnection) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("target directory %s of %s: %w", d.o.Path, d.addr(), err)
	}
	return fmt.Errorf("target directory %s of %s: %w: %w", d.o.Path, d.addr(), replicate.ErrRefused, err)
}

// makeStaging makes .closefs, unless it is there. The caller has seen that
// nothing else is in its place, above all no symlink.
func (t *Target) makeStaging(ctx context.Context) error {
	dirs := []string{staging.Dir, staging.Tmp, staging.Trash}
	var made, seen []*wire.Call
	b := t.main.Batch()
	for _, dir := range dirs {
		made = append(made, b.Mkdir(t.abs(dir), wire.Attrs{Flags: wire.AttrPermissions, Mode: 0o700}))
		seen = append(seen, b.Lstat(t.abs(dir)))
	}
	b.Send()
	for i, dir := range dirs {
		makeErr := made[i].Status(ctx)
		a, err := seen[i].Attrs(ctx)
		if errors.Is(err, wire.NoSuchFile) && makeErr != nil {
			return fmt.Errorf("not writable: make %s: %w", dir, t.explain(ctx, makeErr, 0))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		if !isDir(a) {
			return fmt.Errorf("%s is not a directory", dir)
		}
		if err := t.makePrivate(ctx, dir, a); err != nil {
			return err
		}
	}
	return nil
}

// makePrivate gives a directory of the staging area the mode 0700: some servers
// pay no heed to the mode that a directory is made with.
func (t *Target) makePrivate(ctx context.Context, dir string, a wire.Attrs) error {
	if a.Mode&0o777 == 0o700 {
		return nil
	}
	b := t.main.Batch()
	call := b.Setstat(t.abs(dir), wire.Attrs{Flags: wire.AttrPermissions, Mode: 0o700})
	b.Send()
	if err := call.Status(ctx); err != nil {
		return fmt.Errorf("make %s private: %w", dir, err)
	}
	return nil
}

// sweep removes what earlier connections left in .closefs/tmp.
func (t *Target) sweep(ctx context.Context) error {
	names, err := t.readDir(ctx, t.abs(staging.Tmp))
	if err != nil {
		return fmt.Errorf("read %s: %w", staging.Tmp, err)
	}
	b := t.main.Batch()
	removed := make(map[string]*wire.Call)
	for _, n := range names {
		if t.names.Stale(n.Name, time.Now()) {
			removed[n.Name] = b.Remove(t.abs(staging.Tmp + "/" + n.Name))
		}
	}
	b.Send()
	for name, call := range removed {
		if err := call.Status(ctx); err != nil && !errors.Is(err, wire.NoSuchFile) {
			t.log.Warn("cannot remove a staged file that was left behind", "target", t.root, "name", name, "error", err)
		}
	}
	return nil
}

// strangerID is a uid and gid that the account itself will hardly have.
const strangerID = 65533

// probe proves that the directory is writable, by a file that also tells whether
// the account may give files away.
func (t *Target) probe(ctx context.Context) error {
	staged := t.tmpPath()
	b := t.main.Batch()
	opened := b.Open(staged, wire.FlagCreate|wire.FlagExcl|wire.FlagWrite, wire.Attrs{Flags: wire.AttrPermissions, Mode: 0o600})
	b.Send()
	h, err := opened.Handle(ctx)
	if err != nil {
		return fmt.Errorf("not writable: %w", err)
	}
	b = t.main.Batch()
	chown := b.Fsetstat(h, wire.Attrs{Flags: wire.AttrOwner, UID: strangerID, GID: strangerID})
	fstat := b.Fstat(h)
	closed, removed := b.Close(h), b.Remove(staged)
	b.Send()
	a, err := fstat.Attrs(ctx)
	t.caps.Owner = chown.Status(ctx) == nil && err == nil && a.UID == strangerID
	if err := errors.Join(closed.Status(ctx), removed.Status(ctx)); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}
