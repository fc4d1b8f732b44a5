package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"closefs/cmd/closefs/config"
	"closefs/cmd/closefs/control"
	"closefs/cmd/closefs/daemon"
	"closefs/cmd/closefs/preflight"
	"closefs/replicate"
	"closefs/replicate/sftp"
	"closefs/replicate/sftp/sftpserver"
)

func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Try closefs: a mount and a secondary in a temporary directory",
		Long: `Mount a folder in a temporary directory and ship its changes over SSH to a
secondary that runs inside this process, on the loopback interface, with keys
made for the purpose. Stays until Ctrl-C and leaves nothing behind.`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo(cmd.Context(), cmd.OutOrStdout())
		},
	}
}

// demonstration is what `closefs demo` has set up.
type demonstration struct {
	dir, backing, mountpoint, secondary, state string
	identity, knownHosts                       string
	socket                                     string
	server                                     *sftpserver.Server
	listener                                   net.Listener
}

func demo(ctx context.Context, out io.Writer) (err error) {
	stop := stopSignals()
	defer signal.Stop(stop)
	d := &demonstration{}
	defer func() { err = errors.Join(err, d.remove()) }()
	if err := d.setUp(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer d.server.Close()
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(d.listener) }()
	ctx, cancel := context.WithCancel(ctx)
	shown := make(chan struct{})
	defer func() { cancel(); <-shown }()
	ready := make(chan string, 1)
	go func() {
		defer close(shown)
		d.show(ctx, out, ready)
	}()
	return daemon.Run(ctx, d.options(stop, func(web string) { ready <- web }))
}

// setUp makes directories, keys and the secondary.
func (d *demonstration) setUp() error {
	dir, err := os.MkdirTemp("", "closefs-demo-")
	if err != nil {
		return err
	}
	if d.dir, err = preflight.Resolve(dir); err != nil {
		return err
	}
	for _, p := range []struct {
		path *string
		name string
	}{{&d.backing, "real-files"}, {&d.mountpoint, "uploads"}, {&d.secondary, "secondary"}, {&d.state, "state"}} {
		*p.path = filepath.Join(d.dir, p.name)
		if err := os.Mkdir(*p.path, 0o755); err != nil {
			return err
		}
	}
	d.socket = config.DefaultPlaces().Socket(config.Name(d.mountpoint))
	if d.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	return d.startSecondary()
}

// startSecondary makes the keys of both sides and the server.
func (d *demonstration) startSecondary() error {
	host, _, err := newKey()
	if err != nil {
		return err
	}
	user, private, err := newKey()
	if err != nil {
		return err
	}
	d.identity, d.knownHosts = filepath.Join(d.dir, "id_ed25519"), filepath.Join(d.dir, "known_hosts")
	if err := os.WriteFile(d.identity, private, 0o600); err != nil {
		return err
	}
	if err := sftp.AppendKnownHost(d.knownHosts, d.listener.Addr().String(), host.PublicKey()); err != nil {
		return err
	}
	d.server, err = sftpserver.New(sftpserver.Options{Root: d.secondary, HostKeys: []ssh.Signer{host},
		AuthorizedKeys: []ssh.PublicKey{user.PublicKey()}})
	return err
}

func newKey() (ssh.Signer, []byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "closefs demo")
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	return signer, pem.EncodeToMemory(block), err
}

func (d *demonstration) options(stop <-chan os.Signal, ready func(string)) daemon.Options {
	c := config.Default()
	c.Backing, c.Mountpoint, c.State, c.Listen = d.backing, d.mountpoint, d.state, "127.0.0.1:0"
	c.SSH = config.SSH{Identity: config.Strings{d.identity}, KnownHosts: config.Strings{d.knownHosts}}
	c.Targets = []config.Target{{Name: "secondary", URL: "sftp://demo@" + d.listener.Addr().String() + "/"}}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	return daemon.Options{Config: c, Socket: d.socket, Version: versionText(), Log: log, Stop: stop, Ready: ready}
}

// show writes a file, says how long it took, and what to do next.
func (d *demonstration) show(ctx context.Context, out io.Writer, ready <-chan string) {
	var web string
	select {
	case web = <-ready:
	case <-ctx.Done():
		return
	}
	fmt.Fprintf(out, "\nMounted:    %s\nReal files: %s\nSecondary:  %s (over SSH, inside this process)\n\n", d.mountpoint, d.backing, d.secondary)
	took, err := d.shipOne(ctx)
	if err != nil {
		fmt.Fprintln(out, "The first file did not arrive:", err)
	} else {
		fmt.Fprintf(out, "hello.txt was at the secondary %.1f ms after it was closed.\n\n", float64(took.Microseconds())/1000)
	}
	fmt.Fprintf(out, `Now you:
    cp /etc/services %[1]s/
    ls -l %[2]s/
    closefs status %[1]s
    curl -s http://%[3]s/metrics | grep ^closefs_

Ctrl-C stops and removes everything.
`, d.mountpoint, d.secondary, web)
}

// shipOne writes a file once the secondary is connected and measures from its
// close to its being visible there.
func (d *demonstration) shipOne(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c := control.NewClient(d.socket)
	defer c.Close()
	err := poll(ctx, 20*time.Millisecond, func() (bool, error) {
		s, err := c.Status(ctx)
		return err == nil && s.Targets[0].State == string(replicate.Synced), err
	})
	if err != nil {
		return 0, err
	}
	if err := writeUnpolled(filepath.Join(d.mountpoint, "hello.txt"), "Hello, secondary.\n"); err != nil {
		return 0, err
	}
	closed := time.Now()
	err = poll(ctx, 100*time.Microsecond, func() (bool, error) {
		_, err := os.Lstat(filepath.Join(d.secondary, "hello.txt"))
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	})
	return time.Since(closed), err
}

// poll asks again and again until the answer is yes, an error, or ctx ends.
func poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// remove takes the directory away, unless something is still mounted below.
func (d *demonstration) remove() error {
	if d.listener != nil {
		d.listener.Close()
	}
	if d.dir == "" {
		return nil
	}
	if mounted, err := preflight.Mounted(d.mountpoint); err != nil || mounted {
		return fmt.Errorf("demo: %s is still mounted: %s stays", d.mountpoint, d.dir)
	}
	return os.RemoveAll(d.dir)
}

// writeUnpolled writes a file on a mount of this process. The os package would
// have the kernel poll it, and wait for an answer with a processor held that this
// process may need to give it.
func writeUnpolled(path, content string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	_, err = unix.Write(fd, []byte(content))
	return errors.Join(err, unix.Close(fd))
}
