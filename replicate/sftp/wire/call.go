package wire

import (
	"context"
	"fmt"
)

// A Call is a request on its way. Exactly one of its methods is to be called,
// once. Each waits for the answer or ctx; a status other than OK is returned as
// an error that wraps its Code.
type Call struct {
	client *Client
	answer chan reply // capacity 1: the receiver never waits
}

type reply struct {
	typ    byte
	fields Fields
	err    error
}

// wait returns the fields of an answer of type want.
func (c *Call) wait(ctx context.Context, want byte) (Fields, error) {
	select {
	case r := <-c.answer:
		return r.as(want)
	case <-ctx.Done():
		if want == HandleReply {
			go c.drop()
		}
		return Fields{}, ctx.Err()
	}
}

// drop closes the handle that nobody waits for any more.
func (c *Call) drop() {
	f, err := (<-c.answer).as(HandleReply)
	if err != nil {
		return
	}
	b := c.client.Batch()
	b.Close(f.String())
	b.Send()
}

func (r reply) as(want byte) (Fields, error) {
	if r.err != nil {
		return Fields{}, r.err
	}
	if r.typ == StatusReply {
		code := Code(r.fields.Uint32())
		if code == OK && want == StatusReply {
			return Fields{}, nil
		}
		message := r.fields.String()
		if code == OK {
			return Fields{}, fmt.Errorf("%w: status ok where an answer of type %d was due", ErrPacket, want)
		}
		if message == "" {
			return Fields{}, code
		}
		return Fields{}, &StatusError{Code: code, Message: message}
	}
	if r.typ != want {
		return Fields{}, fmt.Errorf("%w: answer of type %d where %d was due", ErrPacket, r.typ, want)
	}
	return r.fields, nil
}

// A StatusError is a Code with the server's own words.
type StatusError struct {
	Code    Code
	Message string
}

func (e *StatusError) Error() string { return fmt.Sprintf("sftp: %s (%q)", e.Code.String(), e.Message) }

// Unwrap returns the Code.
func (e *StatusError) Unwrap() error { return e.Code }

// Status waits for a request that is answered by nothing but a status.
func (c *Call) Status(ctx context.Context) error {
	_, err := c.wait(ctx, StatusReply)
	return err
}

// Handle waits for the handle of Open or Opendir. If ctx ends first, the handle
// is closed when it arrives.
func (c *Call) Handle(ctx context.Context) (string, error) {
	f, err := c.wait(ctx, HandleReply)
	if err != nil {
		return "", err
	}
	h := f.String()
	return h, f.Err()
}

// Attrs waits for the answer to Stat, Lstat or Fstat.
func (c *Call) Attrs(ctx context.Context) (Attrs, error) {
	f, err := c.wait(ctx, AttrsReply)
	if err != nil {
		return Attrs{}, err
	}
	a := f.Attrs()
	return a, f.Err()
}

// Data waits for the answer to Read; EOF at the end of the file.
func (c *Call) Data(ctx context.Context) ([]byte, error) {
	f, err := c.wait(ctx, DataReply)
	if err != nil {
		return nil, err
	}
	b := f.Bytes()
	return b, f.Err()
}

// A Name is one entry of an answer to Readdir, Readlink or Realpath.
type Name struct {
	Name  string
	Attrs Attrs
}

// Names waits for the answer to Readdir (EOF after the last), Readlink or Realpath.
func (c *Call) Names(ctx context.Context) ([]Name, error) {
	f, err := c.wait(ctx, NameReply)
	if err != nil {
		return nil, err
	}
	var names []Name
	for n := f.Uint32(); n > 0 && f.Err() == nil; n-- {
		name := Name{Name: f.String()}
		f.Bytes() // what ls -l would print
		name.Attrs = f.Attrs()
		names = append(names, name)
	}
	return names, f.Err()
}

// Extended waits for the answer to an extension that has one of its own.
func (c *Call) Extended(ctx context.Context) (Fields, error) {
	return c.wait(ctx, ExtendedReply)
}

// A VFS is what statvfs@openssh.com tells, as in statvfs(3).
type VFS struct {
	FragmentSize, Available, Files, FilesAvailable uint64
}

// VFS waits for the answer to StatVFS.
func (c *Call) VFS(ctx context.Context) (VFS, error) {
	f, err := c.Extended(ctx)
	if err != nil {
		return VFS{}, err
	}
	var v [11]uint64
	for i := range v {
		v[i] = f.Uint64()
	}
	return VFS{FragmentSize: v[1], Available: v[4], Files: v[5], FilesAvailable: v[7]}, f.Err()
}
