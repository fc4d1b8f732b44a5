package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// storedJournal makes a closed journal of several segments and tells the paths
// of its segments and the offset of each record of the last one.
func storedJournal(t *testing.T, dir string) (paths []string, offsets []int64) {
	t.Helper()
	j, err := OpenDir(dir, Options{SegmentSize: minSegment, Origin: "here"})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; len(j.segments) < 4 || i%10 != 0; i++ {
		mustAppend(t, j, Record{Kind: Content, ID: FileID(i + 1), Path: fmt.Sprintf("%0*d", 20+i%50, i)})
	}
	j.mu.Lock()
	for _, s := range j.segments {
		paths = append(paths, s.path)
	}
	last := j.active
	j.mu.Unlock()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := osDisk{}.open(last.path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := newFrames(f, last.salt)
	for {
		offsets = append(offsets, in.off)
		if _, err := in.next(last.size); err != nil {
			return paths, offsets // the last one is the end
		}
	}
}

func overwrite(t *testing.T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, off int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, off, []byte{b[off] ^ 0x40})
}

// readThrough opens the journal and reads all of it.
func readThrough(dir string) error {
	j, err := OpenDir(dir, Options{SegmentSize: minSegment, Origin: "here"})
	if err != nil {
		return err
	}
	defer j.Close()
	r, err := j.NewReader(0)
	if err != nil {
		return err
	}
	defer r.Close()
	for r.Next() {
	}
	return r.Err()
}

func TestDamage(t *testing.T) {
	type site struct {
		paths   []string
		offsets []int64
	}
	last := func(s site) string { return s.paths[len(s.paths)-1] }
	mid := func(s site) int64 { return s.offsets[len(s.offsets)/2] }
	for name, harm := range map[string]func(t *testing.T, s site){
		"magic":                func(t *testing.T, s site) { flip(t, last(s), 3) },
		"header position":      func(t *testing.T, s site) { flip(t, last(s), 16) },
		"header origin":        func(t *testing.T, s site) { flip(t, last(s), originAt) },
		"header checksum":      func(t *testing.T, s site) { flip(t, last(s), headerSumAt) },
		"header zeroed":        func(t *testing.T, s site) { overwrite(t, last(s), 0, make([]byte, segmentHeader)) },
		"older header":         func(t *testing.T, s site) { flip(t, s.paths[1], 50) },
		"header cut short":     func(t *testing.T, s site) { os.Truncate(last(s), 100) },
		"empty file":           func(t *testing.T, s site) { os.Truncate(s.paths[1], 0) },
		"length":               func(t *testing.T, s site) { flip(t, last(s), mid(s)) },
		"length, huge":         func(t *testing.T, s site) { flip(t, last(s), mid(s)+3) },
		"checksum":             func(t *testing.T, s site) { flip(t, last(s), mid(s)+5) },
		"position":             func(t *testing.T, s site) { flip(t, last(s), mid(s)+8) },
		"body":                 func(t *testing.T, s site) { flip(t, last(s), mid(s)+20) },
		"records zeroed":       func(t *testing.T, s site) { overwrite(t, last(s), mid(s), make([]byte, 200)) },
		"first record":         func(t *testing.T, s site) { flip(t, last(s), segmentHeader+30) },
		"durable end missing":  func(t *testing.T, s site) { os.Truncate(last(s), mid(s)) },
		"durable end zeroed":   func(t *testing.T, s site) { overwrite(t, last(s), mid(s), make([]byte, minSegment-mid(s))) },
		"older body":           func(t *testing.T, s site) { flip(t, s.paths[0], segmentHeader+1000) },
		"older end missing":    func(t *testing.T, s site) { os.Truncate(s.paths[1], minSegment/2) },
		"segment missing":      func(t *testing.T, s site) { os.Remove(s.paths[1]) },
		"last segment missing": func(t *testing.T, s site) { os.Remove(last(s)) },
		"segments swapped": func(t *testing.T, s site) {
			os.Rename(s.paths[1], s.paths[1]+"x")
			os.Rename(s.paths[2], s.paths[1])
			os.Rename(s.paths[1]+"x", s.paths[2])
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var s site
			s.paths, s.offsets = storedJournal(t, dir)
			if err := readThrough(dir); err != nil {
				t.Fatalf("before the damage: %v", err)
			}
			harm(t, s)
			err := readThrough(dir)
			var damage *DamageError
			if !errors.Is(err, ErrDamaged) || !errors.As(err, &damage) || !strings.HasPrefix(damage.File, dir) {
				t.Fatalf("got %v", err)
			}
			recoverByQuarantine(t, dir)
		})
	}
}

// recoverByQuarantine moves the journal aside and begins a new one above it.
func recoverByQuarantine(t *testing.T, dir string) {
	t.Helper()
	before, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	moved, err := Quarantine(dir)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := filepath.Glob(filepath.Join(moved, "*.log"))
	if len(before) != len(after) {
		t.Fatalf("%d segments moved of %d", len(after), len(before))
	}
	j := mustOpen(t, dir, Options{SegmentSize: minSegment})
	highest, _ := segmentFirst(filepath.Base(before[len(before)-1]))
	if j.First() <= highest+minSegment/minFrame {
		t.Fatalf("begins at %d, segment %d was moved aside", j.First(), highest)
	}
	if all := readAll(t, j, j.First()-1); len(all) != 1 || all[0].Kind != Gap {
		t.Fatalf("new journal holds %v", all)
	}
	if _, err := j.NewReader(highest); !errors.Is(err, ErrTruncated) {
		t.Fatalf("reader at an old position: %v", err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	for name, file := range map[string]string{"segment": segmentName(1), "state": stateName} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			storedJournal(t, dir)
			overwrite(t, filepath.Join(dir, file), 8, []byte{2})
			if file == stateName {
				overwrite(t, filepath.Join(dir, file), stateSlot+8, []byte{2})
			}
			if err := readThrough(dir); !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
		})
	}
}

// A lost state file says nothing of what was durable: a power cut is assumed.
func TestStateFileLost(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"removed": os.Remove,
		"garbage": func(path string) error { return os.WriteFile(path, []byte("garbage"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, offsets := storedJournal(t, dir)
			if err := harm(filepath.Join(dir, stateName)); err != nil {
				t.Fatal(err)
			}
			j := mustOpen(t, dir, Options{SegmentSize: minSegment, Origin: "here"})
			all := readAll(t, j, 0)
			if !j.PowerLost() || all[len(all)-1].Kind != Gap || len(all) < len(offsets) {
				t.Fatalf("power lost %v, %d records, last %+v", j.PowerLost(), len(all), all[len(all)-1])
			}
			if jump := all[len(all)-1].Pos - all[len(all)-2].Pos; jump < minSegment/minFrame {
				t.Fatalf("only %d positions were skipped", jump)
			}
		})
	}
}

// tornJournal makes a journal of one segment that was killed, not closed, and
// whose last two records end at the offsets that it tells.
func tornJournal(t *testing.T) (segment, state []byte, before, end int64) {
	t.Helper()
	dir := t.TempDir()
	j, err := OpenDir(dir, Options{SegmentSize: minSegment, Origin: "here", SyncInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		mustAppend(t, j, Record{Kind: Open, ID: FileID(i + 1), Path: fmt.Sprint("file-", i)})
		if i == 3 {
			before = j.active.end.Load()
		}
	}
	end = j.active.end.Load()
	if segment, err = os.ReadFile(j.active.path); err != nil {
		t.Fatal(err)
	}
	if state, err = os.ReadFile(filepath.Join(dir, stateName)); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return segment, state, before, end
}

func TestTornTail(t *testing.T) {
	segment, state, before, end := tornJournal(t)
	for name, cut := range map[string]func(b []byte, at int64) []byte{
		"zeros":     func(b []byte, at int64) []byte { clear(b[at:]); return b },
		"truncated": func(b []byte, at int64) []byte { return b[:at] },
		"garbage": func(b []byte, at int64) []byte {
			for i := at; i < end; i++ {
				b[i] ^= 0xa5
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			for at := before; at < end; at++ {
				dir := t.TempDir()
				torn := cut(append([]byte(nil), segment...), at)
				write := func(name string, b []byte) {
					if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				write(segmentName(1), torn)
				write(stateName, state)
				checkTorn(t, dir, at-before)
			}
		})
	}
}

// checkTorn opens a journal whose fifth record is cut off, appends to it, and
// opens it again. Only padding may be missing of a record that is still there.
func checkTorn(t *testing.T, dir string, have int64) {
	t.Helper()
	for range 2 {
		j, err := OpenDir(dir, Options{SegmentSize: minSegment, Origin: "here"})
		if err != nil {
			t.Fatalf("with %d bytes: %v", have, err)
		}
		all := readAll(t, j, 0)
		if n := len(all); n < 4 || all[3].Path != "file-3" || (n > 4 && all[4].Kind == Open && all[4].Path != "file-4" && all[4].Path != "next") {
			t.Fatalf("with %d bytes: %d records", have, n)
		}
		mustAppend(t, j, Record{Kind: Open, ID: 99, Path: "next"})
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
