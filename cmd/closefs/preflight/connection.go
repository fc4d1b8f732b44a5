package preflight

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Connection is the kernel's side of a FUSE mount, by its number below
// /sys/fs/fuse/connections (Documentation/filesystems/fuse.rst, "Control filesystem").
type Connection uint32

// FindConnection tells which connection serves the mount at path.
func FindConnection(path string) (Connection, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, fmt.Errorf("find the FUSE connection of %s: %w", path, err)
	}
	return Connection(unix.Minor(st.Dev)), nil
}

// Abort cuts the connection: every request, under way or new, fails, and the
// serving loop ends.
func (c Connection) Abort() error {
	file := fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", c)
	if err := os.WriteFile(file, []byte("1"), 0); err != nil {
		return fmt.Errorf("abort the FUSE connection: %w", err)
	}
	return nil
}
