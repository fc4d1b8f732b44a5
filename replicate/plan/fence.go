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

// enter puts o on path, as the newest there.
func (f *fence) enter(path string, o *op) {
	n := f.ensure(path)
	n.ops = append(n.ops, o)
	o.fenced = append(o.fenced, n)
}

// enterFirst puts o on path before all that is there, which waits for it.
func (f *fence) enterFirst(path string, o *op) {
	n := f.ensure(path)
	n.ops = append([]*op{o}, n.ops...)
	o.fenced = append(o.fenced, n)
}

// ensure finds or makes the fence of path, and counts one more op there.
func (f *fence) ensure(path string) *fence {
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
	return n
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

// each visits f's own ops that matter to what comes next: those that run, and the
// newest ordered one, which waits for the older ones.
func (f *fence) each(visit func(*op)) {
	ordered := false
	for i := len(f.ops) - 1; i >= 0; i-- {
		o := f.ops[i]
		if !o.fix || !ordered {
			visit(o)
		}
		ordered = ordered || o.fix
	}
}

// at visits the ops on the directories above path, then those on path itself,
// and returns path's fence (nil if there is none).
func (f *fence) at(path string, above, self func(*op)) *fence {
	n := f
	for rest := path; rest != ""; {
		n.each(above)
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if n = n.children[name]; n == nil {
			return nil
		}
	}
	n.each(self)
	return n
}

// under visits all ops strictly below f.
func (f *fence) under(visit func(*op)) {
	for _, c := range f.children {
		c.each(visit)
		c.under(visit)
	}
}
