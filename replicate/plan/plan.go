package plan

import (
	"fmt"
	"syscall"

	"closefs/fs/journal"
)

// Options say from where a plan begins and what the target can do.
type Options struct {
	Acked    journal.Position // everything up to here is at the target
	Replayed journal.Position // up to here steps may have run before: nothing is taken for fresh
}

// A Plan is what one target is owed. It is not safe for concurrent use.
type Plan struct {
	opts   Options
	root   *node
	fences fence
	win    window
	fed    journal.Position

	ready, readyLow queue
	heartbeat       *op                        // not started
	byID            map[journal.FileID][]*op   // Syncs that run, or wait for their file to be closed
	doubts          map[journal.Position]*debt // comparisons owed for renames
	settled         []Obligation

	born  int // ops from Checks that have not ended
	runs  int
	bytes int64
}

// New returns an empty plan.
func New(o Options) *Plan {
	return &Plan{opts: o, root: &node{}, win: window{acked: o.Acked}, fed: o.Acked,
		byID: make(map[journal.FileID][]*op), doubts: make(map[journal.Position]*debt)}
}

// Acked is the newest position up to which nothing is owed.
func (p *Plan) Acked() journal.Position { return p.win.acked }

// Fed is the position of the newest record that was added.
func (p *Plan) Fed() journal.Position { return p.fed }

// Pending is the number of records that still owe something.
func (p *Plan) Pending() int { return p.win.open }

// Load is the number of steps that are owed for records, but those that only set
// directory times; it is what takes memory.
func (p *Plan) Load() int { return p.win.main }

// PendingBytes is the size of the files whose content is still to be shipped.
func (p *Plan) PendingBytes() int64 { return p.bytes }

// Running is the number of steps that were handed out and not reported.
func (p *Plan) Running() int { return p.runs }

// Reconciling tells whether anything that a Check brought is not yet done.
func (p *Plan) Reconciling() bool { return p.born > 0 }

// TakeSettled returns the obligations met since the last call, by Done and
// Checked, and by Add where a record turned out to owe nothing. The caller logs
// them before it takes the next step.
func (p *Plan) TakeSettled() []Obligation {
	s := p.settled
	p.settled = nil
	return s
}

// Add takes the next record. done tells which of its parts are known to have
// been met before a restart. Positions increase; Add panics if they do not,
// since owing the wrong thing must not go on quietly.
func (p *Plan) Add(r *journal.Record, done Part) {
	if r.Pos <= p.fed {
		panic(fmt.Sprintf("plan: record %d added after %d", r.Pos, p.fed))
	}
	todo := parts(r, done) &^ done
	p.win.fed(r.Pos, todo)
	p.fed = r.Pos
	p.wakeID(r)
	switch r.Kind {
	case journal.Open:
		p.open(r)
	case journal.Content:
		p.content(r, todo)
	case journal.Attr:
		p.attr(r, todo)
	case journal.Make:
		p.make(r, todo)
	case journal.Remove:
		p.remove(r, todo)
	case journal.Rename:
		if r.Exchange {
			p.exchange(r, todo)
		} else {
			p.rename(r, todo)
		}
		if todo&Compared != 0 {
			p.compareMoved(r)
		}
	case journal.Heartbeat:
		p.beat(r, todo)
	}
}

// AddCheck has path compared with the primary's, below it too if deep.
func (p *Plan) AddCheck(path string, extras Extras, deep bool) {
	p.checkNode(p.root.ensure(path), extras, deep, nil)
}

// parts tells what r owes at all, if done is what was logged of it.
func parts(r *journal.Record, done Part) Part {
	switch r.Kind {
	case journal.Attr, journal.Heartbeat:
		return Main
	case journal.Content, journal.Make, journal.Remove:
		return Main | TimesFrom
	case journal.Rename:
		t := Main | TimesFrom
		if parentOf(r.Path) != parentOf(r.To) {
			t |= TimesTo
		}
		if r.Exchange {
			t |= Main2 | Main3
		}
		if done&Doubted != 0 {
			t |= Compared
		}
		return t
	}
	return 0
}

func parentOf(path string) string {
	dir, _ := split(path)
	return dir
}

// trusted tells whether a name that the record at pos created can be taken to
// be absent at the target.
func (p *Plan) trusted(pos journal.Position) bool {
	return p.born == 0 && pos > p.opts.Replayed
}

func (p *Plan) owe(o *op, pos journal.Position, part Part) {
	o.owes = append(o.owes, &debt{Obligation{pos, part}, 1})
}

// open notes a name that the target cannot have yet.
func (p *Plan) open(r *journal.Record) {
	for _, o := range p.byID[r.ID] {
		o.opened = true
	}
	if !r.Created || !p.trusted(r.Pos) {
		return
	}
	n := p.root.ensure(r.Path)
	n.created = n.sync == nil && n.run == nil
	n.id = r.ID
	n.prune()
}

func (p *Plan) content(r *journal.Record, todo Part) {
	n := p.root.ensure(r.Path)
	fresh := n.created && p.trusted(r.Pos)
	n.created = false
	n.id = r.ID
	var o *op
	if todo&Main != 0 {
		o = p.syncOp(n, r, fresh)
		p.setData(o, r.Size)
		o.ctime = r.Ctime
		o.stillOpen = r.StillOpen
		p.shipped(o)
		p.link(o, r.Links)
		p.place(o)
	}
	p.touch(r, TimesFrom, r.Path, todo, o)
	n.prune()
}

func (p *Plan) attr(r *journal.Record, todo Part) {
	if todo&Main == 0 {
		return
	}
	n := p.root.ensure(r.Path)
	if n.created && p.trusted(r.Pos) { // its Content will bring the attributes along
		p.settle(&debt{Obligation{r.Pos, Main}, 1})
		return
	}
	o := p.syncOp(n, r, false)
	p.place(o)
	for _, path := range r.Links { // should Path be removed, its other names still owe the change
		x := p.syncOp(p.root.ensure(path), r, false)
		p.place(x)
		x.owes = append(x.owes[:len(x.owes)-1], share(o.owes[len(o.owes)-1:])...)
	}
}

func (p *Plan) make(r *journal.Record, todo Part) {
	n := p.root.ensure(r.Path)
	n.id = r.ID
	n.created = false
	var o *op
	if todo&Main != 0 {
		o = p.syncOp(n, r, p.trusted(r.Pos) && n.run == nil)
		p.setData(o, 0)
		o.makes = r.Mode&syscall.S_IFMT == syscall.S_IFDIR
		o.linkFirst = len(r.Links) > 0
		p.link(o, r.Links)
		p.place(o)
	}
	p.touch(r, TimesFrom, r.Path, todo, o)
	n.prune()
}

func (p *Plan) remove(r *journal.Record, todo Part) {
	n := p.root.lookup(r.Path)
	absent := n != nil && p.absent(n, r.Path, r.Pos)
	var owed []*debt
	if n != nil {
		owed = p.discard(n)
	}
	var o *op
	if todo&Main != 0 {
		owed = append(owed, &debt{Obligation{r.Pos, Main}, 1})
	}
	if todo&Main == 0 || absent {
		p.settle(owed...)
	} else {
		o = &op{kind: Remove, fix: true, path: r.Path, mode: r.Mode, id: r.ID, stamp: r.Time, owes: owed}
		p.enter(o)
	}
	p.touch(r, TimesFrom, r.Path, todo, o)
}

func (p *Plan) rename(r *journal.Record, todo Part) {
	if r.Path == r.To {
		p.settleAll(r.Pos, todo)
		return
	}
	var owed []*debt
	if to := p.root.lookup(r.To); to != nil {
		owed = p.discard(to)
	}
	from := p.root.ensure(r.Path) // not before: what discard ends may prune it
	from.id = r.ID
	elide := todo&Main != 0 && p.absent(from, r.Path, r.Pos)
	if todo&Main != 0 {
		owed = append(owed, &debt{Obligation{r.Pos, Main}, 1})
	}
	compare := p.uncompared(r.Path)
	var o *op
	switch {
	case elide:
		o = p.moveFresh(from, r, owed)
	case todo&Main == 0:
		p.settle(owed...)
		p.moveAlone(from, r.To)
		from.prune()
	default:
		if o = p.sameRename(r); o != nil {
			o.owes, o.pos, o.id, o.stamp = append(o.owes, owed...), r.Pos, r.ID, r.Time
			o.node.drop(o)
		} else {
			o = p.orderedRename(r, r.Path, r.To, owed)
		}
		p.move(from, r.To)
		p.follow(from, o)
		p.hold(o, from)
	}
	p.touch(r, TimesFrom, r.Path, todo, o)
	p.touch(r, TimesTo, r.To, todo, o)
	if compare {
		p.AddCheck(r.To, RemoveExtras, true)
	}
}

// uncompared tells whether a comparison that has not ended would have come to path.
func (p *Plan) uncompared(path string) bool {
	n := p.root
	for dir := parentOf(path); p.born > 0 && n != nil; {
		if n.comparing() {
			return true
		}
		if dir == "" {
			return false
		}
		var name string
		name, dir = head(dir)
		n = n.children[name]
	}
	return false
}

// moveFresh carries a rename of what the target never had: it will be made
// under its new name. It returns the step that does so, if there is one yet.
//
// The rename is met at once, and logged: what comes next to the old name does
// not wait for anything, so the rename must not be carried out by a replay.
func (p *Plan) moveFresh(from *node, r *journal.Record, owed []*debt) *op {
	p.moveAlone(from, r.To)
	from.created = false
	p.settle(owed...)
	o := from.sync
	if o == nil { // still being written: its Content follows
		from.prune()
		return nil
	}
	o.fresh = false // the new name may exist at the target
	o.stamp = r.Time
	return o
}

// exchange swaps two names by three renames over a hidden name, each of which
// can be repeated: that of one atomic swap could not be told from its absence.
func (p *Plan) exchange(r *journal.Record, todo Part) {
	if r.Path == r.To {
		p.settleAll(r.Pos, todo)
		return
	}
	a, b := p.root.ensure(r.Path), p.root.ensure(r.To)
	compare := p.uncompared(r.Path) || p.uncompared(r.To)
	hidden := fmt.Sprintf(".closefs/swap-%d", r.Pos)
	var last *op
	for _, s := range []struct {
		part     Part
		from, to string
		moved    *node
	}{{Main, r.Path, hidden, nil}, {Main2, r.To, r.Path, b}, {Main3, hidden, r.To, a}} {
		if todo&s.part == 0 {
			continue
		}
		last = p.orderedRename(r, s.from, s.to, []*debt{{Obligation{r.Pos, s.part}, 1}})
		if s.moved != nil {
			p.hold(last, s.moved)
		}
	}
	p.swap(a, b)
	if last != nil {
		p.follow(a, last)
		p.follow(b, last)
	}
	p.touch(r, TimesFrom, r.Path, todo, last)
	p.touch(r, TimesTo, r.To, todo, last)
	if compare {
		p.AddCheck(r.Path, RemoveExtras, true)
		p.AddCheck(r.To, RemoveExtras, true)
	}
	a.prune()
	b.prune()
}

// compareMoved has what a rename moved compared: the target did not have it.
func (p *Plan) compareMoved(r *journal.Record) {
	debts := []*debt{{Obligation{r.Pos, Compared}, 1}}
	p.doubts[r.Pos] = debts[0]
	paths := []string{r.To}
	if r.Exchange {
		paths = append(paths, r.Path)
		debts[0].refs = 2
	}
	for _, path := range paths {
		n := p.root.ensure(path)
		p.checkNode(n, RemoveExtras, true, debts)
		p.promote(n.check)
	}
}

func (p *Plan) beat(r *journal.Record, todo Part) {
	if todo&Main == 0 {
		return
	}
	o := p.heartbeat
	if o == nil {
		o = &op{kind: Heartbeat}
		p.heartbeat = o
	}
	o.stamp = r.Time
	p.owe(o, r.Pos, Main)
	p.place(o)
}

// touch has the times of the directory of path set once more after the step o.
func (p *Plan) touch(r *journal.Record, part Part, path string, todo Part, o *op) {
	if todo&part == 0 {
		return
	}
	n := p.root.ensure(parentOf(path))
	t := n.times
	if t == nil {
		t = &op{kind: Times, node: n}
		n.times = t
		p.depend(t)
	}
	t.stamp = r.Time
	// The newest record alone owes the times: in a directory in which something
	// always happens the older ones would never be acked.
	older := t.owes
	t.owes = nil
	p.owe(t, r.Pos, part)
	p.settle(older...)
	if o != nil {
		t.after(o)
	}
	p.promote(t)
	p.place(t)
}

// settleAll meets parts of pos at once.
func (p *Plan) settleAll(pos journal.Position, todo Part) {
	for part := Main; part <= Compared && part != 0; part <<= 1 {
		if todo&part != 0 {
			p.settle(&debt{Obligation{pos, part}, 1})
		}
	}
}

// settle takes one reference off each debt and meets those that have none left.
func (p *Plan) settle(debts ...*debt) {
	for _, d := range debts {
		if d.refs--; d.refs == 0 {
			p.win.settle(d.Obligation)
			if d.Part == Compared {
				delete(p.doubts, d.Pos)
			}
			p.settled = append(p.settled, d.Obligation)
		}
	}
}
