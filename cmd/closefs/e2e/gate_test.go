package e2e

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A gate lets a load do one operation after the other, counts them, and holds
// them back while a daemon that was killed is brought back. A load must not
// meet the moment between the dead mount's going and the new one's coming: it
// would write into the bare mountpoint.
type gate struct {
	mu    sync.RWMutex
	count atomic.Int64
	down  atomic.Bool   // a daemon is being killed, or is dead
	moved chan struct{} // capacity 1, poked after each operation
}

func newGate() *gate { return &gate{moved: make(chan struct{}, 1)} }

// do runs one operation.
func (g *gate) do(op func() error) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	err := op()
	g.count.Add(1)
	select {
	case g.moved <- struct{}{}:
	default:
	}
	return err
}

// await returns when n operations were done, or when ended closes; it tells
// which.
func (g *gate) await(n int64, ended <-chan struct{}) bool {
	for g.count.Load() < n {
		select {
		case <-g.moved:
		case <-ended:
			return false
		}
	}
	return true
}

// hold waits until no operation runs, calls f, and lets them go on.
func (g *gate) hold(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// explains tells whether an operation failed because no daemon serves the mount
// (fuse(4): requests on a connection that was aborted). While a daemon is being
// killed EIO is one more such error: its answer to an open has arrived, and the
// backing file that the answer names went with the connection.
func (g *gate) explains(err error) bool {
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) || g.down.Load() && errors.Is(err, unix.EIO)
}
