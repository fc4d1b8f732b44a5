package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A site is a primary with one mount, and a directory on a secondary that it
// is replicated to.
type site struct {
	t       *testing.T
	host    secondary
	backing string // the real files
	mount   string // where the test works
	state   string
	target  string // the directory on the secondary, on this machine's disk
	url     string // of target
	known   string // known_hosts file
	flags   []string
	log     string
	daemon  *daemon
}

// newSite prepares a site on the lab's first secondary without starting it.
// Everything goes away with the test; if that fails, so does the test.
func newSite(t *testing.T) *site {
	t.Helper()
	if world.lab == nil {
		t.Skip("needs root: network namespaces and mounts")
	}
	dir := t.TempDir()
	s := &site{t: t, host: world.lab.hosts[0]}
	s.backing, s.mount = filepath.Join(dir, "backing"), filepath.Join(dir, "mount")
	s.state, s.log = filepath.Join(dir, "state"), filepath.Join(dir, "log")
	for _, d := range []string{s.backing, s.mount} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	name := s.host.makeDir(t)
	s.target, s.url = filepath.Join(s.host.uploads, name), s.host.url+"/"+name
	s.known = world.lab.knownHosts
	s.flags = []string{"--identity", world.lab.identity, "--log-level", "debug"}
	t.Cleanup(s.cleanUp)
	return s
}

// startSite prepares and starts a site.
func startSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.start()
	return s
}

// asRoot has the site use the secondary's account that may change owners.
func (s *site) asRoot() { s.url = s.host.rootURL + strings.TrimPrefix(s.url, s.host.url) }

func (s *site) args() []string {
	args := append([]string{"--to", s.url, "--state", s.state, "--known-hosts", s.known}, s.flags...)
	if s.mount == s.backing {
		return append(args, s.mount)
	}
	return append(args, s.backing, s.mount)
}

func (s *site) start() {
	s.t.Helper()
	s.daemon = start(s.t, s.log, s.args()...)
}

// killWhileStarting starts a daemon and kills it within the time that a start
// takes. This is the one place where a time is waited for: it is the stimulus.
func (s *site) killWhileStarting(r *rand.Rand) {
	d := launch(s.t, s.log, "", s.args()...)
	time.Sleep(time.Duration(r.Int64N(int64(100 * time.Millisecond))))
	d.kill(s.t)
}

// stop ends the daemon as a service manager does and expects that it unmounts.
func (s *site) stop() {
	s.t.Helper()
	if err := s.daemon.stop(); err != nil {
		s.t.Errorf("stop: %v", err)
	}
	if m := mountsBelow(filepath.Dir(s.mount)); len(m) > 0 {
		s.t.Errorf("still mounted after a stop: %v", m)
	}
}

func (s *site) cleanUp() {
	if s.daemon != nil {
		select {
		case <-s.daemon.ended:
		default:
			s.stop()
		}
	}
	for _, m := range mountsBelow(filepath.Dir(s.mount)) {
		detach(m)
	}
	if s.t.Failed() {
		s.t.Logf("the daemon's log ends with\n%s", tail(s.log, 60))
	}
}

// path is name on the mount.
func (s *site) path(name string) string { return filepath.Join(s.mount, name) }

// settle returns when all that was done on the mount is on the secondary.
func (s *site) settle() {
	s.t.Helper()
	if out, err := s.command("wait", "--timeout", patience.String(), s.mount); err != nil {
		status, _ := s.command("status", s.mount)
		s.t.Fatalf("closefs wait: %v: %s\n%s", err, out, status)
	}
}

// compare settles and fails the test where the secondary differs.
func (s *site) compare() {
	s.t.Helper()
	s.settle()
	s.compareNow(treeOptions{})
}

// compareNow fails the test where the trees differ at this moment.
func (s *site) compareNow(o treeOptions) {
	s.t.Helper()
	if err := s.differs("", o); err != nil {
		s.t.Error(err)
	}
}

// differs describes how the trees differ below dir at this moment; nil if they
// do not.
func (s *site) differs(dir string, o treeOptions) error {
	primary, err := readTree(filepath.Join(s.backing, dir))
	if err != nil {
		return err
	}
	copied, err := readTree(filepath.Join(s.target, dir))
	if err != nil {
		return err
	}
	if d := differences(primary, copied, o); len(d) > 0 {
		return fmt.Errorf("%d differences between primary (%d entries) and secondary:\n%s",
			len(d), len(primary), strings.Join(d[:min(len(d), 40)], "\n"))
	}
	return nil
}

// command runs closefs with args and returns what it printed.
func (s *site) command(args ...string) (string, error) {
	out, err := exec.Command(world.binary, args...).CombinedOutput()
	return string(out), err
}

// targetStatus is what these tests look at in `closefs status --json`.
type targetStatus struct {
	State          string `json:"state"`
	PendingChanges int64  `json:"pending_changes"`
	LastError      string `json:"last_error"`
}

func (s *site) status() (targetStatus, error) {
	out, err := s.command("status", "--json", s.mount)
	if err != nil {
		return targetStatus{}, fmt.Errorf("status: %w: %s", err, out)
	}
	var all struct{ Targets []targetStatus }
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return targetStatus{}, fmt.Errorf("status: %w: %s", err, out)
	}
	if len(all.Targets) != 1 {
		return targetStatus{}, fmt.Errorf("status: %d targets, want 1", len(all.Targets))
	}
	return all.Targets[0], nil
}

// eventually calls f until it returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", patience, err)
		}
		<-tick.C
	}
}

// exitCode is the exit code that err reports; -1 if it is not about one.
func exitCode(err error) int {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}

func tail(file string, lines int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.SplitAfter(string(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}
