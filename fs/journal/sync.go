package journal

import (
	"fmt"
	"time"
)

// Sync returns when every record appended before the call is durable.
func (j *Journal) Sync() error { return j.syncTo(j.Last()) }

// syncTo returns when everything up to pos is durable. The first to come leads:
// it syncs for all that have appended by then. The others wait for it; those
// whose records came too late for that sync choose the next leader.
func (j *Journal) syncTo(pos Position) error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	for {
		if j.lostErr != nil && pos > j.lostFrom && pos <= j.lostTo {
			return j.lostErr
		}
		if Position(j.synced.Load()) >= pos {
			return nil
		}
		if !j.syncing {
			return j.lead()
		}
		j.syncDone.Wait()
	}
}

// lead syncs for everyone. j.syncMu is held, but not during the sync.
func (j *Journal) lead() error {
	j.syncing = true
	j.syncMu.Unlock()
	err := j.syncAll()
	j.syncMu.Lock()
	j.syncing = false
	j.syncDone.Broadcast()
	return err
}

// syncAll makes everything appended so far durable: segments in order, then the
// names of new ones. A crash in between leaves a prefix of what was asked for,
// or pages of it in any order; Open copes with both. The
// caller leads.
func (j *Journal) syncAll() error {
	j.mu.Lock()
	target, names := j.last, j.newName
	files := append([]*segment(nil), j.unsynced...)
	j.armed = false
	j.mu.Unlock()
	if len(files) == 0 {
		return j.lostErr // the last sync failed, and there was no room for a new segment yet
	}

	start := time.Now()
	err := j.syncFiles(files, names)
	if err != nil {
		return j.syncFailed(files, target, err)
	}
	took := time.Since(start)
	j.mu.Lock()
	j.synced.Store(uint64(target))
	j.forget(files, names)
	j.mu.Unlock()
	if j.opts.OnSync != nil {
		j.opts.OnSync(took)
	}
	return nil
}

func (j *Journal) syncFiles(files []*segment, names bool) error {
	for _, s := range files {
		if err := s.file.sync(); err != nil {
			return err
		}
	}
	if names {
		return j.opts.disk.syncDir(j.dir)
	}
	return nil
}

// forget takes the segments that are synced and full off the list. The active
// one stays: it is about to be written again. j.mu is held.
func (j *Journal) forget(files []*segment, names bool) {
	for _, s := range files {
		if s != j.active {
			s.file.Close()
			s.file = nil
			j.unsynced = j.unsynced[1:]
		}
	}
	if names && j.active == files[len(files)-1] {
		j.newName = false
	}
}

// syncFailed deals with what fdatasync leaves behind when it fails: the kernel
// may have dropped the pages and will not report them again, so a second try
// that succeeds proves nothing. The records up to target stay readable for now
// but may be gone after a power cut. The journal leaves that segment at once,
// says in the next one's header that its end may be missing, and puts a Gap
// there. The caller leads.
func (j *Journal) syncFailed(files []*segment, target Position, err error) error {
	err = fmt.Errorf("sync journal: %w", err)
	j.syncMu.Lock()
	j.lostFrom, j.lostTo, j.lostErr = Position(j.synced.Load()), target, err
	j.syncMu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.errors++
	j.gap, j.fresh, j.lossy = true, true, true
	j.abandon(files)
	j.opts.Log.Error("journal could not be synced; every target has to be reconciled",
		"dir", j.dir, "from", j.lostFrom+1, "to", target, "err", err)
	if j.closed {
		return err
	}
	if gapErr := j.putGap(); gapErr != nil {
		j.opts.Log.Error("journal cannot leave the segment that failed", "dir", j.dir, "err", gapErr)
		return err
	}
	j.changed.poke()
	return err
}

// abandon closes segments whose sync failed; none of them is written again, and
// asking again would prove nothing. j.mu is held.
func (j *Journal) abandon(files []*segment) {
	for _, s := range files {
		s.file.Close()
		s.file = nil
	}
	j.unsynced = j.unsynced[len(files):]
}

// runSyncer syncs SyncInterval after the first append that is not durable.
func (j *Journal) runSyncer() {
	timer := time.NewTimer(j.opts.SyncInterval)
	defer timer.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-j.syncWake:
		}
		timer.Reset(j.opts.SyncInterval)
		select {
		case <-j.stop:
			return
		case <-timer.C:
		}
		// A failure is logged and remembered where it is found.
		_ = j.Sync()
	}
}
