package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// patience is how long a file may take to arrive.
const patience = 2 * time.Minute

// A contender replicates one tree and is measured.
type contender struct {
	name    string
	source  string // where files are written
	real    string // the same directory's real files
	target  string // the secondary's real directory
	remote  string // target's path below the account's root
	visible *arrivals
	bytes   int // of each file that is measured
	// ship, if set, is called right after close(2) with the path relative to
	// the tree; nil for a program that sees changes by itself.
	ship    func(rel string) error
	lags    []time.Duration
	written int
	undo    []func() // what stop has to do, last first
}

// newContender makes the two trees, equal and filled.
func newContender(s settings, l lab, name, dir string) (*contender, error) {
	c := &contender{name: name, remote: dir, bytes: s.bytes}
	c.source = filepath.Join(s.primary, dir)
	c.real = c.source
	c.target = filepath.Join(l.uploads, dir)
	if err := fillTree(c.source, s.files); err != nil {
		return nil, err
	}
	if err := copyTree(c.source, c.target, l.account); err != nil {
		return nil, err
	}
	var err error
	if c.visible, err = watchTree(c.target, int64(s.bytes)); err != nil {
		return nil, err
	}
	c.onStop(c.visible.close)
	return c, nil
}

func (c *contender) onStop(f func()) { c.undo = append(c.undo, f) }

func (c *contender) stop() {
	for i := len(c.undo) - 1; i >= 0; i-- {
		c.undo[i]()
	}
	c.undo = nil
}

// warmUp sends files until one has come through, and some more: connections
// stand then, and caches are warm.
func (c *contender) warmUp(ctx context.Context) error {
	n := 20
	if c.ship == nil && c.real == c.source { // lsyncd: a second each
		n = 2
	}
	err := c.sample(ctx, n)
	c.lags = nil
	return err
}

// sample measures n files.
func (c *contender) sample(ctx context.Context, n int) error {
	for range n {
		pause()
		lag, err := c.one(ctx)
		if err != nil {
			return err
		}
		c.lags = append(c.lags, lag)
	}
	return nil
}

// one writes a new file and returns how long after its close it was visible.
func (c *contender) one(ctx context.Context) (time.Duration, error) {
	rel := filepath.Join(fmt.Sprintf("d%02d", c.written%treeDirs), fmt.Sprintf("upload-%06d.jpg", c.written))
	c.written++
	content := make([]byte, c.bytes)
	rand.Read(content)
	arrived := c.visible.expect(rel)
	closed, err := writeFile(filepath.Join(c.source, rel), content)
	if err != nil {
		return 0, err
	}
	if c.ship != nil {
		if err := c.ship(rel); err != nil {
			return 0, err
		}
	}
	select {
	case at := <-arrived:
		return at.Sub(closed), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("%s is not visible after %s", rel, patience)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// writeFile writes as an application does, and returns when close(2) returned.
func writeFile(path string, content []byte) (closed time.Time, err error) {
	f, err := os.Create(path)
	if err != nil {
		return closed, err
	}
	if _, err := f.Write(content); err != nil {
		f.Close()
		return closed, err
	}
	err = f.Close()
	return time.Now(), err
}
