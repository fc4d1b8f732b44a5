package fs

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// dirBuffer is how much of a listing is read at once.
const dirBuffer = 32 << 10

// A dirHandle is an open directory. Offsets are the backing filesystem's, so
// telldir and seekdir are as good as there.
type dirHandle struct {
	n *node

	mu     sync.Mutex // guards all below
	fd     int
	buf    []byte
	left   []byte // of buf, entries not yet handed out
	offset uint64 // after which left begins
}

func (d *dirHandle) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	unix.Close(d.fd)
	d.fd = -1
}

// OpenDir opens a directory for listing. The kernel may keep the listing that
// it has if the directory did not change behind the mount's back.
func (f *FS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := f.table.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	f.order.RLock()
	defer f.order.RUnlock()
	d, err := f.dirs.acquire(n)
	if err != nil {
		return errno(err)
	}
	defer d.release()
	fd, err := openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return errno(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return errno(err)
	}
	if f.opts.Timeout > 0 {
		out.OpenFlags = fuse.FOPEN_CACHE_DIR
		if d.listed(st.Mtim) {
			out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
		}
	}
	out.Fh = f.handles.add(&handle{fd: -1, dir: &dirHandle{n: n, fd: fd}})
	return fuse.OK
}

// ReleaseDir closes a directory.
func (f *FS) ReleaseDir(in *fuse.ReleaseIn) {
	if h := f.handles.remove(in.Fh); h != nil && h.dir != nil {
		h.dir.close()
	}
}

func (f *FS) dir(fh uint64) *dirHandle {
	if h := f.handles.get(fh); h != nil {
		return h.dir
	}
	return nil
}

// ReadDir lists names.
func (f *FS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	d := f.dir(in.Fh)
	if d == nil {
		return fuse.EBADF
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return errno(d.each(in.Offset, func(e fuse.DirEntry) bool { return out.AddDirEntry(e) }))
}

// ReadDirPlus lists names and what they are, as by Lookup.
func (f *FS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	d := f.dir(in.Fh)
	if d == nil {
		return fuse.EBADF
	}
	f.order.RLock()
	defer f.order.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	at := &dirFD{fd: d.fd, n: d.n, refs: 1}
	return errno(d.each(in.Offset, func(e fuse.DirEntry) bool {
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false
		}
		if e.Name == "." || e.Name == ".." {
			return true
		}
		if f.lookupIn(at, e.Name, entry) != nil {
			*entry = fuse.EntryOut{} // no entry: the kernel looks it up when asked
		} else {
			out.FixMode(entry.Mode)
		}
		return true
	}))
}

// each calls add with the entries after offset until it has no room. The caller
// holds d.mu.
func (d *dirHandle) each(offset uint64, add func(fuse.DirEntry) bool) error {
	if d.fd < 0 {
		return unix.EBADF
	}
	if offset != d.offset {
		if _, err := unix.Seek(d.fd, int64(offset), 0); err != nil {
			return err
		}
		d.left, d.offset = nil, offset
	}
	for {
		if len(d.left) == 0 {
			if err := d.fill(); err != nil || len(d.left) == 0 {
				return err
			}
		}
		e, size := parseEntry(d.left)
		if !add(e) {
			return nil
		}
		d.left, d.offset = d.left[size:], e.Off
	}
}

func (d *dirHandle) fill() error {
	if d.buf == nil {
		d.buf = make([]byte, dirBuffer)
	}
	n, err := unix.Getdents(d.fd, d.buf)
	if err == unix.ENOENT { // removed meanwhile: an empty directory
		n, err = 0, nil
	}
	if err != nil {
		return err
	}
	d.left = d.buf[:n]
	return nil
}

// parseEntry decodes a struct linux_dirent64 (getdents64(2)).
func parseEntry(b []byte) (e fuse.DirEntry, size int) {
	e.Ino = binary.NativeEndian.Uint64(b)
	e.Off = binary.NativeEndian.Uint64(b[8:])
	size = int(binary.NativeEndian.Uint16(b[16:]))
	e.Mode = uint32(b[18]) << 12
	name := b[19:size]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	e.Name = string(name)
	return e, size
}

// FsyncDir makes a directory's entries durable, and the journal first.
func (f *FS) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	d := f.dir(in.Fh)
	if d == nil {
		return fuse.EBADF
	}
	if err := f.journal.Sync(); err != nil {
		return errno(err)
	}
	return errno(unix.Fsync(d.fd))
}
