package targettest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"closefs/replicate"
	"closefs/replicate/staging"
)

func testRename(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	b.put(target, "f", "1")
	must(t, target.Rename(ctx, "f", "g"))
	b.has("g", "1")
	b.hasNot("f")

	b.put(target, "h", "2")
	must(t, target.Rename(ctx, "g", "h")) // over a file
	b.has("h", "1")

	must(t, target.Mkdir(ctx, "d", dirAttr()))
	b.put(target, "d/f", "below")
	must(t, target.Mkdir(ctx, "empty", dirAttr()))
	must(t, target.Rename(ctx, "d", "empty")) // over an empty directory
	b.has("empty/f", "below")
	b.hasNot("d")

	must(t, target.Symlink(ctx, "l", "h", linkAttr()))
	must(t, target.Rename(ctx, "l", "empty/l")) // the symlink itself
	if dest, err := os.Readlink(b.path("empty/l")); err != nil || dest != "h" {
		t.Errorf("symlink leads to %q, %v", dest, err)
	}
	must(t, target.Rename(ctx, "h", "empty/l")) // over a symlink
	b.has("empty/l", "1")
	b.put(target, "empty/g", "known directories moved along")
	must(t, target.Rename(ctx, "empty/l", "empty/l")) // onto itself
	b.has("empty/l", "1")
	if names := b.trash(); len(names) > 0 {
		t.Errorf("in the trash: %q", names)
	}
}

func testRenameRefused(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	b.put(target, "f", "f")
	must(t, target.Mkdir(ctx, "d", dirAttr()))
	must(t, target.Mkdir(ctx, "full", dirAttr()))
	b.put(target, "full/f", "full")
	for _, c := range []struct {
		from, to string
		want     error
	}{
		{"none", "x", replicate.ErrNotExist},
		{"none/none", "x", replicate.ErrNotExist},
		{"f", "none/x", replicate.ErrNotExist},
		{"f", "f/x", replicate.ErrNotExist},
		{"f", "d", replicate.ErrIsDir},
		{"d", "f", replicate.ErrExist},
		{"d", "full", replicate.ErrNotEmpty},
	} {
		wants(t, "rename "+c.from+" to "+c.to, target.Rename(ctx, c.from, c.to), c.want)
	}
	if err := target.Rename(ctx, "full", "full/below"); err == nil || errors.Is(err, replicate.ErrConnection) {
		t.Errorf("rename below itself = %v", err)
	}
	b.has("f", "f")
	b.has("full/f", "full")
}

// testRenameLinks renames between two names of one inode, where rename(2) does
// nothing; the contract says that the source is gone.
func testRenameLinks(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	if !target.Caps().Hardlink {
		return
	}
	b.put(target, "f", "x")
	must(t, target.Link(ctx, "f", "g"))
	must(t, target.Rename(ctx, "f", "g"))
	b.hasNot("f")
	b.has("g", "x")
}

func testRemove(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	must(t, target.Mkdir(ctx, "d", dirAttr()))
	must(t, target.Mkdir(ctx, "d/e", dirAttr()))
	b.put(target, "d/e/f", "kept")
	b.put(target, "f", "kept too")
	must(t, target.Symlink(ctx, "l", "d", linkAttr()))
	before := time.Now().Add(-time.Second)
	for _, path := range []string{"f", "f", "l", "d/e", "none", "none/none", "d", "d"} {
		must(t, target.Remove(ctx, path))
		b.hasNot(path)
	}
	removed := make(map[string]string)
	for _, name := range b.trash() {
		path, at, err := staging.ParseTrash(name)
		if err != nil || at.Before(before) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("trash entry %q: %v, %v", name, at, err)
		}
		removed[path] = name
	}
	if len(removed) != 4 {
		t.Fatalf("in the trash: %q", removed)
	}
	b.has(".closefs/trash/"+removed["d/e"]+"/f", "kept")
	b.has(".closefs/trash/"+removed["f"], "kept too")
	b.put(target, "f", "made again")
	must(t, target.Remove(ctx, "f"))
	if n := len(b.trash()); n != 5 {
		t.Errorf("%d entries in the trash", n)
	}
}

func testRemoveLongPath(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	path := strings.Repeat("d", 200)
	must(t, target.Mkdir(ctx, path, dirAttr()))
	path += "/" + strings.Repeat("f", 255)
	b.put(target, path, "x")
	must(t, target.Remove(ctx, path))
	b.hasNot(path)
	names := b.trash()
	if len(names) != 2 {
		t.Fatalf("in the trash: %q", names)
	}
	for _, name := range names {
		if strings.HasSuffix(name, staging.PathFile) {
			b.has(".closefs/trash/"+name, path)
		} else {
			b.has(".closefs/trash/"+name, "x")
		}
	}
}

// testSymlinkParents tries every method below a symlink to a directory outside.
func testSymlinkParents(t *testing.T, b *bench) {
	target := b.dial()
	outside := b.outside()
	must(t, os.Symlink(outside, b.path("link")))
	must(t, os.Mkdir(b.path("d"), 0o777))
	must(t, os.Symlink("../link", b.path("d/relative")))
	b.put(target, "f", "stays")
	for _, link := range []string{"link", "link/sub", "d/relative", "d/relative/sub"} {
		everyMethodFails(t, target, link)
	}
	b.has("f", "stays")
	b.nothingStaged()
}

// everyMethodFails calls each method with paths below dir, which is none.
func everyMethodFails(t *testing.T, target replicate.Target, dir string) {
	t.Helper()
	ctx := t.Context()
	victim, fresh := dir+"/victim", dir+"/new"
	_, lstat := target.Lstat(ctx, victim)
	_, list := target.List(ctx, dir)
	results := map[string]error{
		"lstat": lstat, "list": list,
		"put":         put(t, target, fresh, "x"),
		"put over":    put(t, target, victim, "x"),
		"mkdir":       target.Mkdir(ctx, fresh, dirAttr()),
		"symlink":     target.Symlink(ctx, fresh, "x", linkAttr()),
		"set attr":    target.SetAttr(ctx, victim, attr(0o600)),
		"rename from": target.Rename(ctx, victim, "stolen"),
		"rename to":   target.Rename(ctx, "f", fresh),
	}
	caps := target.Caps()
	if caps.Hardlink {
		results["link from"] = target.Link(ctx, victim, "stolen")
		results["link to"] = target.Link(ctx, "f", fresh)
	}
	if caps.Special {
		results["special"] = target.Special(ctx, fresh, 0, attr(0o010600))
	}
	for name, err := range results {
		wants(t, name+" below "+dir, err, replicate.ErrNotExist)
	}
	if err := target.Remove(ctx, victim); err != nil {
		t.Errorf("remove below %s: %v", dir, err)
	}
}

// testSymlinkParentsAfterOwnChanges lets the connection itself put a symlink
// where it has seen a directory.
func testSymlinkParentsAfterOwnChanges(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	outside := b.outside()
	b.put(target, "f", "stays")
	fill := func(dir string) {
		must(t, target.Mkdir(ctx, dir, dirAttr()))
		must(t, target.Mkdir(ctx, dir+"/sub", dirAttr()))
		b.put(target, dir+"/sub/f", "x")
	}
	fill("removed")
	must(t, target.Remove(ctx, "removed"))
	must(t, target.Symlink(ctx, "removed", outside, linkAttr()))

	fill("renamed")
	must(t, target.Rename(ctx, "renamed", "elsewhere"))
	must(t, target.Symlink(ctx, "renamed", outside, linkAttr()))

	fill("over")
	must(t, target.Remove(ctx, "over/sub"))
	must(t, target.Symlink(ctx, "link", outside, linkAttr()))
	must(t, target.Remove(ctx, "over"))
	must(t, target.Rename(ctx, "link", "over"))
	dirs := []string{"removed", "removed/sub", "renamed", "renamed/sub", "over", "over/sub"}
	for _, dir := range dirs {
		everyMethodFails(t, target, dir)
	}
	b.put(target, "elsewhere/sub/g", "the moved directory is usable")
	b.has(filepath.Join("elsewhere", "sub", "g"), "the moved directory is usable")
}
