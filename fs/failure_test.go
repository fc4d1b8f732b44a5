package fs

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// failingJournal refuses records while it is full.
type failingJournal struct {
	*recordingJournal
	full atomic.Bool
}

func (j *failingJournal) Append(r *journal.Record) (journal.Position, error) {
	if j.full.Load() {
		return 0, unix.ENOSPC
	}
	return j.recordingJournal.Append(r)
}

func TestFullJournal(t *testing.T) {
	j := &failingJournal{}
	r := newRig(t, func(o *Options) {
		j.recordingJournal = o.Journal.(*recordingJournal)
		o.Journal = j
	})
	j.full.Store(true)
	check(t, os.Mkdir(r.path("d"), 0o755))
	write(t, r.path("d/a"), "x")
	r.settle()
	r.closed()
	j.full.Store(false)
	if n := r.Stats().FailedAppends; n != 3 {
		t.Errorf("%d failed appends, want 3", n)
	}
	if n := strings.Count(r.log.String(), "change not journaled"); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}
	if s := read(t, r.back+"/d/a"); s != "x" {
		t.Errorf("a is %q", s)
	}
	r.log.reset()
}

func (s *syncBuffer) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Reset()
}

// A panic in a handler is that request's EIO, and no lock stays taken.
func TestPanic(t *testing.T) {
	var armed atomic.Bool
	r := newRig(t, func(o *Options) {
		o.OnRequest = func(op string, _ time.Duration) {
			if op == "mkdir" && armed.CompareAndSwap(true, false) {
				panic("test")
			}
		}
	})
	armed.Store(true)
	if err := os.Mkdir(r.path("d"), 0o755); !errors.Is(err, unix.EIO) {
		t.Errorf("mkdir: %v", err)
	}
	check(t, os.Mkdir(r.path("e"), 0o755))
	check(t, os.Rename(r.path("e"), r.path("f")))
	if !strings.Contains(r.log.String(), "request handler panicked") || !strings.Contains(r.log.String(), "failure_test.go") {
		t.Errorf("log: %s", r.log)
	}
	r.log.reset()
}

// What a process opened in passthrough goes on working on a mount whose daemon
// died. The next daemon publishes it when it is closed.
func TestForeignWriter(t *testing.T) {
	r := newRig(t)
	write(t, r.path("a"), "start")
	r.stop()
	c := startChild(t, "hold", r.back+"/a")
	c.wait("open")

	j, err := journal.OpenDir(r.state, journal.Options{})
	check(t, err)
	r.journal = &recordingJournal{Journal: j}
	root, err := backing.Open(r.back)
	check(t, err)
	st, err := root.Lstat("a")
	check(t, err)
	_, err = j.Append(openRecord(&st, "a"))
	check(t, err)
	check(t, j.Close())
	check(t, root.Close())

	r.start()
	if got := show(r.journal.since(0)); len(got) != 1 || got[0] != "content a size=5 still" {
		t.Errorf("at start: %q", got)
	}
	check(t, os.Rename(r.path("a"), r.path("b")))
	check(t, os.WriteFile(r.back+"/b", []byte("the end"), 0))
	c.goOn()
	c.end()
	r.eventually("published", func() bool {
		got := show(r.journal.since(0))
		return got[len(got)-1] == "content b size=7"
	})
}

// An open with O_NONBLOCK never meets the lease that Settle asks for.
func TestNonblockingOpen(t *testing.T) {
	r := newRig(t)
	write(t, r.path("a"), "x")
	stop := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			fd, err := unix.Open(r.path("a"), unix.O_WRONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				done <- err
				return
			}
			unix.Close(fd)
		}
	}()
	for range 300 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		r.Settle(ctx)
		cancel()
	}
	close(stop)
	check(t, <-done)
}

// Without a free descriptor files can still be removed and replaced.
func TestNoDescriptors(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"a", "b", "c"} {
		write(t, r.path(name), name)
	}
	r.settle()
	r.closed()
	var limit unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	low := limit
	low.Cur = 3
	check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	removed, renamed := unix.Unlink(r.path("a")), unix.Rename(r.path("b"), r.path("c"))
	check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	check(t, removed)
	check(t, renamed)
	if s := read(t, r.back+"/c"); s != "b" {
		t.Errorf("c is %q", s)
	}
	got := show(r.journal.since(6))
	if strings.Join(got, ";") != "remove a last;rename b to=c" {
		t.Errorf("records: %q", got)
	}
}
