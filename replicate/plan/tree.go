package plan

import (
	"strings"

	"closefs/fs/journal"
)

// A node is a name in the namespace of the newest record, with what is pending
// for it. It exists only as long as something is pending for it or below it.
type node struct {
	parent   *node
	name     string
	children map[string]*node

	id      journal.FileID
	created bool // an Open record created it and its Content has not come yet; the target has none
	sync    *op  // not started
	run     *op  // a Sync that runs
	times   *op  // not started
	check   *op  // not started
	linked  []*op
	detach  bool // no longer in the tree
}

// lookup finds the node of path, or nil.
func (n *node) lookup(path string) *node {
	for rest := path; rest != "" && n != nil; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		n = n.children[name]
	}
	return n
}

// ensure finds or makes the node of path.
func (n *node) ensure(path string) *node {
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		c := n.children[name]
		if c == nil {
			c = &node{name: name}
			n.put(c)
		}
		n = c
	}
	return n
}

// put hangs c under n by c's name; what was there must have been taken off.
func (n *node) put(c *node) {
	if n.children == nil {
		n.children = make(map[string]*node)
	}
	n.children[c.name] = c
	c.parent = n
	c.detach = false
}

// takeOff removes n from its parent, keeping its subtree.
func (n *node) takeOff() {
	if n.parent != nil {
		delete(n.parent.children, n.name)
		p := n.parent
		n.parent = nil
		p.prune()
	}
}

// prune forgets n and its parents as far as nothing is pending there.
func (n *node) prune() {
	for n.parent != nil && n.idle() {
		p := n.parent
		delete(p.children, n.name)
		n.parent = nil
		n.detach = true
		n = p
	}
}

// disturb tells the comparisons that run at and below n that they look at the
// wrong place, or did for a while.
func (n *node) disturb() {
	n.walk(func(m *node) {
		for _, o := range m.linked {
			if o.kind == Check {
				o.moved = true
			}
		}
	})
}

// comparing tells whether a Check of n is pending or runs.
func (n *node) comparing() bool {
	if n.check != nil {
		return true
	}
	for _, o := range n.linked {
		if o.kind == Check && o.node == n {
			return true
		}
	}
	return false
}

func (n *node) idle() bool {
	return len(n.children) == 0 && n.sync == nil && n.run == nil && n.times == nil && n.check == nil &&
		len(n.linked) == 0 && !n.created
}

// path is where the primary has n.
func (n *node) path() string {
	if n.parent == nil {
		return ""
	}
	size := -1
	for m := n; m.parent != nil; m = m.parent {
		size += len(m.name) + 1
	}
	b := make([]byte, size)
	for m := n; m.parent != nil; m = m.parent {
		size -= len(m.name)
		copy(b[size:], m.name)
		if size--; size >= 0 {
			b[size] = '/'
		}
	}
	return string(b)
}

// within tells whether n is top or below it.
func (n *node) within(top *node) bool {
	for ; n != nil; n = n.parent {
		if n == top {
			return true
		}
	}
	return false
}

// walk visits n and all nodes below it.
func (n *node) walk(visit func(*node)) {
	visit(n)
	for _, c := range n.children {
		c.walk(visit)
	}
}

// split cuts path into its parent directory and its last element.
func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// head cuts the first element off path.
func head(path string) (name, rest string) {
	name, rest, _ = strings.Cut(path, "/")
	return name, rest
}

// slot is where n keeps its pending op of a kind.
func (n *node) slot(k Kind) **op {
	switch k {
	case Times:
		return &n.times
	case Check:
		return &n.check
	}
	return &n.sync
}
