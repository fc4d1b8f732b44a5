package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// spare is the next segment: a file full of zeros, already durable, so that an
// append into it changes no metadata and its sync is one write. All fields are
// guarded by Journal.mu.
type spare struct {
	cond   *sync.Cond // on Journal.mu: file, err or wanted changed
	wake   chan struct{}
	path   string
	file   file
	wanted bool // the keeper has been told and has not answered
	err    error
	failed time.Time
}

// spareRetry is how long a failure to make a segment is answered from memory:
// on a full disk each append would try otherwise.
const spareRetry = 100 * time.Millisecond

// awaitSpare returns when a spare is there. j.mu is held, and let go of while
// waiting.
func (j *Journal) awaitSpare() error {
	sp := &j.spare
	if sp.file == nil && !sp.wanted {
		if sp.err != nil && time.Since(sp.failed) < spareRetry {
			return sp.err
		}
		sp.wanted = true
		wake(sp.wake)
	}
	for sp.file == nil && sp.wanted && !j.closed {
		sp.cond.Wait()
	}
	switch {
	case j.closed:
		return ErrClosed
	case sp.file == nil:
		return sp.err
	}
	return nil
}

// keep makes spares and enforces MaxSize until Close.
func (j *Journal) keep() {
	for {
		j.makeSpare()
		j.enforceMaxSize()
		select {
		case <-j.stop:
			return
		case <-j.spare.wake:
		}
	}
}

// makeSpare makes a spare if there is none.
func (j *Journal) makeSpare() {
	j.mu.Lock()
	if j.spare.file != nil {
		j.spare.wanted = false
		j.mu.Unlock()
		return
	}
	j.spare.wanted = true
	ceiling := j.last + 3*j.perSegment()
	synced, hlc := Position(j.synced.Load()), j.hlc
	j.mu.Unlock()

	f, err := createSpare(j.opts.disk, j.spare.path, j.opts.SegmentSize)
	if err == nil {
		err = j.state.update(func(s *state) {
			s.ceiling, s.synced, s.hlc = max(s.ceiling, ceiling), max(s.synced, synced), max(s.hlc, hlc)
		})
		if err != nil {
			f.Close()
			f = nil
		}
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	first := j.spare.err == nil
	j.spare.file, j.spare.err, j.spare.wanted = f, err, false
	if err != nil {
		j.spare.failed = time.Now()
	}
	switch {
	case err == nil:
		j.ceiling = max(j.ceiling, ceiling)
	case first: // and not at each try while the disk stays full
		j.opts.Log.Error("journal cannot make its next segment", "dir", j.dir, "err", err)
	}
	j.spare.cond.Broadcast()
}

// createSpare makes a file of size zeros, durable but for its name. A crash
// leaves a *.tmp that the next Open removes.
func createSpare(d disk, path string, size int64) (file, error) {
	f, err := d.open(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, fmt.Errorf("make next journal segment: %w", err)
	}
	if err := fill(f, size); err != nil {
		f.Close()
		return nil, fmt.Errorf("make next journal segment: %w", errors.Join(err, d.remove(path)))
	}
	return f, nil
}

func fill(f file, size int64) error {
	if err := f.allocate(size); err != nil {
		return err
	}
	zeros := make([]byte, min(size, 1<<20))
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return f.sync()
}

// use makes the spare the segment s, which begins with head. If that fails the
// spare is gone and nothing has changed.
func (sp *spare) use(d disk, s *segment, head []byte) error {
	f := sp.file
	_, err := f.WriteAt(head, 0)
	if err == nil {
		err = d.rename(sp.path, s.path)
	}
	if err != nil {
		sp.discard(d)
		wake(sp.wake)
		return fmt.Errorf("begin segment %s: %w", filepath.Base(s.path), err)
	}
	s.file, sp.file = f, nil
	return nil
}

func (sp *spare) discard(d disk) {
	if sp.file == nil {
		return
	}
	sp.file.Close()
	sp.file = nil
	_ = d.remove(sp.path) // the next Open removes what is left
}
