package replicate

import (
	"context"
	"maps"
	"time"

	"closefs/fs/journal"
)

// Acked is the position up to which the journal may be dropped as far as this
// worker is concerned, after a crash too.
func (w *Worker) Acked() journal.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.progress.acked
}

// Status is a snapshot.
func (w *Worker) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.Errors = maps.Clone(s.Errors)
	s.Acked = w.shown
	s.NeedsReconcile = w.reconcile != noReconcile
	s.PendingChanges = int64(w.plan.Pending())
	s.PendingBytes = w.plan.PendingBytes()
	s.OldestPending = w.stamps.oldest()
	if last := w.opts.Journal.Last(); last > w.plan.Fed() {
		s.PendingChanges += int64(last - w.plan.Fed())
	}
	switch {
	case s.NeedsReconcile:
		s.OldestPending = w.reconcileSince()
	case s.OldestPending.IsZero() && s.PendingChanges > 0:
		s.OldestPending = time.Now() // appended, not fed yet
	}
	if s.State != Stopped {
		s.State = w.state(s.PendingChanges)
	}
	return s
}

// reconcileSince is how old what the target may miss can be.
func (w *Worker) reconcileSince() time.Time {
	if !w.since.IsZero() {
		return w.since
	}
	return w.started
}

func (w *Worker) state(pending int64) State {
	switch {
	case w.target == nil && w.reconcile != noReconcile && w.progress.met:
		return NeedsReconcile
	case w.target == nil:
		return Connecting
	case w.reconcile != noReconcile:
		return Reconciling
	case pending > 0:
		return Shipping
	}
	return Synced
}

// WaitAcked returns when every change up to pos is durable at the target or,
// given paths, when nothing is pending any more for these and what is below
// and above them. The error is ctx's.
func (w *Worker) WaitAcked(ctx context.Context, pos journal.Position, paths []string) error {
	tick := time.NewTicker(10 * time.Millisecond) // paths settle without a change of the acked position
	defer tick.Stop()
	for {
		w.mu.Lock()
		ok := w.reached(pos, paths)
		acks := w.acks
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-acks:
		case <-tick.C:
		}
	}
}

// reached tells whether what WaitAcked waits for is there. The caller holds mu.
func (w *Worker) reached(pos journal.Position, paths []string) bool {
	if w.reconcile != noReconcile {
		return false
	}
	if w.shown >= pos {
		return true
	}
	if len(paths) == 0 || w.plan.Fed() < pos {
		return false
	}
	for _, path := range paths {
		if w.plan.Owes(path) {
			return false
		}
	}
	return true
}
