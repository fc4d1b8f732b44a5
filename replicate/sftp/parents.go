package sftp

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"closefs/replicate"
	"closefs/replicate/sftp/wire"
	"closefs/replicate/staging"
)

// parentsMax bounds the memory of a connection that meets very many directories.
const parentsMax = 1 << 16

// parents are the directories that were seen to be real ones on this
// connection. With a directory all that are above it are in the set.
type parents struct {
	mu   sync.Mutex
	real map[string]struct{}
	// moves counts changes to the tree, so that what was looked at before one
	// of them is not added after it.
	moves uint64
}

// has says whether dir is known, and the count for add.
func (p *parents) has(dir string) (bool, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.real[dir]
	return ok || dir == "", p.moves
}

// add remembers dirs unless something has moved since the count.
func (p *parents) add(moves uint64, dirs ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moves != moves {
		return
	}
	if len(p.real) > parentsMax {
		// All go: a directory must not stay without those above it.
		p.real = nil
		p.moves++
		return
	}
	if p.real == nil {
		p.real = make(map[string]struct{})
	}
	for _, dir := range dirs {
		p.real[dir] = struct{}{}
	}
}

// forget drops path and all below it. It is to be called after every step that
// may have put something else at path. What is not in the set has nothing
// below it in the set either, so that files cost nothing.
func (p *parents) forget(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moves++
	if _, ok := p.real[path]; !ok {
		return
	}
	for dir := range p.real {
		if dir == path || strings.HasPrefix(dir, path+"/") {
			delete(p.real, dir)
		}
	}
}

// reset drops everything: something at the target was not as believed.
func (p *parents) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moves++
	p.real = nil
}

// verify makes sure that path's parent, and all above it, are real directories;
// ErrNotExist if one is not. path must not be the root.
func (t *Target) verify(ctx context.Context, path string) error {
	if path == "" {
		return fmt.Errorf("%w: it is the target's root", replicate.ErrUnsupported)
	}
	up, _ := staging.Split(path)
	return t.verifyDir(ctx, up)
}

// verifyDir is verify for dir itself. Those that are unknown are looked at in
// one round trip.
func (t *Target) verifyDir(ctx context.Context, dir string) error {
	known, moves := t.parents.has(dir)
	if known {
		return nil
	}
	var dirs []string
	var calls []*wire.Call
	b := t.main.Batch()
	for i := 0; i <= len(dir); i++ {
		if i == len(dir) || dir[i] == '/' {
			if known, _ := t.parents.has(dir[:i]); !known {
				dirs = append(dirs, dir[:i])
				calls = append(calls, b.Lstat(t.abs(dir[:i])))
			}
		}
	}
	b.Send()
	for i, call := range calls {
		a, err := call.Attrs(ctx)
		if err != nil {
			return fmt.Errorf("directory %q: %w", dirs[i], err)
		}
		if !isDir(a) {
			return fmt.Errorf("%w: %q is not a directory", replicate.ErrNotExist, dirs[i])
		}
	}
	t.parents.add(moves, dirs...)
	return nil
}
