package fs

import (
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the wait between two probes of a file whose mapping lives on. The
// first is short because the kernel may queue RELEASE a moment before it drops
// the writer.
const (
	firstProbe = 100 * time.Microsecond
	lastProbe  = 500 * time.Millisecond
)

// writable tells whether anybody can still write to of: a read lease is
// refused while the inode is open for writing or mapped writable (fcntl(2),
// F_SETLEASE). Such an opener that comes while we hold the lease waits the
// microsecond until it is given back; it fails with EWOULDBLOCK if it asked for
// O_NONBLOCK, so the caller must not probe while such an open is under way. The
// caller holds the inode lock.
func (f *FS) writable(of *openFile) bool { return f.writableFD(of.fd) }

func (f *FS) writableFD(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	if err == unix.EAGAIN {
		return true
	}
	if err != nil {
		f.noLeases(err)
		return false
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		f.log.Error("giving back a lease failed", "error", err)
	}
	return false
}

// noLeases gives passthrough up: without leases the stores through a mapping
// that outlives its file would go unseen.
func (f *FS) noLeases(err error) {
	if f.passthrough.CompareAndSwap(true, false) {
		f.log.Warn("files are served without kernel passthrough: the backing filesystem refuses leases", "error", err)
	}
}

// probeLater schedules the next look at a file that is still mapped. The caller
// holds the inode lock.
func (f *FS) probeLater(of *openFile) {
	if of.probing || f.stopped.Err() != nil {
		return
	}
	if of.wait == 0 {
		of.wait = firstProbe
	}
	of.probing = true
	of.refs++
	wait := of.wait
	of.wait = min(2*of.wait, lastProbe)
	f.background.Add(1)
	time.AfterFunc(wait, func() {
		defer f.background.Done()
		f.probe(of)
	})
}

// probe looks whether the mapping is gone.
func (f *FS) probe(of *openFile) {
	if f.probed(of) && f.stopped.Err() == nil {
		f.refreshAttr(of.n.id)
	}
}

func (f *FS) probed(of *openFile) (notify bool) {
	f.order.RLock()
	defer f.order.RUnlock()
	mu := f.inodeLock(of.n.id)
	mu.Lock()
	defer mu.Unlock()
	of.probing = false
	notify = f.finishWriting(of)
	if !of.dirty {
		of.wait = 0
	}
	of.wake()
	f.unrefOpen(of)
	return notify
}
