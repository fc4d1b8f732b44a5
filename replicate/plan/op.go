package plan

import (
	"time"

	"closefs/fs/journal"
)

// opState is where an op is in its life. An op that is waiting with deps 0 and
// not parked is in a ready queue.
type opState uint8

const (
	waiting opState = iota
	running
	ended // done, cancelled or merged into another
)

// An op is a step that is owed. Sync, Times and Check belong to a node of the
// tree and find their path when they start; the others are ordered operations
// on fixed paths, as is a pinned Sync.
type op struct {
	kind  Kind
	state opState
	low   bool // of low priority
	born  bool // comes from a Check: counts as reconciling until it ends
	guard bool

	node *node // nil: detached (the name is gone) or an ordered op
	path string
	to   string
	pos  journal.Position // of the record of a Rename
	fix  bool             // ordered: entered in the fence from the start, path is fixed

	id        journal.FileID
	mode      uint32
	data      bool
	makes     bool // Sync that brings the name into being: children wait for it
	linkFirst bool
	stillOpen bool
	fresh     bool // the target cannot have the name
	extras    Extras
	deep      bool
	size      int64
	ctime     time.Time
	stamp     time.Time
	links     []*node

	owes    []*debt
	deps    int   // ops that have to end first
	maker   *op   // the one among them that makes the directory it is in
	source  *op   // the one among them that ships what o links to
	waiters []*op // ops that wait for this one to be complete
	// runWaiters wait only until this op no longer runs, complete or not.
	runWaiters []*op
	fenced     []*fence
	attempt    int
	parked     parking
	queued     bool
	opened     bool // while it ran, a record told that its file was opened for writing
	moved      bool // while it ran, a rename moved its name, perhaps there and back
	closed     bool // while it ran, a record told that its file was closed
}

// parking says why an op that could run does not.
type parking uint8

const (
	notParked  parking = iota
	untilWoken         // the caller's backoff
	untilClose         // a record for its node
)

// A debt is an obligation with the number of ops that have to end before it is met.
type debt struct {
	Obligation
	refs int
}

// orderedWaiter tells whether an ordered operation waits for o to be complete.
func (o *op) orderedWaiter() bool {
	for _, w := range o.waiters {
		if w.fix && w.state != ended {
			return true
		}
	}
	return false
}

// after makes o wait until p is complete.
func (o *op) after(p *op) {
	if p == nil || p == o || p.state == ended {
		return
	}
	o.deps++
	p.waiters = append(p.waiters, o)
}

// afterRun makes o wait until p no longer runs.
func (o *op) afterRun(p *op) {
	if p == o || p.state != running {
		return
	}
	o.deps++
	p.runWaiters = append(p.runWaiters, o)
}

// unwait ends o's waiting for m.
func (o *op) unwait(m *op) {
	if m == nil || m.state == ended {
		return
	}
	for i, w := range m.waiters {
		if w == o {
			m.waiters = append(m.waiters[:i], m.waiters[i+1:]...)
			o.deps--
			return
		}
	}
}
