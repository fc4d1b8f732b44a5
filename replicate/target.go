package replicate

import (
	"context"
	"errors"
	"io"
	"time"
)

// A Dialer makes connections to one secondary. The worker dials again, with
// backoff, after every error that ends a connection.
type Dialer interface {
	// Dial connects, checks that the target directory exists and is writable,
	// and prepares its staging area (".closefs", mode 0700, at the target's
	// root: tmp/ and trash/), removing what an earlier connection left in tmp/.
	// Errors wrap ErrRefused if trying again cannot help until somebody acts
	// (unknown or changed host key, authentication, missing directory).
	Dial(ctx context.Context) (Target, error)
	// String is the target's address as a person would write it, without secrets.
	String() string
}

// A Target is an open connection to one secondary: a directory tree that is
// made equal to the primary's, step by step.
//
// Paths are relative to the target's root, slash-separated, without a leading
// slash, and arbitrary bytes but NUL; "" is the root itself. No method follows
// a symlink, neither at the end of a path nor on the way: where a parent of
// path is not a real directory, the method returns ErrNotExist and touches
// nothing. What was verified once on this connection may be remembered until
// the connection itself changes it. A path that breaks these rules, or that is
// ".closefs" or below it, is ErrUnsupported; so is the root, except for Lstat,
// List, Mkdir and SetAttr.
//
// Every method may be called concurrently, and every method may be repeated
// after an unknown outcome: it then leaves the same result as one success.
// Errors wrap one of the sentinels below where one fits. An error that wraps
// ErrConnection ends the connection: the outcome of what was under way is
// unknown, and the Target is to be closed.
type Target interface {
	// Caps tells what the target can represent. It does not change.
	Caps() Caps
	// Lstat describes path without following it; ErrNotExist if there is none.
	Lstat(ctx context.Context, path string) (Entry, error)
	// List returns the entries of directory path in no particular order,
	// without ".", ".." and, at the root, ".closefs".
	List(ctx context.Context, path string) ([]Entry, error)
	// Put makes path a regular file with exactly the bytes of src (size bytes)
	// and attr, atomically replacing what was there, unless that is a directory
	// (ErrIsDir). The file is staged, its length checked, synced where Caps.Fsync,
	// given its attributes, and only then renamed into place. After an
	// error nothing is visible at path that was not there before, and the staged
	// file is removed if the connection still stands. ErrNotExist if the
	// parent directory is missing. An error of src is returned wrapped and
	// nothing is published; before publishing, Put calls ready, if it is not
	// nil, and gives up with ready's error if that fails.
	Put(ctx context.Context, path string, src io.ReaderAt, size int64, attr Attr, ready func() error) error
	// Mkdir makes a directory, or gives an existing one attr. ErrExist if path
	// is something else.
	Mkdir(ctx context.Context, path string, attr Attr) error
	// Symlink makes path a symlink to dest, atomically replacing a
	// non-directory. ErrIsDir if path is a directory.
	Symlink(ctx context.Context, path, dest string, attr Attr) error
	// Special makes a FIFO, socket or device node (attr.Mode, rdev as in
	// st_rdev), replacing a non-directory. ErrUnsupported where !Caps.Special.
	Special(ctx context.Context, path string, rdev uint64, attr Attr) error
	// Link makes path one more name of existing, atomically replacing a
	// non-directory. ErrNotExist if existing or the parent is missing,
	// ErrUnsupported where !Caps.Hardlink.
	Link(ctx context.Context, existing, path string) error
	// SetAttr changes the attributes of path, following no symlink. What cannot
	// be set on a symlink at this target is left alone.
	SetAttr(ctx context.Context, path string, attr Attr) error
	// Rename moves from to to, atomically replacing a file or an empty
	// directory there. ErrNotExist if from, or to's parent, is missing; ErrExist
	// or ErrNotEmpty or ErrIsDir if what is at to cannot be replaced.
	Rename(ctx context.Context, from, to string) error
	// Remove makes path absent by moving it (a directory with all that is in
	// it) into the trash at the target's root under a name that tells path
	// and time. Nothing at path is success.
	Remove(ctx context.Context, path string) error
	// Heartbeat stores stamp at the target (.closefs/heartbeat) and reads it back.
	Heartbeat(ctx context.Context, stamp time.Time) (time.Time, error)
	// Close ends the connection. Methods under way return ErrConnection.
	Close() error
}

// Caps is what a target can represent.
type Caps struct {
	Fsync    bool          // data is made durable before it is published
	Hardlink bool          // Link works
	Special  bool          // Special works
	Owner    bool          // uid and gid can be set (the account is root there)
	Xattr    bool          // Attr.Xattrs is stored
	TimeUnit time.Duration // granularity of times: 1ns, or 1s over plain SFTP
}

// Entry describes one name at a target.
type Entry struct {
	Name  string // last path element
	Mode  uint32 // st_mode: type and permission bits
	Size  int64  // bytes, for regular files
	Mtime time.Time
	UID   uint32
	GID   uint32
	Dest  string // symlink destination
	Xattr map[string][]byte
}

// Attr is what is set on a path besides its content.
type Attr struct {
	Mode  uint32 // st_mode; the type bits are only looked at by Special
	UID   uint32
	GID   uint32
	Atime time.Time // zero: left alone, or the same as Mtime where both are set at once
	Mtime time.Time // rounded down to Caps.TimeUnit; zero: both times are left alone
	// Xattr are all extended attributes that the path is to have, of those
	// namespaces that are replicated; nil leaves them alone.
	Xattr map[string][]byte
}

// Errors of targets.
var (
	// ErrConnection: the connection is gone; the outcome of requests under way is unknown.
	ErrConnection = errors.New("connection lost")
	// ErrRefused: dialing again cannot help until somebody changes something.
	ErrRefused = errors.New("refused")
	// ErrNotExist: the path, or a directory on the way to it, does not exist.
	ErrNotExist = errors.New("does not exist")
	// ErrExist: something of another kind is in the way.
	ErrExist = errors.New("exists")
	// ErrIsDir: a directory is in the way of a non-directory.
	ErrIsDir = errors.New("is a directory")
	// ErrNotEmpty: the directory to be replaced is not empty.
	ErrNotEmpty = errors.New("directory not empty")
	// ErrUnsupported: this kind of target cannot do it; trying again cannot help.
	ErrUnsupported = errors.New("not supported by this target")
	// ErrPermission: the account may not do this at the target.
	ErrPermission = errors.New("permission denied by the target")
	// ErrNoSpace: the target's disk or quota is full.
	ErrNoSpace = errors.New("no space left at the target")
)
