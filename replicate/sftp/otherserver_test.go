package sftp

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"

	pkgsftp "github.com/pkg/sftp"

	"closefs/replicate"
	"closefs/replicate/sftp/wire"
	"closefs/replicate/targettest"
)

// TestConformanceOtherServer runs the suite against pkg/sftp's server, which
// differs from OpenSSH's in what matters here: it offers neither fsync nor
// lsetstat nor limits, and may set a file's times before the writes that were
// sent ahead of that.
func TestConformanceOtherServer(t *testing.T) {
	targettest.Run(t, targettest.Kind{UID: os.Geteuid(), Open: func(t *testing.T, dir string) targettest.Fixture {
		inner, err := New(Options{User: "nobody", Host: "pipes", Path: dir})
		check(t, err)
		d := &inProcessDialer{Dialer: inner}
		t.Cleanup(d.running.Wait)
		return targettest.Fixture{Dialer: d, Cut: d.cut}
	}})
}

// An inProcessDialer runs pkg/sftp's servers in goroutines.
type inProcessDialer struct {
	*Dialer
	running sync.WaitGroup

	mu     sync.Mutex
	newest []io.Closer
}

func (d *inProcessDialer) Dial(ctx context.Context) (replicate.Target, error) {
	var own []io.Closer
	hangUp := func() error { return closeAll(own) }
	t, err := d.open(ctx, func(ctx context.Context) (*wire.Client, error) { return d.session(ctx, &own) }, hangUp)
	if err != nil {
		return nil, errors.Join(err, hangUp())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.newest = own
	return t, nil
}

// session starts a server. What ends its connection is added to own.
func (d *inProcessDialer) session(ctx context.Context, own *[]io.Closer) (*wire.Client, error) {
	requests, toServer := io.Pipe()
	answers, toClient := io.Pipe()
	server, err := pkgsftp.NewServer(struct {
		io.Reader
		io.WriteCloser
	}{requests, toClient})
	if err != nil {
		return nil, err
	}
	*own = append(*own, requests, answers)
	d.running.Go(func() {
		_ = server.Serve()
		_ = errors.Join(server.Close(), requests.Close(), toClient.Close())
	})
	return wire.NewClient(ctx, answers, toServer)
}

func (d *inProcessDialer) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = closeAll(d.newest)
}

func closeAll(closers []io.Closer) error {
	var errs []error
	for _, c := range closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
