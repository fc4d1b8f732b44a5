package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// must ends the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(path, text string) error { return os.WriteFile(path, []byte(text), 0o644) }

// fileOperations are single operations and short sequences; each starts from
// what before made and had settled, and ends with a comparison.
var fileOperations = []struct {
	name          string
	before, after func(t *testing.T, p func(string) string)
}{
	{"Create", nil, func(t *testing.T, p func(string) string) { must(t, write(p("a"), "text")) }},
	{"Empty", nil, func(t *testing.T, p func(string) string) { must(t, write(p("empty"), "")) }},
	{"Append", oneFile, func(t *testing.T, p func(string) string) {
		f, err := os.OpenFile(p("a"), os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteString(" and more")
		must(t, err, f.Close())
	}},
	{"Overwrite", oneFile, func(t *testing.T, p func(string) string) { must(t, write(p("a"), "new")) }},
	{"OverwriteInside", oneFile, func(t *testing.T, p func(string) string) {
		f, err := os.OpenFile(p("a"), os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("XX"), 3)
		must(t, err, f.Close())
	}},
	{"Truncate", oneFile, func(t *testing.T, p func(string) string) { must(t, os.Truncate(p("a"), 2)) }},
	{"TruncateLonger", oneFile, func(t *testing.T, p func(string) string) { must(t, os.Truncate(p("a"), 70000)) }},
	{"Rename", oneFile, func(t *testing.T, p func(string) string) { must(t, os.Rename(p("a"), p("b"))) }},
	{"ReplaceByRename", twoFiles, func(t *testing.T, p func(string) string) {
		must(t, write(p("b.tmp"), "replacement"), os.Rename(p("b.tmp"), p("b")))
	}},
	{"RenameAcross", oneFile, func(t *testing.T, p func(string) string) {
		must(t, os.Mkdir(p("d"), 0o755), os.Rename(p("a"), p("d/a")))
	}},
	{"RenameThenNewFile", oneFile, func(t *testing.T, p func(string) string) {
		must(t, write(p("a"), "first"), os.Rename(p("a"), p("b")), write(p("a"), "second"))
	}},
	{"RenameDirectoryPending", nil, func(t *testing.T, p func(string) string) {
		must(t, os.MkdirAll(p("d/sub"), 0o755))
		for i := range 50 {
			must(t, write(p(fmt.Sprintf("d/sub/f%d", i)), fmt.Sprint("number ", i)))
		}
		must(t, os.Rename(p("d"), p("e")), write(p("e/sub/f0"), "changed"), os.Rename(p("e/sub"), p("sub")))
	}},
	{"SwapByRenames", twoFiles, func(t *testing.T, p func(string) string) {
		must(t, os.Rename(p("a"), p("t")), os.Rename(p("b"), p("a")), os.Rename(p("t"), p("b")))
	}},
	{"SwapByExchange", twoFiles, func(t *testing.T, p func(string) string) {
		must(t, unix.Renameat2(unix.AT_FDCWD, p("a"), unix.AT_FDCWD, p("b"), unix.RENAME_EXCHANGE))
	}},
	{"ExchangeDirectoryWithFile", twoFiles, func(t *testing.T, p func(string) string) {
		must(t, os.Mkdir(p("d"), 0o755), write(p("d/x"), "below"),
			unix.Renameat2(unix.AT_FDCWD, p("a"), unix.AT_FDCWD, p("d"), unix.RENAME_EXCHANGE))
	}},
	{"Delete", twoFiles, func(t *testing.T, p func(string) string) { must(t, os.Remove(p("a"))) }},
	{"DeleteTree", nil, func(t *testing.T, p func(string) string) {
		must(t, os.MkdirAll(p("d/e/f"), 0o755), write(p("d/e/x"), "x"), os.RemoveAll(p("d")))
	}},
	{"FileBecomesDirectory", oneFile, func(t *testing.T, p func(string) string) {
		must(t, os.Remove(p("a")), os.Mkdir(p("a"), 0o755), write(p("a/x"), "below"))
	}},
	{"DirectoryBecomesFile", oneDirectory, func(t *testing.T, p func(string) string) {
		must(t, os.RemoveAll(p("d")), write(p("d"), "a file now"))
	}},
	{"DirectoryBecomesSymlink", oneDirectory, func(t *testing.T, p func(string) string) {
		must(t, os.RemoveAll(p("d")), os.Symlink("elsewhere", p("d")))
	}},
	{"SymlinkBecomesDirectory", nil, func(t *testing.T, p func(string) string) {
		must(t, os.Symlink("/etc", p("l")), os.Remove(p("l")), os.Mkdir(p("l"), 0o700), write(p("l/x"), "below"))
	}},
	{"Symlinks", oneFile, func(t *testing.T, p func(string) string) {
		must(t, os.Symlink("a", p("to-a")), os.Symlink("/etc/passwd", p("absolute")),
			os.Symlink("no\xffwhere\n", p("dangling")), os.Symlink(strings.Repeat("x", 4000), p("long")))
	}},
	{"HardLinks", oneFile, func(t *testing.T, p func(string) string) {
		must(t, os.Mkdir(p("d"), 0o755), os.Link(p("a"), p("b")), os.Link(p("a"), p("d/c")), write(p("d/c"), "through one name"))
	}},
	{"HardLinkRemoved", oneFile, func(t *testing.T, p func(string) string) {
		must(t, os.Link(p("a"), p("b")), os.Remove(p("a")), write(p("b"), "the last name"))
	}},
	{"Modes", twoFiles, func(t *testing.T, p func(string) string) {
		must(t, os.Chmod(p("a"), 0o600), os.Chmod(p("b"), 0o755), os.Mkdir(p("d"), 0o750), os.Chmod(p("d"), 0o711))
	}},
	{"Times", oneFile, func(t *testing.T, p func(string) string) {
		must(t, os.Chtimes(p("a"), time.Unix(1, 0), time.Unix(1_234_567_890, 987_654_321)))
	}},
	{"OddNames", nil, oddNames},
	{"RenamedWhileOpen", nil, func(t *testing.T, p func(string) string) {
		f, err := os.Create(p("a"))
		must(t, err)
		_, err = f.WriteString("before, ")
		must(t, err, os.Rename(p("a"), p("b")))
		_, err = f.WriteString("after")
		must(t, err, f.Close())
	}},
	{"DirectoryRenamedWhileOpen", oneDirectory, func(t *testing.T, p func(string) string) {
		f, err := os.Create(p("d/new"))
		must(t, err, os.Rename(p("d"), p("e")))
		_, err = f.WriteString("after")
		must(t, err, f.Close())
	}},
	{"RemovedWhileOpen", twoFiles, func(t *testing.T, p func(string) string) {
		f, err := os.OpenFile(p("a"), os.O_RDWR, 0)
		must(t, err, os.Remove(p("a")))
		_, err = f.WriteString("into the void")
		must(t, err, f.Close())
	}},
	{"ReplacedWhileOpen", twoFiles, func(t *testing.T, p func(string) string) {
		f, err := os.OpenFile(p("a"), os.O_RDWR, 0)
		must(t, err, os.Rename(p("b"), p("a")))
		_, err = f.WriteString("into the void")
		must(t, err, f.Close())
	}},
	{"MappedAfterClose", oneFile, mappedAfterClose},
}

func oneFile(t *testing.T, p func(string) string) { must(t, write(p("a"), "the first text")) }

func twoFiles(t *testing.T, p func(string) string) {
	must(t, write(p("a"), "text a"), write(p("b"), "another text b"))
}

func oneDirectory(t *testing.T, p func(string) string) {
	must(t, os.MkdirAll(p("d/sub"), 0o755), write(p("d/x"), "x"), write(p("d/sub/y"), "y"))
}

func oddNames(t *testing.T, p func(string) string) {
	for _, name := range []string{"two\nlines", "\xff\xfe not UTF-8", " spaces ", "*?[a]", `back\slash`, "quo\"te'",
		"-rf", "ünïcödé", "\x01\x7f", strings.Repeat("n", 255), "~", "#x#", ".hidden", "...", "$HOME;ls"} {
		must(t, write(p(name), "named "+name))
	}
	must(t, os.MkdirAll(p("d\n\xff/e\\"), 0o755), write(p("d\n\xff/e\\/x"), "below"), os.Rename(p("d\n\xff"), p("\xc3(")))
}

// mappedAfterClose stores through a shared mapping whose file is closed.
func mappedAfterClose(t *testing.T, p func(string) string) {
	must(t, os.Truncate(p("a"), 64<<10))
	f, err := os.OpenFile(p("a"), os.O_RDWR, 0)
	must(t, err)
	mem, err := unix.Mmap(int(f.Fd()), 0, 64<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err, f.Close())
	copy(mem[30000:], "stored after the close")
	must(t, unix.Munmap(mem))
}

func TestOperations(t *testing.T) {
	s := startSite(t)
	for _, op := range fileOperations {
		t.Run(op.name, func(t *testing.T) {
			sub := *s
			sub.t = t
			must(t, os.Mkdir(s.path(op.name), 0o755))
			in := func(name string) string { return filepath.Join(s.path(op.name), name) }
			if op.before != nil {
				op.before(t, in)
				sub.compareBelow(op.name)
			}
			op.after(t, in)
			sub.compareBelow(op.name)
		})
	}
	s.stop()
	s.compareNow(treeOptions{})
}

// compareBelow is compare for one directory. It tries again for a while where
// no wait can promise anything: a file that a mapping may still be changing is
// shipped when the mapping is gone.
func (s *site) compareBelow(dir string) {
	s.t.Helper()
	s.settle()
	deadline := time.Now().Add(15 * time.Second)
	for {
		err := s.differs(dir, treeOptions{})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestOperationsPending does all of it while the secondary is away, so that
// everything meets in the plan.
func TestOperationsPending(t *testing.T) {
	s := startSite(t)
	world.lab.do(t, "sshd-kill", s.host)
	t.Cleanup(func() { ensureServer(t, s.host) })
	for _, op := range fileOperations {
		must(t, os.Mkdir(s.path(op.name), 0o755))
		in := func(name string) string { return filepath.Join(s.path(op.name), name) }
		if op.before != nil {
			op.before(t, in)
		}
		op.after(t, in)
	}
	world.lab.do(t, "sshd-start", s.host)
	s.compareBelow("")
}

// TestOwners uses an account on the secondary that may change owners.
func TestOwners(t *testing.T) {
	s := newSite(t)
	s.asRoot()
	s.start()
	must(t, write(s.path("f"), "text"), os.Chown(s.path("f"), 33, 44), os.Mkdir(s.path("d"), 0o755), os.Chown(s.path("d"), 1234, 5678),
		write(s.path("d/g"), "text"), os.Symlink("x", s.path("l")))
	s.settle()
	s.compareNow(treeOptions{owners: true})
}

// TestInPlace mounts over the backing directory itself.
func TestInPlace(t *testing.T) {
	s := newSite(t)
	must(t, write(filepath.Join(s.backing, "before"), "was there"))
	s.mount = s.backing
	s.start()
	must(t, write(s.path("after"), "came later"), os.Rename(s.path("before"), s.path("renamed")))
	s.compare()
	s.stop()
	s.compareNow(treeOptions{})
}

func TestLargeFile(t *testing.T) {
	s := startSite(t)
	n := int64(size(t, "CLOSEFS_LARGE_MIB", 1024, 1024)) << 20
	must(t, writeLarge(s.path("large"), n))
	s.compare()
}

// writeLarge makes a file of n bytes, no two MiB of which are equal.
func writeLarge(path string, n int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for off := int64(0); off < n; off += int64(len(block)) {
		for i := range 128 {
			copy(block[i*8192:], fmt.Sprintf("%d of %d at %s", i, off, path))
		}
		if _, err := f.Write(block[:min(int64(len(block)), n-off)]); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

func TestManySmallFiles(t *testing.T) {
	s := startSite(t)
	for i := range size(t, "CLOSEFS_SMALL_FILES", 10_000, 100_000) {
		dir := s.path(fmt.Sprintf("d%d", i/1000))
		if i%1000 == 0 {
			must(t, os.Mkdir(dir, 0o755))
		}
		must(t, write(filepath.Join(dir, fmt.Sprintf("f%d", i)), fmt.Sprintf("small file %d", i)))
	}
	s.compare()
}
