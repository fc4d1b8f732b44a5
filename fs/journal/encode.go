package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"time"
)

// Bounds of the format; see doc.go.
const (
	MaxPath   = 4096    // bytes of each path in a record
	MaxRecord = 1 << 20 // bytes of an encoded record without its frame

	frameHeader = 16
	frameAlign  = 8
	minFrame    = 24 // no record is shorter
)

// The fields of an encoded record: number<<1, plus 1 if a length and that many
// bytes follow instead of a varint. Numbers are never reused.
const (
	fieldKind      = 1 << 1
	fieldFlags     = 2 << 1
	fieldHLC       = 3 << 1
	fieldTime      = 4 << 1 // zigzag: nanoseconds after HLC
	fieldID        = 5 << 1
	fieldMode      = 6 << 1
	fieldPath      = 7<<1 | 1
	fieldTo        = 8<<1 | 1
	fieldLink      = 9<<1 | 1 // repeated
	fieldSize      = 10 << 1  // zigzag
	fieldMtime     = 11 << 1  // zigzag: seconds after HLC
	fieldMtimeNsec = 12 << 1
	fieldCtime     = 13 << 1 // zigzag: seconds after HLC
	fieldCtimeNsec = 14 << 1
	fieldOrigin    = 15<<1 | 1 // if it is not the segment's
	fieldUnsynced  = 16 << 1   // position minus the last one known to be durable
	fieldOpened    = 17 << 1   // Checkpoint: position minus that of the Open
)

const (
	flagCreated = 1 << iota
	flagStillOpen
	flagExchange
	flagLast
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// note is what the journal stores with a record for itself.
type note struct {
	durable Position // everything up to here had been synced when it was appended
	opened  Position // Checkpoint: the record that made the file dirty
}

// validate tells why r cannot be stored.
func validate(r *Record) error {
	switch {
	case r.Kind < Open || r.Kind > Gap:
		return fmt.Errorf("%w: kind %d", ErrInvalid, r.Kind)
	case r.ID == 0 && (r.Kind == Open || r.Kind == Content || r.Kind == Clean):
		return fmt.Errorf("%w: kind %d of %q without a file id", ErrInvalid, r.Kind, r.Path)
	}
	if err := validatePath(r.Path); err != nil {
		return err
	}
	if err := validatePath(r.To); err != nil {
		return err
	}
	for _, l := range r.Links {
		if err := validatePath(l); err != nil {
			return err
		}
	}
	return nil
}

func validatePath(p string) error {
	if len(p) > MaxPath {
		return fmt.Errorf("%w: path of %d bytes, %d allowed: %.64q", ErrTooLong, len(p), MaxPath, p)
	}
	if strings.IndexByte(p, 0) >= 0 {
		return fmt.Errorf("%w: NUL in path %q", ErrInvalid, p)
	}
	return nil
}

// appendFrame appends r as it is stored in a segment with that salt and origin.
func appendFrame(b []byte, r *Record, n note, salt uint32, origin string) ([]byte, error) {
	start := len(b)
	b = append(b, make([]byte, frameHeader)...)
	b = appendRecord(b, r, n, origin)
	size := len(b) - start - frameHeader
	if size > MaxRecord {
		return b[:start], fmt.Errorf("%w: %d bytes with %d links, %d allowed: %.64q", ErrTooLong, size, len(r.Links), MaxRecord, r.Path)
	}
	f := b[start:]
	binary.LittleEndian.PutUint32(f, uint32(size))
	binary.LittleEndian.PutUint64(f[8:], uint64(r.Pos))
	binary.LittleEndian.PutUint32(f[4:], frameSum(f[:frameHeader+size], salt))
	for (len(b)-start)%frameAlign != 0 || len(b)-start < minFrame {
		b = append(b, 0)
	}
	return b, nil
}

// frameSum is the CRC-32C of a frame without its padding and its own CRC field,
// begun with the segment's salt: a record of another segment, or of an earlier
// life of the same disk block, never fits.
func frameSum(f []byte, salt uint32) uint32 {
	sum := crc32.Update(salt, castagnoli, f[:4])
	return crc32.Update(sum, castagnoli, f[8:])
}

// frameSize is the length of a stored frame whose record has n bytes.
func frameSize(n int) int {
	return max(minFrame, (frameHeader+n+frameAlign-1)&^(frameAlign-1))
}

func appendRecord(b []byte, r *Record, n note, origin string) []byte {
	b = appendUint(b, fieldKind, uint64(r.Kind))
	b = appendUint(b, fieldFlags, recordFlags(r))
	b = appendUint(b, fieldHLC, r.HLC)
	b = appendInt(b, fieldTime, r.Time.UnixNano()-int64(r.HLC))
	b = appendUint(b, fieldID, uint64(r.ID))
	b = appendUint(b, fieldMode, uint64(r.Mode))
	b = appendString(b, fieldPath, r.Path)
	b = appendString(b, fieldTo, r.To)
	for _, l := range r.Links {
		b = binary.AppendUvarint(b, fieldLink)
		b = binary.AppendUvarint(b, uint64(len(l)))
		b = append(b, l...)
	}
	b = appendInt(b, fieldSize, r.Size)
	b = appendTime(b, fieldMtime, fieldMtimeNsec, r.Mtime, r.HLC)
	b = appendTime(b, fieldCtime, fieldCtimeNsec, r.Ctime, r.HLC)
	if r.Origin != origin {
		b = appendString(b, fieldOrigin, r.Origin)
	}
	b = appendUint(b, fieldUnsynced, uint64(r.Pos-n.durable))
	if r.Kind == Checkpoint {
		b = appendUint(b, fieldOpened, uint64(r.Pos-n.opened))
	}
	return b
}

func recordFlags(r *Record) uint64 {
	var f uint64
	if r.Created {
		f |= flagCreated
	}
	if r.StillOpen {
		f |= flagStillOpen
	}
	if r.Exchange {
		f |= flagExchange
	}
	if r.Last {
		f |= flagLast
	}
	return f
}

func appendUint(b []byte, field, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, byte(field)), v)
}

func appendInt(b []byte, field uint64, v int64) []byte {
	return appendUint(b, field, zigzag(v))
}

func appendString(b []byte, field uint64, s string) []byte {
	if s == "" {
		return b
	}
	b = binary.AppendUvarint(append(b, byte(field)), uint64(len(s)))
	return append(b, s...)
}

// appendTime stores seconds and nanoseconds apart: a file's times may lie far
// outside what nanoseconds in 64 bits can hold. The zero Time is left out.
func appendTime(b []byte, sec, nsec uint64, t time.Time, hlc uint64) []byte {
	if t.IsZero() {
		return b
	}
	b = binary.AppendUvarint(append(b, byte(sec)), zigzag(t.Unix()-hlcSeconds(hlc)))
	return appendUint(b, nsec, uint64(t.Nanosecond()))
}

func hlcSeconds(hlc uint64) int64 { return int64(hlc / uint64(time.Second)) }

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
