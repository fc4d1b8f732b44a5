package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"closefs/fs/backing"
)

// Defaults of Options.
const (
	DefaultTimeout       = 24 * time.Hour
	DefaultShipOpenAfter = 30 * time.Second
)

// Options says what to serve and how. Backing, Mountpoint and Journal are
// required. The process should have umask 0: otherwise modes of new files are
// cut by it.
type Options struct {
	Backing    *backing.Root
	Mountpoint string
	Journal    Journal

	// TakeOver says that a dead mount is at Mountpoint. The new one takes its place
	// at once, so that what they cover is never seen. Where the kernel cannot (before
	// 6.5, or without privilege), a Gap record says that changes may have gone unseen.
	TakeOver bool

	ReadOnly     bool     // mount read-only
	MountOptions []string // as for mount(8) -o: noexec, dev, suid, noatime…

	// ShipOpenAfter is how long a file may stay open for writing before its
	// content is published although it is still open. 0: 30s.
	ShipOpenAfter time.Duration
	NoPassthrough bool // serve every READ and WRITE from the daemon

	// Timeout is how long the kernel may believe entries and attributes. 0: 24h,
	// right where nothing else writes into the backing directory. Negative: not at all.
	Timeout time.Duration

	// Intents is a file that remembers, across the death of the daemon, which
	// changes were under way: Recover records those that had been made but not
	// recorded. "": not remembered.
	Intents string

	Log       *slog.Logger                        // nil: slog.Default
	OnRequest func(op string, took time.Duration) // nil: not measured
}

func (o *Options) defaults() error {
	if o.Backing == nil || o.Mountpoint == "" || o.Journal == nil {
		return errors.New("mount: backing directory, mountpoint and journal are required")
	}
	abs, err := filepath.Abs(o.Mountpoint)
	if err != nil {
		return fmt.Errorf("mount %s: %w", o.Mountpoint, err)
	}
	o.Mountpoint = abs
	if o.ShipOpenAfter == 0 {
		o.ShipOpenAfter = DefaultShipOpenAfter
	}
	switch {
	case o.Timeout == 0:
		o.Timeout = DefaultTimeout
	case o.Timeout < 0:
		o.Timeout = 0
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return nil
}

// stripes is the number of locks that names and inodes share.
const stripes = 256

// FS is a mounted filesystem.
type FS struct {
	fuse.RawFileSystem // answers what is not implemented here with ENOSYS

	root       *backing.Root
	rootID     uint64 // identity of the backing directory (its node id is 1)
	mountpoint string
	opts       Options
	log        *slog.Logger
	journal    Journal
	server     *fuse.Server
	cred       creds

	order  sync.RWMutex
	names  [stripes]sync.Mutex
	inodes [stripes]sync.Mutex

	table   *table
	dirs    *dirCache
	links   *linkIndex
	open    *openSet
	handles *handleTable
	intents *intents
	failed  failures
	foreign []*foreign // found by Recover, not watched yet

	passthrough atomic.Bool // files opened from now on may be passed through
	noACL       atomic.Bool // the backing filesystem has no POSIX ACLs

	served     chan struct{} // closed when the kernel is gone and all is recorded
	stop       context.CancelFunc
	stopped    context.Context
	background sync.WaitGroup
}

// Stats is a snapshot of what is open.
type Stats struct {
	OpenFiles      int  // regular files open through the mount
	DirtyFiles     int  // of them and of mapped ones: may have been written since they were recorded
	Nodes          int  // nodes that the kernel references
	Passthrough    bool // file data bypasses the daemon
	FailedAppends  int64
	RunningWalks   int // walks of the backing directory for names of hard links
	MultiLinkNames int
}

// Stats may be called at any time.
func (f *FS) Stats() Stats {
	files, dirty := f.open.counts()
	return Stats{
		OpenFiles: files, DirtyFiles: dirty, Nodes: f.table.size(),
		Passthrough: f.passthrough.Load(), FailedAppends: f.failed.count.Load(),
		RunningWalks: f.links.walking(), MultiLinkNames: f.links.names(),
	}
}

// Mount serves o.Backing at o.Mountpoint; it returns when the mount answers.
// What the journal calls dirty has been recovered by then.
func Mount(o Options) (*FS, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	f, err := newFS(o)
	if err != nil {
		return nil, err
	}
	if err := f.Recover(); err != nil {
		f.discard()
		return nil, fmt.Errorf("mount %s: %w", o.Mountpoint, err)
	}
	if err := f.mount(); err != nil {
		f.discard()
		return nil, fmt.Errorf("mount %s: %w", o.Mountpoint, err)
	}
	return f, nil
}

func newFS(o Options) (*FS, error) {
	st, err := o.Backing.Fstat(o.Backing.FD())
	if err != nil {
		return nil, fmt.Errorf("mount: backing directory %s: %w", o.Backing.Path(), err)
	}
	f := &FS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		root:          o.Backing, rootID: uint64(st.ID), mountpoint: o.Mountpoint,
		opts: o, log: o.Log, journal: o.Journal,
		table: newTable(), links: newLinkIndex(),
		open: newOpenSet(), handles: newHandleTable(), served: make(chan struct{}),
	}
	f.failed.log = o.Log
	f.dirs = newDirCache(f)
	f.cred = processCreds()
	f.stopped, f.stop = context.WithCancel(context.Background())
	if f.intents, err = openIntents(o.Intents); err != nil {
		return nil, fmt.Errorf("mount: intents %s: %w", o.Intents, err)
	}
	return f, nil
}

// discard releases what newFS took.
func (f *FS) discard() {
	f.stop()
	f.background.Wait()
	for _, w := range f.foreign {
		f.unwatch(w)
	}
	f.foreign = nil
	f.dirs.closeAll()
	f.table.closeAll()
	if err := f.intents.close(); err != nil {
		f.log.Error("closing the intents", "error", err)
	}
}

// Wait returns when the filesystem is unmounted, by whomever, and every change
// made through it is in the journal.
func (f *FS) Wait() { <-f.served }

// serve runs until the kernel is gone; then it records what was still open,
// which nobody can write through this mount any more.
func (f *FS) serve() {
	defer close(f.served)
	f.server.Serve()
	f.stop()
	f.background.Wait()
	f.publishAll()
	f.discard()
}

func (f *FS) nameLock(dir *node, name string) *sync.Mutex {
	h := dir.id
	for i := 0; i < len(name); i++ {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return &f.names[(h^h>>32)%stripes]
}

func (f *FS) inodeLock(id uint64) *sync.Mutex {
	return &f.inodes[(id^id>>17^id>>32)%stripes]
}

// errno is what the kernel is told of err, an errno possibly wrapped.
func errno(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	var e unix.Errno
	if errors.As(err, &e) {
		return fuse.Status(e)
	}
	return fuse.EIO
}
