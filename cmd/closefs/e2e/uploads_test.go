package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// uploads is the load of an orderly application: several writers, each with
// files of its own, that are written whole, replaced in place, replaced by
// rename, and renamed. What was acknowledged is remembered.
type uploads struct {
	root    string
	gate    *gate
	writers int
	each    int // operations per writer

	mu     sync.Mutex
	acked  map[string][]byte // what a name must hold, where the last operation on it succeeded
	torn   map[string]bool   // names that a dying daemon once kept from being written whole
	failed error             // an error that no killed daemon explains
}

func newUploads(root string, writers, each int) *uploads {
	return &uploads{root: root, gate: newGate(), writers: writers, each: each,
		acked: make(map[string][]byte), torn: make(map[string]bool)}
}

// start runs the writers; the channel closes when all are through.
func (u *uploads) start(r *rand.Rand) <-chan struct{} {
	var all sync.WaitGroup
	for w := range u.writers {
		own := rand.New(rand.NewPCG(r.Uint64(), uint64(w)))
		all.Go(func() { u.write(w, own) })
	}
	ended := make(chan struct{})
	go func() {
		all.Wait()
		close(ended)
	}()
	return ended
}

func (u *uploads) write(w int, r *rand.Rand) {
	dir := fmt.Sprintf("writer%d", w)
	for u.gate.do(func() error { return os.MkdirAll(filepath.Join(u.root, dir), 0o755) }) != nil {
	}
	for range u.each {
		name := filepath.Join(dir, fmt.Sprintf("f%d", r.IntN(40)))
		b := newContent(r, r.IntN(64<<10))
		switch r.IntN(3) {
		case 0:
			u.inPlace(name, b)
		case 1:
			u.replace(name, b)
		case 2:
			u.rename(name, filepath.Join(dir, fmt.Sprintf("f%d", r.IntN(40))))
		}
	}
}

func (u *uploads) inPlace(name string, b []byte) error {
	return u.gate.do(func() error {
		u.begin(name)
		err := writeInPieces(filepath.Join(u.root, name), b)
		u.mu.Lock()
		u.torn[name] = u.torn[name] || err != nil
		u.mu.Unlock()
		return u.end(err, name, b)
	})
}

func (u *uploads) replace(name string, b []byte) {
	if tmp := name + ".part"; u.inPlace(tmp, b) == nil {
		u.rename(tmp, name)
	}
}

func (u *uploads) rename(from, to string) {
	b, certain := u.content(from)
	if !certain || from == to {
		return
	}
	u.gate.do(func() error {
		u.begin(from)
		u.begin(to)
		err := os.Rename(filepath.Join(u.root, from), filepath.Join(u.root, to))
		return u.end(err, to, b)
	})
}

// content is what name must hold; false if that is not certain.
func (u *uploads) content(name string) ([]byte, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b, certain := u.acked[name]
	return b, certain
}

// begin notes that name has no certain content until the operation that
// follows has succeeded.
func (u *uploads) begin(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.acked, name)
}

func (u *uploads) end(err error, name string, b []byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err == nil {
		u.acked[name] = b
	} else if !u.gate.explains(err) && u.failed == nil {
		u.failed = err
	}
	return err
}

// unfinished tells whether the application once failed to finish writing the
// file, since the daemon died meanwhile: what it left is the file's state then,
// and torn in the eyes of whoever wrote it. It is known before the next daemon
// starts, because the gate opens after that.
func (u *uploads) unfinished(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.torn[name]
}

// check reads every acknowledged file below root.
func (u *uploads) check(t *testing.T, root string) {
	t.Helper()
	if u.failed != nil {
		t.Errorf("the application met %v", u.failed)
	}
	for name, want := range u.acked {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Errorf("acknowledged and not there: %v", err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, want %d bytes of its last acknowledged state", name, len(got), len(want))
		}
	}
	t.Logf("%d acknowledged files looked at", len(u.acked))
}
