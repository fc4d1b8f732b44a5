package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// openTap makes the tap device name in the present network namespace. It lives
// as long as the file (Documentation/networking/tuntap.rst).
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("tap device %q: %w", name, err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make tap device %q: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// linkDown tells whether a write failed because the device is not up at the
// moment: such a frame is lost, and the link lives on.
func linkDown(err error) bool { return errors.Is(err, unix.EIO) }

// inNetns calls f on a thread that is in the network namespace of file ns.
func inNetns(ns string, f func() error) error {
	target, err := os.Open(ns)
	if err != nil {
		return err
	}
	defer target.Close()
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and with it the
		// namespace that it entered.
		runtime.LockOSThread()
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", ns, err)
			return
		}
		done <- f()
	}()
	return <-done
}
