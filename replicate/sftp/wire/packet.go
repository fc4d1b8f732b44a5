package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Packet types (section 3 of the draft).
const (
	Init          = 1
	Version       = 2
	Open          = 3
	Close         = 4
	Read          = 5
	Write         = 6
	Lstat         = 7
	Fstat         = 8
	Setstat       = 9
	Fsetstat      = 10
	Opendir       = 11
	Readdir       = 12
	Remove        = 13
	Mkdir         = 14
	Rmdir         = 15
	Realpath      = 16
	Stat          = 17
	Rename        = 18
	Readlink      = 19
	Symlink       = 20
	StatusReply   = 101
	HandleReply   = 102
	DataReply     = 103
	NameReply     = 104
	AttrsReply    = 105
	Extended      = 200
	ExtendedReply = 201
)

// Extensions of OpenSSH (its file PROTOCOL, section 4).
const (
	ExtPosixRename = "posix-rename@openssh.com"
	ExtStatVFS     = "statvfs@openssh.com"
	ExtHardlink    = "hardlink@openssh.com"
	ExtFsync       = "fsync@openssh.com"
	ExtLsetstat    = "lsetstat@openssh.com"
	ExtLimits      = "limits@openssh.com"
)

// Flags of Open (section 6.3).
const (
	FlagRead   = 0x01
	FlagWrite  = 0x02
	FlagAppend = 0x04
	FlagCreate = 0x08
	FlagTrunc  = 0x10
	FlagExcl   = 0x20
)

// Flags of Attrs (section 5).
const (
	AttrSize        = 0x01
	AttrOwner       = 0x02
	AttrPermissions = 0x04
	AttrTimes       = 0x08
	AttrExtended    = 0x80000000
)

// MaxPacket is the longest packet that either side accepts, in bytes, without
// the four of its length. It is OpenSSH's bound.
const MaxPacket = 256 * 1024

// ErrPacket is wrapped by errors that mean that the other side does not speak
// this protocol, or that the stream is out of step.
var ErrPacket = errors.New("malformed sftp packet")

// Attrs are a file's attributes; Flags tells which of them are there. Times are
// seconds since 1970.
type Attrs struct {
	Flags        uint32
	Size         uint64
	UID, GID     uint32
	Mode         uint32 // st_mode, with type bits if a server sent it
	Atime, Mtime uint32
}

// A Packet is built by appending fields; the first one is its type.
type Packet []byte

// NewPacket begins a packet of type t, with room for its length.
func NewPacket(t byte) Packet { return append(make(Packet, 0, 128), 0, 0, 0, 0, t) }

// Uint32 appends v.
func (p *Packet) Uint32(v uint32) { *p = binary.BigEndian.AppendUint32(*p, v) }

// Uint64 appends v.
func (p *Packet) Uint64(v uint64) { *p = binary.BigEndian.AppendUint64(*p, v) }

// String appends s and its length.
func (p *Packet) String(s string) {
	p.Uint32(uint32(len(s)))
	*p = append(*p, s...)
}

// Attrs appends a.
func (p *Packet) Attrs(a Attrs) {
	p.Uint32(a.Flags)
	if a.Flags&AttrSize != 0 {
		p.Uint64(a.Size)
	}
	if a.Flags&AttrOwner != 0 {
		p.Uint32(a.UID)
		p.Uint32(a.GID)
	}
	if a.Flags&AttrPermissions != 0 {
		p.Uint32(a.Mode)
	}
	if a.Flags&AttrTimes != 0 {
		p.Uint32(a.Atime)
		p.Uint32(a.Mtime)
	}
}

// Finish fills in the length and returns the packet as it is sent. extra bytes
// will follow it directly.
func (p Packet) Finish(extra int) []byte {
	binary.BigEndian.PutUint32(p, uint32(len(p)-4+extra))
	return p
}

// ReadPacket reads one packet: its type, and the fields behind it.
func ReadPacket(r io.Reader) (byte, Fields, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, Fields{}, err
	}
	n := binary.BigEndian.Uint32(head[:4])
	if n < 1 || n > MaxPacket {
		return 0, Fields{}, fmt.Errorf("%w: %d bytes long", ErrPacket, n)
	}
	body := make([]byte, n-1)
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, Fields{}, err
	}
	return head[4], NewFields(body), nil
}

// Fields takes a packet apart. After the first field that is not there, every
// further one is zero and Err tells.
type Fields struct {
	rest []byte
	bad  bool
}

// NewFields takes apart what follows a packet's type.
func NewFields(b []byte) Fields { return Fields{rest: b} }

// Err is ErrPacket if a field was missing.
func (f *Fields) Err() error {
	if f.bad {
		return fmt.Errorf("%w: too short", ErrPacket)
	}
	return nil
}

// Left says how many bytes have not been taken yet.
func (f *Fields) Left() int { return len(f.rest) }

func (f *Fields) take(n int) []byte {
	if f.bad || n < 0 || n > len(f.rest) {
		f.bad = true
		return make([]byte, max(0, min(n, 8)))
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

// Uint32 takes a 32-bit number.
func (f *Fields) Uint32() uint32 { return binary.BigEndian.Uint32(f.take(4)) }

// Uint64 takes a 64-bit number.
func (f *Fields) Uint64() uint64 { return binary.BigEndian.Uint64(f.take(8)) }

// Bytes takes a string as bytes, which stay valid as long as the packet.
func (f *Fields) Bytes() []byte {
	b := f.take(int(f.Uint32()))
	if f.bad {
		return nil
	}
	return b
}

// String takes a string.
func (f *Fields) String() string { return string(f.Bytes()) }

// Attrs takes attributes; extended ones are skipped.
func (f *Fields) Attrs() Attrs {
	a := Attrs{Flags: f.Uint32()}
	if a.Flags&AttrSize != 0 {
		a.Size = f.Uint64()
	}
	if a.Flags&AttrOwner != 0 {
		a.UID, a.GID = f.Uint32(), f.Uint32()
	}
	if a.Flags&AttrPermissions != 0 {
		a.Mode = f.Uint32()
	}
	if a.Flags&AttrTimes != 0 {
		a.Atime, a.Mtime = f.Uint32(), f.Uint32()
	}
	if a.Flags&AttrExtended != 0 {
		for n := f.Uint32(); n > 0 && !f.bad; n-- {
			f.Bytes()
			f.Bytes()
		}
	}
	return a
}
