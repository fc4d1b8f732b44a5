package fs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/journal"
)

// Flags of move_mount(2) that x/sys/unix does not have (linux/mount.h).
const (
	moveToDescriptor = 0x40  // MOVE_MOUNT_T_EMPTY_PATH
	moveBeneath      = 0x200 // MOVE_MOUNT_BENEATH, since Linux 6.5
)

// takeOver mounts in place of a dead mount. Nobody ever sees what both cover: the
// new mount is served before it is anywhere, then put beneath the dead one, and
// that is taken off. The kernel has been answered before (INIT). Nothing else is
// asked of the mount here, because a daemon that is killed while it waits for its
// own answer cannot die, nor can its mount.
func (f *FS) takeOver(opts *fuse.MountOptions) error {
	dead, err := openDead(f.mountpoint)
	if err != nil {
		return err
	}
	defer unix.Close(dead)
	m, err := newFloating(opts)
	if err != nil {
		if err := f.uncover(dead, err); err != nil {
			return err
		}
		return f.mountAnew(opts)
	}
	defer m.close()
	opts.DirectMountStrict = false // else go-fuse mounts, instead of serving m
	if f.server, err = fuse.NewServer(f.handler(), fmt.Sprintf("/dev/fd/%d", m.device), opts); err != nil {
		return err
	}
	f.startServing()
	return f.orUndo(f.replace(dead, m), m.abandon)
}

// replace puts m where the dead mount is.
func (f *FS) replace(dead int, m *floating) error {
	if err := m.move(dead, moveBeneath); err != nil {
		return f.uncoverFor(m, dead, err)
	}
	// A crash here leaves two dead mounts. The next daemon takes the upper one off.
	if err := f.detachDead(dead); err != nil {
		return err
	}
	f.log.Info("took over the mountpoint from a killed closefs", "mountpoint", f.mountpoint)
	return nil
}

// uncoverFor is replace where nothing can be put beneath the dead mount.
func (f *FS) uncoverFor(m *floating, dead int, why error) error {
	if err := f.uncover(dead, why); err != nil {
		return err
	}
	place, err := unix.Open(f.mountpoint, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: f.mountpoint, Err: err}
	}
	defer unix.Close(place)
	return m.move(place, 0)
}

// uncover takes the dead mount off before there is another. The Gap comes first:
// wherever a crash comes, it is in the journal before a change can go unseen.
func (f *FS) uncover(dead int, why error) error {
	f.log.Warn("changes may go unseen until the mount is there: every target is reconciled", "reason", why)
	f.record(&journal.Record{Kind: journal.Gap})
	return f.detachDead(dead)
}

// openDead opens the root of a dead mount, so that no other can be mistaken for it.
func openDead(mountpoint string) (int, error) {
	fd, err := unix.Open(mountpoint, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: mountpoint, Err: err}
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != unix.ENOTCONN {
		unix.Close(fd)
		return -1, fmt.Errorf("%s is not a dead mount", mountpoint)
	}
	return fd, nil
}

// detachDead leaves a mount alone that somebody else has taken off already.
// Processes that hold something of it keep it.
func (f *FS) detachDead(dead int) error {
	err := unix.Unmount(procPath(dead), unix.MNT_DETACH)
	switch {
	case err == unix.EPERM:
		return fusermount("-uz", f.mountpoint)
	case err != nil && err != unix.EINVAL:
		return fmt.Errorf("detach the dead mount %s: %w", f.mountpoint, err)
	}
	return nil
}

// A floating mount is attached nowhere: closing it ends it.
type floating struct {
	fd       int  // of the mount; -1: closed
	device   int  // of /dev/fuse; go-fuse's as soon as it serves it
	attached bool // it has a place: closing fd does not end it any more
}

// newFloating makes a mount by the calls of Linux 5.2 (fsopen(2)) that mount(2)
// is made of.
func newFloating(opts *fuse.MountOptions) (*floating, error) {
	if !opts.DirectMountStrict {
		return nil, fmt.Errorf("mount without fusermount3: %w", unix.EPERM)
	}
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	fd, err := fuseMount(device, opts)
	if err != nil {
		unix.Close(device)
		return nil, err
	}
	return &floating{fd: fd, device: device}, nil
}

func fuseMount(device int, opts *fuse.MountOptions) (int, error) {
	ctx, err := unix.Fsopen("fuse", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(ctx)
	for _, p := range fuseParameters(device, opts) {
		name, value, valued := strings.Cut(p, "=")
		if valued {
			err = unix.FsconfigSetString(ctx, name, value)
		} else {
			err = unix.FsconfigSetFlag(ctx, name)
		}
		if err != nil {
			return -1, fmt.Errorf("fsconfig %s: %w", p, err)
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, fmt.Errorf("fsconfig create: %w", err)
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, mountAttributes(opts.DirectMountFlags))
	if err != nil {
		return -1, fmt.Errorf("fsmount: %w", err)
	}
	return fd, nil
}

// fuseParameters are those that go-fuse gives to mount(2), and the flags that
// are the superblock's.
func fuseParameters(device int, opts *fuse.MountOptions) []string {
	params := []string{
		"source=" + opts.FsName, "subtype=" + opts.Name, fmt.Sprintf("fd=%d", device),
		fmt.Sprintf("rootmode=%o", unix.S_IFDIR), fmt.Sprintf("user_id=%d", os.Geteuid()),
		fmt.Sprintf("group_id=%d", os.Getegid()), fmt.Sprintf("max_read=%d", opts.MaxWrite),
	}
	if opts.AllowOther {
		params = append(params, "allow_other")
	}
	for flag, name := range map[uintptr]string{unix.MS_RDONLY: "ro", unix.MS_SYNCHRONOUS: "sync", unix.MS_DIRSYNC: "dirsync"} {
		if opts.DirectMountFlags&flag != 0 {
			params = append(params, name)
		}
	}
	return append(params, opts.Options...)
}

// mountAttributes are the flags of mount(2) that are the mount's own.
func mountAttributes(flags uintptr) (attrs int) {
	for flag, attr := range map[uintptr]int{
		unix.MS_RDONLY: unix.MOUNT_ATTR_RDONLY, unix.MS_NOSUID: unix.MOUNT_ATTR_NOSUID,
		unix.MS_NODEV: unix.MOUNT_ATTR_NODEV, unix.MS_NOEXEC: unix.MOUNT_ATTR_NOEXEC,
		unix.MS_NOATIME: unix.MOUNT_ATTR_NOATIME, unix.MS_NODIRATIME: unix.MOUNT_ATTR_NODIRATIME,
		unix.MS_STRICTATIME: unix.MOUNT_ATTR_STRICTATIME,
	} {
		if flags&flag != 0 {
			attrs |= attr
		}
	}
	return attrs
}

// move attaches the mount to, or beneath, what is open as to.
func (m *floating) move(to, flags int) error {
	flags |= unix.MOVE_MOUNT_F_EMPTY_PATH | moveToDescriptor
	if err := unix.MoveMount(m.fd, "", to, "", flags); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	m.attached = true
	return nil
}

// abandon ends the mount. It is left where it is if the dead one is still above:
// then it dies with the process, and what is below stays unseen.
func (m *floating) abandon() error {
	if m.attached {
		return errors.New("the new mount stays beneath the dead one")
	}
	return m.close()
}

func (m *floating) close() error {
	if m.fd < 0 {
		return nil
	}
	fd := m.fd
	m.fd = -1
	return unix.Close(fd)
}
