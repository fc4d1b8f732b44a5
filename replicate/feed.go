package replicate

import (
	"errors"
	"time"

	"closefs/fs/journal"
	"closefs/replicate/plan"
)

// feed gives the plan the records that have come, as far as there is room. The
// caller holds mu.
func (w *Worker) feed() {
	for w.reader != nil && w.room() {
		if !w.reader.Next() {
			w.readError(w.reader.Err())
			break
		}
		r := w.reader.Record()
		if r.Kind == journal.Gap {
			w.abandon("changes are missing from the journal")
			break
		}
		w.stamps.add(r.Pos, r.Time)
		if r.Kind == journal.Heartbeat {
			w.status.HeartbeatSent = r.Time
		}
		w.plan.Add(r, w.progress.done[r.Pos])
	}
	w.settled()
}

// room tells whether the plan may take another record. Beyond the window it takes
// some if a source is not what its record saw: a record that is still to come
// tells why, and nothing else can help.
func (w *Worker) room() bool {
	if w.plan.Load() < w.opts.Window || w.plan.Fed() < w.replay {
		return true
	}
	if w.extra > 0 {
		w.extra--
		return true
	}
	// A close that is still to come may be all that is waited for.
	return w.inFlight == 0 && w.plan.Ready() == 0 && w.plan.Waiting() > 0
}

// fedAll tells whether the plan has seen every record that was appended.
func (w *Worker) fedAll() bool {
	last := w.opts.Journal.Last() // what comes later cannot have been seen by the caller
	w.feed()
	return w.reader != nil && w.plan.Fed() >= last
}

// settled logs what has been met and moves the acked position on. Nothing that
// relies on it may have begun before.
func (w *Worker) settled() {
	if err := w.progress.log(w.plan.TakeSettled()); err != nil {
		// What was done may be forgotten: only a comparison is safe after a restart.
		w.failed("state", err)
		w.abandon("its progress could not be stored")
		return
	}
	acked := w.plan.Acked()
	if acked == w.stamps.acked {
		return
	}
	w.stamps.ack(acked)
	if w.reconcile != noReconcile {
		return
	}
	if !w.stamps.last.IsZero() {
		w.since = w.stamps.last.Add(-timeSlack)
	}
	w.show(acked)
}

// show publishes a new acked position.
func (w *Worker) show(acked journal.Position) {
	w.shown = acked
	w.status.LastAckedAt = time.Now()
	close(w.acks)
	w.acks = make(chan struct{})
}

func (w *Worker) readError(err error) {
	switch {
	case err == nil:
	case errors.Is(err, journal.ErrTruncated):
		w.abandon("the journal dropped what it was still owed")
	default:
		w.failed("journal", err)
		w.abandon("the journal cannot be read: " + err.Error())
	}
}

// abandon gives up the records that are pending: a reconcile will do their work.
func (w *Worker) abandon(why string) {
	if w.reader != nil {
		w.reader.Close()
		w.reader = nil
	}
	w.needReconcile(why)
}

// beginReconcile starts over at the journal's end with a comparison of
// everything. Nothing is in flight.
func (w *Worker) beginReconcile() {
	last := w.opts.Journal.Last()
	r, err := w.opts.Journal.NewReader(last)
	if err != nil {
		w.failed("journal", err)
		return
	}
	if w.since.IsZero() {
		w.since = time.Now().Add(-timeSlack)
	}
	if err := w.progress.begin(last, w.since); err != nil {
		r.Close()
		w.failed("state", err)
		return
	}
	if w.reader != nil {
		w.reader.Close()
	}
	w.reader = r
	w.newPlan(last)
	w.compareAll()
	w.log.Info("reconcile begins")
}

// resumeReconcile compares everything once more, beside the records since the
// reconcile began: they tell which of what only the target has was shipped by it.
func (w *Worker) resumeReconcile() {
	w.compareAll()
	w.log.Info("reconcile goes on, it was not finished")
}

func (w *Worker) compareAll() {
	w.status.Reconcile = ReconcileStatus{Started: time.Now()}
	w.status.OnlyAtTarget = 0
	clear(w.names)
	w.reconcile = reconcileRunning
	w.plan.AddCheck("", w.extras(), true)
}

// extras is what happens to what only the target has: kept until the target has
// once been the primary's copy.
func (w *Worker) extras() plan.Extras {
	if w.progress.met {
		return plan.RemoveExtras
	}
	return plan.KeepExtras
}

// endReconcile notes that all that the comparison found is done.
func (w *Worker) endReconcile() {
	if err := w.progress.finish(); err != nil {
		w.failed("state", err)
		return
	}
	w.reconcile = noReconcile
	clear(w.names)
	r := w.status.Reconcile
	w.log.Info("reconcile done", "directories", r.Dirs, "entries", r.Files, "different", r.Differ,
		"only_at_target", w.status.OnlyAtTarget, "took", time.Since(r.Started).Round(time.Millisecond))
	w.show(w.plan.Acked())
}
