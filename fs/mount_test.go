package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

func TestPassthroughIsGranted(t *testing.T) {
	r := newRig(t)
	var st unix.Statfs_t
	check(t, unix.Statfs(r.back, &st))
	if st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		t.Skip("SKIP: the temporary directory is on overlayfs, which the kernel does not pass through to")
	}
	write(t, r.path("a"), "x")
	if !r.Stats().Passthrough {
		t.Error("the kernel refused passthrough")
	}
}

func TestInPlace(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Mountpoint = o.Backing.Path() })
	r.expect(func() { write(t, r.path("a"), "x") }, "open a created", "content a size=1")
	fd, err := r.root.Openat("a", unix.O_RDONLY, 0)
	check(t, err)
	unix.Close(fd)
}

func TestNestedMountpointIsRefused(t *testing.T) {
	r := newRig(t)
	inside := r.back + "/d/e"
	check(t, os.MkdirAll(inside, 0o755))
	_, err := Mount(Options{Backing: r.root, Mountpoint: inside, Journal: r.journal, Log: r.FS.log})
	if !errors.Is(err, ErrNested) {
		t.Errorf("mount inside the backing directory: %v", err)
	}
}

func TestFindmnt(t *testing.T) {
	r := newRig(t)
	out, err := exec.Command("findmnt", "-no", "SOURCE,FSTYPE,OPTIONS", r.mnt).Output()
	check(t, err)
	for _, want := range []string{"closefs#" + r.back, "fuse.closefs", "nosuid", "nodev", "default_permissions"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("findmnt says %q, without %q", out, want)
		}
	}
}

func TestMountOptions(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MountOptions = []string{"noexec", "noatime", "x-systemd.requires=/"} })
	write(t, r.path("a"), "#!/bin/sh\n")
	check(t, os.Chmod(r.path("a"), 0o755))
	if err := exec.Command(r.path("a")).Run(); !errors.Is(err, unix.EACCES) {
		t.Errorf("exec on noexec: %v", err)
	}
	_, _, err := mountFlags([]string{"bogus"})
	if err == nil || !strings.Contains(err.Error(), `"bogus"`) {
		t.Errorf("unknown option: %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	r := newRig(t, func(o *Options) { o.ReadOnly = true })
	write(t, r.back+"/a", "x")
	if s := read(t, r.path("a")); s != "x" {
		t.Errorf("read %q", s)
	}
	if err := os.WriteFile(r.path("b"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("create: %v", err)
	}
	if err := os.Remove(r.path("a")); !errors.Is(err, unix.EROFS) {
		t.Errorf("remove: %v", err)
	}
}

func TestBirthTime(t *testing.T) {
	r := newRig(t)
	write(t, r.path("a"), "x")
	var there, here unix.Statx_t
	check(t, unix.Statx(unix.AT_FDCWD, r.back+"/a", 0, unix.STATX_BTIME, &there))
	check(t, unix.Statx(unix.AT_FDCWD, r.path("a"), 0, unix.STATX_BTIME, &here))
	if here.Btime != there.Btime || here.Mask&unix.STATX_BTIME != there.Mask&unix.STATX_BTIME {
		t.Errorf("birth time %v, in the backing directory %v", here.Btime, there.Btime)
	}
}

func TestBusy(t *testing.T) {
	r := newRig(t)
	write(t, r.path("a"), "x")
	c := startChild(t, "hold", r.path("a"))
	c.wait("open")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	err := r.Unmount(ctx)
	var busy *BusyError
	if !errors.As(err, &busy) {
		t.Fatalf("unmount while a file is open: %v", err)
	}
	found := false
	for _, p := range busy.Processes {
		found = found || p.PID == c.cmd.Process.Pid && p.Uses == r.path("a")
	}
	if !found {
		t.Errorf("%v does not name process %d", err, c.cmd.Process.Pid)
	}
	if s := read(t, r.path("a")); s != "x" {
		t.Error("not mounted any more")
	}
	// A longer wait outlasts the file.
	done := make(chan error, 1)
	go func() { done <- r.Unmount(context.Background()) }()
	c.goOn()
	c.end()
	check(t, <-done)
}

func TestUnmountedByOthers(t *testing.T) {
	r := newRig(t)
	write(t, r.path("a"), "x")
	r.eventually("umount", func() bool { return exec.Command("umount", r.mnt).Run() == nil })
	r.Wait()
	check(t, r.Unmount(context.Background()))
}

func TestBehindTheBack(t *testing.T) {
	r := newRig(t)
	write(t, r.path("a"), "old")
	r.closed()
	write(t, r.back+"/new", "other")
	check(t, os.Rename(r.back+"/new", r.back+"/a"))
	if s := read(t, r.path("a")); s != "other" {
		t.Errorf("a replaced behind the mount reads %q", s)
	}
	r.closed()
	check(t, os.Remove(r.back+"/a"))
	if _, err := os.ReadFile(r.path("a")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a removed behind the mount: %v", err)
	}
	check(t, os.MkdirAll(r.path("d"), 0o755))
	check(t, os.Remove(r.back+"/d"))
	check(t, os.Symlink("/etc", r.back+"/d"))
	if _, err := os.ReadFile(r.path("d/hostname-of-nobody")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("directory replaced by a symlink behind the mount: %v", err)
	}
	if err := os.WriteFile(r.path("d/closefs-test"), nil, 0o600); err == nil {
		os.Remove("/etc/closefs-test") // the application followed its own symlink, as it would natively
	}
}

// mountHelper is run by TestUnprivileged as nobody: it mounts through
// fusermount3, does some work, and unmounts.
func TestUnprivilegedHelper(t *testing.T) {
	dir := os.Getenv("CLOSEFS_UNPRIVILEGED")
	if dir == "" {
		t.Skip("run by TestUnprivileged")
	}
	unix.Umask(0)
	root, err := backing.Open(filepath.Join(dir, "back"))
	check(t, err)
	defer root.Close()
	j, err := journal.OpenDir(filepath.Join(dir, "state"), journal.Options{})
	check(t, err)
	defer j.Close()
	rec := &recordingJournal{Journal: j}
	mnt := filepath.Join(dir, "mnt")
	f, err := Mount(Options{Backing: root, Mountpoint: mnt, Journal: rec, Log: slog.Default()})
	check(t, err)
	answerPoll(t, mnt)
	write(t, mnt+"/a", "hello")
	check(t, os.Link(mnt+"/a", mnt+"/b"))
	check(t, os.Mkdir(mnt+"/d", 0o755))
	check(t, os.Rename(mnt+"/a", mnt+"/d/a"))
	check(t, os.Chmod(mnt+"/d/a", 0o200)) // not even readable
	appendTo(t, mnt+"/d/a", "!")
	check(t, os.Truncate(mnt+"/d/a", 3))
	check(t, f.Settle(context.Background()))
	if f.Stats().Passthrough {
		t.Error("passthrough without privilege")
	}
	got := show(rec.since(0))
	if last := got[len(got)-1]; !strings.HasPrefix(last, "content ") || !strings.Contains(last, "size=3") {
		t.Errorf("records: %q", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	check(t, f.Unmount(ctx))
}

// letAll gives /dev/fuse the mode that udev gives it, where there is no udev.
func letAll(t *testing.T, device string) {
	st, err := os.Stat(device)
	check(t, err)
	if st.Mode().Perm() == 0o666 {
		return
	}
	check(t, os.Chmod(device, 0o666))
	t.Cleanup(func() { check(t, os.Chmod(device, st.Mode().Perm())) })
}

func TestUnprivileged(t *testing.T) {
	needFUSE(t)
	for _, tool := range []string{"setpriv", "fusermount3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIP: %v", err)
		}
	}
	letAll(t, "/dev/fuse")
	dir, err := os.MkdirTemp("", "closefs-nobody-")
	check(t, err)
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	check(t, err)
	check(t, os.WriteFile(dir+"/fs.test", self, 0o755))
	for _, d := range []string{"", "/mnt", "/back", "/state"} {
		check(t, os.MkdirAll(dir+d, 0o755))
		check(t, os.Chown(dir+d, 65534, 65534))
	}
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all",
		dir+"/fs.test", "-test.run=^TestUnprivilegedHelper$", "-test.v", "-test.timeout=30s")
	cmd.Env = append(os.Environ(), "CLOSEFS_UNPRIVILEGED="+dir)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestUnprivilegedHelper") {
		t.Errorf("%v\n%s", err, out)
		unix.Unmount(dir+"/mnt", unix.MNT_DETACH)
	}
}

// A mount namespace that was made meanwhile and is cut off keeps a copy.
func TestBusyNamespace(t *testing.T) {
	r := newRig(t)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "cat")
	in, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	ours, err := os.Readlink("/proc/self/ns/mnt")
	check(t, err)
	r.eventually("another namespace", func() bool {
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", cmd.Process.Pid))
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		return err == nil && theirs != ours && string(comm) == "cat\n"
	})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	err = r.Unmount(ctx)
	var busy *BusyError
	if !errors.As(err, &busy) || !strings.Contains(err.Error(), fmt.Sprintf("cat[%d] (mount namespace)", cmd.Process.Pid)) {
		t.Errorf("unmount with a copy in another namespace: %v", err)
	}
	check(t, in.Close())
	check(t, cmd.Wait())
	r.Wait()
}
