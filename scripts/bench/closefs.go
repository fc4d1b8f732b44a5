package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// startClosefs mounts the contender's tree and waits until it is synced.
func startClosefs(ctx context.Context, s settings, l lab, c *contender) error {
	mount := filepath.Join(s.primary, "mount")
	if err := os.Mkdir(mount, 0o755); err != nil {
		return err
	}
	ready, err := notifySocket(filepath.Join(s.primary, "notify"))
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(s.closefs, "mount", "--to", l.url+"/"+c.remote, "--state", filepath.Join(s.primary, "state"),
		"--identity", l.identity, "--known-hosts", l.knownHosts, c.real, mount)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+ready.LocalAddr().String())
	if err := startProgram(c, cmd, filepath.Join(s.primary, "closefs.log")); err != nil {
		return err
	}
	if err := awaitReady(ready); err != nil {
		return err
	}
	c.source = mount
	return awaitSynced(ctx, s.closefs, mount)
}

// startProgram starts cmd with its output in the file log, and has the
// contender's stop end it.
func startProgram(c *contender, cmd *exec.Cmd, log string) error {
	out, err := os.Create(log)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	c.onStop(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
		tooLong := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
		defer tooLong.Stop()
		_ = cmd.Wait() // how it ends on a signal is its own affair
	})
	return nil
}

func notifySocket(path string) (*net.UnixConn, error) {
	return net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
}

// awaitReady reads service notifications (sd_notify(3)) until READY=1.
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
		if strings.Contains(string(buf[:n]), "READY=1") {
			return nil
		}
	}
}

// awaitSynced asks until the target's first comparison is over.
func awaitSynced(ctx context.Context, closefs, mount string) error {
	deadline := time.Now().Add(patience)
	for {
		out, err := exec.CommandContext(ctx, closefs, "status", "--json", mount).CombinedOutput()
		if strings.Contains(strings.ReplaceAll(string(out), " ", ""), `"state":"synced"`) {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("not synced after %s: %s", patience, out), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
