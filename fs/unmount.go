package fs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A BusyError says who keeps a mount from being unmounted.
type BusyError struct {
	Mountpoint string
	Processes  []Process // those that could be seen
}

// A Process uses files of a mount.
type Process struct {
	PID  int
	Name string // comm
	Uses string // what: a path, or "cwd", "root", "mapping", "mount namespace"
}

func (e *BusyError) Error() string {
	if len(e.Processes) == 0 {
		return fmt.Sprintf("unmount %s: busy, by no process that can be seen", e.Mountpoint)
	}
	var who []string
	for _, p := range e.Processes {
		who = append(who, fmt.Sprintf("%s[%d] (%s)", p.Name, p.PID, p.Uses))
	}
	return fmt.Sprintf("unmount %s: busy: %s", e.Mountpoint, strings.Join(who, ", "))
}

// Bounds of the wait between two attempts to unmount.
const (
	firstAttempt = 5 * time.Millisecond
	lastAttempt  = 250 * time.Millisecond
)

// Unmount unmounts and returns when every change is in the journal. While files
// are open it waits; when ctx ends before they are closed, it returns a
// *BusyError and the filesystem stays mounted. A mount namespace with a copy of
// the mount, made while it was mounted and cut off from changes, keeps it too:
// then it may be gone from here when the *BusyError says so.
func (f *FS) Unmount(ctx context.Context) error {
	major, minor, deviceErr := mountDevice(f.mountpoint)
	for wait := firstAttempt; ; wait = min(2*wait, lastAttempt) {
		select {
		case <-f.served:
			return nil
		default:
		}
		err := f.tryUnmount()
		if err == nil || err == unix.EINVAL { // EINVAL: not mounted here any more
			select {
			case <-f.served:
				return nil
			case <-ctx.Done():
				return f.busy(major, minor, deviceErr)
			}
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmount %s: %w", f.mountpoint, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-f.served:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return f.busy(major, minor, deviceErr)
		}
	}
}

// tryUnmount unmounts, or fails with EBUSY.
func (f *FS) tryUnmount() error {
	err := unix.Unmount(f.mountpoint, unix.UMOUNT_NOFOLLOW)
	if err != unix.EPERM {
		return err
	}
	return fusermount("-u", f.mountpoint)
}

// fusermount unmounts for an ordinary user. The program tells no error codes:
// what it says about a busy mount is turned into EBUSY.
func fusermount(flag, mountpoint string) error {
	cmd := exec.Command("fusermount3", flag, "--", mountpoint)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if strings.Contains(string(out), "busy") {
		return unix.EBUSY
	}
	return fmt.Errorf("fusermount3 %s: %w: %s", flag, err, strings.TrimSpace(string(out)))
}

// busy finds the processes that use the mount, which is the device unless err.
func (f *FS) busy(major, minor uint32, err error) *BusyError {
	e := &BusyError{Mountpoint: f.mountpoint}
	if err != nil {
		f.log.Warn("finding who uses the mount", "error", err)
		return e
	}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range procs {
		if uses := processUses(dir, major, minor); uses != "" {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			name, _ := os.ReadFile(dir + "/comm")
			e.Processes = append(e.Processes, Process{PID: pid, Name: strings.TrimSpace(string(name)), Uses: uses})
		}
	}
	slices.SortFunc(e.Processes, func(a, b Process) int { return a.PID - b.PID })
	return e
}

// mountDevice is the device number of what is mounted last at a path. It asks
// the kernel's table and not the mount, which may not answer.
func mountDevice(mountpoint string) (major, minor uint32, err error) {
	abs, err := filepath.Abs(mountpoint)
	if err != nil {
		return 0, 0, err
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(real, filepath.Base(abs))
	}
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return 0, 0, err
	}
	defer table.Close()
	found := false
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		// proc(5): id, parent, major:minor, root, mount point, …
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && unescapeMount(fields[4]) == abs {
			if _, err := fmt.Sscanf(fields[2], "%d:%d", &major, &minor); err == nil {
				found = true
			}
		}
	}
	if err := lines.Err(); err != nil {
		return 0, 0, err
	}
	if !found {
		return 0, 0, fmt.Errorf("%s is no mountpoint", abs)
	}
	return major, minor, nil
}

// unescapeMount undoes the octal escapes of space, tab, newline and backslash.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// processUses tells by what the process of /proc/PID holds the device, or "".
func processUses(proc string, major, minor uint32) string {
	for _, what := range []string{"cwd", "root"} {
		if onDevice(proc+"/"+what, major, minor) {
			return what
		}
	}
	fds, _ := os.ReadDir(proc + "/fd")
	for _, fd := range fds {
		link := proc + "/fd/" + fd.Name()
		if onDevice(link, major, minor) {
			target, _ := os.Readlink(link)
			return target
		}
	}
	maps, err := os.ReadFile(proc + "/maps")
	if err == nil && strings.Contains(string(maps), fmt.Sprintf(" %02x:%02x ", major, minor)) {
		return "mapping"
	}
	mounts, err := os.ReadFile(proc + "/mountinfo")
	if err == nil && !sameNamespace(proc) && strings.Contains(string(mounts), fmt.Sprintf(" %d:%d ", major, minor)) {
		return "mount namespace"
	}
	return ""
}

// sameNamespace tells whether the process sees the same mounts as we do.
func sameNamespace(proc string) bool {
	theirs, err := os.Readlink(proc + "/ns/mnt")
	ours, ourErr := os.Readlink("/proc/self/ns/mnt")
	return err == nil && ourErr == nil && theirs == ours
}

// onDevice tells whether path, followed, is on the device, without asking the
// filesystem that it is on.
func onDevice(path string, major, minor uint32) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Dev_major == major && st.Dev_minor == minor
}
