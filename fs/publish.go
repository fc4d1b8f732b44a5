package fs

import (
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// finishWriting publishes of after its last writer is gone, or goes on watching
// it if a mapping lives on. It tells whether the content was published as
// modified. The caller holds order and the inode lock.
func (f *FS) finishWriting(of *openFile) (modified bool) {
	if !of.dirty || len(of.writers) > 0 {
		return false
	}
	if of.passthrough && f.writable(of) {
		// Refused once it may only be that the kernel drops the writer a moment
		// after it queued RELEASE.
		of.mapped = of.mapped || of.wait > firstProbe
		f.probeLater(of)
		return false
	}
	return f.publish(of, false)
}

// publish appends the Content record of a dirty file, or Clean if nothing was
// written. With still it is open, or may be, and stays dirty. It tells whether
// there was something to ship. The caller holds order and the inode lock.
func (f *FS) publish(of *openFile, still bool) (modified bool) {
	// Before the stat: what is written after it sets modified again.
	modified = of.modified.Swap(false)
	st, err := f.fstat(of.n, of.fd)
	if err != nil {
		f.log.Error("open file cannot be described", "id", of.n.id, "error", err)
		of.modified.Store(true)
		return false
	}
	modified = modified || of.mapped && !still || of.passthrough && versionOf(&st) != of.base
	path, named := f.nameOf(of.n, &st)
	if st.Nlink == 0 {
		// Removed behind the mount's back: through it, it would not be dirty.
		f.open.setDirty(of, false)
		f.record(&journal.Record{Kind: journal.Clean, ID: st.ID, Mode: st.Mode, Path: path})
		return false
	}
	if !named {
		// Its only known name was removed and others exist: the walk that finds
		// them publishes it. Until then the journal's Open record stands.
		f.findLinks(of.n.id)
		if !still {
			f.open.setDirty(of, false)
		}
		return modified
	}
	f.recordContent(of, &st, path, modified, still)
	return modified
}

func (f *FS) recordContent(of *openFile, st *backing.Stat, path string, modified, still bool) {
	foreign := f.open.isForeign(of.n.id)
	switch {
	case modified:
		r := f.contentRecord(st, path)
		r.StillOpen = still || foreign
		f.record(r)
	case !still && !foreign:
		f.record(&journal.Record{Kind: journal.Clean, ID: st.ID, Mode: st.Mode, Path: path})
	}
	of.base, of.since = versionOf(st), time.Now()
	if still {
		// Within a tick of the clock a write may leave no trace: look again.
		if of.passthrough && modified && fresh(st) {
			of.modified.Store(true)
		}
		// Pages that a mapping has dirtied take stores without moving ctime.
		of.mapped = of.mapped || of.passthrough && of.mappable()
		return
	}
	of.mapped = false
	f.open.setDirty(of, false)
}

// mappable tells whether there may be a writable mapping. The caller holds the
// inode lock.
func (of *openFile) mappable() bool {
	for _, h := range of.writers {
		if h.mappable {
			return true
		}
	}
	return len(of.writers) == 0
}

// contentRecord says that the file at path is complete as described by st.
func (f *FS) contentRecord(st *backing.Stat, path string) *journal.Record {
	return &journal.Record{
		Kind: journal.Content, ID: st.ID, Mode: st.Mode, Path: path,
		Links: f.otherNames(st, path),
		Size:  st.Size, Mtime: st.ModTime(), Ctime: st.ChangeTime(),
	}
}

// publishAll closes what is open when the connection to the kernel has ended:
// no more RELEASE will come. A file that is still mapped stays dirty in the
// journal, and Recover publishes it at the next start.
func (f *FS) publishAll() {
	f.order.RLock()
	defer f.order.RUnlock()
	for _, h := range f.handles.takeAll() {
		if h.of != nil {
			f.finishHandle(h)
		} else {
			h.dir.close()
		}
	}
}

// removeName updates an inode that lost the name path (the table does not have
// it any more) and tells what else to record: a dirty file with other names
// stays dirty under one of them. st describes it afterwards; n may be nil. The
// caller holds order and the inode lock, or order exclusively.
func (f *FS) removeName(n *node, st *backing.Stat, path string) []*journal.Record {
	f.links.remove(uint64(st.ID), path, int(st.Nlink))
	if n == nil || n.open == nil || !n.open.dirty {
		return nil
	}
	if st.Nlink == 0 {
		f.open.setDirty(n.open, false)
		return nil
	}
	other, named := f.nameOf(n, st)
	if !named {
		f.findLinks(n.id)
		return nil
	}
	return []*journal.Record{openRecord(st, other)}
}

// openRecord says that the file at path may be written from here on.
func openRecord(st *backing.Stat, path string) *journal.Record {
	return &journal.Record{
		Kind: journal.Open, ID: st.ID, Mode: st.Mode, Path: path,
		Size: st.Size, Mtime: st.ModTime(), Ctime: st.ChangeTime(),
	}
}

func isRegular(mode uint32) bool { return mode&unix.S_IFMT == unix.S_IFREG }
