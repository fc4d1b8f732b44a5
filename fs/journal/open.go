package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// OpenDir opens the journal in dir, which is made if it is missing, and locks it
// until Close (ErrLocked). A torn tail is cut off and logged; any other damage
// is ErrDamaged, and nothing is changed then.
func OpenDir(dir string, o Options) (*Journal, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{opts: o, dir: dir, lock: lock, dirty: dirtySet{},
		stop: make(chan struct{}), syncWake: make(chan struct{}, 1)}
	j.syncDone = sync.NewCond(&j.syncMu)
	j.spare.cond = sync.NewCond(&j.mu)
	j.spare.wake = make(chan struct{}, 1)
	j.spare.path = filepath.Join(dir, spareName)
	if err := j.load(); err != nil {
		j.release()
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	j.running.Go(j.keep)
	j.running.Go(j.runSyncer)
	return j, nil
}

// makeDir makes the directory, its name durable, if it is missing.
func makeDir(dir string) error {
	if fi, err := os.Stat(dir); err == nil && fi.IsDir() {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return osDisk{}.syncDir(filepath.Dir(dir))
}

// load brings the journal to where appends may begin. A crash at any point
// leaves what the next Open treats in the same way: the boot id in the state
// file becomes this boot's only after everything lost has been accounted for.
func (j *Journal) load() error {
	st, found, err := openState(j.opts.disk, j.dir)
	if err != nil {
		return err
	}
	j.state = st
	firsts, err := j.list()
	if err != nil {
		return err
	}
	boot := j.opts.boot()
	j.unclean = len(firsts) > 0 && (!found || !st.cur.clean)
	j.powerLost = j.unclean && (boot == "" || boot != st.cur.boot)
	j.hlc = st.cur.hlc
	if err := j.readHeaders(firsts); err != nil {
		return err
	}
	if err := j.recover(); err != nil {
		return err
	}
	if j.powerLost {
		j.opts.Log.Warn("journal was not closed before the machine stopped; changes after the last sync may be missing from it",
			"dir", j.dir, "synced", j.syncedAtOpen, "last", j.last)
	}
	if err := j.resume(); err != nil {
		return err
	}
	return st.update(func(s *state) {
		s.clean, s.boot, s.synced, s.hlc = false, boot, j.last, j.hlc
	})
}

// list finds the segments and removes files that were being made.
func (j *Journal) list() ([]Position, error) {
	names, err := j.opts.disk.names(j.dir)
	if err != nil {
		return nil, err
	}
	var firsts []Position
	for _, name := range names {
		if first, ok := segmentFirst(name); ok {
			firsts = append(firsts, first)
		} else if strings.HasSuffix(name, ".tmp") {
			if err := j.opts.disk.remove(filepath.Join(j.dir, name)); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}

// readHeaders fills j.segments and checks that none is missing in between.
func (j *Journal) readHeaders(firsts []Position) error {
	for i, first := range firsts {
		s, err := j.openSegment(first)
		if j.powerLost && errors.Is(err, ErrDamaged) && first > j.state.cur.synced {
			return j.drop(firsts[i:], err)
		}
		if err != nil {
			return err
		}
		if i > 0 {
			before := j.segments[i-1]
			if s.prevFirst != before.first {
				return &DamageError{s.path, 24, fmt.Sprintf("the segment before it, %s, is missing", segmentName(s.prevFirst))}
			}
			before.last.Store(uint64(s.prevLast))
			before.next.Store(s)
		}
		j.segments = append(j.segments, s)
	}
	return nil
}

// openSegment reads the header and the size of a segment of an earlier run.
func (j *Journal) openSegment(first Position) (*segment, error) {
	path := filepath.Join(j.dir, segmentName(first))
	f, err := j.opts.disk.open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h, err := readHeader(f, path, first)
	if err != nil {
		return nil, err
	}
	size, err := f.size()
	if err != nil {
		return nil, err
	}
	s := newSegment(j.dir, h, size)
	s.end.Store(size)
	return s, nil
}

// drop removes segments that a power cut left unusable, newest first, so that a
// crash leaves no hole.
func (j *Journal) drop(firsts []Position, why error) error {
	for _, first := range slices.Backward(firsts) {
		path := filepath.Join(j.dir, segmentName(first))
		j.opts.Log.Warn("journal segment was not yet durable when the machine stopped; removing it", "file", path, "err", why)
		if err := j.opts.disk.remove(path); err != nil {
			return err
		}
	}
	return nil
}

// resume makes the journal ready to append: in the last segment, or in a new
// one above every position that may have been handed out, if some may be lost.
func (j *Journal) resume() error {
	ceiling := max(j.state.cur.ceiling, j.unknownCeiling())
	j.ceiling = j.state.cur.ceiling
	j.synced.Store(uint64(j.syncedAtOpen))
	if err := j.syncOld(); err != nil {
		return err
	}
	switch {
	case len(j.segments) == 0 && ceiling <= 1:
		return j.begin()
	case j.powerLost || len(j.segments) == 0:
		next := max(ceiling, j.last+1)
		j.hlc += uint64(next - j.last)
		j.last, j.gap, j.lossy = next-1, true, true
		return j.begin()
	}
	j.synced.Store(uint64(j.last))
	return nil
}

// unknownCeiling stands in for the state file's if that was lost: room for all
// that the last segment could hold and for two more.
func (j *Journal) unknownCeiling() Position {
	if j.state.cur.ceiling > 0 || len(j.segments) == 0 {
		return 0
	}
	s := j.segments[len(j.segments)-1]
	return s.first + Position(s.size/minFrame) + 2*j.perSegment()
}

// begin makes a new segment, with the Gap record that is owed, durably. Nothing
// runs beside it: a failure fails the Open and leaves what the next one repeats.
func (j *Journal) begin() error {
	j.makeSpare()
	if j.spare.err != nil {
		return j.spare.err
	}
	j.mu.Lock()
	err := j.rotate(0)
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if err := j.syncFiles(j.unsynced, j.newName); err != nil {
		return err
	}
	j.synced.Store(uint64(j.last))
	j.newName = false
	return nil
}

// syncOld makes durable what an earlier run left in the page cache: also after a
// power cut, since an Open after it may have been killed.
func (j *Journal) syncOld() error {
	for _, s := range j.segments {
		if next := s.next.Load(); next != nil && next.first <= j.state.cur.synced {
			continue
		}
		f, err := j.opts.disk.open(s.path, os.O_RDWR)
		if err != nil {
			return err
		}
		if err := f.sync(); err != nil {
			f.Close()
			return err
		}
		if s != j.active || j.powerLost {
			f.Close()
			continue
		}
		s.file = f
		j.unsynced = append(j.unsynced, s)
	}
	return j.opts.disk.syncDir(j.dir)
}
