package preflight

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Resolve makes a path absolute and free of symlinks, as far as it exists and can
// be looked at: its last element may be missing, or a mount whose daemon is dead.
func Resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", path, err)
	}
	return realPath(abs), nil
}

// answerTime is how long a mount may take to answer before it counts as hung.
const answerTime = 5 * time.Second

// Answers asks the filesystem at path, not a cache, for a sign of life: nil, or
// ENOTCONN if its daemon is dead, or ETIMEDOUT. statfs(2) always reaches the
// daemon of a FUSE mount; stat(2) may be answered from the kernel's cache.
func Answers(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answer := make(chan error, 1)
	go func() {
		var st unix.Statfs_t
		answer <- unix.Statfs(path, &st)
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return unix.ETIMEDOUT
	}
}

// Dead says whether what a killed closefs left is mounted at the mountpoint. It
// reports an error if a living one is there, or a dead mount that is not closefs's.
func Dead(ctx context.Context, mountpoint string) (bool, error) {
	fstype, err := mountAt(mountpoint)
	if err != nil {
		return false, err
	}
	err = Answers(ctx, mountpoint)
	switch {
	case fstype == FSType && err == nil:
		return false, fmt.Errorf("mountpoint %s: is already a closefs mount", mountpoint)
	case fstype == FSType && errors.Is(err, unix.ETIMEDOUT):
		return false, fmt.Errorf("mountpoint %s: is a closefs mount that does not answer; end its process first", mountpoint)
	case !errors.Is(err, unix.ENOTCONN):
		return false, nil // whatever else is wrong with it, later checks say so
	case fstype != FSType:
		return false, fmt.Errorf("mountpoint %s: a dead mount of type %q is in the way; unmount it first", mountpoint, fstype)
	}
	return true, nil
}

// ClearDead detaches what killed closefs left mounted at the mountpoint. Processes
// that still hold something of it keep their ENOTCONN.
func ClearDead(ctx context.Context, mountpoint string, log *slog.Logger) error {
	return clearDead(ctx, mountpoint, log, 0)
}

// ClearAllButOne is ClearDead that leaves the lowest dead mount, which hides what
// is below. There are several where closefs was killed while it took one over.
func ClearAllButOne(ctx context.Context, mountpoint string, log *slog.Logger) error {
	return clearDead(ctx, mountpoint, log, 1)
}

func clearDead(ctx context.Context, mountpoint string, log *slog.Logger, leave int) error {
	for {
		dead, err := Dead(ctx, mountpoint)
		if err != nil || !dead {
			return err
		}
		if n, err := ours(mountpoint); err != nil || n <= leave {
			return err
		}
		log.Warn("detaching the mount that a killed closefs left", "mountpoint", mountpoint)
		if err := Detach(mountpoint); err != nil {
			return err
		}
	}
}

// ours counts the closefs mounts on top at the mountpoint.
func ours(mountpoint string) (n int, err error) {
	stack, err := mountsAt(mountpoint)
	for n < len(stack) && stack[len(stack)-1-n].fstype == FSType {
		n++
	}
	return n, err
}

// Detach unmounts lazily (umount2(2), MNT_DETACH): the mount is gone from the
// tree at once; files that are open stay usable as long as its daemon lives.
func Detach(mountpoint string) error { return detach(mountpoint, 0) }

// Cut is Detach that, done by root, also ends the connection between kernel and
// daemon (MNT_FORCE): files that are open are of no use any more, and the serving
// loop ends. It reports whether it has.
func Cut(mountpoint string) (cut bool, err error) {
	return os.Geteuid() == 0, detach(mountpoint, unix.MNT_FORCE)
}

func detach(mountpoint string, flags int) error {
	if os.Geteuid() == 0 {
		if err := unix.Unmount(mountpoint, flags|unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("detach %s: %w", mountpoint, err)
		}
		return nil
	}
	out, err := exec.Command("fusermount3", "-u", "-z", "--", mountpoint).CombinedOutput()
	if err != nil {
		return fmt.Errorf("detach %s: %w: %s", mountpoint, err, strings.TrimSpace(string(out)))
	}
	return nil
}
