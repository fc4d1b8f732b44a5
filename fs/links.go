package fs

import (
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// linkIndex knows names of inodes that have several: those made through this
// mount, and once a file with unknown names was published, all of the backing
// directory, found by one walk in the background.
type linkIndex struct {
	mu     sync.Mutex
	byID   map[uint64]map[string]struct{} // paths below the root
	wanted map[uint64]struct{}            // inodes with names to be found
	walks  int                            // running: 0 or 1
	moved  uint64                         // renames so far: a walk may have missed what moved meanwhile
}

func newLinkIndex() *linkIndex {
	return &linkIndex{byID: make(map[uint64]map[string]struct{}), wanted: make(map[uint64]struct{})}
}

func (x *linkIndex) walking() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.walks
}

func (x *linkIndex) names() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for _, paths := range x.byID {
		n += len(paths)
	}
	return n
}

func (x *linkIndex) add(id uint64, paths ...string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	set := x.byID[id]
	if set == nil {
		set = make(map[string]struct{}, len(paths))
		x.byID[id] = set
	}
	for _, p := range paths {
		set[p] = struct{}{}
	}
}

// remove takes a name away from an inode that has nlink names left; one with
// less than two needs no index.
func (x *linkIndex) remove(id uint64, path string, nlink int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.byID[id], path)
	if nlink < 2 && len(x.byID[id]) == 0 {
		delete(x.byID, id)
	}
}

// get returns the known names in order.
func (x *linkIndex) get(id uint64) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	paths := make([]string, 0, len(x.byID[id]))
	for p := range x.byID[id] {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	return paths
}

// rename follows the renaming of from to to, and back if exchange. It costs
// time proportional to the number of names in the index if a directory moves.
func (x *linkIndex) rename(from, to string, exchange bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.moved++
	for _, paths := range x.byID {
		var add []string
		for p := range paths {
			if q, ok := moved(p, from, to, exchange); ok {
				delete(paths, p)
				add = append(add, q)
			}
		}
		for _, q := range add {
			paths[q] = struct{}{}
		}
	}
}

func moved(p, from, to string, exchange bool) (string, bool) {
	if rest, ok := below(p, from); ok {
		return to + rest, true
	}
	if rest, ok := below(p, to); ok && exchange {
		return from + rest, true
	}
	return "", false
}

func below(p, dir string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(p, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// nameOf is a name of n: the table's, or else one that the index has and that
// is still right. The caller holds order.
func (f *FS) nameOf(n *node, st *backing.Stat) (string, bool) {
	if path, ok := f.table.path(n); ok {
		return path, true
	}
	names := f.verifiedNames(st, "")
	if len(names) == 0 {
		return "", false
	}
	return names[0], true
}

// Links returns the names that are known of an inode that has several.
func (f *FS) Links(id journal.FileID) []string { return f.links.get(uint64(id)) }

// otherNames returns the names of st's inode but path. If some are unknown a
// walk is started that publishes the file again with all of them. The caller
// holds order.
func (f *FS) otherNames(st *backing.Stat, path string) []string {
	if st.Nlink < 2 || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	f.links.add(uint64(st.ID), path)
	names := f.verifiedNames(st, path)
	if len(names)+1 < int(st.Nlink) {
		f.findLinks(uint64(st.ID))
	}
	return names
}

// verifiedNames returns the names that the index has, but except, after
// dropping those that are not the inode's any more.
func (f *FS) verifiedNames(st *backing.Stat, except string) []string {
	var names []string
	for _, p := range f.links.get(uint64(st.ID)) {
		if p == except {
			continue
		}
		if now, err := f.root.Lstat(p); err != nil || now.ID != st.ID {
			f.links.remove(uint64(st.ID), p, int(st.Nlink))
			continue
		}
		names = append(names, p)
	}
	return names
}

// findLinks starts the walk for the names of id, or adds id to the one that runs.
func (f *FS) findLinks(id uint64) {
	x := f.links
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wanted[id] = struct{}{}
	if x.walks > 0 || f.stopped.Err() != nil {
		return
	}
	x.walks++
	f.background.Add(1)
	go func() {
		defer f.background.Done()
		f.walkLinks()
	}()
}

// walkLinks walks until no names are wanted. A pass that renames ran alongside
// may have missed names; it is repeated, three times in all.
func (f *FS) walkLinks() {
	x := f.links
	for pass := 0; ; {
		x.mu.Lock()
		if len(x.wanted) == 0 || f.stopped.Err() != nil {
			x.walks--
			x.mu.Unlock()
			return
		}
		before := x.moved
		wanted := x.wanted
		x.wanted = make(map[uint64]struct{})
		x.mu.Unlock()

		f.walkDir("")

		x.mu.Lock()
		again := x.moved != before && pass < 2
		x.mu.Unlock()
		f.linksFound(wanted, again)
		if pass++; !again {
			pass = 0
		}
	}
}

// walkDir indexes the files with several names below dir.
func (f *FS) walkDir(dir string) {
	if f.stopped.Err() != nil {
		return
	}
	fd, err := f.root.Openat(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		if err != unix.ENOENT {
			f.log.Warn("walking for hard links", "path", dir, "error", err)
		}
		return
	}
	d := os.NewFile(uintptr(fd), dir)
	defer d.Close()
	var subdirs []string
	for {
		entries, err := d.ReadDir(1024)
		for _, e := range entries {
			path := joinPath(dir, e.Name())
			if e.IsDir() {
				subdirs = append(subdirs, path)
			} else {
				f.indexFile(fd, e.Name(), path)
			}
		}
		if err != nil {
			break
		}
	}
	for _, sub := range subdirs {
		f.walkDir(sub)
	}
}

// indexFile puts a file into the index if it has several names.
func (f *FS) indexFile(dirfd int, name, path string) {
	var few unix.Stat_t
	if err := unix.Fstatat(dirfd, name, &few, unix.AT_SYMLINK_NOFOLLOW); err != nil || few.Nlink < 2 {
		return
	}
	if st, err := f.root.Fstatat(dirfd, name); err == nil {
		f.links.add(uint64(st.ID), path)
	}
}

func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// linksFound publishes the files whose names were wanted, or, if some are still
// missing and again, wants them again.
func (f *FS) linksFound(wanted map[uint64]struct{}, again bool) {
	f.order.RLock()
	defer f.order.RUnlock()
	for id := range wanted {
		if missing := f.publishLinks(id); missing > 0 && again {
			f.links.mu.Lock()
			f.links.wanted[id] = struct{}{}
			f.links.mu.Unlock()
		} else if missing > 0 {
			f.log.Warn("names of a hard link are outside the backing directory or hidden", "id", id, "missing", missing)
		}
	}
}

// publishLinks appends the Content of a file under all its names, or if it is
// being written, the Open record that keeps it dirty under one of them. It
// tells how many names are still unknown.
func (f *FS) publishLinks(id uint64) (missing int) {
	mu := f.inodeLock(id)
	mu.Lock()
	defer mu.Unlock()
	names := f.links.get(id)
	for len(names) > 0 {
		st, err := f.root.Lstat(names[0])
		if err != nil || uint64(st.ID) != id {
			names = names[1:]
			continue
		}
		others := f.verifiedNames(&st, names[0])
		if n := f.table.get(id); n != nil && n.open != nil && n.open.dirty {
			f.record(openRecord(&st, names[0]))
		} else {
			f.record(&journal.Record{
				Kind: journal.Content, ID: st.ID, Mode: st.Mode, Path: names[0], Links: others,
				StillOpen: f.open.isForeign(id),
				Size:      st.Size, Mtime: st.ModTime(), Ctime: st.ChangeTime(),
			})
		}
		return int(st.Nlink) - 1 - len(others)
	}
	return 0
}
