package plan

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"closefs/fs/journal"
)

// BenchmarkBacklog feeds 100,000 new files of one directory, renames the
// directory, and hands out and reports every step; the figure is per file.
func BenchmarkBacklog(b *testing.B) {
	for _, renamed := range []bool{false, true} {
		b.Run(fmt.Sprintf("renamed=%v", renamed), func(b *testing.B) {
			for range b.N {
				backlog(b, 100_000, renamed)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/file")
		})
	}
}

func backlog(tb testing.TB, files int, renamed bool) {
	p := New(Options{})
	pos := journal.Position(0)
	add := func(r journal.Record) {
		pos++
		r.Pos = pos
		p.Add(&r, 0)
	}
	add(journal.Record{Kind: journal.Make, Path: "d", ID: 1, Mode: unix.S_IFDIR | 0o755})
	s, _ := p.Next(false)
	for i := range files {
		id := journal.FileID(i + 2)
		name := fmt.Sprintf("d/%d", i)
		add(journal.Record{Kind: journal.Open, Path: name, ID: id, Created: true})
		add(journal.Record{Kind: journal.Content, Path: name, ID: id, Size: 1})
	}
	if renamed {
		add(journal.Record{Kind: journal.Rename, Path: "d", To: "e", ID: 1, Mode: unix.S_IFDIR | 0o755})
	}
	p.Done(s)
	for {
		s, ok := p.Next(false)
		if !ok {
			break
		}
		p.Done(s)
		p.TakeSettled()
	}
	if p.Acked() != pos {
		tb.Fatalf("acked %d of %d", p.Acked(), pos)
	}
}
