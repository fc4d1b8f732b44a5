package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"closefs/replicate"
)

// targetDescs are the metrics that exist once per target.
type targetDescs struct {
	up, acked, pendingChanges, pendingBytes *prometheus.Desc
	oldestPending, lastAcked, lag           *prometheus.Desc
	heartbeatSent, heartbeatApplied         *prometheus.Desc
	shippedFiles, shippedBytes, errors      *prometheus.Desc
	needsReconcile                          *prometheus.Desc
}

func newTargetDescs() targetDescs {
	d := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("closefs_"+name, help, append([]string{"target"}, more...), nil)
	}
	return targetDescs{
		up:               d("target_up", "1 while a connection to the target stands."),
		acked:            d("target_acked_position", "Every change up to this journal position is durable at the target."),
		pendingChanges:   d("target_pending_changes", "Records that the target has not acked."),
		pendingBytes:     d("target_pending_bytes", "Sizes of the files that wait to be shipped to the target, as last known."),
		oldestPending:    d("target_oldest_pending_timestamp_seconds", "When the oldest change was made that the target has not acked; 0 if there is none."),
		lastAcked:        d("target_last_acked_timestamp_seconds", "When the target last acked anything; 0 if it has not since closefs started."),
		lag:              d("replication_lag_seconds", "Age of the oldest change that the target has not acked; 0 if there is none. Grows while the target is away."),
		heartbeatSent:    d("target_heartbeat_sent_timestamp_seconds", "When the newest heartbeat was made that was given to the target; 0 if there is none."),
		heartbeatApplied: d("target_heartbeat_applied_timestamp_seconds", "When the newest heartbeat was made that was read back from the target; 0 if there is none."),
		shippedFiles:     d("target_shipped_files_total", "Files whose content was published at the target since closefs started."),
		shippedBytes:     d("target_shipped_bytes_total", "Bytes of the files published at the target since closefs started."),
		errors:           d("target_errors_total", "Errors of the target since closefs started, by class.", "class"),
		needsReconcile:   d("target_needs_reconcile", "1 while the target has to be compared as a whole."),
	}
}

func (t targetDescs) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{t.up, t.acked, t.pendingChanges, t.pendingBytes, t.oldestPending,
		t.lastAcked, t.lag, t.heartbeatSent, t.heartbeatApplied, t.shippedFiles, t.shippedBytes, t.errors, t.needsReconcile} {
		ch <- d
	}
}

// errorClasses are always shown, so that an alert on an increase sees the first error.
var errorClasses = [...]string{"connection", "refused", "permission", "space", "source", "other"}

func (t targetDescs) collect(ch chan<- prometheus.Metric, s replicate.Status, now time.Time) {
	gauge(ch, t.up, truth(s.Up), s.Name)
	gauge(ch, t.acked, float64(s.Acked), s.Name)
	gauge(ch, t.pendingChanges, float64(s.PendingChanges), s.Name)
	gauge(ch, t.pendingBytes, float64(s.PendingBytes), s.Name)
	gauge(ch, t.oldestPending, timestamp(s.OldestPending), s.Name)
	gauge(ch, t.lastAcked, timestamp(s.LastAckedAt), s.Name)
	gauge(ch, t.lag, s.Lag(now).Seconds(), s.Name)
	gauge(ch, t.heartbeatSent, timestamp(s.HeartbeatSent), s.Name)
	gauge(ch, t.heartbeatApplied, timestamp(s.HeartbeatApplied), s.Name)
	counter(ch, t.shippedFiles, s.ShippedFiles, s.Name)
	counter(ch, t.shippedBytes, s.ShippedBytes, s.Name)
	gauge(ch, t.needsReconcile, truth(s.NeedsReconcile), s.Name)
	for _, class := range errorClasses {
		counter(ch, t.errors, s.Errors[class], s.Name, class)
	}
}
