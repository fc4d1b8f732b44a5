package fs

import (
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// A foreign file was dirty when the daemon before us died, and somebody still
// writes it: what a process opened in kernel passthrough goes on working on the
// dead mount, and nobody is told when it is closed. So the lease is asked until
// it is granted, and then the file is published.
type foreign struct {
	n    *node // pinned
	fd   int   // read-only
	wait time.Duration
}

// recoverContent publishes a dirty file, and watches it if it is still written.
// The caller holds order.
func (f *FS) recoverContent(st *backing.Stat, path string) error {
	r := f.contentRecord(st, path)
	w := f.watchForeign(st, path)
	r.StillOpen = w != nil
	if err := f.appendAll(r); err != nil {
		return err
	}
	if w != nil {
		f.log.Info("a file is still written through the mount before", "path", path)
		f.foreign = append(f.foreign, w)
	}
	return nil
}

// watchAll starts to watch what Recover found, once there is a server whose
// kernel can be told.
func (f *FS) watchAll() {
	for _, w := range f.foreign {
		f.foreignLater(w)
	}
	f.foreign = nil
}

func (f *FS) unwatch(w *foreign) {
	unix.Close(w.fd)
	f.table.unpin(w.n)
}

// watchForeign returns nil if nobody writes the file.
func (f *FS) watchForeign(st *backing.Stat, path string) *foreign {
	fd, err := f.root.Openat(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil // not readable for an ordinary user, who had no passthrough either
	}
	if !f.writableFD(fd) {
		unix.Close(fd)
		return nil
	}
	dir, name, err := f.internParent(path)
	if err != nil {
		unix.Close(fd)
		return nil
	}
	w := &foreign{n: f.table.addPinned(uint64(st.ID), st.Mode, dir, name), fd: fd, wait: firstProbe}
	f.table.unpin(dir)
	f.open.setForeign(w.n.id, true)
	return w
}

func (f *FS) foreignLater(w *foreign) {
	f.background.Add(1)
	timer := time.NewTimer(w.wait)
	w.wait = min(2*w.wait, lastProbe)
	go func() {
		defer f.background.Done()
		defer timer.Stop()
		select {
		case <-timer.C:
			if f.foreignWritten(w) {
				f.foreignLater(w)
				return
			}
			f.refreshAttr(w.n.id)
		case <-f.stopped.Done():
			f.foreignWritten(w) // if it is, it stays dirty and the next start looks again
		}
		f.unwatch(w)
	}()
}

// foreignWritten publishes w's file if nobody writes it any more.
func (f *FS) foreignWritten(w *foreign) bool {
	f.order.RLock()
	defer f.order.RUnlock()
	mu := f.inodeLock(w.n.id)
	mu.Lock()
	defer mu.Unlock()
	if f.writableFD(w.fd) {
		return true
	}
	f.open.setForeign(w.n.id, false)
	if of := w.n.open; of != nil && of.dirty {
		of.modified.Store(true)
		return false // its own RELEASE is on the way, and publishes it
	}
	st, err := f.fstat(w.n, w.fd)
	if err != nil {
		f.log.Error("a file written through the mount before", "id", w.n.id, "error", err)
		return false
	}
	path, named := f.nameOf(w.n, &st)
	switch {
	case st.Nlink == 0: // its last name was replaced, which the journal may not know
		f.record(&journal.Record{Kind: journal.Clean, ID: st.ID, Mode: st.Mode, Path: path})
	case named:
		f.record(f.contentRecord(&st, path))
	default:
		f.findLinks(w.n.id)
	}
	return false
}
