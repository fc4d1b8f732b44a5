package fs

import (
	"context"
	"time"
)

// Settle returns when the journal has every close(2) that had returned before
// the call. Other changes are there before they are answered.
func (f *FS) Settle(ctx context.Context) error {
	for _, of := range f.open.dirtyFiles() {
		if err := f.settle(ctx, of); err != nil {
			return err
		}
	}
	return nil
}

// Bounds of the wait for a RELEASE that is believed to be under way.
const (
	firstSettle = time.Millisecond
	lastSettle  = 50 * time.Millisecond
)

// settle waits while the last close of of may have returned without having been
// journaled.
func (f *FS) settle(ctx context.Context, of *openFile) error {
	for wait := firstSettle; ; wait = min(2*wait, lastSettle) {
		released := f.settled(of, wait >= lastSettle)
		if released == nil {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-released:
		case <-timer.C:
		case <-f.served:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// nonblockGrace is how long after an open with O_NONBLOCK a lease is not asked
// for: the kernel opens the backing file after we answered, and that open
// would fail while we hold the lease.
const nonblockGrace = time.Second

// settled returns nil if there is nothing to wait for: of is published, or
// really open. Otherwise it returns what is closed when a writer is released.
func (f *FS) settled(of *openFile, patient bool) <-chan struct{} {
	f.order.RLock()
	defer f.order.RUnlock()
	mu := f.inodeLock(of.n.id)
	mu.Lock()
	defer mu.Unlock()
	switch {
	case !of.dirty:
		return nil
	case of.passthrough:
		if f.settledLease(of) {
			return nil
		}
	case !of.allFlushed():
		return nil // written since its last close(2), or never closed
	case patient:
		// close(2) returned and RELEASE does not come: a duplicate or a child
		// holds the file. What is there now is what that close left.
		if of.modified.Load() {
			f.publish(of, true)
		}
		return nil
	}
	if of.released == nil {
		of.released = make(chan struct{})
	}
	return of.released
}

// settledLease asks the kernel about a passed-through file: it drops the
// writer on the backing file before it queues RELEASE, so a file that we count
// as open and that nobody can write has been closed. The caller holds the inode
// lock.
func (f *FS) settledLease(of *openFile) bool {
	if len(of.writers) > 0 && time.Since(of.nonblock) < nonblockGrace {
		return false
	}
	if f.writable(of) {
		// Mapped and closed: what the close left, and any store since.
		if len(of.writers) == 0 {
			f.publish(of, true)
		}
		return true
	}
	if len(of.writers) == 0 {
		f.finishWriting(of)
		return true
	}
	return false
}

// allFlushed tells whether each writer saw a close(2) after its last write.
func (of *openFile) allFlushed() bool {
	for _, h := range of.writers {
		if !h.flushed.Load() {
			return false
		}
	}
	return true
}
