package dir

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"closefs/replicate"
	"closefs/replicate/staging"
)

// pathChunk bounds what is resolved by one openat2: a path may be longer than
// PATH_MAX, since whoever made the tree may have walked down in it.
const pathChunk = 3000

const resolveFlags = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// open opens path with flags, following no symlink at all. The error is an errno.
func (t *Target) open(path string, flags int) (int, error) {
	at := t.root.FD()
	for {
		head, rest := path, ""
		if len(path) > pathChunk {
			i := strings.LastIndexByte(path[:pathChunk], '/')
			if i < 0 {
				return -1, unix.ENAMETOOLONG
			}
			head, rest = path[:i], path[i+1:]
		}
		fl := flags
		if rest != "" {
			fl = unix.O_PATH | unix.O_DIRECTORY
		}
		fd, err := openBeneath(at, head, fl)
		if at != t.root.FD() {
			unix.Close(at)
		}
		if err != nil || rest == "" {
			return fd, err
		}
		at, path = fd, rest
	}
}

func openBeneath(at int, path string, flags int) (int, error) {
	if path == "" {
		path = "."
	}
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolveFlags}
	for {
		fd, err := unix.Openat2(at, path, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// parent opens the directory that holds path, for *at calls on the name in it.
// It is ErrNotExist if that, or anything above it, is no directory.
func (t *Target) parent(path string) (fd int, name string, err error) {
	if path == "" {
		return -1, "", fmt.Errorf("%w: it is the target's root", replicate.ErrUnsupported)
	}
	up, name := staging.Split(path)
	fd, err = t.open(up, unix.O_PATH|unix.O_DIRECTORY)
	return fd, name, onTheWay(err)
}

// onTheWay gives an errno of resolving a parent its meaning: whatever is there
// that is no directory, the path does not exist.
func onTheWay(err error) error {
	if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
		return fmt.Errorf("%w: %w", replicate.ErrNotExist, err)
	}
	return err
}

// entry opens path itself, whatever it is, as O_PATH.
func (t *Target) entry(path string) (int, error) {
	fd, err := t.open(path, unix.O_PATH|unix.O_NOFOLLOW)
	return fd, onTheWay(err)
}

// procPath names an open descriptor where a call takes only paths. Following it
// leads to the open inode itself, even if that is a symlink.
func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// syncDir makes what was renamed in the directory fd (O_PATH) durable. A
// directory that the account may not read cannot be synced by it.
func syncDir(fd int) error {
	dir, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.EACCES {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	// Some network filesystems have nothing to sync in a directory and say EINVAL.
	if err := unix.Fsync(dir); err != nil && err != unix.EINVAL && err != unix.ENOTSUP {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
