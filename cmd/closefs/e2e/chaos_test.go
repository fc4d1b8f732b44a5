package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// chaos is a load of random operations from several goroutines on few names, so
// that they keep meeting each other: writes, appends, truncations, rename
// chains, swaps, renames of directories, deletes, changes of type, links.
type chaos struct {
	root  string
	gate  *gate
	total int

	mu     sync.Mutex
	failed error // the first error that a filesystem may not give here
	counts map[string]int
}

// operation is one kind of random operation and how often it comes.
type operation struct {
	name   string
	weight int
	do     func(c *chaos, r *rand.Rand) error
}

var operations = []operation{
	{"write", 30, (*chaos).write},
	{"append", 8, (*chaos).append},
	{"truncate", 4, (*chaos).truncate},
	{"write renamed file", 4, (*chaos).writeRenamed},
	{"rename", 10, (*chaos).rename},
	{"rename chain", 5, (*chaos).renameChain},
	{"swap", 4, (*chaos).swap},
	{"exchange", 4, (*chaos).exchange},
	{"rename directory", 6, (*chaos).renameDir},
	{"mkdir", 8, (*chaos).mkdir},
	{"unlink", 8, (*chaos).unlink},
	{"remove tree", 2, (*chaos).removeTree},
	{"change type", 4, (*chaos).changeType},
	{"symlink", 3, (*chaos).symlink},
	{"link", 3, (*chaos).link},
	{"chmod", 4, (*chaos).chmod},
	{"utimes", 3, (*chaos).utimes},
}

func newChaos(root string, total int) *chaos {
	return &chaos{root: root, gate: newGate(), total: total, counts: make(map[string]int)}
}

// start runs the operations from several goroutines; the channel closes when
// all are done.
func (c *chaos) start(r *rand.Rand, goroutines int) <-chan struct{} {
	var all sync.WaitGroup
	for g := range goroutines {
		own := rand.New(rand.NewPCG(r.Uint64(), uint64(g)))
		all.Go(func() {
			for range c.total / goroutines {
				c.one(own)
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		all.Wait()
		close(ended)
	}()
	return ended
}

func (c *chaos) one(r *rand.Rand) {
	op := pick(r)
	unexpected := false
	err := c.gate.do(func() error {
		err := op.do(c, r)
		unexpected = !c.expected(err)
		return err
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.counts[op.name]++
	}
	if unexpected && c.failed == nil {
		c.failed = fmt.Errorf("%s: %w", op.name, err)
	}
}

func pick(r *rand.Rand) operation {
	sum := 0
	for _, op := range operations {
		sum += op.weight
	}
	n := r.IntN(sum)
	for _, op := range operations {
		if n -= op.weight; n < 0 {
			return op
		}
	}
	panic("weights")
}

// expected tells whether err is one that a random operation earns on any
// filesystem, or that a killed daemon explains.
func (c *chaos) expected(err error) bool {
	if err == nil {
		return true
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return !c.expected(e) })
	}
	for _, e := range []error{unix.ENOENT, unix.EEXIST, unix.ENOTDIR, unix.EISDIR, unix.ENOTEMPTY,
		unix.EINVAL, unix.ELOOP, unix.EPERM, unix.EXDEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return c.gate.explains(err)
}

// name is a random path, of which few exist.
func (c *chaos) name(r *rand.Rand) string {
	path := c.root
	for range r.IntN(3) {
		path = filepath.Join(path, fmt.Sprintf("d%d", r.IntN(4)))
	}
	return filepath.Join(path, fmt.Sprintf("f%d", r.IntN(10)))
}

// dir is a random path of a directory.
func (c *chaos) dir(r *rand.Rand) string {
	path := c.root
	for range 1 + r.IntN(2) {
		path = filepath.Join(path, fmt.Sprintf("d%d", r.IntN(4)))
	}
	return path
}

func (c *chaos) write(r *rand.Rand) error {
	n := r.IntN(8 << 10)
	if r.IntN(50) == 0 {
		n = r.IntN(1 << 20)
	}
	return writeInPieces(c.name(r), newContent(r, n)[:n])
}

func (c *chaos) append(r *rand.Rand) error {
	f, err := os.OpenFile(c.name(r), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(newContent(r, r.IntN(1000)))
	return errors.Join(err, f.Close())
}

func (c *chaos) truncate(r *rand.Rand) error { return os.Truncate(c.name(r), r.Int64N(20<<10)) }

// writeRenamed writes to a file that is renamed while it is open.
func (c *chaos) writeRenamed(r *rand.Rand) error {
	name := c.name(r)
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(newContent(r, r.IntN(4000)))
	renamed := os.Rename(name, c.name(r))
	_, again := f.Write(newContent(r, r.IntN(4000)))
	return errors.Join(err, f.Close(), again, renamed)
}

func (c *chaos) rename(r *rand.Rand) error { return os.Rename(c.name(r), c.name(r)) }

func (c *chaos) renameChain(r *rand.Rand) error {
	name := c.name(r)
	for range 3 {
		next := c.name(r)
		if err := os.Rename(name, next); err != nil {
			return err
		}
		name = next
	}
	return nil
}

// swap exchanges two names by three renames.
func (c *chaos) swap(r *rand.Rand) error {
	a, b := c.name(r), c.name(r)
	aside := fmt.Sprintf("%s.aside%d", a, r.IntN(1000))
	if err := os.Rename(a, aside); err != nil {
		return err
	}
	return errors.Join(os.Rename(b, a), os.Rename(aside, b))
}

func (c *chaos) exchange(r *rand.Rand) error {
	a, b := c.name(r), c.name(r)
	if r.IntN(3) == 0 {
		a, b = c.dir(r), c.dir(r)
	}
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

func (c *chaos) renameDir(r *rand.Rand) error { return os.Rename(c.dir(r), c.dir(r)) }

func (c *chaos) mkdir(r *rand.Rand) error { return os.MkdirAll(c.dir(r), 0o755) }

func (c *chaos) unlink(r *rand.Rand) error { return os.Remove(c.name(r)) }

func (c *chaos) removeTree(r *rand.Rand) error { return os.RemoveAll(c.dir(r)) }

func (c *chaos) changeType(r *rand.Rand) error {
	name := c.name(r)
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	switch r.IntN(3) {
	case 0:
		return os.Mkdir(name, 0o755)
	case 1:
		return os.Symlink("nowhere", name)
	default:
		return writeInPieces(name, newContent(r, 100))
	}
}

func (c *chaos) symlink(r *rand.Rand) error {
	return os.Symlink(fmt.Sprintf("f%d", r.IntN(10)), c.name(r))
}

func (c *chaos) link(r *rand.Rand) error { return os.Link(c.name(r), c.name(r)) }

func (c *chaos) chmod(r *rand.Rand) error {
	return unix.Fchmodat(unix.AT_FDCWD, c.regular(r), []uint32{0o600, 0o640, 0o644, 0o755}[r.IntN(4)], 0)
}

func (c *chaos) utimes(r *rand.Rand) error {
	t := time.Unix(1_500_000_000+r.Int64N(100_000_000), r.Int64N(1_000_000_000))
	return os.Chtimes(c.regular(r), t, t)
}

// regular is a random name, or "" (ENOENT) where that is a symlink or nothing, since
// chmod and utimes would follow it.
func (c *chaos) regular(r *rand.Rand) string {
	name := c.name(r)
	if fi, err := os.Lstat(name); err != nil || fi.Mode()&os.ModeSymlink != 0 {
		return ""
	}
	return name
}
