package fs

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/journal"
)

// unserved is a floating mount whose daemon is no more.
func unserved(t *testing.T) *floating {
	t.Helper()
	m, err := newFloating(&fuse.MountOptions{FsName: "dead", Name: fsType, DirectMountStrict: true, AllowOther: true})
	check(t, err)
	check(t, unix.Close(m.device))
	return m
}

// deadMount leaves a dead mount at dir.
func deadMount(t *testing.T, dir string) {
	t.Helper()
	m := unserved(t)
	place, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	check(t, err)
	check(t, errors.Join(m.move(place, 0), m.close(), unix.Close(place)))
}

func mountsAt(t *testing.T, dir string) int {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	check(t, err)
	return strings.Count(string(table), " "+dir+" ")
}

func TestTakeOver(t *testing.T) {
	r := newRig(t)
	write(t, r.path("before"), "x")
	r.stop()
	deadMount(t, r.mnt)
	r.start(func(o *Options) { o.TakeOver, o.MountOptions = true, []string{"noexec", "noatime"} })
	if got := read(t, r.path("before")); got != "x" {
		t.Errorf("read %q", got)
	}
	if n := mountsAt(t, r.mnt); n != 1 {
		t.Errorf("%d mounts", n)
	}
	var st unix.Statfs_t
	check(t, unix.Statfs(r.mnt, &st))
	if want := int64(unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOEXEC | unix.ST_NOATIME); st.Flags&want != want {
		t.Errorf("flags %#x, want %#x", st.Flags, want)
	}
	for _, rec := range r.journal.since(0) {
		if rec.Kind == journal.Gap {
			t.Error("a Gap, as if something had gone unseen")
		}
	}
}

// TestTakeOverUncovered: a kernel that puts nothing beneath a mount has the dead
// one detached first, and the journal says that changes may be missing.
func TestTakeOverUncovered(t *testing.T) {
	r := newRig(t)
	f := &FS{mountpoint: t.TempDir(), log: r.FS.log, journal: r.journal}
	deadMount(t, f.mountpoint)
	dead, err := openDead(f.mountpoint)
	check(t, err)
	m := unserved(t)
	check(t, f.uncoverFor(m, dead, unix.EINVAL))
	if n := mountsAt(t, f.mountpoint); n != 1 {
		t.Errorf("%d mounts", n)
	}
	check(t, errors.Join(unix.Close(dead), m.close(), unix.Unmount(f.mountpoint, 0)))
	if all := r.journal.since(0); len(all) != 1 || all[0].Kind != journal.Gap {
		t.Errorf("recorded %v, want a Gap", all)
	}
}

// TestTakeOverOfTheLiving: only a dead mount is taken off.
func TestTakeOverOfTheLiving(t *testing.T) {
	r := newRig(t)
	if fd, err := openDead(r.mnt); err == nil {
		unix.Close(fd)
		t.Error("a mount that answers was called dead")
	}
}
