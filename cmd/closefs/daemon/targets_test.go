package daemon

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"closefs/cmd/closefs/config"
)

// State of one address is never taken for that of another: its positions would
// say that the other place has what it has not.
func TestClaim(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	state := filepath.Join(t.TempDir(), "targets", "web2")
	if err := claim(state, "sftp://u@web2/a", log); err != nil {
		t.Fatal(err)
	}
	progress := filepath.Join(state, "progress")
	if err := os.WriteFile(progress, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := claim(state, "sftp://u@web2/a", log); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(progress); err != nil {
		t.Errorf("the same address lost its state: %v", err)
	}
	if err := claim(state, "sftp://u@web2/b", log); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(progress); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("another address kept the state: %v", err)
	}
	if err := errors.Join(os.WriteFile(progress, nil, 0o600), os.Remove(filepath.Join(state, "address"))); err != nil {
		t.Fatal(err)
	}
	if err := claim(state, "sftp://u@web2/b", log); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(progress); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("state of nobody knows whom was kept: %v", err)
	}
}

func writeKey(t *testing.T, file string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestIdentities(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", "")
	remote := []config.Address{{Host: "h", Path: "/"}}
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	usual := filepath.Join(home, ".ssh", "id_ed25519")
	writeKey(t, usual)
	if err := os.WriteFile(filepath.Join(home, ".ssh", "id_rsa"), []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := identities(nil, remote); err != nil || len(got) != 1 || got[0] != usual {
		t.Errorf("unnamed: got %q, %v", got, err)
	}
	named := filepath.Join(home, "own")
	writeKey(t, named)
	if got, err := identities([]string{named}, remote); err != nil || len(got) != 1 || got[0] != named {
		t.Errorf("named: got %q, %v", got, err)
	}
	if got, err := identities([]string{"/none"}, []config.Address{{Path: "/local"}}); err != nil || got != nil {
		t.Errorf("no remote target: got %q, %v", got, err)
	}
	if _, err := identities([]string{filepath.Join(home, "none")}, remote); !errors.Is(err, config.ErrInvalid) {
		t.Errorf("missing: got %v", err)
	}
}

func TestDefaultKnownHosts(t *testing.T) {
	t.Setenv("HOME", "/home/u")
	if got := strings.Join(DefaultKnownHosts(), " "); got != "/home/u/.ssh/known_hosts /etc/ssh/ssh_known_hosts" {
		t.Errorf("got %s", got)
	}
}
