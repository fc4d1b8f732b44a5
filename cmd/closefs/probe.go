package main

import (
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// probeCommand asks the filesystem at a path for a sign of life. The daemon runs
// it for /healthz: a thread of its own that waits for its own answer could not be
// killed together with those that would give it.
func probeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "probe PATH",
		Hidden: true,
		Args:   takes(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			var st unix.Statfs_t
			return unix.Statfs(args[0], &st)
		},
	}
}
