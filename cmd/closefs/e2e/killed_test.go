package e2e

import (
	"os"
	"testing"
)

// TestKilledUnderLoad: the daemon is killed (-9) at random moments while an
// application works, and started again. Nothing acknowledged is missing, and
// nothing torn was ever visible.
func TestKilledUnderLoad(t *testing.T) {
	s := startSite(t)
	r := newRandom(t)
	each := size(t, "CLOSEFS_UPLOADS", 500, 5000)
	load := newUploads(s.mount, 4, each)
	watcher := watch(t, s.target, load.unfinished)
	killUnderLoad(t, s, load.gate, r, size(t, "CLOSEFS_KILLS", 10, 100), 4*each, load.start(r))
	s.compare()
	watcher.finish(t)
	load.check(t, s.backing)
	load.check(t, s.target)
}

// TestKilledWhileAway: what was done while the secondary was away survives the
// death of the daemon.
func TestKilledWhileAway(t *testing.T) {
	s := startSite(t)
	world.lab.do(t, "sshd-kill", s.host)
	t.Cleanup(func() { ensureServer(t, s.host) })
	fill(t, s.mount, 100)
	must(t, os.Rename(s.path("dir3"), s.path("moved")), os.Remove(s.path("empty")))
	s.daemon.kill(t)
	s.start()
	must(t, write(s.path("after"), "the restart"))
	world.lab.do(t, "sshd-start", s.host)
	s.compare()
}

// TestKilledWithOpenFile: a file that was open for writing when the daemon died
// counts as changed at the next start, whatever could still be written to it.
func TestKilledWithOpenFile(t *testing.T) {
	s := startSite(t)
	f, err := os.Create(s.path("open"))
	must(t, err)
	_, err = f.WriteString("written before the kill")
	must(t, err)
	s.daemon.kill(t)
	f.Close()
	s.start()
	s.compareBelow("")
}

// TestKilledWhileStarting: a daemon that is killed at any moment of its start
// is gone, and leaves nothing that keeps the next one from starting.
func TestKilledWhileStarting(t *testing.T) {
	s := startSite(t)
	fill(t, s.mount, 50)
	s.daemon.kill(t)
	r := newRandom(t)
	for range size(t, "CLOSEFS_KILLS", 20, 300) {
		s.killWhileStarting(r)
	}
	s.start()
	must(t, write(s.path("after"), "all of them"))
	s.compare()
}
