package fs

import (
	"sync"

	"golang.org/x/sys/unix"
)

// rootNode is the node id of the mount's root (FUSE_ROOT_ID).
const rootNode = 1

// A node is an inode that the kernel references, or the directory of one.
// There may be millions: keep it small.
type node struct {
	id     uint64
	parent *node  // with name: where it was last seen; nil: the root, or no name is known
	name   string // guarded by table.mu, like all below but open

	nlookup uint64 // references of the kernel
	pins    uint32 // children in the table, and the open file
	orphan  int32  // O_PATH descriptor of a node that lost its last known name, or -1; closed with the node
	typ     uint16 // S_IFMT bits

	open *openFile // guarded by FS.inodeLock(id)
}

func (n *node) isDir() bool { return n.typ == unix.S_IFDIR }

// table holds the nodes by id.
type table struct {
	mu    sync.RWMutex // release a write lock by unlock
	nodes map[uint64]*node
	root  *node
	dead  []int // descriptors of dropped nodes, which unlock closes
}

// unlock ends a change. Closing is left for afterwards: the last descriptor of
// a removed file frees its blocks, which takes long if they are many.
func (t *table) unlock() {
	dead := t.dead
	t.dead = nil
	t.mu.Unlock()
	for _, fd := range dead {
		unix.Close(fd)
	}
}

func newTable() *table {
	root := &node{id: rootNode, nlookup: 1, orphan: -1, typ: unix.S_IFDIR}
	return &table{nodes: map[uint64]*node{rootNode: root}, root: root}
}

func (t *table) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.nodes)
}

// get returns the node, or nil.
func (t *table) get(id uint64) *node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.nodes[id]
}

// where tells how to reach n: by name in parent, or through the descriptor orphan.
func (t *table) where(n *node) (parent *node, name string, orphan int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return n.parent, n.name, int(n.orphan)
}

// add returns the node of id after counting n references of the kernel, with
// (parent, name) as its name from now on. parent nil leaves the name alone.
func (t *table) add(id uint64, typ uint32, parent *node, name string, lookups uint64) *node {
	t.mu.Lock()
	defer t.unlock()
	n := t.addLocked(id, typ, parent, name)
	n.nlookup += lookups
	return n
}

// addPinned is add for a node that the kernel did not ask for; unpin it.
func (t *table) addPinned(id uint64, typ uint32, parent *node, name string) *node {
	t.mu.Lock()
	defer t.unlock()
	n := t.addLocked(id, typ, parent, name)
	n.pins++
	return n
}

func (t *table) addLocked(id uint64, typ uint32, parent *node, name string) *node {
	n := t.nodes[id]
	if n == nil {
		n = &node{id: id, orphan: -1, typ: uint16(typ & unix.S_IFMT)}
		t.nodes[id] = n
	}
	if parent != nil {
		t.nameLocked(n, parent, name)
	}
	return n
}

// rename gives n another name; parent nil takes its name away.
func (t *table) rename(n, parent *node, name string) {
	t.mu.Lock()
	defer t.unlock()
	t.nameLocked(n, parent, name)
}

func (t *table) nameLocked(n, parent *node, name string) {
	if n.parent == parent {
		if n.name != name {
			n.name = name
		}
		return
	}
	if parent != nil {
		parent.pins++
	}
	old := n.parent
	n.parent, n.name = parent, name
	if old != nil {
		t.unpinLocked(old)
	}
}

// pin keeps n in the table until unpin.
func (t *table) pin(n *node) {
	t.mu.Lock()
	n.pins++
	t.mu.Unlock()
}

func (t *table) unpin(n *node) {
	t.mu.Lock()
	defer t.unlock()
	t.unpinLocked(n)
}

func (t *table) unpinLocked(n *node) {
	n.pins--
	t.dropLocked(n)
}

// forget takes back references of the kernel.
func (t *table) forget(id, lookups uint64) {
	t.mu.Lock()
	defer t.unlock()
	n := t.nodes[id]
	if n == nil || n == t.root {
		return
	}
	n.nlookup -= min(lookups, n.nlookup)
	t.dropLocked(n)
}

// dropLocked removes n, and then its directories, if nothing needs them.
func (t *table) dropLocked(n *node) {
	for n != nil && n != t.root && n.nlookup == 0 && n.pins == 0 {
		delete(t.nodes, n.id)
		if n.orphan >= 0 {
			t.dead = append(t.dead, int(n.orphan))
			n.orphan = -1
		}
		parent := n.parent
		n.parent = nil
		if parent != nil {
			parent.pins--
		}
		n = parent
	}
}

// setOrphan hands over fd (or -1) as the way to reach n. It keeps an older one.
func (t *table) setOrphan(n *node, fd int) {
	if fd < 0 {
		return
	}
	t.mu.Lock()
	defer t.unlock()
	if n.orphan >= 0 || n.nlookup == 0 && n.pins == 0 {
		t.dead = append(t.dead, fd)
		return
	}
	n.orphan = int32(fd)
}

// path is n's path below the root. ok is false if n, or a directory above it,
// has no name. The caller holds order.
func (t *table) path(n *node) (path string, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.pathLocked(n)
}

// childPath is the path of name in dir.
func (t *table) childPath(dir *node, name string) (path string, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if dir == t.root {
		return name, true
	}
	p, ok := t.pathLocked(dir)
	return p + "/" + name, ok
}

func (t *table) pathLocked(n *node) (string, bool) {
	size := 0
	for m := n; m != t.root; m = m.parent {
		if m == nil {
			return "", false
		}
		if m.parent == nil {
			return "", false
		}
		size += len(m.name) + 1
	}
	if size == 0 {
		return "", true
	}
	b := make([]byte, size-1)
	end := len(b)
	for m := n; m != t.root; m = m.parent {
		start := end - len(m.name)
		copy(b[start:end], m.name)
		if start > 0 {
			b[start-1] = '/'
		}
		end = start - 1
	}
	return string(b), true
}

// closeAll closes the descriptors of nodes that the kernel never forgot (it
// does not when the connection ends).
func (t *table) closeAll() {
	t.mu.Lock()
	defer t.unlock()
	for _, n := range t.nodes {
		if n.orphan >= 0 {
			t.dead = append(t.dead, int(n.orphan))
			n.orphan = -1
		}
	}
}
