package fs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// sh runs a shell command as another user, with supplementary group 4242.
func (r *rig) sh(uid, gid int, script string) error {
	r.t.Helper()
	cmd := exec.Command("setpriv", fmt.Sprintf("--reuid=%d", uid), fmt.Sprintf("--regid=%d", gid), "--groups=4242",
		"--inh-caps=-all", "sh", "-ec", script)
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// outside makes a rig that other users can reach.
func outside(t *testing.T, options ...rigOption) *rig {
	r := newRig(t, options...)
	for d := r.mnt; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		check(t, os.Chmod(d, 0o755))
	}
	return r
}

func owner(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Lstat(path, &st))
	return fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&^unix.S_IFMT)
}

func TestOwnership(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := outside(t, mode)
		check(t, os.Mkdir(r.path("shared"), 0o755))
		check(t, os.Chown(r.path("shared"), 0, 4242))
		check(t, os.Chmod(r.path("shared"), 0o770|os.ModeSetgid))
		check(t, r.sh(1234, 5678, "umask 027; cd "+r.path("shared")+`
			echo x > f; mkdir d; ln -s f l; mkfifo p; chmod 2750 d; echo y > d/g`))
		for name, want := range map[string]string{
			"f": "1234:4242 640", "d": "1234:4242 2750", "l": "1234:4242 777", "p": "1234:4242 640", "d/g": "1234:4242 640",
		} {
			if got := owner(t, filepath.Join(r.back, "shared", name)); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
		if err := r.sh(4321, 5678, "echo x > "+r.path("root-only")); err == nil {
			t.Error("a stranger wrote into root's directory")
		}
	})
}

func TestSuidIsCleared(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		r := outside(t, mode)
		for _, script := range []string{"echo more >> %s", "echo new > %s", "truncate -s 1 %s"} {
			p := r.path("s")
			write(t, p, "x")
			check(t, os.Chmod(p, 0o777|os.ModeSetuid|os.ModeSetgid))
			check(t, r.sh(1234, 1234, fmt.Sprintf(script, p)))
			if got := owner(t, r.back+"/s"); got != "0:0 777" {
				t.Errorf("after %q as a stranger: %s", script, got)
			}
			check(t, os.Remove(p))
		}
	})
}

func TestDefaultACL(t *testing.T) {
	if _, err := exec.LookPath("setfacl"); err != nil {
		t.Skipf("SKIP: %v", err)
	}
	r := outside(t)
	check(t, os.Mkdir(r.path("d"), 0o777))
	out, err := exec.Command("setfacl", "-d", "-m", "u:1234:rwx,m:rwx", r.path("d")).CombinedOutput()
	if err != nil {
		t.Fatalf("setfacl through the mount: %v: %s", err, out)
	}
	check(t, r.sh(77, 77, "umask 077; echo x > "+r.path("d/f")))
	// The default ACL counts and not the umask: user 1234 may read and write.
	check(t, r.sh(1234, 1234, "echo y >> "+r.path("d/f")))
	if err := r.sh(78, 77, "cat "+r.path("d/f")); err != nil {
		t.Logf("others: %v", err)
	}
	out, err = exec.Command("getfacl", "-pc", r.back+"/d/f").CombinedOutput()
	check(t, err)
	if !strings.Contains(string(out), "user:1234:rw") {
		t.Errorf("ACL in the backing directory: %s", out)
	}
}
