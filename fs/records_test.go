package fs

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/journal"
)

func TestRecordsOfFiles(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := newRig(t, mode)
		a := r.path("a")
		r.expect(func() { write(t, a, "hello") }, "open a created", "content a size=5")
		r.expect(func() { write(t, a, "hi") }, "open a", "content a size=2")
		r.expect(func() { appendTo(t, a, "gh") }, "open a", "content a size=4")
		r.expect(func() { check(t, os.Truncate(a, 3)) }, "open a", "content a size=3")
		r.expect(func() { check(t, os.Chmod(a, 0o600)) }, "attr a")
		r.expect(func() { check(t, os.Chown(a, 1, 2)) }, "attr a")
		r.expect(func() { check(t, os.Chtimes(a, time.Unix(1, 0), time.Unix(2, 0))) }, "attr a")
		r.expect(func() { check(t, unix.Setxattr(a, "user.k", []byte("v"), 0)) }, "attr a")
		r.expect(func() { check(t, unix.Removexattr(a, "user.k")) }, "attr a")
		r.expect(func() { read(t, a) })
		r.expect(func() { check(t, os.Rename(a, r.path("b"))) }, "rename a to=b")
		r.expect(func() { check(t, os.Remove(r.path("b"))) }, "remove b last")
		r.expect(func() {
			fd, err := unix.Open(r.path("empty"), unix.O_CREAT|unix.O_RDONLY, 0o600)
			check(t, err)
			unix.Close(fd)
		}, "open empty created", "content empty size=0")
		if s := read(t, r.back+"/empty"); s != "" {
			t.Errorf("empty has %q", s)
		}
	})
}

func appendTo(t testing.TB, path, s string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	check(t, err)
	_, err = f.WriteString(s)
	check(t, err)
	check(t, f.Close())
}

func TestRecordsOfOthers(t *testing.T) {
	r := newRig(t)
	r.expect(func() { check(t, os.Mkdir(r.path("d"), 0o750)) }, "make d mode=40750")
	r.expect(func() { check(t, os.Symlink("x", r.path("d/s"))) }, "make d/s mode=120777")
	r.expect(func() { check(t, unix.Mkfifo(r.path("d/f"), 0o644)) }, "make d/f mode=10644")
	r.expect(func() { check(t, unix.Mknod(r.path("d/n"), unix.S_IFREG|0o600, 0)) }, "make d/n mode=100600")
	r.expect(func() { check(t, unix.Mknod(r.path("d/dev"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))) }, "make d/dev mode=20600")
	r.expect(func() { check(t, unix.Lchown(r.path("d/s"), 1, 1)) }, "attr d/s")
	r.expect(func() { check(t, os.Chmod(r.mnt, 0o711)) }, "attr ")
	r.expect(func() { check(t, os.Rename(r.path("d"), r.path("e"))) }, "rename d to=e")
	r.expect(func() { check(t, os.Remove(r.path("e/s"))) }, "remove e/s last")
	got := r.records(func() { check(t, os.RemoveAll(r.path("e"))) })
	slices.Sort(got) // the order is that of the listing
	if want := []string{"remove e last", "remove e/dev last", "remove e/f last", "remove e/n last"}; !slices.Equal(got, want) {
		t.Errorf("records\n got %q\nwant %q", got, want)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, r.path("no"), unix.AT_FDCWD, r.path("nono"), unix.RENAME_WHITEOUT); err == nil {
		t.Error("RENAME_WHITEOUT was not refused")
	}
}

func TestUnmodifiedOpenIsClean(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := newRig(t, mode)
		write(t, r.path("a"), "x")
		r.settle()
		r.eventually("a is older than a tick", func() bool {
			st, err := r.root.Lstat("a")
			check(t, err)
			return time.Since(st.ChangeTime()) > 2*coarseTick
		})
		r.expect(func() {
			f, err := os.OpenFile(r.path("a"), os.O_RDWR, 0)
			check(t, err)
			check(t, f.Close())
		}, "open a", "clean a")
	})
}

func TestLastWriterPublishes(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := newRig(t, mode)
		one, err := os.Create(r.path("a"))
		check(t, err)
		two, err := os.OpenFile(r.path("a"), os.O_WRONLY|os.O_APPEND, 0)
		check(t, err)
		r.expect(func() {
			_, err := one.WriteString("one")
			check(t, err)
			check(t, one.Close())
		})
		r.expect(func() {
			_, err := two.WriteString("two")
			check(t, err)
			check(t, two.Close())
		}, "content a size=6")
	})
}

func TestRenameOfOpenFile(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := newRig(t, mode)
		check(t, os.Mkdir(r.path("d"), 0o755))
		f, err := os.Create(r.path("d/a"))
		check(t, err)
		r.expect(func() { check(t, os.Rename(r.path("d/a"), r.path("d/b"))) }, "rename d/a to=d/b")
		r.expect(func() { check(t, os.Rename(r.path("d"), r.path("e"))) }, "rename d to=e")
		r.expect(func() {
			_, err := f.WriteString("late")
			check(t, err)
			check(t, f.Close())
		}, "content e/b size=4")
	})
}

func TestUnlinkWhileOpen(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := newRig(t, mode)
		f, err := os.Create(r.path("a"))
		check(t, err)
		r.expect(func() { check(t, os.Remove(r.path("a"))) }, "remove a last")
		r.expect(func() {
			_, err := f.WriteString("ghost")
			check(t, err)
			check(t, f.Truncate(2))
			check(t, f.Chmod(0o600))
			check(t, f.Sync())
			st, err := f.Stat()
			check(t, err)
			if st.Size() != 2 || st.Mode() != 0o600 {
				t.Errorf("fstat of an unlinked file: %v %v", st.Size(), st.Mode())
			}
			check(t, f.Close())
		})
	})
}

func TestReplaceOfOpenFile(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := newRig(t, mode)
		f, err := os.Create(r.path("a"))
		check(t, err)
		write(t, r.path("b"), "new")
		r.settle()
		r.expect(func() { check(t, os.Rename(r.path("b"), r.path("a"))) }, "rename b to=a", "clean a")
		r.expect(func() { check(t, f.Close()) })
		if s := read(t, r.path("a")); s != "new" {
			t.Errorf("a is %q", s)
		}
	})
}

func TestExchange(t *testing.T) {
	r := newRig(t)
	check(t, os.Mkdir(r.path("d"), 0o755))
	check(t, os.Mkdir(r.path("e"), 0o755))
	f, err := os.Create(r.path("d/x"))
	check(t, err)
	r.expect(func() {
		check(t, unix.Renameat2(unix.AT_FDCWD, r.path("d"), unix.AT_FDCWD, r.path("e"), unix.RENAME_EXCHANGE))
	}, "rename d to=e exchange")
	r.expect(func() { check(t, f.Close()) }, "content e/x size=0")
	err = unix.Renameat2(unix.AT_FDCWD, r.path("d"), unix.AT_FDCWD, r.path("e"), unix.RENAME_NOREPLACE)
	if err != unix.EEXIST {
		t.Errorf("RENAME_NOREPLACE: %v", err)
	}
}

func TestHardLinks(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := newRig(t, mode)
		write(t, r.path("a"), "1")
		r.settle()
		r.expect(func() { check(t, os.Link(r.path("a"), r.path("b"))) }, "make b mode=100644 links=a")
		check(t, os.Mkdir(r.path("d"), 0o755))
		r.expect(func() { check(t, os.Rename(r.path("b"), r.path("d/b"))) }, "rename b to=d/b")
		r.expect(func() { check(t, os.Rename(r.path("d"), r.path("e"))) }, "rename d to=e")
		got := r.records(func() { write(t, r.path("a"), "22") })
		if len(got) != 2 || !strings.HasSuffix(got[1], " size=2 links=a") && !strings.HasSuffix(got[1], " size=2 links=e/b") {
			t.Errorf("overwrite of a hard link: %q", got)
		}
		f, err := os.OpenFile(r.path("a"), os.O_WRONLY, 0)
		check(t, err)
		got = r.records(func() { check(t, os.Remove(r.path("a"))) })
		if len(got) != 2 || got[0] != "remove a" || got[1] != "open e/b" {
			t.Errorf("unlink of one name of a dirty file: %q", got)
		}
		r.expect(func() {
			_, err := f.WriteString("333")
			check(t, err)
			check(t, f.Close())
		}, "content e/b size=3")
	})
}

// Names made before the mount are found by a walk, and the file is published
// again with all of them.
func TestHardLinksOfBefore(t *testing.T) {
	r := newRig(t)
	check(t, os.MkdirAll(r.back+"/deep/er", 0o755))
	write(t, r.back+"/a", "1")
	check(t, os.Link(r.back+"/a", r.back+"/deep/er/b"))
	n := len(r.journal.since(0))
	appendTo(t, r.path("a"), "2")
	r.settle()
	r.eventually("content with links", func() bool {
		got := show(r.journal.since(n))
		return len(got) > 0 && got[len(got)-1] == "content a size=2 links=deep/er/b"
	})
}

func TestTmpfile(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := newRig(t, mode)
		fd, err := unix.Open(r.mnt, unix.O_TMPFILE|unix.O_RDWR, 0o640)
		check(t, err)
		r.expect(func() {
			_, err := unix.Write(fd, []byte("data"))
			check(t, err)
		})
		r.expect(func() {
			check(t, unix.Linkat(unix.AT_FDCWD, procPath(fd), unix.AT_FDCWD, r.path("t"), unix.AT_SYMLINK_FOLLOW))
		}, "open t created")
		r.expect(func() { check(t, unix.Close(fd)) }, "content t size=4")
		if s := read(t, r.back+"/t"); s != "data" {
			t.Errorf("t is %q", s)
		}

		fd, err = unix.Open(r.mnt, unix.O_TMPFILE|unix.O_RDWR, 0o640)
		check(t, err)
		r.expect(func() { check(t, unix.Close(fd)) })
	})
}

// A store through a mapping that outlives close(2) is shipped when it ends.
func TestStoreAfterClose(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := newRig(t, mode)
		write(t, r.path("a"), strings.Repeat("a", 8192))
		r.settle()
		n := len(r.journal.since(0))
		c := startChild(t, "store", r.path("a"))
		c.wait("closed")
		r.settle()
		for _, s := range show(r.journal.since(n)) {
			if s == "content a size=8192" || s == "clean a" {
				t.Errorf("%s while it is mapped", s)
			}
		}
		c.goOn()
		c.wait("unmapped")
		r.eventually("content after munmap", func() bool {
			all := show(r.journal.since(n))
			return all[len(all)-1] == "content a size=8192"
		})
		if s := read(t, r.back+"/a"); s[0] != 'b' || s[4096] != 'c' {
			t.Error("stores are missing")
		}
		if dirty := r.journal.Dirty(); len(dirty) > 0 {
			t.Errorf("dirty: %v", dirty)
		}
		c.end()
	})
}

func TestShipOpenAfter(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := newRig(t, mode, func(o *Options) { o.ShipOpenAfter = 20 * time.Millisecond })
		f, err := os.Create(r.path("log"))
		check(t, err)
		n := len(r.journal.since(0))
		_, err = f.WriteString("line\n")
		check(t, err)
		r.eventually("published while open", func() bool {
			got := strings.Join(show(r.journal.since(n)), ";")
			return strings.Contains(got, "content log size=5 still")
		})
		if !r.journal.IsDirty(r.journal.since(0)[0].ID) {
			t.Error("not dirty any more although it is open")
		}
		check(t, f.Close())
	})
}

func TestSettleManyCloses(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := newRig(t, mode)
		open, err := os.Create(r.path("stays"))
		check(t, err)
		for i := range 200 {
			name := r.path("f") + string(rune('a'+i%5))
			write(t, name, strings.Repeat("x", i))
			r.settle()
			last := r.journal.since(0)
			if got := last[len(last)-1]; got.Kind != journal.Content || got.Size != int64(i) {
				t.Fatalf("close %d: last record is %s", i, showRecord(got))
			}
		}
		check(t, open.Close())
	})
}

// With a descriptor duplicated, close(2) returns and no RELEASE comes.
func TestSettleDuplicate(t *testing.T) {
	r := newRig(t, cached)
	fd, err := unix.Open(r.path("a"), unix.O_CREAT|unix.O_WRONLY, 0o644)
	check(t, err)
	dup, err := unix.Dup(fd)
	check(t, err)
	_, err = unix.Write(fd, []byte("1"))
	check(t, err)
	r.expect(func() { check(t, unix.Close(fd)) }, "content a size=1 still")
	r.expect(func() {
		_, err = unix.Write(dup, []byte("2"))
		check(t, err)
		check(t, unix.Close(dup))
	}, "content a size=2")
}

func TestSettleEnds(t *testing.T) {
	r := newRig(t)
	f, err := os.Create(r.path("a"))
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Settle(ctx); err != nil {
		t.Errorf("settle with a file that is really open: %v", err)
	}
	check(t, f.Close())
}
