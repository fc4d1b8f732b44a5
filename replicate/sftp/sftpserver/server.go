// Package sftpserver is a small SSH server that offers nothing but SFTP, below
// one directory: the embedded secondary of `closefs demo`, and the peer of
// tests. It offers what closefs uses of OpenSSH's server (posix-rename, fsync,
// hardlink, statvfs, limits) and handles the requests of a session in their
// order, which the protocol asks for.
//
// Paths are resolved by os.Root: no request leaves the directory, whatever
// symlinks are in it. Files are made with the process's own rights.
package sftpserver

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Options configure a Server.
type Options struct {
	Root           string          // the directory that clients see as /
	HostKeys       []ssh.Signer    // none: one ed25519 key, made anew
	AuthorizedKeys []ssh.PublicKey // who may come in, under any user name
	Log            *slog.Logger
}

// A Server serves until it is closed.
type Server struct {
	root   *os.Root
	keys   []ssh.Signer
	config *ssh.ServerConfig
	log    *slog.Logger

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]struct{}
	serving   sync.WaitGroup // one for each connection
}

// ErrClosed is returned by Serve after Close.
var ErrClosed = errors.New("sftp server is closed")

// New opens the directory.
func New(o Options) (*Server, error) {
	if len(o.AuthorizedKeys) == 0 {
		return nil, errors.New("sftp server: no authorized key: nobody could come in")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if len(o.HostKeys) == 0 {
		key, err := newHostKey()
		if err != nil {
			return nil, fmt.Errorf("sftp server: %w", err)
		}
		o.HostKeys = []ssh.Signer{key}
	}
	root, err := os.OpenRoot(o.Root)
	if err != nil {
		return nil, fmt.Errorf("sftp server: %w", err)
	}
	s := &Server{
		root: root, keys: o.HostKeys, log: o.Log,
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[net.Conn]struct{}),
	}
	s.config = &ssh.ServerConfig{PublicKeyCallback: admit(o.AuthorizedKeys)}
	for _, key := range o.HostKeys {
		s.config.AddHostKey(key)
	}
	return s, nil
}

func newHostKey() (ssh.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(key)
}

func admit(keys []ssh.PublicKey) func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
	return func(meta ssh.ConnMetadata, shown ssh.PublicKey) (*ssh.Permissions, error) {
		for _, key := range keys {
			if bytes.Equal(key.Marshal(), shown.Marshal()) {
				return &ssh.Permissions{}, nil
			}
		}
		return nil, fmt.Errorf("key %s of %q is not authorized", ssh.FingerprintSHA256(shown), meta.User())
	}
}

// HostKeys are the public keys that clients see.
func (s *Server) HostKeys() []ssh.PublicKey {
	var keys []ssh.PublicKey
	for _, key := range s.keys {
		keys = append(keys, key.PublicKey())
	}
	return keys
}

// Serve accepts connections until l or the server is closed, and closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.listen(l) {
		return ErrClosed
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			if s.isClosed() {
				return ErrClosed
			}
			return fmt.Errorf("sftp server: %w", err)
		}
		if s.admitConn(conn) {
			go s.serveConn(conn)
		}
	}
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.listeners[l] = struct{}{}
	}
	return !s.closed
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *Server) admitConn(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return false
	}
	s.conns[conn] = struct{}{}
	s.serving.Add(1)
	return true
}

// CloseConnections ends the connections that stand, as a network that fails would.
func (s *Server) CloseConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// Close ends listeners and connections, and waits for their goroutines.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	s.CloseConnections()
	s.serving.Wait()
	return s.root.Close()
}

// serveConn serves one connection: any number of sessions at once.
func (s *Server) serveConn(raw net.Conn) {
	defer s.serving.Done()
	defer func() {
		raw.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, raw)
	}()
	conn, channels, requests, err := ssh.NewServerConn(raw, s.config)
	if err != nil {
		s.log.Info("sftp server: connection refused", "peer", raw.RemoteAddr().String(), "error", err)
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for offer := range channels {
		if offer.ChannelType() != "session" {
			_ = offer.Reject(ssh.UnknownChannelType, "only sessions are served")
			continue
		}
		channel, requests, err := offer.Accept()
		if err != nil {
			return
		}
		sessions.Go(func() { s.serveChannel(channel, requests) })
	}
}

// serveChannel waits for the request for the sftp subsystem, and refuses others.
func (s *Server) serveChannel(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for r := range requests {
		var subsystem struct{ Name string }
		wanted := r.Type == "subsystem" && ssh.Unmarshal(r.Payload, &subsystem) == nil && subsystem.Name == "sftp"
		if r.WantReply {
			_ = r.Reply(wanted, nil)
		}
		if !wanted {
			continue
		}
		go ssh.DiscardRequests(requests)
		if err := newSession(s.root, channel).serve(); err != nil {
			s.log.Info("sftp server: session ended", "error", err)
		}
		return
	}
}
