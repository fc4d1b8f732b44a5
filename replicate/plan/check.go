package plan

import "closefs/fs/journal"

// Found is one difference that a Check step found.
type Found struct {
	Name   string         // in the checked directory; "": the checked path itself
	Extra  bool           // only the target has it
	Data   bool           // the content differs, or may
	Attr   bool           // what it is or its attributes differ
	Makes  bool           // it is a directory that the target lacks
	Deep   bool           // it is a directory to be compared in turn
	ID     journal.FileID // at the primary
	Mode   uint32
	Size   int64
	Links  []string // other names of the inode
	Linked bool     // one of Links is (made) right at the target: become its link
}

// checkNode has n compared. owed are the debts that the comparison takes over.
func (p *Plan) checkNode(n *node, extras Extras, deep bool, owed []*debt) {
	o := n.check
	if o == nil {
		o = &op{kind: Check, node: n, low: true, born: true, extras: extras}
		p.born++
		n.check = o
		p.depend(o)
	}
	o.deep = o.deep || deep
	o.extras = max(o.extras, extras)
	o.owes = append(o.owes, owed...)
	p.place(o)
}

// Checked reports what a Check step found; it is the step's Done.
func (p *Plan) Checked(s Step, found []Found) {
	o := s.op
	if o.kind == Check && !o.node.detach {
		for _, f := range found {
			p.found(o, f)
		}
	}
	p.Done(s)
}

func (p *Plan) found(o *op, f Found) {
	path := o.node.path()
	switch {
	case f.Name == "":
	case path == "":
		path = f.Name
	default:
		path += "/" + f.Name
	}
	switch {
	case f.Extra:
		p.foundExtra(o, path)
	case f.Data || f.Attr || f.Linked:
		p.foundDiffers(o, path, f)
	}
	if f.Deep {
		n := p.root.ensure(path)
		if n != o.node || n.check == nil {
			p.checkNode(n, o.extras, true, share(o.owes))
		}
		if n.check != nil && !o.low {
			p.promote(n.check)
		}
	}
}

// foundExtra removes path, unless something is pending there that explains it.
func (p *Plan) foundExtra(o *op, path string) {
	if n := p.root.lookup(path); n != nil && (n.sync != nil || n.run != nil || n.created) {
		return
	}
	busy := false
	p.fences.at(path, func(*op) {}, func(*op) { busy = true })
	if busy {
		return
	}
	x := &op{kind: Remove, fix: true, path: path, guard: true, low: o.low, born: true, owes: share(o.owes)}
	p.born++
	p.enter(x)
	p.retouch(o, path, x)
}

func (p *Plan) foundDiffers(o *op, path string, f Found) {
	n := p.root.ensure(path)
	x := n.sync
	if x == nil && p.ordered(path) { // a rename that is owed may bring it: look again when it has
		p.checkNode(n, o.extras, f.Deep, share(o.owes))
		return
	}
	if x == nil {
		x = &op{kind: Sync, node: n, low: o.low, born: true, id: f.ID, mode: f.Mode}
		p.born++
		n.sync = x
		p.depend(x)
	}
	x.fresh = false
	if x.id != f.ID { // it was listed before, or after, what the records have told so far
		x.owes = append(x.owes, share(o.owes)...)
		return
	}
	x.makes = x.makes || f.Makes
	switch {
	case !f.Linked:
		p.shipped(x)
	case !x.data:
		p.becomesLink(x)
	}
	if f.Data || f.Linked {
		p.setData(x, f.Size)
	}
	p.link(x, f.Links)
	x.owes = append(x.owes, share(o.owes)...)
	p.place(x)
	p.retouch(o, path, x)
}

// ordered tells whether an ordered operation is owed on path or above it.
func (p *Plan) ordered(path string) bool {
	found := false
	see := func(o *op) { found = found || o.fix }
	p.fences.at(path, see, see)
	return found
}

// retouch sets the times of path's directory again after x.
func (p *Plan) retouch(o *op, path string, x *op) {
	n := p.root.ensure(parentOf(path))
	t := n.times
	if t == nil {
		t = &op{kind: Times, node: n, low: o.low, born: true}
		p.born++
		n.times = t
		p.depend(t)
	}
	t.after(x)
	p.place(t)
}

// share counts one more op on each debt.
func share(debts []*debt) []*debt {
	for _, d := range debts {
		d.refs++
	}
	return append([]*debt(nil), debts...)
}
