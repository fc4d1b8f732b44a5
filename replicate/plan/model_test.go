package plan

import (
	"fmt"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"closefs/fs/journal"
)

// inode is a file of the model: what a tree of names points to.
type inode struct {
	id      journal.FileID
	mode    uint32 // type and permissions
	content int    // regular files: unique per write; symlinks: destination
	closed  int    // content at the last close
	writers int
	mod     bool // written since it was opened
	creat   bool // not closed since it was created
	names   map[string]bool
}

func (i *inode) isDir() bool { return isDir(i.mode) }

// files is a directory tree: path to inode, "" is the root.
type files map[string]*inode

func (f files) children(dir string) []string {
	var out []string
	for p := range f {
		if p != "" && parentOf(p) == dir {
			out = append(out, p)
		}
	}
	sort.Strings(out)
	return out
}

func (f files) below(dir string) []string {
	var out []string
	for p := range f {
		if strings.HasPrefix(p, dir+"/") {
			out = append(out, p)
		}
	}
	sort.Strings(out)
	return out
}

// drop removes path and all below it.
func (f files) drop(path string) {
	for _, p := range append(f.below(path), path) {
		if n := f[p]; n != nil {
			delete(n.names, p)
			delete(f, p)
		}
	}
}

// move renames a subtree; the destination must be free.
func (f files) move(from, to string) {
	for _, p := range append(f.below(from), from) {
		n := f[p]
		delete(f, p)
		q := to + p[len(from):]
		f[q] = n
		delete(n.names, p)
		n.names[q] = true
	}
}

func (f files) set(path string, n *inode) {
	if old := f[path]; old != nil {
		delete(old.names, path)
	}
	f[path] = n
	n.names[path] = true
}

func (f files) dirAt(path string) bool { return f[path] != nil && f[path].isDir() }

// describe prints a tree for comparison: types, modes, contents, and which
// names are the same inode.
func (f files) describe() string {
	first := map[*inode]string{}
	var paths []string
	for p := range f {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	var b strings.Builder
	for _, p := range paths {
		n := f[p]
		if p == "" {
			continue
		}
		link := ""
		if !n.isDir() && len(n.names) > 1 {
			if first[n] == "" {
				first[n] = p
			}
			link = " = " + first[n]
		}
		fmt.Fprintf(&b, "%s %o %d%s\n", p, n.mode, n.content, link)
	}
	return b.String()
}

// primary applies operations as the filesystem would and records them as fs does.
type primary struct {
	files
	log     []*journal.Record
	nextID  journal.FileID
	nextVal int
	open    []*inode
	closed  map[int]bool // contents that some file had when it was closed
}

func newPrimary() *primary {
	root := &inode{id: 1, mode: unix.S_IFDIR | 0o755, names: map[string]bool{"": true}}
	return &primary{files: files{"": root}, nextID: 1, closed: map[int]bool{0: true}}
}

func (p *primary) record(r journal.Record) {
	r.Pos = journal.Position(len(p.log) + 1)
	p.log = append(p.log, &r)
}

func (p *primary) inode(mode uint32) *inode {
	p.nextID++
	return &inode{id: p.nextID, mode: mode, names: map[string]bool{}}
}

// openFile opens path for writing, creating it if need be.
func (p *primary) openFile(path string) *inode {
	n := p.files[path]
	switch {
	case n == nil && p.dirAt(parentOf(path)):
		n = p.inode(unix.S_IFREG | 0o644)
		n.creat = true
		p.set(path, n)
		p.record(journal.Record{Kind: journal.Open, Path: path, ID: n.id, Created: true})
	case n == nil || n.mode&unix.S_IFMT != unix.S_IFREG:
		return nil
	default:
		p.record(journal.Record{Kind: journal.Open, Path: path, ID: n.id})
	}
	n.writers++
	p.open = append(p.open, n)
	return n
}

func (p *primary) write(n *inode) {
	p.nextVal++
	n.content = p.nextVal
	n.mod = true
}

func (p *primary) close(n *inode) {
	for i, o := range p.open {
		if o == n {
			p.open = append(p.open[:i], p.open[i+1:]...)
			break
		}
	}
	if n.writers--; n.writers > 0 || len(n.names) == 0 {
		return
	}
	names := n.sorted()
	if !n.mod && !n.creat {
		p.record(journal.Record{Kind: journal.Clean, Path: names[0], ID: n.id})
		return
	}
	n.mod, n.creat = false, false
	n.closed = n.content
	p.closed[n.content] = true
	p.record(journal.Record{Kind: journal.Content, Path: names[0], ID: n.id, Links: names[1:], Mode: n.mode, Size: 1})
}

func (i *inode) sorted() []string {
	var names []string
	for p := range i.names {
		names = append(names, p)
	}
	sort.Strings(names)
	return names
}

func (p *primary) mk(path string, mode uint32) {
	if p.files[path] != nil || !p.dirAt(parentOf(path)) {
		return
	}
	n := p.inode(mode)
	if !n.isDir() {
		p.nextVal++
		n.content, n.closed = p.nextVal, p.nextVal
		p.closed[n.content] = true
	}
	p.set(path, n)
	p.record(journal.Record{Kind: journal.Make, Path: path, ID: n.id, Mode: mode})
}

func (p *primary) hardlink(old, path string) {
	n := p.files[old]
	if n == nil || n.isDir() || p.files[path] != nil || !p.dirAt(parentOf(path)) {
		return
	}
	links := n.sorted()
	p.set(path, n)
	p.record(journal.Record{Kind: journal.Make, Path: path, ID: n.id, Mode: n.mode, Links: links})
}

func (p *primary) chmod(path string, mode uint32) {
	n := p.files[path]
	if n == nil || path == "" || n.mode&unix.S_IFMT == unix.S_IFLNK {
		return
	}
	n.mode = n.mode&unix.S_IFMT | mode
	var links []string
	for _, l := range n.sorted() {
		if l != path {
			links = append(links, l)
		}
	}
	p.record(journal.Record{Kind: journal.Attr, Path: path, ID: n.id, Mode: n.mode, Links: links})
}

func (p *primary) rm(path string) {
	n := p.files[path]
	if n == nil || path == "" || n.isDir() && len(p.children(path)) > 0 {
		return
	}
	p.drop(path)
	p.record(journal.Record{Kind: journal.Remove, Path: path, ID: n.id, Mode: n.mode, Last: len(n.names) == 0})
	p.reopen(n)
}

// reopen notes that a file that is being written lives on under another name.
func (p *primary) reopen(n *inode) {
	if n.writers > 0 && len(n.names) > 0 {
		p.record(journal.Record{Kind: journal.Open, Path: n.sorted()[0], ID: n.id})
	}
}

func (p *primary) rename(from, to string) {
	a, b := p.files[from], p.files[to]
	if a == nil || from == "" || to == "" || a == b || !p.dirAt(parentOf(to)) || strings.HasPrefix(to, from+"/") {
		return
	}
	if b != nil && (a.isDir() != b.isDir() || b.isDir() && len(p.children(to)) > 0) {
		return
	}
	if b != nil {
		p.drop(to)
	}
	p.move(from, to)
	p.record(journal.Record{Kind: journal.Rename, Path: from, To: to, ID: a.id, Mode: a.mode})
	if b != nil {
		p.reopen(b)
	}
}

func (p *primary) exchange(a, b string) {
	x, y := p.files[a], p.files[b]
	if x == nil || y == nil || x == y || a == "" || b == "" || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/") {
		return
	}
	p.move(a, "\x00")
	p.move(b, a)
	p.move("\x00", b)
	p.record(journal.Record{Kind: journal.Rename, Path: a, To: b, ID: x.id, Mode: x.mode, Exchange: true})
}
