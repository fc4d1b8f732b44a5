package fs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ErrNested says that the mountpoint is inside the backing directory: the mount
// would contain itself. (It may be the backing directory.)
var ErrNested = errors.New("the mountpoint is inside the backing directory")

// fsType is what findmnt and /proc/self/mountinfo show after "fuse.".
const fsType = "closefs"

// capabilities are asked of the kernel beyond go-fuse's own choice. umask and
// the clearing of suid bits are left to us (see newMode, clearSuid): the first
// for default ACLs, the second because the kernel would otherwise ask for
// security.capability before each write.
const capabilities = fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_DONT_MASK | fuse.CAP_HANDLE_KILLPRIV_V2 |
	fuse.CAP_SETXATTR_EXT | fuse.CAP_READDIRPLUS_AUTO

func (f *FS) mount() error {
	if err := checkNested(f.root.FD(), f.mountpoint, f.opts.TakeOver); err != nil {
		return err
	}
	opts, err := f.mountOptions()
	if err != nil {
		return err
	}
	if f.opts.TakeOver {
		return f.takeOver(opts)
	}
	return f.mountAnew(opts)
}

// mountAnew mounts by mount(2), or fusermount3 for an ordinary user. The kernel has
// got the answer to its INIT when NewServer returns. go-fuse's WaitMount is left
// out: it opens a file on the mount, and a daemon that is killed while it waits
// for its own answer cannot die, nor let go of its locks.
func (f *FS) mountAnew(opts *fuse.MountOptions) (err error) {
	if f.server, err = fuse.NewServer(f.handler(), f.mountpoint, opts); err != nil {
		return err
	}
	f.startServing()
	return nil
}

// startServing answers the kernel from now on.
func (f *FS) startServing() {
	f.choosePassthroughMode()
	f.watchAll()
	f.background.Add(1)
	go func() {
		defer f.background.Done()
		f.shipOpen()
	}()
	go f.serve()
}

// orUndo takes the mount back if err says that it is of no use.
func (f *FS) orUndo(err error, undo func() error) error {
	if err == nil {
		return nil
	}
	if stuck := undo(); stuck != nil {
		return errors.Join(err, stuck)
	}
	<-f.served
	return err
}

// choosePassthroughMode starts with passthrough if the kernel offers it; the
// first file tells whether it is granted.
func (f *FS) choosePassthroughMode() {
	offered := f.server.KernelSettings().Flags64()&fuse.CAP_PASSTHROUGH != 0
	f.passthrough.Store(offered && !f.opts.NoPassthrough)
}

// handler is what go-fuse calls.
func (f *FS) handler() fuse.RawFileSystem {
	if f.opts.OnRequest == nil {
		return f
	}
	return &observed{RawFileSystem: f, fs: f, done: f.opts.OnRequest}
}

func (f *FS) String() string { return fsType }

func (f *FS) mountOptions() (*fuse.MountOptions, error) {
	flags, rest, err := mountFlags(f.opts.MountOptions)
	if err != nil {
		return nil, err
	}
	if f.opts.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	root := os.Geteuid() == 0
	o := &fuse.MountOptions{
		FsName: fsType + "#" + f.root.Path(), Name: fsType,
		MaxWrite: 1 << 20, MaxBackground: 128,
		EnableAcl: true,
		// A symlink's target never changes; another symlink is another node.
		EnableSymlinkCaching: true,
		ExtraCapabilities:    capabilities,
		DirectMountStrict:    root,
		AllowOther:           root || userAllowOther(),
		Options:              append([]string{"default_permissions"}, rest...),
		Logger:               slog.NewLogLogger(f.log.Handler(), slog.LevelWarn),
		PanicHandler:         f.panicked,
	}
	if root {
		o.DirectMountFlags = flags | unix.MS_MGC_VAL
	} else {
		o.Options = append(o.Options, flagNames(flags)...)
	}
	return o, nil
}

// panicked answers a request whose handler panicked; the daemon goes on.
func (f *FS) panicked(reason any) fuse.Status {
	f.log.Error("request handler panicked", "reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
	return fuse.EIO
}

// mountFlag are the options of mount(8) that mount(2) takes as flags.
type mountFlag struct {
	name string
	set  uintptr
	drop uintptr
}

func knownFlags() []mountFlag {
	return []mountFlag{
		{"ro", unix.MS_RDONLY, 0}, {"rw", 0, unix.MS_RDONLY},
		{"nosuid", unix.MS_NOSUID, 0}, {"suid", 0, unix.MS_NOSUID},
		{"nodev", unix.MS_NODEV, 0}, {"dev", 0, unix.MS_NODEV},
		{"noexec", unix.MS_NOEXEC, 0}, {"exec", 0, unix.MS_NOEXEC},
		{"sync", unix.MS_SYNCHRONOUS, 0}, {"async", 0, unix.MS_SYNCHRONOUS},
		{"dirsync", unix.MS_DIRSYNC, 0},
		{"noatime", unix.MS_NOATIME, 0}, {"atime", 0, unix.MS_NOATIME},
		{"nodiratime", unix.MS_NODIRATIME, 0}, {"diratime", 0, unix.MS_NODIRATIME},
		{"relatime", unix.MS_RELATIME, 0}, {"strictatime", unix.MS_STRICTATIME, 0},
		{"defaults", 0, 0},
	}
}

// mountFlags splits options into flags and what the kernel's fuse takes as
// text. What only mount(8) and systemd understand is left out.
func mountFlags(options []string) (flags uintptr, rest []string, err error) {
	flags = unix.MS_NOSUID | unix.MS_NODEV
next:
	for _, o := range options {
		for _, k := range knownFlags() {
			if o == k.name {
				flags = flags&^k.drop | k.set
				continue next
			}
		}
		switch name, _, _ := strings.Cut(o, "="); name {
		case "", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "allow_other", "default_permissions":
		case "max_read", "blksize", "context", "fscontext", "defcontext", "rootcontext":
			rest = append(rest, o)
		default:
			if !strings.HasPrefix(name, "x-") && !strings.HasPrefix(name, "comment") {
				return 0, nil, fmt.Errorf("unknown mount option %q", o)
			}
		}
	}
	return flags, rest, nil
}

// flagNames is for fusermount3, which takes flags by name.
func flagNames(flags uintptr) []string {
	var names []string
	for _, k := range knownFlags() {
		if k.set != 0 && flags&k.set != 0 {
			names = append(names, k.name)
		}
	}
	return names
}

// userAllowOther tells whether fusermount3 lets ordinary users give others
// access (fuse.conf(5)).
func userAllowOther() bool {
	conf, err := os.ReadFile("/etc/fuse.conf")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(conf)) {
		if strings.TrimSpace(line) == "user_allow_other" {
			return true
		}
	}
	return false
}

// checkNested refuses a mountpoint below the backing directory that is open as
// rootFD. The mountpoint itself is not asked if it is dead.
func checkNested(rootFD int, mountpoint string, dead bool) error {
	var root unix.Stat_t
	if err := unix.Fstat(rootFD, &root); err != nil {
		return err
	}
	path, err := realMountpoint(mountpoint, dead)
	if err != nil {
		return err
	}
	for path != "/" {
		path = filepath.Dir(path)
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
		if st.Dev == root.Dev && st.Ino == root.Ino {
			return fmt.Errorf("%w: %s in %s", ErrNested, mountpoint, path)
		}
	}
	return nil
}

// realMountpoint resolves symlinks. A dead mountpoint is none.
func realMountpoint(path string, dead bool) (string, error) {
	if !dead {
		return filepath.EvalSymlinks(path)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}
