package replicate_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"closefs/fs/journal"
	"closefs/replicate"
	"closefs/replicate/dir"
)

// hooks let a test step in between the worker and a target's directory.
type hooks struct {
	replicate.Dialer
	put    atomic.Pointer[func(path string, really func() error) error]
	list   atomic.Pointer[func(path string)]
	noLink bool
	dials  atomic.Int32
	down   atomic.Bool
}

func (h *hooks) onPut(f func(path string, really func() error) error) { h.put.Store(&f) }

func (h *hooks) onList(f func(path string)) { h.list.Store(&f) }

func (h *hooks) Dial(ctx context.Context) (replicate.Target, error) {
	h.dials.Add(1)
	if h.down.Load() {
		return nil, errCut
	}
	t, err := h.Dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &hooked{t, h}, nil
}

type hooked struct {
	replicate.Target
	h *hooks
}

func (t *hooked) Caps() replicate.Caps {
	c := t.Target.Caps()
	c.Hardlink = c.Hardlink && !t.h.noLink
	return c
}

func (t *hooked) Link(ctx context.Context, existing, path string) error {
	if t.h.noLink {
		return fmt.Errorf("link %q: %w", path, replicate.ErrUnsupported)
	}
	return t.Target.Link(ctx, existing, path)
}

func (t *hooked) Put(ctx context.Context, path string, src io.ReaderAt, size int64, a replicate.Attr, ready func() error) error {
	really := func() error { return t.Target.Put(ctx, path, src, size, a, ready) }
	if put := t.h.put.Load(); put != nil {
		return (*put)(path, really)
	}
	return really()
}

func (t *hooked) List(ctx context.Context, path string) ([]replicate.Entry, error) {
	l, err := t.Target.List(ctx, path)
	if list := t.h.list.Load(); list != nil {
		(*list)(path)
	}
	return l, err
}

// busyJournal has somebody else's record appended at the moment when the worker
// asks for the newest position, as it happens under load.
type busyJournal struct {
	*journal.Journal
	armed atomic.Bool
}

func (j *busyJournal) Last() journal.Position {
	if j.armed.CompareAndSwap(true, false) {
		j.Append(&journal.Record{Kind: journal.Heartbeat})
	}
	return j.Journal.Last()
}

// run starts a worker with hooks, and stops it when the test ends.
func (s *site) run(h *hooks, j replicate.Journal, o replicate.Options) {
	s.Helper()
	d, err := dir.New(dir.Options{Path: s.to})
	s.must(err)
	h.Dialer = d
	o.Name, o.Dialer, o.Journal, o.Backing = "t", h, j, s.root
	o.StateDir = filepath.Join(s.state, "target")
	w, err := replicate.New(o)
	s.must(err)
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	s.worker = w
	s.stop = func() { cancel(); s.must(<-done) }
}

// settles is settle with a short time limit.
func (s *site) settles(d time.Duration) bool {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), d)
	defer cancel()
	err := s.worker.WaitAcked(ctx, s.journal.Last(), nil)
	if err != nil {
		s.Errorf("%v; status %+v", err, s.worker.Status())
	}
	return err == nil
}

// TestRenameDuringTransfer renames a file while it is being shipped (its ctime
// changes), when the worker cannot tell at that moment whether it has seen every
// record. No close will follow: the step must not wait for one.
func TestRenameDuringTransfer(t *testing.T) {
	t.Run("busy journal", func(t *testing.T) {
		s := newSite(t)
		j := &busyJournal{Journal: s.journal}
		h := &hooks{}
		s.run(h, j, replicate.Options{})
		s.settle()
		h.onPut(func(path string, really func() error) error {
			if path != "tmp" {
				return really()
			}
			s.mv("tmp", "final")
			j.armed.Store(true)
			return really()
		})
		s.write("tmp", "content")
		if s.settles(10 * time.Second) {
			s.settle() // the rename came after what settles looked at
			s.same()
		}
	})
	t.Run("full window", func(t *testing.T) {
		s := newSite(t)
		h := &hooks{}
		s.run(h, s.journal, replicate.Options{Window: 1})
		s.settle()
		h.onPut(func(path string, really func() error) error {
			if path == "tmp" {
				s.mv("tmp", "final")
			}
			return really()
		})
		s.write("tmp", "content")
		if s.settles(10 * time.Second) {
			s.settle() // the rename came after what settles looked at
			s.same()
		}
	})
}

// TestBacklogInOneDirectory has more owed in one directory than the window
// takes: it is worked off with many steps at once all the same.
func TestBacklogInOneDirectory(t *testing.T) {
	s := newSite(t)
	h := &hooks{}
	s.run(h, s.journal, replicate.Options{})
	s.mkdir("d")
	s.settle()
	s.halt()
	const n, window = 400, 50
	for i := range n {
		s.write(fmt.Sprintf("d/%03d", i), "x")
	}
	var mu sync.Mutex
	count, now, most := 0, 0, 0
	h.onPut(func(path string, really func() error) error {
		mu.Lock()
		count++
		now++
		if count > 2*window {
			most = max(most, now)
		}
		mu.Unlock()
		time.Sleep(5 * time.Millisecond) // the way to the target and back
		defer func() { mu.Lock(); now--; mu.Unlock() }()
		return really()
	})
	s.run(h, s.journal, replicate.Options{Window: window})
	s.settle()
	s.same()
	if most < 8 {
		t.Errorf("beyond the window at most %d transfers at once", most)
	}
}

// TestHardLinkWhereThereAreNone makes a second name for a file; a target
// without hard links gets a copy.
func TestHardLinkWhereThereAreNone(t *testing.T) {
	s := newSite(t)
	s.run(&hooks{noLink: true}, s.journal, replicate.Options{})
	s.write("a", "content")
	s.settle()
	s.must(os.Link(s.path("a"), s.path("b")))
	s.record(journal.Record{Kind: journal.Make, Path: "b", Links: []string{"a"}})
	s.settle()
	if b, err := os.ReadFile(filepath.Join(s.to, "b")); err != nil || string(b) != "content" {
		t.Errorf("target has %q, %v", b, err)
	}
	f := s.begin("a")
	_, err := f.WriteString("CONTENT")
	s.must(err)
	s.must(f.Close())
	s.record(journal.Record{Kind: journal.Content, Path: "a", Links: []string{"b"}})
	s.settle()
	if b, err := os.ReadFile(filepath.Join(s.to, "b")); err != nil || string(b) != "CONTENT" {
		t.Errorf("after a write through the other name the target has %q, %v", b, err)
	}
}

// TestReconcileEndsUnderLoad keeps one transfer under way all the time.
func TestReconcileEndsUnderLoad(t *testing.T) {
	s := newSite(t)
	const n = 300
	for i := range n {
		s.must(os.Mkdir(s.path(fmt.Sprint(i)), 0o755))
	}
	begun := make([]chan struct{}, n+1)
	var once [n + 1]sync.Once // a Put is repeated where its directory is missing
	for i := range begun {
		begun[i] = make(chan struct{})
	}
	h := &hooks{}
	h.onPut(func(path string, really func() error) error {
		var d int
		fmt.Sscanf(path, "%d/f", &d)
		once[d].Do(func() { close(begun[d]) })
		<-begun[d+1] // the next has begun
		return really()
	})
	s.run(h, s.journal, replicate.Options{})
	for i := range n {
		s.write(fmt.Sprintf("%d/f", i), "x")
		<-begun[i]
		if i > n/2 { // let it go through its directories
			time.Sleep(10 * time.Millisecond)
		}
	}
	st := s.worker.Status()
	close(begun[n])
	if st.NeedsReconcile {
		t.Errorf("not ended after %d transfers and %d directories compared; status %+v", n, st.Reconcile.Dirs, st)
	}
	s.settle()
	s.same()
}

// TestNeedOfReconcileSurvivesARestart starts a new journal while the target is
// away, and restarts before it comes back, when the new journal has got past
// the position that the target had in the old one.
func TestNeedOfReconcileSurvivesARestart(t *testing.T) {
	s := newSite(t)
	h := &hooks{}
	s.run(h, s.journal, replicate.Options{})
	for i := range 10 {
		s.write(fmt.Sprintf("old%d", i), "x")
	}
	s.settle()
	s.halt()
	s.must(s.journal.Close())
	at := filepath.Join(s.state, "journal")
	s.must(os.RemoveAll(at))
	var err error
	s.journal, err = journal.OpenDir(at, journal.Options{})
	s.must(err)
	h.down.Store(true)
	s.run(h, s.journal, replicate.Options{})
	if !s.worker.Status().NeedsReconcile {
		t.Fatal("a new journal goes unnoticed")
	}
	for i := range 30 {
		s.write(fmt.Sprintf("new%d", i), "x")
	}
	s.halt()
	h.down.Store(false)
	s.run(h, s.journal, replicate.Options{})
	s.settle()
	s.same()
}

// TestDamagedProgressSurvivesARestart is the same for a progress file that was
// found damaged: what was cut off it is not to be believed in afterwards.
func TestDamagedProgressSurvivesARestart(t *testing.T) {
	s := newSite(t)
	h := &hooks{}
	s.run(h, s.journal, replicate.Options{})
	s.settle()
	for i := range 10 {
		s.write(fmt.Sprintf("old%d", i), "x")
	}
	s.settle()
	s.halt()
	at := filepath.Join(s.state, "target/progress")
	b, err := os.ReadFile(at)
	s.must(err)
	b[len(b)-40] ^= 0x40 // behind the end of the first reconcile
	s.must(os.WriteFile(at, b, 0o600))
	h.down.Store(true)
	s.run(h, s.journal, replicate.Options{})
	if !s.worker.Status().NeedsReconcile {
		t.Fatal("damage goes unnoticed")
	}
	s.halt()
	s.run(h, s.journal, replicate.Options{})
	if !s.worker.Status().NeedsReconcile {
		t.Error("the need to reconcile is forgotten by a restart")
	}
}

// TestLagOfATargetNeverMet: it grows while the target is away.
func TestLagOfATargetNeverMet(t *testing.T) {
	s := newSite(t)
	h := &hooks{}
	h.down.Store(true)
	s.run(h, s.journal, replicate.Options{})
	s.write("f", "x")
	written := time.Now()
	for h.dials.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	if st := s.worker.Status(); st.OldestPending.IsZero() || st.OldestPending.After(written) {
		t.Errorf("oldest pending change is of %v, the only one was made before %v", st.OldestPending, written)
	}
}

// TestAttributesOfAFileBeingWritten changes the mode of a file that has been
// written and not closed; its close is followed by a gap in the journal. The old
// content must not have got the new one's time, which would make them look equal.
func TestAttributesOfAFileBeingWritten(t *testing.T) {
	s := newSite(t)
	s.write("f", "one")
	s.write("g", "x")
	s.start(replicate.Options{ShipOpenAfter: time.Second})
	s.settle()
	f := s.begin("f")
	_, err := f.WriteString("two")
	s.must(err)
	s.must(os.Chmod(s.path("f"), 0o600))
	s.record(journal.Record{Kind: journal.Attr, Path: "f"})
	s.record(journal.Record{Kind: journal.Heartbeat, Time: time.Now().Add(time.Hour)}) // an hour later
	s.settle()
	s.halt()
	s.end(f, "f")
	s.record(journal.Record{Kind: journal.Gap}) // the Content is not looked at any more
	s.start(replicate.Options{ShipOpenAfter: time.Second})
	s.settle()
	s.same()
}

// TestRefusingTargetIsBounded has a target that refuses every file: what is
// taken into memory stays within the window.
func TestRefusingTargetIsBounded(t *testing.T) {
	s := newSite(t)
	var mu sync.Mutex
	tried := map[string]bool{}
	h := &hooks{}
	s.run(h, s.journal, replicate.Options{Window: 20})
	s.settle()
	h.onPut(func(path string, really func() error) error {
		mu.Lock()
		defer mu.Unlock()
		tried[path] = true
		return fmt.Errorf("put %q: %w", path, replicate.ErrPermission)
	})
	for i := range 1000 {
		s.write(fmt.Sprint(i), "x")
	}
	time.Sleep(2 * time.Second)
	mu.Lock()
	defer mu.Unlock()
	if len(tried) > 3*20 {
		t.Errorf("%d files are pending in memory, the window is 20", len(tried))
	}
}

// TestRenameWhileComparing renames a directory while the directory it is in is
// being compared, and the plan has no room for the record: what looks superfluous
// at the target is there to be renamed, not to be thrown away.
func TestRenameWhileComparing(t *testing.T) {
	s := newSite(t)
	h := &hooks{}
	s.run(h, s.journal, replicate.Options{Window: 1})
	s.mkdir("big")
	s.write("big/x", "content")
	s.settle()
	begun, release := make(chan struct{}), make(chan struct{})
	var first sync.Once
	h.onPut(func(path string, really func() error) error {
		if path == "live" {
			first.Do(func() { close(begun) })
			<-release
		}
		return really()
	})
	var once sync.Once
	h.onList(func(path string) {
		once.Do(func() {
			s.write("live", "x")
			<-begun
			s.mv("big", "moved")
		})
	})
	s.record(journal.Record{Kind: journal.Gap})
	<-begun
	time.Sleep(500 * time.Millisecond) // long enough to remove what must stay
	close(release)
	s.settle()
	s.same()
	if trash, _ := os.ReadDir(filepath.Join(s.to, ".closefs/trash")); len(trash) > 0 {
		t.Errorf("trash %v", trash)
	}
}

// TestPoisonousFile has one file whose transfer ends the connection each time.
func TestPoisonousFile(t *testing.T) {
	s := newSite(t)
	h := &hooks{}
	h.onPut(func(path string, really func() error) error {
		if path == "poison" {
			return errCut
		}
		return really()
	})
	s.run(h, s.journal, replicate.Options{})
	s.settle()
	before := h.dials.Load()
	s.write("poison", "x")
	time.Sleep(5 * time.Second)
	if n := h.dials.Load() - before; n > 12 {
		t.Errorf("dialed %d times in 5 s", n)
	}
}

// TestUnloggedProgress has the progress file refuse to be written (as on a full
// disk) when a rename is done, and then a kill: the rename is repeated by the next
// worker, so nothing that depends on it may have been done.
func TestUnloggedProgress(t *testing.T) {
	s := newSite(t)
	h := &hooks{}
	s.write("a", "first")
	s.run(h, s.journal, replicate.Options{})
	s.settle()
	s.halt()
	s.mv("a", "b")
	s.write("a", "second")
	progress := filepath.Join(s.state, "target/progress")
	h = &hooks{}
	h.down.Store(true)
	s.run(h, s.journal, replicate.Options{})
	t.Cleanup(func() { exec.Command("chattr", "-i", progress).Run() })
	if out, err := exec.Command("chattr", "+i", progress).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	h.down.Store(false)
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if b, _ := os.ReadFile(filepath.Join(s.to, "a")); string(b) == "second" {
			break
		}
	}
	time.Sleep(200 * time.Millisecond) // a worker that keeps still is right
	stored, err := os.ReadFile(progress)
	s.must(err)
	s.halt()
	s.must(exec.Command("chattr", "-i", progress).Run())
	s.must(os.WriteFile(progress, stored, 0o600)) // killed
	s.run(&hooks{}, s.journal, replicate.Options{})
	s.settle()
	s.same()
}

// TestWindowFullOfAFileBeingWritten has the window filled by closes of a file that
// is open again when it is to be shipped: the record that it waits for is beyond.
func TestWindowFullOfAFileBeingWritten(t *testing.T) {
	s := newSite(t)
	h := &hooks{}
	s.run(h, s.journal, replicate.Options{Window: 5})
	s.settle()
	s.halt()
	for i := range 10 {
		s.write("f", fmt.Sprint(i))
	}
	f := s.begin("f")
	_, err := f.WriteString("half")
	s.must(err)
	s.run(h, s.journal, replicate.Options{Window: 5})
	time.Sleep(300 * time.Millisecond) // let it find that f is being written
	s.end(f, "f")
	if s.settles(10 * time.Second) {
		s.same()
	}
}
