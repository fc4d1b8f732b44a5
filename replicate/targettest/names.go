package targettest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"closefs/replicate"
)

// oddNames are names that a filesystem allows and programs get wrong.
var oddNames = []string{
	"-rf", "--", " ", "  leading and trailing ", "new\nline", "tab\there", "\xff\xfe not UTF-8", "Ünïcødé",
	"*", "?", "[a]", "a\\b", "quote'\"`", "$HOME", "%2F", "~", "~root", "...", ".hidden", ".closefs2", "\x01\x7f",
	strings.Repeat("n", 255), strings.Repeat("\xe2\x82\xac", 85),
}

func testOddNames(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	for i, name := range oddNames {
		content := fmt.Sprint("content ", i)
		b.put(target, name, content)
		b.has(name, content)
		if e, err := target.Lstat(ctx, name); err != nil || e.Name != name {
			t.Errorf("lstat %q = %+v, %v", name, e, err)
		}
	}
	entries, err := target.List(ctx, "")
	must(t, err)
	if len(entries) != len(oddNames) {
		t.Errorf("listed %d entries instead of %d", len(entries), len(oddNames))
	}
	for _, name := range oddNames {
		must(t, target.Remove(ctx, name))
		must(t, target.Mkdir(ctx, name, dirAttr()))
		must(t, target.Symlink(ctx, name+"/l", name, linkAttr()))
		b.put(target, name+"/f", "below")
		b.has(name+"/f", "below")
		if e, err := target.Lstat(ctx, name+"/l"); err != nil || e.Dest != name {
			t.Errorf("symlink to %q leads to %q, %v", name, e.Dest, err)
		}
		must(t, target.Rename(ctx, name+"/f", name+"/"+name))
		b.has(name+"/"+name, "below")
	}
}

func testIllegalPaths(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	b.put(target, "f", "x")
	for _, path := range []string{"..", "../f", "a/../f", ".", "./f", "/f", "f/", "a//b", "a\x00b", ".closefs", ".closefs/tmp/f"} {
		wants(t, fmt.Sprintf("put %q", path), put(t, target, path, "x"), replicate.ErrUnsupported)
		wants(t, fmt.Sprintf("mkdir %q", path), target.Mkdir(ctx, path, dirAttr()), replicate.ErrUnsupported)
		wants(t, fmt.Sprintf("remove %q", path), target.Remove(ctx, path), replicate.ErrUnsupported)
		wants(t, fmt.Sprintf("rename to %q", path), target.Rename(ctx, "f", path), replicate.ErrUnsupported)
		wants(t, fmt.Sprintf("rename from %q", path), target.Rename(ctx, path, "f"), replicate.ErrUnsupported)
	}
	b.has("f", "x")
	for name, err := range map[string]error{
		"put": put(t, target, "", "x"), "remove": target.Remove(ctx, ""),
		"rename": target.Rename(ctx, "", "g"), "symlink": target.Symlink(ctx, "", "x", linkAttr()),
	} {
		wants(t, name+" of the root", err, replicate.ErrUnsupported)
	}
}

// testDeep goes down as far as every server can resolve.
func testDeep(t *testing.T, b *bench) {
	target, ctx := b.dial(), t.Context()
	path := "d"
	for len(path) < 3000 {
		must(t, target.Mkdir(ctx, path, dirAttr()))
		path += "/" + strings.Repeat("d", 99)
	}
	b.put(target, path, "deep")
	b.has(path, "deep")
	must(t, target.Rename(ctx, "d", "e"))
	path = "e" + path[1:]
	b.has(path, "deep")
	e, err := target.Lstat(ctx, path)
	if err != nil || e.Size != 4 {
		t.Errorf("lstat = %+v, %v", e, err)
	}
	must(t, target.Remove(ctx, path))
	b.hasNot(path)
	if _, err := os.Lstat(b.path("e")); err != nil {
		t.Error(err)
	}
}
