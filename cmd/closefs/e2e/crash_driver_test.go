package e2e

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// moments returns n numbers of operations, ascending, at which a disturbance
// is to come while total operations are done.
func moments(r *rand.Rand, n, total int) []int64 {
	at := make([]int64, n)
	for i := range at {
		at[i] = 1 + r.Int64N(int64(total)*9/10)
	}
	slices.Sort(at)
	return at
}

// killUnderLoad kills the site's daemon n times while a load of total
// operations runs behind g, and brings it back each time; every third time it
// kills the new one as well, at a random moment of its start.
func killUnderLoad(t *testing.T, s *site, g *gate, r *rand.Rand, n, total int, ended <-chan struct{}) {
	t.Helper()
	// What meets the dead mount fails and does not count, so that the load ends
	// before it has counted to total.
	for i, at := range moments(r, n, total/2) {
		if !g.await(at, ended) {
			t.Fatalf("the load ended after %d operations, before kill %d", g.count.Load(), i)
		}
		g.down.Store(true)
		s.daemon.kill(t)
		g.hold(func() {
			if i%3 == 2 {
				s.killWhileStarting(r)
			}
			s.start()
			g.down.Store(false)
		})
	}
	<-ended
}

// restartServer kills the secondary's sshd and starts it again, n times, while
// a load of total operations runs behind g.
func restartServer(t *testing.T, s *site, g *gate, r *rand.Rand, n, total int, ended <-chan struct{}) {
	t.Helper()
	for i, at := range moments(r, n, total) {
		if !g.await(at, ended) {
			t.Fatalf("the load ended after %d operations, before restart %d", g.count.Load(), i)
		}
		world.lab.do(t, "sshd-kill", s.host)
		world.lab.do(t, "sshd-start", s.host)
	}
	<-ended
}
