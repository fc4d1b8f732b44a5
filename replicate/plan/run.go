package plan

import (
	"syscall"

	"closefs/fs/journal"
)

func isDir(mode uint32) bool { return mode&syscall.S_IFMT == syscall.S_IFDIR }

// Next hands out a step that may run now; low asks for one of low priority.
func (p *Plan) Next(low bool) (Step, bool) {
	q := &p.ready
	if low {
		q = &p.readyLow
		q.low = true
	}
	for {
		o := q.pop()
		if o == nil {
			return Step{}, false
		}
		if p.start(o) {
			return p.step(o), true
		}
	}
}

// start makes o run, unless a step that runs on the same name is in the way;
// then o waits for it.
func (p *Plan) start(o *op) bool {
	paths := []string{o.path}
	if !o.fix && o.node != nil {
		o.path = o.node.path()
		paths = paths[:0]
		for _, n := range append([]*node{o.node}, o.links...) {
			if !n.detach {
				paths = append(paths, n.path())
			}
		}
		none := func(*op) {}
		for _, path := range paths {
			p.fences.at(path, none, func(f *op) { o.afterRun(f) })
		}
		if o.linkFirst {
			p.awaitSource(o)
		}
		if o.deps > 0 {
			return false
		}
	}
	o.state = running
	p.runs++
	o.opened, o.closed, o.moved = false, false, false
	if o.fix || o.node == nil {
		return true
	}
	switch o.kind {
	case Sync:
		o.node.sync, o.node.run = nil, o
		p.byID[o.id] = append(p.byID[o.id], o)
	case Times:
		o.node.times = nil
		o.node.linked = append(o.node.linked, o)
	case Check:
		o.node.check = nil
		o.node.linked = append(o.node.linked, o)
		return true // compares beside everything else
	}
	for _, path := range paths {
		p.fences.enter(path, o)
	}
	for _, n := range o.links { // the target is about to have these names too
		n.created = false
		if n.sync != nil {
			n.sync.fresh = false
		}
	}
	return true
}

func (p *Plan) step(o *op) Step {
	if p.heartbeat == o {
		p.heartbeat = nil
	}
	s := Step{op: o, Kind: o.kind, Path: o.path, To: o.to, Source: o.path, ID: o.id, Mode: o.mode, Data: o.data,
		LinkFirst: o.linkFirst, StillOpen: o.stillOpen, Size: o.size, Ctime: o.ctime, Time: o.stamp,
		Attempt: o.attempt, Low: o.low, Guard: o.guard, Extras: o.extras, Deep: o.deep}
	if o.fix && o.kind == Sync {
		s.Gone = o.node == nil || o.node.detach
		if !s.Gone {
			s.Source = o.node.path()
		}
	}
	for _, n := range o.links {
		if n.detach {
			continue
		}
		path := n.path()
		s.Links = append(s.Links, path)
		if o.linkFirst && n.sync == nil && n.run == nil && !p.uncompared(path) {
			s.From = append(s.From, path)
		}
	}
	return s
}

// Current tells whether a step that runs still stands for the newest record:
// its name has not been removed, replaced or renamed by what was added meanwhile.
func (p *Plan) Current(s Step) bool {
	o := s.op
	return o.fix || o.node == nil || (!o.node.detach && !o.moved && o.node.path() == s.Path)
}

// Alone tells whether a guarded Remove that runs is all that is owed on its path,
// above and below it: no rename waits to move what is there.
func (p *Plan) Alone(s Step) bool {
	other := false
	see := func(o *op) { other = other || o != s.op && o.fix }
	if f := p.fences.at(s.Path, see, see); f != nil {
		f.under(see)
	}
	return !other && p.root.lookup(s.Path) == nil
}

// Undisturbed tells whether no record that was added since a Sync started opened
// its file for writing, closed or replaced it. A new name alone disturbs nothing.
func (p *Plan) Undisturbed(s Step) bool {
	o := s.op
	return o.id != 0 && !o.opened && !o.closed && o.node != nil && !o.node.detach
}

// Ready is how many steps may be handed out at once, or a few more.
func (p *Plan) Ready() int { return len(p.ready.ops) + len(p.readyLow.ops) }

// Owes tells whether anything is pending that concerns path: for it, below it,
// or for a directory above it.
func (p *Plan) Owes(path string) bool {
	if p.root.lookup(path) != nil || makerOf(p.root.nearest(path)) != nil {
		return true
	}
	busy := false
	ordered := func(o *op) { busy = busy || o.fix }
	f := p.fences.at(path, ordered, func(*op) { busy = true })
	return busy || f != nil && f.below > 0
}

// Done reports that a step was carried out at the target.
func (p *Plan) Done(s Step) {
	o := s.op
	p.stopped(o)
	owed := o.owes
	o.owes = nil
	p.finish(o)
	p.settle(owed...)
}

// finish ends an op that ran.
func (p *Plan) finish(o *op) {
	n := o.node
	if n != nil && n.run == o {
		n.run = nil
	}
	p.end(o)
	if n != nil && !n.detach {
		n.prune()
	}
}

// stopped notes that o no longer runs.
func (p *Plan) stopped(o *op) {
	if o.state != running {
		panic("plan: " + o.kind.String() + " " + o.path + " reported twice")
	}
	p.runs--
	o.attempt++
}

// hotAttempts is how often a file that was closed anew while it was shipped is
// tried again at once; then the caller's backoff counts.
const hotAttempts = 3

// Waiting is how many files are waited for to be closed.
func (p *Plan) Waiting() int {
	n := 0
	for _, list := range p.byID {
		for _, o := range list {
			if o.parked == untilClose {
				n++
			}
		}
	}
	return n
}

// Fail reports that a step was not carried out, or that its outcome is unknown.
func (p *Plan) Fail(s Step, why Outcome) {
	o := s.op
	if why == Pointless {
		if o.guard { // the primary has the name again: what the target has under it is still the old
			p.checkNode(p.root.ensure(o.path), RemoveExtras, true, share(o.owes))
		}
		p.Done(s)
		return
	}
	p.stopped(o)
	o.state = waiting
	o.fresh = false
	o.parked = untilWoken
	defer p.free(&o.runWaiters)
	switch {
	case why == NoSource && o.kind == Rename:
		p.recheck(o, o.node, isDir(o.mode))
	case why == Recheck && o.node != nil:
		p.recheck(o, o.node, false)
	case o.fix:
	case o.kind == Heartbeat:
		p.requeueBeat(o)
	default:
		if o.kind == Sync && (why != Writing || o.id == 0 || o.closed) {
			p.forgetID(o)
		}
		if why == Writing && o.id != 0 && !o.closed {
			o.parked = untilClose
		} else if o.closed && o.attempt <= hotAttempts {
			o.parked = notParked
		}
		p.requeue(o)
		p.place(o)
	}
}

// recheck ends o and passes what it owes to a comparison of n.
func (p *Plan) recheck(o *op, n *node, deep bool) {
	owed := o.owes
	o.owes = nil
	if n == nil || n.detach {
		p.finish(o)
		p.settle(owed...)
		return
	}
	if o.kind == Rename {
		p.settled = append(p.settled, Obligation{o.pos, Doubted})
		compare := p.doubt(o.pos)
		p.settle(owed...)
		owed = []*debt{compare}
	}
	p.checkNode(n, RemoveExtras, deep, owed)
	p.promote(n.check)
	for _, l := range o.links {
		if !l.detach {
			p.checkNode(l, RemoveExtras, false, share(owed))
			p.promote(l.check)
		}
	}
	p.finish(o)
}

// doubt returns the debt of comparing what the rename at pos moved; it is owed
// instead of the rename, which must not be replayed.
func (p *Plan) doubt(pos journal.Position) *debt {
	d := p.doubts[pos]
	if d != nil && d.refs > 0 {
		d.refs++
		return d
	}
	d = &debt{Obligation{pos, Compared}, 1}
	p.doubts[pos] = d
	p.win.add(pos)
	return d
}

// requeue puts an unfinished op of a node back, at the place where the name is now.
func (p *Plan) requeue(o *op) {
	n := o.node
	o.leave()
	if n.run == o {
		n.run = nil
	}
	switch {
	case o.makes && o.orderedWaiter():
		p.pin(o, o.path)
		p.fences.enterFirst(o.path, o)
	case n.detach:
		p.inherit(o)
		owed := o.owes
		o.owes = nil
		p.end(o)
		p.settle(owed...)
	default:
		p.putBack(o, n)
	}
}

// putBack makes o its node's pending op again, or part of one that came meanwhile.
func (p *Plan) putBack(o *op, n *node) {
	slot := n.slot(o.kind)
	if o.kind == Sync && p.covered(o, n) {
		return
	}
	if *slot != nil {
		p.merge(*slot, o)
		return
	}
	*slot = o
	if o.kind != Sync {
		n.drop(o)
	}
	p.depend(o)
	for _, l := range o.links {
		if !l.detach {
			p.dependLink(o, l)
		}
	}
}

// merge lets into take over what o owes and who waits for it.
func (p *Plan) merge(into, o *op) {
	into.owes = append(into.owes, o.owes...)
	into.unwait(o)
	into.waiters = append(into.waiters, o.waiters...)
	into.fresh = false
	into.makes = into.makes || o.makes
	switch {
	case o.data && !o.linkFirst:
		p.shipped(into)
	case o.linkFirst && !into.data:
		p.becomesLink(into)
	}
	if o.data && !into.data {
		into.ctime, into.stillOpen = o.ctime, o.stillOpen
		p.setData(into, o.size)
	}
	for _, n := range o.links {
		if n != into.node && !n.detach {
			p.addLink(into, n)
		}
	}
	into.deep = into.deep || o.deep
	o.owes, o.waiters = nil, nil
	p.end(o)
	p.place(into)
}

func (p *Plan) requeueBeat(o *op) {
	if p.heartbeat != nil {
		p.merge(p.heartbeat, o)
		return
	}
	p.heartbeat = o
}

// Wake makes a step that failed with Later or Writing eligible again.
func (p *Plan) Wake(s Step) {
	if s.op.state == waiting && s.op.parked != notParked {
		p.unpark(s.op)
	}
}

func (p *Plan) unpark(o *op) {
	if o.parked == untilClose {
		p.forgetID(o)
	}
	o.parked = notParked
	p.place(o)
}

func (p *Plan) forgetID(o *op) {
	list := p.byID[o.id]
	for i, x := range list {
		if x == o {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(p.byID, o.id)
	} else {
		p.byID[o.id] = list
	}
}

// wakeID wakes what waits for the file of r to be closed.
func (p *Plan) wakeID(r *journal.Record) {
	switch r.Kind {
	case journal.Content, journal.Clean, journal.Remove:
	default:
		return
	}
	for _, o := range append([]*op(nil), p.byID[r.ID]...) {
		if o.state == running {
			o.closed = true
		} else {
			p.unpark(o)
		}
	}
}
