package plan

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"closefs/fs/journal"
)

// feeder adds records with increasing positions.
type feeder struct {
	*Plan
	pos journal.Position
}

func (f *feeder) add(r journal.Record) {
	f.pos++
	r.Pos = f.pos
	f.Add(&r, 0)
}

func (f *feeder) file(path string, id journal.FileID) {
	f.add(journal.Record{Kind: journal.Open, Path: path, ID: id, Created: true})
	f.add(journal.Record{Kind: journal.Content, Path: path, ID: id, Mode: unix.S_IFREG | 0o644, Size: 1})
}

func (f *feeder) take(t testing.TB) Step {
	t.Helper()
	s, ok := f.Next(false)
	if !ok {
		t.Fatal("no step can run")
	}
	return s
}

// TestAckedMovesUnderLoad writes files into one directory, of which two are
// always under way at once: what was shipped long ago is acked nevertheless.
func TestAckedMovesUnderLoad(t *testing.T) {
	f := &feeder{Plan: New(Options{})}
	f.file("d/0", 100)
	running := f.take(t)
	for i := range 10_000 {
		f.file(fmt.Sprintf("d/%d", i+1), journal.FileID(101+i))
		next := f.take(t)
		f.Done(running)
		running = next
		for running.Kind == Times { // the directory's turn
			f.Done(running)
			running = f.take(t)
		}
	}
	if f.Acked() < f.pos/2 {
		t.Errorf("acked %d of %d: the directory's times wait for ever more files", f.Acked(), f.pos)
	}
}

// TestReconcileEndsWhileFilesAreReplaced has files written under temporary names
// and renamed, all the time: the comparison of everything ends all the same.
func TestReconcileEndsWhileFilesAreReplaced(t *testing.T) {
	f := &feeder{Plan: New(Options{})}
	f.AddCheck("", RemoveExtras, true)
	var running []Step // checks under way; the rest is done at once
	for i := range 1000 {
		tmp := fmt.Sprintf("tmp%d", i)
		f.file(tmp, journal.FileID(100+i))
		f.add(journal.Record{Kind: journal.Rename, Path: tmp, To: fmt.Sprint(i), ID: journal.FileID(100 + i), Mode: unix.S_IFREG | 0o644})
		n := len(running)
		for {
			s, ok := f.Next(false)
			if !ok {
				if s, ok = f.Next(true); !ok {
					break
				}
			}
			if s.Kind == Check {
				running = append(running, s)
			} else {
				f.Done(s)
			}
		}
		for _, s := range running[:n] { // a round later
			f.Checked(s, nil)
		}
		running = running[n:]
		if !f.Reconciling() {
			return
		}
	}
	t.Error("still reconciling: each rename adds a comparison, which makes the next rename add one")
}

// edges counts who waits for whom among the ordered operations.
func (p *Plan) edges() int {
	n := 0
	seen := map[*op]bool{}
	p.fences.under(func(o *op) {
		if !seen[o] {
			seen[o] = true
			n += len(o.waiters) + len(o.runWaiters)
		}
	})
	return n
}

// TestReplacingOneFile replaces a file atomically, over and over, while the
// first transfer of it is under way (or hangs): what is kept in memory grows
// with the number of records, not with its square.
func TestReplacingOneFile(t *testing.T) {
	f := &feeder{Plan: New(Options{})}
	const n = 2000
	for i := range n {
		f.file("tmp", journal.FileID(100+i))
		if i == 0 {
			f.take(t)
		}
		f.add(journal.Record{Kind: journal.Rename, Path: "tmp", To: "f", ID: journal.FileID(100 + i), Mode: unix.S_IFREG | 0o644})
	}
	if e := f.edges(); e > 20*n {
		t.Errorf("%d replacements: %d steps to run, %d edges between them", n, f.fences.below, e)
	}
}

// TestReplacingOneFileReplay is the same with temporary names of their own,
// after a restart.
func TestReplacingOneFileReplay(t *testing.T) {
	const n = 2000
	f := &feeder{Plan: New(Options{Replayed: 10 * n})}
	for i := range n {
		tmp := fmt.Sprintf("tmp%d", i)
		f.file(tmp, journal.FileID(100+i))
		f.add(journal.Record{Kind: journal.Rename, Path: tmp, To: "f", ID: journal.FileID(100 + i), Mode: unix.S_IFREG | 0o644})
	}
	if e := f.edges(); e > 20*n {
		t.Errorf("%d replacements: %d steps to run, %d edges between them", n, f.fences.below, e)
	}
}

func BenchmarkReplacingOneFile(b *testing.B) {
	for _, n := range []int{1000, 2000, 4000, 8000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				f := &feeder{Plan: New(Options{Replayed: 1 << 40})}
				for i := range n {
					tmp := fmt.Sprintf("tmp%d", i)
					f.file(tmp, journal.FileID(100+i))
					f.add(journal.Record{Kind: journal.Rename, Path: tmp, To: "f", ID: journal.FileID(100 + i), Mode: unix.S_IFREG | 0o644})
				}
			}
		})
	}
}

// BenchmarkRenamePending renames a directory that holds n files that are owed:
// one that the target never had, and one that it has.
func BenchmarkRenamePending(b *testing.B) {
	for _, n := range []int{10_000, 20_000, 40_000} {
		for _, replayed := range []journal.Position{0, 1 << 40} {
			b.Run(fmt.Sprintf("%d/fresh=%v", n, replayed == 0), func(b *testing.B) {
				for range b.N {
					b.StopTimer()
					f := &feeder{Plan: New(Options{Replayed: replayed})}
					f.add(journal.Record{Kind: journal.Make, Path: "a", ID: 1, Mode: unix.S_IFDIR | 0o755})
					for i := range n {
						f.file(fmt.Sprintf("a/%d", i), journal.FileID(100+i))
					}
					b.StartTimer()
					f.add(journal.Record{Kind: journal.Rename, Path: "a", To: "b", ID: 1, Mode: unix.S_IFDIR | 0o755})
				}
			})
		}
	}
}

// BenchmarkManyPending adds n files of one directory, and lets them all be shipped.
func BenchmarkManyPending(b *testing.B) {
	for _, n := range []int{20_000, 80_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				f := &feeder{Plan: New(Options{})}
				f.add(journal.Record{Kind: journal.Make, Path: "a", ID: 1, Mode: unix.S_IFDIR | 0o755})
				for i := range n {
					f.file(fmt.Sprintf("a/%d", i), journal.FileID(100+i))
				}
				for {
					s, ok := f.Next(false)
					if !ok {
						break
					}
					f.Done(s)
				}
				if f.Pending() != 0 {
					b.Fatal(f.Pending())
				}
			}
		})
	}
}

// BenchmarkRemoveTree removes n files that the target has and then their
// directory, and has them removed there.
func BenchmarkRemoveTree(b *testing.B) {
	for _, n := range []int{20_000, 80_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				f := &feeder{Plan: New(Options{})}
				for i := range n {
					f.add(journal.Record{Kind: journal.Remove, Path: fmt.Sprintf("a/%d", i), ID: journal.FileID(100 + i), Mode: unix.S_IFREG | 0o644})
				}
				f.add(journal.Record{Kind: journal.Remove, Path: "a", ID: 1, Mode: unix.S_IFDIR | 0o755})
				for {
					s, ok := f.Next(false)
					if !ok {
						break
					}
					f.Done(s)
				}
				if f.Pending() != 0 {
					b.Fatal(f.Pending())
				}
			}
		})
	}
}

// BenchmarkRenameAgain renames a directory with n owed removals to and fro.
func BenchmarkRenameAgain(b *testing.B) {
	for _, n := range []int{1000, 2000, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				f := &feeder{Plan: New(Options{})}
				for i := range n {
					f.add(journal.Record{Kind: journal.Remove, Path: fmt.Sprintf("a/%d", i), ID: journal.FileID(100 + i), Mode: unix.S_IFREG | 0o644})
				}
				for i := range n {
					from, to := "a", "b"
					if i%2 == 1 {
						from, to = to, from
					}
					f.add(journal.Record{Kind: journal.Rename, Path: from, To: to, ID: 1, Mode: unix.S_IFDIR | 0o755})
				}
			}
		})
	}
}

// BenchmarkManyNames gives one inode n names, all of which are owed.
func BenchmarkManyNames(b *testing.B) {
	for _, n := range []int{250, 500, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				f := &feeder{Plan: New(Options{})}
				f.file("0", 100)
				names := []string{"0"}
				for i := range n {
					path := fmt.Sprint(i + 1)
					f.add(journal.Record{Kind: journal.Make, Path: path, ID: 100, Mode: unix.S_IFREG | 0o644, Links: append([]string(nil), names...)})
					names = append(names, path)
				}
				for {
					s, ok := f.Next(false)
					if !ok {
						break
					}
					f.Done(s)
				}
				if f.Pending() != 0 {
					b.Fatal(f.Pending())
				}
			}
		})
	}
}
