package fs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A handle is what an application's open file description is to us.
type handle struct {
	of    *openFile // nil: a directory
	fd    int       // cached: opened as the application did; passthrough: -1
	write bool

	mappable bool // O_RDWR: stores through a mapping are possible
	nonblock bool // O_NONBLOCK

	// flushed: close(2) was called on a descriptor of it and nothing was
	// written through it since. Cached mode only.
	flushed atomic.Bool

	dir *dirHandle
}

func newHandle(flags uint32) *handle {
	return &handle{
		fd: -1, write: mayWrite(flags),
		mappable: flags&unix.O_ACCMODE == unix.O_RDWR, nonblock: flags&unix.O_NONBLOCK != 0,
	}
}

// handleTable numbers the handles. Numbers start at 1: the kernel sends 0 where
// it means none.
type handleTable struct {
	mu   sync.RWMutex
	all  []*handle
	free []uint64
}

func newHandleTable() *handleTable { return &handleTable{all: make([]*handle, 1)} }

func (t *handleTable) add(h *handle) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		fh := t.free[n-1]
		t.free = t.free[:n-1]
		t.all[fh] = h
		return fh
	}
	t.all = append(t.all, h)
	return uint64(len(t.all) - 1)
}

// get returns the handle, or nil.
func (t *handleTable) get(fh uint64) *handle {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if fh >= uint64(len(t.all)) {
		return nil
	}
	return t.all[fh]
}

func (t *handleTable) remove(fh uint64) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fh >= uint64(len(t.all)) || t.all[fh] == nil {
		return nil
	}
	h := t.all[fh]
	t.all[fh] = nil
	t.free = append(t.free, fh)
	return h
}

// takeAll empties the table.
func (t *handleTable) takeAll() []*handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*handle
	for _, h := range t.all {
		if h != nil {
			all = append(all, h)
		}
	}
	t.all, t.free = make([]*handle, 1), nil
	return all
}

// withFD calls fn with a descriptor of the handle's file that is open for
// reading, or for writing too if write.
func (h *handle) withFD(write bool, fn func(fd int) error) error {
	if h.fd >= 0 {
		return fn(h.fd)
	}
	if !write {
		return fn(h.of.fd)
	}
	fd, err := reopen(h.of.fd, unix.O_RDWR)
	if err == unix.EACCES {
		fd, err = reopen(h.of.fd, unix.O_WRONLY)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return fn(fd)
}
