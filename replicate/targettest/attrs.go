package targettest

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"closefs/replicate"
)

func testMkdir(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	for range 2 { // made, then given the same attributes again
		must(t, target.Mkdir(ctx, "d", attr(unix.S_IFDIR|0o750)))
		e, err := target.Lstat(ctx, "d")
		if err != nil || e.Mode != unix.S_IFDIR|0o750 || !e.Mtime.Equal(when) {
			t.Errorf("lstat = %o %v, %v", e.Mode, e.Mtime, err)
		}
	}
	b.put(target, "d/f", "x")
	must(t, target.Mkdir(ctx, "d", attr(unix.S_IFDIR|0o2755)))
	b.has("d/f", "x")

	b.put(target, "file", "x")
	wants(t, "mkdir over a file", target.Mkdir(ctx, "file", dirAttr()), replicate.ErrExist)
	must(t, target.Symlink(ctx, "link", "d", linkAttr()))
	wants(t, "mkdir over a symlink to a directory", target.Mkdir(ctx, "link", dirAttr()), replicate.ErrExist)
	wants(t, "mkdir without parent", target.Mkdir(ctx, "none/d", dirAttr()), replicate.ErrNotExist)
	b.has("file", "x")
}

func testSymlink(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	for _, dest := range []string{"f", "../../../etc/passwd", "/absolute", "new\nline\xff", strings.Repeat("d", 1000)} {
		must(t, target.Symlink(ctx, "l", dest, linkAttr()))
		got, err := os.Readlink(b.path("l"))
		if err != nil || got != dest {
			t.Errorf("symlink leads to %q, %v; want %q", got, err, dest)
		}
		e, err := target.Lstat(ctx, "l")
		if err != nil || e.Mode&unix.S_IFMT != unix.S_IFLNK || e.Dest != dest {
			t.Errorf("lstat = %+v, %v", e, err)
		}
	}
	b.put(target, "f", "x")
	must(t, target.Symlink(ctx, "f", "elsewhere", linkAttr()))
	if got, err := os.Readlink(b.path("f")); err != nil || got != "elsewhere" {
		t.Errorf("symlink over a file leads to %q, %v", got, err)
	}
	must(t, target.Mkdir(ctx, "d", dirAttr()))
	wants(t, "symlink over a directory", target.Symlink(ctx, "d", "x", linkAttr()), replicate.ErrIsDir)
	wants(t, "symlink without parent", target.Symlink(ctx, "none/l", "x", linkAttr()), replicate.ErrNotExist)
	b.nothingStaged()
}

func testSpecial(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	err := target.Special(ctx, "fifo", 0, attr(unix.S_IFIFO|0o640))
	if !target.Caps().Special {
		wants(t, "special", err, replicate.ErrUnsupported)
		b.hasNot("fifo")
		return
	}
	must(t, err)
	b.put(target, "socket", "a file first")
	must(t, target.Special(ctx, "socket", 0, attr(unix.S_IFSOCK|0o600)))
	for name, mode := range map[string]uint32{"fifo": unix.S_IFIFO | 0o640, "socket": unix.S_IFSOCK | 0o600} {
		if e, err := target.Lstat(ctx, name); err != nil || e.Mode != mode {
			t.Errorf("lstat %q = %o, %v", name, e.Mode, err)
		}
	}
	if b.k.UID == 0 {
		must(t, target.Special(ctx, "null", unix.Mkdev(1, 3), attr(unix.S_IFCHR|0o666)))
		var st unix.Stat_t
		must(t, unix.Lstat(b.path("null"), &st))
		if st.Rdev != unix.Mkdev(1, 3) || st.Mode != unix.S_IFCHR|0o666 {
			t.Errorf("device %x, mode %o", st.Rdev, st.Mode)
		}
	}
	must(t, target.Mkdir(ctx, "d", dirAttr()))
	wants(t, "special over a directory", target.Special(ctx, "d", 0, attr(unix.S_IFIFO|0o600)), replicate.ErrIsDir)
	wants(t, "special without parent", target.Special(ctx, "none/x", 0, attr(unix.S_IFIFO|0o600)), replicate.ErrNotExist)
	b.nothingStaged()
}

func testLink(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	b.put(target, "f", "shared")
	err := target.Link(ctx, "f", "g")
	if !target.Caps().Hardlink {
		wants(t, "link", err, replicate.ErrUnsupported)
		return
	}
	must(t, err)
	must(t, target.Link(ctx, "f", "g")) // once more
	sameInode(t, b, "f", "g")
	b.put(target, "h", "replaced by the link")
	must(t, target.Mkdir(ctx, "d", dirAttr()))
	must(t, target.Link(ctx, "f", "h"))
	must(t, target.Link(ctx, "g", "d/i"))
	sameInode(t, b, "f", "h")
	sameInode(t, b, "f", "d/i")
	wants(t, "link to nothing", target.Link(ctx, "none", "j"), replicate.ErrNotExist)
	wants(t, "link without parent", target.Link(ctx, "f", "none/j"), replicate.ErrNotExist)
	wants(t, "link over a directory", target.Link(ctx, "f", "d"), replicate.ErrIsDir)
	wants(t, "link to a directory", target.Link(ctx, "d", "j"), replicate.ErrUnsupported)
	b.nothingStaged()
}

func sameInode(t *testing.T, b *bench, x, y string) {
	t.Helper()
	xi, xerr := os.Lstat(b.path(x))
	yi, yerr := os.Lstat(b.path(y))
	if xerr != nil || yerr != nil || !os.SameFile(xi, yi) {
		t.Errorf("%q and %q are not one file: %v, %v", x, y, xerr, yerr)
	}
}

func testSetAttr(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	caps := target.Caps()
	b.put(target, "f", "x")
	must(t, target.Mkdir(ctx, "d", dirAttr()))
	for _, path := range []string{"f", "d"} {
		a := attr(0o6711)
		a.Mtime = time.Unix(1_600_000_000, 987_654_321)
		if caps.Owner {
			a.UID, a.GID = 1234, 4321
		}
		must(t, target.SetAttr(ctx, path, a))
		e, err := target.Lstat(ctx, path)
		if err != nil || e.Mode&0o777 != 0o711 || !e.Mtime.Equal(a.Mtime.Truncate(caps.TimeUnit)) {
			t.Errorf("lstat %q = %o %v, %v", path, e.Mode, e.Mtime, err)
		}
		if caps.Owner && (e.UID != 1234 || e.GID != 4321 || e.Mode&0o7777 != 0o6711) {
			t.Errorf("lstat %q: owner %d:%d, mode %o", path, e.UID, e.GID, e.Mode)
		}
	}
	if caps.Owner {
		a := attr(0o4755)
		a.UID, a.GID = 1234, 4321
		must(t, target.Put(ctx, "suid", strings.NewReader("x"), 1, a, nil))
		if e, err := target.Lstat(ctx, "suid"); err != nil || e.UID != 1234 || e.Mode&0o7777 != 0o4755 {
			t.Errorf("lstat suid = %o of %d, %v", e.Mode, e.UID, err)
		}
	}
	wants(t, "attributes of nothing", target.SetAttr(ctx, "none", attr(0o600)), replicate.ErrNotExist)
	wants(t, "attributes below nothing", target.SetAttr(ctx, "none/f", attr(0o600)), replicate.ErrNotExist)
}

// testSetAttrSymlink makes sure that attributes of a symlink never reach what
// it leads to.
func testSetAttrSymlink(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	outside := b.outside()
	must(t, target.Symlink(ctx, "l", outside+"/victim", linkAttr()))
	must(t, target.Symlink(ctx, "m", outside, linkAttr()))
	must(t, target.Symlink(ctx, "dangling", "nowhere", linkAttr()))
	for _, path := range []string{"l", "m", "dangling"} {
		must(t, target.SetAttr(ctx, path, attr(unix.S_IFLNK|0o777)))
	}
}

func testXattr(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	if !target.Caps().Xattr {
		a := fileAttr()
		a.Xattr = map[string][]byte{"user.a": []byte("1")}
		must(t, target.Put(ctx, "f", strings.NewReader("x"), 1, a, nil))
		return
	}
	check := func(want map[string]string) {
		t.Helper()
		e, err := target.Lstat(ctx, "f")
		must(t, err)
		if len(e.Xattr) != len(want) {
			t.Errorf("attributes %q; want %q", e.Xattr, want)
		}
		for name, value := range want {
			if string(e.Xattr[name]) != value {
				t.Errorf("attribute %s is %q", name, e.Xattr[name])
			}
		}
	}
	a := attr(0o444)
	a.Xattr = map[string][]byte{"user.a": []byte("1"), "user.b": {0, 1, 255}, "security.other": []byte("not ours")}
	must(t, target.Put(ctx, "f", strings.NewReader("x"), 1, a, nil))
	check(map[string]string{"user.a": "1", "user.b": "\x00\x01\xff"})
	a.Xattr = map[string][]byte{"user.b": []byte("2"), "user.empty": {}}
	must(t, target.SetAttr(ctx, "f", a))
	check(map[string]string{"user.b": "2", "user.empty": ""})
	a.Xattr = nil
	must(t, target.SetAttr(ctx, "f", a))
	check(map[string]string{"user.b": "2", "user.empty": ""})
}

func testRoot(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	must(t, target.SetAttr(ctx, "", attr(unix.S_IFDIR|0o751)))
	must(t, target.Mkdir(ctx, "", attr(unix.S_IFDIR|0o755)))
	e, err := target.Lstat(ctx, "")
	if err != nil || e.Mode != unix.S_IFDIR|0o755 || !e.Mtime.Equal(when) {
		t.Errorf("lstat = %o %v, %v", e.Mode, e.Mtime, err)
	}
}

func testLstat(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	b.put(target, "f", "12345")
	e, err := target.Lstat(ctx, "f")
	want := replicate.Entry{Name: "f", Mode: unix.S_IFREG | 0o644, Size: 5, UID: uint32(b.k.UID), GID: uint32(b.k.UID), Mtime: when}
	if err != nil || e.Name != want.Name || e.Mode != want.Mode || e.Size != want.Size || e.UID != want.UID || e.GID != want.GID || !e.Mtime.Equal(when) {
		t.Errorf("lstat = %+v, %v; want %+v", e, err, want)
	}
	for _, path := range []string{"none", "none/none", "f/f"} {
		_, err := target.Lstat(ctx, path)
		wants(t, "lstat "+path, err, replicate.ErrNotExist)
	}
}

func testList(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	must(t, target.Mkdir(ctx, "d", dirAttr()))
	b.put(target, "d/f", "123")
	must(t, target.Symlink(ctx, "d/l", "dest", linkAttr()))
	must(t, target.Mkdir(ctx, "d/.closefs", dirAttr())) // ours only at the root
	entries, err := target.List(ctx, "d")
	must(t, err)
	slices.SortFunc(entries, func(x, y replicate.Entry) int { return strings.Compare(x.Name, y.Name) })
	if len(entries) != 3 || entries[0].Name != ".closefs" || entries[1].Name != "f" || entries[1].Size != 3 ||
		entries[2].Name != "l" || entries[2].Dest != "dest" {
		t.Errorf("listed %+v", entries)
	}
	entries, err = target.List(ctx, "")
	if err != nil || len(entries) != 1 || entries[0].Name != "d" || entries[0].Mode != unix.S_IFDIR|0o755 {
		t.Errorf("root lists %+v, %v", entries, err)
	}
	for _, path := range []string{"none", "none/d", "d/f", "d/l"} {
		_, err := target.List(ctx, path)
		wants(t, "list "+path, err, replicate.ErrNotExist)
	}
}

func testListMany(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	must(t, os.Mkdir(b.path("d"), 0o755))
	for i := range 1234 {
		must(t, os.WriteFile(b.path(fmt.Sprint("d/", i)), nil, 0o644))
	}
	entries, err := target.List(ctx, "d")
	must(t, err)
	seen := make(map[string]bool)
	for _, e := range entries {
		seen[e.Name] = true
	}
	if len(entries) != 1234 || len(seen) != 1234 {
		t.Errorf("listed %d entries, %d names", len(entries), len(seen))
	}
}

func testDialRefused(t *testing.T, b *bench) {
	if !b.Bound {
		must(t, os.Rename(b.dir, b.dir+".away"))
		refused(t, b, "a missing directory")
		b.hasNot("")
		must(t, os.WriteFile(b.dir, nil, 0o644))
		refused(t, b, "a file")
		must(t, os.Remove(b.dir))
		must(t, os.Rename(b.dir+".away", b.dir))
	}
	b.dial().Close()

	// Somebody may clean up; but a mountpoint whose filesystem is not mounted has
	// nothing else either.
	must(t, os.RemoveAll(b.path(".closefs")))
	must(t, os.WriteFile(b.path("f"), nil, 0o644))
	b.dial().Close()
	must(t, os.Remove(b.path("f")))
	must(t, os.RemoveAll(b.path(".closefs")))
	refused(t, b, "a directory that is empty all of a sudden")
	b.hasNot(".closefs")

	outside := b.outside()
	must(t, os.Symlink(outside, b.path(".closefs")))
	refused(t, b, "a symlink in the place of .closefs")
}

func refused(t *testing.T, b *bench, what string) {
	t.Helper()
	target, err := b.Dialer.Dial(t.Context())
	wants(t, what, err, replicate.ErrRefused)
	if err == nil {
		target.Close()
	} else if text := err.Error(); strings.Contains(text, "\n") || errors.Is(err, replicate.ErrConnection) {
		t.Errorf("%s: error is %q", what, text)
	}
}
