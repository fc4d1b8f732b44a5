package sftp

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"crypto/rand"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"closefs/replicate"
)

// dialWith dials a server with these host keys, knowing these lines.
func dialWith(t *testing.T, hostKeys []ssh.Signer, lines func(addr string) []string) error {
	t.Helper()
	l := newLab(t)
	addr, _ := l.serve(t, t.TempDir(), hostKeys...)
	o := l.options(t, addr, "user", "/")
	if lines != nil {
		check(t, os.MkdirAll(filepath.Dir(l.known), 0o700))
		check(t, os.WriteFile(l.known, []byte(strings.Join(lines(addr), "\n")+"\n"), 0o600))
	}
	target, err := newDialer(t, o).Dial(t.Context())
	if err == nil {
		target.Close()
	}
	return err
}

func line(key ssh.PublicKey, hosts ...string) string { return knownhosts.Line(hosts, key) }

// wantsProblem checks that err is a refusal that tells host, type and fingerprint.
func wantsProblem(t *testing.T, err error, problem HostKeyProblem, shown ssh.PublicKey) {
	t.Helper()
	var e *HostKeyError
	if !errors.As(err, &e) || e.Problem != problem || !errors.Is(err, replicate.ErrRefused) {
		t.Fatalf("error is %v; want a host key that is %s", err, problem)
	}
	for _, part := range []string{"127.0.0.1", shown.Type(), ssh.FingerprintSHA256(shown)} {
		if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q does not tell %q", err, part)
		}
	}
}

func TestUnknownHostKey(t *testing.T) {
	host, other := signer(t, newKey(t)), signer(t, newKey(t))
	wantsProblem(t, dialWith(t, []ssh.Signer{host}, nil), HostKeyUnknown, host.PublicKey())
	// The same host at another port is another host.
	err := dialWith(t, []ssh.Signer{host}, func(string) []string {
		return []string{line(host.PublicKey(), "127.0.0.1"), line(other.PublicKey(), "elsewhere")}
	})
	wantsProblem(t, err, HostKeyUnknown, host.PublicKey())
}

func TestChangedHostKey(t *testing.T) {
	host, before := signer(t, newKey(t)), signer(t, newKey(t))
	err := dialWith(t, []ssh.Signer{host}, func(addr string) []string {
		return []string{line(before.PublicKey(), knownhosts.Normalize(addr))}
	})
	wantsProblem(t, err, HostKeyChanged, host.PublicKey())
	if !strings.Contains(err.Error(), ssh.FingerprintSHA256(before.PublicKey())) {
		t.Errorf("%q does not tell the known key", err)
	}
	// Only a key of another type is known, and the host has none of that type.
	ecdsaKey := signer(t, newECDSAKey(t))
	err = dialWith(t, []ssh.Signer{host}, func(addr string) []string {
		return []string{line(ecdsaKey.PublicKey(), knownhosts.Normalize(addr))}
	})
	wantsProblem(t, err, HostKeyChanged, host.PublicKey())
}

// TestSeveralHostKeys knows one key of a host that has several, whichever the
// host likes best.
func TestSeveralHostKeys(t *testing.T) {
	keys := []ssh.Signer{signer(t, newKey(t)), signer(t, newECDSAKey(t))}
	for _, known := range keys {
		check(t, dialWith(t, keys, func(addr string) []string {
			return []string{line(known.PublicKey(), knownhosts.Normalize(addr))}
		}))
	}
	check(t, dialWith(t, keys, func(addr string) []string {
		return []string{
			line(keys[0].PublicKey(), knownhosts.Normalize(addr)), line(keys[1].PublicKey(), knownhosts.Normalize(addr)),
		}
	}))
}

func TestHashedHostKey(t *testing.T) {
	host := signer(t, newKey(t))
	check(t, dialWith(t, []ssh.Signer{host}, func(addr string) []string {
		return []string{"# comment", "", knownhosts.HashHostname(knownhosts.Normalize(addr)) + " " +
			strings.TrimSpace(string(ssh.MarshalAuthorizedKey(host.PublicKey())))}
	}))
}

func TestRevokedHostKey(t *testing.T) {
	host := signer(t, newKey(t))
	err := dialWith(t, []ssh.Signer{host}, func(addr string) []string {
		return []string{
			line(host.PublicKey(), knownhosts.Normalize(addr)),
			"@revoked " + line(host.PublicKey(), "*"),
		}
	})
	wantsProblem(t, err, HostKeyRevoked, host.PublicKey())
}

// TestHostCertificate knows no key of the host, but who signs for it.
func TestHostCertificate(t *testing.T) {
	authority, host := signer(t, newECDSAKey(t)), signer(t, newKey(t))
	certify := func(principal string) ssh.Signer {
		cert := &ssh.Certificate{
			Key: host.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{principal},
			ValidBefore: ssh.CertTimeInfinity,
		}
		check(t, cert.SignCert(rand.Reader, authority))
		s, err := ssh.NewCertSigner(cert, host)
		check(t, err)
		return s
	}
	trusted := func(addr string) []string {
		return []string{"@cert-authority " + line(authority.PublicKey(), "[127.0.0.1]:*", knownhosts.Normalize(addr))}
	}
	check(t, dialWith(t, []ssh.Signer{certify("127.0.0.1")}, trusted))
	err := dialWith(t, []ssh.Signer{certify("another.host")}, trusted)
	var e *HostKeyError
	if !errors.As(err, &e) || e.Problem != HostKeyInvalid {
		t.Errorf("a certificate for another host: %v", err)
	}
}

func TestBrokenKnownHosts(t *testing.T) {
	err := dialWith(t, []ssh.Signer{signer(t, newKey(t))}, func(string) []string { return []string{"not a line"} })
	if !errors.Is(err, replicate.ErrRefused) || !strings.Contains(err.Error(), "known_hosts:1") {
		t.Errorf("error is %v", err)
	}
}

func TestFetchHostKeys(t *testing.T) {
	l := newLab(t)
	keys := []ssh.Signer{signer(t, newKey(t)), signer(t, newECDSAKey(t))}
	addr, _ := l.serve(t, t.TempDir(), keys...)
	fetched, err := FetchHostKeys(t.Context(), addr)
	check(t, err)
	if len(fetched) != 2 || ssh.FingerprintSHA256(fetched[0]) != ssh.FingerprintSHA256(keys[0].PublicKey()) ||
		ssh.FingerprintSHA256(fetched[1]) != ssh.FingerprintSHA256(keys[1].PublicKey()) {
		t.Errorf("fetched %v", fetched)
	}
	target, err := newDialer(t, l.options(t, addr, "user", "/", fetched...)).Dial(t.Context())
	check(t, err)
	target.Close()
	if _, err := FetchHostKeys(t.Context(), freeAddr(t)); !errors.Is(err, replicate.ErrConnection) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestAppendKnownHost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "known_hosts")
	check(t, AppendKnownHost(file, "first:22", signer(t, newKey(t)).PublicKey()))
	check(t, appendText(file, "unfinished")) // as an editor might leave it
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if err := AppendKnownHost(file, "host:2222", signer(t, newKey(t)).PublicKey()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	b, err := os.ReadFile(file)
	check(t, err)
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if !strings.HasPrefix(lines[0], "first ssh-ed25519 ") || lines[1] != "unfinished" {
		t.Errorf("file begins with %q", lines[:2])
	}
	entries := 0
	for _, line := range lines[2:] {
		if strings.HasPrefix(line, "[host]:2222 ssh-ed25519 ") {
			entries++
		} else if line != "" {
			t.Errorf("line %q", line)
		}
	}
	if entries != 20 {
		t.Errorf("%d entries instead of 20", entries)
	}
	for path, mode := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): os.ModeDir | 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func appendText(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
