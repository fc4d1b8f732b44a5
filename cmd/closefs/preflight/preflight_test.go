package preflight

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"closefs/cmd/closefs/config"
)

func TestTopMount(t *testing.T) {
	const info = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:35 / /a\040b rw shared:2 - fuse.closefs closefs#/srv rw,user_id=0
41 22 8:2 / /m rw - xfs /dev/sdb rw
42 41 0:36 / /m rw - fuse.closefs closefs#/srv rw
43 45 0:37 / /beneath rw - fuse.dead closefs#/srv rw
45 22 0:38 / /beneath rw - fuse.closefs closefs#/srv rw
`
	for path, want := range map[string]string{"/a b": "fuse.closefs", "/m": "fuse.closefs", "/": "ext4", "/beneath": "fuse.dead", "/none": ""} {
		stack, err := mountStack(strings.NewReader(info), path)
		got := ""
		if len(stack) > 0 {
			got = stack[len(stack)-1].fstype
		}
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", path, got, err, want)
		}
	}
}

// tree makes directories b, m, s and t below a fresh one, and l, a link to b.
func tree(t *testing.T) (string, Places) {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"b/sub", "m/sub", "s", "t/sub"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("b", root+"/l"), os.WriteFile(root+"/file", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	return root, Places{Backing: root + "/b", Mountpoint: root + "/m", State: root + "/s",
		Targets: []config.Address{{Path: root + "/t"}}}
}

func TestPlaces(t *testing.T) {
	root, good := tree(t)
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name    string
		change  func(*Places)
		want    string
		invalid bool
	}{
		{"no backing", func(p *Places) { p.Backing = root + "/none" }, "none: does not exist", false},
		{"backing is a file", func(p *Places) { p.Backing = root + "/file" }, "file: is not a directory", false},
		{"no mountpoint", func(p *Places) { p.Mountpoint = root + "/none" }, "mountpoint " + root + "/none: does not exist", false},
		{"mountpoint is a file", func(p *Places) { p.Mountpoint = root + "/file" }, "is not a directory", false},
		{"backing in mountpoint", func(p *Places) { p.Backing = root + "/m/sub" }, "inside the mountpoint", true},
		{"mountpoint in backing", func(p *Places) { p.Mountpoint = root + "/b/sub" }, "inside the backing directory", true},
		{"state in backing", func(p *Places) { p.State = root + "/b/new/state" }, "state directory", true},
		{"state in mountpoint", func(p *Places) { p.State = root + "/m/x" }, "inside the mountpoint", true},
		{"state in backing by a link", func(p *Places) { p.State = root + "/l/x" }, "inside the backing directory", true},
		{"target in backing", func(p *Places) { p.Targets[0].Path = root + "/b/copy" }, "target", true},
		{"target is the backing", func(p *Places) { p.Targets[0].Path = root + "/l" }, "inside the backing", true},
		{"backing in target", func(p *Places) { p.Backing = root + "/t/sub" }, "inside the target", true},
		{"target above all", func(p *Places) { p.Targets[0].Path = root }, "inside the target", true},
		{"same target twice", func(p *Places) { p.Targets = append(p.Targets, config.Address{Path: root + "/t/sub/.."}) }, "same place", true},
		{"target in target", func(p *Places) { p.Targets = append(p.Targets, config.Address{Path: root + "/t/sub"}) }, "same place", true},
		{"same remote", func(p *Places) {
			a := config.Address{User: "u", Host: "h", Port: 22, Path: "/p"}
			p.Targets = []config.Address{a, a}
		}, "sftp://u@h/p", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := good
			p.Targets = append([]config.Address(nil), good.Targets...)
			tc.change(&p)
			err := p.Check()
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, config.ErrInvalid) != tc.invalid {
				t.Errorf("got %v, want %q, invalid %v", err, tc.want, tc.invalid)
			}
		})
	}
}

func TestInPlace(t *testing.T) {
	root, p := tree(t)
	p.Mountpoint = p.Backing
	if err := p.Check(); err != nil || !p.InPlace() {
		t.Errorf("got %v, in place %v", err, p.InPlace())
	}
	p.State = root + "/b/state"
	if err := p.Check(); !errors.Is(err, config.ErrInvalid) {
		t.Errorf("state inside: got %v", err)
	}
}

func TestStateDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "state")
	dir, err := StateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := StateDir(path); !errors.Is(err, ErrServed) || !strings.Contains(err.Error(), path) {
		t.Errorf("second: got %v", err)
	}
	dir.Close()
	if dir, err = StateDir(path); err != nil {
		t.Fatalf("after the first is gone: %v", err)
	}
	dir.Close()
	if left, err := os.ReadDir(path); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestStateDirOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a tmpfs")
	}
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=16k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	_, err := StateDir(filepath.Join(mount, "state"))
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), mount) {
		t.Errorf("got %v", err)
	}
}

func TestClearDeadLeavesOthersAlone(t *testing.T) {
	if err := ClearDead(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}
