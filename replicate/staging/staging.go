// Package staging names what closefs keeps at a target's root, so that every
// kind of target lays it out alike and a person (or a later command) can read it:
//
//	.closefs/            mode 0700: nothing in it is ever served to anybody
//	.closefs/tmp/        files, symlinks and links being made, before their rename
//	.closefs/trash/      what was removed, one entry for each removal
//	.closefs/heartbeat   the newest heartbeat
//	.closefs/swap-N      one of two names that are being exchanged; the only path in here that steps name
//
// An entry of tmp is called INSTANCE.TIME.CONNECTION.N (TIME in seconds, the
// fields in hexadecimal), an entry of trash TIME~N~PATH, where in PATH a slash
// is written %2F and a percent sign %25. A name that would be too long ends in
// "…" and the first 16 hexadecimal digits of the path's SHA-256 instead, and a
// file called the same with ".path" at its end holds the whole path.
package staging

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Paths below the target's root.
const (
	Dir       = ".closefs"
	Tmp       = ".closefs/tmp"
	Trash     = ".closefs/trash"
	Heartbeat = ".closefs/heartbeat"
	Swap      = ".closefs/swap-" // plus a position: one of two names that are being exchanged
)

// staleAfter is how old a staged entry of another instance has to be before it
// counts as left behind. It is longer than any single transfer may reasonably take.
const staleAfter = 24 * time.Hour

// nameMax is NAME_MAX of every Linux filesystem that matters here.
const nameMax = 255

// trashTime is the layout of a trash entry's time, UTC; it sorts by age.
const trashTime = "20060102T150405.000000Z"

// PathFile ends the name of the file that holds the whole path of a trash entry
// whose own name has no room for it.
const PathFile = ".path"

// ErrPath is wrapped by CheckPath's errors.
var ErrPath = errors.New("not a path that a target can have")

// CheckPath says whether path is a legal path of replicate.Target: relative,
// without empty, "." and ".." elements and NUL bytes, and not below .closefs.
// "" is the root.
func CheckPath(path string) error {
	if path == "" {
		return nil
	}
	if strings.IndexByte(path, 0) >= 0 {
		return fmt.Errorf("%q has a NUL byte: %w", path, ErrPath)
	}
	for element := range strings.SplitSeq(path, "/") {
		if element == "" || element == "." || element == ".." {
			return fmt.Errorf("%q has the element %q: %w", path, element, ErrPath)
		}
	}
	if path == Dir || strings.HasPrefix(path, Dir+"/") && !strings.HasPrefix(path, Swap) {
		return fmt.Errorf("%q is closefs's own: %w", path, ErrPath)
	}
	return nil
}

// Split returns the parent ("" is the root) and the last element of path.
func Split(path string) (parent, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// A Namer makes names for one connection of one instance. It may be used
// concurrently.
type Namer struct {
	instance   string
	connection string
	n          atomic.Uint64
}

// NewNamer returns a Namer. instance says who ships (a host name will do, any
// bytes); connection must differ between connections.
func NewNamer(instance string, connection uint64) *Namer {
	return &Namer{instance: hash(instance)[:12], connection: strconv.FormatUint(connection, 16)}
}

// Tmp returns a new name for an entry of .closefs/tmp.
func (n *Namer) Tmp(now time.Time) string {
	return fmt.Sprintf("%s.%x.%s.%x", n.instance, now.Unix(), n.connection, n.n.Add(1))
}

// Stale says whether the entry of .closefs/tmp called name was left behind by
// an earlier connection: one of this instance, or anybody's after a day. Other
// instances may be shipping to the same target right now, so their younger
// entries stay. The age is in the name, not in the entry's times: a staged file
// bears its source's times already.
func (n *Namer) Stale(name string, now time.Time) bool {
	fields := strings.Split(name, ".")
	if len(fields) != 4 {
		return false
	}
	if fields[0] == n.instance {
		return fields[2] != n.connection
	}
	made, err := strconv.ParseInt(fields[1], 16, 64)
	return err == nil && now.Sub(time.Unix(made, 0)) > staleAfter
}

// Trash returns a new name for the entry of .closefs/trash that path becomes,
// and whether it has no room for the whole path, which then belongs into the
// file name+PathFile.
func (n *Namer) Trash(path string, now time.Time) (name string, long bool) {
	prefix := fmt.Sprintf("%s~%s%x~", now.UTC().Format(trashTime), n.connection, n.n.Add(1))
	escaped := strings.NewReplacer("%", "%25", "/", "%2F").Replace(path)
	if len(prefix)+len(escaped) <= nameMax {
		return prefix + escaped, false
	}
	suffix := "…" + hash(path)[:16]
	keep := nameMax - len(PathFile) - len(prefix) - len(suffix)
	return prefix + escaped[:keep] + suffix, true
}

// ParseTrash returns when the entry of .closefs/trash called name was removed
// and its path, or an error if the name is none of Trash's. A path that ends in
// "…" and 16 digits may be one of those that the file name+PathFile holds.
func ParseTrash(name string) (path string, removed time.Time, err error) {
	fields := strings.SplitN(name, "~", 3)
	if len(fields) != 3 {
		return "", time.Time{}, fmt.Errorf("trash entry %q: not TIME~N~PATH", name)
	}
	removed, err = time.Parse(trashTime, fields[0])
	if err != nil {
		return "", time.Time{}, fmt.Errorf("trash entry %q: %w", name, err)
	}
	return strings.NewReplacer("%25", "%", "%2F", "/").Replace(fields[2]), removed, nil
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// FormatHeartbeat is what the heartbeat file holds for stamp.
func FormatHeartbeat(stamp time.Time) []byte {
	return []byte(stamp.UTC().Format(time.RFC3339Nano) + "\n")
}

// ParseHeartbeat reads what FormatHeartbeat wrote.
func ParseHeartbeat(b []byte) (time.Time, error) {
	stamp, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(b)))
	if err != nil {
		return time.Time{}, fmt.Errorf("heartbeat: %w", err)
	}
	return stamp, nil
}
