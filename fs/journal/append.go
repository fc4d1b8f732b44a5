package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Append stores r as the next record and sets its Pos, Time, HLC and Origin. It
// blocks on no reader; with SyncAlways it waits until the record is durable,
// otherwise a crash of the process loses nothing and a power cut at most the
// last SyncInterval.
//
// On any error but ErrClosed the change that r reports is missing, and the
// journal puts a Gap record before the next one that it can store. Only with
// SyncAlways may both be there, a position and an error: then the record is
// stored and its sync failed.
func (j *Journal) Append(r *Record) (Position, error) {
	pos, err := j.append(r)
	if err != nil {
		return 0, fmt.Errorf("append to journal: %w", err)
	}
	j.changed.poke()
	if j.opts.SyncAlways {
		return pos, j.syncTo(pos)
	}
	return pos, nil
}

func (j *Journal) append(r *Record) (Position, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return 0, ErrClosed
	}
	err := j.appendLocked(r)
	if err != nil {
		j.errors++
		j.gap = true
		return 0, err
	}
	if !j.armed {
		j.armed = true
		wake(j.syncWake)
	}
	return r.Pos, nil
}

func (j *Journal) appendLocked(r *Record) error {
	if r.Kind == Checkpoint {
		return fmt.Errorf("%w: checkpoints are the journal's own", ErrInvalid)
	}
	if err := validate(r); err != nil {
		return err
	}
	if err := j.putGap(); err != nil {
		return err
	}
	return j.put(r)
}

// putGap stores the Gap record that is owed, if one is: a new segment has it at
// its head. j.mu is held.
func (j *Journal) putGap() error {
	if !j.gap {
		return nil
	}
	gap := Record{Kind: Gap}
	buf, err := j.encode(&gap)
	if err != nil {
		return err
	}
	if !j.fits(buf) {
		return j.rotate(0)
	}
	if err := j.write(&gap, buf); err != nil {
		return err
	}
	j.gapPut()
	return nil
}

func (j *Journal) gapPut() {
	if j.gap {
		j.gap = false
		j.gaps++
	}
}

// put stamps r and writes it behind the newest record, in a new segment if
// there is no room. j.mu is held. A crash leaves the record whole, or a torn
// tail that the next Open cuts off.
func (j *Journal) put(r *Record) error {
	for {
		buf, err := j.encode(r)
		if err != nil {
			return err
		}
		if j.fits(buf) {
			return j.write(r, buf)
		}
		if err := j.rotate(len(buf)); err != nil {
			return err
		}
	}
}

func (j *Journal) fits(buf []byte) bool {
	return !j.fresh && j.active.end.Load()+int64(len(buf)) <= j.active.size
}

func (j *Journal) write(r *Record, buf []byte) error {
	s, end := j.active, j.active.end.Load()
	if err := j.reserve(r.Pos); err != nil {
		return err
	}
	if _, err := s.file.WriteAt(buf, end); err != nil {
		if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
			j.fresh = true
		}
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	s.publish(r.Pos, end+int64(len(buf)))
	j.last, j.hlc = r.Pos, r.HLC
	j.lastPos.Store(uint64(r.Pos))
	j.appended++
	j.dirty.apply(r, note{opened: r.Pos})
	return nil
}

// encode stamps r for the next position and encodes it into j.buf.
func (j *Journal) encode(r *Record) ([]byte, error) {
	now := j.opts.Clock().Round(0)
	if r.Time.IsZero() {
		r.Time = now
	}
	r.HLC = nextHLC(now, j.hlc)
	r.Pos = j.last + 1
	if r.Origin == "" {
		r.Origin = j.opts.Origin
	}
	n := note{durable: Position(j.synced.Load()), opened: r.Pos}
	buf, err := appendFrame(j.buf[:0], r, n, j.active.salt, j.active.origin)
	j.buf = buf
	return buf, err
}

// reserve sees to it that the state file promises no position above pos to be
// unused. The keeper raises the ceiling long before it is reached; only
// segments that are larger than planned get here. j.mu is held.
func (j *Journal) reserve(pos Position) error {
	if pos < j.ceiling {
		return nil
	}
	return j.raiseCeiling(pos + 2*j.perSegment())
}

// raiseCeiling makes to the ceiling, durably. j.mu is held.
func (j *Journal) raiseCeiling(to Position) error {
	err := j.state.update(func(s *state) {
		s.ceiling = max(s.ceiling, to)
		s.synced, s.hlc = max(s.synced, Position(j.synced.Load())), max(s.hlc, j.hlc)
	})
	if err != nil {
		return err
	}
	j.ceiling = max(j.ceiling, to)
	return nil
}

// perSegment is more than the number of records that fit in one segment.
func (j *Journal) perSegment() Position { return Position(j.opts.SegmentSize/minFrame + 1) }

// rotate goes on in a new segment: the spare that the keeper has made. Header,
// checkpoints and the Gap that is owed are in the file before it gets its name,
// so that whoever finds a segment after a kill finds all of them. Its name, and what is in it,
// becomes durable with the next sync. j.mu is held, but let go of while waiting
// for the spare. There is room for a record of need bytes behind the head.
func (j *Journal) rotate(need int) error {
	before := j.active
	if err := j.awaitSpare(); err != nil {
		return err
	}
	if before != j.active {
		return nil // someone else did it meanwhile
	}
	h := j.nextHeader()
	head, last, hlc, err := j.encodeHead(h)
	if err != nil {
		return err
	}
	s := newSegment(j.dir, h, max(j.opts.SegmentSize, int64(len(head)+need+restampSlack)))
	if err := j.reserve(last); err != nil {
		return err
	}
	if err := j.spare.use(j.opts.disk, s, head); err != nil {
		return err
	}
	s.publish(last, int64(len(head)))
	j.link(s)
	j.appended += uint64(last + 1 - h.first)
	j.last, j.hlc = last, hlc
	j.lastPos.Store(uint64(last))
	j.fresh, j.lossy = false, false
	j.gapPut()
	return nil
}

// restampSlack is by how much a record may grow when it is stamped again for
// another segment: its origin may have to be spelt out.
const restampSlack = maxOrigin + 64

// link makes s the active segment. j.mu is held.
func (j *Journal) link(s *segment) {
	if j.active != nil {
		j.active.next.Store(s)
	}
	j.segments = append(j.segments, s)
	j.active = s
	j.unsynced = append(j.unsynced, s)
	j.newName = true
	wake(j.spare.wake)
}

func (j *Journal) nextHeader() header {
	var salt [4]byte
	rand.Read(salt[:])
	h := header{first: j.last + 1, hlc: j.hlc, lossy: j.lossy, origin: j.opts.Origin,
		salt: binary.LittleEndian.Uint32(salt[:])}
	if a := j.active; a != nil {
		h.prevFirst, h.prevLast = a.first, a.lastPos()
	}
	return h
}

// encodeHead encodes a segment's header, one checkpoint per dirty file and the
// Gap that is owed, and tells the last position and clock used.
func (j *Journal) encodeHead(h header) (b []byte, last Position, hlc uint64, err error) {
	b, last, hlc = h.encode(), h.first-1, h.hlc
	now := j.opts.Clock().Round(0)
	add := func(r Record, opened Position) error {
		last, hlc = last+1, nextHLC(now, hlc)
		r.Pos, r.HLC, r.Origin = last, hlc, h.origin
		b, err = appendFrame(b, &r, note{Position(j.synced.Load()), opened}, h.salt, h.origin)
		return err
	}
	for _, f := range j.dirty.sorted() {
		if err := add(Record{Kind: Checkpoint, Time: f.Since, ID: f.ID, Path: f.Path}, f.Pos); err != nil {
			return nil, 0, 0, err
		}
	}
	if j.gap {
		if err := add(Record{Kind: Gap, Time: now}, 0); err != nil {
			return nil, 0, 0, err
		}
	}
	return b, last, hlc, nil
}

// nextHLC is the hybrid logical clock's next value: the wall clock, or one more
// than the last value where the wall clock is not ahead of it.
func nextHLC(now time.Time, last uint64) uint64 {
	return max(uint64(max(now.UnixNano(), 0)), last+1)
}

// wake sends on a channel of capacity 1 without waiting.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
