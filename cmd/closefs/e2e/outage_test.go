package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
)

// ensureServer has the sshd of s run, whether a test left it running or not.
func ensureServer(t *testing.T, s secondary) {
	t.Helper()
	if c, err := net.Dial("tcp", net.JoinHostPort(s.address, "22")); err == nil {
		c.Close()
		return
	}
	world.lab.do(t, "sshd-start", s)
}

// TestFiftyClosesWhileAway: fifty closes of a file while the secondary is away
// are one transfer when it is back, and a file that came and went is none.
func TestFiftyClosesWhileAway(t *testing.T) {
	s := newSite(t)
	listen := freeAddress(t)
	s.flags = append(s.flags, "--listen", listen)
	s.start()
	must(t, write(s.path("a"), "before"))
	s.compare()
	before := shipped(t, listen)
	world.lab.do(t, "sshd-kill", s.host)
	t.Cleanup(func() { ensureServer(t, s.host) })
	for i := range 50 {
		must(t, write(s.path("a"), fmt.Sprint("close number ", i)), write(s.path("passing"), "soon gone"), os.Remove(s.path("passing")))
	}
	world.lab.do(t, "sshd-start", s.host)
	s.compare()
	if n := shipped(t, listen) - before; n != 1 {
		t.Errorf("%v files were shipped for fifty closes of one, want 1", n)
	}
}

// TestLinkCut has the secondary unreachable without a word: nobody refuses or
// resets a connection.
func TestLinkCut(t *testing.T) {
	s := startSite(t)
	must(t, write(s.path("a"), "before"))
	s.compare()
	world.lab.do(t, "cut", s.host)
	mended := false
	t.Cleanup(func() {
		if !mended {
			world.lab.do(t, "mend", s.host)
		}
	})
	for i := range 100 {
		must(t, write(s.path(fmt.Sprintf("f%d", i)), "while the link is cut"))
	}
	world.lab.do(t, "mend", s.host)
	mended = true
	s.compare()
}

// TestServerRestartedUnderLoad: sshd dies and comes back ten times while an
// application works; nothing is missing, and nothing torn was ever visible.
func TestServerRestartedUnderLoad(t *testing.T) {
	s := startSite(t)
	r := newRandom(t)
	each := size(t, "CLOSEFS_UPLOADS", 500, 5000)
	load := newUploads(s.mount, 4, each)
	watcher := watch(t, s.target, nil)
	t.Cleanup(func() { ensureServer(t, s.host) })
	restartServer(t, s, load.gate, r, size(t, "CLOSEFS_RESTARTS", 10, 30), 4*each, load.start(r))
	s.compare()
	watcher.finish(t)
	load.check(t, s.target)
}

// freeAddress is a loopback address that nothing listens on at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// shipped is closefs_target_shipped_files_total of the only target.
func shipped(t *testing.T, listen string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + listen + "/metrics")
	must(t, err)
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok && strings.HasPrefix(name, "closefs_target_shipped_files_total{") {
			n, err := strconv.ParseFloat(value, 64)
			must(t, err)
			return n
		}
	}
	t.Fatal("no closefs_target_shipped_files_total")
	return 0
}
