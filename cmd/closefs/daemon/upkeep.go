package daemon

import (
	"context"
	"time"

	"closefs/fs/journal"
)

// keepUp sends heartbeats, lets go of old records and reports changes of the
// targets' states until ctx ends.
func (d *daemon) keepUp(ctx context.Context) {
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	retain := time.NewTicker(retainEvery)
	defer retain.Stop()
	d.heartbeat()
	for {
		select {
		case <-ctx.Done():
			return
		case <-heartbeat.C:
			d.heartbeat()
		case <-retain.C:
			d.retain()
		}
	}
}

// heartbeat puts a record into the journal that proves, at each target, that
// records flow. A mount without targets has nobody to prove it to.
func (d *daemon) heartbeat() {
	if len(d.targets) == 0 {
		return
	}
	if _, err := d.journal.Append(&journal.Record{Kind: journal.Heartbeat}); err != nil {
		d.log.Warn("heartbeat", "err", err)
	}
}
