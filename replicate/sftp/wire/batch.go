package wire

import "slices"

// A Batch is a number of requests that are sent together and in order. It is
// used by one goroutine, and sent once.
type Batch struct {
	client  *Client
	packets [][]byte
	open    bool // the last of packets is our own, to be appended to
}

// mergeBelow is up to which length packets are joined: one write to the SSH
// channel makes one packet of up to 32 KiB there.
const mergeBelow = 16 << 10

// Batch begins a batch.
func (c *Client) Batch() *Batch { return &Batch{client: c} }

// Send sends it. Failures are the calls' to tell.
func (b *Batch) Send() { b.client.send(b.packets) }

// request begins a packet with a new id.
func (b *Batch) request(t byte) (Packet, *Call) {
	call := &Call{client: b.client, answer: make(chan reply, 1)}
	p := NewPacket(t)
	p.Uint32(b.client.register(call))
	return p, call
}

func (b *Batch) add(p Packet) { b.append(p.Finish(0)) }

func (b *Batch) append(raw []byte) {
	if n := len(b.packets); n > 0 && b.open && len(b.packets[n-1])+len(raw) <= mergeBelow {
		b.packets[n-1] = append(b.packets[n-1], raw...)
		return
	}
	b.packets = append(b.packets, raw)
	b.open = true
}

// strings adds a request that consists of strings.
func (b *Batch) strings(t byte, fields ...string) *Call {
	p, call := b.request(t)
	for _, s := range fields {
		p.String(s)
	}
	b.add(p)
	return call
}

// withAttrs adds a request that consists of a string and attributes.
func (b *Batch) withAttrs(t byte, s string, a Attrs) *Call {
	p, call := b.request(t)
	p.String(s)
	p.Attrs(a)
	b.add(p)
	return call
}

// Open opens path with flags, giving a new file a.
func (b *Batch) Open(path string, flags uint32, a Attrs) *Call {
	p, call := b.request(Open)
	p.String(path)
	p.Uint32(flags)
	p.Attrs(a)
	b.add(p)
	return call
}

// Write writes data at offset. It has to stay as it is until Send returns.
func (b *Batch) Write(handle string, offset uint64, data []byte) *Call {
	p, call := b.request(Write)
	p.String(handle)
	p.Uint64(offset)
	p.Uint32(uint32(len(data)))
	b.append(p.Finish(len(data)))
	if len(data) <= mergeBelow/2 {
		b.append(slices.Clone(data))
		return call
	}
	b.packets = append(b.packets, data)
	b.open = false
	return call
}

// Read reads up to n bytes at offset.
func (b *Batch) Read(handle string, offset uint64, n uint32) *Call {
	p, call := b.request(Read)
	p.String(handle)
	p.Uint64(offset)
	p.Uint32(n)
	b.add(p)
	return call
}

// Close closes a handle.
func (b *Batch) Close(handle string) *Call { return b.strings(Close, handle) }

// Lstat describes path without following it.
func (b *Batch) Lstat(path string) *Call { return b.strings(Lstat, path) }

// Stat describes what path leads to.
func (b *Batch) Stat(path string) *Call { return b.strings(Stat, path) }

// Fstat describes an open file.
func (b *Batch) Fstat(handle string) *Call { return b.strings(Fstat, handle) }

// Setstat changes attributes of what path leads to: it follows symlinks.
func (b *Batch) Setstat(path string, a Attrs) *Call { return b.withAttrs(Setstat, path, a) }

// Fsetstat changes attributes of an open file.
func (b *Batch) Fsetstat(handle string, a Attrs) *Call { return b.withAttrs(Fsetstat, handle, a) }

// Opendir opens a directory for Readdir.
func (b *Batch) Opendir(path string) *Call { return b.strings(Opendir, path) }

// Readdir asks for the next entries.
func (b *Batch) Readdir(handle string) *Call { return b.strings(Readdir, handle) }

// Remove unlinks a non-directory.
func (b *Batch) Remove(path string) *Call { return b.strings(Remove, path) }

// Mkdir makes a directory.
func (b *Batch) Mkdir(path string, a Attrs) *Call { return b.withAttrs(Mkdir, path, a) }

// Rmdir removes an empty directory.
func (b *Batch) Rmdir(path string) *Call { return b.strings(Rmdir, path) }

// Readlink reads a symlink's destination.
func (b *Batch) Readlink(path string) *Call { return b.strings(Readlink, path) }

// Symlink makes path a symlink to dest. The order on the wire is OpenSSH's, the
// reverse of the draft's; every server in use follows it (PROTOCOL, section 4.1).
func (b *Batch) Symlink(dest, path string) *Call { return b.strings(Symlink, dest, path) }

// Extended adds a request of an extension whose fields are strings.
func (b *Batch) Extended(name string, fields ...string) *Call {
	return b.strings(Extended, append([]string{name}, fields...)...)
}

// PosixRename renames, replacing what is at to as rename(2) does.
func (b *Batch) PosixRename(from, to string) *Call { return b.Extended(ExtPosixRename, from, to) }

// Hardlink makes path one more name of existing.
func (b *Batch) Hardlink(existing, path string) *Call {
	return b.Extended(ExtHardlink, existing, path)
}

// Fsync makes an open file durable.
func (b *Batch) Fsync(handle string) *Call { return b.Extended(ExtFsync, handle) }

// StatVFS describes the filesystem that path is on.
func (b *Batch) StatVFS(path string) *Call { return b.Extended(ExtStatVFS, path) }

// Lsetstat changes attributes of path itself, following no symlink.
func (b *Batch) Lsetstat(path string, a Attrs) *Call {
	p, call := b.request(Extended)
	p.String(ExtLsetstat)
	p.String(path)
	p.Attrs(a)
	b.add(p)
	return call
}
