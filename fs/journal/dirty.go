package journal

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A DirtyFile was opened for writing and its last close is not in the journal.
type DirtyFile struct {
	ID    FileID
	Path  string    // newest name that the records tell
	Since time.Time // of the Open record
	Pos   Position  // of the Open record
}

// dirtySet follows the records. It needs no lock of its own: the journal's
// mutex guards it.
type dirtySet map[FileID]DirtyFile

// apply does what r means for the set. A file that lost one of several names
// stays under the name it was opened by; whoever appends the Remove appends an
// Open under another name if it is still being written.
func (d dirtySet) apply(r *Record, n note) {
	switch r.Kind {
	case Open:
		d.open(r)
	case Checkpoint:
		d[r.ID] = DirtyFile{r.ID, r.Path, r.Time, n.opened}
	case Clean:
		delete(d, r.ID)
	case Content:
		if !r.StillOpen {
			delete(d, r.ID)
		}
	case Remove:
		if r.Last && r.ID != 0 {
			delete(d, r.ID)
		}
	case Rename:
		if len(d) > 0 {
			d.rename(r)
		}
	}
}

// open keeps when the file first became dirty if it is dirty already.
func (d dirtySet) open(r *Record) {
	f, ok := d[r.ID]
	if !ok {
		f = DirtyFile{ID: r.ID, Since: r.Time, Pos: r.Pos}
	}
	f.Path = r.Path
	d[r.ID] = f
}

const (
	modeType = 0o170000
	modeDir  = 0o040000
)

func (d dirtySet) rename(r *Record) {
	if t := r.Mode & modeType; !r.Exchange && r.ID != 0 && t != 0 && t != modeDir {
		if f, ok := d[r.ID]; ok && f.Path == r.Path {
			f.Path = r.To
			d[r.ID] = f
		}
		return
	}
	for id, f := range d {
		if path, ok := moved(f.Path, r.Path, r.To); ok {
			f.Path = path
		} else if path, ok := moved(f.Path, r.To, r.Path); ok && r.Exchange {
			f.Path = path
		} else {
			continue
		}
		d[id] = f
	}
}

// moved is where path went when from became to.
func moved(path, from, to string) (string, bool) {
	rest, ok := strings.CutPrefix(path, from)
	if !ok || (rest != "" && rest[0] != '/') {
		return "", false
	}
	return to + rest, true
}

// sorted lists the files by path, then id.
func (d dirtySet) sorted() []DirtyFile {
	l := make([]DirtyFile, 0, len(d))
	for _, f := range d {
		l = append(l, f)
	}
	slices.SortFunc(l, func(a, b DirtyFile) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.ID, b.ID))
	})
	return l
}
