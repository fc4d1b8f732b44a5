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
// no mountpoint. It reads /proc/self/mountinfo (proc_pid_mountinfo(5)), which
// does not touch the mount: a dead or hung one is listed like any other.
func mountAt(path string) (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	return topMount(f, path)
}

func topMount(r io.Reader, path string) (fstype string, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		kind, _, _ := strings.Cut(after, " ")
		if ok && len(fields) >= 5 && unescape(fields[4]) == path {
			fstype = kind
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("list mounts: %w", err)
	}
	return fstype, nil
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
