package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"closefs/cmd/closefs/config"
	"closefs/cmd/closefs/control"
	"closefs/cmd/closefs/preflight"
)

var update = flag.Bool("update", false, "rewrite the golden parts of testdata")

// isolated says, in the environment, that this process has /run to itself.
const isolated = "CLOSEFS_TEST_ISOLATED"

// TestMain gives the tests a mount namespace of their own with an empty /run, so
// that they neither see nor leave control sockets and mounts of this machine.
func TestMain(m *testing.M) {
	if strings.HasSuffix(os.Args[0], ".test") && os.Geteuid() == 0 && os.Getenv(isolated) == "" {
		err := isolate()
		fmt.Fprintln(os.Stderr, "run in a mount namespace:", err)
		os.Exit(1)
	}
	testscript.Main(m, map[string]func(){"closefs": main, "mount.closefs": main})
}

// namespace prepares the namespace. Outside a distribution's udev rules /dev/fuse
// may be root's alone; there it is one that everybody may open, as udev has it.
const namespace = `mount -t tmpfs tmpfs /run &&
mknod -m 666 /run/fuse c 10 229 && mount --bind /run/fuse /dev/fuse
exec "$0" "$@"`

// isolate starts this program again in the namespace; it returns only errors.
func isolate() error {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c",
		namespace, self}, os.Args[1:]...)
	return syscall.Exec(unshare, args, append(os.Environ(), isolated+"=1"))
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.Getenv("WORK"))
			e.Setenv("XDG_RUNTIME_DIR", e.Getenv("WORK")+"/run")
			e.Setenv("XDG_STATE_HOME", e.Getenv("WORK")+"/xdgstate")
			e.Defer(func() { sweep(t, e.Getenv("WORK")) })
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "fuse":
				_, err := os.Stat("/dev/fuse")
				return err == nil, nil
			case "root":
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails": fails, "until": until, "oneline": oneLine, "unmounted": unmounted, "signal": sendSignal, "get": get,
		},
		RequireExplicitExec: true,
		UpdateScripts:       *update,
	})
}

// patience bounds the waits for a condition.
const patience = time.Minute

// fails CODE COMMAND ARG… runs a command that has to exit with the code.
func fails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE COMMAND ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != want {
		ts.Fatalf("got %v, want exit code %d", err, want)
	}
}

// oneLine says that standard error has one line, which begins with "closefs: ".
func oneLine(ts *testscript.TestScript, neg bool, _ []string) {
	s := ts.ReadFile("stderr")
	if neg || strings.Count(s, "\n") != 1 || !strings.HasPrefix(s, "closefs: ") {
		ts.Fatalf("not one line of closefs: %q", s)
	}
}

// until COMMAND ARG… runs a command again and again until it succeeds.
func until(ts *testscript.TestScript, neg bool, args []string) {
	deadline := time.Now().Add(patience)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if (err == nil) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not within %s: %v: %v", patience, args, err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks at the condition
	}
}

// unmounted DIR waits until nothing is mounted at DIR.
func unmounted(ts *testscript.TestScript, neg bool, args []string) {
	path := filepath.Clean(ts.MkAbs(args[0]))
	deadline := time.Now().Add(patience)
	for {
		b, err := os.ReadFile("/proc/self/mountinfo")
		ts.Check(err)
		if strings.Contains(string(b), " "+path+" ") == neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s: mounted is still %v", path, !neg)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// signal NAME DIR sends TERM or KILL to the daemon that serves DIR.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal TERM|KILL DIR")
	}
	ts.Check(ts.Exec("closefs", "status", "--json", args[1]))
	var st control.Status
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &st))
	ts.Check(syscall.Kill(st.PID, signals[args[0]]))
}

// get LOG PATH FILE fetches a path from the address that the daemon has logged
// and puts status and body into a file.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: get LOG PATH FILE")
	}
	addr := regexp.MustCompile(`listen=(\S+)`).FindStringSubmatch(ts.ReadFile(args[0]))
	if addr == nil {
		ts.Fatalf("no address in %s", args[0])
	}
	res, err := http.Get("http://" + addr[1] + args[1])
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), append([]byte(res.Status+"\n"), body...), 0o644))
}

// servedBy is the process that serves a mount.
func servedBy(mountpoint string) (int, error) {
	c := control.NewClient(config.DefaultPlaces().Socket(config.Name(mountpoint)))
	defer c.Close()
	s, err := c.Status(context.Background())
	return s.PID, err
}

// sweep takes down what a failed script left mounted below dir.
func sweep(t *testing.T, dir string) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if !strings.HasPrefix(f[4], dir+"/") {
			continue
		}
		t.Logf("left mounted: %s", line)
		if pid, err := servedBy(f[4]); err == nil {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if err := preflight.Detach(f[4]); err != nil {
			t.Error(err)
		}
	}
}
