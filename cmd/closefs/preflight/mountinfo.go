package preflight

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// FSType is the type under which the kernel lists a closefs mount.
const FSType = "fuse.closefs"

// mountAt tells the type of the topmost mount at exactly this path, "" if it is
// no mountpoint. It reads proc_pid_mountinfo(5) of the calling thread, which does
// not touch the mount: a dead or hung one is listed like any other.
func mountAt(path string) (string, error) {
	stack, err := mountsAt(path)
	if err != nil || len(stack) == 0 {
		return "", err
	}
	return stack[len(stack)-1].fstype, nil
}

// mountsAt lists what is mounted at exactly this path, the topmost last.
func mountsAt(path string) ([]mounted, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	return mountStack(f, path)
}

// mounted is one line of mountinfo.
type mounted struct{ id, parent, fstype string }

// mountStack does not trust the order of the lines: what was put beneath another
// mount (move_mount(2), MOVE_MOUNT_BENEATH) is the younger one and may come later.
func mountStack(r io.Reader, path string) (stack []mounted, err error) {
	on := make(map[string]mounted) // by parent
	at := make(map[string]bool)    // ids
	var found []mounted
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		kind, _, _ := strings.Cut(after, " ")
		if ok && len(fields) >= 5 && fields[0] != fields[1] && unescape(fields[4]) == path {
			m := mounted{fields[0], fields[1], kind}
			found, on[m.parent], at[m.id] = append(found, m), m, true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	// There are several bottoms where a mount on a directory above hides some.
	for _, m := range found {
		if !at[m.parent] {
			stack = stack[:0]
			for ok := true; ok; m, ok = on[m.id] {
				stack = append(stack, m)
			}
		}
	}
	return stack, nil
}

// unescape undoes the kernel's \040 for space, tab, newline and backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Mounted says whether anything is mounted at exactly this path.
func Mounted(path string) (bool, error) {
	fstype, err := mountAt(path)
	return fstype != "", err
}
