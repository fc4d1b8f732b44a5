package journal

import "slices"

// Retain tells that no reader needs records up to keep any more: segments that
// hold nothing newer are deleted, but never the one being written.
func (j *Journal) Retain(keep Position) {
	j.removeOldest(func(s *segment, _ int64) bool { return s.lastPos() <= keep })
}

// enforceMaxSize deletes the oldest segments, needed or not, until all of them
// with the spare fit in MaxSize; the one being written stays.
func (j *Journal) enforceMaxSize() {
	j.removeOldest(func(s *segment, total int64) bool {
		if total <= j.opts.MaxSize {
			return false
		}
		j.opts.Log.Warn("journal is full; dropping its oldest segment", "file", s.path, "last", s.lastPos(), "max", j.opts.MaxSize)
		return true
	})
}

// removeOldest deletes segments from the oldest on while gone says so, given
// the bytes of all that are left.
func (j *Journal) removeOldest(gone func(s *segment, total int64) bool) {
	j.retainMu.Lock()
	defer j.retainMu.Unlock()
	for {
		s := j.takeOldest(gone)
		if s == nil {
			return
		}
		if err := j.opts.disk.remove(s.path); err != nil {
			j.opts.Log.Error("journal segment could not be deleted", "file", s.path, "err", err)
		}
	}
}

// takeOldest takes the oldest segment off the list, if gone agrees.
func (j *Journal) takeOldest(gone func(s *segment, total int64) bool) *segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.segments[0]
	if j.closed || s == j.active || slices.Contains(j.unsynced, s) || !gone(s, j.bytes()) {
		return nil
	}
	j.segments = slices.Clone(j.segments[1:])
	return s
}

// bytes is what the segments and the spare take. j.mu is held.
func (j *Journal) bytes() int64 {
	n := j.opts.SegmentSize
	for _, s := range j.segments {
		n += s.size
	}
	return n
}
