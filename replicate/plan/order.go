package plan

import "closefs/fs/journal"

// syncOp returns the pending Sync of n, making one that is owed for r.
func (p *Plan) syncOp(n *node, r *journal.Record, fresh bool) *op {
	o := n.sync
	if o == nil {
		o = &op{kind: Sync, node: n, fresh: fresh}
		if r.Pos > p.opts.Replayed { // else the new name may have been moved on already, and the old file is still there
			p.absorbRemove(o, n.path())
		}
		n.sync = o
		p.depend(o)
	}
	p.promote(o)
	o.id, o.mode, o.stamp = r.ID, r.Mode, r.Time
	p.owe(o, r.Pos, Main)
	p.unpark(o)
	return o
}

// absorbRemove lets o take the place of a removal of the same name that has not
// started, so that readers see the old file until the new one replaces it.
func (p *Plan) absorbRemove(o *op, path string) {
	var last *op
	p.fences.at(path, func(*op) {}, func(f *op) {
		if f.fix {
			last = f
		}
	})
	if last == nil || last.kind != Remove || last.state != waiting || isDir(last.mode) || last.mode == 0 || last.guard {
		return
	}
	for _, w := range last.waiters {
		if w.kind != Times && w.state != ended {
			return
		}
	}
	o.fresh = false
	o.waiters = append(o.waiters, last.waiters...)
	last.waiters = nil
	p.settle(last.owes...) // at once and logged: a replay must not remove what is made here
	p.end(last)
}

// setData notes that o ships content of so many bytes.
func (p *Plan) setData(o *op, size int64) {
	if o.data {
		p.bytes -= o.size
	}
	o.data, o.size = true, size
	p.bytes += size
}

// link makes the other names of the inode part of o, and o's name part of what
// is pending for them.
func (p *Plan) link(o *op, paths []string) {
	for _, path := range paths {
		n := p.root.ensure(path)
		if n == o.node {
			continue
		}
		p.addLink(o, n)
		if x := n.sync; x != nil && x.linkFirst {
			p.addLink(x, o.node)
		} else if x != nil && x.data && !o.linkFirst { // o ships for both
			n.sync = nil
			p.merge(o, x)
		}
	}
}

// shipper is an op that ships the inode id under another name and makes n's
// name a link to it, or nil.
func (n *node) shipper(id journal.FileID) *op {
	for _, x := range n.linked {
		if x.kind == Sync && !x.fix && id != 0 && x.id == id && x.data && !x.linkFirst && !x.node.detach {
			return x
		}
	}
	return nil
}

// covered lets an op that is put back give way to one that ships the same inode
// under another name, and tells whether o is gone.
func (p *Plan) covered(o *op, n *node) bool {
	if !o.data || o.linkFirst {
		return false
	}
	x := n.shipper(o.id)
	if x == nil {
		return false
	}
	if x.state == waiting {
		p.merge(x, o)
		return true
	}
	p.becomesLink(o)
	p.addLink(o, x.node)
	return false
}

// awaitSource makes o, which is about to start and is to link to one of its
// other names, wait for what is to be shipped there.
func (p *Plan) awaitSource(o *op) {
	for _, n := range o.links {
		for _, x := range []*op{n.sync, n.run} {
			if x != nil && x != o && !x.linkFirst {
				o.source = x
				o.after(x)
				return
			}
		}
	}
}

// becomesLink turns o into a link to be made; what waited to link to it itself
// waits no longer, for each could wait for the other.
func (p *Plan) becomesLink(o *op) {
	o.linkFirst = true
	for _, w := range append([]*op(nil), o.waiters...) {
		if w.source == o {
			w.unwait(o)
			w.source = nil
			p.place(w)
		}
	}
}

// shipped turns o from a link to be made into content to be shipped.
func (p *Plan) shipped(o *op) {
	o.linkFirst = false
	o.unwait(o.source)
	o.source = nil
}

func (p *Plan) addLink(o *op, n *node) {
	if !hasNode(o.links, n) {
		o.links = append(o.links, n)
		n.linked = append(n.linked, o)
		p.dependLink(o, n)
	}
}

// dependLink makes o wait for what is before it on the name n of its inode.
func (p *Plan) dependLink(o *op, n *node) {
	p.dependPath(o, n.path())
	if m := makerOf(n.parent); m != nil && m != o {
		o.after(m)
		p.promoteFor(o, m)
	}
}

func hasNode(list []*node, n *node) bool {
	for _, m := range list {
		if m == n {
			return true
		}
	}
	return false
}

// hold keeps n, which o will need again.
func (p *Plan) hold(o *op, n *node) {
	o.node = n
	n.linked = append(n.linked, o)
}

// release undoes link and hold.
func (p *Plan) release(o *op) {
	for _, n := range o.links {
		n.drop(o)
	}
	o.links = nil
	if o.node != nil {
		o.node.drop(o)
	}
}

func (n *node) drop(o *op) {
	for i, l := range n.linked {
		if l == o {
			n.linked = append(n.linked[:i], n.linked[i+1:]...)
			break
		}
	}
	if !n.detach {
		n.prune()
	}
}

// depend makes the unstarted o wait for what is before it on its path.
func (p *Plan) depend(o *op) {
	p.dependPath(o, o.node.path())
	if o.kind != Sync {
		o.after(o.node.sync)
		o.after(o.node.run)
	}
	p.dependMaker(o, o.node.parent)
}

func (p *Plan) dependPath(o *op, path string) {
	wait := func(f *op) {
		if f.fix {
			o.after(f)
			p.promoteFor(o, f)
		}
	}
	p.fences.at(path, wait, wait)
}

// dependMaker makes o wait for the making of the directory n, or of the nearest
// above it that is to be made.
func (p *Plan) dependMaker(o *op, n *node) {
	m := makerOf(n)
	if m == nil || m == o {
		return
	}
	if !o.fix {
		o.unwait(o.maker)
		o.maker = m
	}
	o.after(m)
	p.promoteFor(o, m)
}

// makerOf is the nearest Sync at or above n that makes a directory.
func makerOf(n *node) *op {
	for ; n != nil; n = n.parent {
		for _, m := range []*op{n.sync, n.run} {
			if m != nil && m.makes {
				return m
			}
		}
	}
	return nil
}

// sameRename finds a rename of the same names that has not started and that
// nothing came after: what it moves may as well be what is there now.
func (p *Plan) sameRename(r *journal.Record) *op {
	if isDir(r.Mode) || r.Mode == 0 {
		return nil
	}
	newest := func(path string) (last *op) {
		p.fences.at(path, func(*op) {}, func(o *op) {
			if o.fix {
				last = o
			}
		})
		return last
	}
	o := newest(r.Path)
	if o == nil || o != newest(r.To) || o.kind != Rename || o.state != waiting || o.path != r.Path || o.to != r.To || isDir(o.mode) {
		return nil
	}
	return o
}

// orderedRename enters a rename of r's object at the target.
func (p *Plan) orderedRename(r *journal.Record, from, to string, owed []*debt) *op {
	o := &op{kind: Rename, fix: true, path: from, to: to, pos: r.Pos, mode: r.Mode, id: r.ID, stamp: r.Time, owes: owed}
	for _, path := range []string{from, to} {
		if n := p.root.lookup(path); n != nil {
			p.pinBelow(n)
		}
	}
	p.enter(o)
	return o
}

// enter puts an ordered operation in the fence, behind all that it conflicts
// with: what is on its paths, above and below them.
func (p *Plan) enter(o *op) {
	wait := func(f *op) {
		switch {
		case f == o:
		case f.fix || f.makes:
			o.after(f)
			p.promoteFor(o, f)
		default:
			o.afterRun(f)
		}
	}
	above := func(f *op) {
		if f.fix {
			wait(f)
		}
	}
	paths := []string{o.path}
	if o.kind == Rename {
		paths = append(paths, o.to)
	}
	for _, path := range paths {
		if f := p.fences.at(path, above, wait); f != nil {
			f.under(wait)
		}
		p.dependMaker(o, p.root.nearest(parentOf(path)))
	}
	for _, path := range paths {
		p.fences.enter(path, o)
	}
	p.place(o)
}

// nearest is the deepest node on the way to path.
func (n *node) nearest(path string) *node {
	for path != "" {
		var name string
		name, path = head(path)
		c := n.children[name]
		if c == nil {
			return n
		}
		n = c
	}
	return n
}

// absent tells whether the target certainly has nothing at path, where n is.
func (p *Plan) absent(n *node, path string, pos journal.Position) bool {
	if !p.trusted(pos) || n.run != nil || n.check != nil || len(n.linked) > 0 {
		return false
	}
	if !(n.sync != nil && n.sync.fresh) && !(n.sync == nil && n.created) {
		return false
	}
	busy := false
	own := 0
	f := p.fences.at(path, func(*op) {}, func(o *op) {
		// What takes the old name away is no hindrance: it comes first.
		free := o.fix && o.path == path && (o.kind == Remove || o.kind == Rename)
		busy = busy || !free
	})
	if f != nil {
		own = f.below - len(f.ops)
	}
	return !busy && own == 0
}

// move hangs from's subtree at path.
func (p *Plan) move(from *node, path string) {
	dir, name := split(path)
	parent := p.root.ensure(dir)
	keep := &op{} // so that taking from off does not prune parent
	parent.linked = append(parent.linked, keep)
	from.disturb()
	from.takeOff()
	from.name = name
	parent.put(from)
	parent.linked = parent.linked[:len(parent.linked)-1]
}

// moveAlone is move without a rename at the target: what is pending waits for
// what is before it at the new place.
func (p *Plan) moveAlone(from *node, path string) {
	p.move(from, path)
	from.walk(func(m *node) {
		for _, o := range []*op{m.sync, m.times, m.check} {
			if o != nil {
				if o.maker != nil && o.maker.node.within(from) { // it comes along
					p.dependPath(o, m.path())
					continue
				}
				o.unwait(o.maker)
				o.maker = nil
				p.depend(o)
				p.place(o)
			}
		}
		for _, o := range m.linked {
			if hasNode(o.links, m) && o.state == waiting {
				p.dependLink(o, m)
			}
		}
	})
}

// swap exchanges the places of two subtrees, neither of which holds the other.
func (p *Plan) swap(a, b *node) {
	a.disturb()
	b.disturb()
	pa, pb := a.parent, b.parent
	a.name, b.name = b.name, a.name
	pa.put(b)
	pb.put(a)
}

// follow makes all that is pending at and below n wait for the ordered o.
func (p *Plan) follow(n *node, o *op) {
	n.walk(func(m *node) {
		m.created = false
		for _, x := range []*op{m.sync, m.times, m.check} {
			if x != nil {
				x.fresh = false
				x.after(o)
			}
		}
		for _, x := range m.linked {
			if !x.fix && x.state == waiting {
				x.after(o)
			}
		}
	})
}

// discard takes n's subtree off the tree, because its names are gone, and
// returns what was owed there.
func (p *Plan) discard(n *node) []*debt {
	p.pinBelow(n)
	n.takeOff()
	n.walk(func(m *node) { m.detach = true })
	var owed []*debt
	n.walk(func(m *node) {
		m.created = false
		p.inherit(m.sync)
		for _, o := range []*op{m.sync, m.times, m.check} {
			if o != nil {
				owed = append(owed, o.owes...)
				o.owes = nil
				p.end(o)
			}
		}
		m.sync, m.times, m.check = nil, nil, nil
	})
	return owed
}

// inherit passes new content that o, whose name is gone, was to ship on to
// another name of the inode.
func (p *Plan) inherit(o *op) {
	if o == nil || !o.data || o.linkFirst {
		return
	}
	for _, n := range o.links {
		if n.detach {
			continue
		}
		if x := n.shipper(o.id); x != nil && x != o {
			x.owes = append(x.owes, o.owes...)
			o.owes = nil
			return
		}
		x := n.sync
		if x == nil {
			x = &op{kind: Sync, node: n, id: o.id, mode: o.mode, low: o.low, stamp: o.stamp, born: o.born}
			if x.born {
				p.born++
			}
			n.sync = x
			p.depend(x)
		}
		p.shipped(x)
		x.ctime, x.stillOpen = o.ctime, o.stillOpen
		p.setData(x, o.size)
		for _, l := range o.links {
			if !l.detach && l != n {
				p.addLink(x, l)
			}
		}
		x.owes = append(x.owes, o.owes...)
		o.owes = nil
		p.place(x)
		return
	}
}

// pinBelow fixes, at and below n, the makings of directories that an ordered
// operation waits for: it needs them under their present name. It tells whether
// there were any.
func (p *Plan) pinBelow(n *node) bool {
	pinned := false
	for _, c := range n.children {
		pinned = p.pinBelow(c) || pinned
	}
	o := n.sync
	if o == nil || !o.makes || !(pinned || o.orderedWaiter()) {
		return pinned
	}
	n.sync = nil
	p.pin(o, n.path())
	p.fences.enter(o.path, o)
	return true
}

// pin makes the unstarted o an ordered operation on path; the caller enters it
// in the fence.
func (p *Plan) pin(o *op, path string) {
	o.fix, o.fresh = true, false
	o.path = path
	if o.node != nil {
		o.node.linked = append(o.node.linked, o)
	}
}

// promote gives o the priority of live changes.
func (p *Plan) promote(o *op) {
	if !o.low {
		return
	}
	o.low = false
	o.queued = false
	p.place(o)
}

// promoteFor promotes f if a live change waits for it.
func (p *Plan) promoteFor(o, f *op) {
	if !o.low {
		p.promote(f)
	}
}

// place queues o if nothing holds it back.
func (p *Plan) place(o *op) {
	if o.state != waiting || o.deps > 0 || o.parked != notParked || o.queued {
		return
	}
	o.queued = true
	if o.low {
		p.readyLow.push(o)
	} else {
		p.ready.push(o)
	}
}

// end takes o out of everything and lets go what waited for it. Its debts are
// the caller's business.
func (p *Plan) end(o *op) {
	if o.state == ended {
		return
	}
	o.state = ended
	o.leave()
	p.forgetID(o)
	if o.born {
		p.born--
	}
	if o.data {
		p.bytes -= o.size
		o.data = false
	}
	p.release(o)
	p.free(&o.runWaiters)
	p.free(&o.waiters)
}

func (p *Plan) free(list *[]*op) {
	waiters := *list
	*list = nil
	for _, w := range waiters {
		w.deps--
		p.place(w)
	}
}
