package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stagingDir is closefs's own directory at a target's root.
const stagingDir = ".closefs"

// An entry is all that replication promises to keep of one name.
type entry struct {
	mode     uint32 // st_mode
	size     int64  // of regular files
	mtime    int64  // of regular files, seconds
	content  string // of regular files: hash; of symlinks: destination
	twin     string // first name of the same inode, if there are several
	uid, gid uint32
}

// readTree describes everything below root, keyed by path relative to it.
func readTree(root string) (map[string]entry, error) {
	tree := make(map[string]entry)
	names := make(map[uint64][]string) // of inodes that have several, here or elsewhere
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		rel := path[len(root)+1:]
		if rel == stagingDir {
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: path, Err: err}
		}
		e := entry{mode: st.Mode, uid: st.Uid, gid: st.Gid}
		if st.Nlink > 1 && !d.IsDir() {
			names[st.Ino] = append(names[st.Ino], rel)
		}
		err = e.readContent(path, &st)
		tree[rel] = e
		return err
	})
	for _, same := range names {
		tieTogether(tree, same)
	}
	return tree, err
}

// tieTogether notes that names are one file. A single one is not tied to
// itself: its other name is outside the tree, in a target's trash.
func tieTogether(tree map[string]entry, names []string) {
	if len(names) < 2 {
		return
	}
	for _, name := range names {
		e := tree[name]
		e.twin = names[0]
		tree[name] = e
	}
}

func (e *entry) readContent(path string, st *unix.Stat_t) (err error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.size, e.mtime = st.Size, st.Mtim.Sec
		e.content, err = hashFile(path)
	case unix.S_IFLNK:
		e.content, err = os.Readlink(path)
	}
	return err
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), nil
}

// treeOptions say what else has to be equal, and what need not.
type treeOptions struct {
	owners     bool // uid and gid
	keepExtras bool // the secondary may have names that the primary has not
}

// differences tells in words what is not equal, by path.
func differences(primary, secondary map[string]entry, o treeOptions) []string {
	var found []string
	for path, want := range primary {
		got, ok := secondary[path]
		if !ok {
			found = append(found, fmt.Sprintf("%q: missing at the secondary", path))
			continue
		}
		if d := want.differs(got, o); d != "" {
			found = append(found, fmt.Sprintf("%q: %s", path, d))
		}
	}
	for path := range secondary {
		if _, ok := primary[path]; !ok && !o.keepExtras {
			found = append(found, fmt.Sprintf("%q: only at the secondary", path))
		}
	}
	slices.Sort(found)
	return found
}

func (e entry) differs(got entry, o treeOptions) string {
	isLink := e.mode&unix.S_IFMT == unix.S_IFLNK
	switch {
	case e.mode&unix.S_IFMT != got.mode&unix.S_IFMT:
		return fmt.Sprintf("type %#o, at the secondary %#o", e.mode&unix.S_IFMT, got.mode&unix.S_IFMT)
	case e.mode != got.mode && !isLink:
		return fmt.Sprintf("mode %#o, at the secondary %#o", e.mode, got.mode)
	case e.size != got.size:
		return fmt.Sprintf("size %d, at the secondary %d", e.size, got.size)
	case e.content != got.content:
		return fmt.Sprintf("content %s, at the secondary %s", e.content, got.content)
	case e.mtime != got.mtime:
		return fmt.Sprintf("mtime %d, at the secondary %d", e.mtime, got.mtime)
	case e.twin != got.twin:
		return fmt.Sprintf("same file as %q, at the secondary as %q", e.twin, got.twin)
	case o.owners && (e.uid != got.uid || e.gid != got.gid):
		return fmt.Sprintf("owner %d:%d, at the secondary %d:%d", e.uid, e.gid, got.uid, got.gid)
	}
	return ""
}

// TestDifferences has the comparison find each kind of difference.
func TestDifferences(t *testing.T) {
	treeWith := func(change func(dir string) error) map[string]entry {
		dir := t.TempDir()
		err := errors.Join(os.WriteFile(filepath.Join(dir, "f"), []byte("text"), 0o644),
			os.Symlink("f", filepath.Join(dir, "l")), os.Mkdir(filepath.Join(dir, "d"), 0o755), change(dir),
			os.Chtimes(filepath.Join(dir, "d"), time.Unix(1, 0), time.Unix(1, 0)))
		if _, gone := os.Lstat(filepath.Join(dir, "f")); gone == nil {
			err = errors.Join(err, os.Chtimes(filepath.Join(dir, "f"), time.Unix(1, 0), time.Unix(1, 0)))
		}
		tree, readErr := readTree(dir)
		if err := errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		return tree
	}
	nothing := func(string) error { return nil }
	changes := map[string]func(string) error{
		"content": func(d string) error { return os.WriteFile(filepath.Join(d, "f"), []byte("tex!"), 0o644) },
		"mode":    func(d string) error { return os.Chmod(filepath.Join(d, "f"), 0o600) },
		"dirmode": func(d string) error { return os.Chmod(filepath.Join(d, "d"), 0o700) },
		"missing": func(d string) error { return os.Remove(filepath.Join(d, "f")) },
		"extra":   func(d string) error { return os.WriteFile(filepath.Join(d, "g\xff"), nil, 0o644) },
		"symlink": func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, "l")), os.Symlink("d", filepath.Join(d, "l")))
		},
		"type": func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, "l")), os.WriteFile(filepath.Join(d, "l"), []byte("f"), 0o644))
		},
		"link": func(d string) error { return os.Link(filepath.Join(d, "f"), filepath.Join(d, "h")) },
	}
	if d := differences(treeWith(nothing), treeWith(nothing), treeOptions{}); len(d) > 0 {
		t.Errorf("equal trees differ: %q", d)
	}
	for name, change := range changes {
		if d := differences(treeWith(nothing), treeWith(change), treeOptions{}); len(d) == 0 {
			t.Errorf("%s: no difference found", name)
		}
	}
}
