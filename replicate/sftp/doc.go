// Package sftp is a secondary that is reached through any OpenSSH server:
// nothing is installed there, and an account that may do no more than
// internal-sftp in a chroot is enough. What closefs needs of a server is
// posix-rename@openssh.com; the rest (fsync, hardlink, statvfs, lsetstat,
// limits) is used where it is offered.
//
// # A put
//
//	verify that every parent is a real directory        nothing, once known
//	open .closefs/tmp/NAME, lstat PATH                  one round trip
//	write…, owner, mode and times, fsync, fstat, close  one round trip
//	ready()
//	posix-rename .closefs/tmp/NAME to PATH              one round trip
//
// The requests of a line are sent together; the server handles them in order.
// The rename waits for the others' answers, since it must not publish a file
// that a failed write has left short. The fstat shows that length and time are
// right; should a server not keep the order that the protocol demands, the
// times are set again by themselves.
//
// Files of more than 256 KiB go through a second SFTP session on the same
// connection, where at most eight are under way: a server handles one session's
// requests in order, and a small file would wait behind all that is queued:
// beside four puts of 32 MiB without end, one of 1 KiB takes 0.9 ms (median; p99 7)
// instead of 12.8 (p99 48) on loopback.
//
// # What a crash leaves
//
// Of this side, or of the connection: an entry in .closefs/tmp, which the next
// Dial removes, and, for an account that is not root, possibly u+wx on a
// directory whose mode lacks them (see unlock.go), which a reconcile mends.
// Of the server's machine: fsync@openssh.com makes a file's content durable
// before it is published, and the rename is as durable as the filesystem makes
// it by itself, on a journaling one at the latest with the next file that is
// synced, which the next heartbeat does.
//
// # The window that remains
//
// SFTP has no way to say "do not follow symlinks in this path". Each parent is
// looked at by LSTAT before it is first used, and again after this connection
// has moved, removed or replaced it or anything above it. Whoever can write
// into the target directory at the secondary itself can therefore, between our
// look and our use, put a symlink in a directory's place and lead a later step
// through it, to where the SFTP account can write. Against that there is
// only the account: one that is confined to a chroot (ChrootDirectory) cannot be
// led out of it. Attributes of a symlink itself are only set by
// lsetstat@openssh.com, as SETSTAT would follow it; where that is not offered
// they are left alone.
//
// # Times
//
// Version 3 of the protocol has whole seconds, in 32 bits without a sign: times
// before 1970 become 1970.
package sftp
