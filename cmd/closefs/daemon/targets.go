package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"closefs/cmd/closefs/config"
	"closefs/fs/journal"
	"closefs/replicate"
	"closefs/replicate/dir"
	"closefs/replicate/sftp"
)

// target is one secondary and its worker.
type target struct {
	name   string
	worker *replicate.Worker
	log    *slog.Logger

	mu     sync.Mutex
	failed error // why its worker ended
}

// status is the worker's, or that it ended. Its error is one line: some errors of
// several causes are not.
func (t *target) status() replicate.Status {
	s := t.worker.Status()
	s.LastError = strings.ReplaceAll(strings.TrimSpace(s.LastError), "\n", "; ")
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil {
		s.State, s.Up, s.LastError, s.LastErrorClass = replicate.Stopped, false, t.failed.Error(), "other"
	}
	return s
}

func addresses(targets []config.Target) ([]config.Address, error) {
	addrs := make([]config.Address, len(targets))
	for i, t := range targets {
		a, err := config.ParseAddress(t.URL)
		if err != nil {
			return nil, err
		}
		addrs[i] = a
	}
	return addrs, nil
}

// makeTargets makes a worker per target. Nothing is connected yet.
func (d *daemon) makeTargets(addrs []config.Address, keys []string) error {
	names := config.TargetNames(d.c.Targets, addrs)
	for i, a := range addrs {
		t, err := d.makeTarget(names[i], a, keys)
		if err != nil {
			return fmt.Errorf("target %s: %w", a, err)
		}
		d.targets = append(d.targets, t)
	}
	return nil
}

func (d *daemon) makeTarget(name string, a config.Address, keys []string) (*target, error) {
	log := d.log.With("target", name)
	state := filepath.Join(d.c.State, "targets", name)
	dialer, err := d.dialer(a, keys, replicate.Met(state), log)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, config.ErrInvalid)
	}
	if err := claim(state, a.String(), log); err != nil {
		return nil, err
	}
	shipped := d.latency.Shipped(name)
	w, err := replicate.New(replicate.Options{
		Name: name, Dialer: dialer, Journal: d.journal, Backing: d.root, StateDir: state, Log: d.log,
		ShipOpenAfter: time.Duration(d.c.ShipOpenAfter),
		Links:         func(id journal.FileID) []string { return d.fs.Links(id) }, // workers start after the mount
		OnShipped:     func(lag time.Duration, _ int64) { shipped(lag) },
	})
	if err != nil {
		return nil, err
	}
	return &target{name: name, worker: w, log: log}, nil
}

func (d *daemon) dialer(a config.Address, keys []string, met bool, log *slog.Logger) (replicate.Dialer, error) {
	if a.Local() {
		return dir.New(dir.Options{Path: a.Path, Met: met, Log: log})
	}
	known := []string(d.c.SSH.KnownHosts)
	if len(known) == 0 {
		known = DefaultKnownHosts()
	}
	return sftp.New(sftp.Options{User: a.Login(), Host: a.Host, Port: a.Port, Path: a.Path,
		IdentityFiles: keys, AgentSocket: os.Getenv("SSH_AUTH_SOCK"), KnownHosts: known,
		Ciphers: d.c.SSH.Ciphers, Met: met, Log: log})
}

// DefaultKnownHosts are the user's and the machine's, as ssh(1) has them. The
// first is the one that `closefs trust` adds to.
func DefaultKnownHosts() []string {
	files := []string{"/etc/ssh/ssh_known_hosts"}
	if home := config.Home(); home != "" {
		files = append([]string{filepath.Join(home, ".ssh/known_hosts")}, files...)
	}
	return files
}

// identities checks the private keys that were named, or finds those that are
// usable without being named. Errors wrap config.ErrInvalid.
func identities(named []string, addrs []config.Address) ([]string, error) {
	remote := false
	for _, a := range addrs {
		remote = remote || !a.Local()
	}
	if !remote {
		return nil, nil
	}
	for _, file := range named {
		err := checkKey(file)
		if errors.As(err, new(*ssh.PassphraseMissingError)) && os.Getenv("SSH_AUTH_SOCK") != "" {
			err = nil // ssh-agent may have it
		}
		if err != nil {
			return nil, fmt.Errorf("identity %s: %w: %w", file, keyReason(err), config.ErrInvalid)
		}
	}
	if len(named) > 0 {
		return named, nil
	}
	home := config.Home()
	if home == "" {
		return nil, nil // ssh-agent is all there is
	}
	var usable []string
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		if file := filepath.Join(home, ".ssh", name); checkKey(file) == nil {
			usable = append(usable, file)
		}
	}
	return usable, nil
}

func checkKey(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, err = ssh.ParseRawPrivateKey(b)
	return err
}

// keyReason says what is wrong with a private key file, without its path.
func keyReason(err error) error {
	var p *os.PathError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, new(*ssh.PassphraseMissingError)):
		return errors.New("is encrypted: add it to ssh-agent, or use a key without passphrase")
	}
	return fmt.Errorf("is not a private key: %w", err)
}

// claim makes a target's state directory and notes whose it is. State that
// belongs to another address is removed: the positions in it are promises of
// another place. The target is then met for the first time. A crash in between
// leaves no address, which counts as another one.
func claim(state, address string, log *slog.Logger) error {
	file := filepath.Join(state, "address")
	was, err := os.ReadFile(file)
	if err == nil && string(was) == address+"\n" {
		return nil
	}
	if err == nil {
		log.Warn("the target has another address than before: it is reconciled as a new one", "was", string(was[:max(0, len(was)-1)]), "is", address)
	}
	if err := os.RemoveAll(state); err != nil {
		return fmt.Errorf("state of another address: %w", err)
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return writeDurably(file, []byte(address+"\n"))
}

// writeDurably stores a file of a directory that was made just before.
func writeDurably(file string, b []byte) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// startWorkers runs the workers until stopWorkers is called. One that ends with
// an error concerns its target alone: neither the mount nor another target.
func (d *daemon) startWorkers() {
	ctx, cancel := context.WithCancel(context.Background())
	d.stopWorkers = cancel
	for _, t := range d.targets {
		d.workers.Go(func() {
			if err := t.worker.Run(ctx); err != nil && ctx.Err() == nil {
				t.log.Error("the target is not served any more", "err", err)
				t.mu.Lock()
				t.failed = err
				t.mu.Unlock()
			}
		})
	}
}

// drainTarget waits for a connected target to ack what is in the journal.
func (d *daemon) drainTarget(ctx context.Context, t *target, last journal.Position) {
	if s := t.status(); !s.Up {
		if s.PendingChanges > 0 {
			t.log.Info("not connected; what is pending is shipped after the next start", "pending", s.PendingChanges)
		}
		return
	}
	if err := t.worker.WaitAcked(ctx, last, nil); err != nil {
		s := t.status()
		t.log.Warn("could not ship everything in time; the rest is shipped after the next start",
			"pending", s.PendingChanges, "state", s.State, "last_error", s.LastError)
	}
}
