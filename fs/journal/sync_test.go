package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func memJournal(t *testing.T, d *memDisk, o Options) *Journal {
	t.Helper()
	o.disk, o.boot = d, func() string { return "boot" }
	if o.SegmentSize == 0 {
		o.SegmentSize = minSegment
	}
	if o.SyncInterval == 0 {
		o.SyncInterval = time.Hour
	}
	j, err := OpenDir(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// failing is a disk whose operations on segments fail while err is set.
func failing(op string) (*memDisk, *atomic.Pointer[error]) {
	var err atomic.Pointer[error]
	d := newMemDisk(rand.New(rand.NewPCG(1, 1)))
	d.fault = func(o, path string) error {
		if e := err.Load(); e != nil && o == op && strings.HasSuffix(path, segmentSuffix) {
			return *e
		}
		return nil
	}
	return d, &err
}

func fail(p *atomic.Pointer[error], err error) { p.Store(&err) }

func TestFailedSync(t *testing.T) {
	for _, always := range []bool{false, true} {
		t.Run(fmt.Sprint("always=", always), func(t *testing.T) {
			d, fault := failing("sync")
			j := memJournal(t, d, Options{SyncAlways: always})
			mustAppend(t, j, Record{Kind: Open, ID: 1, Path: "a"})
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
			durable := j.Stats().SyncedPos
			fail(fault, unix.EIO)
			pos, err := j.Append(&Record{Kind: Attr, Path: "b"})
			if always != errors.Is(err, unix.EIO) || pos == 0 {
				t.Fatalf("position %d, %v", pos, err)
			}
			if !always {
				if err := j.Sync(); !errors.Is(err, unix.EIO) {
					t.Fatalf("sync: %v", err)
				}
			}
			fault.Store(nil)
			if err := j.syncTo(pos); !errors.Is(err, unix.EIO) {
				t.Fatalf("a second sync of what was lost: %v", err)
			}
			if got := j.Stats().SyncedPos; got != durable {
				t.Fatalf("durable up to %d, was %d", got, durable)
			}
			mustAppend(t, j, Record{Kind: Attr, Path: "c"})
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
			checkKinds(t, j, Open, Attr, Checkpoint, Gap, Attr)
			if s := j.Stats(); s.Gaps != 1 || s.AppendErrors != 1 || s.SyncedPos != s.Last {
				t.Fatalf("%+v", s)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// What a failed sync has lost may be unreadable later: readers go on at the gap.
func TestReaderPassesOverLostEnd(t *testing.T) {
	d, fault := failing("sync")
	j := memJournal(t, d, Options{})
	mustAppend(t, j, Record{Kind: Open, ID: 1, Path: "a"})
	lost := j.active
	at := lost.end.Load()
	mustAppend(t, j, Record{Kind: Attr, Path: "b"})
	fail(fault, unix.EIO)
	if err := j.Sync(); err == nil {
		t.Fatal("sync did not fail")
	}
	fault.Store(nil)
	d.mu.Lock()
	clear(d.files[lost.path].cur[at:])
	d.mu.Unlock()
	checkKinds(t, j, Open, Checkpoint, Gap)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenDir(j.dir, j.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	checkKinds(t, again, Open, Checkpoint, Gap)
}

func TestFailedWrite(t *testing.T) {
	for _, errno := range []error{unix.ENOSPC, unix.EIO} {
		t.Run(errno.Error(), func(t *testing.T) {
			d, fault := failing("write")
			j := memJournal(t, d, Options{})
			defer j.Close()
			mustAppend(t, j, Record{Kind: Open, ID: 1, Path: "a"})
			fail(fault, errno)
			for range 2 {
				if _, err := j.Append(&Record{Kind: Attr, Path: "lost"}); !errors.Is(err, errno) && err != nil {
					t.Fatal(err)
				}
			}
			fault.Store(nil)
			mustAppend(t, j, Record{Kind: Attr, Path: "c"})
			all := readAll(t, j, 0)
			gaps := 0
			for _, r := range all {
				if r.Kind == Gap {
					gaps++
				}
			}
			if gaps == 0 || all[len(all)-1].Path != "c" {
				t.Fatalf("%d gaps in %d records", gaps, len(all))
			}
		})
	}
}

func checkKinds(t *testing.T, j *Journal, want ...Kind) {
	t.Helper()
	var got []Kind
	for _, r := range readAll(t, j, 0) {
		got = append(got, r.Kind)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("kinds %v, want %v", got, want)
	}
}

// Each append of a strict journal is durable when it returns, however many
// there are at once, and they share syncs.
func TestGroupCommit(t *testing.T) {
	var syncs atomic.Int64
	d := newMemDisk(rand.New(rand.NewPCG(2, 2)))
	j := memJournal(t, d, Options{SyncAlways: true, SegmentSize: 64 << 10, OnSync: func(time.Duration) { syncs.Add(1) }})
	const writers, each = 16, 200
	var group sync.WaitGroup
	var seen sync.Map
	for w := range writers {
		group.Go(func() {
			for i := range each {
				pos, err := j.Append(&Record{Kind: Open, ID: FileID(w + 1), Path: fmt.Sprint(w, "/", i)})
				if err != nil {
					t.Error(err)
					return
				}
				if durable := j.Stats().SyncedPos; durable < pos {
					t.Errorf("append of %d returned, durable is %d", pos, durable)
				}
				if _, twice := seen.LoadOrStore(pos, true); twice {
					t.Errorf("position %d given out twice", pos)
				}
			}
		})
	}
	group.Wait()
	if n := len(readAll(t, j, 0)); n < writers*each {
		t.Errorf("%d records", n)
	}
	t.Logf("%d appends, %d syncs", writers*each, syncs.Load())
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// The timer syncs by itself.
func TestTimerSyncs(t *testing.T) {
	synced := make(chan time.Duration, 100)
	j := mustOpen(t, t.TempDir(), Options{SyncInterval: time.Millisecond, OnSync: func(d time.Duration) { synced <- d }})
	for range 3 {
		pos := mustAppend(t, j, Record{Kind: Attr, Path: "a"})
		for j.Stats().SyncedPos < pos {
			<-synced
		}
	}
	if err := j.Sync(); err != nil { // waits for no sync: all is durable
		t.Fatal(err)
	}
}
