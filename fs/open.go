package fs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Open opens a regular file (the kernel opens special files itself).
func (f *FS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := f.table.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	f.order.RLock()
	defer f.order.RUnlock()
	h, err := f.openHandle(n, in.Flags, in.Mode&fuse.OPEN_KILL_SUIDGID != 0, &in.Caller)
	if err != nil {
		return errno(err)
	}
	f.answerOpen(h, out)
	return fuse.OK
}

func mayWrite(flags uint32) bool {
	return flags&unix.O_ACCMODE != unix.O_RDONLY
}

// openHandle opens n for an application. killSuid: O_TRUNC takes suid and sgid
// away. The caller holds order.
func (f *FS) openHandle(n *node, flags uint32, killSuid bool, opener *fuse.Caller) (*handle, error) {
	of, err := f.openNodeFile(n, opener)
	if err != nil {
		return nil, err
	}
	h := newHandle(flags)
	h.of = of
	if !of.passthrough {
		if h.fd, err = reopen(of.fd, int(flags)&(unix.O_ACCMODE|unix.O_LARGEFILE)); err != nil {
			f.releaseOpen(of)
			return nil, err
		}
	}
	if err := f.addHandle(h, flags&unix.O_TRUNC != 0, false); err != nil {
		f.dropHandle(h)
		return nil, err
	}
	if flags&unix.O_TRUNC != 0 {
		err = f.truncateOpen(h, killSuid)
	}
	if err == nil && opener.Uid != 0 && h.write && of.passthrough {
		// It got its bits after it was opened first. The writes will not be
		// seen: take the bits now.
		err = f.clearSuid(of.fd)
	}
	if err != nil {
		f.finishHandle(h)
		return nil, err
	}
	return h, nil
}

// addHandle counts h among its file's handles; h.of's reference is h's from
// then on. If h writes, or will truncate, the file is dirty afterwards and the
// record that says so is appended: a crash later leaves it dirty.
func (f *FS) addHandle(h *handle, truncate, created bool) error {
	of := h.of
	mu := f.inodeLock(of.n.id)
	mu.Lock()
	defer mu.Unlock()
	if h.write || truncate {
		if err := f.beginWriting(of, created); err != nil {
			return err
		}
	}
	if truncate {
		of.modified.Store(true)
	}
	of.handles++
	if h.write {
		of.writers = append(of.writers, h)
		if h.nonblock {
			of.nonblock = time.Now()
		}
	}
	return nil
}

// dropHandle undoes an open that was never counted.
func (f *FS) dropHandle(h *handle) {
	if h.fd >= 0 {
		unix.Close(h.fd)
	}
	f.releaseOpen(h.of)
}

// truncateOpen is O_TRUNC. The file is dirty already.
func (f *FS) truncateOpen(h *handle, killSuid bool) error {
	if err := f.truncateFD(h.of.fd, 0, killSuid); err != nil {
		return err
	}
	if h.write {
		return nil // published when it is closed
	}
	f.publishNow(h.of)
	return nil
}

// publishNow publishes what was made or truncated by an open for reading.
func (f *FS) publishNow(of *openFile) {
	mu := f.inodeLock(of.n.id)
	mu.Lock()
	defer mu.Unlock()
	f.finishWriting(of)
}

// truncateFD sets the size of fd's file, O_PATH or not.
func (f *FS) truncateFD(fd int, size int64, killSuid bool) error {
	if err := unix.Truncate(procPath(fd), size); err != nil {
		return err
	}
	if killSuid {
		return f.clearSuid(fd)
	}
	return nil
}

// clearSuid takes away the bits that a write by somebody without CAP_FSETID
// takes away (FUSE_HANDLE_KILLPRIV_V2 leaves that to us): suid, and sgid if the
// group may execute.
func (f *FS) clearSuid(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	mode := st.Mode &^ unix.S_ISUID
	if mode&unix.S_IXGRP != 0 {
		mode &^= unix.S_ISGID
	}
	if mode == st.Mode {
		return nil
	}
	return unix.Chmod(procPath(fd), mode&^unix.S_IFMT)
}

// answerOpen numbers h and tells the kernel how to go on.
func (f *FS) answerOpen(h *handle, out *fuse.OpenOut) {
	out.Fh = f.handles.add(h)
	if h.of.passthrough {
		// Close needs no FLUSH: Settle asks the lease (see 0002-close.md).
		out.OpenFlags = fuse.FOPEN_PASSTHROUGH | fuse.FOPEN_NOFLUSH
		out.BackingID = h.of.backing
		return
	}
	if !h.write {
		out.OpenFlags = fuse.FOPEN_NOFLUSH
	}
}

// Release comes once per handle, some time after its last close(2) returned.
func (f *FS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	h := f.handles.remove(in.Fh)
	if h == nil || h.of == nil {
		return
	}
	f.order.RLock()
	notify := f.finishHandle(h)
	f.order.RUnlock()
	if notify {
		f.refreshAttr(in.NodeId)
	}
}

// finishHandle takes h back. It tells whether the kernel should ask for the
// attributes again, because a mapping may have moved them unseen. The caller
// holds order.
func (f *FS) finishHandle(h *handle) (notify bool) {
	if h.fd >= 0 {
		unix.Close(h.fd)
	}
	of := h.of
	mu := f.inodeLock(of.n.id)
	mu.Lock()
	defer mu.Unlock()
	of.handles--
	if h.write {
		of.removeWriter(h)
		if len(of.writers) == 0 {
			notify = f.finishWriting(of) && of.passthrough && h.mappable
		}
		of.wake()
	}
	f.unrefOpen(of)
	return notify
}

func (of *openFile) removeWriter(h *handle) {
	for i, w := range of.writers {
		if w == h {
			last := len(of.writers) - 1
			of.writers[i] = of.writers[last]
			of.writers[last] = nil
			of.writers = of.writers[:last]
			return
		}
	}
}

// wake tells Settle that a writer is gone. The caller holds the inode lock.
func (of *openFile) wake() {
	if of.released != nil {
		close(of.released)
		of.released = nil
	}
}

// refreshAttr makes the kernel forget size and times of a node. The caller
// holds no lock.
func (f *FS) refreshAttr(id uint64) {
	f.server.InodeNotify(id, -1, 0)
}
