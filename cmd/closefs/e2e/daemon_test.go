package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of these tests: long enough for a loaded machine,
// short enough to end before the test binary's own limit.
const patience = 2 * time.Minute

// A process is a running program, named so that it is never taken for another
// one that got its pid later.
type process struct {
	pid     int
	started string // field 22 of proc_pid_stat(5)
}

func identify(pid int) process { return process{pid, startTime(pid)} }

func startTime(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return fields[19]
}

func (p process) kill() {
	if p.started != "" && startTime(p.pid) == p.started {
		syscall.Kill(p.pid, syscall.SIGKILL)
	}
}

func record(base string, p process) error {
	f, err := os.OpenFile(filepath.Join(base, "daemons"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintln(f, p.pid, p.started)
	return err
}

func recordedDaemons(base string) []process {
	text, err := os.ReadFile(filepath.Join(base, "daemons"))
	if err != nil {
		return nil
	}
	var all []process
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 {
			pid, _ := strconv.Atoi(f[0])
			all = append(all, process{pid, f[1]})
		}
	}
	return all
}

// A daemon is one life of `closefs mount`.
type daemon struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closed once the process was waited for
	result error         // of Wait; valid after ended
}

// launch starts `closefs mount args` with its output appended to the file at
// log, without waiting for the mount. notify, if not empty, is the datagram
// socket that gets READY=1.
func launch(t *testing.T, log, notify string, args ...string) *daemon {
	t.Helper()
	out, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	d := &daemon{cmd: exec.Command(world.binary, append([]string{"mount"}, args...)...), ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = out, out
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := record(world.base, identify(d.cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.result = d.cmd.Wait()
		close(d.ended)
	}()
	return d
}

// start launches the daemon and returns when it says that its mount is ready.
func start(t *testing.T, log string, args ...string) *daemon {
	t.Helper()
	addr := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	sock, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	d := launch(t, log, addr.Name, args...)
	ready := make(chan error, 1)
	go func() { ready <- awaitReady(sock) }()
	select {
	case err = <-ready:
	case <-d.ended:
		err = fmt.Errorf("ended before it was ready: %w", d.result)
	}
	if err != nil {
		t.Fatalf("closefs mount %q: %v", args, err)
	}
	return d
}

// awaitReady reads service notifications (sd_notify(3)) until one says READY=1.
func awaitReady(sock *net.UnixConn) error {
	if err := sock.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, err := sock.Read(buf)
		if err != nil {
			return fmt.Errorf("wait for READY=1: %w", err)
		}
		for line := range strings.Lines(string(buf[:n])) {
			if strings.TrimSpace(line) == "READY=1" {
				return nil
			}
		}
	}
}

// kill is kill -9, and returns when the process is gone. A process that waits
// for an answer that it owes itself never goes (a request of its own on its own
// mount, read and not answered): the test fails then.
func (d *daemon) kill(t *testing.T) {
	t.Helper()
	d.cmd.Process.Kill()
	select {
	case <-d.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("killed and not gone; its threads wait in\n%s", kernelStacks(d.cmd.Process.Pid))
	}
}

// kernelStacks tells where in the kernel the threads of a process are.
func kernelStacks(pid int) string {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stack", pid))
	var all strings.Builder
	for _, f := range files {
		text, _ := os.ReadFile(f)
		fmt.Fprintf(&all, "%s\n%s", f, text)
	}
	return all.String()
}

// stop asks the daemon to end and returns how it did.
func (d *daemon) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.ended:
		return d.result
	case <-time.After(patience):
		d.cmd.Process.Kill()
		return fmt.Errorf("still running %s after SIGTERM", patience)
	}
}
