package preflight

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrHidden: what a dead mount covers cannot be reached without detaching it.
var ErrHidden = errors.New("cannot look beneath a dead mount")

// Beneath calls look where the dead mounts at the mountpoint do not exist: on a
// thread with a mount namespace of its own, in which they are detached. Everybody
// else goes on seeing ENOTCONN there. What look opens stays open, but mounts are
// held together by the namespace, which ends with look: see backing.OpenDetached.
// look must do its system calls itself, not in goroutines. It needs CAP_SYS_ADMIN:
// without it the error wraps ErrHidden.
func Beneath(mountpoint string, look func() error) error {
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("%w: new mount namespace: %w", ErrHidden, err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("%w: make mounts private: %w", ErrHidden, err)
		}
		if err := uncover(mountpoint); err != nil {
			return fmt.Errorf("%w: %w", ErrHidden, err)
		}
		return look()
	})
}

// uncover detaches dead mounts in the calling thread's namespace.
func uncover(mountpoint string) error {
	for {
		fstype, err := mountAt(mountpoint)
		if err != nil || fstype != FSType {
			return err
		}
		var st unix.Statfs_t
		if err := unix.Statfs(mountpoint, &st); err != unix.ENOTCONN {
			return fmt.Errorf("mountpoint %s: its mount is not dead", mountpoint)
		}
		if err := unix.Unmount(mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("detach %s: %w", mountpoint, err)
		}
	}
}

// onOwnThread calls f on a thread that ends afterwards, with what f changed of it.
func onOwnThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			result <- f() // never unlocked: the thread ends with this goroutine
			return
		}
		// The main thread cannot end, and its mounts are what others see as the
		// process's. While it is held here, f gets another one.
		defer runtime.UnlockOSThread()
		result <- onOwnThread(f)
	}()
	return <-result
}
