package sftp

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"closefs/replicate"
	"closefs/replicate/sftp/wire"
	"closefs/replicate/targettest"
)

const (
	sftpServer = "/usr/lib/openssh/sftp-server"
	nobody     = 65534
)

// TestConformancePipes runs OpenSSH's sftp-server without SSH, as root and as
// a user who is not.
func TestConformancePipes(t *testing.T) {
	if _, err := os.Stat(sftpServer); err != nil {
		t.Skipf("SKIP: %v", err)
	}
	accounts := map[string]int{"self": os.Geteuid()}
	if os.Geteuid() == 0 {
		accounts["unprivileged"] = nobody
	}
	for name, uid := range accounts {
		t.Run(name, func(t *testing.T) {
			targettest.Run(t, targettest.Kind{UID: uid, Open: func(t *testing.T, dir string) targettest.Fixture {
				d := newPipeDialer(t, uid, dir)
				return targettest.Fixture{Dialer: d, Cut: d.cut}
			}})
		})
	}
}

// A pipeDialer starts sftp-server processes and speaks with them over pipes.
type pipeDialer struct {
	*Dialer
	uid int
	// wrap, if set, is put around what requests are written to.
	wrap func(io.WriteCloser) io.WriteCloser

	mu      sync.Mutex
	newest  []*exec.Cmd // of the newest connection
	running sync.WaitGroup
}

func newPipeDialer(t *testing.T, uid int, dir string) *pipeDialer {
	t.Helper()
	inner, err := New(Options{User: "nobody", Host: "pipes", Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	d := &pipeDialer{Dialer: inner, uid: uid}
	t.Cleanup(d.running.Wait)
	return d
}

func (d *pipeDialer) Dial(ctx context.Context) (replicate.Target, error) {
	d.mu.Lock()
	d.newest = nil
	d.mu.Unlock()
	var own []*exec.Cmd
	hangUp := func() error { return kill(own) }
	t, err := d.open(ctx, func(ctx context.Context) (*wire.Client, error) {
		cmd, client, err := d.session(ctx)
		own = append(own, cmd)
		return client, err
	}, hangUp)
	if err != nil {
		hangUp()
		return nil, err
	}
	d.mu.Lock()
	d.newest = own
	d.mu.Unlock()
	return t, nil
}

func (d *pipeDialer) session(ctx context.Context) (*exec.Cmd, *wire.Client, error) {
	cmd := exec.Command(sftpServer, "-u", "0027")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if d.uid != os.Geteuid() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(d.uid), Gid: uint32(d.uid)}
	}
	w, werr := cmd.StdinPipe()
	r, rerr := cmd.StdoutPipe()
	if err := errors.Join(werr, rerr, cmd.Start()); err != nil {
		return cmd, nil, err
	}
	if d.wrap != nil {
		w = d.wrap(w)
	}
	client, err := wire.NewClient(ctx, r, w)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return cmd, nil, err
	}
	d.running.Go(func() {
		<-client.Done()
		cmd.Wait()
	})
	return cmd, client, nil
}

func (d *pipeDialer) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	kill(d.newest)
}

func kill(cmds []*exec.Cmd) error {
	var errs []error
	for _, cmd := range cmds {
		if cmd != nil && cmd.Process != nil {
			if err := cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// TestOneSessionOnly has a server that allows one session for each connection
// (MaxSessions 1).
func TestOneSessionOnly(t *testing.T) {
	d := newPipeDialer(t, os.Geteuid(), t.TempDir())
	var own []*exec.Cmd
	target, err := d.open(t.Context(), func(ctx context.Context) (*wire.Client, error) {
		if len(own) > 0 {
			return nil, errors.New("no more sessions")
		}
		cmd, client, err := d.session(ctx)
		own = append(own, cmd)
		return client, err
	}, func() error { return kill(own) })
	check(t, err)
	defer target.Close()
	content := strings.Repeat("large", 1<<20)
	check(t, target.Put(t.Context(), "f", strings.NewReader(content), int64(len(content)), replicate.Attr{Mode: 0o600}, nil))
	if e, err := target.Lstat(t.Context(), "f"); err != nil || e.Size != int64(len(content)) {
		t.Errorf("lstat = %+v, %v", e, err)
	}
}
