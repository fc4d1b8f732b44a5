package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// readAhead is how much of a segment is read at once.
const readAhead = 256 << 10

// frames reads the frames of one segment in order.
type frames struct {
	file  file
	salt  uint32
	off   int64 // of the next frame
	buf   []byte
	bufAt int64 // offset of buf[0]
}

func newFrames(f file, salt uint32) *frames {
	return &frames{file: f, salt: salt, off: segmentHeader}
}

// next reads the frame at off, which must end at or before limit; what stands
// before limit must not change any more. The frame is valid until the next
// call. errBadFrame leaves off where it was.
func (s *frames) next(limit int64) (frame, error) {
	b, err := s.window(frameHeader, limit)
	if err != nil {
		return frame{}, err
	}
	n, ok := frameLen(b)
	if !ok {
		return frame{}, errBadFrame
	}
	if b, err = s.window(frameSize(n), limit); err != nil {
		return frame{}, err
	}
	f, err := parseFrame(b, s.salt)
	if err == nil {
		s.off += int64(f.size)
	}
	return f, err
}

// window gives at least n bytes at off, fewer only where limit or the file ends.
func (s *frames) window(n int, limit int64) ([]byte, error) {
	if have := s.bufAt + int64(len(s.buf)); s.off >= s.bufAt && s.off+int64(n) <= have {
		return s.buf[s.off-s.bufAt:], nil
	}
	want := min(int64(max(n, readAhead)), limit-s.off)
	if want <= 0 {
		return nil, nil
	}
	if int64(cap(s.buf)) < want {
		s.buf = make([]byte, want)
	}
	got, err := s.file.ReadAt(s.buf[:want], s.off)
	s.buf, s.bufAt = s.buf[:got], s.off
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return s.buf, nil
}

// rest is what stands behind the last good record of a segment.
type rest struct {
	end     int64    // offset behind the last byte that is not zero; 0 if all are
	valid   bool     // there is another good record
	durable Position // newest position that such records say was durable
}

// searchRest looks, from off on, for anything that is not zero and for records
// above pos. Frames begin at multiples of frameAlign.
func (s *frames) searchRest(pos Position, limit int64) (rest, error) {
	var r rest
	highest := pos + Position(limit/minFrame)
	for ; s.off < limit; s.off += frameAlign {
		b, err := s.window(frameHeader, limit)
		if err != nil || len(b) == 0 {
			return r, err
		}
		if len(b) >= frameAlign && binary.LittleEndian.Uint64(b) == 0 {
			continue
		}
		r.end = min(s.off+frameAlign, limit)
		if len(b) < frameHeader {
			continue
		}
		if p := Position(binary.LittleEndian.Uint64(b[8:])); p <= pos || p > highest {
			continue
		}
		if err := s.tryRest(&r, limit); err != nil {
			return r, err
		}
	}
	return r, nil
}

// tryRest notes the record at off, if one is there, and stays where it is.
func (s *frames) tryRest(r *rest, limit int64) error {
	at := s.off
	f, err := s.next(limit)
	s.off = at
	if errors.Is(err, errBadFrame) {
		return nil
	}
	if err != nil {
		return err
	}
	var rec Record
	if n, err := decodeRecord(&rec, f, ""); err == nil {
		r.valid, r.durable = true, max(r.durable, n.durable)
	}
	return nil
}

// reset begins another segment with the same buffer.
func (s *frames) reset(f file, salt uint32) {
	*s = frames{file: f, salt: salt, off: segmentHeader, buf: s.buf[:0]}
}
