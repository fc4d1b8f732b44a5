package metrics

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Latencies are the histograms. Their methods are the hooks that the other
// packages call on their hot paths.
type Latencies struct {
	replication *prometheus.HistogramVec
	request     *prometheus.HistogramVec
	sync        prometheus.Histogram
	byOp        sync.Map // op → prometheus.Observer: spares the label lookup per request
}

// NewLatencies makes the histograms; Register registers them. Each has classic
// buckets, and native ones for a Prometheus that asks for them.
func NewLatencies() *Latencies {
	opts := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "closefs", Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
			NativeHistogramMinResetDuration: time.Hour}
	}
	return &Latencies{
		// 0.5 ms is below any network's round trip with a rename; 17 minutes above any outage worth a histogram.
		replication: prometheus.NewHistogramVec(opts("replication_seconds",
			"Time from a change being journaled to its file being visible at the target.",
			prometheus.ExponentialBuckets(0.0005, 2, 22)), []string{"target"}),
		request: prometheus.NewHistogramVec(opts("fuse_request_seconds",
			"Time to answer a request of the kernel, by operation. Reads and writes passed through by the kernel are not seen.",
			prometheus.ExponentialBuckets(10e-6, 2, 18)), []string{"op"}),
		sync: prometheus.NewHistogram(opts("journal_sync_seconds",
			"Time of a sync of the journal to disk.",
			prometheus.ExponentialBuckets(10e-6, 2, 20))),
	}
}

// Register registers the histograms.
func (l *Latencies) Register(r prometheus.Registerer) error {
	return errors.Join(r.Register(l.replication), r.Register(l.request), r.Register(l.sync))
}

// Shipped returns the hook for one target: it takes the time from close to visible.
func (l *Latencies) Shipped(target string) func(time.Duration) {
	o := l.replication.WithLabelValues(target)
	return func(d time.Duration) { o.Observe(d.Seconds()) }
}

// Request is the hook for requests of the kernel.
func (l *Latencies) Request(op string, d time.Duration) {
	o, ok := l.byOp.Load(op)
	if !ok {
		o, _ = l.byOp.LoadOrStore(op, l.request.WithLabelValues(op))
	}
	o.(prometheus.Observer).Observe(d.Seconds())
}

// JournalSync is the hook for syncs of the journal.
func (l *Latencies) JournalSync(d time.Duration) { l.sync.Observe(d.Seconds()) }
