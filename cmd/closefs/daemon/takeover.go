package daemon

import (
	"context"
	"errors"
	"fmt"

	"closefs/cmd/closefs/preflight"
	"closefs/fs/backing"
	"closefs/fs/journal"
)

// takeOver opens the backing directory while the mount that a killed closefs left
// stays where it is. Were it detached before there is a new one, the application
// would see, in place, the directory itself, and what it changes there would be
// journaled by nobody. Where this cannot be done, that moment is, and is owned up to.
func (d *daemon) takeOver(ctx context.Context, places preflight.Places, undo *closers) error {
	if err := preflight.ClearAllButOne(ctx, d.c.Mountpoint, d.log); err != nil {
		return err
	}
	err := preflight.Beneath(d.c.Mountpoint, func() error {
		if err := places.Check(); err != nil || !places.InPlace() {
			return err
		}
		return d.openCovered()
	})
	switch {
	case errors.Is(err, preflight.ErrHidden):
		return d.uncover(ctx, places, err, undo)
	case err != nil:
		return err
	}
	d.dead = true
	if d.root == nil {
		return d.openBacking(undo) // not in place: nothing hides it
	}
	return d.lockBacking(undo)
}

// openCovered opens the backing directory where the mountpoint is not covered.
func (d *daemon) openCovered() (err error) {
	if d.root, err = backing.OpenDetached(d.c.Backing); err != nil {
		return fmt.Errorf("%w: %w", preflight.ErrHidden, err)
	}
	return nil
}

// uncover detaches the dead mount first. The Gap comes before that: a crash in
// between, or later, leaves it to be found by every target.
func (d *daemon) uncover(ctx context.Context, places preflight.Places, why error, undo *closers) error {
	d.log.Warn("changes may go unseen until the mount is there: every target is reconciled", "reason", why)
	if _, err := d.journal.Append(&journal.Record{Kind: journal.Gap}); err != nil {
		d.log.Error("change not journaled", "err", err) // the journal owes the Gap from now on
	}
	if err := preflight.ClearDead(ctx, d.c.Mountpoint, d.log); err != nil {
		return err
	}
	if err := places.Check(); err != nil {
		return err
	}
	return d.openBacking(undo)
}
