package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A watcher reads every file of a secondary's tree, over and over, as a web
// server there might at any moment, and remembers what it found torn.
type watcher struct {
	root    string
	excused func(path string) bool // files that may be torn; nil: none
	stop    chan struct{}
	done    sync.WaitGroup
	reads   int
	torn    map[string]string
}

// watch starts a watcher, which is stopped and judged at the end of the test
// or by finish.
func watch(t *testing.T, root string, excused func(string) bool) *watcher {
	t.Helper()
	w := &watcher{root: root, excused: excused, stop: make(chan struct{}), torn: make(map[string]string)}
	w.done.Go(w.run)
	t.Cleanup(func() { w.finish(t) })
	return w
}

func (w *watcher) run() {
	for {
		select {
		case <-w.stop:
			return
		default:
			w.round()
		}
	}
}

func (w *watcher) round() {
	filepath.WalkDir(w.root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil: // gone since it was listed
			return nil
		case d.Name() == stagingDir:
			return fs.SkipDir
		case d.Type().IsRegular():
			w.read(path)
		}
		return nil
	})
}

func (w *watcher) read(path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	w.reads++
	rel := path[len(w.root)+1:]
	if err := checkWhole(b); err != nil && (w.excused == nil || !w.excused(rel)) {
		w.torn[rel] = err.Error()
	}
}

// finish stops the watcher and fails the test for each file seen torn.
func (w *watcher) finish(t *testing.T) {
	t.Helper()
	select {
	case <-w.stop:
		return
	default:
	}
	close(w.stop)
	w.done.Wait()
	for path, what := range w.torn {
		t.Errorf("torn at the secondary: %q: %s", path, what)
	}
	t.Logf("the watcher read %d files", w.reads)
}
