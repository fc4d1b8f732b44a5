package replicate

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
	"closefs/replicate/plan"
)

// Why a source cannot be shipped now.
var (
	errSource  = errors.New("source")           // wraps errors of the primary's own filesystem
	errMoved   = errors.New("source has moved") // it is not what the record saw
	errWriting = errors.New("source is being written")
)

func sourceError(path string, err error) error {
	return fmt.Errorf("%w %q: %w", errSource, path, err)
}

// look describes the source of a step; errMoved if it is gone or another inode.
func (w *Worker) look(s plan.Step) (backing.Stat, error) {
	st, err := w.opts.Backing.Lstat(s.Source)
	switch {
	case isGone(err):
		return st, errMoved
	case err != nil:
		return st, sourceError(s.Source, err)
	case s.ID != 0 && s.Source != "" && st.ID != s.ID:
		return st, errMoved
	}
	return st, nil
}

func isGone(err error) bool {
	return err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP || err == unix.ESTALE
}

// is tells whether path is at the primary a name of inode id.
func (w *Worker) is(path string, id journal.FileID) bool {
	st, err := w.opts.Backing.Lstat(path)
	return err == nil && st.ID == id
}

// content is a regular file of the primary, open for shipping.
type content struct {
	*os.File
	backing.Stat // when it was opened
}

// ReadAt is os.File's, but a file that has become shorter is one that is written.
func (c *content) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.File.ReadAt(b, off)
	if err == io.EOF && off+int64(n) < c.Size {
		err = errWriting
	}
	return n, err
}

// open opens the content of a step. errWriting if it is between two closes.
func (w *Worker) open(s plan.Step) (*content, error) {
	fd, err := w.opts.Backing.Openat(s.Source, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	switch {
	case isGone(err):
		return nil, errMoved
	case err != nil:
		return nil, sourceError(s.Source, err)
	}
	c := &content{File: os.NewFile(uintptr(fd), s.Source)}
	if c.Stat, err = w.opts.Backing.Fstat(fd); err != nil {
		c.Close()
		return nil, sourceError(s.Source, err)
	}
	switch {
	case s.ID != 0 && c.ID != s.ID, c.Mode&unix.S_IFMT != unix.S_IFREG:
		err = errMoved
	case !s.StillOpen && w.opts.Journal.IsDirty(c.ID) && !asRecorded(&c.Stat, s) && !w.quiet(&c.Stat):
		err = errWriting
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// asRecorded tells whether the file is what it was when it was last closed,
// although somebody has it open for writing.
func asRecorded(st *backing.Stat, s plan.Step) bool {
	return st.Size == s.Size && !s.Ctime.IsZero() && st.ChangeTime().Equal(s.Ctime)
}

// quiet tells whether a file that somebody holds open has not changed for so
// long that it may be shipped as it is, as ship_open_after does.
func (w *Worker) quiet(st *backing.Stat) bool {
	return time.Since(st.ChangeTime()) > w.opts.ShipOpenAfter
}

// unchanged looks at an open content once more, when all of it has been read:
// errWriting if what was read may be neither the old nor the new file.
func (w *Worker) unchanged(c *content, s plan.Step, gen int) error {
	now, err := w.opts.Backing.Fstat(int(c.Fd()))
	switch {
	case err != nil:
		return sourceError(s.Source, err)
	case s.StillOpen: // a file that grows all the time: what it had is shipped
		if now.Size < c.Size {
			return errWriting
		}
		return nil
	case now.Size != c.Size || now.Mtim != c.Mtim:
		return errWriting
	case now.Ctim != c.Ctim && !w.undisturbed(s, gen):
		return errWriting // a new name alone changes ctime too; an open may have changed more
	}
	return nil
}

// attrOf is what the target is given of a file's attributes.
func attrOf(st *backing.Stat) Attr {
	return Attr{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Mtime: st.ModTime(),
		Atime: time.Unix(st.Atim.Sec, st.Atim.Nsec)}
}
