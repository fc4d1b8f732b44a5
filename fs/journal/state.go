package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	stateMagic    = "closefsS"
	stateName     = "state"
	stateSlot     = 4096
	stateSlotSize = 128
	stateSumAt    = stateSlotSize - 4
	stateClean    = 1
)

// state is what the journal knows beside its records. It stands in two slots
// that are written in turn, so that a write cut short leaves the other.
type state struct {
	seq     uint64
	clean   bool     // Close got to its end
	ceiling Position // no position at or above it was ever handed out
	synced  Position // everything up to here was durable; often much more is
	hlc     uint64   // at the time of writing
	boot    string   // boot id of the machine when it was written
}

func (s *state) encode() []byte {
	b := make([]byte, stateSlotSize)
	copy(b, stateMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	if s.clean {
		binary.LittleEndian.PutUint32(b[12:], stateClean)
	}
	binary.LittleEndian.PutUint64(b[16:], s.seq)
	binary.LittleEndian.PutUint64(b[24:], uint64(s.ceiling))
	binary.LittleEndian.PutUint64(b[32:], uint64(s.synced))
	binary.LittleEndian.PutUint64(b[40:], s.hlc)
	copy(b[48:stateSumAt], s.boot)
	binary.LittleEndian.PutUint32(b[stateSumAt:], crc32.Checksum(b[:stateSumAt], castagnoli))
	return b
}

// decodeState reads a slot. ok is false if nothing valid stands there; the error
// is ErrNewer.
func decodeState(b []byte) (s state, ok bool, err error) {
	if len(b) < stateSlotSize || string(b[:8]) != stateMagic {
		return s, false, nil
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > formatVersion && v < 1<<16 {
		return s, false, fmt.Errorf("%w: version %d, this closefs knows %d", ErrNewer, v, formatVersion)
	}
	if crc32.Checksum(b[:stateSumAt], castagnoli) != binary.LittleEndian.Uint32(b[stateSumAt:]) {
		return s, false, nil
	}
	return state{
		clean:   binary.LittleEndian.Uint32(b[12:])&stateClean != 0,
		seq:     binary.LittleEndian.Uint64(b[16:]),
		ceiling: Position(binary.LittleEndian.Uint64(b[24:])),
		synced:  Position(binary.LittleEndian.Uint64(b[32:])),
		hlc:     binary.LittleEndian.Uint64(b[40:]),
		boot:    string(bytes.TrimRight(b[48:stateSumAt], "\x00")),
	}, true, nil
}

// stateFile is the open state file. Its mutex is taken after the journal's.
type stateFile struct {
	mu   sync.Mutex
	file file
	cur  state // as last written
}

// openState reads the state file of dir, or makes one. found is false if there
// was none, or none that can be read.
func openState(d disk, dir string) (s *stateFile, found bool, err error) {
	path := filepath.Join(dir, stateName)
	f, err := d.open(path, os.O_RDWR)
	if errors.Is(err, os.ErrNotExist) {
		if f, err = createState(d, dir, path); err != nil {
			return nil, false, err
		}
		return &stateFile{file: f}, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("open journal state: %w", err)
	}
	s = &stateFile{file: f}
	found, err = s.read()
	if err != nil {
		f.Close()
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	return s, found, nil
}

// read takes the newer of the two slots.
func (s *stateFile) read() (found bool, err error) {
	b := make([]byte, stateSlotSize)
	for _, off := range []int64{0, stateSlot} {
		n, _ := s.file.ReadAt(b, off)
		st, ok, err := decodeState(b[:n])
		if err != nil {
			return false, err
		}
		if ok && (!found || st.seq > s.cur.seq) {
			s.cur, found = st, true
		}
	}
	return found, nil
}

func createState(d disk, dir, path string) (file, error) {
	f, err := d.open(path+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err == nil {
		_, err = f.WriteAt(make([]byte, 2*stateSlot), 0)
		if err == nil {
			err = f.sync()
		}
		if err == nil {
			err = d.rename(path+".tmp", path)
		}
		if err == nil {
			err = d.syncDir(dir)
		}
		if err == nil {
			return f, nil
		}
		f.Close()
	}
	return nil, fmt.Errorf("create journal state: %w", err)
}

// update changes the state by fn and makes that durable. A crash leaves the
// state before or after it.
func (s *stateFile) update(fn func(*state)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.cur
	fn(&next)
	next.seq++
	if _, err := s.file.WriteAt(next.encode(), int64(next.seq%2)*stateSlot); err != nil {
		return fmt.Errorf("write journal state: %w", err)
	}
	if err := s.file.sync(); err != nil {
		return fmt.Errorf("write journal state: %w", err)
	}
	s.cur = next
	return nil
}

// bootID is different after each start of the machine; "" if it is not told,
// which counts as different.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
