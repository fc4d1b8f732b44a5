package journal

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure a Journal. The zero value works.
type Options struct {
	// SyncInterval is how long an appended record may wait for fdatasync; 0: 5 ms.
	SyncInterval time.Duration
	// SyncAlways makes Append return only when the record is durable; all that
	// wait at the same time share one fdatasync.
	SyncAlways bool
	// MaxSize bounds the bytes of all segments; 0: 1 GiB. Beyond it the oldest go,
	// whoever still needs them. At least 4 segments' worth of 64 KiB.
	MaxSize int64
	// SegmentSize is the size of one segment file in bytes; 0: 16 MiB, at most a
	// quarter of MaxSize.
	SegmentSize int64
	// Origin is the name of this host, put on each record that has none; "" is
	// what the kernel says.
	Origin string
	// Clock is the wall clock; nil: time.Now.
	Clock func() time.Time
	// Log receives what an operator should know; nil: nothing.
	Log *slog.Logger
	// OnSync, if set, is called with the duration of each group sync. It must not
	// call the journal.
	OnSync func(time.Duration)

	disk disk          // tests only
	boot func() string // tests only
}

func (o Options) withDefaults() (Options, error) {
	if o.SyncInterval <= 0 {
		o.SyncInterval = 5 * time.Millisecond
	}
	if o.MaxSize == 0 {
		o.MaxSize = 1 << 30
	}
	if o.MaxSize < 4*minSegment {
		return o, fmt.Errorf("journal: max size %d is below %d bytes", o.MaxSize, 4*minSegment)
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = min(16<<20, o.MaxSize/4)
	}
	if o.SegmentSize < minSegment || o.SegmentSize > min(o.MaxSize/4, maxSegmentSize) {
		return o, fmt.Errorf("journal: segment size %d is not between %d and a quarter of %d bytes", o.SegmentSize, minSegment, o.MaxSize)
	}
	if o.Origin == "" {
		name, err := os.Hostname()
		if err != nil {
			return o, fmt.Errorf("journal: name of this host: %w", err)
		}
		o.Origin = name
	}
	if len(o.Origin) > maxOrigin {
		return o, fmt.Errorf("journal: origin %q is longer than %d bytes", o.Origin, maxOrigin)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.disk == nil {
		o.disk = osDisk{}
	}
	if o.boot == nil {
		o.boot = bootID
	}
	return o, nil
}

// minSegment keeps a segment large enough for its header and a few records.
const minSegment = 4 << 10

// A Journal is an open log. Its methods may be called from many goroutines.
//
// Lock order: syncMu or retainMu, mu, stateFile.mu.
type Journal struct {
	opts    Options
	dir     string
	lock    *os.File
	state   *stateFile
	changed subscribers

	unclean      bool
	powerLost    bool
	syncedAtOpen Position

	lastPos atomic.Uint64 // newest published record, for Last without mu
	synced  atomic.Uint64 // everything up to here is durable

	syncMu   sync.Mutex // guards the fields below; the leader alone changes those of a lost sync
	syncDone *sync.Cond // on syncMu: a sync has ended
	syncing  bool       // someone leads
	lostFrom Position   // after a failed sync: positions in (lostFrom, lostTo]
	lostTo   Position   // may never become durable
	lostErr  error

	retainMu sync.Mutex // one at a time removes segments

	mu       sync.Mutex
	closed   bool
	buf      []byte // encoded record, reused
	segments []*segment
	active   *segment
	last     Position
	hlc      uint64
	dirty    dirtySet
	unsynced []*segment // with records, or a name, that are not durable yet
	newName  bool       // a segment's name is not durable yet
	armed    bool       // the syncer was told
	gap      bool       // an append failed: the next record must be a Gap
	fresh    bool       // the active segment must not be appended to any more
	lossy    bool       // and its unsynced records may be lost
	ceiling  Position   // copy of state.ceiling
	appended uint64
	errors   uint64
	gaps     uint64
	spare    spare

	stop     chan struct{} // closed by Close
	syncWake chan struct{} // capacity 1
	running  sync.WaitGroup
}

// First is the position of the oldest record kept; if there is none, the
// position that the next record gets.
func (j *Journal) First() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.segments[0].first
}

// Last is the position of the newest record, 0 if none was ever appended.
func (j *Journal) Last() Position { return Position(j.lastPos.Load()) }

// Origin is the name of this host as new records carry it.
func (j *Journal) Origin() string { return j.opts.Origin }

// Changed gives a channel of capacity 1 that receives after appends, and a
// function that gives it back. A receiver must read on to the tail each time:
// many appends may be one poke.
func (j *Journal) Changed() (c <-chan struct{}, stop func()) { return j.changed.add() }

// Dirty lists the files that were opened for writing and not closed since,
// ordered by path.
func (j *Journal) Dirty() []DirtyFile {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.dirty.sorted()
}

// IsDirty tells whether the file was opened for writing and not closed since.
func (j *Journal) IsDirty(id FileID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, ok := j.dirty[id]
	return ok
}

// Unclean tells that the journal had not been closed before this Open: the
// process was killed, or the machine stopped.
func (j *Journal) Unclean() bool { return j.unclean }

// PowerLost tells that the journal had not been closed before this Open and
// that the machine was started since: records after SyncedAtOpen may be gone. A
// Gap record stands where they would have been.
func (j *Journal) PowerLost() bool { return j.powerLost }

// SyncedAtOpen is the last position known to have been durable before this Open.
func (j *Journal) SyncedAtOpen() Position { return j.syncedAtOpen }

// Close makes everything durable, notes that the journal was closed properly
// and lets go of the directory. Readers keep what they have open.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	j.spare.cond.Broadcast()
	j.mu.Unlock()
	close(j.stop)
	j.running.Wait()
	err := j.Sync()
	if err == nil {
		err = j.state.update(func(s *state) {
			s.clean, s.synced, s.hlc = true, j.last, j.hlc
		})
	}
	j.release()
	if err != nil {
		return fmt.Errorf("close journal %s: %w", j.dir, err)
	}
	return nil
}

// release closes all files. Nothing else may be running.
func (j *Journal) release() {
	j.spare.discard(j.opts.disk)
	for _, s := range j.segments {
		if s.file != nil {
			s.file.Close()
			s.file = nil
		}
	}
	if j.state != nil {
		j.state.file.Close()
	}
	j.lock.Close()
}
