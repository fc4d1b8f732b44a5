package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// optionalKind is the first kind that a reader may pass over when it does not
// know it; see doc.go, "Versions".
const optionalKind = 128

var (
	errBadFrame  = errors.New("no valid record")
	errMalformed = errors.New("record does not decode")
)

// frame is one stored record, still encoded.
type frame struct {
	pos  Position
	body []byte
	size int // with header and padding
}

// parseFrame reads the frame at the start of b. It returns errBadFrame if what
// is there is not, or not yet wholly, a record of a segment with that salt.
func parseFrame(b []byte, salt uint32) (frame, error) {
	n, ok := frameLen(b)
	if !ok || len(b) < frameSize(n) {
		return frame{}, errBadFrame
	}
	if frameSum(b[:frameHeader+n], salt) != binary.LittleEndian.Uint32(b[4:]) {
		return frame{}, errBadFrame
	}
	return frame{Position(binary.LittleEndian.Uint64(b[8:])), b[frameHeader : frameHeader+n], frameSize(n)}, nil
}

// frameLen is the length of the record whose frame begins b, if that is possible.
func frameLen(b []byte) (n int, ok bool) {
	if len(b) < frameHeader {
		return 0, false
	}
	n = int(binary.LittleEndian.Uint32(b))
	return n, n > 0 && n <= MaxRecord
}

// decodeRecord reads the body of the frame at pos into r, which must be zero.
// Fields that are not known are passed over.
func decodeRecord(r *Record, f frame, origin string) (note, error) {
	n := note{durable: f.pos, opened: f.pos}
	r.Pos, r.Origin = f.pos, origin
	var d decoder
	for b := f.body; len(b) > 0; {
		field, rest, err := nextField(b)
		if err != nil {
			return n, err
		}
		if err := d.set(r, &n, field); err != nil {
			return n, err
		}
		b = rest
	}
	if r.Kind == 0 {
		return n, fmt.Errorf("%w: no kind", errMalformed)
	}
	return n, d.finish(r)
}

// field is one decoded field: a number, or bytes for odd tags.
type field struct {
	tag   uint64
	value uint64
	bytes []byte
}

func nextField(b []byte) (f field, rest []byte, err error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return f, nil, fmt.Errorf("%w: field number", errMalformed)
	}
	b = b[n:]
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return f, nil, fmt.Errorf("%w: value of field %d", errMalformed, tag>>1)
	}
	b = b[n:]
	if tag&1 == 0 {
		return field{tag: tag, value: v}, b, nil
	}
	if v > uint64(len(b)) {
		return f, nil, fmt.Errorf("%w: length of field %d", errMalformed, tag>>1)
	}
	return field{tag: tag, bytes: b[:v]}, b[v:], nil
}

// decoder keeps what only makes sense once all fields are there.
type decoder struct {
	afterHLC     int64
	mtime, ctime storedTime
}

type storedTime struct {
	set  bool
	sec  int64
	nsec uint64
}

func (d *decoder) set(r *Record, n *note, f field) error {
	switch f.tag {
	case fieldKind:
		if f.value == 0 || f.value > 255 {
			return fmt.Errorf("%w: kind %d", errMalformed, f.value)
		}
		r.Kind = Kind(f.value)
	case fieldFlags:
		setFlags(r, f.value)
	case fieldHLC:
		r.HLC = f.value
	case fieldTime:
		d.afterHLC = unzigzag(f.value)
	case fieldID:
		r.ID = FileID(f.value)
	case fieldMode:
		r.Mode = uint32(f.value)
	case fieldPath:
		r.Path = string(f.bytes)
	case fieldTo:
		r.To = string(f.bytes)
	case fieldLink:
		r.Links = append(r.Links, string(f.bytes))
	case fieldSize:
		r.Size = unzigzag(f.value)
	case fieldMtime:
		d.mtime.set, d.mtime.sec = true, unzigzag(f.value)
	case fieldMtimeNsec:
		d.mtime.nsec = f.value
	case fieldCtime:
		d.ctime.set, d.ctime.sec = true, unzigzag(f.value)
	case fieldCtimeNsec:
		d.ctime.nsec = f.value
	case fieldOrigin:
		r.Origin = string(f.bytes)
	case fieldUnsynced:
		n.durable = r.Pos - min(r.Pos, Position(f.value))
	case fieldOpened:
		n.opened = r.Pos - min(r.Pos, Position(f.value))
	}
	return nil
}

func setFlags(r *Record, f uint64) {
	r.Created = f&flagCreated != 0
	r.StillOpen = f&flagStillOpen != 0
	r.Exchange = f&flagExchange != 0
	r.Last = f&flagLast != 0
}

func (d *decoder) finish(r *Record) error {
	r.Time = time.Unix(0, int64(r.HLC)+d.afterHLC)
	for _, t := range []struct {
		stored storedTime
		to     *time.Time
	}{{d.mtime, &r.Mtime}, {d.ctime, &r.Ctime}} {
		if t.stored.nsec >= uint64(time.Second) {
			return fmt.Errorf("%w: %d nanoseconds", errMalformed, t.stored.nsec)
		}
		if t.stored.set {
			*t.to = time.Unix(hlcSeconds(r.HLC)+t.stored.sec, int64(t.stored.nsec))
		}
	}
	return nil
}
