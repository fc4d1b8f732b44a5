package journal

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Readers follow four writers through many segments, waiting only on Changed.
func TestReadersFollowWriters(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{SegmentSize: 32 << 10, SyncInterval: time.Millisecond})
	const writers, each, readers = 4, 3000, 3
	var group sync.WaitGroup
	for range readers {
		group.Go(func() { follow(t, j, writers*each) })
	}
	for w := range writers {
		group.Go(func() {
			for i := range each {
				if _, err := j.Append(&Record{Kind: Attr, ID: FileID(w + 1), Path: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

func follow(t *testing.T, j *Journal, want int) {
	changed, stop := j.Changed()
	defer stop()
	r, err := j.NewReader(0)
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Close()
	next := map[FileID]int{}
	for got := 0; got < want; {
		for r.Next() {
			rec := r.Record()
			if rec.Path != fmt.Sprint(next[rec.ID]) {
				t.Errorf("writer %d: record %q, want %d", rec.ID, rec.Path, next[rec.ID])
				return
			}
			next[rec.ID]++
			got++
		}
		if r.Err() != nil {
			t.Error(r.Err())
			return
		}
		if got < want {
			<-changed
		}
	}
}

// A reader that stands in a segment reads it to its end though it was deleted.
func TestReaderKeepsItsSegment(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{SegmentSize: minSegment})
	r, err := j.NewReader(0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	appendUntil(t, j, func() bool { return j.Stats().Segments == 2 })
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	second := j.active.first
	j.Retain(second - 1)
	if j.First() != second {
		t.Fatalf("first %d", j.First())
	}
	n := Position(0)
	for r.Next() {
		n++
	}
	if n != j.Last() || r.Err() != nil {
		t.Fatalf("read %d of %d, %v", n, j.Last(), r.Err())
	}
}

func TestReaderBeginsAnywhere(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{SegmentSize: minSegment})
	appendUntil(t, j, func() bool { return j.Stats().Segments == 3 })
	for after := range j.Last() + 1 {
		if n := Position(len(readAll(t, j, after))); n != j.Last()-after {
			t.Fatalf("%d records after %d of %d", n, after, j.Last())
		}
	}
}

func TestChangedStops(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{})
	a, stopA := j.Changed()
	b, stopB := j.Changed()
	defer stopB()
	mustAppend(t, j, Record{Kind: Heartbeat})
	mustAppend(t, j, Record{Kind: Heartbeat})
	<-a
	<-b
	stopA()
	mustAppend(t, j, Record{Kind: Heartbeat})
	<-b
	if len(a) != 0 {
		t.Fatal("poked after it was given back")
	}
}
