package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func appendUntil(t *testing.T, j *Journal, done func() bool) {
	t.Helper()
	for !done() {
		mustAppend(t, j, Record{Kind: Attr, Path: "some/path/or/other"})
	}
}

func segmentsOnDisk(t *testing.T, dir string) int {
	t.Helper()
	l, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return len(l)
}

func TestRetain(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{SegmentSize: minSegment})
	appendUntil(t, j, func() bool { return j.Stats().Segments == 4 })
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	second, third := j.segments[1], j.segments[2]
	j.Retain(second.first - 2)
	if j.First() != 1 {
		t.Fatalf("first %d, though its segment is needed", j.First())
	}
	j.Retain(third.first)
	if j.First() != third.first || segmentsOnDisk(t, dir) != 2 {
		t.Fatalf("first %d, want %d; %d segments", j.First(), third.first, segmentsOnDisk(t, dir))
	}
	if _, err := j.NewReader(third.first - 2); !errors.Is(err, ErrTruncated) {
		t.Fatalf("reader below the oldest: %v", err)
	}
	if _, err := j.NewReader(j.Last() + 1); !errors.Is(err, ErrTruncated) {
		t.Fatalf("reader above the newest: %v", err)
	}
	readAll(t, j, third.first-1)
	j.Retain(j.Last() + 100)
	if s := j.Stats(); s.Segments != 1 || s.First > s.Last {
		t.Fatalf("the segment being written went: %+v", s)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, dir, Options{SegmentSize: minSegment})
	if again.Last() != j.Last() || again.First() != j.First() {
		t.Fatalf("%+v", again.Stats())
	}
}

// Positions go on where everything was retained away or moved aside.
func TestPositionsAreNeverUsedAgain(t *testing.T) {
	dir := t.TempDir()
	last := Position(0)
	for range 5 {
		j, err := OpenDir(dir, Options{SegmentSize: minSegment})
		if err != nil {
			t.Fatal(err)
		}
		if j.Last() < last {
			t.Fatalf("last %d, was %d", j.Last(), last)
		}
		appendUntil(t, j, func() bool { return j.Stats().Segments > 2 })
		if err := j.Sync(); err != nil {
			t.Fatal(err)
		}
		j.Retain(j.Last())
		last = j.Last()
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Quarantine(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMaxSize(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{SegmentSize: minSegment, MaxSize: 6 * minSegment})
	behind, err := j.NewReader(0)
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()
	appendUntil(t, j, func() bool { return j.First() > 1000 })
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	j.enforceMaxSize()
	if s := j.Stats(); s.Bytes > s.MaxBytes || s.Segments < 2 {
		t.Fatalf("%+v", s)
	}
	n := 0
	for behind.Next() {
		n++
	}
	if n == 0 || !errors.Is(behind.Err(), ErrTruncated) {
		t.Fatalf("a reader that was behind read %d, then %v", n, behind.Err())
	}
	if behind.Next() {
		t.Fatal("read on after an error")
	}
	readAll(t, j, j.First()-1)
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{})
	if _, err := OpenDir(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	if _, err := Quarantine(dir); !errors.Is(err, ErrLocked) {
		t.Fatalf("quarantine: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append(&Record{Kind: Heartbeat}); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
	mustOpen(t, dir, Options{})
}

func TestBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"max size":     {MaxSize: 100},
		"segment size": {SegmentSize: 10},
		"both":         {MaxSize: 1 << 20, SegmentSize: 1 << 20},
		"origin":       {Origin: string(make([]byte, maxOrigin+1))},
	} {
		if _, err := OpenDir(t.TempDir(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(file, Options{}); err == nil {
		t.Error("a file as directory: accepted")
	}
}
