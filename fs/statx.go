package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Statx describes a node, birth time included.
func (f *FS) Statx(_ <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	n := f.table.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	f.order.RLock()
	defer f.order.RUnlock()
	var sx unix.Statx_t
	err := f.withPath(n, func(fd int) error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH|int(in.SxFlags&(unix.AT_STATX_FORCE_SYNC|unix.AT_STATX_DONT_SYNC)), int(in.SxMask), &sx)
	})
	if err != nil {
		return errno(err)
	}
	out.FromStatx(&sx)
	out.SetTimeout(f.opts.Timeout)
	return fuse.OK
}
