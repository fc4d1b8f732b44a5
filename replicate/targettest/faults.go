package targettest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"closefs/replicate"
	"closefs/replicate/staging"
)

func testStagingArea(t *testing.T, b *bench) {
	b.dial().Close()
	must(t, os.Chmod(b.path(".closefs/trash"), 0o755)) // as an earlier version might have left it
	b.dial()
	for _, dir := range []string{".closefs", ".closefs/tmp", ".closefs/trash"} {
		info, err := os.Lstat(b.path(dir))
		if err != nil || info.Mode() != os.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	b.nothingStaged()
}

// testStaleStaging leaves staged files of this instance, and a young and an old
// one of another.
func testStaleStaging(t *testing.T, b *bench) {
	target := b.dial()
	// Puts that neither finish nor fail leave their staged names behind.
	var own string
	_ = target.Put(t.Context(), "f", strings.NewReader("x"), 1, fileAttr(), func() error {
		own = b.staged()[0]
		return errors.New("not now")
	})
	target.Close()
	other := staging.NewNamer("another instance", 1)
	young, old := other.Tmp(time.Now()), other.Tmp(time.Now().Add(-48*time.Hour))
	for _, name := range []string{own, young, old} {
		must(t, os.WriteFile(b.path(".closefs/tmp/"+name), []byte("left"), 0o666))
	}
	b.dial()
	if names := b.staged(); len(names) != 1 || names[0] != young {
		t.Errorf("left in .closefs/tmp: %q; want only %q", names, young)
	}
}

func testClosed(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	b.put(target, "f", "x")
	src := &failing{size: 16 << 20, at: 8 << 20, then: func() { go target.Close() }}
	// Close may wait for the put, and must end it.
	if err := target.Put(ctx, "g", src, src.size, fileAttr(), func() error { return awaitClosed(t, target) }); err == nil {
		t.Error("a put went on through Close")
	} else {
		wants(t, "put during close", err, replicate.ErrConnection)
	}
	target.Close()
	b.hasNot("g")
	_, lstat := target.Lstat(ctx, "f")
	_, list := target.List(ctx, "")
	_, beat := target.Heartbeat(ctx, when)
	for name, err := range map[string]error{
		"lstat": lstat, "list": list, "heartbeat": beat,
		"put":    put(t, target, "g", "x"),
		"mkdir":  target.Mkdir(ctx, "d", dirAttr()),
		"rename": target.Rename(ctx, "f", "g"),
		"remove": target.Remove(ctx, "f"),
		"attr":   target.SetAttr(ctx, "f", attr(0o600)),
	} {
		wants(t, name+" after close", err, replicate.ErrConnection)
	}
	b.has("f", "x")
}

// awaitClosed returns an error once target is closed.
func awaitClosed(t *testing.T, target replicate.Target) error {
	for t.Context().Err() == nil {
		if _, err := target.Lstat(t.Context(), "f"); errors.Is(err, replicate.ErrConnection) {
			return err
		}
	}
	return t.Context().Err()
}

// testCut breaks the link in the middle of a put.
func testCut(t *testing.T, b *bench) {
	if b.Cut == nil {
		t.Skip("this kind of target has no link")
	}
	target, ctx := b.dial(), t.Context()
	b.put(target, "replaced", "before")
	for _, path := range []string{"new", "replaced"} {
		src := &failing{size: 16 << 20, at: 8 << 20, then: b.Cut}
		wants(t, "put over a cut link", target.Put(ctx, path, src, src.size, fileAttr(), nil), replicate.ErrConnection)
		wants(t, "the next step", target.Mkdir(ctx, "d", dirAttr()), replicate.ErrConnection)
		target.Close()
		target = b.dial()
	}
	b.hasNot("new")
	b.has("replaced", "before")
	b.put(target, "new", "after")
	b.has("new", "after")
}

// testNoSpace fills a filesystem of one megabyte.
func testNoSpace(t *testing.T, full *bench) {
	if os.Geteuid() != 0 {
		t.Skip("SKIP: only root can mount a small filesystem")
	}
	dir := filepath.Join(tempDir(t), "small")
	must(t, os.Mkdir(dir, 0o755))
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=755"))
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := openBench(t, full.k, dir)
	target, ctx := b.dial(), t.Context()
	b.put(target, "small", "fits")
	for _, size := range []int64{2 << 20, 20 << 20} {
		src := &failing{size: size, at: size}
		wants(t, "put of what has no room", target.Put(ctx, "small", src, size, fileAttr(), nil), replicate.ErrNoSpace)
		b.has("small", "fits")
		b.nothingStaged()
	}
	b.put(target, "small", "still fits")
	// Now nothing at all is left.
	fill, err := os.Create(filepath.Join(dir, "fill"))
	must(t, err)
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	fill.Close()
	wants(t, "put on a full disk", put(t, target, "small", "too long to be stored"), replicate.ErrNoSpace)
	must(t, target.Remove(ctx, "small"))
	must(t, os.Remove(filepath.Join(dir, "fill")))
	b.put(target, "small", "room again")
}

// testPermission meets what belongs to somebody else.
func testPermission(t *testing.T, b *bench) {
	if b.k.UID == 0 || os.Geteuid() != 0 {
		t.Skip("the account is root, or the suite is not")
	}
	target, ctx := b.dial(), t.Context()
	must(t, os.Mkdir(b.path("theirs"), 0o755))
	must(t, os.WriteFile(b.path("theirs/f"), []byte("theirs"), 0o644))
	wants(t, "put", put(t, target, "theirs/new", "x"), replicate.ErrPermission)
	wants(t, "put over", put(t, target, "theirs/f", "x"), replicate.ErrPermission)
	wants(t, "mkdir", target.Mkdir(ctx, "theirs/d", dirAttr()), replicate.ErrPermission)
	wants(t, "remove", target.Remove(ctx, "theirs/f"), replicate.ErrPermission)
	wants(t, "attributes", target.SetAttr(ctx, "theirs/f", attr(0o600)), replicate.ErrPermission)
	wants(t, "rename", target.Rename(ctx, "theirs/f", "mine"), replicate.ErrPermission)
	b.has("theirs/f", "theirs")
	b.nothingStaged()

	target.Close()
	must(t, os.RemoveAll(b.path(".closefs")))
	other := openBench(t, b.k, b.dir)
	must(t, os.Chown(b.dir, 0, 0))
	refused(t, other, "a directory that is not writable")
}

// testUnwritableDirectories works below directories whose modes shut out even
// their owner.
func testUnwritableDirectories(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	must(t, target.Mkdir(ctx, "a", dirAttr()))
	must(t, target.Mkdir(ctx, "a/b", dirAttr()))
	must(t, target.Mkdir(ctx, "a/b/c", dirAttr()))
	b.put(target, "a/b/f", "before")
	modes := map[string]uint32{"a": 0o000, "a/b": 0o555, "a/b/c": 0o500}
	for _, path := range []string{"a/b/c", "a/b", "a"} {
		must(t, target.SetAttr(ctx, path, attr(unix.S_IFDIR|modes[path])))
	}
	b.put(target, "a/b/f", "after")
	b.put(target, "a/b/c/new", "new")
	must(t, target.Mkdir(ctx, "a/b/d", attr(unix.S_IFDIR|0o555)))
	must(t, target.Symlink(ctx, "a/b/l", "x", linkAttr()))
	if target.Caps().Hardlink {
		must(t, target.Link(ctx, "a/b/f", "a/b/g"))
	}
	if e, err := target.Lstat(ctx, "a/b/f"); err != nil || e.Size != 5 {
		t.Errorf("lstat = %+v, %v", e, err)
	}
	if entries, err := target.List(ctx, "a/b"); err != nil || len(entries) < 4 {
		t.Errorf("list = %+v, %v", entries, err)
	}
	must(t, target.Rename(ctx, "a/b/c", "moved")) // its ".." changes
	must(t, target.Remove(ctx, "a/b/d"))
	modes["moved"] = modes["a/b/c"]
	for _, path := range []string{"a", "a/b", "moved"} {
		if info, err := os.Lstat(b.path(path)); err != nil || uint32(info.Mode().Perm()) != modes[path] {
			t.Errorf("%s: %v, %v; want mode %04o", path, info, err, modes[path])
		}
		must(t, os.Chmod(b.path(path), 0o755)) // the suite itself may not be root
	}
	b.has("a/b/f", "after")
	b.has("moved/new", "new")
	b.hasNot("a/b/d")
}

// testPutsAtOnceIntoUnwritable lets many steps widen and restore one mode.
func testPutsAtOnceIntoUnwritable(t *testing.T, b *bench) {
	target := b.dial()
	must(t, target.Mkdir(t.Context(), "d", attr(unix.S_IFDIR|0o555)))
	var group errgroup.Group
	for i := range 32 {
		group.Go(func() error { return put(t, target, fmt.Sprint("d/f", i), "content") })
	}
	must(t, group.Wait())
	for i := range 32 {
		b.has(fmt.Sprint("d/f", i), "content")
	}
	if info, err := os.Lstat(b.path("d")); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("d: %v, %v; want mode 0555", info, err)
	}
	must(t, os.Chmod(b.path("d"), 0o755)) // the suite itself may not be root
}
