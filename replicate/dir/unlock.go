package dir

import (
	"errors"

	"golang.org/x/sys/unix"

	"closefs/replicate/staging"
)

// withAccess runs f, and once more with the directories that lead to paths made
// passable and writable for the account if it may own them but their modes, which
// are the primary's, shut it out. Modes are put back at once. A crash meanwhile
// leaves such a directory with u+wx added, which a reconcile mends.
//
// With self, the directories at paths are opened up themselves: one that is read
// has to be readable, and one that moves to another parent writable, as its ".."
// changes.
func (t *Target) withAccess(f func() error, self bool, paths ...string) error {
	err := f()
	if t.asRoot || !errors.Is(err, unix.EACCES) {
		return err
	}
	t.unlocking.Lock()
	defer t.unlocking.Unlock()
	var opened []unlocked
	defer func() {
		for i := len(opened) - 1; i >= 0; i-- {
			opened[i].restore()
		}
	}()
	for _, path := range paths {
		opened = t.unlockWay(path, self, opened)
	}
	if len(opened) == 0 {
		return err
	}
	return f()
}

// unlocked is a directory whose mode has been widened.
type unlocked struct {
	fd   int // O_PATH: stays with the directory when it is renamed
	mode uint32
}

func (u unlocked) restore() {
	_ = unix.Chmod(procPath(u.fd), u.mode)
	unix.Close(u.fd)
}

// unlockWay widens what is too narrow on the way to path and appends it to opened.
func (t *Target) unlockWay(path string, self bool, opened []unlocked) []unlocked {
	up, _ := staging.Split(path)
	for i := 0; i <= len(up); i++ {
		if i == len(up) || i == 0 || up[i] == '/' {
			want := uint32(unix.S_IXUSR)
			if i == len(up) {
				want |= unix.S_IWUSR
			}
			opened = t.widen(up[:i], want, opened)
		}
	}
	if self {
		opened = t.widen(path, unix.S_IRWXU, opened)
	}
	return opened
}

// widen adds the bits of want to the mode of directory path if it lacks them.
func (t *Target) widen(path string, want uint32, opened []unlocked) []unlocked {
	fd, err := t.open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return opened
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Mode&want != want &&
		unix.Chmod(procPath(fd), st.Mode&0o7777|want) == nil {
		return append(opened, unlocked{fd: fd, mode: st.Mode & 0o7777})
	}
	unix.Close(fd)
	return opened
}
