package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"closefs/fs/backing"
	"closefs/fs/journal"
	"closefs/replicate/plan"
)

// Options configure a Worker.
type Options struct {
	Name     string
	Dialer   Dialer
	Journal  Journal
	Backing  *backing.Root
	StateDir string // of this target alone: what it has of the journal
	Log      *slog.Logger
	InFlight int // steps under way at once; 0: 64
	// Window is how many records may be pending in memory; what is beyond stays
	// in the journal until there is room. 0: 200,000.
	Window int
	// ShipOpenAfter is for how long a file that is held open for writing must not have
	// changed to be shipped as it is, if its close is not to be had. 0: 30s.
	ShipOpenAfter time.Duration
	// Links returns the known names of an inode that has several; nil: none are known.
	Links func(journal.FileID) []string
	// OnShipped, if set, is called for each file published: time since its
	// record was made, and size in bytes.
	OnShipped func(lag time.Duration, bytes int64)
}

// How long a worker waits before it tries again, and how long it lets steps
// finish when it is told to stop.
const (
	minBackoff   = 100 * time.Millisecond
	maxBackoff   = 30 * time.Second
	drainTime    = 10 * time.Second
	ackEvery     = time.Second
	timeSlack    = 2 * time.Second // granularity of times that are compared, with room
	maxLowSteps  = 4               // of InFlight, one in so many is for what Checks found
	sourceTries  = 5               // attempts before a source that does not match its record is compared
	defaultSteps = 64
	defaultWin   = 200_000
	extraRecords = 1000
	defaultQuiet = 30 * time.Second
	logEvery     = time.Minute
)

// A Worker brings one target up to date and keeps it so. One goroutine (Run)
// owns the connection and decides what is done; each step runs in a goroutine
// of its own, so that a large file does not hold up small ones.
type Worker struct {
	opts Options
	log  *slog.Logger
	poke chan struct{} // capacity 1: something may have to be dispatched

	mu       sync.Mutex // guards all below; held for no I/O but appends to progress
	plan     *plan.Plan
	reader   *journal.Reader
	stamps   stamps
	progress *progress
	retries  retries
	waiting  []plan.Step      // failed with their connection: tried again on the next
	replay   journal.Position // no step before the plan has been fed up to here
	extra    int              // records to be fed beyond the window
	gen      int              // counts plans; a step's result belongs to one of them
	inFlight int
	low      int

	target    Target
	status    Status
	reconcile reconcileState
	names     map[journal.FileID]string // of inodes with several, the first that a comparison came across
	started   time.Time                 // the worker itself
	since     time.Time                 // what changed from here on may be missing at the target
	shown     journal.Position          // what Status gives as acked
	acks      chan struct{}             // closed and replaced when shown moves
	pause     time.Time                 // no steps before
	failures  int                       // of steps, since one was done
	logged    map[string]time.Time      // when an error of a class was logged last
	backoff   time.Duration             // of the next dial
}

// reconcileState says how far the need to compare whole trees has come.
type reconcileState uint8

const (
	noReconcile      reconcileState = iota
	reconcileNeeded                 // and not begun
	reconcileRunning                // its checks are in the plan
)

// New prepares a worker from its state directory, which it makes if need be.
func New(o Options) (*Worker, error) {
	if o.InFlight == 0 {
		o.InFlight = defaultSteps
	}
	if o.Window == 0 {
		o.Window = defaultWin
	}
	if o.ShipOpenAfter == 0 {
		o.ShipOpenAfter = defaultQuiet
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory of target %s: %w", o.Name, err)
	}
	p, err := openProgress(filepath.Join(o.StateDir, progressFile))
	if err != nil {
		return nil, err
	}
	w := &Worker{opts: o, log: o.Log.With("target", o.Name), poke: make(chan struct{}, 1), progress: p,
		acks: make(chan struct{}), backoff: minBackoff, names: make(map[journal.FileID]string), logged: make(map[string]time.Time)}
	w.status = Status{Name: o.Name, URL: o.Dialer.String(), State: Connecting, Errors: map[string]int64{}, LastAckedAt: time.Time{}}
	w.started, w.since = time.Now(), p.since
	w.resume()
	return w, nil
}

// resume sets up the plan from the progress file: from the acked position if
// the journal still has what follows, else for a reconcile.
func (w *Worker) resume() {
	j, p := w.opts.Journal, w.progress
	why := ""
	switch {
	case !p.known:
		why = "target is met for the first time"
		if p.size > 0 || p.met {
			why = "its progress file is damaged"
		}
	case p.needed:
		why = "it had to be when closefs was stopped"
	case j.PowerLost():
		why = "the power was cut"
	case p.acked > j.Last():
		why = "the journal was started anew"
	}
	if w.shown = min(p.acked, j.Last()); p.reconciling || p.needed {
		w.shown = 0
	}
	if why == "" {
		r, err := j.NewReader(p.acked)
		if err == nil {
			w.reader = r
			w.newPlan(p.acked)
			for pos := range p.done {
				w.replay = max(w.replay, pos)
			}
			if p.reconciling {
				w.resumeReconcile()
			}
			return
		}
		why = "the journal no longer has what it was owed: " + err.Error()
	}
	w.newPlan(j.Last())
	w.needReconcile(why)
}

func (w *Worker) newPlan(acked journal.Position) {
	w.plan = plan.New(plan.Options{Acked: acked, Replayed: w.opts.Journal.Last()})
	w.gen++
	w.stamps = stamps{acked: acked}
	w.retries, w.waiting = nil, nil
}

// needReconcile notes that the target has to be compared with the primary.
func (w *Worker) needReconcile(why string) {
	if w.reconcile == reconcileNeeded {
		return
	}
	w.reconcile = reconcileNeeded
	w.log.Warn("target has to be reconciled", "why", why)
	if err := w.progress.need(); err != nil { // the next start finds the same reason again, or a replay that is safe
		w.failed("state", err)
	}
}

// Run works until ctx ends, then starts nothing more and lets what is in flight
// finish, for at most ten seconds. What remains is in the journal.
func (w *Worker) Run(ctx context.Context) error {
	changed, stop := w.opts.Journal.Changed()
	defer stop()
	steps, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	results := make(chan result, w.opts.InFlight)
	dialed := make(chan dialResult, 1)
	dialing := w.dial(ctx, dialed, 0)
	acks := time.NewTicker(ackEvery)
	defer acks.Stop()
	wake := time.NewTimer(0)
	defer wake.Stop()
	var drain <-chan time.Time
	done := ctx.Done()
	for {
		w.mu.Lock()
		w.feed()
		next := w.dispatch(ctx, steps, results)
		redial := w.target == nil && !dialing && ctx.Err() == nil
		idle := w.inFlight == 0
		backoff := w.backoff
		w.mu.Unlock()
		if redial {
			dialing = w.dial(ctx, dialed, backoff)
		}
		if ctx.Err() != nil && idle && !dialing {
			return w.close()
		}
		wake.Reset(next)
		select {
		case <-changed:
		case <-w.poke:
		case <-wake.C:
		case <-acks.C:
			w.saveAcked()
		case r := <-results:
			w.finish(r)
		case d := <-dialed:
			dialing = false
			w.connected(ctx, d)
		case <-done:
			done = nil
			drain = time.After(drainTime)
		case <-drain:
			cancel()
		}
	}
}

// close ends the connection and stores what is known of the target.
func (w *Worker) close() error {
	w.saveAcked()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.target != nil {
		w.target.Close()
		w.target = nil
	}
	if w.reader != nil {
		w.reader.Close()
	}
	w.status.State, w.status.Up = Stopped, false
	return w.progress.close()
}

// saveAcked stores the acked position if it has moved.
func (w *Worker) saveAcked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	acked := w.plan.Acked()
	if w.reconcile == reconcileNeeded || acked == w.progress.acked {
		return
	}
	since := w.since
	if w.reconcile == reconcileRunning { // until it is done, what it doubts stays in doubt
		since = time.Time{}
	}
	if err := w.progress.setAcked(acked, since); err != nil {
		w.failed("state", err)
	}
}

// notify wakes Run.
func (w *Worker) notify() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

type dialResult struct {
	target Target
	err    error
}

// dial connects after a pause; the result comes through out.
func (w *Worker) dial(ctx context.Context, out chan<- dialResult, pause time.Duration) bool {
	go func() {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		t, err := w.opts.Dialer.Dial(ctx)
		out <- dialResult{t, err}
	}()
	return true
}

// connected takes over a new connection, or notes why there is none.
func (w *Worker) connected(ctx context.Context, d dialResult) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d.err != nil {
		w.backoff = min(2*w.backoff, maxBackoff)
		if ctx.Err() == nil {
			w.failed(classify(d.err), d.err)
		}
		return
	}
	w.log.Info("connected", "url", w.opts.Dialer.String())
	w.target, w.status.Up = d.target, true
	w.backoff = minBackoff
	w.status.LastError, w.status.LastErrorClass = "", ""
	for _, s := range w.waiting {
		w.plan.Wake(s)
	}
	w.waiting = nil
}

// disconnect drops a connection that failed.
func (w *Worker) disconnect(t Target) {
	if w.target != t {
		return
	}
	w.target, w.status.Up = nil, false
	go t.Close()
}

// failed counts an error and keeps it for the status; it is logged if none of its
// class was for a while.
func (w *Worker) failed(class string, err error) {
	w.status.Errors[class]++
	if now := time.Now(); w.status.LastErrorClass != class || now.Sub(w.logged[class]) > logEvery {
		w.logged[class] = now
		w.log.Warn("target fails", "class", class, "err", err, "so_far", w.status.Errors[class])
	}
	w.status.LastError, w.status.LastErrorClass = err.Error(), class
}

// classify names the class of an error for counters.
func classify(err error) string {
	switch {
	case errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, ErrConnection):
		return "connection"
	case errors.Is(err, ErrPermission):
		return "permission"
	case errors.Is(err, ErrNoSpace):
		return "space"
	case errors.Is(err, errSource):
		return "source"
	}
	return "other"
}
