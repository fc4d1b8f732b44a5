package fs

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(childEnv); what != "" {
		os.Exit(runChild(what, os.Args[1:]))
	}
	unix.Umask(0) // as the daemon has it; the tests' own files get their modes as written
	os.Exit(m.Run())
}

// A rig is a mounted filesystem with a real journal.
type rig struct {
	*FS
	t       testing.TB
	mnt     string // mountpoint
	back    string // backing directory
	state   string // the journal's directory
	journal *recordingJournal
	log     *syncBuffer
}

// recordingJournal is a real journal that remembers what was appended.
type recordingJournal struct {
	*journal.Journal
	mu      sync.Mutex
	records []*journal.Record
}

func (j *recordingJournal) Append(r *journal.Record) (journal.Position, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	pos, err := j.Journal.Append(r)
	copied := *r
	j.records = append(j.records, &copied)
	return pos, err
}

func (j *recordingJournal) since(n int) []*journal.Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.records[n:])
}

// syncBuffer collects log lines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

type rigOption func(*Options)

func cached(o *Options) { o.NoPassthrough = true }

// newRig mounts and arranges for everything to be taken down and checked.
func newRig(t testing.TB, options ...rigOption) *rig {
	t.Helper()
	needFUSE(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, mnt: filepath.Join(dir, "mnt"), back: filepath.Join(dir, "back"), state: filepath.Join(dir, "state")}
	for _, d := range []string{r.mnt, r.back, r.state} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	before := openDescriptors(t)
	r.start(options...)
	t.Cleanup(func() {
		r.stop()
		if leaked := leakedDescriptors(t, before); len(leaked) > 0 {
			t.Errorf("leaked descriptors: %v", leaked)
		}
		if table, err := os.ReadFile("/proc/self/mountinfo"); err == nil && strings.Contains(string(table), dir) {
			t.Errorf("mount left behind below %s", dir)
		}
	})
	return r
}

func needFUSE(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("SKIP: no FUSE: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIP: these tests mount directly and need root")
	}
}

func (r *rig) start(options ...rigOption) {
	r.t.Helper()
	r.log = &syncBuffer{}
	j, err := journal.OpenDir(r.state, journal.Options{Log: slog.New(slog.NewTextHandler(r.log, nil))})
	if err != nil {
		r.t.Fatal(err)
	}
	r.journal = &recordingJournal{Journal: j}
	root, err := backing.Open(r.back)
	if err != nil {
		r.t.Fatal(err)
	}
	o := Options{
		Backing: root, Mountpoint: r.mnt, Journal: r.journal,
		Log: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	for _, option := range options {
		option(&o)
	}
	r.mnt = o.Mountpoint
	if r.FS, err = Mount(o); err != nil {
		j.Close()
		root.Close()
		r.t.Fatal(err)
	}
	answerPoll(r.t, r.mnt)
}

// answerPoll has another process poll a file on the mount, after which the kernel
// does not ask again. Go polls every file that it opens, and while the kernel waits
// for this process's answer the thread keeps the processor that would give it.
func answerPoll(t testing.TB, mnt string) {
	t.Helper()
	c := exec.Command("bash", "-c", `exec 3< "$0" && read -t 0 -u 3; true`, filepath.Join(mnt, ".go-fuse-epoll-hack"))
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("poll on the mount: %v %s", err, out)
	}
}

func (r *rig) stop() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.Unmount(ctx); err != nil {
		r.t.Errorf("%v (detach: %v)", err, unix.Unmount(r.mnt, unix.MNT_DETACH))
		return // it is still served, and waiting for that would hide the reason
	}
	r.Wait()
	if dirty := r.journal.Dirty(); len(dirty) > 0 {
		r.t.Errorf("dirty after unmount: %+v", dirty)
	}
	if err := r.journal.Close(); err != nil {
		r.t.Error(err)
	}
	if err := r.root.Close(); err != nil {
		r.t.Error(err)
	}
	if s := r.log.String(); strings.Contains(s, "panicked") || strings.Contains(s, "level=ERROR") {
		r.t.Errorf("log:\n%s", s)
	}
}

// openDescriptors lists what this process has open, by descriptor.
func openDescriptors(t testing.TB) map[string]string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			all[e.Name()] = target
		}
	}
	return all
}

// leakedDescriptors are those open now and not before, but the runtime's own, and the pipes and /dev/null that go-fuse keeps for splicing.
func leakedDescriptors(t testing.TB, before map[string]string) (leaked []string) {
	t.Helper()
	for fd, target := range openDescriptors(t) {
		if before[fd] == target || strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "pipe:") || strings.HasPrefix(target, "/proc/") || target == "/dev/null" {
			continue
		}
		leaked = append(leaked, fd+"="+target)
	}
	return leaked
}

func (r *rig) path(name string) string { return filepath.Join(r.mnt, name) }

// settle waits until every close so far is in the journal.
func (r *rig) settle() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.Settle(ctx); err != nil {
		r.t.Fatalf("settle: %v", err)
	}
}

// closed waits until the daemon has no file open.
func (r *rig) closed() {
	r.t.Helper()
	r.eventually("no open files", func() bool { return r.Stats().OpenFiles == 0 })
}

// eventually waits for a condition.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			r.t.Fatalf("never: %s", what)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// records runs do and returns what it appended, in the notation of show.
func (r *rig) records(do func()) []string {
	r.t.Helper()
	n := len(r.journal.since(0))
	do()
	r.settle()
	return show(r.journal.since(n))
}

func (r *rig) expect(do func(), want ...string) {
	r.t.Helper()
	if got := r.records(do); !slices.Equal(got, want) {
		r.t.Errorf("records\n got %q\nwant %q", got, want)
	}
}

// show writes records as "kind path …".
func show(records []*journal.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, showRecord(r))
	}
	return all
}

func showRecord(r *journal.Record) string {
	names := map[journal.Kind]string{
		journal.Open: "open", journal.Clean: "clean", journal.Content: "content", journal.Attr: "attr",
		journal.Make: "make", journal.Remove: "remove", journal.Rename: "rename",
	}
	s := names[r.Kind] + " " + r.Path
	switch r.Kind {
	case journal.Content:
		s += fmt.Sprintf(" size=%d", r.Size)
	case journal.Rename:
		s += " to=" + r.To
	case journal.Make:
		s += fmt.Sprintf(" mode=%o", r.Mode)
	}
	if len(r.Links) > 0 {
		s += " links=" + strings.Join(r.Links, ",")
	}
	for name, set := range map[string]bool{" created": r.Created, " still": r.StillOpen, " exchange": r.Exchange, " last": r.Last} {
		if set {
			s += name
		}
	}
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	check(t, os.WriteFile(path, []byte(content), 0o644))
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	return string(b)
}

// modes runs a test with files passed through and with files cached.
func modes(t *testing.T, run func(t *testing.T, mode rigOption)) {
	t.Run("passthrough", func(t *testing.T) { run(t, func(*Options) {}) })
	t.Run("cached", func(t *testing.T) { run(t, cached) })
}
