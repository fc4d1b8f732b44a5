package journal

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

func benchRecord() *Record {
	now := time.Now()
	return &Record{Kind: Content, ID: 123456 | 77<<32, Mode: 0o100644, Path: "uploads/2026/11/image-000123.jpg",
		Size: 102400, Mtime: now, Ctime: now}
}

func openBench(b *testing.B, o Options) *Journal {
	j, err := OpenDir(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { j.Close() })
	return j
}

func BenchmarkAppend(b *testing.B) {
	for _, always := range []bool{false, true} {
		for _, writers := range []int{1, 16} {
			b.Run(fmt.Sprintf("always=%v/writers=%d", always, writers), func(b *testing.B) {
				j := openBench(b, Options{SyncAlways: always})
				b.ReportAllocs()
				b.ResetTimer()
				benchmarkWriters(b, j, writers)
			})
		}
	}
}

func benchmarkWriters(b *testing.B, j *Journal, writers int) {
	var next atomic.Int64
	done := make(chan error, writers)
	for range writers {
		go func() {
			r := benchRecord()
			for next.Add(1) <= int64(b.N) {
				r.Time = time.Time{}
				if _, err := j.Append(r); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	j := openBench(b, Options{})
	const stored = 100_000
	for range stored {
		if _, err := j.Append(benchRecord()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		r, err := j.NewReader(0)
		if err != nil {
			b.Fatal(err)
		}
		for n < b.N && r.Next() {
			n++
		}
		if r.Err() != nil {
			b.Fatal(r.Err())
		}
		r.Close()
	}
}

func BenchmarkOpenDir(b *testing.B) {
	dir := b.TempDir()
	j, err := OpenDir(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	for range 100_000 {
		if _, err := j.Append(benchRecord()); err != nil {
			b.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if j, err = OpenDir(dir, Options{}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		j.Close()
		b.StartTimer()
	}
}
