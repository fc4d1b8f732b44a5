package replicate

import (
	"time"

	"closefs/fs/journal"
)

// stamps keeps when the records were made that are not acked yet.
type stamps struct {
	acked journal.Position
	last  time.Time // of the record at acked, zero if unknown
	times []int64   // Unix nanoseconds; times[i] is of acked+1+i, 0 if there is no such record
}

func (s *stamps) add(pos journal.Position, t time.Time) {
	for next := s.acked + 1 + journal.Position(len(s.times)); next < pos; next++ {
		s.times = append(s.times, 0)
	}
	s.times = append(s.times, t.UnixNano())
}

// ack forgets the records up to pos.
func (s *stamps) ack(pos journal.Position) {
	n := int(pos - s.acked)
	for _, t := range s.times[:n] {
		if t != 0 {
			s.last = time.Unix(0, t)
		}
	}
	s.times = s.times[n:]
	s.acked = pos
}

// oldest is when the oldest record not acked was made; zero if there is none.
func (s *stamps) oldest() time.Time {
	for _, t := range s.times {
		if t != 0 {
			return time.Unix(0, t)
		}
	}
	return time.Time{}
}
