package fs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"closefs/fs/journal"
)

// intents remember, in a file that is mapped shared and so outlives the daemon
// (not a power cut), which changes are under way. A slot that is in use when
// the daemon dies names paths whose change may have been made and not recorded.
type intents struct {
	mem  []byte // nil: not remembered
	old  bool   // what is in the slots is of before the machine booted
	hint atomic.Uint32
	used []atomic.Bool
}

// An intent is the change that is going to be made.
type intent struct {
	path, to string
	id       uint64           // of a rename: what moves
	after    journal.Position // the journal's last before
	skip     bool             // it has no path: nothing will be recorded
}

const (
	intentHeader = 64 // the boot id (random/boot_id in proc(5)) that the slots are of
	intentSlots  = 64
	intentSize   = 8192 + 32
	intentPath   = (intentSize - 32) / 2
)

// A slot is: state (1: in use), length of path, length of to, all uint32; 4
// bytes unused; id; after; then path and to, intentPath bytes each at most.

func openIntents(file string) (*intents, error) {
	x := &intents{used: make([]atomic.Bool, intentSlots)}
	if file == "" {
		return x, nil
	}
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: file, Err: err}
	}
	defer unix.Close(fd)
	const size = intentHeader + intentSlots*intentSize
	// Allocated, not just extended: a store to a mapped hole on a full disk
	// kills the process.
	if err := unix.Fallocate(fd, 0, 0, size); err != nil && err != unix.EOPNOTSUPP {
		return nil, fmt.Errorf("allocate %d bytes: %w", size, err)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		return nil, err
	}
	if x.mem, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, err
	}
	boot := make([]byte, intentHeader)
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		copy(boot, id)
	}
	x.old = !bytes.Equal(x.mem[:intentHeader], boot)
	copy(x.mem, boot)
	return x, nil
}

func (x *intents) close() error {
	if x.mem == nil {
		return nil
	}
	mem := x.mem
	x.mem = nil
	return unix.Munmap(mem)
}

func (x *intents) slot(i int) []byte {
	return x.mem[intentHeader+i*intentSize : intentHeader+(i+1)*intentSize]
}

func (x *intents) state(i int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&x.slot(i)[0]))
}

// begin stores in and returns its slot, or -1 if it cannot be remembered: its
// paths are too long, or all slots are in use.
func (x *intents) begin(in *intent) int {
	if x.mem == nil || in.skip || len(in.path) > intentPath || len(in.to) > intentPath {
		return -1
	}
	i := x.take()
	if i < 0 {
		return -1
	}
	b := x.slot(i)
	binary.NativeEndian.PutUint32(b[4:], uint32(len(in.path)))
	binary.NativeEndian.PutUint32(b[8:], uint32(len(in.to)))
	binary.NativeEndian.PutUint64(b[16:], in.id)
	binary.NativeEndian.PutUint64(b[24:], uint64(in.after))
	copy(b[32:], in.path)
	copy(b[32+intentPath:], in.to)
	x.state(i).Store(1)
	return i
}

func (x *intents) take() int {
	start := int(x.hint.Add(1))
	for n := 0; n < intentSlots; n++ {
		i := (start + n) % intentSlots
		if !x.used[i].Load() && x.used[i].CompareAndSwap(false, true) {
			return i
		}
	}
	return -1
}

// end forgets the intent of a slot: it was recorded, or not made.
func (x *intents) end(i int) {
	if i < 0 {
		return
	}
	x.state(i).Store(0)
	x.used[i].Store(false)
}

// left returns the intents that a daemon before us died with, and forgets them
// when forget is called. After a power cut a slot may be one that the disk got
// to see long ago: what such a rename did cannot be told any more, and its id
// is 0.
func (x *intents) left() (all []intent, forget func()) {
	var slots []int
	for i := 0; x.mem != nil && i < intentSlots; i++ {
		if x.state(i).Load() == 0 {
			continue
		}
		b := x.slot(i)
		pathLen, toLen := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:])
		slots = append(slots, i)
		if pathLen > intentPath || toLen > intentPath {
			continue
		}
		in := intent{
			path: string(b[32 : 32+pathLen]), to: string(b[32+intentPath : 32+intentPath+int(toLen)]),
			id: binary.NativeEndian.Uint64(b[16:]), after: journal.Position(binary.NativeEndian.Uint64(b[24:])),
		}
		if x.old {
			in.id = 0
		}
		all = append(all, in)
	}
	return all, func() {
		for _, i := range slots {
			x.state(i).Store(0)
		}
	}
}
