package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// labScript is scripts/lab, seen from this package's directory.
const labScript = "../../../scripts/lab"

// A lab is what scripts/lab brought up.
type lab struct {
	name       string
	identity   string // private key that every secondary accepts
	knownHosts string // the keys of all secondaries
	hosts      []secondary
}

// A secondary is one host of the lab.
type secondary struct {
	number  int    // from 1
	address string // IPv4 address
	url     string // of the account's writable directory; the account is an ordinary one
	rootURL string // the same directory, by an account that may change owners
	uploads string // that directory on this machine's disk
}

// accountID is uid and gid of the ordinary account on the secondaries.
const accountID = 7022

func labUp(name string, hosts int) (*lab, error) {
	out, err := labCommand(name, "up", strconv.Itoa(hosts)).Output()
	if err != nil {
		return nil, fmt.Errorf("lab up: %w%s", err, stderrOf(err))
	}
	env := parseEnv(out)
	l := &lab{name: name, identity: env["LAB_IDENTITY"], knownHosts: env["LAB_KNOWN_HOSTS"]}
	for n := 1; n <= hosts; n++ {
		v := func(key string) string { return env[fmt.Sprintf("LAB_%d_%s", n, key)] }
		l.hosts = append(l.hosts, secondary{n, v("ADDRESS"), v("URL"), v("ROOT_URL"), v("UPLOADS")})
	}
	return l, nil
}

func labDown(name string) error {
	if out, err := labCommand(name, "down").CombinedOutput(); err != nil {
		return fmt.Errorf("lab down: %w: %s", err, out)
	}
	return nil
}

func labCommand(name string, args ...string) *exec.Cmd {
	c := exec.Command(labScript, args...)
	c.Env = append(os.Environ(), "LAB_NAME="+name, "LAB_DIR=/var/tmp/"+name+"-lab")
	return c
}

// do runs a lab command on secondary s and ends the test if it fails.
func (l *lab) do(t *testing.T, command string, s secondary) {
	t.Helper()
	if out, err := labCommand(l.name, command, strconv.Itoa(s.number)).CombinedOutput(); err != nil {
		t.Fatalf("lab %s %d: %v: %s", command, s.number, err, out)
	}
}

// makeDir makes a directory on the secondary that the ordinary account owns,
// for the running test alone, and returns its name.
func (s secondary) makeDir(t *testing.T) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune("/ ,:*?", r) {
			return '_'
		}
		return r
	}, t.Name())
	dir := filepath.Join(s.uploads, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, accountID, accountID); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return name
}

func parseEnv(out []byte) map[string]string {
	env := make(map[string]string)
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), "="); ok {
			env[key] = value
		}
	}
	return env
}

func stderrOf(err error) string {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return "\n" + string(e.Stderr)
	}
	return ""
}
