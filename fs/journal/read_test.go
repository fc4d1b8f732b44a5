package journal

import (
	"slices"
	"testing"
)

// mustOpen opens a journal and closes it at the end of the test, after a check
// that every record can be read.
func mustOpen(t *testing.T, dir string, o Options) *Journal {
	t.Helper()
	j, err := OpenDir(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			readAll(t, j, j.First()-1)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func mustAppend(t *testing.T, j *Journal, r Record) Position {
	t.Helper()
	pos, err := j.Append(&r)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

// readAll reads the records after a position and checks what is true of every
// journal: positions and clocks rise, positions are skipped only before a Gap,
// and the last is Last.
func readAll(t *testing.T, j *Journal, after Position) []*Record {
	t.Helper()
	r, err := j.NewReader(after)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []*Record
	jumped := false
	for r.Next() {
		rec := r.Record()
		if n := len(all); n > 0 {
			before := all[n-1]
			if rec.Pos <= before.Pos || rec.HLC <= before.HLC {
				t.Fatalf("record %d clock %d after %d clock %d", rec.Pos, rec.HLC, before.Pos, before.HLC)
			}
			jumped = jumped || rec.Pos != before.Pos+1
		}
		if jumped && rec.Kind != Checkpoint {
			if rec.Kind != Gap {
				t.Fatalf("positions jump to %d without a gap", rec.Pos)
			}
			jumped = false
		}
		all = append(all, rec)
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	if n := len(all); n > 0 && all[n-1].Pos != j.Last() {
		t.Fatalf("read up to %d, last is %d", all[n-1].Pos, j.Last())
	}
	return all
}

func sameRecord(a, b *Record) bool {
	return a.Pos == b.Pos && a.Time.Equal(b.Time) && a.HLC == b.HLC && a.Origin == b.Origin &&
		a.Kind == b.Kind && a.ID == b.ID && a.Mode == b.Mode && a.Path == b.Path && a.To == b.To &&
		slices.Equal(a.Links, b.Links) && a.Size == b.Size && a.Mtime.Equal(b.Mtime) && a.Ctime.Equal(b.Ctime) &&
		a.Created == b.Created && a.StillOpen == b.StillOpen && a.Exchange == b.Exchange && a.Last == b.Last
}
