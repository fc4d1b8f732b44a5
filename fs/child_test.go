package fs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// A child is this test binary as another process. What touches a mapping of the
// mount has to be one: a page fault in the process that serves it blocks the
// garbage collector, which the answer may be waiting for.
type child struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

const childEnv = "CLOSEFS_TEST_CHILD"

func startChild(t testing.TB, what string, args ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command("/proc/self/exe", args...)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+what)
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	check(t, err)
	out, err := c.cmd.StdoutPipe()
	check(t, err)
	c.in, c.out = in, bufio.NewScanner(out)
	check(t, c.cmd.Start())
	return c
}

// wait returns when the child says what.
func (c *child) wait(what string) {
	c.t.Helper()
	if !c.out.Scan() || c.out.Text() != what {
		c.t.Fatalf("child said %q, want %q", c.out.Text(), what)
	}
}

func (c *child) goOn() { fmt.Fprintln(c.in) }

func (c *child) end() {
	c.t.Helper()
	c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("child: %v", err)
	}
}

// runChild is main of a child.
func runChild(what string, args []string) int {
	steps := bufio.NewScanner(os.Stdin)
	say := func(s string) { fmt.Println(s) }
	next := func() { steps.Scan() }
	var err error
	switch what {
	case "store":
		err = childStore(args[0], say, next)
	case "serve":
		err = childServe(args, say, next)
	case "hold":
		err = childHold(args[0], say, next)
	default:
		err = fmt.Errorf("unknown child %q", what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 1
	}
	return 0
}

// childStore stores into a mapping before and after the file is closed.
func childStore(path string, say func(string), next func()) error {
	fd, err := unix.Open(path, unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	mem, err := unix.Mmap(fd, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	mem[0] = 'b'
	if err := unix.Close(fd); err != nil {
		return err
	}
	say("closed")
	next()
	mem[4096] = 'c'
	if err := unix.Munmap(mem); err != nil {
		return err
	}
	say("unmapped")
	next()
	return nil
}

// childHold keeps a file open.
func childHold(path string, say func(string), next func()) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	say("open")
	next()
	return f.Close()
}

// childServe mounts args[0] on args[1] with the state directory args[2], until
// it is told to go on, or killed.
func childServe(args []string, say func(string), next func()) error {
	unix.Umask(0)
	root, err := backing.Open(args[0])
	if err != nil {
		return err
	}
	j, err := journal.OpenDir(args[2], journal.Options{})
	if err != nil {
		return err
	}
	f, err := Mount(Options{
		Backing: root, Mountpoint: args[1], Journal: j,
		Intents: args[2] + "/intents", NoPassthrough: args[3] == "cached",
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	say("mounted")
	next()
	if err := f.Unmount(context.Background()); err != nil {
		return err
	}
	return j.Close()
}
