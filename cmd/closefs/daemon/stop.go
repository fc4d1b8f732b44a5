package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"closefs/cmd/closefs/control"
	"closefs/cmd/closefs/preflight"
)

const (
	// busyTime is how long open files are waited for before it is said who holds them.
	busyTime = 10 * time.Second
	// drainTime is how long, after the unmount, connected targets may take for
	// what is pending, and then the workers for what is in flight.
	drainTime = 10 * time.Second
)

// ErrDetached: the mount was detached while processes had files open in it.
var ErrDetached = errors.New("detached a mount that was in use")

// unmountRequest is the wish of `closefs unmount`.
type unmountRequest struct {
	ctx  context.Context
	done chan error
}

// untilGone returns when the mount is gone. The first signal unmounts as soon as
// no file is open, however long that takes: until then everything goes on. The
// second one detaches, so that nobody is left with a dead mount.
func (d *daemon) untilGone(ctx context.Context) error {
	for {
		select {
		case <-d.gone:
			d.log.Info("unmounted", "mountpoint", d.c.Mountpoint)
			d.setState(control.Stopping)
			return nil
		case r := <-d.unmounts:
			d.setState(control.Stopping)
			err := d.unmount(r.ctx)
			if err != nil {
				d.state.Store(control.Serving)
			}
			r.done <- err
		case s := <-d.o.Stop:
			d.log.Info("stopping", "signal", s.String())
			return d.stop()
		case <-ctx.Done():
			d.log.Info("stopping", "reason", context.Cause(ctx))
			return d.stop()
		}
	}
}

// stop unmounts, or detaches at the next signal.
func (d *daemon) stop() error {
	d.setState(control.Stopping)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	unmounted := make(chan struct{})
	go func() {
		defer close(unmounted)
		d.unmountWhenFree(ctx)
	}()
	for {
		select {
		case <-d.gone:
			return nil
		case r := <-d.unmounts:
			go d.tellOutcome(r)
		case s := <-d.o.Stop:
			cancel()
			<-unmounted
			return d.detach(s.String())
		}
	}
}

// tellOutcome answers a request to unmount while that is under way already.
func (d *daemon) tellOutcome(r unmountRequest) {
	ctx, cancel := context.WithTimeout(r.ctx, busyTime)
	defer cancel()
	select {
	case <-d.gone:
		r.done <- nil
	case <-ctx.Done():
		r.done <- fmt.Errorf("unmount %s: is stopping, and waits for open files", d.c.Mountpoint)
	}
}

// unmountWhenFree tries until the mount is gone or ctx ends; whoever holds it is
// logged once and again when others do.
func (d *daemon) unmountWhenFree(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		err := d.unmount(ctx)
		select {
		case <-d.gone:
			return
		default:
		}
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			d.log.Error("cannot unmount yet; serving on (a second signal detaches the mount)", "err", err)
		}
	}
}

// unmount waits up to busyTime for open files. *fs.BusyError says who has them.
func (d *daemon) unmount(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	if err := d.fs.Unmount(ctx); err != nil {
		return err
	}
	<-d.gone
	return nil
}

// detach takes the mount out of the tree although files are open in it, and, as
// root, cuts it off, so that nothing can be changed any more that would not be
// journaled: who has files open there loses them now.
func (d *daemon) detach(signal string) error {
	d.log.Warn("detaching the mount although it is in use", "signal", signal)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := d.fs.Settle(ctx); err != nil {
		d.log.Warn("some closes are journaled at the next start only", "err", err)
	}
	cut, err := preflight.Cut(d.c.Mountpoint)
	if err != nil {
		select {
		case <-d.gone: // it became free meanwhile
			return nil
		default:
			return err
		}
	}
	if cut {
		<-d.gone
	}
	return fmt.Errorf("%s: %w", d.c.Mountpoint, ErrDetached)
}

// drain ships what is pending to the targets that are connected, and lets the
// workers finish what is in flight. What remains is in the journal and goes out
// after the next start.
func (d *daemon) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	go func() { // another signal: do not wait
		select {
		case <-d.o.Stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	last := d.journal.Last()
	for _, t := range d.targets {
		d.drainTarget(ctx, t, last)
	}
	d.stopWorkers()
	finished := make(chan struct{})
	go func() { d.workers.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(drainTime):
		d.log.Warn("workers do not finish what is in flight; it is repeated after the next start")
	}
}
