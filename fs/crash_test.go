package fs

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"closefs/fs/backing"
	"closefs/fs/journal"
)

// TestKill kills the daemon (-9) at random moments while several goroutines
// change the tree, and starts it again. In the end the records must lead to the
// tree that is there, as if nothing had happened.
func TestKill(t *testing.T) {
	for _, mode := range []string{"passthrough", "cached"} {
		t.Run(mode, func(t *testing.T) {
			kills := 6
			if testing.Short() {
				kills = 2
			}
			k := newKillRig(t, mode)
			var wg sync.WaitGroup
			for seed := range 4 {
				wg.Go(func() { k.work(uint64(seed)) })
			}
			rng := rand.New(rand.NewPCG(7, 7))
			for range kills {
				k.whileBusy(time.Duration(20+rng.IntN(60)) * time.Millisecond)
				k.restart()
			}
			close(k.stop)
			wg.Wait()
			k.finish()
		})
	}
}

// killRig is a daemon in a child process.
type killRig struct {
	t                      *testing.T
	back, mnt, state, mode string
	daemon                 *child
	stop                   chan struct{}
	steps                  chan struct{} // one per step of a worker, dropped when full
	mu                     sync.RWMutex  // write: nothing is mounted
}

func newKillRig(t *testing.T, mode string) *killRig {
	needFUSE(t)
	dir := t.TempDir()
	k := &killRig{
		t: t, back: dir + "/back", mnt: dir + "/mnt", state: dir + "/state", mode: mode,
		stop: make(chan struct{}), steps: make(chan struct{}, 1),
	}
	for _, d := range []string{k.back, k.mnt, k.state} {
		check(t, os.Mkdir(d, 0o755))
	}
	k.serve()
	t.Cleanup(func() { unix.Unmount(k.mnt, unix.MNT_DETACH) })
	return k
}

func (k *killRig) serve() {
	k.daemon = startChild(k.t, "serve", k.back, k.mnt, k.state, k.mode)
	k.daemon.wait("mounted")
}

// work changes the tree until stop.
func (k *killRig) work(seed uint64) {
	s := stresser{root: k.mnt, rng: rand.New(rand.NewPCG(seed, 2))}
	defer s.closeAll()
	for {
		select {
		case <-k.stop:
			return
		case k.steps <- struct{}{}:
		default:
		}
		k.mu.RLock()
		err := s.step()
		k.mu.RUnlock()
		if err != nil && !expected(err) && !disconnected(err) {
			k.t.Error(err)
			return
		}
	}
}

// disconnected are the errors of a mount whose daemon is dead.
func disconnected(err error) bool {
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EIO) || errors.Is(err, os.ErrClosed)
}

// whileBusy returns after d, in which steps were made.
func (k *killRig) whileBusy(d time.Duration) {
	deadline := time.After(d)
	for {
		select {
		case <-k.steps:
		case <-deadline:
			return
		}
	}
}

func (k *killRig) restart() {
	check(k.t, k.daemon.cmd.Process.Kill())
	k.daemon.cmd.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	check(k.t, unix.Unmount(k.mnt, unix.MNT_DETACH))
	k.serve()
}

// finish stops the daemon properly and compares.
func (k *killRig) finish() {
	k.daemon.goOn()
	k.daemon.end()
	j, err := journal.OpenDir(k.state, journal.Options{})
	check(k.t, err)
	defer j.Close()
	if dirty := j.Dirty(); len(dirty) > 0 {
		k.t.Errorf("dirty: %+v", dirty)
	}
	root, err := backing.Open(k.back)
	check(k.t, err)
	defer root.Close()
	reader, err := j.NewReader(0)
	check(k.t, err)
	defer reader.Close()
	var records []*journal.Record
	for reader.Next() {
		r := *reader.Record()
		records = append(records, &r)
	}
	check(k.t, reader.Err())
	r := &rig{t: k.t, back: k.back, FS: &FS{root: root}, journal: &recordingJournal{records: records}}
	compareTree(k.t, r, replay(records))
}
