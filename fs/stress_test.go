package fs

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"closefs/fs/journal"
)

// TestStress lets several goroutines change one small tree at random and then
// replays the records: they must lead to exactly the tree that is there, each
// name with its inode, and each file with the content that was recorded last.
func TestStress(t *testing.T) {
	modes(t, stress)
	// The kernel asks about every name each time, also while it is changed.
	t.Run("uncached", func(t *testing.T) { stress(t, func(o *Options) { o.Timeout = -1 }) })
}

func stress(t *testing.T, mode rigOption) {
	r := newRig(t, mode)
	steps := 1500
	if testing.Short() {
		steps = 300
	}
	var wg sync.WaitGroup
	for seed := range 6 {
		wg.Go(func() {
			s := stresser{root: r.mnt, rng: rand.New(rand.NewPCG(uint64(seed), 1))}
			for range steps {
				if err := s.step(); err != nil && !expected(err) {
					t.Error(err)
					return
				}
			}
			s.closeAll()
		})
	}
	wg.Wait()
	r.settle()
	r.closed()
	compareTree(t, r, replay(r.journal.since(0)))
	if dirty := r.journal.Dirty(); len(dirty) > 0 {
		t.Errorf("dirty: %+v", dirty)
	}
}

// expected are errors that a race between the goroutines explains.
func expected(err error) bool {
	for _, e := range []error{
		unix.ENOENT, unix.EEXIST, unix.ENOTDIR, unix.EISDIR, unix.ENOTEMPTY, unix.EINVAL, unix.ENXIO, unix.ELOOP, unix.EXDEV, unix.EBUSY,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

type stresser struct {
	root string
	rng  *rand.Rand
	held []*os.File
}

func (s *stresser) dir() string {
	return filepath.Join(s.root, []string{"", "d1", "d2", "d1/sub", "d2/sub"}[s.rng.IntN(5)])
}

func (s *stresser) name() string {
	return filepath.Join(s.dir(), fmt.Sprintf("n%d", s.rng.IntN(8)))
}

func (s *stresser) step() error {
	switch s.rng.IntN(14) {
	case 0, 1, 2:
		return os.WriteFile(s.name(), make([]byte, s.rng.IntN(3000)), 0o644)
	case 3:
		return s.hold()
	case 4:
		return s.letGo()
	case 5:
		return os.Mkdir(s.dir(), 0o755)
	case 6, 7:
		return os.Rename(s.name(), s.name())
	case 8:
		return os.Rename(s.dir(), s.dir())
	case 9:
		return unix.Renameat2(unix.AT_FDCWD, s.name(), unix.AT_FDCWD, s.name(), unix.RENAME_EXCHANGE)
	case 10:
		return os.Remove(s.name())
	case 11:
		return os.Link(s.name(), s.name())
	case 12:
		return os.Symlink("nowhere", s.name())
	default:
		return os.Truncate(s.name(), int64(s.rng.IntN(100)))
	}
}

func (s *stresser) hold() error {
	f, err := os.OpenFile(s.name(), os.O_RDWR|os.O_CREATE, 0o644)
	if err == nil {
		s.held = append(s.held, f)
	}
	return err
}

func (s *stresser) letGo() error {
	if len(s.held) == 0 {
		return nil
	}
	f := s.held[0]
	s.held = s.held[1:]
	_, err := f.WriteString(strings.Repeat("h", s.rng.IntN(500)))
	return errors.Join(err, f.Close())
}

func (s *stresser) closeAll() {
	for _, f := range s.held {
		f.Close()
	}
}

// A replica is what the records tell.
type replica struct {
	ids   map[string]journal.FileID
	sizes map[journal.FileID]int64 // of the Content recorded last
}

func replay(records []*journal.Record) *replica {
	m := &replica{ids: make(map[string]journal.FileID), sizes: make(map[journal.FileID]int64)}
	for _, r := range records {
		switch r.Kind {
		case journal.Open:
			if r.Created {
				m.ids[r.Path] = r.ID
			}
		case journal.Make:
			m.ids[r.Path] = r.ID
		case journal.Content:
			m.sizes[r.ID] = r.Size
			for _, p := range append([]string{r.Path}, r.Links...) {
				m.ids[p] = r.ID
			}
		case journal.Remove:
			delete(m.ids, r.Path)
		case journal.Rename:
			m.rename(r)
		}
	}
	return m
}

// rename follows a Rename. One whose source is not there has been followed
// before (a crash between record and answer repeats it): what is at its
// destination is to be looked at.
func (m *replica) rename(r *journal.Record) {
	if _, ok := m.ids[r.Path]; !ok {
		m.ids[r.To] = r.ID
		return
	}
	next := make(map[string]journal.FileID, len(m.ids))
	for p, id := range m.ids {
		if q, ok := moved(p, r.Path, r.To, r.Exchange); ok {
			next[q] = id
		} else if _, replaced := next[p]; !replaced {
			if _, ok := below(p, r.To); !ok {
				next[p] = id
			}
		}
	}
	m.ids = next
}

// history is what was recorded of one inode.
func history(r *rig, id journal.FileID) (all []string) {
	for _, rec := range r.journal.since(0) {
		if rec.ID == id || os.Getenv("ALL") != "" {
			all = append(all, fmt.Sprintf("%x ", rec.ID)+showRecord(rec))
		}
	}
	return all
}

func compareTree(t *testing.T, r *rig, m *replica) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(r.back, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == r.back {
			return err
		}
		seen++
		rel, _ := filepath.Rel(r.back, path)
		st, err := r.root.Lstat(rel)
		if err != nil {
			return err
		}
		if m.ids[rel] != st.ID {
			t.Errorf("%s is %x, by the records %x", rel, st.ID, m.ids[rel])
		}
		if size, ok := m.sizes[st.ID]; isRegular(st.Mode) && (!ok || size != st.Size) {
			t.Errorf("%s has %d bytes, by the records %d (%v): %q", rel, st.Size, size, ok, history(r, st.ID))
		}
		return nil
	})
	check(t, err)
	if seen != len(m.ids) {
		t.Errorf("%d names, by the records %d", seen, len(m.ids))
	}
}
