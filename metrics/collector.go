// Package metrics turns the plain values that the other packages offer into
// Prometheus metrics. The names are a contract with dashboards and alerts; none
// is ever renamed. Nothing is global: a Collector is made and registered by cmd.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"closefs/replicate"
)

// Sources are asked at each scrape. All have to be set and must not block.
type Sources struct {
	Version string
	Role    func() string // primary
	Journal func() Journal
	Files   func() Files
	Targets func() []replicate.Status
	Now     func() time.Time
}

// Journal is what the journal holds, as of now.
type Journal struct {
	LastPosition uint64
	Bytes        int64
	MaxBytes     int64
	Records      int64 // appended in the life of this process
}

// Files are the files of the mount, as of now.
type Files struct {
	Open  int64 // open inodes
	Dirty int64 // of these and others: open for writing, close not journaled yet
}

// A Collector collects from Sources.
type Collector struct {
	sources Sources
	mount   mountDescs
	target  targetDescs
}

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector makes a collector; it is for the caller to register.
func NewCollector(s Sources) *Collector {
	return &Collector{sources: s, mount: newMountDescs(), target: newTargetDescs()}
}

// Describe lists the metrics.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	c.mount.describe(ch)
	c.target.describe(ch)
}

// Collect reads the sources.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mount.collect(ch, c.sources)
	now := c.sources.Now()
	for _, s := range c.sources.Targets() {
		c.target.collect(ch, s, now)
	}
}

// timestamp is seconds since 1970; 0 stands for "never".
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v int64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}
