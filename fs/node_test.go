package fs

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A million nodes are to fit into 300 MB of resident memory, twice their size
// being what the garbage collector lets the heap grow to.
func TestNodeIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(node{}); size > 64 {
		t.Errorf("a node has %d bytes", size)
	}
}

func TestTable(t *testing.T) {
	tab := newTable()
	d := tab.add(2, unix.S_IFDIR, tab.root, "d", 1)
	a := tab.add(3, unix.S_IFREG, d, "a", 2)
	if p, ok := tab.path(a); p != "d/a" || !ok {
		t.Errorf("path %q %v", p, ok)
	}
	tab.rename(d, tab.root, "e")
	if p, _ := tab.childPath(d, "x"); p != "e/x" {
		t.Errorf("child path %q", p)
	}
	if p, ok := tab.path(tab.root); p != "" || !ok {
		t.Errorf("root's path %q %v", p, ok)
	}
	tab.forget(2, 1) // the directory goes with its last child
	if tab.get(2) == nil {
		t.Error("a directory was forgotten before its child")
	}
	tab.forget(3, 1)
	if tab.get(3) == nil {
		t.Error("forgotten although it was looked up twice")
	}
	tab.pin(a)
	tab.forget(3, 1)
	tab.rename(a, nil, "")
	if _, ok := tab.path(a); ok || tab.get(2) != nil {
		t.Error("a nameless node has a path, or keeps its directory")
	}
	tab.unpin(a)
	if tab.size() != 1 {
		t.Errorf("%d nodes left, want the root", tab.size())
	}
	tab.forget(rootNode, 1)
	tab.forget(99, 1)
	if tab.get(rootNode) == nil {
		t.Error("the root was forgotten")
	}
}

func TestLinkIndex(t *testing.T) {
	x := newLinkIndex()
	x.add(1, "a/b", "ab/b", "c")
	x.add(2, "a/z")
	x.rename("a", "n/m", false)
	if got := x.get(1); !reflect.DeepEqual(got, []string{"ab/b", "c", "n/m/b"}) {
		t.Errorf("after a rename: %q", got)
	}
	x.rename("c", "n", true)
	if got := append(x.get(1), x.get(2)...); !slices.Equal(got, []string{"ab/b", "c/m/b", "n", "c/m/z"}) {
		t.Errorf("after an exchange: %q", got)
	}
	x.remove(2, "c/m/z", 1)
	if x.names() != 3 || len(x.byID) != 1 {
		t.Errorf("%d names of %d inodes", x.names(), len(x.byID))
	}
}

// More directories than the cache holds, deeper than the stack of a naive
// resolver would like, and renamed while they are cached.
func TestManyDirectories(t *testing.T) {
	r := newRig(t)
	deep := r.mnt
	for range 100 {
		deep += "/d"
	}
	check(t, os.MkdirAll(deep, 0o755))
	write(t, deep+"/f", "x")
	for i := range dirCacheSize + 100 {
		dir := fmt.Sprintf("%s/dir%d", r.mnt, i)
		check(t, os.Mkdir(dir, 0o755))
		write(t, dir+"/f", "x")
	}
	r.dirs.mu.Lock()
	cached := len(r.dirs.dirs)
	r.dirs.mu.Unlock()
	if cached > dirCacheSize {
		t.Errorf("%d directories are cached", cached)
	}
	check(t, os.Rename(r.mnt+"/d", r.mnt+"/e"))
	check(t, os.Rename(r.path("dir0"), r.path("dir0b")))
	if read(t, r.mnt+"/e"+deep[len(r.mnt)+2:]+"/f") != "x" || read(t, r.path("dir0b/f")) != "x" {
		t.Error("wrong content after renames")
	}
}

// Offsets of a large directory stay good while it is changed.
func TestLargeDirectory(t *testing.T) {
	r := newRig(t)
	const n = 3000
	for i := range n {
		write(t, fmt.Sprintf("%s/file-with-a-longer-name-%d", r.back, i), "")
	}
	d, err := os.Open(r.mnt)
	check(t, err)
	defer d.Close()
	seen := make(map[string]int)
	for i := 0; ; i++ {
		names, err := d.Readdirnames(100)
		for _, name := range names {
			seen[name]++
		}
		if err != nil {
			break
		}
		check(t, os.Remove(r.mnt+"/"+names[0]))
		write(t, fmt.Sprintf("%s/new%d", r.mnt, i), "")
	}
	for i := range n {
		if name := fmt.Sprintf("file-with-a-longer-name-%d", i); seen[name] != 1 {
			t.Errorf("%s was listed %d times", name, seen[name])
		}
	}
}
