package plan

import "strings"

// A fence is a node of the tree of paths that ordered operations and running
// steps work on at the target.
type fence struct {
	parent   *fence
	name     string
	children map[string]*fence
	ops      []*op
	below    int // ops here and below
}

// enter puts o on path.
func (f *fence) enter(path string, o *op) {
	n := f
	n.below++
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		c := n.children[name]
		if c == nil {
			c = &fence{parent: n, name: name}
			if n.children == nil {
				n.children = make(map[string]*fence)
			}
			n.children[name] = c
		}
		n = c
		n.below++
	}
	n.ops = append(n.ops, o)
	o.fenced = append(o.fenced, n)
}

// leave takes o off all its paths.
func (o *op) leave() {
	for _, n := range o.fenced {
		for i, p := range n.ops {
			if p == o {
				n.ops = append(n.ops[:i], n.ops[i+1:]...)
				break
			}
		}
		for ; n != nil; n = n.parent {
			if n.below--; n.below == 0 && n.parent != nil {
				delete(n.parent.children, n.name)
			}
		}
	}
	o.fenced = nil
}

// at visits the ops on the directories above path, then those on path itself,
// and returns path's fence (nil if there is none).
func (f *fence) at(path string, above, self func(*op)) *fence {
	n := f
	for rest := path; rest != ""; {
		for _, o := range n.ops {
			above(o)
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if n = n.children[name]; n == nil {
			return nil
		}
	}
	for _, o := range n.ops {
		self(o)
	}
	return n
}

// under visits all ops strictly below f.
func (f *fence) under(visit func(*op)) {
	for _, c := range f.children {
		for _, o := range c.ops {
			visit(o)
		}
		c.under(visit)
	}
}
