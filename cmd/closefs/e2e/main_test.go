package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What a run has is named after its process, below basePrefix, so that the next
// run finds what one that was killed left behind.
const basePrefix = "/var/tmp/closefs-e2e-"

// world is what all tests of this run share.
var world struct {
	base   string // directory of this run
	binary string // the closefs program
	lab    *lab   // nil without root
}

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	if os.Getuid() != 0 {
		fmt.Println("e2e: not root, no test can run")
		return m.Run()
	}
	if err := sweepEarlierRuns(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	world.base = basePrefix + strconv.Itoa(os.Getpid())
	defer sweep(world.base)
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

// prepare builds the program and brings the lab up.
func prepare() error {
	if err := os.MkdirAll(filepath.Join(world.base, "tmp"), 0o755); err != nil {
		return err
	}
	os.Setenv("TMPDIR", filepath.Join(world.base, "tmp"))
	if err := findBinary(); err != nil {
		return err
	}
	var err error
	world.lab, err = labUp(filepath.Base(world.base), 2)
	return err
}

// findBinary takes the program that CLOSEFS_BINARY names, or builds it.
func findBinary() error {
	if world.binary = os.Getenv("CLOSEFS_BINARY"); world.binary != "" {
		_, err := os.Stat(world.binary)
		return err
	}
	world.binary = filepath.Join(world.base, "closefs")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", world.binary, "closefs/cmd/closefs").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build closefs: %w\n%s", err, out)
	}
	return nil
}

// sweepEarlierRuns removes what runs left that are no more.
func sweepEarlierRuns() error {
	bases, err := filepath.Glob(basePrefix + "*")
	if err != nil {
		return err
	}
	for _, base := range bases {
		pid, err := strconv.Atoi(strings.TrimPrefix(base, basePrefix))
		if err == nil && syscall.Kill(pid, 0) != nil {
			sweep(base)
		}
	}
	return nil
}

// sweep ends the daemons that the run at base recorded, detaches its mounts,
// takes its lab down and removes its files.
func sweep(base string) {
	for _, d := range recordedDaemons(base) {
		d.kill()
	}
	for _, m := range mountsBelow(base) {
		if err := detach(m); err != nil {
			fmt.Fprintf(os.Stderr, "e2e: unmount %s: %v\n", m, err)
		}
	}
	if err := labDown(filepath.Base(base)); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	sockets, _ := filepath.Glob("/run/closefs/" + strings.ReplaceAll(socketPrefix(base), `\`, `\\`) + "*")
	for _, s := range sockets {
		os.Remove(s)
	}
	if err := os.RemoveAll(base); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
}

// detach takes a mount away from everybody. The kernel is told first to answer
// what a daemon owes (umount2(2), MNT_FORCE): one that was killed while it
// waited for itself would never end, and nor would whoever waits for it.
func detach(mountpoint string) error {
	unix.Unmount(mountpoint, unix.MNT_FORCE)
	if err := unix.Unmount(mountpoint, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
		return err
	}
	return nil
}

// socketPrefix is how the names of control sockets of mounts below base begin:
// systemd's path escaping, as far as base needs it.
func socketPrefix(base string) string {
	escaped := strings.ReplaceAll(strings.Trim(base, "/"), "-", `\x2d`)
	return strings.ReplaceAll(escaped, "/", "-") + "-"
}

// mountsBelow lists the mountpoints below base, the innermost first.
func mountsBelow(base string) []string {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var found []string
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], base+"/") {
			found = append([]string{f[4]}, found...)
		}
	}
	return found
}
