package journal

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden journal anew")

const goldenDir = "testdata/v1"

// dump tells everything of a record.
func dump(r *Record) string {
	return fmt.Sprintf("%d %d %d %d %q id=%d mode=%o path=%q to=%q links=%q size=%d mtime=%s ctime=%s %v %v %v %v\n",
		r.Pos, r.Time.UnixNano(), r.HLC, r.Kind, r.Origin, r.ID, r.Mode, r.Path, r.To, r.Links, r.Size,
		stamp(r.Mtime), stamp(r.Ctime), r.Created, r.StillOpen, r.Exchange, r.Last)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond())
}

// writeGolden stores a journal of two segments with every kind of record.
func writeGolden(t *testing.T) {
	if err := os.RemoveAll(goldenDir); err != nil {
		t.Fatal(err)
	}
	clock := time.Unix(1_790_000_000, 0)
	j, err := OpenDir(goldenDir, Options{SegmentSize: minSegment, Origin: "here",
		boot: func() string { return "golden" }, Clock: func() time.Time { clock = clock.Add(time.Microsecond); return clock }})
	if err != nil {
		t.Fatal(err)
	}
	for len(j.segments) < 2 {
		for _, r := range sampleRecords() {
			r.Time = time.Time{}
			if len(r.Path) > 100 {
				r.Path = r.Path[:100]
			}
			mustAppend(t, j, *r)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(goldenDir, "lock")); err != nil {
		t.Fatal(err)
	}
}

// TestGolden reads a journal that format version 1 wrote. It is kept for ever.
func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	dir := filepath.Join(t.TempDir(), "v1")
	if err := os.CopyFS(dir, os.DirFS(goldenDir)); err != nil {
		t.Fatal(err)
	}
	j := mustOpen(t, dir, Options{SegmentSize: minSegment, Origin: "reader"})
	var got bytes.Buffer
	for _, r := range readAll(t, j, 0) {
		got.WriteString(dump(r))
	}
	for _, d := range j.Dirty() {
		fmt.Fprintf(&got, "dirty %d %q since %s at %d\n", d.ID, d.Path, stamp(d.Since), d.Pos)
	}
	fmt.Fprintf(&got, "unclean %v, last %d\n", j.Unclean(), j.Last())
	path := goldenDir + ".golden"
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("the stored journal reads as\n%s\nwant\n%s", got.Bytes(), want)
	}
}
