package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

const (
	segmentMagic   = "closefsJ"
	formatVersion  = 1
	segmentHeader  = 512
	headerSumAt    = segmentHeader - 4
	originAt       = 72
	maxOrigin      = headerSumAt - originAt
	segmentSuffix  = ".log"
	headerLossy    = 1 // flag: records between prevLast and first may have existed
	spareName      = "next.tmp"
	maxSegmentSize = 1 << 30
)

// A segment is one file of the log. Readers follow the chain of segments with
// atomic loads alone; they hold no lock of the journal.
type segment struct {
	header
	path string
	size int64                   // of the file; records stay within
	end  atomic.Int64            // offset behind the newest published record, or size if it was written by an earlier run
	last atomic.Uint64           // position of the newest published record; first-1 if none. Stored after end
	next atomic.Pointer[segment] // stored after the segment's final end and last
	file file                    // for writing and syncing; nil once everything in it is durable
}

// header is what the first bytes of a segment say.
type header struct {
	first     Position // of the first record in it
	prevFirst Position // first of the segment before it, 0 if there was none
	prevLast  Position // last position in the segment before it
	hlc       uint64   // of the newest record before it
	salt      uint32   // begins the CRC of each record
	lossy     bool     // what stood at the end of the segment before may be missing
	origin    string
}

func (h *header) encode() []byte {
	b := make([]byte, segmentHeader)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	if h.lossy {
		binary.LittleEndian.PutUint32(b[12:], headerLossy)
	}
	binary.LittleEndian.PutUint64(b[16:], uint64(h.first))
	binary.LittleEndian.PutUint64(b[24:], uint64(h.prevFirst))
	binary.LittleEndian.PutUint64(b[32:], uint64(h.prevLast))
	binary.LittleEndian.PutUint64(b[40:], h.hlc)
	binary.LittleEndian.PutUint32(b[48:], h.salt)
	binary.LittleEndian.PutUint32(b[52:], uint32(len(h.origin)))
	copy(b[originAt:headerSumAt], h.origin)
	binary.LittleEndian.PutUint32(b[headerSumAt:], crc32.Checksum(b[:headerSumAt], castagnoli))
	return b
}

// decodeHeader checks b. The version is looked at before the checksum, whose
// place a later version may have moved.
func decodeHeader(b []byte) (header, error) {
	if len(b) < segmentHeader || string(b[:8]) != segmentMagic {
		return header{}, errors.New("no segment header")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		if v > formatVersion && v < 1<<16 {
			return header{}, fmt.Errorf("%w: version %d, this closefs knows %d", ErrNewer, v, formatVersion)
		}
		return header{}, fmt.Errorf("segment header has impossible version %d", v)
	}
	if crc32.Checksum(b[:headerSumAt], castagnoli) != binary.LittleEndian.Uint32(b[headerSumAt:]) {
		return header{}, errors.New("segment header has a bad checksum")
	}
	n := binary.LittleEndian.Uint32(b[52:])
	if n > maxOrigin {
		return header{}, fmt.Errorf("segment header has an origin of %d bytes", n)
	}
	return header{
		lossy:     binary.LittleEndian.Uint32(b[12:])&headerLossy != 0,
		first:     Position(binary.LittleEndian.Uint64(b[16:])),
		prevFirst: Position(binary.LittleEndian.Uint64(b[24:])),
		prevLast:  Position(binary.LittleEndian.Uint64(b[32:])),
		hlc:       binary.LittleEndian.Uint64(b[40:]),
		salt:      binary.LittleEndian.Uint32(b[48:]),
		origin:    string(b[originAt : originAt+n]),
	}, nil
}

// readHeader reads the header of the segment f, whose name says first.
func readHeader(f file, path string, first Position) (header, error) {
	b := make([]byte, segmentHeader)
	n, err := f.ReadAt(b, 0)
	if n < len(b) {
		return header{}, &DamageError{path, int64(n), fmt.Sprintf("segment header cut short: %v", err)}
	}
	h, err := decodeHeader(b)
	if errors.Is(err, ErrNewer) {
		return header{}, fmt.Errorf("%s: %w", path, err)
	}
	if err != nil {
		return header{}, &DamageError{path, 0, err.Error()}
	}
	if h.first != first {
		return header{}, &DamageError{path, 16, fmt.Sprintf("segment of position %d under the name of %d", h.first, first)}
	}
	return h, nil
}

func segmentName(first Position) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// segmentFirst is the position that a segment's name says.
func segmentFirst(name string) (Position, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return Position(n), err == nil && n > 0
}

// publish makes the record that ends at offset end visible to readers.
func (s *segment) publish(pos Position, end int64) {
	s.end.Store(end)
	s.last.Store(uint64(pos))
}

func (s *segment) lastPos() Position { return Position(s.last.Load()) }

func newSegment(dir string, h header, size int64) *segment {
	s := &segment{header: h, path: filepath.Join(dir, segmentName(h.first)), size: size}
	s.end.Store(segmentHeader)
	s.last.Store(uint64(h.first - 1))
	return s
}
