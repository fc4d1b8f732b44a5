package main

import (
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// readyVariable names, in the environment of a daemon in the background, the
// descriptor on which it tells that the mount answers.
const readyVariable = "CLOSEFS_READY_FD"

// startBackground runs this program with args in a session of its own and
// returns when its mount answers. Should it end before, its error is what it
// wrote to standard error, and its exit code is kept.
func startBackground(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	defer readyR.Close()
	cmd := exec.Command(self, args...)
	cmd.Args[0] = "closefs" // not mount.closefs, by whatever name this file is run
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), readyVariable+"=3") // the first of ExtraFiles
	cmd.ExtraFiles = []*os.File{readyW}
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	// The caller's standard error itself, not a pipe: it has to outlive us.
	cmd.Stderr = os.Stderr
	err = cmd.Start()
	readyW.Close()
	if err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	if n, _ := readyR.Read(make([]byte, 1)); n == 1 {
		return cmd.Process.Release()
	}
	if err := cmd.Wait(); err != nil {
		return &saidError{err}
	}
	return nil // unmounted before we looked
}

// saidError is the end of a process that has told the reason itself.
type saidError struct{ err error }

func (e *saidError) Error() string { return e.err.Error() }
func (e *saidError) Unwrap() error { return e.err }

// code is the exit code of the process.
func (e *saidError) code() int {
	var exit *exec.ExitError
	if errors.As(e.err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	return exitFailed
}

// output is where the daemon's log goes: standard error, and for a daemon in the
// background, once the mount answers, the system's log.
type output struct {
	state string
	mu    sync.Mutex
	w     io.Writer
}

func newOutput(state string) *output { return &output{state: state, w: os.Stderr} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}

// ready is called when the mount answers. In the background the log moves, the
// caller's descriptors are let go of, lest it wait for them, and it is told.
func (o *output) ready(string) {
	fd, err := strconv.Atoi(os.Getenv(readyVariable))
	if err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.detach(); err != nil {
		fmt.Fprintln(os.Stderr, "closefs: log in the background:", err)
	}
	told := os.NewFile(uintptr(fd), "ready")
	_, _ = told.Write([]byte{1}) // a parent that is gone needs no word
	told.Close()
	os.Unsetenv(readyVariable)
}

// detach puts STATE/stderr.log (emptied at each start) in place of the
// descriptors 0, 1 and 2. It gets a crash's stack, and the log where there is no syslog.
func (o *output) detach() error {
	f, err := os.OpenFile(filepath.Join(o.state, "stderr.log"), os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for fd := range 3 {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return err
		}
	}
	if s, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "closefs"); err == nil {
		o.w = s
	}
	return nil
}
