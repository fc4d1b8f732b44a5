package plan

import (
	"time"

	"closefs/fs/journal"
)

// Kind says what a step does at the target.
type Kind uint8

// The kinds of steps.
const (
	// Sync: make Path equal to the primary's Source: content if Data, else
	// what it is and its attributes.
	Sync Kind = iota + 1
	// Times: set the attributes of directory Path once more, now that its
	// children are in place.
	Times
	// Remove: make Path absent. With Guard only if the primary has no Path.
	Remove
	// Rename: move Path to To.
	Rename
	// Check: compare Path with the primary's; report with Plan.Checked.
	Check
	// Heartbeat: prove that the target answers, with the stamp Time.
	Heartbeat
)

func (k Kind) String() string {
	return [...]string{"?", "sync", "times", "remove", "rename", "check", "heartbeat"}[k]
}

// A Step is one thing to do at the target, at once.
type Step struct {
	op *op

	Kind   Kind
	Path   string // at the target
	To     string // Rename
	Source string // Sync, Times, Check: path at the primary; differs from Path only for a pinned directory
	Gone   bool   // Sync of a pinned directory that the primary no longer has: make it with private defaults

	ID        journal.FileID // what the record saw at Source; 0: whatever is there
	Mode      uint32         // Rename: of the object moved; Remove: of the object removed
	Data      bool           // Sync: the content may differ, not only attributes
	LinkFirst bool           // Sync: Path is a new name of an existing file
	From      []string       // Sync with LinkFirst: those of Links that the target has right
	StillOpen bool           // Sync: to be shipped although somebody writes
	Links     []string       // Sync: other names of the inode, to be the same inode at the target
	Size      int64          // Sync with Data: bytes, as recorded
	Ctime     time.Time      // Sync with Data: as recorded
	Time      time.Time      // of the newest record that it answers (zero: none)
	Attempt   int            // 0 at the first try
	Low       bool           // from a Check, not from a live change
	Guard     bool           // Remove: look first that the primary has none
	Extras    Extras         // Check: what to do with what only the target has
	Deep      bool           // Check: descend
}

// Extras says what a Check does with entries that only the target has.
type Extras uint8

const (
	KeepExtras   Extras = iota // leave and count them
	RemoveExtras               // into the trash
)

// Outcome tells the plan how a step ended that was not done.
type Outcome uint8

const (
	// Later: try again when the caller calls Wake.
	Later Outcome = iota + 1
	// Writing: the source is being written; its close will bring a record,
	// which wakes the step.
	Writing
	// NoSource: a Rename found nothing at Path.
	NoSource
	// Pointless: nothing has to be done any more (a guarded Remove whose name
	// is there again, a Check of what is gone).
	Pointless
	// Recheck: forget the step and compare its path, since what is there
	// cannot be explained.
	Recheck
)

// An Obligation is one part of what a record owes.
type Obligation struct {
	Pos  journal.Position
	Part Part
}

// Part is a bit for each thing that one record may owe.
type Part uint8

const (
	Main      Part = 1 << iota // the step itself
	Main2                      // second and third rename of an exchange
	Main3                      //
	TimesFrom                  // times of the parent of Path
	TimesTo                    // times of the parent of To
	// Doubted is logged for a rename that found nothing to move; from then on
	// the record owes Compared instead of the rename.
	Doubted
	Compared // what was moved has been compared
)

const anyTimes = TimesFrom | TimesTo

// With adds q, just logged, to what the log says of a record.
func (p Part) With(q Part) Part {
	if q == Doubted {
		p &^= Compared
	}
	return p | q
}
