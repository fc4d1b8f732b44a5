package daemon

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"closefs/fs/journal"
)

// openJournal opens STATE/journal. A damaged one is left alone unless the
// operator said to go on without it.
func (d *daemon) openJournal(undo *closers) error {
	dir := filepath.Join(d.c.State, "journal")
	j, err := journal.OpenDir(dir, d.journalOptions())
	if errors.Is(err, journal.ErrDamaged) {
		if !d.o.RepairJournal {
			return fmt.Errorf("%w (--repair-journal does that)", err)
		}
		if j, err = d.replaceJournal(dir, err); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	d.journal = j
	undo.add(j.Close)
	if j.Unclean() {
		d.log.Info("closefs was not stopped properly before; files that were open are looked at again", "power_lost", j.PowerLost())
	}
	return nil
}

func (d *daemon) journalOptions() journal.Options {
	return journal.Options{
		SyncInterval: d.c.Journal.Sync.Interval, SyncAlways: d.c.Journal.Sync.Always,
		MaxSize: int64(d.c.Journal.MaxSize), Log: d.log, OnSync: d.latency.JournalSync,
	}
}

// replaceJournal moves a damaged journal aside and starts one whose first record
// says that changes are missing, upon which every target is reconciled. A crash
// between the two leaves an empty journal whose positions go on above the old
// ones, which has the targets reconciled as well.
func (d *daemon) replaceJournal(dir string, damage error) (*journal.Journal, error) {
	moved, err := journal.Quarantine(dir)
	if err != nil {
		return nil, fmt.Errorf("move damaged journal aside: %w", err)
	}
	d.log.Warn("moved a damaged journal aside; every target is reconciled", "damage", damage, "moved_to", moved)
	j, err := journal.OpenDir(dir, d.journalOptions())
	if err != nil {
		return nil, fmt.Errorf("journal after the repair: %w", err)
	}
	if _, err := j.Append(&journal.Record{Kind: journal.Gap}); err != nil {
		return nil, errors.Join(fmt.Errorf("journal after the repair: %w", err), j.Close())
	}
	return j, nil
}

const (
	heartbeatEvery = 10 * time.Second
	retainEvery    = 2 * time.Second
)

// retain lets go of the records that every target has acked.
func (d *daemon) retain() {
	keep := d.journal.Last()
	for _, t := range d.targets {
		keep = min(keep, t.worker.Acked())
	}
	d.journal.Retain(keep)
}
