package replicate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"closefs/fs/journal"
	"closefs/replicate/plan"
)

// progress is what is known about a target across restarts, in one file that is
// appended to and now and then rewritten. Plain writes survive the daemon's
// death. A power cut may take the newest of them: then the target is reconciled
// anyway (the journal says so), and all that matters is met and since.
//
// An entry has 16 bytes: kind, 4 bytes of CRC-32C over the rest, 3 bytes of
// nothing, and a number. A torn entry at the end is cut off.
type progress struct {
	path string
	file *os.File
	size int64

	known       bool // the file existed and could be read to its end
	met         bool // a reconcile was finished once
	reconciling bool // one was begun and not finished
	needed      bool // one has to be begun
	acked       journal.Position
	since       time.Time                      // what changed from here on may be missing at the target
	done        map[journal.Position]plan.Part // parts met, of positions beyond acked
}

// Kinds of entries.
const (
	entryAcked     = 0xf0 + iota // number: everything up to this position is at the target
	entrySince                   // number: Unix nanoseconds
	entryReconcile               // a reconcile began
	entryMet                     // a reconcile was finished
	entryNeed                    // a reconcile is needed
	entryPart                    // first byte of nothing: the part; number: the position
)

const (
	progressFile = "progress"

	entrySize   = 16
	rewriteSize = 4 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openProgress reads the file at path, or begins one.
func openProgress(path string) (*progress, error) {
	p := &progress{path: path, done: make(map[journal.Position]plan.Part)}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open progress of target: %w", err)
	}
	p.file = f
	b, err := io.ReadAll(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read progress of target: %w", err)
	}
	good := p.load(b)
	if err := f.Truncate(int64(good)); err != nil {
		f.Close()
		return nil, fmt.Errorf("cut progress of target: %w", err)
	}
	p.size = int64(good)
	p.known = good > 0 && len(b)-good < entrySize
	return p, nil
}

// Met tells whether the target whose worker keeps its state in dir was once
// brought up to date. A dialer refuses such a target if it is all empty.
func Met(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, progressFile))
	if err != nil {
		return false
	}
	p := &progress{done: make(map[journal.Position]plan.Part)}
	p.load(b)
	return p.met
}

// load applies the entries of b and returns how many bytes of it are good.
func (p *progress) load(b []byte) int {
	n := 0
	for ; n+entrySize <= len(b); n += entrySize {
		e := b[n : n+entrySize]
		if crc32.Checksum(e[5:], castagnoli)^uint32(e[0]) != binary.LittleEndian.Uint32(e[1:]) {
			break
		}
		p.apply(e[0], e[5], binary.LittleEndian.Uint64(e[8:]))
	}
	return n
}

func (p *progress) apply(kind, part byte, v uint64) {
	switch kind {
	case entryAcked:
		p.acked = journal.Position(v)
	case entrySince:
		p.since = time.Unix(0, int64(v))
	case entryNeed:
		p.needed = true
	case entryReconcile:
		p.reconciling, p.needed = true, false
		clear(p.done)
	case entryMet:
		p.met, p.reconciling = true, false
	case entryPart:
		p.done[journal.Position(v)] = p.done[journal.Position(v)].With(plan.Part(part))
	}
}

func appendEntry(b []byte, kind, part byte, v uint64) []byte {
	var e [entrySize]byte
	e[0], e[5] = kind, part
	binary.LittleEndian.PutUint64(e[8:], v)
	binary.LittleEndian.PutUint32(e[1:], crc32.Checksum(e[5:], castagnoli)^uint32(kind))
	return append(b, e[:]...)
}

// log notes obligations that were met. It is called before anything is begun
// that relies on them: a crash may lose none of the entries it returned from.
func (p *progress) log(met []plan.Obligation) error {
	if len(met) == 0 {
		return nil
	}
	b := make([]byte, 0, len(met)*entrySize)
	for _, o := range met {
		b = appendEntry(b, entryPart, byte(o.Part), uint64(o.Pos))
		p.done[o.Pos] = p.done[o.Pos].With(o.Part)
	}
	return p.write(b)
}

// setAcked notes that everything up to pos is at the target, and that whatever
// changes from since on may not be.
func (p *progress) setAcked(pos journal.Position, since time.Time) error {
	b := appendEntry(nil, entryAcked, 0, uint64(pos))
	if !since.IsZero() {
		b = appendEntry(b, entrySince, 0, uint64(since.UnixNano()))
		p.since = since
	}
	if err := p.write(b); err != nil {
		return err
	}
	p.acked = pos
	if p.size > rewriteSize {
		return p.rewrite()
	}
	return nil
}

// begin notes that a reconcile begins at pos; what changed since may be missing
// until it is finished.
func (p *progress) begin(pos journal.Position, since time.Time) error {
	p.reconciling, p.needed, p.acked, p.since = true, false, pos, since
	clear(p.done)
	return p.rewrite()
}

// need notes that a reconcile has to be begun, whatever acked says.
func (p *progress) need() error {
	p.needed = true
	return p.write(appendEntry(nil, entryNeed, 0, 0))
}

// finish notes that the reconcile is done.
func (p *progress) finish() error {
	if err := p.write(appendEntry(nil, entryMet, 0, 0)); err != nil {
		return err
	}
	p.met, p.reconciling = true, false
	return nil
}

func (p *progress) write(b []byte) error {
	n, err := p.file.Write(b)
	if err != nil {
		if n > 0 { // do not leave half an entry before later ones
			err = errors.Join(err, p.file.Truncate(p.size))
		}
		return fmt.Errorf("write progress of target: %w", err)
	}
	p.size += int64(n)
	return nil
}

// rewrite replaces the file by one that holds just what counts.
func (p *progress) rewrite() error {
	var b []byte
	if p.met {
		b = appendEntry(b, entryMet, 0, 0)
	}
	if p.reconciling {
		b = appendEntry(b, entryReconcile, 0, 0)
	}
	if p.needed {
		b = appendEntry(b, entryNeed, 0, 0)
	}
	b = appendEntry(b, entryAcked, 0, uint64(p.acked))
	if !p.since.IsZero() {
		b = appendEntry(b, entrySince, 0, uint64(p.since.UnixNano()))
	}
	for pos, parts := range p.done {
		if pos <= p.acked {
			delete(p.done, pos)
			continue
		}
		b = appendEntry(b, entryPart, byte(parts), uint64(pos))
	}
	f, err := replaceFile(p.path, b)
	if f != nil { // also if only the directory could not be synced
		p.file.Close()
		p.file, p.size = f, int64(len(b))
	}
	if err != nil {
		return fmt.Errorf("rewrite progress of target: %w", err)
	}
	return nil
}

// replaceFile puts a new file with content b at path: temporary name, fsync,
// rename, fsync of the directory. It returns the file, open for appending, as soon
// as it has its name.
func replaceFile(path string, b []byte) (*os.File, error) {
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err == nil {
		err = dir.Sync()
		dir.Close()
	}
	return f, err
}

func (p *progress) close() error { return p.file.Close() }
