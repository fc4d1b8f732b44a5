package fs

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// recovered closes the rig's mount, prepares a state as a crash leaves it, and
// returns what the next mount appends.
func recovered(t *testing.T, before func(r *rig), crash func(r *rig, x *intents), options ...rigOption) []string {
	t.Helper()
	r := newRig(t, options...)
	file := r.state + "/intents"
	before(r)
	r.stop()
	x, err := openIntents(file)
	check(t, err)
	j, err := journal.OpenDir(r.state, journal.Options{})
	check(t, err)
	r.journal = &recordingJournal{Journal: j}
	r.root, err = backing.Open(r.back)
	check(t, err)
	crash(r, x)
	x.close()
	check(t, j.Close())
	check(t, r.root.Close())
	r.start(func(o *Options) { o.Intents = file })
	return show(r.journal.since(0))
}

func (r *rig) dirty(path string) {
	st, err := r.root.Lstat(path)
	check(r.t, err)
	_, err = r.journal.Append(openRecord(&st, path))
	check(r.t, err)
}

func TestRecoverDirty(t *testing.T) {
	got := recovered(t, func(r *rig) {
		for _, p := range []string{"kept", "unlinked", "replaced", "dir"} {
			write(t, r.path(p), p)
		}
	}, func(r *rig, _ *intents) {
		for _, p := range []string{"kept", "unlinked", "replaced", "dir"} {
			r.dirty(p)
		}
		write(t, r.back+"/kept", "more")
		check(t, os.Remove(r.back+"/unlinked"))
		write(t, r.back+"/tmp", "another")
		check(t, os.Rename(r.back+"/tmp", r.back+"/replaced"))
		check(t, os.Remove(r.back+"/dir"))
		check(t, os.Mkdir(r.back+"/dir", 0o755))
	})
	want := []string{
		"clean dir", "make dir mode=40755", "attr dir", "content kept size=4",
		"clean replaced", "content replaced size=7", "remove unlinked last",
	}
	if !slices.Equal(got, want) {
		t.Errorf("recovered\n got %q\nwant %q", got, want)
	}
}

func TestRecoverIntents(t *testing.T) {
	id := func(r *rig, path string) uint64 {
		st, err := r.root.Lstat(path)
		check(t, err)
		return uint64(st.ID)
	}
	got := recovered(t, func(r *rig) {
		for _, p := range []string{"a", "b", "x", "y", "still"} {
			write(t, r.path(p), p)
		}
	}, func(r *rig, x *intents) {
		x.begin(&intent{path: "new"})
		check(t, os.Mkdir(r.back+"/new", 0o700))
		x.begin(&intent{path: "link"})
		check(t, os.Symlink("t", r.back+"/link"))
		x.begin(&intent{path: "a"})
		check(t, os.Remove(r.back+"/a"))
		x.begin(&intent{path: "b", to: "c", id: id(r, "b")})
		check(t, os.Rename(r.back+"/b", r.back+"/c"))
		x.begin(&intent{path: "x", to: "y", id: id(r, "x")})
		check(t, unix.Renameat2(unix.AT_FDCWD, r.back+"/x", unix.AT_FDCWD, r.back+"/y", unix.RENAME_EXCHANGE))
		x.begin(&intent{path: "still", to: "moved", id: id(r, "still")})
		done := x.begin(&intent{path: "finished"})
		x.end(done)
		x.begin(&intent{path: "nameless", skip: true})
	})
	want := []string{
		"make new mode=40700", "attr new", "make link mode=120777", "attr link", "remove a",
		"rename b to=c", "rename x to=y exchange",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("recovered\n got %q\nwant %q", got, want)
	}
}

func TestIntentsRunOut(t *testing.T) {
	x, err := openIntents(t.TempDir() + "/intents")
	check(t, err)
	defer x.close()
	for range intentSlots {
		if x.begin(&intent{path: "p"}) < 0 {
			t.Fatal("no slot although some are free")
		}
	}
	if x.begin(&intent{path: "p"}) >= 0 {
		t.Error("a slot was given twice")
	}
	x.end(5)
	if x.begin(&intent{path: "p"}) != 5 {
		t.Error("the freed slot was not found")
	}
}
