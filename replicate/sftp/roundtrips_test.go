package sftp

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"closefs/replicate"
)

// countingWriter counts writes: each batch of small requests is one.
type countingWriter struct {
	io.WriteCloser
	n *atomic.Int64
}

func (w countingWriter) Write(b []byte) (int, error) {
	w.n.Add(1)
	return w.WriteCloser.Write(b)
}

// TestRoundTrips holds every step to the round trips that doc.go promises.
func TestRoundTrips(t *testing.T) {
	var n atomic.Int64
	dir := t.TempDir()
	d := newPipeDialer(t, os.Geteuid(), dir)
	d.wrap = func(w io.WriteCloser) io.WriteCloser { return countingWriter{w, &n} }
	target, err := d.Dial(t.Context())
	check(t, err)
	defer target.Close()
	ctx := t.Context()
	attr := replicate.Attr{Mode: 0o644, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Mtime: time.Unix(1e9, 0)}
	put := func(path string) func() error {
		return func() error { return target.Put(ctx, path, strings.NewReader("content"), 7, attr, nil) }
	}
	for _, c := range []struct {
		what  string
		trips int64
		step  func() error
	}{
		{"mkdir", 2, func() error { return target.Mkdir(ctx, "d", attr) }},
		{"put below what we made", 3, put("d/f")},
		{"put again", 3, put("d/f")},
		{"symlink", 2, func() error { return target.Symlink(ctx, "d/l", "f", attr) }},
		{"link", 3, func() error { return target.Link(ctx, "d/f", "d/g") }},
		{"rename", 1, func() error { return target.Rename(ctx, "d/g", "d/h") }},
		{"attributes of a file", 2, func() error { return target.SetAttr(ctx, "d/f", attr) }},
		{"attributes of a directory", 1, func() error { return target.SetAttr(ctx, "d", attr) }},
		{"lstat of a symlink", 1, func() error { _, err := target.Lstat(ctx, "d/l"); return err }},
		{"remove", 1, func() error { return target.Remove(ctx, "d/h") }},
		{"rename of a directory", 1, func() error { return target.Rename(ctx, "d", "e") }},
		{"put below a directory not looked at yet", 4, put("e/f")},
		{"put below a directory that is known", 3, put("e/f")},
	} {
		before := n.Load()
		check(t, c.step())
		if got := n.Load() - before; got != c.trips {
			t.Errorf("%s took %d round trips instead of %d", c.what, got, c.trips)
		}
	}
}

// TestSymlinkTimes sets a symlink's own times, which takes lsetstat@openssh.com.
func TestSymlinkTimes(t *testing.T) {
	dir := t.TempDir()
	target, err := newPipeDialer(t, os.Geteuid(), dir).Dial(t.Context())
	check(t, err)
	defer target.Close()
	for _, at := range []int64{1e9, 1_100_000_000} {
		attr := replicate.Attr{Mode: unix.S_IFLNK | 0o777, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Mtime: time.Unix(at, 0)}
		if at == 1e9 {
			check(t, target.Symlink(t.Context(), "l", "nowhere", attr))
		} else {
			check(t, target.SetAttr(t.Context(), "l", attr))
		}
		info, err := os.Lstat(filepath.Join(dir, "l"))
		if err != nil || info.ModTime().Unix() != at {
			t.Errorf("time of the symlink is %v, %v", info, err)
		}
	}
}

func TestParentsForgetWhatIsBelow(t *testing.T) {
	var p parents
	_, moves := p.has("")
	p.add(moves, "a", "a/b", "a/b/c", "ab", "z")
	p.forget("a/b")
	for dir, want := range map[string]bool{"": true, "a": true, "a/b": false, "a/b/c": false, "ab": true, "z": true} {
		if got, _ := p.has(dir); got != want {
			t.Errorf("has(%q) = %v", dir, got)
		}
	}
	// What was looked at before a move is not believed after it.
	_, moves = p.has("x")
	p.forget("x")
	p.add(moves, "x")
	if known, _ := p.has("x"); known {
		t.Error("a directory seen before a move was added after it")
	}
	p.reset()
	if known, _ := p.has("a"); known {
		t.Error("reset left something")
	}
}
