package sftpserver

import (
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"closefs/replicate/sftp/wire"
)

// readdirCount is how many entries one answer holds at most.
const readdirCount = 100

// handle carries out one request. A nil packet without error is the status OK.
func (s *session) handle(typ byte, id uint32, f *wire.Fields) (wire.Packet, error) {
	switch typ {
	case wire.Open:
		return s.openFile(id, f.String(), f.Uint32(), f.Attrs())
	case wire.Opendir:
		return s.openDir(id, f.String())
	case wire.Lstat:
		return attrsOf(id)(s.root.Lstat(local(f.String())))
	case wire.Stat:
		return attrsOf(id)(s.root.Stat(local(f.String())))
	case wire.Setstat:
		return nil, s.setstat(local(f.String()), f.Attrs())
	case wire.Mkdir:
		return nil, s.mkdir(local(f.String()), f.Attrs())
	case wire.Remove:
		return nil, s.remove(local(f.String()), false)
	case wire.Rmdir:
		return nil, s.remove(local(f.String()), true)
	case wire.Rename:
		return nil, s.renameAnew(local(f.String()), local(f.String()))
	case wire.Readlink:
		return s.readlink(id, local(f.String()))
	case wire.Symlink:
		dest, link := f.String(), f.String() // OpenSSH's order
		return nil, s.root.Symlink(dest, local(link))
	case wire.Realpath:
		return names(id, []wire.Name{{Name: absolute(f.String())}}), nil
	case wire.Extended:
		return s.extended(id, f.String(), f)
	case wire.Close, wire.Read, wire.Write, wire.Fstat, wire.Fsetstat, wire.Readdir:
		name := f.String()
		h, err := s.opened(name)
		if err != nil {
			// The rest of the request is of no interest.
			return nil, err
		}
		if typ == wire.Close {
			delete(s.handles, name)
			return nil, h.file.Close()
		}
		return h.handle(typ, id, f)
	}
	return nil, wire.OpUnsupported
}

// handle carries out a request on an open file.
func (h *handle) handle(typ byte, id uint32, f *wire.Fields) (wire.Packet, error) {
	switch typ {
	case wire.Read:
		return h.read(id, f.Uint64(), f.Uint32())
	case wire.Write:
		offset := f.Uint64()
		_, err := h.file.WriteAt(f.Bytes(), int64(offset))
		return nil, err
	case wire.Fstat:
		return attrsOf(id)(h.file.Stat())
	case wire.Fsetstat:
		return nil, h.setstat(f.Attrs())
	}
	return h.readdir(id)
}

func (s *session) extended(id uint32, name string, f *wire.Fields) (wire.Packet, error) {
	switch name {
	case wire.ExtPosixRename:
		return nil, s.posixRename(local(f.String()), local(f.String()))
	case wire.ExtHardlink:
		return nil, s.root.Link(local(f.String()), local(f.String()))
	case wire.ExtFsync:
		h, err := s.opened(f.String())
		if err != nil {
			return nil, err
		}
		return nil, h.file.Sync()
	case wire.ExtStatVFS:
		return s.statVFS(id, local(f.String()))
	case wire.ExtLimits:
		p := wire.NewPacket(wire.ExtendedReply)
		p.Uint32(id)
		for _, limit := range []uint64{wire.MaxPacket, maxData, maxData, maxHandles} {
			p.Uint64(limit)
		}
		return p, nil
	}
	return nil, wire.OpUnsupported
}

func (s *session) openFile(id uint32, path string, flags uint32, a wire.Attrs) (wire.Packet, error) {
	how := os.O_RDONLY
	switch flags & (wire.FlagRead | wire.FlagWrite) {
	case wire.FlagWrite:
		how = os.O_WRONLY
	case wire.FlagRead | wire.FlagWrite:
		how = os.O_RDWR
	}
	for flag, o := range map[uint32]int{wire.FlagCreate: os.O_CREATE, wire.FlagTrunc: os.O_TRUNC, wire.FlagExcl: os.O_EXCL} {
		if flags&flag != 0 {
			how |= o
		}
	}
	mode := fs.FileMode(0o666)
	if a.Flags&wire.AttrPermissions != 0 {
		mode = fs.FileMode(a.Mode & 0o777)
	}
	file, err := s.root.OpenFile(local(path), how|unix.O_NONBLOCK, mode)
	if err != nil {
		return nil, err
	}
	return s.open(id, file, false)
}

func (s *session) openDir(id uint32, path string) (wire.Packet, error) {
	file, err := s.root.OpenFile(local(path), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return s.open(id, file, true)
}

func (h *handle) read(id uint32, offset uint64, n uint32) (wire.Packet, error) {
	buf := make([]byte, min(n, maxData))
	got, err := h.file.ReadAt(buf, int64(offset))
	if got == 0 && err != nil {
		return nil, err
	}
	p := wire.NewPacket(wire.DataReply)
	p.Uint32(id)
	p.String(string(buf[:got]))
	return p, nil
}

func (h *handle) readdir(id uint32) (wire.Packet, error) {
	if !h.dir {
		return nil, wire.Failure
	}
	listed, err := h.file.Readdirnames(readdirCount)
	if err != nil {
		return nil, err
	}
	var found []wire.Name
	for _, name := range listed {
		// By the directory's descriptor: its path may lead elsewhere by now.
		var st unix.Stat_t
		switch err := unix.Fstatat(int(h.file.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err {
		case nil:
			found = append(found, wire.Name{Name: name, Attrs: attrs(st.Mode, st.Size, st.Uid, st.Gid, st.Atim.Sec, st.Mtim.Sec)})
		case unix.ENOENT: // removed since
		default:
			return nil, err
		}
	}
	return names(id, found), nil
}

func names(id uint32, found []wire.Name) wire.Packet {
	p := wire.NewPacket(wire.NameReply)
	p.Uint32(id)
	p.Uint32(uint32(len(found)))
	for _, n := range found {
		p.String(n.Name)
		p.String(n.Name)
		p.Attrs(n.Attrs)
	}
	return p
}

func (s *session) readlink(id uint32, path string) (wire.Packet, error) {
	dest, err := s.root.Readlink(path)
	if err != nil {
		return nil, err
	}
	return names(id, []wire.Name{{Name: dest}}), nil
}

func (s *session) mkdir(path string, a wire.Attrs) error {
	mode := fs.FileMode(0o777)
	if a.Flags&wire.AttrPermissions != 0 {
		mode = fs.FileMode(a.Mode & 0o777)
	}
	return s.root.Mkdir(path, mode)
}

// remove takes away a non-directory, or an empty directory.
func (s *session) remove(path string, dir bool) error {
	info, err := s.root.Lstat(path)
	if err != nil {
		return err
	}
	if info.IsDir() != dir {
		return wire.Failure
	}
	return s.root.Remove(path)
}

// renameAnew is the protocol's own rename, which replaces nothing.
func (s *session) renameAnew(from, to string) error {
	if _, err := s.root.Lstat(to); err == nil {
		return wire.Failure
	}
	return s.posixRename(from, to)
}

// posixRename is rename(2) proper: os.Root's refuses an empty directory at to.
func (s *session) posixRename(from, to string) error {
	if from == "." || to == "." {
		return fs.ErrPermission
	}
	fromDir, err := s.root.Open(path.Dir(from))
	if err != nil {
		return err
	}
	defer fromDir.Close()
	toDir, err := s.root.Open(path.Dir(to))
	if err != nil {
		return err
	}
	defer toDir.Close()
	return unix.Renameat(int(fromDir.Fd()), path.Base(from), int(toDir.Fd()), path.Base(to))
}

func (s *session) statVFS(id uint32, path string) (wire.Packet, error) {
	file, err := s.root.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil {
		return nil, err
	}
	p := wire.NewPacket(wire.ExtendedReply)
	p.Uint32(id)
	for _, v := range []uint64{
		uint64(st.Bsize), uint64(st.Frsize), st.Blocks, st.Bfree, st.Bavail,
		st.Files, st.Ffree, st.Ffree, 0, 0, uint64(st.Namelen),
	} {
		p.Uint64(v)
	}
	return p, nil
}

func absolute(path string) string {
	if p := local(path); p != "." {
		return "/" + p
	}
	return "/"
}
