package sftp

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"closefs/replicate"
)

func TestNewRefuses(t *testing.T) {
	for want, o := range map[string]Options{
		"no user":             {Host: "h", Path: "/p"},
		"no host":             {User: "u", Path: "/p"},
		`"p" is not absolute`: {User: "u", Host: "h", Path: "p"},
		"port 70000":          {User: "u", Host: "h", Path: "/p", Port: 70000},
		`cipher "none"`:       {User: "u", Host: "h", Path: "/p", Ciphers: []string{"none"}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v) = %v; want %q", o, err, want)
		}
	}
}

func TestString(t *testing.T) {
	for want, o := range map[string]Options{
		"sftp://u@h/p":          {User: "u", Host: "h", Path: "/p/"},
		"sftp://u@h:2222/p":     {User: "u", Host: "h", Path: "/p", Port: 2222},
		"sftp://u@[fe80::1]:2/": {User: "u", Host: "fe80::1", Path: "/", Port: 2},
	} {
		if got := newDialer(t, o).String(); got != want {
			t.Errorf("String() = %q; want %q", got, want)
		}
	}
}

// wantsDialError dials, and checks sentinel and words of the error.
func wantsDialError(t *testing.T, o Options, sentinel error, words ...string) {
	t.Helper()
	target, err := newDialer(t, o).Dial(t.Context())
	if err == nil {
		target.Close()
	}
	if !errors.Is(err, sentinel) {
		t.Fatalf("dial = %v; want %v", err, sentinel)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q does not tell %q", err, word)
		}
	}
}

func TestDialErrors(t *testing.T) {
	l := newLab(t)
	addr, s := l.serve(t, t.TempDir())
	good := l.options(t, addr, "alice", "/", s.HostKeys()...)

	t.Run("nobody there", func(t *testing.T) {
		wantsDialError(t, l.options(t, freeAddr(t), "alice", "/"), replicate.ErrConnection, "refused", "127.0.0.1")
	})
	t.Run("unknown host", func(t *testing.T) {
		o := good
		o.Host = "no-such-host.invalid"
		wantsDialError(t, o, replicate.ErrConnection, "no-such-host.invalid")
	})
	t.Run("another key", func(t *testing.T) {
		o := good
		file := filepath.Join(t.TempDir(), "other")
		writeKey(t, file, newKey(t), nil)
		o.IdentityFiles = []string{file}
		wantsDialError(t, o, replicate.ErrRefused, "alice", file)
	})
	t.Run("missing key", func(t *testing.T) {
		o := good
		o.IdentityFiles = []string{filepath.Join(t.TempDir(), "none")}
		wantsDialError(t, o, replicate.ErrRefused, o.IdentityFiles[0])
	})
	t.Run("encrypted key", func(t *testing.T) {
		o := good
		file := filepath.Join(t.TempDir(), "encrypted")
		writeKey(t, file, newKey(t), []byte("secret"))
		o.IdentityFiles = []string{file}
		wantsDialError(t, o, replicate.ErrRefused, file, "encrypted", "ssh-agent")
	})
	t.Run("no key", func(t *testing.T) {
		o := good
		o.IdentityFiles = nil
		wantsDialError(t, o, replicate.ErrRefused, "identity")
	})
	t.Run("missing path", func(t *testing.T) {
		o := good
		o.Path = "/none/at/all"
		wantsDialError(t, o, replicate.ErrRefused, "/none/at/all", "does not exist")
	})
	t.Run("emptied", func(t *testing.T) {
		o := good
		o.Met = true
		wantsDialError(t, o, replicate.ErrRefused, "empty", "mounted")
	})
	t.Run("silent server", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		check(t, err)
		defer silent.Close()
		o := l.options(t, silent.Addr().String(), "alice", "/")
		o.Timeout = 50 * time.Millisecond
		wantsDialError(t, o, replicate.ErrConnection, "50ms")
	})
}

// TestAgent authenticates with a key that only an agent holds.
func TestAgent(t *testing.T) {
	l := newLab(t)
	key := newKey(t)
	l.public = signer(t, key).PublicKey()
	addr, s := l.serve(t, t.TempDir())
	keyring := agent.NewKeyring()
	check(t, keyring.Add(agent.AddedKey{PrivateKey: key}))
	socket := filepath.Join(l.dir, "agent")
	listener, err := net.Listen("unix", socket)
	check(t, err)
	var serving sync.WaitGroup
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer conn.Close(); _ = agent.ServeAgent(keyring, conn) })
		}
	})
	o := l.options(t, addr, "user", "/", s.HostKeys()...)
	o.AgentSocket = socket
	encrypted := filepath.Join(l.dir, "encrypted")
	writeKey(t, encrypted, key, []byte("secret"))
	o.IdentityFiles = []string{encrypted}
	target, err := newDialer(t, o).Dial(t.Context())
	check(t, err)
	target.Close()
}

// TestSilentLink lets a link go dead without a word, as a pulled cable does.
func TestSilentLink(t *testing.T) {
	l := newLab(t)
	addr, s := l.serve(t, t.TempDir())
	o := l.options(t, addr, "user", "/", s.HostKeys()...)
	o.KeepAlive, o.KeepAliveCount = 20*time.Millisecond, 3
	hole := newBlackHole(t, addr)
	o.DialContext = hole.dial
	target, err := newDialer(t, o).Dial(t.Context())
	check(t, err)
	defer target.Close()
	check(t, target.Mkdir(t.Context(), "d", replicate.Attr{Mode: 0o755}))
	hole.swallow()
	if err := target.Mkdir(t.Context(), "e", replicate.Attr{Mode: 0o755}); !errors.Is(err, replicate.ErrConnection) {
		t.Errorf("mkdir over a dead link = %v", err)
	}
}

// TestQuietLinkStays leaves a connection alone for longer than would count as
// dead if its keep-alives were not answered.
func TestQuietLinkStays(t *testing.T) {
	l := newLab(t)
	addr, s := l.serve(t, t.TempDir())
	o := l.options(t, addr, "user", "/", s.HostKeys()...)
	o.KeepAlive, o.KeepAliveCount = 10*time.Millisecond, 20
	hole := newBlackHole(t, addr)
	o.DialContext = hole.dial
	target, err := newDialer(t, o).Dial(t.Context())
	check(t, err)
	defer target.Close()
	// Each keep-alive is answered by one packet.
	hole.awaitAnswers(t, target.(*Target), 2*o.KeepAliveCount)
	check(t, target.Mkdir(t.Context(), "d", replicate.Attr{Mode: 0o755}))
}

// A blackHole passes a connection on until it is told to swallow everything.
type blackHole struct {
	addr    string
	answers chan struct{}

	mu     sync.Mutex
	deaf   bool
	closed []io.Closer
}

func newBlackHole(t *testing.T, addr string) *blackHole {
	h := &blackHole{addr: addr, answers: make(chan struct{}, 1)}
	t.Cleanup(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, c := range h.closed {
			c.Close()
		}
	})
	return h
}

func (h *blackHole) swallow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deaf = true
}

func (h *blackHole) isDeaf() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.deaf
}

func (h *blackHole) awaitAnswers(t *testing.T, target *Target, n int) {
	t.Helper()
	for range n {
		select {
		case <-h.answers:
		case <-target.ctx.Done():
			t.Fatal("the connection has ended")
		}
	}
}

// dial connects to addr; writes and reads go through the hole.
func (h *blackHole) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = append(h.closed, conn)
	return &holeConn{Conn: conn, hole: h}, nil
}

// holeConn is a connection whose peer may turn deaf and dumb.
type holeConn struct {
	net.Conn
	hole *blackHole
}

func (c *holeConn) Write(b []byte) (int, error) {
	if c.hole.isDeaf() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *holeConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	select {
	case c.hole.answers <- struct{}{}:
	default:
	}
	return n, err
}
