package dir

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"closefs/replicate"
	"closefs/replicate/targettest"
)

func TestConformance(t *testing.T) {
	targettest.Run(t, targettest.Kind{
		UID: os.Geteuid(),
		Open: func(t *testing.T, dir string) targettest.Fixture {
			return targettest.Fixture{Dialer: newDialer(t, dir)}
		},
	})
}

// TestConformanceUnprivileged runs the suite once more, as a user who is not root.
func TestConformanceUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: TestConformance is unprivileged already")
	}
	const nobody = 65534
	binary := filepath.Join(t.TempDir(), "dir.test")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	if err := errors.Join(
		os.WriteFile(binary, self, 0o755),
		os.Chown(tmp, nobody, nobody),
		os.Chmod(filepath.Dir(tmp), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run=^TestConformance$", "-test.v="+strconv.FormatBool(testing.Verbose()))
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func newDialer(t *testing.T, dir string) *Dialer {
	t.Helper()
	d, err := New(Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNewRefusesRelativePaths(t *testing.T) {
	for _, path := range []string{"", ".", "a/b", "~"} {
		if _, err := New(Options{Path: path}); err == nil {
			t.Errorf("New took %q", path)
		}
	}
}

// TestMet refuses an empty directory that an earlier process had filled.
func TestMet(t *testing.T) {
	path := t.TempDir()
	d, err := New(Options{Path: path, Met: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Dial(t.Context()); !errors.Is(err, replicate.ErrRefused) {
		t.Errorf("dial = %v", err)
	}
	if err := os.Mkdir(filepath.Join(path, ".closefs"), 0o700); err != nil {
		t.Fatal(err)
	}
	target, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	target.Close()
}

// TestHeartbeatNoticesReplacedRoot renames the root away, as an unmount or a
// mount over it would.
func TestHeartbeatNoticesReplacedRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "target")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	target, err := newDialer(t, dir).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if err := errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Heartbeat(t.Context(), time.Now()); !errors.Is(err, replicate.ErrConnection) {
		t.Errorf("heartbeat = %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the mountpoint was filled: %v, %v", entries, err)
	}
}
