// Package daemon is the process behind a mount: it puts together the backing
// directory, the journal, the filesystem and one worker per target, keeps them
// running, and takes them down in reverse order.
//
// Start: limits → directories checked → backing directory and state directory
// locked → listeners → journal → targets → mount. The mount answers before any
// backlog is worked off, and whether or not a target does. Where a killed closefs
// left a dead mount, what it covers is looked at after the journal was opened, and
// the new mount takes its place (takeover.go).
//
// Stop: unmount, so that nothing new comes in → what is pending is shipped to
// the targets that are connected, for as long as drainTime → workers → journal.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"closefs/cmd/closefs/config"
	"closefs/cmd/closefs/control"
	"closefs/cmd/closefs/preflight"
	closefs "closefs/fs"
	"closefs/fs/backing"
	"closefs/fs/journal"
	"closefs/metrics"
)

// Options say what to mount.
type Options struct {
	// Config is complete: Backing, Mountpoint and State are absolute paths and
	// its values have passed Check.
	Config        config.Config
	Socket        string // control socket
	ReadOnly      bool
	MountOptions  []string // as for mount(8) -o
	RepairJournal bool     // move a damaged journal aside and go on
	Version       string
	Log           *slog.Logger

	// Stop receives the wish to stop. A second one does not wait any longer.
	Stop <-chan os.Signal
	// Ready, if set, is called once, when the mount answers, with the address
	// that metrics are served at ("" for none).
	Ready func(web string)
}

// ErrCannotMount is wrapped by the errors for which nothing was mounted.
var ErrCannotMount = errors.New("cannot mount")

// daemon is a mount while it lives.
type daemon struct {
	o       Options
	c       config.Config
	log     *slog.Logger
	since   time.Time
	latency *metrics.Latencies

	root     *backing.Root
	stateDir *os.File // holds the lock
	journal  *journal.Journal
	fs       *closefs.FS
	targets  []*target
	control  *control.Server
	web      net.Listener // nil: none
	dead     bool         // a dead mount hides the mountpoint until ours takes its place

	state    atomic.Value // control.Starting…
	probing  sync.Mutex   // held while /healthz asks the mount
	unmounts chan unmountRequest
	gone     chan struct{} // closed when nothing is mounted any more

	workers     sync.WaitGroup
	stopWorkers context.CancelFunc
}

// Run mounts and serves until the mount is gone: unmounted by a signal, by
// `closefs unmount` or by anybody else. Errors wrap ErrCannotMount if nothing
// was mounted, and config.ErrInvalid besides if what was asked for is at fault.
func Run(ctx context.Context, o Options) error {
	d := &daemon{o: o, c: o.Config, log: o.Log, since: time.Now(), latency: metrics.NewLatencies(),
		unmounts: make(chan unmountRequest), gone: make(chan struct{})}
	d.state.Store(control.Starting)
	var undo closers
	if err := d.start(ctx, &undo); err != nil {
		if cerr := undo.close(); cerr != nil {
			d.log.Warn("take down what was started", "err", cerr)
		}
		return fmt.Errorf("%w %s: %w", ErrCannotMount, o.Config.Mountpoint, err)
	}
	return errors.Join(d.serve(ctx), undo.close())
}

// closers is what has been started, closed in reverse order.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() error {
	var all error
	for i := len(*c) - 1; i >= 0; i-- {
		all = errors.Join(all, (*c)[i]())
	}
	*c = nil
	return all
}

// start brings everything up to an answering mount.
func (d *daemon) start(ctx context.Context, undo *closers) error {
	if err := raiseLimits(); err != nil {
		d.log.Warn("limit of open files stays as it is", "err", err)
	}
	addrs, err := addresses(d.c.Targets)
	if err != nil {
		return err
	}
	keys, err := identities(d.c.SSH.Identity, addrs)
	if err != nil {
		return err
	}
	if err := preflight.FUSE(); err != nil {
		return err
	}
	dead, err := preflight.Dead(ctx, d.c.Mountpoint)
	if err != nil {
		return err
	}
	for _, step := range d.steps(ctx, addrs, dead) {
		if err := step(undo); err != nil {
			return err
		}
	}
	if err := d.makeTargets(addrs, keys); err != nil {
		return err
	}
	return d.mount(undo)
}

// steps is what comes before the targets, in order.
func (d *daemon) steps(ctx context.Context, addrs []config.Address, dead bool) []func(*closers) error {
	places := preflight.Places{Backing: d.c.Backing, Mountpoint: d.c.Mountpoint, State: d.c.State, Targets: addrs}
	if !dead {
		check := func(*closers) error { return places.Check() }
		return []func(*closers) error{check, d.openBacking, d.openState, d.listen, d.openJournal}
	}
	takeOver := func(undo *closers) error { return d.takeOver(ctx, places, undo) }
	return []func(*closers) error{d.openState, d.listen, d.openJournal, takeOver}
}

// openBacking opens and locks the backing directory itself: another instance
// may come with another mountpoint and another state directory.
func (d *daemon) openBacking(undo *closers) (err error) {
	if d.root, err = backing.Open(d.c.Backing); err != nil {
		return err
	}
	return d.lockBacking(undo)
}

func (d *daemon) lockBacking(undo *closers) error {
	undo.add(d.root.Close)
	return preflight.LockDir("backing directory", d.c.Backing, d.root.FD())
}

func (d *daemon) openState(undo *closers) (err error) {
	if d.stateDir, err = preflight.StateDir(d.c.State); err != nil {
		return err
	}
	undo.add(d.stateDir.Close)
	return nil
}

// listen opens what others ask us by, so that an address in use is known before the mount.
func (d *daemon) listen(undo *closers) (err error) {
	if d.control, err = control.Listen(d.o.Socket, d.log); err != nil {
		return err
	}
	undo.add(d.control.Close)
	if d.c.Listen == "" {
		return nil
	}
	if d.web, err = net.Listen("tcp", d.c.Listen); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	undo.add(func() error { d.web.Close(); return nil })
	return nil
}

func (d *daemon) mount(undo *closers) (err error) {
	d.fs, err = closefs.Mount(closefs.Options{
		Backing: d.root, Mountpoint: d.c.Mountpoint, Journal: d.journal, TakeOver: d.dead,
		ReadOnly: d.o.ReadOnly, MountOptions: d.o.MountOptions,
		ShipOpenAfter: time.Duration(d.c.ShipOpenAfter),
		Intents:       filepath.Join(d.c.State, "intents"),
		Log:           d.log, OnRequest: d.latency.Request,
	})
	if err != nil {
		return err
	}
	go func() {
		d.fs.Wait()
		close(d.gone)
	}()
	return nil
}

// serve runs everything until the mount is gone and what is pending is shipped.
func (d *daemon) serve(ctx context.Context) error {
	d.startWorkers()
	background, cancel := context.WithCancel(context.Background())
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { d.keepUp(background) })
	running.Go(func() { d.answer() })
	if d.web != nil {
		running.Go(func() { d.serveWeb(background) })
	}
	d.state.Store(control.Serving)
	d.log.Info("ready", "mountpoint", d.c.Mountpoint, "backing", d.c.Backing, "targets", len(d.targets),
		"passthrough", d.fs.Stats().Passthrough, "listen", d.webAddr(), "pid", os.Getpid(), "version", d.o.Version)
	notify(d.log, "READY=1\nSTATUS=serving "+d.c.Mountpoint)
	if d.o.Ready != nil {
		d.o.Ready(d.webAddr())
	}
	err := d.untilGone(ctx)
	d.drain()
	cancel()
	if cerr := d.control.Close(); cerr != nil {
		d.log.Debug("close control socket", "err", cerr)
	}
	running.Wait()
	d.log.Info("stopped", "mountpoint", d.c.Mountpoint)
	return err
}

func (d *daemon) webAddr() string {
	if d.web == nil {
		return ""
	}
	return d.web.Addr().String()
}

func (d *daemon) answer() {
	if err := d.control.Serve(d); err != nil {
		d.log.Error("control socket", "err", err)
	}
}

func (d *daemon) setState(s string) {
	d.state.Store(s)
	if s == control.Stopping {
		notify(d.log, "STOPPING=1")
	}
}
