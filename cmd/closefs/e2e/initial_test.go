package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// fill makes a tree with some of everything.
func fill(t *testing.T, root string, files int) {
	t.Helper()
	in := func(name string) string { return filepath.Join(root, name) }
	for i := range files {
		dir := in(fmt.Sprintf("dir%d/sub%d", i%7, i%3))
		must(t, os.MkdirAll(dir, 0o755), write(filepath.Join(dir, fmt.Sprintf("f%d", i)), fmt.Sprintf("content of %d", i)))
	}
	must(t, write(in("odd\nname\xff"), "odd"), os.Symlink("dir0", in("link")), write(in("empty"), ""),
		write(in("one"), "two names"), os.Link(in("one"), in("two")), os.Chmod(in("one"), 0o600), os.Mkdir(in("bare"), 0o700))
}

// TestFolderWithFiles mounts a folder that has files already, at a target that
// has some of them, some changed, and some of its own.
func TestFolderWithFiles(t *testing.T) {
	s := newSite(t)
	fill(t, s.backing, 500)
	must(t, os.MkdirAll(filepath.Join(s.target, "dir0/sub0"), 0o755), write(filepath.Join(s.target, "dir0/sub0/f0"), "content of 0"),
		write(filepath.Join(s.target, "empty"), "not so"), os.Mkdir(filepath.Join(s.target, "one"), 0o755),
		os.Mkdir(filepath.Join(s.target, "own"), 0o755), write(filepath.Join(s.target, "own/file"), "kept"), chownAll(s.target))
	s.start()
	must(t, write(s.path("live"), "written meanwhile"), os.Rename(s.path("dir1"), s.path("dir1 renamed")))
	s.awaitSynced()
	s.settle()
	s.compareNow(treeOptions{keepExtras: true})
	if b, err := os.ReadFile(filepath.Join(s.target, "own/file")); err != nil || string(b) != "kept" {
		t.Errorf("what only the target has: %q, %v; want it kept", b, err)
	}
}

// TestChangedWhileStopped changes the folder while no daemon serves it, which
// only a reconcile can find, and has the target's journal position lost.
func TestChangedWhileStopped(t *testing.T) {
	s := startSite(t)
	fill(t, s.mount, 60)
	s.compare()
	s.stop()
	must(t, os.RemoveAll(filepath.Join(s.state, "targets")))
	must(t, write(filepath.Join(s.backing, "unseen"), "no daemon saw this"), write(filepath.Join(s.backing, "empty"), "no more"))
	s.start()
	s.awaitSynced()
	s.settle()
	s.compareNow(treeOptions{keepExtras: true})
}

// TestStopAndStart goes on from the journal where it stopped.
func TestStopAndStart(t *testing.T) {
	s := startSite(t)
	fill(t, s.mount, 60)
	s.stop()
	s.start()
	must(t, os.Rename(s.path("dir2"), s.path("moved")), os.Remove(s.path("empty")))
	s.compare()
}

// awaitSynced returns when the target is synced.
func (s *site) awaitSynced() {
	s.t.Helper()
	eventually(s.t, func() error {
		st, err := s.status()
		if err == nil && st.State != "synced" {
			err = fmt.Errorf("target is %s, %d changes pending: %s", st.State, st.PendingChanges, st.LastError)
		}
		return err
	})
}

// chownAll gives all below dir to the secondary's ordinary account.
func chownAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, accountID, accountID)
	})
}
