// Package scripts tests scripts/lab.
package scripts

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A testLab is one lab and its place.
type testLab struct {
	t    *testing.T
	name string
	dir  string
}

func newTestLab(t *testing.T) testLab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	l := testLab{t, fmt.Sprintf("t%d-%d", os.Getpid(), time.Now().UnixNano()%1e6), filepath.Join(t.TempDir(), "lab")}
	t.Cleanup(func() {
		pids := l.serverPIDs()
		l.do("down")
		l.expectNothing(pids)
	})
	return l
}

func (l testLab) command(args ...string) *exec.Cmd {
	c := exec.Command("./lab", args...)
	c.Env = append(os.Environ(), "LAB_NAME="+l.name, "LAB_DIR="+l.dir)
	return c
}

func (l testLab) do(args ...string) string {
	l.t.Helper()
	out, err := l.command(args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("lab %v: %v: %s", args, err, out)
	}
	return string(out)
}

// expectNothing fails the test if the lab left something behind.
func (l testLab) expectNothing(pids []string) {
	l.t.Helper()
	if _, err := os.Lstat(l.dir); err == nil {
		l.t.Errorf("%s is left behind", l.dir)
	}
	spaces, _ := exec.Command("ip", "netns", "list").Output()
	if strings.Contains(string(spaces), l.name) {
		l.t.Errorf("network namespaces are left behind: %s", spaces)
	}
	for _, pid := range pids {
		if args, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.Contains(string(args), "sshd") {
			l.t.Errorf("process %s is left behind: %s", pid, args)
		}
	}
}

// serverPIDs are the processes of all sshd that the lab recorded.
func (l testLab) serverPIDs() []string {
	files, _ := filepath.Glob(filepath.Join(l.dir, "*", "pid"))
	var pids []string
	for _, file := range files {
		text, _ := os.ReadFile(file)
		pid, _, _ := strings.Cut(string(text), " ")
		pids = append(pids, pid)
	}
	return pids
}

func (l testLab) variable(name string) string {
	l.t.Helper()
	for line := range strings.Lines(l.do("env")) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && key == name {
			return value
		}
	}
	l.t.Fatalf("lab env has no %s", name)
	return ""
}

// sftp runs batch as account on the first secondary.
func (l testLab) sftp(account, batch string) (string, error) {
	c := exec.Command("sftp", "-q", "-b", "-", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-i", l.variable("LAB_IDENTITY"),
		"-o", "UserKnownHostsFile="+l.variable("LAB_KNOWN_HOSTS"), "-P", l.variable("LAB_1_PORT"), account+"@"+l.variable("LAB_1_ADDRESS"))
	c.Stdin = strings.NewReader(batch)
	out, err := c.CombinedOutput()
	return string(out), err
}

func (l testLab) dial() error {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(l.variable("LAB_1_ADDRESS"), l.variable("LAB_1_PORT")), 2*time.Second)
	if err == nil {
		c.Close()
	}
	return err
}

func TestLab(t *testing.T) {
	for _, flags := range [][]string{nil, {"--loopback"}, {"--delay", "5", "--loss", "0.5"}} {
		t.Run(strings.Join(flags, ""), func(t *testing.T) {
			l := newTestLab(t)
			l.do(append([]string{"up", "2"}, flags...)...)
			if out, err := l.sftp("closefs", "mkdir uploads/made"); err != nil {
				t.Errorf("the account cannot write: %v: %s", err, out)
			}
			if _, err := os.Stat(filepath.Join(l.variable("LAB_1_UPLOADS"), "made")); err != nil {
				t.Error(err)
			}
			for account, batch := range map[string]string{"closefs": "mkdir outside", "root": "pwd"} {
				if out, err := l.sftp(account, batch); err == nil {
					t.Errorf("%s may do %q: %s", account, batch, out)
				}
			}
		})
	}
}

func TestLabServerAndLink(t *testing.T) {
	l := newTestLab(t)
	l.do("up", "1")
	for _, step := range []struct {
		command   string
		reachable bool
	}{{"sshd-kill", false}, {"sshd-start", true}, {"cut", false}, {"mend", true}} {
		l.do(step.command, "1")
		if err := l.dial(); (err == nil) != step.reachable {
			t.Errorf("after %s: %v, want reachable %v", step.command, err, step.reachable)
		}
	}
	l.do("sshd-kill", "1")
	l.do("rekey", "1")
	l.do("sshd-start", "1")
	if out, err := l.sftp("closefs", "pwd"); err == nil {
		t.Errorf("a changed host key was accepted: %s", out)
	}
}

// TestLabsSideBySide has several labs come up at once.
func TestLabsSideBySide(t *testing.T) {
	var labs [3]testLab
	var all sync.WaitGroup
	for i := range labs {
		labs[i] = newTestLab(t)
		all.Go(func() {
			if out, err := labs[i].command("up", "2").CombinedOutput(); err != nil {
				t.Errorf("lab up: %v: %s", err, out)
			}
		})
	}
	all.Wait()
	seen := make(map[string]bool)
	for _, l := range labs {
		if a := l.variable("LAB_1_ADDRESS"); seen[a] {
			t.Errorf("two labs have %s", a)
		} else {
			seen[a] = true
		}
		if err := l.dial(); err != nil {
			t.Error(err)
		}
	}
}

// TestLabKilledWhileComingUp has down clean up after an up that was killed.
func TestLabKilledWhileComingUp(t *testing.T) {
	l := newTestLab(t)
	up := l.command("up", "8")
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if started, _ := filepath.Glob(filepath.Join(l.dir, "[2-6]", "mntns")); len(started) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no secondary came up within a minute")
		}
	}
	up.Process.Kill()
	up.Wait()
}
