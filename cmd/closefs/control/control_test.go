package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// daemon is a Service with answers given by the test.
type daemon struct {
	status  Status
	wait    func(context.Context, WaitRequest) (WaitResult, error)
	unmount error
}

func (d *daemon) Status() Status                { return d.status }
func (d *daemon) Version() Version              { return Version{Version: "1", Go: "go"} }
func (d *daemon) Unmount(context.Context) error { return d.unmount }
func (d *daemon) Wait(ctx context.Context, r WaitRequest) (WaitResult, error) {
	return d.wait(ctx, r)
}

func serve(t *testing.T, socket string, d *daemon) *Client {
	t.Helper()
	s, err := Listen(socket, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(d) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", socket, err)
		}
	})
	c := NewClient(socket)
	t.Cleanup(c.Close)
	return c
}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	now := time.Now().Round(0)
	d := &daemon{status: Status{Mountpoint: "/m", PID: 7, Targets: []Target{{Name: "a", LagSeconds: 0.25, LastAckedAt: &now}}}}
	c := serve(t, filepath.Join(dir, "m.sock"), d)
	got, err := c.Status(t.Context())
	if err != nil || got.Mountpoint != "/m" || got.PID != 7 || !got.Targets[0].LastAckedAt.Equal(now) {
		t.Errorf("got %+v, %v", got, err)
	}
	if v, err := c.Version(t.Context()); err != nil || v.Version != "1" {
		t.Errorf("got %+v, %v", v, err)
	}
	d.unmount = errors.New("held by vim (pid 3)")
	if err := c.Unmount(t.Context()); err == nil || err.Error() != "held by vim (pid 3)" {
		t.Errorf("got %v", err)
	}
}

func TestWaitCarriesAnyBytes(t *testing.T) {
	odd := "a\n\xff\xfe b"
	d := &daemon{wait: func(_ context.Context, r WaitRequest) (WaitResult, error) {
		if r.Copies != 2 || r.Timeout != time.Second || string(r.Paths[0]) != odd {
			return WaitResult{}, errors.New("mangled")
		}
		return WaitResult{Position: 9, Lagging: []Lagging{{Name: "a", Reason: "slow"}}}, nil
	}}
	c := serve(t, filepath.Join(t.TempDir(), "s", "m.sock"), d)
	res, err := c.Wait(t.Context(), WaitRequest{Timeout: time.Second, Copies: 2, Paths: [][]byte{[]byte(odd)}})
	if err != nil || res.Done || res.Position != 9 || res.Lagging[0].Reason != "slow" {
		t.Errorf("got %+v, %v", res, err)
	}
}

func TestWaitEndsWithTheClient(t *testing.T) {
	ended := make(chan struct{})
	began := make(chan struct{})
	d := &daemon{wait: func(ctx context.Context, _ WaitRequest) (WaitResult, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return WaitResult{}, ctx.Err()
	}}
	c := serve(t, filepath.Join(t.TempDir(), "s", "m.sock"), d)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if _, err := c.Wait(ctx, WaitRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-ended
}

func TestSocketIsPrivate(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s", "m.sock")
	serve(t, socket, &daemon{})
	fi, err := os.Stat(socket)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

func TestListenSparesTheLiving(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s", "m.sock")
	serve(t, socket, &daemon{})
	if _, err := Listen(socket, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
}

func TestListenReplacesTheDead(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "m.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := os.Chmod(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	serve(t, socket, &daemon{})
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file.sock")
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file in the way: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "x" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(filepath.Join(open, "m.sock"), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "writable for no one else") {
		t.Errorf("a directory open to all: %v", err)
	}
}

func TestFindOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "r[u]n*")
	if _, err := FindOnly(t.Context(), dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("none: got %v", err)
	}
	serve(t, filepath.Join(dir, "a.sock"), &daemon{status: Status{Mountpoint: "/a"}})
	if err := os.WriteFile(filepath.Join(dir, "dead.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := FindOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := c.Status(t.Context()); err != nil || st.Mountpoint != "/a" {
		t.Errorf("one: got %+v, %v", st, err)
	}
	c.Close()
	serve(t, filepath.Join(dir, "b.sock"), &daemon{status: Status{Mountpoint: "/b"}})
	_, err = FindOnly(t.Context(), dir)
	var several *SeveralError
	if !errors.As(err, &several) || !strings.Contains(err.Error(), "/a, /b") {
		t.Errorf("two: got %v", err)
	}
}

func TestNotRunning(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "none.sock"))
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}
