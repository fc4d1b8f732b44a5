package journal

import (
	"fmt"
	"testing"
	"time"
)

func dirtyPaths(j *Journal) string {
	var l []string
	for _, f := range j.Dirty() {
		l = append(l, fmt.Sprintf("%d=%s", f.ID, f.Path))
	}
	return fmt.Sprint(l)
}

func TestDirtyFollowsRecords(t *testing.T) {
	open := func(id FileID, path string) Record { return Record{Kind: Open, ID: id, Path: path} }
	rename := func(from, to string) Record { return Record{Kind: Rename, Path: from, To: to} }
	for name, c := range map[string]struct {
		records []Record
		want    string
	}{
		"open":            {[]Record{open(2, "b"), open(1, "a")}, "[1=a 2=b]"},
		"opened again":    {[]Record{open(1, "a"), open(1, "other")}, "[1=other]"},
		"clean":           {[]Record{open(1, "a"), {Kind: Clean, ID: 1, Path: "a"}}, "[]"},
		"content":         {[]Record{open(1, "a"), {Kind: Content, ID: 1, Path: "a"}}, "[]"},
		"still open":      {[]Record{open(1, "a"), {Kind: Content, ID: 1, Path: "a", StillOpen: true}}, "[1=a]"},
		"last name gone":  {[]Record{open(1, "a"), {Kind: Remove, ID: 1, Path: "a", Last: true}}, "[]"},
		"one name gone":   {[]Record{open(1, "a"), {Kind: Remove, ID: 1, Path: "a"}}, "[1=a]"},
		"others removed":  {[]Record{open(1, "a"), {Kind: Remove, ID: 2, Path: "a", Last: true}}, "[1=a]"},
		"renamed":         {[]Record{open(1, "a"), rename("a", "b/c")}, "[1=b/c]"},
		"file by mode":    {[]Record{open(1, "a"), {Kind: Rename, ID: 1, Mode: 0o100644, Path: "a", To: "b"}}, "[1=b]"},
		"other name":      {[]Record{open(1, "a"), {Kind: Rename, ID: 1, Mode: 0o100644, Path: "link", To: "b"}}, "[1=a]"},
		"directory":       {[]Record{open(1, "d/a"), open(2, "d/e/b"), open(3, "da"), rename("d", "x/y")}, "[3=da 1=x/y/a 2=x/y/e/b]"},
		"exchange":        {[]Record{open(1, "a"), open(2, "d/b"), {Kind: Rename, Path: "a", To: "d", Exchange: true}}, "[2=a/b 1=d]"},
		"exchanged file":  {[]Record{open(1, "a"), open(2, "b"), {Kind: Rename, ID: 1, Mode: 0o100644, Path: "a", To: "b", Exchange: true}}, "[2=a 1=b]"},
		"renamed over":    {[]Record{open(1, "new"), open(2, "a"), {Kind: Remove, ID: 2, Path: "a", Last: true}, rename("new", "a")}, "[1=a]"},
		"unrelated kinds": {[]Record{open(1, "a"), {Kind: Attr, ID: 1, Path: "a"}, {Kind: Heartbeat}, {Kind: Gap}}, "[1=a]"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j := mustOpen(t, dir, Options{})
			for _, r := range c.records {
				mustAppend(t, j, r)
			}
			if got := dirtyPaths(j); got != c.want {
				t.Fatalf("dirty %s, want %s", got, c.want)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			if got := dirtyPaths(mustOpen(t, dir, Options{})); got != c.want {
				t.Fatalf("after a restart dirty %s, want %s", got, c.want)
			}
		})
	}
}

// A file stays dirty, since when and from which position on, though the
// segment with its Open record is long gone.
func TestDirtyOutlivesItsSegment(t *testing.T) {
	dir := t.TempDir()
	o := Options{SegmentSize: minSegment}
	j := mustOpen(t, dir, o)
	pos := mustAppend(t, j, Record{Kind: Open, ID: 7, Path: "d/long"})
	mustAppend(t, j, Record{Kind: Rename, Path: "d", To: "e"})
	since := j.Dirty()[0].Since
	for j.First() <= pos+1000 {
		mustAppend(t, j, Record{Kind: Attr, Path: "x"})
		if j.Stats().Segments > 2 {
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
			j.Retain(j.Last())
		}
	}
	want := DirtyFile{7, "e/long", since, pos}
	for range 2 {
		got := j.Dirty()
		if len(got) != 1 || got[0].ID != want.ID || got[0].Path != want.Path || !got[0].Since.Equal(since) || got[0].Pos != pos {
			t.Fatalf("%+v, want %+v", got, want)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = mustOpen(t, dir, o)
	}
}

// More dirty files than fit in a segment: its head grows beyond the plan.
func TestMoreDirtyThanASegmentHolds(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, dir, Options{SegmentSize: minSegment})
	const files = 500
	for i := range files {
		mustAppend(t, j, Record{Kind: Open, ID: FileID(i + 1), Path: fmt.Sprint("some/directory/file-", i)})
	}
	for range 50 {
		mustAppend(t, j, Record{Kind: Attr, Path: "x"})
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, dir, Options{SegmentSize: minSegment})
	if got := len(j.Dirty()); got != files || j.Unclean() {
		t.Fatalf("%d dirty, unclean %v", got, j.Unclean())
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	dir := t.TempDir()
	now := time.Unix(2_000_000_000, 0)
	o := Options{Clock: func() time.Time { return now }}
	var last uint64
	for range 3 {
		j := mustOpen(t, dir, o)
		for range 5 {
			r := Record{Kind: Heartbeat}
			if _, err := j.Append(&r); err != nil {
				t.Fatal(err)
			}
			if r.HLC <= last || !r.Time.Equal(now) {
				t.Fatalf("clock %d after %d at %v, record has %v", r.HLC, last, now, r.Time)
			}
			last = r.HLC
			now = now.Add(-time.Hour)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
