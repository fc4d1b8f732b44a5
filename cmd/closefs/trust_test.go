package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"closefs/replicate"
	"closefs/replicate/sftp"
	"closefs/replicate/sftp/sftpserver"
)

// sshServer runs a server with a new key and tells its address and fingerprint.
func sshServer(t *testing.T) (addr, fingerprint string) {
	t.Helper()
	user, _, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := sftpserver.New(sftpserver.Options{Root: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		AuthorizedKeys: []ssh.PublicKey{user.PublicKey()}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { s.Serve(l); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String(), ssh.FingerprintSHA256(s.HostKeys()[0])
}

func TestTrustAsks(t *testing.T) {
	addr, fingerprint := sshServer(t)
	file := filepath.Join(t.TempDir(), "new", "known_hosts")
	f := trustFlags{knownHosts: []string{file}}
	var out bytes.Buffer
	for _, answer := range []string{"", "no\n", "y\n"} {
		if err := f.trust(t.Context(), addr, strings.NewReader(answer), &out); err == nil || exitCode(err) != exitFailed {
			t.Errorf("answer %q: got %v", answer, err)
		}
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stored without a yes: %v", err)
	}
	out.Reset()
	if err := f.trust(t.Context(), addr, strings.NewReader("yes\n"), &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "ed25519 "+fingerprint) || !strings.Contains(out.String(), "added to "+file) {
		t.Errorf("it said %q", out.String())
	}
	out.Reset()
	if err := f.trust(t.Context(), addr, strings.NewReader(""), &out); err != nil || !strings.Contains(out.String(), "trusted already") {
		t.Errorf("again: %v, %q", err, out.String())
	}
	b, err := os.ReadFile(file)
	if err != nil || strings.Count(string(b), "\n") != 1 {
		t.Errorf("known_hosts is %q, %v", b, err)
	}
}

func TestTrustByFingerprint(t *testing.T) {
	addr, fingerprint := sshServer(t)
	f := trustFlags{knownHosts: []string{filepath.Join(t.TempDir(), "known_hosts")}, yes: true, fingerprint: "SHA256:other"}
	var out bytes.Buffer
	if err := f.trust(t.Context(), addr, nil, &out); exitCode(err) != exitTarget || !strings.Contains(err.Error(), "SHA256:other") {
		t.Errorf("another fingerprint: got %v", err)
	}
	f.fingerprint = fingerprint
	if err := f.trust(t.Context(), addr, nil, &out); err != nil {
		t.Error(err)
	}
}

func TestTrustRefusesAChangedKey(t *testing.T) {
	addr, fingerprint := sshServer(t)
	file := filepath.Join(t.TempDir(), "known_hosts")
	old, _, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := sftp.AppendKnownHost(file, addr, old.PublicKey()); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f := trustFlags{knownHosts: []string{file}, yes: true}
	err = f.trust(t.Context(), addr, nil, &bytes.Buffer{})
	if !errors.Is(err, replicate.ErrRefused) || exitCode(err) != exitTarget {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{fingerprint, ssh.FingerprintSHA256(old.PublicKey()), file + " line 1", "has changed"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("known_hosts was changed: %v", err)
	}
}

func TestTrustUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	err = trustFlags{yes: true, knownHosts: []string{"unused"}}.trust(t.Context(), addr, nil, &bytes.Buffer{})
	if exitCode(err) != exitTarget || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v", err)
	}
}

func TestHostAddress(t *testing.T) {
	for in, want := range map[string]string{
		"web2": "web2:22", "web2:2222": "web2:2222", "::1": "[::1]:22", "[::1]": "[::1]:22", "[::1]:23": "[::1]:23", "10.0.0.1": "10.0.0.1:22",
		"": "", "u@h": "", "h:": "", "h:0": "", "h:x y": "", "a b": "", "h:70000": "", "h/p": "",
	} {
		got, err := hostAddress(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
}
