package replicate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/replicate/plan"
)

// execute carries out one step at the target.
func (w *Worker) execute(ctx context.Context, t Target, s plan.Step) result {
	e := &execution{w: w, t: t, s: s, gen: w.generation()}
	var err error
	switch s.Kind {
	case plan.Sync:
		err = e.sync(ctx)
	case plan.Times:
		err = e.times(ctx)
	case plan.Remove:
		err = e.remove(ctx)
	case plan.Rename:
		err = e.rename(ctx)
	case plan.Check:
		err = e.check(ctx)
	case plan.Heartbeat:
		e.r.heartbeat, err = t.Heartbeat(ctx, s.Time)
	}
	return e.outcome(err)
}

func (w *Worker) generation() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gen
}

// execution is one step being carried out.
type execution struct {
	w   *Worker
	t   Target
	s   plan.Step
	gen int
	r   result
}

// outcome tells the plan what an error means.
func (e *execution) outcome(err error) result {
	r := &e.r
	switch {
	case err == nil:
	case errors.Is(err, errPointless):
		r.why = plan.Pointless
	case errors.Is(err, errWriting) && e.w.opts.Journal.IsDirty(e.s.ID):
		r.why = plan.Writing // its close will wake the step
	case errors.Is(err, errWriting):
		r.why, r.moved = plan.Later, true
	case errors.Is(err, errNoSource):
		r.why = plan.NoSource
	case errors.Is(err, errRecheck):
		r.why = plan.Recheck
	case errors.Is(err, ErrUnsupported):
		r.unsupported, r.err, r.why = true, err, plan.Pointless
	case errors.Is(err, errMoved):
		// A record that says where it went is on its way, unless somebody changed
		// the backing directory behind the mount.
		r.why, r.moved = plan.Later, true
		if e.s.Attempt >= sourceTries && e.w.confirm(e.s, e.gen) {
			r.why = plan.Recheck
		}
	default:
		r.why, r.err = plan.Later, fmt.Errorf("%v %q: %w", e.s.Kind, e.s.Path, err)
	}
	return *r
}

// How a step can end besides success and errors of the target.
var (
	errPointless = errors.New("nothing to do any more")
	errNoSource  = errors.New("nothing to rename at the target")
	errRecheck   = errors.New("the target has to be looked at")
)

// sync makes the target's path what the primary's is.
func (e *execution) sync(ctx context.Context) error {
	if e.s.Gone {
		return e.mkdir(ctx, Attr{Mode: unix.S_IFDIR | 0o700})
	}
	st, err := e.w.look(e.s)
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if e.s.Data {
			return e.file(ctx, &st)
		}
	case unix.S_IFDIR:
		if err := e.certain(); err != nil {
			return err
		}
		return e.mkdir(ctx, attrOf(&st))
	}
	if err := e.certain(); err != nil {
		return err
	}
	if !e.s.Data {
		return e.setAttr(ctx, &st)
	}
	return e.node(ctx, &st)
}

// certain is confirm for the steps that need it.
func (e *execution) certain() error {
	if (e.s.ID == 0 || e.s.Low) && !e.w.confirm(e.s, e.gen) {
		return errMoved
	}
	return nil
}

// mkdir makes a directory, or gives it its attributes.
func (e *execution) mkdir(ctx context.Context, attr Attr) error {
	return e.place(ctx, e.s.Path, func() error { return e.t.Mkdir(ctx, e.s.Path, attr) })
}

func (e *execution) setAttr(ctx context.Context, st *backing.Stat) error {
	attr := attrOf(st)
	older := st.Mode&unix.S_IFMT == unix.S_IFREG && e.w.opts.Journal.IsDirty(st.ID)
	if older { // the target's content is: with the new one's time the two would look equal
		attr.Mtime, attr.Atime = time.Time{}, time.Time{}
	}
	err := e.t.SetAttr(ctx, e.s.Path, attr)
	switch {
	case err == nil && older && e.w.quiet(st):
		return errRecheck
	case err == nil && older:
		return errWriting // its close brings the times
	case errors.Is(err, ErrNotExist):
		return errRecheck
	}
	return err
}

// node makes a symlink or a special file.
func (e *execution) node(ctx context.Context, st *backing.Stat) error {
	if e.s.LinkFirst {
		if done, err := e.link(ctx, st); done || err != nil {
			return err
		}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return e.place(ctx, e.s.Path, func() error { return e.t.Special(ctx, e.s.Path, st.Rdev, attrOf(st)) })
	}
	dest, err := e.w.opts.Backing.Readlink(e.s.Source)
	if err != nil {
		return sourceError(e.s.Source, err)
	}
	return e.place(ctx, e.s.Path, func() error { return e.t.Symlink(ctx, e.s.Path, dest, attrOf(st)) })
}

// file ships the content of a regular file, and makes its other names links.
func (e *execution) file(ctx context.Context, st *backing.Stat) error {
	if e.s.LinkFirst {
		if done, err := e.link(ctx, st); done || err != nil {
			return err
		}
	}
	c, err := e.w.open(e.s)
	if err != nil {
		return err
	}
	defer c.Close()
	ready := func() error {
		if err := e.w.unchanged(c, e.s, e.gen); err != nil {
			return err
		}
		return e.certain()
	}
	err = e.place(ctx, e.s.Path, func() error {
		return e.t.Put(ctx, e.s.Path, c, c.Size, attrOf(&c.Stat), ready)
	})
	if err != nil {
		return err
	}
	e.r.shipped, e.r.bytes = true, c.Size
	for _, l := range e.s.Links {
		if err := e.regroup(ctx, l, c, ready); err != nil {
			return err
		}
	}
	return nil
}

// regroup makes the other name l of what was shipped a link to it again, or a
// copy where the target has no hard links.
func (e *execution) regroup(ctx context.Context, l string, c *content, ready func() error) error {
	if !e.w.is(l, c.ID) {
		return errMoved // a record on its way says what became of it
	}
	if !e.t.Caps().Hardlink {
		return e.place(ctx, l, func() error { return e.t.Put(ctx, l, c, c.Size, attrOf(&c.Stat), ready) })
	}
	return e.place(ctx, l, func() error { return e.t.Link(ctx, e.s.Path, l) })
}

// link makes path one more name of what the target has under another, if it has.
func (e *execution) link(ctx context.Context, st *backing.Stat) (done bool, err error) {
	if !e.t.Caps().Hardlink {
		return false, nil
	}
	known := uint64(1)
	for _, l := range e.s.Links {
		if e.w.is(l, st.ID) {
			known++
		}
	}
	for _, l := range e.s.From {
		if !e.w.is(l, st.ID) {
			continue
		}
		if err := e.certain(); err != nil {
			return false, err
		}
		if _, err := e.t.Lstat(ctx, l); errors.Is(err, ErrNotExist) {
			continue
		} else if err != nil {
			return false, err
		}
		err := e.place(ctx, e.s.Path, func() error { return e.t.Link(ctx, l, e.s.Path) })
		return err == nil, err
	}
	if uint64(st.Nlink) > known {
		return false, errMoved // its other names have moved; their records tell where
	}
	return false, nil
}

// times sets a directory's attributes after its children are in place.
func (e *execution) times(ctx context.Context) error {
	st, err := e.w.look(e.s)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || !e.w.confirm(e.s, e.gen) {
		return errMoved
	}
	err = e.t.SetAttr(ctx, e.s.Path, attrOf(&st))
	switch {
	case errors.Is(err, ErrNotExist):
		return errMoved
	case errors.Is(err, ErrPermission) && e.s.Path == "":
		return nil // the root may belong to the target's administrator
	}
	return err
}

// remove makes the path absent at the target. What a comparison found to be too
// much is looked for at the primary once more.
func (e *execution) remove(ctx context.Context) error {
	if e.s.Guard {
		if _, err := e.w.opts.Backing.Lstat(e.s.Path); !isGone(err) {
			return errPointless
		}
		if alone, sure := e.w.alone(e.s, e.gen); !sure {
			return errMoved
		} else if !alone {
			return errPointless
		}
	}
	return e.t.Remove(ctx, e.s.Path)
}

// rename moves what is at the target.
func (e *execution) rename(ctx context.Context) error {
	err := e.t.Rename(ctx, e.s.Path, e.s.To)
	if errors.Is(err, ErrNotExist) {
		if _, gone := e.t.Lstat(ctx, e.s.Path); errors.Is(gone, ErrNotExist) {
			return errNoSource
		} else if gone != nil {
			return gone
		}
	}
	if err == nil {
		return nil
	}
	return e.clear(ctx, e.s.To, err, func() error { return e.t.Rename(ctx, e.s.Path, e.s.To) })
}

// place does op, which puts something at path; if something is in the way it
// goes into the trash, and if parents are missing they are made.
func (e *execution) place(ctx context.Context, path string, op func() error) error {
	err := op()
	if err == nil {
		return nil
	}
	return e.clear(ctx, path, err, op)
}

func (e *execution) clear(ctx context.Context, path string, err error, op func() error) error {
	switch {
	case errors.Is(err, ErrExist), errors.Is(err, ErrIsDir), errors.Is(err, ErrNotEmpty):
		if err := e.t.Remove(ctx, path); err != nil {
			return err
		}
	case errors.Is(err, ErrNotExist):
		if perr := e.parents(ctx, path); perr != nil {
			return errors.Join(err, perr)
		}
	default:
		return err
	}
	return op()
}

// parents makes the directories above path that the target has lost.
func (e *execution) parents(ctx context.Context, path string) error {
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		dir := path[:i]
		if have, err := e.t.Lstat(ctx, dir); err == nil && have.Mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		attr := Attr{Mode: unix.S_IFDIR | 0o755}
		if st, err := e.w.opts.Backing.Lstat(dir); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			attr = attrOf(&st)
		}
		err := e.t.Mkdir(ctx, dir, attr)
		if errors.Is(err, ErrExist) {
			if err = e.t.Remove(ctx, dir); err == nil {
				err = e.t.Mkdir(ctx, dir, attr)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
