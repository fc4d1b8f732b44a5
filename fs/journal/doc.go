// Package journal is the durable, ordered log of completed changes: one per
// mount, written by the filesystem, read by every target's worker at its own
// pace. It knows no FUSE and no SSH.
//
// # Files
//
// The directory holds
//
//	lock                        flock(2)ed while the journal is open
//	state                       two slots of 4096 bytes, written in turn
//	00000000000000000001.log    segments, named after their first position
//	next.tmp                    the next segment, full of zeros, not in use yet
//	damaged-TIME-XXXX/          segments that Quarantine moved aside
//
// All numbers below are little-endian. CRC is CRC-32C (Castagnoli).
//
// # Segment
//
// A header of 512 bytes, then frames, then zeros up to the size of the file.
//
//	offset size
//	     0    8  "closefsJ"
//	     8    4  format version, 1
//	    12    4  flags: 1 = lossy: the end of the segment before may be missing
//	    16    8  position of the first record in this segment
//	    24    8  first position of the segment before, 0 if there was none
//	    32    8  last position in the segment before; less than first-1 where
//	             positions were skipped
//	    40    8  hybrid logical clock of the newest record before
//	    48    4  salt: the value that the CRC of each frame begins with
//	    52    4  length of the origin
//	    72       origin: the host that wrote the segment, at most 436 bytes
//	   508    4  CRC of bytes 0 to 507
//
// A segment begins with one Checkpoint record for each file that is dirty, and
// with the Gap record that is owed, if one is. They and the header are written
// before the file gets its name.
//
// # Frame
//
// Frames begin at multiples of 8; the bytes between two are zero.
//
//	offset size
//	     0    4  length n of the record, 1 to 1 MiB
//	     4    4  CRC of bytes 0 to 3 and 8 to 16+n, begun with the salt
//	     8    8  position: one more than the frame before
//	    16    n  record
//
// # Record
//
// Fields, each a varint tag, number<<1 | b. With b = 0 a varint follows, with
// b = 1 a varint length and that many bytes. A field that is zero, empty or the
// zero time is left out. "Signed" is zigzag encoded.
//
//	1  kind                        10  size, signed
//	2  flags: 1 Created,           11  mtime: seconds after the clock's, signed
//	   2 StillOpen, 4 Exchange,    12  mtime: nanoseconds
//	   8 Last                      13  ctime: seconds after the clock's, signed
//	3  hybrid logical clock, ns    14  ctime: nanoseconds
//	4  time: ns after the clock's, 15* origin, if it is not the segment's
//	   signed                      16  position minus the last durable position
//	5  file id                         known when the record was appended
//	6  mode                        17  Checkpoint: position minus that of the
//	7* path                            Open record
//	8* to
//	9* link, repeated              (* bytes)
//
// # State
//
// The valid slot with the higher sequence number counts.
//
//	offset size
//	     0    8  "closefsS"
//	     8    4  format version, 1
//	    12    4  flags: 1 = closed properly
//	    16    8  sequence number; it stands in slot number%2
//	    24    8  ceiling: no position at or above it was ever handed out
//	    32    8  a position up to which everything was durable
//	    40    8  hybrid logical clock
//	    48   76  boot id of the machine, padded with zeros
//	   124    4  CRC of bytes 0 to 123
//
// # Versions
//
// Within format version 1 new fields may appear: a reader passes over those it
// does not know, so a field without which a record would be misunderstood needs
// a new kind. Kinds from 128 on may be passed over too; a kind below 128 that is
// not known, and a higher format version, are ErrNewer. Numbers of kinds and
// fields are never used again.
//
// # Appending
//
// One pwrite(2) under a mutex, into a file that was filled with zeros and synced
// before it was used, so that the fdatasync(2) that follows has no metadata to
// write. The sync is done by a timer, or by the first of those who wait for it
// (SyncAlways). The order of things, and what a crash leaves:
//
//	ceiling raised in the state file, synced   a ceiling nobody came near
//	next.tmp filled, synced                    a next.tmp; Open removes it
//	head written into next.tmp                 the same
//	next.tmp renamed                           kill: a segment with its whole head
//	                                           power: it, or none, or a torn head
//	frame written                              kill: the record, or a torn tail
//	                                           power: any sectors of all since the
//	                                           last sync
//	segment synced, directory synced           the record
//
// # Opening
//
// After a kill only the last record of the last segment can be incomplete: it
// was never acknowledged and is zeroed. A bad record with a good one behind it,
// a bad header, a missing segment and an end before the durable position are
// damage: ErrDamaged, and nothing is changed. Older segments are not read by
// OpenDir; a Reader finds damage in them.
//
// After a power cut (the boot id differs and the journal was not closed) the log
// is good up to its first bad record, unless the state file or a record says
// that this one had been durable, which is damage. Everything behind is cut,
// and a new segment begins with a Gap, at the ceiling: a target may have
// applied records that are lost, and their positions must not come again.
//
// # A failed append, a failed sync
//
// A record that cannot be stored is owed: the next that can be is preceded by a
// Gap. After a failed fdatasync the kernel may have dropped the pages and says
// so only once, so it is not tried again: the journal goes on in a new segment
// that is marked lossy and begins with a Gap, and whoever waited for the sync
// gets the error. A reader passes over an unreadable end before a lossy segment.
//
// # Retention
//
// Whole segments go, oldest first, when every target is past them (Retain), or
// when the segments exceed MaxSize. The segment being written and those not yet
// synced stay. Unlinking in order leaves no hole after a crash on filesystems
// that journal names in order (ext4, XFS).
package journal
