package sftpserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"closefs/replicate/sftp/wire"
)

// maxHandles bounds the open files of one session.
const maxHandles = 1000

// maxData is the longest Read and Write, in bytes.
const maxData = wire.MaxPacket - 1024

// extensions are what Version announces.
var extensions = [...][2]string{
	{wire.ExtPosixRename, "1"}, {wire.ExtStatVFS, "2"}, {wire.ExtHardlink, "1"},
	{wire.ExtFsync, "1"}, {wire.ExtLimits, "1"},
}

// A session answers the requests of one SFTP session, one after the other.
type session struct {
	root    *os.Root
	r       *bufio.Reader
	w       *bufio.Writer
	handles map[string]*handle
	next    int
}

// handle is an open file or directory.
type handle struct {
	file *os.File
	dir  bool
}

func newSession(root *os.Root, rw io.ReadWriter) *session {
	return &session{
		root: root, r: bufio.NewReaderSize(rw, 64<<10), w: bufio.NewWriterSize(rw, 64<<10),
		handles: make(map[string]*handle),
	}
}

// serve returns when the client has closed its side.
func (s *session) serve() error {
	defer func() {
		for _, h := range s.handles {
			h.file.Close()
		}
	}()
	for {
		typ, f, err := wire.ReadPacket(s.r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := s.answer(typ, f)
		if err != nil {
			return err
		}
		if _, err := s.w.Write(answer.Finish(0)); err != nil {
			return err
		}
		// Answers to requests that have arrived together leave together.
		if s.r.Buffered() == 0 {
			if err := s.w.Flush(); err != nil {
				return err
			}
		}
	}
}

// answer handles one request. An error ends the session; what goes wrong with
// files is a status in the answer.
func (s *session) answer(typ byte, f wire.Fields) (wire.Packet, error) {
	if typ == wire.Init {
		return version(), nil
	}
	id := f.Uint32()
	if f.Err() != nil {
		return nil, f.Err()
	}
	answer, err := s.handle(typ, id, &f)
	if ferr := f.Err(); ferr != nil {
		return nil, ferr
	}
	if err != nil || answer == nil {
		return status(id, err), nil
	}
	return answer, nil
}

func version() wire.Packet {
	p := wire.NewPacket(wire.Version)
	p.Uint32(3)
	for _, e := range extensions {
		p.String(e[0])
		p.String(e[1])
	}
	return p
}

// status is the answer that err stands for; nil is OK.
func status(id uint32, err error) wire.Packet {
	p := wire.NewPacket(wire.StatusReply)
	p.Uint32(id)
	p.Uint32(uint32(code(err)))
	message := "Success"
	if err != nil {
		message = err.Error()
	}
	p.String(message)
	p.String("en")
	return p
}

// code maps errors as OpenSSH does (sftp-server.c, errno_to_portable).
func code(err error) wire.Code {
	var own wire.Code
	switch {
	case err == nil:
		return wire.OK
	case errors.As(err, &own):
		return own
	case errors.Is(err, io.EOF):
		return wire.EOF
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EBADF):
		return wire.NoSuchFile
	case errors.Is(err, fs.ErrPermission):
		return wire.PermissionDenied
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENAMETOOLONG):
		return wire.BadMessage
	case errors.Is(err, unix.ENOSYS):
		return wire.OpUnsupported
	}
	return wire.Failure
}

// local is a client's path below the root: whatever it says, it starts there.
func local(p string) string {
	p = path.Clean("/" + p)
	if p == "/" {
		return "."
	}
	return p[1:]
}

// open remembers a file and returns its handle.
func (s *session) open(id uint32, file *os.File, dir bool) (wire.Packet, error) {
	if len(s.handles) >= maxHandles {
		file.Close()
		return nil, fmt.Errorf("%w: more than %d open files", wire.Failure, maxHandles)
	}
	s.next++
	name := strconv.Itoa(s.next)
	s.handles[name] = &handle{file: file, dir: dir}
	p := wire.NewPacket(wire.HandleReply)
	p.Uint32(id)
	p.String(name)
	return p, nil
}

// opened is the handle called name.
func (s *session) opened(name string) (*handle, error) {
	h := s.handles[name]
	if h == nil {
		return nil, fmt.Errorf("%w: no such handle", wire.Failure)
	}
	return h, nil
}
