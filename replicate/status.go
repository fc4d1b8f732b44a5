package replicate

import (
	"time"

	"closefs/fs/journal"
)

// State is what a worker is doing, as `closefs status` prints it.
type State string

// The states of a target.
const (
	Connecting     State = "connecting"      // no connection now; dialing
	Synced         State = "synced"          // connected, nothing pending
	Shipping       State = "shipping"        // connected, changes pending
	Reconciling    State = "reconciling"     // comparing whole trees; live changes go first
	NeedsReconcile State = "needs-reconcile" // has to be reconciled, which begins when it is reachable
	Stopped        State = "stopped"         // not running
)

// Status is a snapshot of one target, for status, metrics and waiting.
type Status struct {
	Name           string
	URL            string
	State          State
	Up             bool             // a connection stands
	Acked          journal.Position // every change up to here is durable at the target
	PendingChanges int64            // records not acked
	PendingBytes   int64            // sizes of the files that wait to be shipped, as last known
	OldestPending  time.Time        // when the oldest record not acked was made; zero: none
	LastError      string           // in words; empty after the next success
	LastErrorClass string           // connection, refused, permission, space, source, other
	LastAckedAt    time.Time        // when Acked last moved

	HeartbeatSent    time.Time // newest heartbeat record given to the target
	HeartbeatApplied time.Time // newest heartbeat read back from it

	NeedsReconcile bool
	Reconcile      ReconcileStatus

	ShippedFiles int64            // files whose content was published
	ShippedBytes int64            // their sizes
	Errors       map[string]int64 // by class
	OnlyAtTarget int64            // entries kept at a first meeting because only the target has them
	Unsupported  int64            // changes that this kind of target cannot represent
}

// ReconcileStatus is the progress of a reconcile.
type ReconcileStatus struct {
	Dirs    int64 // directories compared
	Files   int64 // entries compared
	Differ  int64 // entries found different
	Started time.Time
}

// Lag is the age at now of the oldest change that the target has not acked; 0
// if there is none.
func (s Status) Lag(now time.Time) time.Duration {
	if s.OldestPending.IsZero() {
		return 0
	}
	return max(0, now.Sub(s.OldestPending))
}
