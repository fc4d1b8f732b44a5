package journal

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
)

// memDisk is a filesystem in memory that tells what a sync has made durable from
// what a power cut may take. It models a journaling filesystem on a disk that
// writes sectors in any order: names change in order, sectors that were not
// synced are there or not, each by chance.
type memDisk struct {
	mu      sync.Mutex
	files   map[string]*memNode
	durable map[string]*memNode
	pending []func(map[string]*memNode) // changes of names since the last syncDir
	ops     int
	stopAt  int // at this operation the machine or the process stops; 0: never
	rng     *rand.Rand
	fault   func(op, path string) error // an error to answer with, tests only
}

type memNode struct {
	name         string // newest
	cur, durable []byte
}

const sector = 512

var errStopped = errors.New("the machine has stopped")

// newMemDisk has chances of its own, drawn from rng: others may use that at the
// same time.
func newMemDisk(rng *rand.Rand) *memDisk {
	return &memDisk{files: map[string]*memNode{}, durable: map[string]*memNode{},
		rng: rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))}
}

// step counts an operation. The one at stopAt is the first that does not happen.
func (d *memDisk) step(op, path string) error {
	d.ops++
	if d.stopAt > 0 && d.ops >= d.stopAt {
		return errStopped
	}
	if d.fault != nil {
		return d.fault(op, filepath.Base(path))
	}
	return nil
}

func (d *memDisk) change(fn func(map[string]*memNode)) {
	fn(d.files)
	d.pending = append(d.pending, fn)
}

func (d *memDisk) open(path string, flag int) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if flag&os.O_CREATE != 0 { // reading changes nothing: no place for a crash
		if err := d.step("open", path); err != nil {
			return nil, err
		}
	}
	n := d.files[path]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, os.ErrNotExist
	case n == nil || flag&os.O_TRUNC != 0:
		n = &memNode{name: path}
		d.change(func(m map[string]*memNode) { m[path] = n })
	}
	return &memFile{d, n}, nil
}

func (d *memDisk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("rename", from); err != nil {
		return err
	}
	n := d.files[from]
	if n == nil {
		return os.ErrNotExist
	}
	n.name = to
	d.change(func(m map[string]*memNode) { delete(m, from); m[to] = n })
	return nil
}

func (d *memDisk) remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("remove", path); err != nil {
		return err
	}
	if d.files[path] == nil {
		return os.ErrNotExist
	}
	d.change(func(m map[string]*memNode) { delete(m, path) })
	return nil
}

func (d *memDisk) names(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var l []string
	for p := range d.files {
		if filepath.Dir(p) == dir {
			l = append(l, filepath.Base(p))
		}
	}
	return l, nil
}

func (d *memDisk) syncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("syncdir", dir); err != nil {
		return err
	}
	d.durable, d.pending = maps.Clone(d.files), nil
	return nil
}

// killed is the disk as the next process of the same boot finds it.
func (d *memDisk) killed() *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := newMemDisk(d.rng)
	n.copyFrom(d.files, func(m *memNode) memNode {
		return memNode{m.name, append([]byte(nil), m.cur...), append([]byte(nil), m.durable...)}
	})
	n.durable = map[string]*memNode{}
	for p, m := range d.durable {
		for q, o := range d.files {
			if o == m {
				n.durable[p] = n.files[q]
			}
		}
	}
	return n
}

// powerCut is the disk as the next boot finds it.
func (d *memDisk) powerCut() *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := maps.Clone(d.durable)
	for _, fn := range d.pending[:d.rng.IntN(len(d.pending)+1)] {
		fn(names)
	}
	n := newMemDisk(d.rng)
	n.copyFrom(names, func(m *memNode) memNode {
		b := d.tear(m)
		return memNode{m.name, b, append([]byte(nil), b...)}
	})
	n.durable = maps.Clone(n.files)
	return n
}

func (d *memDisk) copyFrom(names map[string]*memNode, fn func(*memNode) memNode) {
	for p, m := range names {
		c := fn(m)
		d.files[p] = &c
	}
}

// tear mixes the old and the new sectors of a file: all old, all new, or any.
func (d *memDisk) tear(m *memNode) []byte {
	size := len(m.durable)
	if d.rng.IntN(2) == 0 {
		size = len(m.cur)
	}
	b := make([]byte, size)
	copy(b, m.durable)
	keep := d.rng.IntN(3)
	for at := 0; at < size; at += sector {
		if end := min(at+sector, size, len(m.cur)); at < end && (keep == 0 || keep == 1 && d.rng.IntN(2) == 0) {
			copy(b[at:end], m.cur[at:end])
		}
	}
	return b
}

type memFile struct {
	d *memDisk
	n *memNode
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if off >= int64(len(f.n.cur)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.cur[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt at the moment of the stop leaves a part of what was to be written.
func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.d.step("write", f.n.name)
	if err != nil {
		if f.d.ops != f.d.stopAt {
			return 0, err
		}
		b = b[:f.d.rng.IntN(len(b)+1)]
	}
	if need := off + int64(len(b)); need > int64(len(f.n.cur)) {
		f.n.cur = append(f.n.cur, make([]byte, need-int64(len(f.n.cur)))...)
	}
	return copy(f.n.cur[off:], b), err
}

func (f *memFile) Close() error { return nil }

func (f *memFile) size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.n.cur)), nil
}

func (f *memFile) allocate(n int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.d.step("allocate", f.n.name)
}

func (f *memFile) sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.step("sync", f.n.name); err != nil {
		return err
	}
	f.n.durable = append(f.n.durable[:0], f.n.cur...)
	return nil
}
