package fs

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"closefs/fs/journal"
)

// Journal is what the filesystem needs of *journal.Journal.
type Journal interface {
	Append(*journal.Record) (journal.Position, error)
	Sync() error
	Dirty() []journal.DirtyFile
	Last() journal.Position
	NewReader(after journal.Position) (*journal.Reader, error)
}

// failures counts records that could not be appended. The change that they
// report has been made, so the application is told that it succeeded; the
// journal puts a Gap record where they are missing.
type failures struct {
	count atomic.Int64
	log   *slog.Logger

	mu     sync.Mutex // guards logged
	logged time.Time
}

// failureLogInterval keeps a full disk from filling the log as well.
const failureLogInterval = 10 * time.Second

func (e *failures) add(r *journal.Record, err error) {
	n := e.count.Add(1)
	e.mu.Lock()
	quiet := time.Since(e.logged) < failureLogInterval
	if !quiet {
		e.logged = time.Now()
	}
	e.mu.Unlock()
	if !quiet {
		e.log.Error("change not journaled", "path", r.Path, "kind", int(r.Kind), "failed_appends", n, "error", err)
	}
}

// record appends r. The caller holds order, under which r's paths were
// computed, and the lock of the inode if r is about its content.
func (f *FS) record(r *journal.Record) {
	if _, err := f.journal.Append(r); err != nil {
		f.failed.add(r, err)
	}
}

// A change is one mutation of the backing directory's names or attributes.
type change struct {
	intent intent
	apply  func() error             // the backing system call; returns an errno
	update func() []*journal.Record // follows in the node table; returns what to record
}

// commit makes a change. The caller holds order and the locks of the names and
// inodes that are involved, from the resolution of the names until the return.
// A signal to the application does not stop it.
func (f *FS) commit(c change) error {
	c.intent.after = f.journal.Last()
	slot := f.intents.begin(&c.intent)
	// A crash here leaves an intent and no change: Recover finds nothing made.
	if err := c.apply(); err != nil {
		f.intents.end(slot)
		return err
	}
	// A crash here leaves a change that nobody was told of, neither the
	// application nor the journal: Recover records it from the intent.
	records := c.update()
	// The table dies with the daemon: a crash here is the same as before it.
	for _, r := range records {
		f.record(r)
	}
	// A crash here leaves a recorded change with its intent: Recover records it
	// once more, which repeats "look at this path" and does no harm. A rename it
	// looks for in the journal first: twice is not the same as once.
	f.intents.end(slot)
	// A crash here leaves a recorded change that the application was not told of.
	return nil
}
