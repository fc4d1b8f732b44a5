package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// Rename moves a name, replaces another by it, or swaps two.
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	// RENAME_WHITEOUT leaves a device behind that no target could have.
	if in.Flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return fuse.EINVAL
	}
	oldDir, newDir := f.table.get(in.NodeId), f.table.get(in.Newdir)
	if oldDir == nil || newDir == nil {
		return fuse.Status(unix.ESTALE)
	}
	f.order.Lock()
	defer f.order.Unlock()
	from, err := f.dirs.acquire(oldDir)
	if err != nil {
		return errno(err)
	}
	defer from.release()
	to, err := f.dirs.acquire(newDir)
	if err != nil {
		return errno(err)
	}
	defer to.release()
	return errno(f.renameIn(&renaming{from: from, to: to, oldName: oldName, newName: newName, flags: uint(in.Flags)}))
}

// A renaming is one rename under way.
type renaming struct {
	from, to         *dirFD
	oldName, newName string
	flags            uint

	oldPath, newPath string
	moved            backing.Stat
	victim           backing.Stat // what newName is before, if hasVictim
	victimFD         int
	hasVictim        bool
}

func (r *renaming) exchange() bool { return r.flags&unix.RENAME_EXCHANGE != 0 }

// renameIn renames. The caller holds order exclusively.
func (f *FS) renameIn(r *renaming) error {
	var err error
	if r.moved, err = f.root.Fstatat(r.from.fd, r.oldName); err != nil {
		return err
	}
	r.victimFD, r.victim, err = f.openVictim(r.to, r.newName)
	if r.hasVictim = err == nil; !r.hasVictim && err != unix.ENOENT {
		return err
	}
	var oldNamed, newNamed bool
	r.oldPath, oldNamed = f.table.childPath(r.from.n, r.oldName)
	r.newPath, newNamed = f.table.childPath(r.to.n, r.newName)
	return f.commit(change{
		intent: intent{path: r.oldPath, to: r.newPath, id: uint64(r.moved.ID), skip: !oldNamed || !newNamed},
		apply: func() error {
			err := unix.Renameat2(r.from.fd, r.oldName, r.to.fd, r.newName, r.flags)
			if err != nil && r.hasVictim {
				unix.Close(r.victimFD)
			}
			return err
		},
		update: func() []*journal.Record { return f.renamed(r) },
	})
}

// renamed follows a rename in table and index and says what to record.
func (f *FS) renamed(r *renaming) []*journal.Record {
	if r.hasVictim && r.victim.ID == r.moved.ID && r.moved.Mode&unix.S_IFMT != unix.S_IFDIR {
		// Two names of one inode: rename(2) does nothing.
		unix.Close(r.victimFD)
		return nil
	}
	var records []*journal.Record
	if r.hasVictim && !r.exchange() {
		records = f.replaced(r)
	}
	f.moveName(&r.moved, r.from.n, r.oldName, r.to.n, r.newName)
	if r.hasVictim && r.exchange() {
		f.moveName(&r.victim, r.to.n, r.newName, r.from.n, r.oldName)
		unix.Close(r.victimFD)
	}
	f.links.rename(r.oldPath, r.newPath, r.exchange())
	return append([]*journal.Record{{
		Kind: journal.Rename, ID: r.moved.ID, Mode: r.moved.Mode,
		Path: r.oldPath, To: r.newPath, Exchange: r.exchange(),
	}}, records...)
}

// replaced follows the loss of the name that the rename replaced. The Rename
// record says that it happened; what it does not say is that a file that was
// open for writing cannot be shipped any more.
func (f *FS) replaced(r *renaming) []*journal.Record {
	n := f.table.get(uint64(r.victim.ID))
	dirty := n != nil && n.open != nil && n.open.dirty
	records := f.victimGone(r.victimFD, &r.victim, r.to.n, r.newName, r.newPath)[1:]
	if dirty && r.victim.Nlink == 0 {
		records = append(records, &journal.Record{
			Kind: journal.Clean, ID: r.victim.ID, Mode: r.victim.Mode, Path: r.newPath,
		})
	}
	return records
}

// moveName gives the node of st, if the kernel knows it, its new name, unless
// the table knows it by another one.
func (f *FS) moveName(st *backing.Stat, oldDir *node, oldName string, newDir *node, newName string) {
	n := f.table.get(uint64(st.ID))
	if n == nil {
		return
	}
	parent, name, _ := f.table.where(n)
	if parent == nil || parent == oldDir && name == oldName {
		f.table.rename(n, newDir, newName)
	}
}
