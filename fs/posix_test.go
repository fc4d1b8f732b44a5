package fs

import (
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// notPOSIX are tests of the suite that a native filesystem fails too.
func notPOSIX() map[string]string {
	return map[string]string{
		"FcntlFlockLocksFile": "expects fcntl locks of one process to conflict with each other (POSIX: they do not; ext4 fails it too)",
	}
}

func TestPosix(t *testing.T) {
	modes(t, func(t *testing.T, mode rigOption) {
		for name, run := range posixtest.All {
			if notPOSIX()[name] != "" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				r := newRig(t, mode)
				run(t, r.mnt)
			})
		}
	})
}
