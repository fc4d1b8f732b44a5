// Package fs serves a backing directory as a FUSE filesystem and reports every
// completed change to a journal before the kernel, and so the application, is
// answered.
//
// # Order of a change
//
// Each change goes through [FS.commit], the one place where the order stands:
// intent, backing system call, node table, record, answer. Opening a file for
// writing is the exception: its record is appended first, because from the
// answer on the kernel may write without asking us.
//
// # Nodes
//
// A FUSE node id is the identity of the inode in the backing directory
// (backing.Stat.ID); the root's is 1. The table knows for each node that the
// kernel references one name (its parent and the last path component), and a
// node is resolved by that name and then compared by identity, so that a file
// put there behind the mount's back is never taken for it (ESTALE). A node
// that lost its last known name is reached through an O_PATH descriptor that
// was opened just before.
//
// # Locks
//
// In the order in which they are taken:
//
//	FS.order      read: every handler that resolves a name or changes one;
//	              write: rename. Paths in records are computed under it, so
//	              that no record can carry a name that an earlier record took away.
//	FS.names      striped by (directory, name): one lookup, create, link or
//	              unlink of a name at a time.
//	FS.inodes     striped by node id: the open state of one inode, and the order
//	              of its records.
//	table.mu, dirCache.mu, linkIndex.mu, openSet.mu: leaves.
//
// Nobody notifies the kernel while holding any of them.
//
// # Open files
//
// A regular file that is open is served by kernel passthrough (the daemon sees
// no READ and no WRITE) or cached (all of them). See openFile for how the end
// of writing is found, and docs/decisions/0002-close.md for why.
package fs
