package sftp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"closefs/replicate"
	"closefs/replicate/sftp/wire"
)

// Options configure a Dialer. User, Host and Path are required.
type Options struct {
	User string
	Host string
	Port int    // 0: 22
	Path string // the target directory, absolute as the account sees it: inside a chroot perhaps /uploads

	IdentityFiles []string // private keys; read at every Dial
	AgentSocket   string   // socket of an ssh-agent, usually $SSH_AUTH_SOCK; "": none is asked
	KnownHosts    []string // known_hosts files; those that do not exist are passed over
	Ciphers       []string // in order of preference; none: AES-GCM first where the CPU has AES

	// Met says that this target has been shipped to before, by an earlier process
	// too: an empty directory there is then an unmounted mountpoint, and refused.
	Met bool

	Instance       string        // who ships, for the names of staged files; "": the host name
	Timeout        time.Duration // of connecting and authenticating; 0: 10s
	KeepAlive      time.Duration // after so long without a sign of life one is asked for; 0: 5s
	KeepAliveCount int           // after so many times KeepAlive the connection counts as lost; 0: 3
	Log            *slog.Logger

	// DialContext makes the TCP connection; nil: net.Dialer's.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// A Dialer connects to one target directory of one account.
type Dialer struct {
	o Options

	mu  sync.Mutex
	met bool // .closefs has been seen in the target directory, or is known to have been
}

var _ replicate.Dialer = (*Dialer)(nil)

// New checks the options; nothing is read or connected yet.
func New(o Options) (*Dialer, error) {
	switch {
	case o.User == "":
		return nil, fmt.Errorf("sftp target %s: no user", o.Host)
	case o.Host == "":
		return nil, errors.New("sftp target: no host")
	case o.Port < 0 || o.Port > 65535:
		return nil, fmt.Errorf("sftp target %s: port %d is not between 1 and 65535", o.Host, o.Port)
	case !path.IsAbs(o.Path):
		return nil, fmt.Errorf("sftp target %s: path %q is not absolute", o.Host, o.Path)
	}
	o.Path = path.Clean(o.Path)
	if err := checkCiphers(o.Ciphers); err != nil {
		return nil, fmt.Errorf("sftp target %s: %w", o.Host, err)
	}
	o.setDefaults()
	return &Dialer{o: o, met: o.Met}, nil
}

func (o *Options) setDefaults() {
	if o.Port == 0 {
		o.Port = 22
	}
	if o.Instance == "" {
		o.Instance, _ = os.Hostname()
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = 5 * time.Second
	}
	if o.KeepAliveCount <= 0 {
		o.KeepAliveCount = 3
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.DialContext == nil {
		o.DialContext = (&net.Dialer{}).DialContext
	}
	if len(o.Ciphers) == 0 {
		o.Ciphers = preferredCiphers()
	}
}

// String is sftp://user@host[:port]/path.
func (d *Dialer) String() string {
	host := d.o.Host
	if d.o.Port != 22 {
		host = d.addr()
	}
	return "sftp://" + d.o.User + "@" + host + d.o.Path
}

func (d *Dialer) addr() string { return net.JoinHostPort(d.o.Host, strconv.Itoa(d.o.Port)) }

// Dial connects; see replicate.Dialer. Host key errors are *HostKeyError.
func (d *Dialer) Dial(ctx context.Context) (replicate.Target, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.o.Timeout,
		fmt.Errorf("%w: %s: no connection within %v", replicate.ErrConnection, d.addr(), d.o.Timeout))
	defer cancel()
	t, err := d.dial(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (d *Dialer) dial(ctx context.Context) (*Target, error) {
	client, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	// Starting a session has no context of its own.
	defer context.AfterFunc(ctx, func() { client.Close() })()
	t, err := d.open(ctx, client.session, client.Close)
	if err != nil {
		client.Close()
		return nil, err
	}
	go client.watch(d.o.KeepAlive, d.o.KeepAliveCount)
	return t, nil
}

// connection is an SSH connection whose signs of life are seen.
type connection struct {
	*ssh.Client
	heard *heardConn
}

// connect makes the SSH connection.
func (d *Dialer) connect(ctx context.Context) (*connection, error) {
	auth, err := d.authenticate()
	if err != nil {
		return nil, err
	}
	defer auth.Close()
	keys, err := readHostKeys(d.o.KnownHosts)
	if err != nil {
		return nil, err
	}
	raw, err := d.o.DialContext(ctx, "tcp", d.addr())
	if tcp, ok := raw.(*net.TCPConn); ok {
		// What is unsent when a connection is given up must not arrive later, beside
		// what the next connection has done by then.
		_ = tcp.SetLinger(0)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", replicate.ErrConnection, err)
	}
	check := keys.checker(d.addr())
	config := &ssh.ClientConfig{
		Config:            ssh.Config{Ciphers: d.o.Ciphers},
		User:              d.o.User,
		Auth:              auth.methods(),
		HostKeyCallback:   check.callback,
		HostKeyAlgorithms: keys.algorithms(d.addr()),
	}
	heard := newHeardConn(raw)
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	conn, chans, reqs, err := ssh.NewClientConn(heard, d.addr(), config)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		raw.Close()
		return nil, d.handshakeError(err, check, auth)
	}
	return &connection{Client: ssh.NewClient(conn, chans, reqs), heard: heard}, nil
}

// session starts one more SFTP session on the connection.
func (c *connection) session(ctx context.Context) (*wire.Client, error) {
	s, err := c.NewSession()
	if err != nil {
		return nil, err
	}
	w, err := s.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.RequestSubsystem("sftp"); err != nil {
		s.Close()
		return nil, fmt.Errorf("the server has no sftp subsystem for this account: %w", err)
	}
	return wire.NewClient(ctx, r, w)
}
