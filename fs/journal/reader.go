package journal

import (
	"errors"
	"fmt"
	"os"
)

// A Reader gives the records in order, and follows the tail: when Next is false
// and Err nil, there is nothing more yet. It is for one goroutine. It holds the
// segment it is in open, and no lock, so that it never hinders an append; of
// what retention deletes it still reads the segment it is in.
type Reader struct {
	j     *Journal
	seg   *segment
	file  file
	in    *frames
	after Position // of the newest record given, or where to begin
	at    Position // of the newest frame read in seg
	rec   *Record
	err   error
}

// NewReader reads the records after a position; 0 is the beginning.
// ErrTruncated if some of them are gone, or if no such position exists.
func (j *Journal) NewReader(after Position) (*Reader, error) {
	s, err := j.find(after)
	if err != nil {
		return nil, err
	}
	r := &Reader{j: j, after: after}
	if err := r.enter(s); err != nil {
		return nil, err
	}
	return r, nil
}

// find gives the segment that holds the record after a position.
func (j *Journal) find(after Position) (*segment, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if after > j.last {
		return nil, fmt.Errorf("%w: %d is above the newest, %d", ErrTruncated, after, j.last)
	}
	if first := j.segments[0].first; after+1 < first {
		return nil, fmt.Errorf("%w: %d is below the oldest, %d", ErrTruncated, after+1, first)
	}
	found := j.segments[0]
	for _, s := range j.segments {
		if s.first <= after+1 {
			found = s
		}
	}
	return found, nil
}

// Next reads the next record. False at the tail, or on an error, which stays.
func (r *Reader) Next() bool {
	for r.err == nil {
		if last := r.seg.lastPos(); r.at >= last || r.after >= last {
			if !r.advance() {
				return false
			}
			continue
		}
		if r.step() {
			return true
		}
	}
	return false
}

// Record is the record that Next read. It is the caller's to keep.
func (r *Reader) Record() *Record { return r.rec }

// Err tells why Next was false, nil at the tail: ErrTruncated if the segment to
// read next is gone, ErrDamaged if a record cannot be read.
func (r *Reader) Err() error { return r.err }

// Close lets go of the segment.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	if r.err == nil {
		r.err = ErrClosed
	}
	return err
}

// advance goes on to the next segment, if this one is read to its end and there
// is one. The link is loaded before the end is looked at again: what was
// published before the link must not be passed over.
func (r *Reader) advance() bool {
	next := r.seg.next.Load()
	if next == nil {
		return false
	}
	if last := r.seg.lastPos(); r.at < last && r.after < last {
		return true
	}
	r.err = r.enter(next)
	return r.err == nil
}

func (r *Reader) enter(s *segment) error {
	f, err := r.j.opts.disk.open(s.path, os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: segment %s was dropped", ErrTruncated, s.path)
	}
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	if r.file != nil {
		r.file.Close()
	}
	r.seg, r.file, r.at = s, f, s.first-1
	if r.in == nil {
		r.in = newFrames(f, s.salt)
	} else {
		r.in.reset(f, s.salt)
	}
	return nil
}

// step reads one frame. False if it is not one to be given, or on an error.
func (r *Reader) step() bool {
	at := r.in.off
	f, err := r.in.next(r.seg.end.Load())
	if err == nil && f.pos != r.at+1 {
		err = errBadFrame
	}
	if errors.Is(err, errBadFrame) {
		r.err = r.skip(at)
		return false
	}
	if err != nil {
		r.err = err
		return false
	}
	r.at = f.pos
	if f.pos <= r.after {
		return false
	}
	return r.decode(f, at)
}

// skip leaves a segment whose end a failed sync or a power cut has taken, as
// the next segment's header says; anything else that is unreadable is damage.
func (r *Reader) skip(at int64) error {
	if next := r.seg.next.Load(); next != nil && next.lossy {
		return r.enter(next)
	}
	return &DamageError{r.seg.path, at, fmt.Sprintf("no good record %d", r.at+1)}
}

func (r *Reader) decode(f frame, at int64) bool {
	rec := new(Record)
	if _, err := decodeRecord(rec, f, r.seg.origin); err != nil {
		r.err = &DamageError{r.seg.path, at, err.Error()}
		return false
	}
	if r.err = known(rec.Kind, r.seg.path); r.err != nil {
		return false
	}
	r.after = f.pos
	if rec.Kind >= optionalKind {
		return false
	}
	r.rec = rec
	return true
}
