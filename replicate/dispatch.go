package replicate

import (
	"context"
	"errors"
	"time"

	"closefs/replicate/plan"
)

// result is how a step ended.
type result struct {
	step   plan.Step
	gen    int
	target Target
	why    plan.Outcome // 0: done
	found  []plan.Found // Check
	err    error
	moved  bool // the source is not what its record saw

	shipped     bool  // content was published
	bytes       int64 // of it
	unsupported bool  // the target cannot represent it
	heartbeat   time.Time
	dirs, files int64 // compared
	kept        int64 // only at the target, left there
}

// dispatch starts as many steps as may run and tells how long to wait for the
// next that has to be tried again. The caller holds mu.
func (w *Worker) dispatch(ctx, steps context.Context, results chan<- result) time.Duration {
	now := time.Now()
	next := w.wakeDue(now)
	if w.target == nil || ctx.Err() != nil || w.plan.Fed() < w.replay {
		return next
	}
	if w.reconcile == reconcileNeeded {
		if w.inFlight > 0 {
			return next
		}
		w.beginReconcile()
		if w.reconcile == reconcileNeeded { // it could not be stored: nothing of the old plan is to go on
			return next
		}
	}
	if wait := w.pause.Sub(now); wait > 0 {
		return min(next, wait)
	}
	for w.inFlight < w.opts.InFlight {
		s, ok := w.pick()
		if !ok {
			break
		}
		w.inFlight++
		if s.Low {
			w.low++
		}
		go w.run(steps, w.target, s, w.gen, results)
	}
	if w.reconcile == reconcileRunning && !w.plan.Reconciling() {
		w.endReconcile()
	}
	return next
}

// pick takes a step of a live change if there is one, but keeps a share for
// what is to be reconciled.
func (w *Worker) pick() (plan.Step, bool) {
	mayLow := w.low < max(1, w.opts.InFlight/maxLowSteps)
	if mayLow && w.low == 0 {
		if s, ok := w.plan.Next(true); ok {
			return s, true
		}
	}
	if s, ok := w.plan.Next(false); ok {
		return s, true
	}
	if mayLow {
		return w.plan.Next(true)
	}
	return plan.Step{}, false
}

// run carries out a step and reports it.
func (w *Worker) run(ctx context.Context, t Target, s plan.Step, gen int, results chan<- result) {
	r := w.execute(ctx, t, s)
	r.step, r.gen, r.target = s, gen, t
	results <- r
}

// finish takes note of how a step ended.
func (w *Worker) finish(r result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inFlight--
	if r.step.Low {
		w.low--
	}
	w.count(r)
	if r.err != nil && errors.Is(r.err, ErrConnection) {
		w.disconnect(r.target)
	}
	if r.gen != w.gen {
		return
	}
	switch {
	case r.why == 0 && r.step.Kind == plan.Check && !(w.fedAll() && w.plan.Current(r.step)):
		// What differs may be explained by what is to come, or was looked for under an old name.
		w.plan.Fail(r.step, plan.Later)
		w.later(r.step)
	case r.why == 0 && r.step.Kind == plan.Check:
		w.plan.Checked(r.step, r.found)
	case r.why == 0:
		w.plan.Done(r.step)
	default:
		w.plan.Fail(r.step, r.why)
		switch r.why {
		case plan.Later:
			w.again(r)
		case plan.Writing: // should its close never be recorded, or it is held open for good
			w.later(r.step)
		}
	}
	w.settled()
}

// again decides when a step that failed is tried again.
func (w *Worker) again(r result) {
	switch {
	case r.moved && r.step.Attempt == 0:
		w.feed() // the record that tells where it went may be here by now
		w.plan.Wake(r.step)
	case r.moved:
		w.extra = extraRecords
		w.later(r.step)
	case !errors.Is(r.err, ErrConnection):
		w.later(r.step)
	case r.step.Attempt > 1: // perhaps it is this step that ends the connections
		w.later(r.step)
	case w.target != nil: // connected anew meanwhile
		w.plan.Wake(r.step)
	default:
		w.waiting = append(w.waiting, r.step)
	}
	// A target that refuses everything is not asked thousands of times a second.
	if r.err == nil || errors.Is(r.err, ErrConnection) {
		return
	}
	if w.failures++; w.failures%w.opts.InFlight == 0 || errors.Is(r.err, ErrNoSpace) {
		w.pause = time.Now().Add(min(minBackoff<<min(w.failures/w.opts.InFlight, 10), maxBackoff))
	}
}

// count keeps the figures of the status.
func (w *Worker) count(r result) {
	w.status.Reconcile.Dirs += r.dirs
	w.status.Reconcile.Files += r.files
	w.status.Reconcile.Differ += int64(len(r.found))
	w.status.OnlyAtTarget += r.kept
	if r.unsupported {
		w.status.Unsupported++
		w.log.Warn("target cannot represent a change; it is left out", "path", r.step.Path, "err", r.err)
		return
	}
	if !r.heartbeat.IsZero() {
		w.status.HeartbeatApplied = r.heartbeat
	}
	switch {
	case r.err != nil:
		w.failed(classify(r.err), r.err)
	case r.why == 0:
		w.failures = 0
		w.status.LastError, w.status.LastErrorClass = "", ""
	}
	if r.shipped {
		w.status.ShippedFiles++
		w.status.ShippedBytes += r.bytes
		if w.opts.OnShipped != nil && !r.step.Time.IsZero() {
			w.opts.OnShipped(time.Since(r.step.Time), r.bytes)
		}
	}
}

// confirm tells whether a step still stands for what the primary has: nothing
// that was appended until now moves or removes its name. It is asked between
// looking at the source and touching the target, by steps that were not made
// for one certain inode. What it sees of the source is in the journal by then,
// since every change is appended before the next one to the same name can begin.
func (w *Worker) confirm(s plan.Step, gen int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.notify()
	return w.gen == gen && w.fedAll() && w.plan.Current(s)
}

// alone tells whether nothing that was appended until now concerns the path of a
// step, and whether that is sure.
func (w *Worker) alone(s plan.Step, gen int) (alone, sure bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.notify()
	sure = w.gen == gen && w.fedAll()
	return sure && w.plan.Alone(s), sure
}

// undisturbed tells whether nothing that was appended until now opened, closed
// or replaced the file of a step that runs.
func (w *Worker) undisturbed(s plan.Step, gen int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.notify()
	return w.gen == gen && w.fedAll() && w.plan.Undisturbed(s)
}
