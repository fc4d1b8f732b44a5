package targettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"closefs/replicate"
)

func testPut(t *testing.T, b *bench) {
	target := b.dial()
	ready := 0
	err := target.Put(t.Context(), "f", strings.NewReader("hello"), 5, attr(0o640), func() error {
		ready++
		b.hasNot("f")
		return nil
	})
	must(t, err)
	b.has("f", "hello")
	b.nothingStaged()
	if ready != 1 {
		t.Errorf("ready was called %d times", ready)
	}
	info, err := os.Lstat(b.path("f"))
	must(t, err)
	if info.Mode().Perm() != 0o640 || !info.ModTime().Equal(when) {
		t.Errorf("mode %v, time %v", info.Mode(), info.ModTime())
	}
}

// testPutSizes covers what lies around the lengths of packets, chunks and windows.
func testPutSizes(t *testing.T, b *bench) {
	target := b.dial()
	for _, size := range []int{
		0, 1, 32767, 32768, 32769, 65536, 255 << 10, 255<<10 + 1, 256 << 10,
		1<<20 - 1, 1 << 20, 1<<20 + 1, 5<<20 + 12345, 24 << 20,
	} {
		content := strings.Repeat("0123456789abcdef-", size/17+1)[:size]
		name := fmt.Sprint("f", size)
		b.put(target, name, content)
		b.has(name, content)
	}
	b.nothingStaged()
}

func testPutReplaces(t *testing.T, b *bench) {
	target := b.dial()
	b.put(target, "f", "a longer first content")
	b.put(target, "f", "second")
	b.has("f", "second")

	must(t, target.Symlink(t.Context(), "link", "f", linkAttr()))
	b.put(target, "link", "a file now")
	b.has("link", "a file now")
	b.has("f", "second")

	must(t, target.Put(t.Context(), "read-only", strings.NewReader("1"), 1, attr(0o400), nil))
	must(t, target.Put(t.Context(), "read-only", strings.NewReader("2"), 1, attr(0o400), nil))
	b.has("read-only", "2")
}

// testPutIsAtomic replaces a file while readers look at it all the time: they
// see one content or the other, whole.
func testPutIsAtomic(t *testing.T, b *bench) {
	target := b.dial()
	contents := []string{strings.Repeat("a", 300_000), strings.Repeat("b", 200_000)}
	b.put(target, "f", contents[0])
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := os.ReadFile(b.path("f"))
				if err != nil || string(got) != contents[0] && string(got) != contents[1] {
					t.Errorf("a reader saw %d bytes, %v", len(got), err)
					return
				}
			}
		})
	}
	for i := range 40 {
		b.put(target, "f", contents[i%2])
	}
	close(stop)
	readers.Wait()
}

func testPutRepeated(t *testing.T, b *bench) {
	target := b.dial()
	for range 3 {
		b.put(target, "f", "same")
		b.has("f", "same")
	}
	entries, err := target.List(t.Context(), "")
	if err != nil || len(entries) != 1 {
		t.Errorf("listed %v, %v", entries, err)
	}
}

func testPutSourceError(t *testing.T, b *bench) {
	target := b.dial()
	broken := &os.PathError{Op: "read", Path: "source", Err: unix.ESTALE}
	for _, size := range []int64{10, 8 << 20} {
		src := &failing{size: size, at: size / 2, err: broken}
		err := target.Put(t.Context(), "f", src, size, fileAttr(), nil)
		wants(t, "put", err, broken)
		if errors.Is(err, replicate.ErrConnection) {
			t.Errorf("an error of the source is taken for the target's: %v", err)
		}
		b.hasNot("f")
		b.nothingStaged()
	}
	b.put(target, "f", "the connection still works")
}

func testPutShortSource(t *testing.T, b *bench) {
	target := b.dial()
	b.put(target, "f", "before")
	for _, size := range []int64{11, 3 << 20} {
		err := target.Put(t.Context(), "f", strings.NewReader("ten bytes."), size, fileAttr(), nil)
		wants(t, "put", err, io.ErrUnexpectedEOF)
	}
	b.has("f", "before")
	b.nothingStaged()
}

func testPutNotReady(t *testing.T, b *bench) {
	target := b.dial()
	b.put(target, "f", "before")
	moved := &os.PathError{Op: "stat", Path: "source", Err: unix.ENOENT}
	err := target.Put(t.Context(), "f", strings.NewReader("after"), 5, fileAttr(), func() error { return moved })
	wants(t, "put", err, moved)
	if errors.Is(err, replicate.ErrNotExist) {
		t.Errorf("an error of ready is taken for the target's: %v", err)
	}
	b.has("f", "before")
	b.nothingStaged()
}

func testPutCancelled(t *testing.T, b *bench) {
	target := b.dial()
	ctx, cancel := context.WithCancel(t.Context())
	src := &failing{size: 16 << 20, at: 8 << 20, then: cancel}
	wants(t, "put", target.Put(ctx, "f", src, src.size, fileAttr(), nil), context.Canceled)
	b.hasNot("f")
	b.nothingStaged()
	b.put(target, "f", "the connection still works")
}

func testPutOverDirectory(t *testing.T, b *bench) {
	target := b.dial()
	must(t, target.Mkdir(t.Context(), "d", dirAttr()))
	wants(t, "put over an empty directory", put(t, target, "d", "x"), replicate.ErrIsDir)
	b.put(target, "d/f", "inside")
	wants(t, "put over a directory", put(t, target, "d", "x"), replicate.ErrIsDir)
	b.has("d/f", "inside")
	b.nothingStaged()
}

func testPutWithoutParent(t *testing.T, b *bench) {
	target := b.dial()
	wants(t, "put", put(t, target, "none/f", "x"), replicate.ErrNotExist)
	b.put(target, "file", "x")
	wants(t, "put below a file", put(t, target, "file/f", "x"), replicate.ErrNotExist)
	// The parent goes behind the connection's back, after it was seen.
	must(t, target.Mkdir(t.Context(), "d", dirAttr()))
	b.put(target, "d/f", "x")
	must(t, os.RemoveAll(b.path("d")))
	wants(t, "put into a directory that is gone", put(t, target, "d/f", "x"), replicate.ErrNotExist)
	b.nothingStaged()
}

func testPutsAtOnce(t *testing.T, b *bench) {
	target := b.dial()
	content := func(i int) string {
		size := 100 + 3000*i
		if i%16 == 0 {
			size = 2 << 20
		}
		return strings.Repeat(fmt.Sprintf("%03d,", i), size/4)
	}
	must(t, target.Mkdir(t.Context(), "d", dirAttr()))
	var group errgroup.Group
	for i := range 64 {
		group.Go(func() error { return put(t, target, fmt.Sprintf("d/f%d", i), content(i)) })
	}
	must(t, group.Wait())
	for i := range 64 {
		b.has(fmt.Sprintf("d/f%d", i), content(i))
	}
	b.nothingStaged()
}

func testHeartbeat(t *testing.T, b *bench) {
	target := b.dial()
	for _, stamp := range []time.Time{when, when.Add(123456789 * time.Nanosecond)} {
		got, err := target.Heartbeat(t.Context(), stamp)
		if err != nil || !got.Equal(stamp) {
			t.Errorf("heartbeat %v came back as %v, %v", stamp, got, err)
		}
	}
	b.nothingStaged()
}
