package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// arrivals tells when files appear, whole, under their final names in a
// directory tree (inotify(7)).
type arrivals struct {
	root string
	size int64 // of a file that is whole
	fd   int
	dirs map[int32]string // watch descriptor to path relative to root; fixed

	mu      sync.Mutex
	awaited map[string]chan time.Time
}

// watchTree watches all directories that root has now.
func watchTree(root string, size int64) (*arrivals, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	a := &arrivals{root: root, size: size, fd: fd, dirs: make(map[int32]string), awaited: make(map[string]chan time.Time)}
	for i := range treeDirs {
		rel := fmt.Sprintf("d%02d", i)
		wd, err := unix.InotifyAddWatch(fd, filepath.Join(root, rel), unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE)
		if err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("watch %s: %w", rel, err)
		}
		a.dirs[int32(wd)] = rel
	}
	go a.run()
	return a, nil
}

// expect returns a channel that gets the time at which rel is there.
func (a *arrivals) expect(rel string) <-chan time.Time {
	c := make(chan time.Time, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.awaited[rel] = c
	return c
}

// run reads events on a thread of its own with a blocking read: no poller and
// no other goroutine stands between the kernel and the clock.
func (a *arrivals) run() {
	runtime.LockOSThread()
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(a.fd, buf)
		now := time.Now()
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		a.take(buf[:n], now)
	}
}

func (a *arrivals) take(events []byte, now time.Time) {
	for len(events) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&events[0]))
		end := unix.SizeofInotifyEvent + int(e.Len)
		name := string(bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00"))
		a.arrive(filepath.Join(a.dirs[e.Wd], name), now)
		events = events[end:]
	}
}

func (a *arrivals) arrive(rel string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.awaited[rel]
	if !ok {
		return
	}
	if fi, err := os.Lstat(filepath.Join(a.root, rel)); err != nil || fi.Size() != a.size {
		return
	}
	delete(a.awaited, rel)
	c <- now
}

// close ends the watching; a read that is under way ends with the process.
func (a *arrivals) close() { unix.Close(a.fd) }
