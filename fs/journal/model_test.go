package journal

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// model is what a journal should be: a list of records of which retention has
// taken some, and the files that are dirty.
type model struct {
	j       *Journal
	o       Options
	dir     string
	records []*Record // as appended; the journal's own are not among them
	dirty   dirtySet
	readers []*modelReader
}

type modelReader struct {
	r    *Reader
	next int // index into model.records
}

// TestModel compares the journal with the model through random histories.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		disk := newMemDisk(rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0)))
		m := &model{dir: t.TempDir(), dirty: dirtySet{}, o: Options{SegmentSize: minSegment, Origin: "here",
			disk: disk, boot: func() string { return "boot" }}}
		m.open(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"append": m.append,
			"burst": func(rt *rapid.T) {
				for range rapid.IntRange(1, 60).Draw(rt, "n") {
					m.append(rt)
				}
			},
			"sync":   func(rt *rapid.T) { noError(rt, m.j.Sync()) },
			"reopen": func(rt *rapid.T) { m.closeReaders(); noError(rt, m.j.Close()); m.open(rt) },
			"kill": func(rt *rapid.T) {
				m.closeReaders()
				m.o.disk = m.o.disk.(*memDisk).killed()
				noError(rt, m.j.Close())
				m.open(rt)
			},
			"retain": m.retain,
			"read":   m.newReader,
			"":       m.check,
		})
		noError(rt, m.j.Close())
	})
}

func noError(rt *rapid.T, err error) {
	rt.Helper()
	if err != nil {
		rt.Fatal(err)
	}
}

func (m *model) open(rt *rapid.T) {
	var err error
	m.j, err = OpenDir(m.dir, m.o)
	noError(rt, err)
}

func (m *model) closeReaders() {
	for _, r := range m.readers {
		r.r.Close()
	}
	m.readers = nil
}

func (m *model) append(rt *rapid.T) {
	name := rapid.SampledFrom([]string{"a", "b", "a/x", "a/y", "b/x", "c"})
	r := &Record{
		Kind: rapid.SampledFrom([]Kind{Open, Open, Open, Clean, Content, Attr, Make, Remove, Rename}).Draw(rt, "kind"),
		ID:   FileID(rapid.IntRange(1, 6).Draw(rt, "id")),
		Path: name.Draw(rt, "path"),
	}
	switch r.Kind {
	case Rename:
		r.To, r.ID = name.Draw(rt, "to"), 0
		r.Exchange = rapid.Bool().Draw(rt, "exchange")
	case Remove:
		r.Last = rapid.Bool().Draw(rt, "last")
	case Content:
		r.StillOpen = rapid.Bool().Draw(rt, "stillopen")
	}
	_, err := m.j.Append(r)
	noError(rt, err)
	m.records = append(m.records, r)
	m.dirty.apply(r, note{opened: r.Pos})
}

func (m *model) retain(rt *rapid.T) {
	keep := Position(rapid.Uint64Range(0, uint64(m.j.Last())).Draw(rt, "keep"))
	m.closeReaders()
	before := m.j.First()
	m.j.Retain(keep)
	if m.j.First() > max(before, keep+1) {
		rt.Fatalf("first %d after retain of %d", m.j.First(), keep)
	}
}

func (m *model) newReader(rt *rapid.T) {
	if m.j.Last() < m.j.First() {
		return
	}
	after := Position(rapid.Uint64Range(uint64(m.j.First()-1), uint64(m.j.Last())).Draw(rt, "after"))
	r, err := m.j.NewReader(after)
	noError(rt, err)
	m.readers = append(m.readers, &modelReader{r, m.index(after)})
}

// index is that of the first record after a position.
func (m *model) index(after Position) int {
	i := len(m.records)
	for i > 0 && m.records[i-1].Pos > after {
		i--
	}
	return i
}

// check reads each reader to the tail and compares the dirty files.
func (m *model) check(rt *rapid.T) {
	fresh, err := m.j.NewReader(m.j.First() - 1)
	noError(rt, err)
	m.drain(rt, &modelReader{fresh, m.index(m.j.First() - 1)})
	fresh.Close()
	for _, r := range m.readers {
		m.drain(rt, r)
	}
	got, want := m.j.Dirty(), m.dirty.sorted()
	if len(got) != len(want) {
		rt.Fatalf("dirty %v, want %v", got, want)
	}
	for i, g := range got {
		w := want[i]
		if g.ID != w.ID || g.Path != w.Path || g.Pos != w.Pos || !g.Since.Equal(w.Since) {
			rt.Fatalf("dirty %+v, want %+v", g, w)
		}
	}
}

func (m *model) drain(rt *rapid.T, r *modelReader) {
	for r.r.Next() {
		rec := r.r.Record()
		if rec.Kind == Checkpoint {
			continue
		}
		if r.next >= len(m.records) || !sameRecord(rec, m.records[r.next]) {
			rt.Fatalf("read %s, want record %d of %d", dump(rec), r.next, len(m.records))
		}
		r.next++
	}
	noError(rt, r.r.Err())
	if r.next != len(m.records) {
		rt.Fatalf("read %d of %d records", r.next, len(m.records))
	}
}
