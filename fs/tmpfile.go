package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// Tmpfile makes a file without a name. Nothing is recorded until it is linked.
func (f *FS) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	return f.inDir(in.NodeId, func(d *dirFD) error {
		h, err := f.tmpfileIn(d, in, &out.EntryOut)
		if err == nil {
			f.answerOpen(h, &out.OpenOut)
		}
		return err
	})
}

func (f *FS) tmpfileIn(d *dirFD, in *fuse.CreateIn, out *fuse.EntryOut) (*handle, error) {
	mode := f.newMode(d, in.Mode, in.Umask)
	how := int(in.Flags)&(unix.O_ACCMODE|unix.O_LARGEFILE|unix.O_EXCL) | unix.O_TMPFILE
	fd := -1
	err := f.cred.as(&in.Caller, func() (err error) {
		fd, err = openat(d.fd, ".", how, mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	if f.passthrough.Load() {
		// O_TMPFILE wants to write; what is passed through must not count as a writer.
		ro, err := reopen(fd, unix.O_RDONLY)
		unix.Close(fd)
		if err != nil {
			return nil, err
		}
		fd = ro
	}
	return f.created(fd, nil, "", in, out)
}

// tmpfileLinked records the first name of an O_TMPFILE: while it is open for
// writing it is dirty like any new file, and its close ships it.
func (f *FS) tmpfileLinked(n *node, st *backing.Stat, path string) []*journal.Record {
	of := n.open
	if of == nil || len(of.writers) == 0 {
		return []*journal.Record{f.contentRecord(st, path)}
	}
	of.modified.Store(true)
	of.base = versionOf(st)
	f.open.setDirty(of, true)
	r := openRecord(st, path)
	r.Created = true
	return []*journal.Record{r}
}
