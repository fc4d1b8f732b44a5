package fs

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// creds are the daemon's own.
type creds struct {
	uid, gid   uint32
	privileged bool // may act as somebody else
	resource   bool // has CAP_SYS_RESOURCE (closefs gives it up, whoever embeds us may not)
}

// capSets are the capability sets of a thread.
type capSets [2]unix.CapUserData

// The capabilities that setfsuid(2) takes from the effective set and that a
// request still needs: the kernel has checked the caller's permissions,
// supplementary groups included, before it sent the request, and has taken
// sgid away where the caller is not of the group (so FSETID keeps what is left).
const keptCaps = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_FSETID | 1<<unix.CAP_MKNOD

const resourceCap = 1 << unix.CAP_SYS_RESOURCE

func processCreds() creds {
	c := creds{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	caps, err := threadCaps()
	const need = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	c.privileged = err == nil && caps[0].Effective&need == need
	c.resource = err == nil && caps[0].Effective&resourceCap != 0
	return c
}

func threadCaps() (caps capSets, err error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	err = unix.Capget(&hdr, &caps[0])
	return caps, err
}

func (caps *capSets) apply() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capset(&hdr, &caps[0])
}

// as runs fn, which makes an inode, with the caller's user and group on the
// filesystem, so that owner, group (in setgid directories the directory's) and
// quota are right from the beginning. Only the calling thread changes.
func (c *creds) as(caller *fuse.Caller, fn func() error) error {
	if !c.privileged || caller.Uid == c.uid && caller.Gid == c.gid {
		return fn()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := threadCaps()
	if err != nil {
		return err
	}
	defer c.restore(&own)
	if err := c.become(caller); err != nil {
		return err
	}
	caps, err := threadCaps()
	if err != nil {
		return err
	}
	caps[0].Effective |= keptCaps & own[0].Effective
	if err := caps.apply(); err != nil {
		return err
	}
	return fn()
}

// asWriter runs fn, which hands the calling thread's credentials to the kernel
// for writes to come (passthrough), with the caller's user and group on the
// filesystem and without CAP_SYS_RESOURCE: what a filesystem keeps in reserve for
// root, or for that capability, is then out of reach for others through us too.
// setfsuid(2) takes no capability that the kernel asks of fn.
func (c *creds) asWriter(caller *fuse.Caller, fn func() error) error {
	if !c.privileged || caller.Uid == c.uid && caller.Gid == c.gid {
		return fn()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer c.resume()
	if err := c.become(caller); err != nil {
		return err
	}
	if !c.resource {
		return fn()
	}
	return withoutResource(fn)
}

// withoutResource runs fn while the calling thread does not have CAP_SYS_RESOURCE.
func withoutResource(fn func() error) error {
	own, err := threadCaps()
	if err != nil {
		return err
	}
	less := own
	less[0].Effective &^= resourceCap
	if err := less.apply(); err != nil {
		return err
	}
	return errors.Join(fn(), own.apply())
}

// become changes the calling thread's user and group on the filesystem.
func (c *creds) become(caller *fuse.Caller) error {
	if err := unix.Setfsgid(int(caller.Gid)); err != nil {
		return err
	}
	return unix.Setfsuid(int(caller.Uid))
}

// restore gives the thread the daemon's credentials back.
func (c *creds) restore(own *capSets) {
	c.resume()
	if err := own.apply(); err != nil {
		panic(fmt.Sprintf("taking back the daemon's capabilities: %v", err))
	}
}

// resume makes the thread the daemon's on the filesystem again, with the
// capabilities that setfsuid(2) took. The kernel allows that to every thread whose
// real user it is; if it ever refused, the thread must not serve anybody else.
func (c *creds) resume() {
	err := unix.Setfsuid(int(c.uid))
	if err == nil {
		err = unix.Setfsgid(int(c.gid))
	}
	if err != nil {
		panic(fmt.Sprintf("taking back the daemon's credentials: %v", err))
	}
}
