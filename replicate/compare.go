package replicate

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
	"closefs/replicate/plan"
)

// stagingDir is closefs's own directory at a target's root. A directory of that
// name in the backing directory's root is not shipped.
const stagingDir = ".closefs"

// check compares a step's path at the target with the primary's, and, if it is to
// go deep, everything in that directory. The target is listed first: what is
// made meanwhile then looks missing there and is shipped once more, while the
// other order would make it look superfluous.
func (e *execution) check(ctx context.Context) error {
	have, err := e.t.Lstat(ctx, e.s.Path)
	absent := errors.Is(err, ErrNotExist)
	if err != nil && !absent {
		return err
	}
	var there map[string]Entry
	if e.s.Deep && !absent && isDir(have.Mode) {
		if there, err = e.list(ctx); err != nil {
			return err
		}
	}
	st, err := e.w.look(e.s)
	if errors.Is(err, errMoved) {
		if !absent && e.s.Path != "" {
			e.extra("")
		}
		return nil
	}
	if err != nil {
		return err
	}
	if e.s.Path != "" {
		var entry *Entry
		if !absent {
			entry = &have
		}
		if err := e.differs(ctx, "", &st, entry, false); err != nil {
			return err
		}
	}
	if e.s.Deep && isDir(st.Mode) {
		return e.checkDir(ctx, there)
	}
	return nil
}

func isDir(mode uint32) bool { return mode&unix.S_IFMT == unix.S_IFDIR }

func (e *execution) list(ctx context.Context) (map[string]Entry, error) {
	entries, err := e.t.List(ctx, e.s.Path)
	if errors.Is(err, ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := make(map[string]Entry, len(entries))
	for _, x := range entries {
		m[x.Name] = x
	}
	return m, nil
}

// checkDir compares the entries of a directory.
func (e *execution) checkDir(ctx context.Context, there map[string]Entry) error {
	names, dir, err := e.w.readDir(e.s.Source)
	if errors.Is(err, errMoved) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	e.r.dirs++
	here := make(map[string]bool, len(names))
	for _, name := range names {
		if e.s.Source == "" && name == stagingDir {
			continue
		}
		st, err := e.w.opts.Backing.Fstatat(int(dir.Fd()), name)
		if isGone(err) {
			continue
		}
		if err != nil {
			return sourceError(e.s.Source+"/"+name, err)
		}
		here[name] = true
		e.r.files++
		var entry *Entry
		if x, ok := there[name]; ok {
			entry = &x
		}
		if err := e.differs(ctx, name, &st, entry, true); err != nil {
			return err
		}
	}
	return e.extras(here, there)
}

// readDir returns the names in a directory of the primary, and the directory,
// to look at them.
func (w *Worker) readDir(path string) ([]string, *os.File, error) {
	fd, err := w.opts.Backing.Openat(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if isGone(err) {
		return nil, nil, errMoved
	}
	if err != nil {
		return nil, nil, sourceError(path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	names, err := dir.Readdirnames(-1)
	if err != nil {
		dir.Close()
		return nil, nil, sourceError(path, err)
	}
	return names, dir, nil
}

// extras reports what only the target has. A primary that has nothing at all is
// taken for one that is not there: it never empties a target.
func (e *execution) extras(here map[string]bool, there map[string]Entry) error {
	if e.s.Source == "" && len(here) == 0 && len(there) > 0 {
		e.r.kept += int64(len(there))
		e.w.log.Error("the backing directory is empty and the target is not; nothing is removed there",
			"backing", e.w.opts.Backing.Path(), "entries", len(there))
		return nil
	}
	for name := range there {
		if !here[name] {
			e.extra(name)
		}
	}
	return nil
}

// extra reports an entry that only the target has.
func (e *execution) extra(name string) {
	if e.s.Extras == plan.KeepExtras || !e.w.metBefore() {
		e.r.kept++
		return
	}
	e.r.found = append(e.r.found, plan.Found{Name: name, Extra: true})
}

func (w *Worker) metBefore() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.progress.met
}

// differs reports how an entry of the primary differs from the target's, nil if
// the target has none.
func (e *execution) differs(ctx context.Context, name string, st *backing.Stat, have *Entry, deep bool) error {
	f := plan.Found{Name: name, ID: st.ID, Mode: st.Mode, Size: st.Size, Deep: deep && isDir(st.Mode)}
	kind := st.Mode & unix.S_IFMT
	switch {
	case have == nil || have.Mode&unix.S_IFMT != kind:
		if !e.representable(kind) {
			return nil
		}
		f.Data, f.Attr, f.Makes = !isDir(st.Mode), true, isDir(st.Mode)
	case kind == unix.S_IFREG && e.contentDiffers(st, have):
		f.Data = true
	case kind == unix.S_IFLNK:
		differs, err := e.linkDiffers(ctx, name, have)
		if err != nil {
			return err
		}
		f.Data = differs
	case e.attrDiffers(st, have):
		f.Attr = true
	}
	if !isDir(st.Mode) && st.Nlink > 1 {
		e.links(&f, name)
	}
	if f.Data || f.Attr || f.Linked || f.Deep {
		e.r.found = append(e.r.found, f)
	}
	return nil
}

func (e *execution) representable(kind uint32) bool {
	switch kind {
	case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
		return true
	}
	return e.t.Caps().Special
}

// contentDiffers compares size and time, as rsync does. That is not enough for
// what changed since the target was last known to be right: two states of one
// second may have one size.
func (e *execution) contentDiffers(st *backing.Stat, have *Entry) bool {
	unit := e.t.Caps().TimeUnit
	return st.Size != have.Size || !st.ModTime().Truncate(unit).Equal(have.Mtime.Truncate(unit)) ||
		!st.ChangeTime().Before(e.suspectFrom())
}

func (e *execution) attrDiffers(st *backing.Stat, have *Entry) bool {
	caps := e.t.Caps()
	if st.Mode&0o7777 != have.Mode&0o7777 || caps.Owner && (st.Uid != have.UID || st.Gid != have.GID) {
		return true
	}
	return isDir(st.Mode) && !st.ModTime().Truncate(caps.TimeUnit).Equal(have.Mtime.Truncate(caps.TimeUnit))
}

func (e *execution) linkDiffers(ctx context.Context, name string, have *Entry) (bool, error) {
	path := join(e.s.Path, name)
	dest, err := e.w.opts.Backing.Readlink(join(e.s.Source, name))
	if err != nil {
		return false, nil // gone or replaced: its record comes
	}
	if have.Dest == "" {
		x, err := e.t.Lstat(ctx, path)
		if err != nil && !errors.Is(err, ErrNotExist) {
			return false, err
		}
		have = &x
	}
	return have.Dest != dest, nil
}

func join(dir, name string) string {
	switch {
	case dir == "":
		return name
	case name == "":
		return dir
	}
	return dir + "/" + name
}

// links says, for an inode that has several names, whether name is the first
// that was come across, which is shipped if it differs, or another, which becomes
// a link to the first.
func (e *execution) links(f *plan.Found, name string) {
	if !e.t.Caps().Hardlink {
		return
	}
	path := join(e.s.Source, name)
	if first := e.w.firstName(f.ID, path); first != path && e.w.is(first, f.ID) {
		f.Linked, f.Links = true, []string{first}
		return
	}
	if !f.Data || e.w.opts.Links == nil {
		return
	}
	for _, l := range e.w.opts.Links(f.ID) {
		if l != path && e.w.is(l, f.ID) {
			f.Links = append(f.Links, l)
		}
	}
}

// firstName returns the first name of inode id that a comparison came across
// since the reconcile began, which is path if there was none or it is gone.
func (w *Worker) firstName(id journal.FileID, path string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if first, ok := w.names[id]; ok && (first == path || w.is(first, id)) {
		return first
	}
	w.names[id] = path
	return path
}

// suspectFrom is the time from which on changes may be missing at the target:
// what changed later is shipped whatever it looks like.
func (e *execution) suspectFrom() (t time.Time) {
	e.w.mu.Lock()
	t = e.w.since
	e.w.mu.Unlock()
	return t
}
