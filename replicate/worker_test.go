package replicate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
	"closefs/replicate"
	"closefs/replicate/dir"
)

// site is a primary's directory with its journal and one target's directory. Its
// methods change the primary and record it as the filesystem does.
type site struct {
	*testing.T
	from, to string
	root     *backing.Root
	journal  *journal.Journal
	faults   *faults
	state    string
	stop     func()
	worker   *replicate.Worker
}

func newSite(t *testing.T) *site {
	t.Helper()
	base := t.TempDir()
	s := &site{T: t, from: filepath.Join(base, "from"), to: filepath.Join(base, "to"), state: filepath.Join(base, "state")}
	for _, d := range []string{s.from, s.to, s.state} {
		s.must(os.Mkdir(d, 0o755))
	}
	var err error
	s.root, err = backing.Open(s.from)
	s.must(err)
	s.journal, err = journal.OpenDir(filepath.Join(s.state, "journal"), journal.Options{SegmentSize: 1 << 20})
	s.must(err)
	d, err := dir.New(dir.Options{Path: s.to})
	s.must(err)
	s.faults = &faults{Dialer: d}
	t.Cleanup(func() {
		s.halt()
		s.journal.Close()
		s.root.Close()
	})
	return s
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// start runs a worker until halt.
func (s *site) start(o replicate.Options) {
	s.Helper()
	o.Name, o.Dialer, o.Journal, o.Backing = "t", s.faults, s.journal, s.root
	o.StateDir = filepath.Join(s.state, "target")
	w, err := replicate.New(o)
	s.must(err)
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	s.worker = w
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.Errorf("worker: %v", err)
		}
	}
}

func (s *site) halt() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// settle waits until the target has everything.
func (s *site) settle() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	if err := s.worker.WaitAcked(ctx, s.journal.Last(), nil); err != nil {
		s.Fatalf("%v; status %+v", err, s.worker.Status())
	}
}

// same demands equal trees.
func (s *site) same() {
	s.Helper()
	if a, b := s.describe(s.from), s.describe(s.to); a != b {
		s.Errorf("primary\n%s\ntarget\n%s", a, b)
	}
}

func (s *site) describe(dir string) string {
	s.Helper()
	var b strings.Builder
	first := map[uint64]string{}
	s.must(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		if rel == ".closefs" {
			return filepath.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		content := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			c, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if first[st.Ino] == "" {
				first[st.Ino] = rel
			}
			content = fmt.Sprintf("%q %d.%d same as %s", c, st.Mtim.Sec, st.Mtim.Nsec, first[st.Ino])
		case unix.S_IFLNK:
			content, _ = os.Readlink(path)
		case unix.S_IFDIR:
			content = fmt.Sprintf("%d.%d", st.Mtim.Sec, st.Mtim.Nsec)
		}
		fmt.Fprintf(&b, "%q %o %s\n", rel, st.Mode, content)
		return nil
	}))
	return b.String()
}

// record appends a record about path, filling in what fstat tells.
func (s *site) record(r journal.Record) {
	s.Helper()
	name := r.Path
	if r.Kind == journal.Rename {
		name = r.To
	}
	if st, err := s.root.Lstat(name); err == nil {
		r.ID, r.Mode, r.Size, r.Mtime, r.Ctime = st.ID, st.Mode, st.Size, st.ModTime(), st.ChangeTime()
	}
	_, err := s.journal.Append(&r)
	s.must(err)
}

func (s *site) path(name string) string { return filepath.Join(s.from, name) }

// begin opens name for writing; the caller writes, and calls end.
func (s *site) begin(name string) *os.File {
	s.Helper()
	_, err := os.Lstat(s.path(name))
	f, oerr := os.OpenFile(s.path(name), os.O_WRONLY|os.O_CREATE, 0o644)
	s.must(oerr)
	s.record(journal.Record{Kind: journal.Open, Path: name, Created: err != nil})
	return f
}

func (s *site) end(f *os.File, name string) {
	s.Helper()
	s.must(f.Close())
	s.record(journal.Record{Kind: journal.Content, Path: name})
}

func (s *site) write(name, content string) {
	s.Helper()
	f := s.begin(name)
	s.must(f.Truncate(0))
	_, err := f.WriteString(content)
	s.must(err)
	s.end(f, name)
}

func (s *site) mkdir(name string) {
	s.Helper()
	s.must(os.Mkdir(s.path(name), 0o755))
	s.record(journal.Record{Kind: journal.Make, Path: name})
}

func (s *site) rm(name string) {
	s.Helper()
	st, err := s.root.Lstat(name)
	s.must(err)
	s.must(os.Remove(s.path(name)))
	s.record(journal.Record{Kind: journal.Remove, Path: name, ID: st.ID, Mode: st.Mode, Last: true})
}

func (s *site) mv(from, to string) {
	s.Helper()
	s.must(os.Rename(s.path(from), s.path(to)))
	s.record(journal.Record{Kind: journal.Rename, Path: from, To: to})
}

// faults breaks a target's connection now and then, before or after the request.
type faults struct {
	replicate.Dialer
	rate  float64       // of requests
	block chan struct{} // if not nil, every Put waits until it is closed
	down  bool
}

func (f *faults) Dial(ctx context.Context) (replicate.Target, error) {
	if f.down {
		return nil, errors.New("down")
	}
	t, err := f.Dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &faulty{Target: t, f: f}, nil
}

type faulty struct {
	replicate.Target
	f *faults
}

var errCut = fmt.Errorf("cut by the test: %w", replicate.ErrConnection)

// hit does op, unless the connection breaks before it; or it breaks after it.
func (t *faulty) hit(op func() error) error {
	if rand.Float64() < t.f.rate {
		if rand.IntN(2) == 0 {
			return errCut
		}
		op()
		return errCut
	}
	return op()
}

func (t *faulty) Put(ctx context.Context, path string, src io.ReaderAt, size int64, a replicate.Attr, ready func() error) error {
	if t.f.block != nil {
		select {
		case <-t.f.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return t.hit(func() error { return t.Target.Put(ctx, path, src, size, a, ready) })
}

func (t *faulty) Rename(ctx context.Context, from, to string) error {
	return t.hit(func() error { return t.Target.Rename(ctx, from, to) })
}

func (t *faulty) Remove(ctx context.Context, path string) error {
	return t.hit(func() error { return t.Target.Remove(ctx, path) })
}

func (t *faulty) Mkdir(ctx context.Context, path string, a replicate.Attr) error {
	return t.hit(func() error { return t.Target.Mkdir(ctx, path, a) })
}

// TestConverges makes random changes while connections break and the worker is
// stopped and started, and demands equal trees, directory times included.
func TestConverges(t *testing.T) {
	for _, o := range []replicate.Options{{}, {InFlight: 3, Window: 7}} {
		t.Run(fmt.Sprintf("InFlight=%d,Window=%d", o.InFlight, o.Window), func(t *testing.T) {
			s := newSite(t)
			s.faults.rate = 0.02
			s.start(o)
			r := rand.New(rand.NewPCG(1, uint64(o.Window)))
			for i := range 1500 {
				s.randomChange(r, i)
				if i%400 == 399 {
					s.halt()
					s.start(o)
				}
			}
			s.settle()
			s.same()
		})
	}
}

func (s *site) randomChange(r *rand.Rand, i int) {
	s.Helper()
	name := fmt.Sprintf("%c", 'a'+r.IntN(5))
	if r.IntN(2) == 0 {
		name += fmt.Sprintf("/%c", 'a'+r.IntN(5))
	}
	other := fmt.Sprintf("%c", 'a'+r.IntN(5))
	st, err := os.Lstat(s.path(name))
	parent, perr := os.Lstat(filepath.Dir(s.path(name)))
	switch {
	case perr != nil || !parent.IsDir():
	case err != nil && r.IntN(3) == 0:
		s.mkdir(name)
	case err != nil, !st.IsDir() && r.IntN(3) == 0:
		s.write(name, fmt.Sprintf("content %d", i))
	case r.IntN(2) == 0:
		if _, err := os.Lstat(s.path(other)); err != nil && !strings.HasPrefix(other, name) {
			s.mv(name, other)
		}
	default:
		if names, _ := os.ReadDir(s.path(name)); len(names) == 0 {
			s.rm(name)
		}
	}
}

func TestFirstMeetingKeepsWhatOnlyTheTargetHas(t *testing.T) {
	s := newSite(t)
	s.must(os.WriteFile(s.path("ours"), []byte("ours"), 0o644))
	s.must(os.WriteFile(filepath.Join(s.to, "theirs"), []byte("theirs"), 0o644))
	s.start(replicate.Options{})
	s.settle()
	if _, err := os.Stat(filepath.Join(s.to, "theirs")); err != nil {
		t.Error(err)
	}
	if n := s.worker.Status().OnlyAtTarget; n != 1 {
		t.Errorf("counted %d entries only at the target, want 1", n)
	}
}

// TestLaterMeeting has records missing from the journal: the target is compared,
// and what only it has goes into the trash.
func TestLaterMeeting(t *testing.T) {
	s := newSite(t)
	s.mkdir("d")
	s.write("d/old", "old")
	s.write("same", "first")
	s.start(replicate.Options{})
	s.settle()
	s.must(os.WriteFile(filepath.Join(s.to, "theirs"), []byte("theirs"), 0o644))
	s.must(os.Remove(s.path("d/old")))                                   // no record
	s.must(os.WriteFile(s.path("d/new"), []byte("new"), 0o644))          // no record
	s.must(os.WriteFile(s.path("same"), []byte("other"), 0o644))         // same size, perhaps same second
	s.must(os.Chtimes(s.path("same"), time.Unix(1, 0), time.Unix(1, 0))) // and then surely another time
	s.record(journal.Record{Kind: journal.Gap})
	s.settle()
	s.same()
	trash, err := os.ReadDir(filepath.Join(s.to, ".closefs/trash"))
	if err != nil || len(trash) != 2 {
		t.Errorf("trash %v, %v; want theirs and d/old", trash, err)
	}
}

// TestOneSecondTwoStates changes a file twice within a second, keeping its size,
// while the target is away and then falls off the journal: size and whole
// seconds are the same, the content is not.
func TestOneSecondTwoStates(t *testing.T) {
	s := newSite(t)
	s.write("f", "one")
	at := time.Now()
	s.must(os.Chtimes(s.path("f"), at, at))
	s.record(journal.Record{Kind: journal.Attr, Path: "f"})
	s.start(replicate.Options{})
	s.settle()
	s.halt()
	s.must(os.WriteFile(s.path("f"), []byte("two"), 0o644))
	s.must(os.Chtimes(s.path("f"), at, at))
	s.record(journal.Record{Kind: journal.Gap})
	s.start(replicate.Options{})
	s.settle()
	s.same()
}

func TestEmptyBackingDirectoryNeverEmptiesATarget(t *testing.T) {
	s := newSite(t)
	s.write("a", "a")
	s.start(replicate.Options{})
	s.settle()
	s.must(os.Remove(s.path("a"))) // behind the journal, as an unmounted disk would look
	s.record(journal.Record{Kind: journal.Gap})
	s.settle()
	if _, err := os.Stat(filepath.Join(s.to, "a")); err != nil {
		t.Error(err)
	}
}

func TestFileBeingWrittenIsNotShipped(t *testing.T) {
	s := newSite(t)
	s.write("f", "whole")
	s.start(replicate.Options{})
	s.settle()
	f := s.begin("f")
	_, err := f.WriteString("ha")
	s.must(err)
	s.must(os.Chmod(s.path("f"), 0o600))
	s.record(journal.Record{Kind: journal.Attr, Path: "f"})
	s.write("other", "x") // and other files go on
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.must(s.worker.WaitAcked(ctx, s.journal.Last(), []string{"other"}))
	if b, err := os.ReadFile(filepath.Join(s.to, "f")); err != nil || string(b) != "whole" {
		t.Errorf("target has %q, %v; want the last closed state", b, err)
	}
	s.end(f, "f")
	s.settle()
	s.same()
}

// TestReopenedBeforeItWasShipped has the content of a close still owed when the
// file is open again and half-written: neither half may be published.
func TestReopenedBeforeItWasShipped(t *testing.T) {
	s := newSite(t)
	s.write("f", "first state")
	s.start(replicate.Options{})
	s.settle()
	s.halt()
	s.write("f", "second state")
	f := s.begin("f")
	_, err := f.WriteString("thi")
	s.must(err)
	s.start(replicate.Options{})
	s.write("other", "x")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.must(s.worker.WaitAcked(ctx, s.journal.Last(), []string{"other"}))
	if b, err := os.ReadFile(filepath.Join(s.to, "f")); err != nil || string(b) != "first state" {
		t.Errorf("target has %q, %v; want the last state that was shipped whole", b, err)
	}
	_, err = f.WriteString("rd state")
	s.must(err)
	s.end(f, "f")
	s.settle()
	s.same()
}

// TestFiftyCloses writes a file fifty times, and another one that is deleted,
// while the target is away: one transfer.
func TestFiftyCloses(t *testing.T) {
	s := newSite(t)
	s.write("f", "before")
	s.start(replicate.Options{})
	s.settle()
	s.halt()
	for i := range 50 {
		s.write("f", fmt.Sprint(i))
	}
	s.write("gone", "x")
	s.rm("gone")
	s.start(replicate.Options{})
	s.settle()
	s.same()
	if n := s.worker.Status().ShippedFiles; n != 1 {
		t.Errorf("%d transfers, want 1", n)
	}
}

// TestStuckTarget has one target that never answers: another is not delayed.
func TestStuckTarget(t *testing.T) {
	s := newSite(t)
	s.start(replicate.Options{})
	s.settle()
	to := t.TempDir()
	d, err := dir.New(dir.Options{Path: to})
	s.must(err)
	stuck := &faults{Dialer: d, block: make(chan struct{})}
	w, err := replicate.New(replicate.Options{Name: "stuck", Dialer: stuck, Journal: s.journal, Backing: s.root, StateDir: t.TempDir()})
	s.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	for i := range 500 {
		s.write(fmt.Sprint(i), "x")
	}
	s.settle()
	s.same()
	cancel()
	close(stuck.block)
	s.must(<-done)
}
