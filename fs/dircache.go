package fs

import (
	"container/list"
	"sync"

	"golang.org/x/sys/unix"
)

// dirCacheSize bounds the descriptors of directories that are kept open.
// Resolving a name from the root costs about 1.5 µs and three system calls per
// component; from a cached directory it costs one.
const dirCacheSize = 512

// dirCache keeps O_PATH descriptors of the directories used last. A descriptor
// stays right whatever the directory is renamed to.
type dirCache struct {
	fs *FS

	mu   sync.Mutex // guards all below; no system call but close under it
	dirs map[*node]*dirFD
	lru  list.List // of *dirFD, the one used last in front
}

// A dirFD is an open directory. release it.
type dirFD struct {
	fd    int
	n     *node
	cache *dirCache
	refs  int           // users, and 1 while cached
	elem  *list.Element // nil: not cached
	mtime unix.Timespec // of the listing that the kernel may have cached
}

func newDirCache(f *FS) *dirCache {
	return &dirCache{fs: f, dirs: make(map[*node]*dirFD)}
}

// acquire opens the directory n. The caller holds order. The error is an errno.
func (c *dirCache) acquire(n *node) (*dirFD, error) {
	if n.id == rootNode {
		return &dirFD{fd: c.fs.root.FD(), n: n, refs: 1}, nil
	}
	if d := c.lookup(n); d != nil {
		return d, nil
	}
	fd, err := c.openNode(n)
	if err != nil {
		return nil, err
	}
	return c.insert(n, fd), nil
}

func (c *dirCache) lookup(n *node) *dirFD {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.dirs[n]
	if d != nil {
		d.refs++
		c.lru.MoveToFront(d.elem)
	}
	return d
}

func (c *dirCache) openNode(n *node) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	parent, name, orphan := c.fs.table.where(n)
	if parent == nil {
		if orphan < 0 {
			return -1, unix.ESTALE
		}
		return openat(orphan, ".", flags, 0)
	}
	p, err := c.acquire(parent)
	if err != nil {
		return -1, err
	}
	defer p.release()
	fd, err := openat(p.fd, name, flags, 0)
	if err != nil {
		return -1, stale(err)
	}
	return c.fs.verified(n, fd)
}

// insert caches fd, unless somebody else was faster.
func (c *dirCache) insert(n *node, fd int) *dirFD {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.dirs[n]; d != nil {
		unix.Close(fd)
		d.refs++
		return d
	}
	d := &dirFD{fd: fd, n: n, cache: c, refs: 2}
	d.elem = c.lru.PushFront(d)
	c.dirs[n] = d
	if c.lru.Len() > dirCacheSize {
		c.evictLocked(c.lru.Back().Value.(*dirFD))
	}
	return d
}

func (c *dirCache) evictLocked(d *dirFD) {
	c.lru.Remove(d.elem)
	delete(c.dirs, d.n)
	d.elem = nil
	d.unrefLocked()
}

// drop forgets the directory n, which is being removed or forgotten.
func (c *dirCache) drop(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.dirs[n]; d != nil {
		c.evictLocked(d)
	}
}

func (c *dirCache) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.dirs {
		c.evictLocked(d)
	}
}

func (d *dirFD) release() {
	if d.cache == nil {
		return // the root's, which is not ours to close
	}
	d.cache.mu.Lock()
	d.unrefLocked()
	d.cache.mu.Unlock()
}

func (d *dirFD) unrefLocked() {
	if d.refs--; d.refs == 0 {
		unix.Close(d.fd)
	}
}

// listed notes the directory's mtime at the start of a listing and tells
// whether it is still that of the listing before, so that the kernel may go on
// using what it has cached.
func (d *dirFD) listed(mtime unix.Timespec) (unchanged bool) {
	if d.cache == nil {
		return false
	}
	d.cache.mu.Lock()
	defer d.cache.mu.Unlock()
	unchanged = d.mtime == mtime
	d.mtime = mtime
	return unchanged
}
