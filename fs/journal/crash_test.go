package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// life is a journal on a memDisk through several crashes, with what must be
// true of it afterwards.
type life struct {
	t       *testing.T
	rng     *rand.Rand
	dir     string
	disk    *memDisk
	boot    int
	acked   []*Record // appends that returned, as they were
	durable Position  // newest that a Sync had covered
	maybe   Position  // highest position that may have been given out
	cut     bool      // the power was cut since the last check
}

func (l *life) options() Options {
	boot := fmt.Sprint("boot-", l.boot)
	return Options{SegmentSize: minSegment, MaxSize: 1 << 20, SyncInterval: time.Hour, Origin: "here",
		disk: l.disk, boot: func() string { return boot }}
}

// run opens the journal and appends and syncs until the disk stops it. It
// reports whether the disk did.
func (l *life) run(stopAfter int) (stopped bool) {
	l.disk.stopAt = l.disk.ops + 1 + l.rng.IntN(stopAfter)
	j, err := OpenDir(l.dir, l.options())
	if errors.Is(err, errStopped) {
		return true
	}
	if err != nil {
		l.t.Fatalf("open: %v", err)
	}
	defer func() { l.stop(j) }()
	l.check(j)
	for range 300 {
		r := l.record()
		pos, err := j.Append(r)
		l.maybe = max(l.maybe, r.Pos)
		if err != nil {
			return true
		}
		if pos != r.Pos {
			l.t.Fatalf("position %d, record has %d", pos, r.Pos)
		}
		l.acked = append(l.acked, r)
		if l.rng.IntN(8) == 0 {
			if err := j.Sync(); err != nil {
				return true
			}
			l.durable = pos
		}
	}
	return false
}

// stop ends the process's goroutines without writing anything: the disk has
// stopped, or the journal is closed properly.
func (l *life) stop(j *Journal) {
	err := j.Close()
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	if l.disk.ops < l.disk.stopAt && err != nil {
		l.t.Fatalf("close: %v", err)
	}
	if err == nil && len(l.acked) > 0 {
		l.durable = l.acked[len(l.acked)-1].Pos
	}
}

func (l *life) record() *Record {
	id := FileID(1 + l.rng.IntN(20))
	r := &Record{ID: id, Path: fmt.Sprintf("dir/%d-%0*d", id, l.rng.IntN(200), 0)}
	r.Kind = []Kind{Open, Content, Attr}[l.rng.IntN(3)]
	return r
}

// check reads the whole log: it must hold what was acked, in order, all of it
// after a kill, and all that was durable after a power cut.
func (l *life) check(j *Journal) {
	t := l.t
	got := readAll(t, j, j.First()-1)
	n := 0
	for _, r := range got {
		if r.Kind == Gap || r.Kind == Checkpoint {
			continue
		}
		if n < len(l.acked) && sameRecord(r, l.acked[n]) {
			n++
			continue
		}
		if n < len(l.acked) && r.Pos >= l.acked[n].Pos {
			t.Fatalf("record %d is %+v, appended was %+v", r.Pos, r, l.acked[n])
		}
		if n == len(l.acked) && r.Pos <= l.maybe {
			l.acked = append(l.acked, r) // written wholly, but the crash came before Append returned
			n++
		}
	}
	lost := l.acked[n:]
	if len(lost) > 0 && !l.cut {
		t.Fatalf("records %d to %d are gone after a kill", lost[0].Pos, lost[len(lost)-1].Pos)
	}
	if len(lost) > 0 && lost[0].Pos <= l.durable {
		t.Fatalf("record %d is gone, durable was %d", lost[0].Pos, l.durable)
	}
	l.acked = l.acked[:n]
	if j.PowerLost() {
		if j.Last() <= l.maybe {
			t.Fatalf("last position %d after a power cut, %d had been given out", j.Last(), l.maybe)
		}
		if got[len(got)-1].Kind != Gap {
			t.Fatalf("no gap after a power cut: %+v", got[len(got)-1])
		}
		if j.SyncedAtOpen() >= j.Last() {
			t.Fatalf("synced at open %d, the gap is %d", j.SyncedAtOpen(), j.Last())
		}
	}
	l.maybe, l.cut = max(l.maybe, j.Last()), false
	checkDirty(t, j, got)
}

// checkDirty compares the journal's dirty set with what its records say.
func checkDirty(t *testing.T, j *Journal, all []*Record) {
	t.Helper()
	want := dirtySet{}
	for _, r := range all {
		if r.Kind == Checkpoint {
			if _, ok := want[r.ID]; !ok && r.Pos > j.First()+100 {
				t.Fatalf("checkpoint %d of %d, which is not dirty", r.Pos, r.ID)
			}
			if _, ok := want[r.ID]; ok {
				continue
			}
		}
		want.apply(r, note{opened: r.Pos})
	}
	got := j.Dirty()
	if len(got) != len(want) {
		t.Fatalf("%d dirty files, want %d", len(got), len(want))
	}
	for _, f := range got {
		if w := want[f.ID]; w.Path != f.Path || !w.Since.Equal(f.Since) || !j.IsDirty(f.ID) {
			t.Fatalf("dirty %+v, want %+v", f, w)
		}
	}
}

func (l *life) kill() { l.disk = l.disk.killed() }

func (l *life) powerCut() {
	l.disk = l.disk.powerCut()
	l.boot++
	l.cut = true
}

func crashes(t *testing.T, rounds int, crash func(*life)) {
	for seed := range rounds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 1))
			l := &life{t: t, rng: rng, dir: t.TempDir(), disk: newMemDisk(rng)}
			for range 6 {
				l.run(1 + l.rng.IntN(400))
				crash(l)
			}
			l.disk.stopAt = 0
			j, err := OpenDir(l.dir, l.options())
			if err != nil {
				t.Fatalf("open after the last crash: %v", err)
			}
			defer j.Close()
			l.check(j)
		})
	}
}

func rounds(long int) int {
	if testing.Short() {
		return long / 10
	}
	return long
}

// A process killed between any two operations, or in the middle of a write.
func TestKilledAnywhere(t *testing.T) {
	crashes(t, rounds(400), (*life).kill)
}

// A power cut between any two operations: names are lost from the end, sectors
// that were not synced at random.
func TestPowerCutAnywhere(t *testing.T) {
	crashes(t, rounds(400), (*life).powerCut)
}

// Both, in any order.
func TestCrashesMixed(t *testing.T) {
	crashes(t, rounds(400), func(l *life) {
		if l.rng.IntN(2) == 0 {
			l.kill()
		} else {
			l.powerCut()
		}
	})
}
