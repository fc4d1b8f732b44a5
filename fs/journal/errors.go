package journal

import (
	"errors"
	"fmt"
)

// The errors that callers tell apart.
var (
	// ErrLocked: another process, or another Journal of this one, has the
	// directory open.
	ErrLocked = errors.New("already served by another instance")
	// ErrDamaged: what had been stored cannot be read back, and it is not a torn
	// tail. See DamageError and Quarantine.
	ErrDamaged = errors.New("journal is damaged")
	// ErrNewer: the journal was written by a newer closefs whose format this one
	// does not know. Nothing is changed; use the newer version.
	ErrNewer = errors.New("journal has a newer format")
	// ErrTruncated: records that the reader still needed are no longer kept, or
	// its position is one that this journal never gave out. What was missed can
	// only be found by comparing the trees.
	ErrTruncated = errors.New("journal no longer holds this position")
	// ErrTooLong: a path or the whole record is longer than the format allows.
	ErrTooLong = errors.New("record too long")
	// ErrInvalid: a record that makes no sense; a programming error of the caller.
	ErrInvalid = errors.New("invalid record")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal is closed")
)

// A DamageError tells where a journal is damaged. It matches ErrDamaged.
type DamageError struct {
	File   string // path of the segment or state file
	Offset int64  // byte offset of the first thing that could not be read
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%v: %s, offset %d: %s; restore the file, or have the journal moved aside and every target reconciled",
		ErrDamaged, e.File, e.Offset, e.Reason)
}

// Is reports whether target is ErrDamaged.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }
