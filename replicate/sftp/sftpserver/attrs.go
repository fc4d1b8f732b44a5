package sftpserver

import (
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"closefs/replicate/sftp/wire"
)

// attrsOf makes the answer to a stat.
func attrsOf(id uint32) func(fs.FileInfo, error) (wire.Packet, error) {
	return func(info fs.FileInfo, err error) (wire.Packet, error) {
		if err != nil {
			return nil, err
		}
		p := wire.NewPacket(wire.AttrsReply)
		p.Uint32(id)
		st := info.Sys().(*syscall.Stat_t)
		p.Attrs(attrs(st.Mode, st.Size, st.Uid, st.Gid, st.Atim.Sec, st.Mtim.Sec))
		return p, nil
	}
}

func attrs(mode uint32, size int64, uid, gid uint32, atime, mtime int64) wire.Attrs {
	return wire.Attrs{
		Flags: wire.AttrSize | wire.AttrOwner | wire.AttrPermissions | wire.AttrTimes,
		Size:  uint64(size), UID: uid, GID: gid, Mode: mode,
		Atime: uint32(atime), Mtime: uint32(mtime),
	}
}

// fileMode turns permission bits of st_mode into os's own.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for bit, own := range map[uint32]fs.FileMode{
		unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky,
	} {
		if mode&bit != 0 {
			m |= own
		}
	}
	return m
}

// setstat changes what path leads to, in OpenSSH's order: size, mode, times, owner.
func (s *session) setstat(path string, a wire.Attrs) error {
	if a.Flags&wire.AttrSize != 0 {
		file, err := s.root.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := file.Truncate(int64(a.Size)); err != nil {
			return err
		}
	}
	if a.Flags&wire.AttrPermissions != 0 {
		if err := s.root.Chmod(path, fileMode(a.Mode)); err != nil {
			return err
		}
	}
	if a.Flags&wire.AttrTimes != 0 {
		if err := s.root.Chtimes(path, time.Unix(int64(a.Atime), 0), time.Unix(int64(a.Mtime), 0)); err != nil {
			return err
		}
	}
	if a.Flags&wire.AttrOwner != 0 {
		return s.root.Chown(path, int(a.UID), int(a.GID))
	}
	return nil
}

// setstat changes an open file, in the same order.
func (h *handle) setstat(a wire.Attrs) error {
	if a.Flags&wire.AttrSize != 0 {
		if err := h.file.Truncate(int64(a.Size)); err != nil {
			return err
		}
	}
	if a.Flags&wire.AttrPermissions != 0 {
		if err := h.file.Chmod(fileMode(a.Mode)); err != nil {
			return err
		}
	}
	if a.Flags&wire.AttrTimes != 0 {
		times := []unix.Timeval{{Sec: int64(a.Atime)}, {Sec: int64(a.Mtime)}}
		if err := unix.Futimes(int(h.file.Fd()), times); err != nil {
			return err
		}
	}
	if a.Flags&wire.AttrOwner != 0 {
		return h.file.Chown(int(a.UID), int(a.GID))
	}
	return nil
}
