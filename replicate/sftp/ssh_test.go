package sftp

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"closefs/replicate/sftp/sftpserver"
	"closefs/replicate/targettest"
)

// A link dials TCP and can be cut.
type link struct {
	mu     sync.Mutex
	newest net.Conn
}

func (l *link) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest = conn
	return conn, err
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest.Close()
}

// A lab is what a client needs to reach a test server.
type lab struct {
	dir      string // of the files below
	identity string // private key file
	public   ssh.PublicKey
	known    string // known_hosts file
	link     link
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{dir: t.TempDir()}
	l.identity = filepath.Join(l.dir, "id_ed25519")
	l.known = filepath.Join(l.dir, "known", "known_hosts")
	l.public = writeKey(t, l.identity, newKey(t), nil).PublicKey()
	return l
}

func newKey(t testing.TB) any {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	return key
}

func newECDSAKey(t testing.TB) any {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func signer(t testing.TB, key any) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	check(t, err)
	return s
}

// writeKey writes key in OpenSSH's format, encrypted if there is a passphrase.
func writeKey(t testing.TB, file string, key any, passphrase []byte) ssh.Signer {
	t.Helper()
	var block *pem.Block
	var err error
	if passphrase == nil {
		block, err = ssh.MarshalPrivateKey(key, "test")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "test", passphrase)
	}
	check(t, err)
	check(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	return signer(t, key)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// options are for the server at addr, whose keys are trusted.
func (l *lab) options(t testing.TB, addr, user, path string, keys ...ssh.PublicKey) Options {
	t.Helper()
	for _, key := range keys {
		check(t, AppendKnownHost(l.known, addr, key))
	}
	host, port, err := net.SplitHostPort(addr)
	check(t, err)
	n, err := strconv.Atoi(port)
	check(t, err)
	return Options{
		User: user, Host: host, Port: n, Path: path,
		IdentityFiles: []string{l.identity}, KnownHosts: []string{l.known},
		DialContext: l.link.dial,
	}
}

// serve starts the in-process server on loopback.
func (l *lab) serve(t testing.TB, root string, hostKeys ...ssh.Signer) (addr string, s *sftpserver.Server) {
	t.Helper()
	s, err := sftpserver.New(sftpserver.Options{Root: root, HostKeys: hostKeys, AuthorizedKeys: []ssh.PublicKey{l.public}})
	check(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(listener) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, sftpserver.ErrClosed) {
			t.Error(err)
		}
	})
	return listener.Addr().String(), s
}

func newDialer(t testing.TB, o Options) *Dialer {
	t.Helper()
	d, err := New(o)
	check(t, err)
	return d
}

// TestConformanceServer runs the suite against the embedded server.
func TestConformanceServer(t *testing.T) {
	targettest.Run(t, targettest.Kind{UID: os.Geteuid(), Open: func(t *testing.T, dir string) targettest.Fixture {
		l := newLab(t)
		parent, name := filepath.Split(dir)
		addr, s := l.serve(t, parent)
		d := newDialer(t, l.options(t, addr, "anybody", "/"+name, s.HostKeys()...))
		return targettest.Fixture{Dialer: d, Cut: l.link.cut}
	}})
}
