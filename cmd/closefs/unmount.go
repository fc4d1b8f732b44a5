package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"closefs/cmd/closefs/control"
	"closefs/cmd/closefs/preflight"
)

func unmountCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unmount MOUNTPOINT",
		Short: "Unmount, ship what is pending, and end the daemon",
		Long: `Unmount and wait until the daemon has ended. If files are still open after 10
seconds, the mount stays as it is and the processes that hold it are named.
What a killed closefs left mounted is detached.`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			st, err := c.Status(cmd.Context())
			if errors.Is(err, control.ErrNotRunning) {
				return unmountDead(cmd.Context(), args[0], err)
			}
			if err != nil {
				return err
			}
			return unmount(cmd.Context(), c, st.PID)
		},
	}
}

// unmount returns when the daemon has ended, so that its state directory is free.
func unmount(ctx context.Context, c *control.Client, pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("unmount: daemon %d: %w", pid, err)
	}
	defer unix.Close(process)
	if err := c.Unmount(ctx); err != nil {
		return err
	}
	return waitExit(process)
}

// waitExit waits for the end of a process by its descriptor (pidfd_open(2)).
func waitExit(process int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// unmountDead detaches a mount without a daemon; notRunning if there is none.
func unmountDead(ctx context.Context, mountpoint string, notRunning error) error {
	path, err := preflight.Resolve(mountpoint)
	if err != nil {
		return err
	}
	if !errors.Is(preflight.Answers(ctx, path), unix.ENOTCONN) {
		return fmt.Errorf("%s is not mounted: %w", path, notRunning)
	}
	return preflight.ClearDead(ctx, path, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}
