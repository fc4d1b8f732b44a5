// Package targettest is the conformance suite of replicate.Target: one test or
// more for each clause of its contract. Every kind of secondary passes it.
package targettest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"closefs/replicate"
)

// A Kind is one kind of target to test.
type Kind struct {
	// UID is whose account acts at the target. The suite gives it the target
	// directories; for one that is not root it tests permissions too.
	UID int
	// Open makes the fixture for one test, with dir as the target directory.
	Open func(t *testing.T, dir string) Fixture
}

// A Fixture is a target directory that can be dialed.
type Fixture struct {
	Dialer replicate.Dialer
	// Cut ends the newest connection at once, as a broken link would; nil if
	// this kind has none.
	Cut func()
	// Bound says that the target reaches the directory by a bind mount, and so
	// does not notice when it is moved away.
	Bound bool
}

// Run runs the suite.
func Run(t *testing.T, k Kind) {
	for name, test := range map[string]func(*testing.T, *bench){
		"Put":                           testPut,
		"PutSizes":                      testPutSizes,
		"PutReplaces":                   testPutReplaces,
		"PutIsAtomic":                   testPutIsAtomic,
		"PutRepeated":                   testPutRepeated,
		"PutSourceError":                testPutSourceError,
		"PutShortSource":                testPutShortSource,
		"PutNotReady":                   testPutNotReady,
		"PutCancelled":                  testPutCancelled,
		"PutOverDirectory":              testPutOverDirectory,
		"PutWithoutParent":              testPutWithoutParent,
		"PutsAtOnce":                    testPutsAtOnce,
		"OddNames":                      testOddNames,
		"IllegalPaths":                  testIllegalPaths,
		"Deep":                          testDeep,
		"Mkdir":                         testMkdir,
		"Symlink":                       testSymlink,
		"Special":                       testSpecial,
		"Link":                          testLink,
		"SetAttr":                       testSetAttr,
		"SetAttrSymlink":                testSetAttrSymlink,
		"Xattr":                         testXattr,
		"Root":                          testRoot,
		"Lstat":                         testLstat,
		"List":                          testList,
		"ListMany":                      testListMany,
		"Rename":                        testRename,
		"RenameRefused":                 testRenameRefused,
		"RenameLinks":                   testRenameLinks,
		"Remove":                        testRemove,
		"RemoveLongPath":                testRemoveLongPath,
		"SymlinkParents":                testSymlinkParents,
		"SymlinkParentsAfterOwnChanges": testSymlinkParentsAfterOwnChanges,
		"Heartbeat":                     testHeartbeat,
		"StagingArea":                   testStagingArea,
		"StaleStaging":                  testStaleStaging,
		"DialRefused":                   testDialRefused,
		"Closed":                        testClosed,
		"Cut":                           testCut,
		"NoSpace":                       testNoSpace,
		"Permission":                    testPermission,
		"UnwritableDirectories":         testUnwritableDirectories,
		"PutsAtOnceIntoUnwritable":      testPutsAtOnceIntoUnwritable,
	} {
		t.Run(name, func(t *testing.T) { test(t, newBench(t, k)) })
	}
}

// A bench is what a test works on: a target directory and a way to connect.
type bench struct {
	Fixture
	t   *testing.T
	k   Kind
	dir string // the target directory
}

func newBench(t *testing.T, k Kind) *bench {
	dir := filepath.Join(tempDir(t), "target")
	must(t, os.Mkdir(dir, 0o755))
	return openBench(t, k, dir)
}

// tempDir is t.TempDir, passable for every account.
func tempDir(t *testing.T) string {
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	return dir
}

func openBench(t *testing.T, k Kind, dir string) *bench {
	if os.Geteuid() == 0 {
		must(t, os.Chown(dir, k.UID, k.UID))
	}
	return &bench{Fixture: k.Open(t, dir), t: t, k: k, dir: dir}
}

// dial connects; the connection is closed at the end of the test.
func (b *bench) dial() replicate.Target {
	b.t.Helper()
	target, err := b.Dialer.Dial(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { target.Close() })
	return target
}

// path is a path's real one.
func (b *bench) path(path string) string { return filepath.Join(b.dir, path) }

// outside makes a directory beside the target's with one file in it, where
// nothing may ever be touched, and checks that at the end of the test.
func (b *bench) outside() string {
	dir := filepath.Join(filepath.Dir(b.dir), "outside")
	must(b.t, os.MkdirAll(filepath.Join(dir, "sub"), 0o777))
	must(b.t, os.WriteFile(filepath.Join(dir, "victim"), []byte("untouched"), 0o644))
	if os.Geteuid() == 0 {
		for _, p := range []string{dir, filepath.Join(dir, "sub"), filepath.Join(dir, "victim")} {
			must(b.t, os.Chown(p, b.k.UID, b.k.UID))
		}
	}
	before := snapshot(b.t, dir)
	b.t.Cleanup(func() {
		if after := snapshot(b.t, dir); after != before {
			b.t.Errorf("outside the target there is now\n%s\ninstead of\n%s", after, before)
		}
	})
	return dir
}

// snapshot describes a tree: names, modes, sizes, times, contents.
func snapshot(t *testing.T, dir string) string {
	var s strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		s.WriteString(strings.Join([]string{path, info.Mode().String(), info.ModTime().String()}, " "))
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			s.Write(b)
		}
		s.WriteByte('\n')
		return nil
	}))
	return s.String()
}

// staged lists what is in .closefs/tmp.
func (b *bench) staged() []string {
	b.t.Helper()
	entries, err := os.ReadDir(b.path(".closefs/tmp"))
	must(b.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// nothingStaged fails the test if something was left in .closefs/tmp.
func (b *bench) nothingStaged() {
	b.t.Helper()
	if names := b.staged(); len(names) > 0 {
		b.t.Errorf("left in .closefs/tmp: %q", names)
	}
}

// trash lists what is in .closefs/trash.
func (b *bench) trash() []string {
	b.t.Helper()
	entries, err := os.ReadDir(b.path(".closefs/trash"))
	must(b.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// has fails the test unless path is a regular file with this content.
func (b *bench) has(path, content string) {
	b.t.Helper()
	info, err := os.Lstat(b.path(path))
	if err != nil || !info.Mode().IsRegular() {
		b.t.Errorf("%q: %v, %v; not a regular file", path, info, err)
		return
	}
	got, err := os.ReadFile(b.path(path))
	if err != nil || string(got) != content {
		b.t.Errorf("%q has %d bytes (%.40q), %v; want %d (%.40q)", path, len(got), got, err, len(content), content)
	}
}

// hasNot fails the test if there is anything at path.
func (b *bench) hasNot(path string) {
	b.t.Helper()
	if _, err := os.Lstat(b.path(path)); !errors.Is(err, fs.ErrNotExist) {
		b.t.Errorf("%q is there (%v)", path, err)
	}
}

// put puts a file that must arrive.
func (b *bench) put(target replicate.Target, path, content string) {
	b.t.Helper()
	must(b.t, put(b.t, target, path, content))
}

func put(t *testing.T, target replicate.Target, path, content string) error {
	return target.Put(t.Context(), path, strings.NewReader(content), int64(len(content)), fileAttr(), nil)
}

// when is a time that every kind of target can hold.
var when = time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)

func attr(mode uint32) replicate.Attr {
	return replicate.Attr{Mode: mode, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Atime: when.Add(time.Hour), Mtime: when}
}

func fileAttr() replicate.Attr { return attr(unix.S_IFREG | 0o644) }
func dirAttr() replicate.Attr  { return attr(unix.S_IFDIR | 0o755) }
func linkAttr() replicate.Attr { return attr(unix.S_IFLNK | 0o777) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants fails the test unless err wraps want.
func wants(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error is %v; want one that wraps %q", what, err, want)
	}
}

// failing is a source that returns err from offset at on, after calling then.
type failing struct {
	size int64
	at   int64
	then func()
	err  error
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), f.size-off))
	copy(p[:n], bytes.Repeat([]byte{'x'}, n))
	if off+int64(n) > f.at {
		if f.then != nil {
			f.then()
			f.then = nil
		}
		if f.err != nil {
			return 0, f.err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
