package journal

import (
	"errors"
	"fmt"
	"os"
)

// recover reads the records that this Open needs: those of the last segment,
// which begins with all that was dirty, or after a power cut those of every
// segment that may not have been durable. It cuts off a torn tail.
func (j *Journal) recover() error {
	start := max(0, len(j.segments)-1)
	if j.powerLost {
		start = j.firstInDoubt()
	}
	j.syncedAtOpen = j.state.cur.synced
	for i := start; i < len(j.segments); i++ {
		more, err := j.recoverSegment(i)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if n := len(j.segments); n > 0 {
		j.active = j.segments[n-1]
		j.lastPos.Store(uint64(j.last))
	}
	if !j.powerLost {
		j.syncedAtOpen = j.last
	}
	return nil
}

// firstInDoubt is the last segment whose head is known to be durable. A sync
// covers the head of a segment wholly or not at all.
func (j *Journal) firstInDoubt() int {
	start := 0
	for i, s := range j.segments {
		if s.first <= j.state.cur.synced {
			start = i
		}
	}
	return start
}

// recoverSegment replays segment i. more is false if the log ends in it.
func (j *Journal) recoverSegment(i int) (more bool, err error) {
	s := j.segments[i]
	f, err := j.opts.disk.open(s.path, os.O_RDWR)
	if err != nil {
		return false, err
	}
	defer f.Close()
	in := newFrames(f, s.salt)
	if err := j.replay(in, s); err != nil {
		return false, err
	}
	end := in.off
	if next := s.next.Load(); next != nil && (next.lossy || j.last == next.prevLast) {
		return true, nil
	}
	left, err := in.searchRest(j.last, s.size)
	if err != nil {
		return false, err
	}
	j.syncedAtOpen = max(j.syncedAtOpen, left.durable)
	if err := j.judge(i, end, left); err != nil {
		return false, err
	}
	return false, j.cut(i, f, end, left)
}

// replay applies the records of s in order, up to the first that is not good.
func (j *Journal) replay(in *frames, s *segment) error {
	j.last, j.hlc = s.first-1, max(j.hlc, s.hlc)
	for {
		at := in.off
		f, err := in.next(s.size)
		if err == nil && f.pos != j.last+1 {
			in.off, err = at, errBadFrame
		}
		if errors.Is(err, errBadFrame) {
			return nil
		}
		if err != nil {
			return err
		}
		var r Record
		n, err := decodeRecord(&r, f, s.origin)
		if err != nil {
			return &DamageError{s.path, at, err.Error()}
		}
		if err := known(r.Kind, s.path); err != nil {
			return err
		}
		j.dirty.apply(&r, n)
		j.last, j.hlc = r.Pos, max(j.hlc, r.HLC)
		j.syncedAtOpen = max(j.syncedAtOpen, n.durable)
	}
}

// known refuses a record that must be understood and is not.
func known(k Kind, path string) error {
	if k > Gap && k < optionalKind {
		return fmt.Errorf("%s: %w: record of kind %d", path, ErrNewer, k)
	}
	return nil
}

// judge decides whether segment i, whose good records end at j.last, ends there
// by the nature of a crash or by damage. A killed process leaves at most the
// last record cut short. A power cut leaves anything behind the last sync.
func (j *Journal) judge(i int, end int64, left rest) error {
	s := j.segments[i]
	isLast := i == len(j.segments)-1
	if j.powerLost && !isLast {
		if err := j.durableBehind(i + 1); err != nil {
			return err
		}
	}
	switch {
	case j.last < j.syncedAtOpen:
		return &DamageError{s.path, end, fmt.Sprintf("no good record %d, but everything up to %d had been durable", j.last+1, j.syncedAtOpen)}
	case j.powerLost:
		return nil
	case left.valid:
		return &DamageError{s.path, end, fmt.Sprintf("no good record %d, but there are some behind it", j.last+1)}
	}
	return nil
}

// durableBehind learns what segments i and later say was durable.
func (j *Journal) durableBehind(i int) error {
	for _, s := range j.segments[i:] {
		f, err := j.opts.disk.open(s.path, os.O_RDONLY)
		if err != nil {
			return err
		}
		left, err := newFrames(f, s.salt).searchRest(s.first-1, s.size)
		f.Close()
		if err != nil {
			return err
		}
		j.syncedAtOpen = max(j.syncedAtOpen, left.durable)
	}
	return nil
}

// cut ends the log in segment i at offset end: what follows becomes zeros, and
// later segments go. Done twice it does the same.
func (j *Journal) cut(i int, f file, end int64, left rest) error {
	s := j.segments[i]
	if later := j.segments[i+1:]; len(later) > 0 {
		var firsts []Position
		for _, l := range later {
			firsts = append(firsts, l.first)
		}
		if err := j.drop(firsts, fmt.Errorf("%s is torn at offset %d", s.path, end)); err != nil {
			return err
		}
		j.segments = j.segments[:i+1]
		s.next.Store(nil)
	}
	if left.end > end {
		j.opts.Log.Warn("journal has a torn tail; cutting it off", "file", s.path, "offset", end, "bytes", left.end-end, "last", j.last)
		if _, err := f.WriteAt(make([]byte, left.end-end), end); err != nil {
			return fmt.Errorf("cut torn tail of %s: %w", s.path, err)
		}
		if err := f.sync(); err != nil {
			return err
		}
	}
	s.publish(j.last, end)
	return nil
}
