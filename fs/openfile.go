package fs

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/backing"
)

// An openFile is a regular file that is open through the mount, or was and may
// still be written through a mapping. All handles of an inode share it, because
// the kernel demands that an inode is all passthrough or all cached, with one
// backing id.
//
// It is dirty from the Open record, appended before the first open for writing
// is answered, until the Content or Clean record that follows the last close.
type openFile struct {
	n           *node
	fd          int   // passthrough: O_RDONLY, not counted as a writer; cached: O_PATH
	passthrough bool  // else cached
	backing     int32 // the kernel's backing id, if passthrough

	// modified: the content changed, or may have, since base. Set without a
	// lock by writes that the daemon serves.
	modified atomic.Bool

	// Guarded by FS.inodeLock(n.id):
	refs     int       // handles, users of fd, the probe
	handles  int       // open files of applications
	writers  []*handle // those of them that may write
	dirty    bool      // in the journal's eyes
	mapped   bool      // there may be stores that ctime does not tell: publish at the end in any case
	probing  bool      // a probe is scheduled
	wait     time.Duration
	base     version       // at the first open for writing, or when it was published last
	since    time.Time     // of base
	nonblock time.Time     // of the last open for writing with O_NONBLOCK
	released chan struct{} // closed when a writer is released; nil: nobody waits
}

// version is what tells whether a file was written: of any write at least one
// moves, except for stores through a mapping that is already writable, and for
// writes within one tick of the clock on kernels before 6.13.
type version struct {
	ctime unix.Timespec
	size  int64
}

func versionOf(st *backing.Stat) version { return version{st.Ctim, st.Size} }

// coarseTick exceeds the tick (4–10 ms) that ctime is cut to on kernels without
// fine-grained change times: a file whose ctime is younger than this may be
// written once more without its ctime moving.
const coarseTick = 50 * time.Millisecond

func fresh(st *backing.Stat) bool {
	age := time.Since(st.ChangeTime())
	return age < coarseTick
}

// openSet lists the open files.
type openSet struct {
	mu    sync.Mutex
	files map[*openFile]struct{}
	dirty map[*openFile]struct{}

	foreign map[uint64]struct{} // nodes that somebody writes through a dead mount
}

func newOpenSet() *openSet {
	return &openSet{files: make(map[*openFile]struct{}), dirty: make(map[*openFile]struct{}), foreign: make(map[uint64]struct{})}
}

// isForeign tells whether a node's content cannot be final, because a foreign
// writer has it open.
func (s *openSet) isForeign(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.foreign[id]
	return ok
}

func (s *openSet) setForeign(id uint64, foreign bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if foreign {
		s.foreign[id] = struct{}{}
	} else {
		delete(s.foreign, id)
	}
}

func (s *openSet) add(of *openFile) {
	s.mu.Lock()
	s.files[of] = struct{}{}
	s.mu.Unlock()
}

func (s *openSet) remove(of *openFile) {
	s.mu.Lock()
	delete(s.files, of)
	s.mu.Unlock()
}

func (s *openSet) counts() (open, dirty int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files), len(s.dirty)
}

// dirtyFiles is a snapshot.
func (s *openSet) dirtyFiles() []*openFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	files := make([]*openFile, 0, len(s.dirty))
	for of := range s.dirty {
		files = append(files, of)
	}
	return files
}

// setDirty is the only writer of of.dirty. The caller holds of's inode lock.
func (s *openSet) setDirty(of *openFile, dirty bool) {
	of.dirty = dirty
	s.mu.Lock()
	if dirty {
		s.dirty[of] = struct{}{}
	} else {
		delete(s.dirty, of)
	}
	s.mu.Unlock()
}

// acquireOpen returns n's open file, or nil. releaseOpen it. The caller must
// not hold n's inode lock.
func (f *FS) acquireOpen(n *node) *openFile {
	mu := f.inodeLock(n.id)
	mu.Lock()
	defer mu.Unlock()
	if n.open != nil {
		n.open.refs++
	}
	return n.open
}

func (f *FS) releaseOpen(of *openFile) {
	mu := f.inodeLock(of.n.id)
	mu.Lock()
	defer mu.Unlock()
	f.unrefOpen(of)
}

// unrefOpen closes of after its last user. The caller holds the inode lock.
func (f *FS) unrefOpen(of *openFile) {
	if of.refs--; of.refs > 0 {
		return
	}
	of.n.open = nil
	f.open.remove(of)
	if of.dirty {
		f.open.setDirty(of, false)
	}
	if of.passthrough {
		if e := f.server.UnregisterBackingFd(of.backing); e != 0 && f.stopped.Err() == nil {
			f.log.Warn("closing a backing id failed", "backing_id", of.backing, "error", e)
		}
	}
	unix.Close(of.fd)
	f.table.unpin(of.n)
}

// openNodeFile returns n's open file, which it makes if there is none. The
// caller holds order and owns a reference afterwards. See attach for opener.
func (f *FS) openNodeFile(n *node, opener *fuse.Caller) (*openFile, error) {
	if of := f.acquireOpen(n); of != nil {
		return of, nil
	}
	fd, err := f.openPath(n)
	if err != nil {
		return nil, err
	}
	return f.attach(n, fd, opener)
}

// attach makes an open file of n from fd, O_PATH or read-only, unless n has one
// already. It takes fd over. What is passed through is written with the
// credentials of the first opener for as long as anybody has the file open: the
// kernel takes one backing file per inode.
func (f *FS) attach(n *node, fd int, opener *fuse.Caller) (*openFile, error) {
	mu := f.inodeLock(n.id)
	mu.Lock()
	defer mu.Unlock()
	if n.open != nil {
		unix.Close(fd)
		n.open.refs++
		return n.open, nil
	}
	of := &openFile{n: n, fd: fd, refs: 1}
	f.choosePassthrough(of, opener)
	n.open = of
	f.table.pin(n)
	f.open.add(of)
	return of, nil
}

// choosePassthrough registers of with the kernel if its data may bypass the
// daemon. A file with suid or sgid bits may not: the kernel does not clear
// them when it is written through the daemon's credentials.
func (f *FS) choosePassthrough(of *openFile, opener *fuse.Caller) {
	if !f.passthrough.Load() {
		return
	}
	st, err := f.fstat(of.n, of.fd)
	if err != nil || !isRegular(st.Mode) || st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		return
	}
	fd, err := f.readable(of.fd)
	if err != nil {
		return
	}
	id, e := f.registerBacking(fd, opener)
	if e != 0 {
		if fd != of.fd {
			unix.Close(fd)
		}
		f.refusedPassthrough(e)
		return
	}
	if fd != of.fd {
		unix.Close(of.fd)
	}
	of.fd, of.backing, of.passthrough = fd, id, true
}

// registerBacking tells the kernel of fd, to be written with opener's credentials.
func (f *FS) registerBacking(fd int, opener *fuse.Caller) (id int32, e unix.Errno) {
	err := f.cred.asWriter(opener, func() error {
		id, e = f.server.RegisterBackingFd(&fuse.BackingMap{Fd: int32(fd)})
		return nil
	})
	if err != nil {
		return 0, unix.Errno(errno(err))
	}
	return id, e
}

// readable returns fd itself if it can be read from, else another descriptor
// of the same file.
func (f *FS) readable(fd int) (int, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_PATH == 0 {
		return fd, err
	}
	return reopen(fd, unix.O_RDONLY)
}

// refusedPassthrough gives passthrough up for good if the reason is not about
// one file: no privilege, no kernel support, or a backing filesystem that is
// itself stacked.
func (f *FS) refusedPassthrough(e unix.Errno) {
	switch e {
	case unix.EPERM, unix.ENOTTY, unix.EOPNOTSUPP, unix.ELOOP, unix.EINVAL, unix.ENOSYS:
		if f.passthrough.CompareAndSwap(true, false) {
			f.log.Info("files are served without kernel passthrough", "reason", e.Error())
		}
	}
}

// beginWriting makes of dirty, before it is opened for writing or truncated.
// The caller holds order and the inode lock.
func (f *FS) beginWriting(of *openFile, created bool) error {
	if of.dirty {
		return nil
	}
	st, err := f.fstat(of.n, of.fd)
	if err != nil {
		return err
	}
	of.base, of.since = versionOf(&st), time.Now()
	of.modified.Store(created || of.passthrough && fresh(&st))
	path, named := f.table.path(of.n)
	if !named {
		return nil // unlinked, or O_TMPFILE: nothing to ship
	}
	f.open.setDirty(of, true)
	r := openRecord(&st, path)
	r.Created = created
	f.record(r)
	return nil
}
