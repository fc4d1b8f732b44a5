package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// awaitRefusal returns when the target's last error has all of words. The mount
// is up and works meanwhile.
func (s *site) awaitRefusal(words ...string) {
	s.t.Helper()
	must(s.t, write(s.path("written meanwhile"), "the application does not notice"))
	eventually(s.t, func() error {
		st, err := s.status()
		if err != nil {
			return err
		}
		for _, w := range words {
			if !strings.Contains(strings.ToLower(st.LastError), strings.ToLower(w)) {
				return fmt.Errorf("last_error %q (state %s) does not say %q", st.LastError, st.State, w)
			}
		}
		if strings.Contains(st.LastError, "\n") {
			return fmt.Errorf("last_error %q has several lines", st.LastError)
		}
		return nil
	})
	if out, err := s.command("wait", "--timeout", "1s", s.mount); exitCode(err) != 4 && exitCode(err) != 5 {
		s.t.Errorf("wait for a target that refuses: %v: %s; want exit code 4 or 5", err, out)
	}
}

func TestUnknownHostKey(t *testing.T) {
	s := newSite(t)
	s.known = filepath.Join(t.TempDir(), "known_hosts")
	must(t, write(s.known, ""))
	s.start()
	s.awaitRefusal("host key", s.host.address)
	if entries, err := os.ReadDir(s.target); err != nil || len(entries) > 0 {
		t.Errorf("a host that nobody trusts was written to: %v, %v", entries, err)
	}
	if out, err := s.command("trust", "--yes", "--known-hosts", s.known, s.host.address); err != nil {
		t.Fatalf("trust: %v: %s", err, out)
	}
	s.compare()
}

func TestChangedHostKey(t *testing.T) {
	s := newSite(t)
	s.known = filepath.Join(t.TempDir(), "known_hosts")
	text, err := os.ReadFile(world.lab.knownHosts)
	must(t, err, os.WriteFile(s.known, text, 0o600))
	s.start()
	must(t, write(s.path("a"), "with the first key"))
	s.compare()
	changeHostKey(t, s.host)
	s.awaitRefusal("host key", s.host.address)
	if out, err := s.command("trust", "--yes", "--known-hosts", s.known, s.host.address); exitCode(err) != 5 {
		t.Errorf("trust of a changed key: %v: %s; want exit code 5", err, out)
	}
	if out, err := exec.Command("ssh-keygen", "-R", s.host.address, "-f", s.known).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen -R: %v: %s", err, out)
	}
	if out, err := s.command("trust", "--yes", "--known-hosts", s.known, s.host.address); err != nil {
		t.Fatalf("trust: %v: %s", err, out)
	}
	s.compare()
}

// changeHostKey gives the sshd of h another host key, for this test alone.
func changeHostKey(t *testing.T, h secondary) {
	t.Helper()
	file := filepath.Join(h.uploads, "../../host_key")
	key, err := os.ReadFile(file)
	must(t, err)
	public, err := os.ReadFile(file + ".pub")
	must(t, err)
	t.Cleanup(func() {
		must(t, os.WriteFile(file, key, 0o600), os.WriteFile(file+".pub", public, 0o644))
		world.lab.do(t, "sshd-kill", h)
		world.lab.do(t, "sshd-start", h)
	})
	world.lab.do(t, "sshd-kill", h)
	world.lab.do(t, "rekey", h)
	world.lab.do(t, "sshd-start", h)
}

func TestTargetPathMissing(t *testing.T) {
	s := newSite(t)
	must(t, os.Remove(s.target))
	s.start()
	s.awaitRefusal(filepath.Base(s.target))
	must(t, os.Mkdir(s.target, 0o755), os.Chown(s.target, accountID, accountID))
	s.compare()
}

func TestTargetNotWritable(t *testing.T) {
	s := newSite(t)
	must(t, os.Chown(s.target, 0, 0))
	s.start()
	s.awaitRefusal("permission")
	must(t, os.Chown(s.target, accountID, accountID))
	s.compare()
}

// TestUnknownAccount: the secondary lets nobody of that name in.
func TestUnknownAccount(t *testing.T) {
	s := newSite(t)
	s.url = strings.Replace(s.url, "closefs@", "nobody-here@", 1)
	s.start()
	s.awaitRefusal("nobody-here")
}
