package journal

import "time"

// Position is the sequence number of a record. The first record ever appended
// has position 1; 0 means "before the first".
type Position uint64

// FileID identifies an inode of the backing filesystem for as long as the
// inode lives, whatever its names are; see backing.ID. 0 means unknown.
type FileID uint64

// Kind says what a record reports.
type Kind uint8

// The kinds. The numbers are part of the stored format and are never reused.
const (
	// Open: the regular file at Path may be written from here on (it is dirty).
	// Created is set if this open created it. Appended before the open is answered.
	Open Kind = 1
	// Clean: the last writer of ID closed it and nothing was modified.
	Clean Kind = 2
	// Content: the file at Path has new content that is complete, because its
	// last writer closed it (or, with StillOpen, because it has been open for
	// longer than ship_open_after). Links holds its other names, if any.
	Content Kind = 3
	// Attr: mode, owner, times or extended attributes of Path changed.
	Attr Kind = 4
	// Make: Path came into being without being opened: a directory, symlink,
	// special file, an empty regular file (mknod), or, if Links is not empty,
	// one more name for the file that Links names.
	Make Kind = 5
	// Remove: the name Path is gone (unlink, rmdir). Mode tells what it was.
	Remove Kind = 6
	// Rename: Path became To, replacing what To was; with Exchange the two
	// swapped. ID and Mode are those of the object that was at Path.
	Rename Kind = 7
	// Heartbeat: nothing changed; proof that records flow.
	Heartbeat Kind = 8
	// Checkpoint: written by the journal itself at the head of each segment:
	// one per file that is dirty at that point (Path, ID), so that the dirty
	// set outlives the segments that held its Open records.
	Checkpoint Kind = 9
	// Gap: changes before this record may be missing (an append failed). Every
	// target has to be reconciled.
	Gap Kind = 10
)

// A Record is one completed change. Paths are relative to the backing
// directory, slash-separated, without a leading slash, arbitrary bytes but NUL;
// the backing directory itself is "".
type Record struct {
	Pos    Position  // set by Append
	Time   time.Time // wall clock at the append (nanoseconds); set by Append if zero
	HLC    uint64    // hybrid logical clock: nanoseconds, strictly increasing per journal; set by Append
	Origin string    // host that made the change; set by Append if empty

	Kind  Kind
	ID    FileID
	Mode  uint32 // st_mode: type and permission bits
	Path  string
	To    string   // Rename
	Links []string // Content, Make, Attr: other names of the same inode

	Size  int64 // Content: st_size, st_mtim, st_ctim when it was recorded
	Mtime time.Time
	Ctime time.Time

	Created   bool // Open
	StillOpen bool // Content
	Exchange  bool // Rename
	Last      bool // Remove: that was the last name of ID
}
