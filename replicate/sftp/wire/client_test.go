package wire

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// serve starts OpenSSH's server on pipes.
func serve(t *testing.T) *Client {
	t.Helper()
	const path = "/usr/lib/openssh/sftp-server"
	cmd := exec.Command(path)
	w, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("SKIP: no OpenSSH sftp-server: %v", err)
	}
	c, err := NewClient(t.Context(), r, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		<-c.Done()
		cmd.Wait()
	})
	return c
}

func TestBatchRunsInOrder(t *testing.T) {
	c, ctx := serve(t), t.Context()
	path := filepath.Join(t.TempDir(), "new\nline\xff")
	open := c.Batch()
	opened := open.Open(path, FlagCreate|FlagExcl|FlagWrite, Attrs{Flags: AttrPermissions, Mode: 0o600})
	open.Send()
	h, err := opened.Handle(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b := c.Batch()
	data := strings.Repeat("x", int(c.Limits().Write))
	calls := []*Call{
		b.Write(h, 0, []byte(data)),
		b.Write(h, uint64(len(data)), []byte("end")),
		b.Fsetstat(h, Attrs{Flags: AttrPermissions | AttrTimes, Mode: 0o640, Atime: 7, Mtime: 8}),
		b.Fsync(h),
	}
	fstat, closed := b.Fstat(h), b.Close(h)
	b.Send()
	for i, call := range append(calls, closed) {
		if err := call.Status(ctx); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	a, err := fstat.Attrs(ctx)
	if err != nil || a.Size != uint64(len(data)+3) || a.Mtime != 8 || a.Mode&0o7777 != 0o640 {
		t.Errorf("fstat = %+v, %v", a, err)
	}
}

func TestStatusIsACode(t *testing.T) {
	c := serve(t)
	b := c.Batch()
	call := b.Lstat(filepath.Join(t.TempDir(), "none"))
	b.Send()
	if _, err := call.Attrs(t.Context()); !errors.Is(err, NoSuchFile) {
		t.Errorf("lstat of nothing = %v", err)
	}
}

func TestSessionEndFailsCalls(t *testing.T) {
	c := serve(t)
	c.Close()
	b := c.Batch()
	call := b.Lstat("/")
	b.Send()
	if _, err := call.Attrs(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("call on a closed session = %v", err)
	}
}

func TestCancelledCallReturns(t *testing.T) {
	silent, theirs := io.Pipe()
	defer theirs.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewClient(ctx, silent, nopCloser{io.Discard}); !errors.Is(err, context.Canceled) {
		t.Errorf("greeting = %v", err)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func FuzzFields(f *testing.F) {
	f.Add([]byte{0, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		fields := Fields{rest: b}
		fields.Attrs()
		_ = fields.String()
		fields.Uint64()
		if fields.Left() > len(b) {
			t.Fatal("more left than there was")
		}
	})
}
