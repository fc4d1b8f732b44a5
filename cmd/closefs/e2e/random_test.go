package e2e

import (
	"math/rand/v2"
	"testing"
)

// randomOperations runs the random load on s while disturb, if not nil, does
// its worst, and compares the trees in the end.
func randomOperations(t *testing.T, s *site, total int, disturb func(*chaos, *rand.Rand, <-chan struct{})) {
	t.Helper()
	r := newRandom(t)
	load := newChaos(s.mount, total)
	ended := load.start(r, 6)
	if disturb != nil {
		disturb(load, r, ended)
	}
	<-ended
	if load.failed != nil {
		t.Errorf("the application met %v", load.failed)
	}
	t.Logf("operations that succeeded: %v", load.counts)
	s.compare()
}

func TestRandomOperations(t *testing.T) {
	s := startSite(t)
	randomOperations(t, s, size(t, "CLOSEFS_OPERATIONS", 20_000, 200_000), nil)
}

func TestRandomOperationsKilled(t *testing.T) {
	s := startSite(t)
	total := size(t, "CLOSEFS_OPERATIONS", 20_000, 200_000)
	randomOperations(t, s, total, func(c *chaos, r *rand.Rand, ended <-chan struct{}) {
		killUnderLoad(t, s, c.gate, r, size(t, "CLOSEFS_KILLS", 10, 100), total, ended)
	})
}

func TestRandomOperationsServerRestarted(t *testing.T) {
	s := startSite(t)
	t.Cleanup(func() { ensureServer(t, s.host) })
	total := size(t, "CLOSEFS_OPERATIONS", 20_000, 200_000)
	randomOperations(t, s, total, func(c *chaos, r *rand.Rand, ended <-chan struct{}) {
		restartServer(t, s, c.gate, r, size(t, "CLOSEFS_RESTARTS", 10, 30), total, ended)
	})
}
