package daemon

import "golang.org/x/sys/unix"

// raiseLimits allows as many open files as the administrator permits, and takes
// the umask away: the kernel has applied the caller's already.
func raiseLimits() error {
	unix.Umask(0)
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
}
