package journal

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

const childEnv = "CLOSEFS_JOURNAL_CHILD"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		fmt.Fprintln(os.Stderr, appendForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// appendForever appends from four goroutines and says on standard output which
// records have been acknowledged.
func appendForever(dir string) error {
	j, err := OpenDir(dir, Options{SegmentSize: 64 << 10, MaxSize: 1 << 30})
	if err != nil {
		return err
	}
	fmt.Printf("0 unclean=%v\n", j.Unclean())
	failed := make(chan error)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				path := fmt.Sprintf("%d/%0*d", w, i%300, i)
				pos, err := j.Append(&Record{Kind: Open, ID: FileID(i%50 + 1), Path: path})
				if err != nil {
					failed <- err
					return
				}
				fmt.Printf("%d %s\n", pos, path)
			}
		}()
	}
	return <-failed
}

// A process that is killed with -9 at any moment loses nothing that Append had
// returned for, and its successor goes on.
func TestKill9(t *testing.T) {
	dir := t.TempDir()
	acked := map[Position]string{}
	for round := range rounds(30) {
		killChild(t, dir, acked, 1+rand.IntN(4000), round > 0)
	}
	j := mustOpen(t, dir, Options{SegmentSize: 64 << 10})
	if !j.Unclean() || j.PowerLost() {
		t.Fatalf("unclean %v, power lost %v", j.Unclean(), j.PowerLost())
	}
	for _, r := range readAll(t, j, 0) {
		if path, ok := acked[r.Pos]; ok && path != r.Path {
			t.Fatalf("record %d is %q, acknowledged was %q", r.Pos, r.Path, path)
		}
		delete(acked, r.Pos)
	}
	if len(acked) > 0 {
		t.Fatalf("%d acknowledged records are missing", len(acked))
	}
}

// killChild starts a child on dir, reads that many acknowledgements, kills it
// and adds what it had acknowledged by then.
func killChild(t *testing.T, dir string, acked map[Position]string, after int, unclean bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer guard.Stop()
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if want := fmt.Sprintf("0 unclean=%v\n", unclean); first != want || err != nil {
		t.Errorf("child said %q, %v", first, err)
	}
	for n := 0; ; n++ {
		if n == after {
			cmd.Process.Kill()
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what follows the last newline was not acknowledged wholly
		}
		num, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		pos, err := strconv.ParseUint(num, 10, 64)
		if err != nil {
			t.Fatalf("child said %q", line)
		}
		if before, twice := acked[Position(pos)]; twice {
			t.Fatalf("position %d given out for %q and %q", pos, before, path)
		}
		acked[Position(pos)] = path
	}
	cmd.Wait()
}
