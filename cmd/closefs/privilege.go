package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// dropResource gives up CAP_SYS_RESOURCE for good: whoever has it writes past
// quotas (quotactl(2)) and into what a filesystem keeps in reserve, and what
// applications write is written with the daemon's credentials. All threads have
// to lose it, which is done by taking it from the bounding set and starting this
// program again in the same process; it returns there, or at once if there is
// nothing to give up.
func dropResource() error {
	has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	if err != nil || has == 0 || os.Geteuid() != 0 {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("give up CAP_SYS_RESOURCE: %w", err)
	}
	runtime.LockOSThread() // the bounding set is the thread's, and execve(2) keeps its
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_RESOURCE, 0, 0, 0); err != nil {
		return nil // a container that lets us drop nothing has taken it already
	}
	return fmt.Errorf("give up CAP_SYS_RESOURCE: %w", unix.Exec(self, os.Args, os.Environ()))
}
