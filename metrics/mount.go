package metrics

import "github.com/prometheus/client_golang/prometheus"

// mountDescs are the metrics that exist once per mount.
type mountDescs struct {
	build, role                            *prometheus.Desc
	lastPosition, bytes, maxBytes, records *prometheus.Desc
	openFiles, dirtyFiles, deletesHeld     *prometheus.Desc
}

func newMountDescs() mountDescs {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("closefs_"+name, help, labels, nil)
	}
	return mountDescs{
		build:        d("build_info", "Always 1; the label is the version of closefs that serves the mount.", "version"),
		role:         d("role", "1 for the role that this host has now.", "role"),
		lastPosition: d("journal_last_position", "Position of the newest record in the journal; 0 if there is none."),
		bytes:        d("journal_bytes", "Size of the journal on disk."),
		maxBytes:     d("journal_max_bytes", "Size beyond which the oldest records go, whoever still needs them."),
		records:      d("journal_records_total", "Records appended to the journal since closefs started."),
		openFiles:    d("open_files", "Files that applications have open through the mount."),
		dirtyFiles:   d("dirty_files", "Files open for writing whose close is not journaled yet."),
		deletesHeld:  d("deletes_held", "Deletions held back until somebody lets them pass."),
	}
}

func (m mountDescs) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.build, m.role, m.lastPosition, m.bytes, m.maxBytes,
		m.records, m.openFiles, m.dirtyFiles, m.deletesHeld} {
		ch <- d
	}
}

func (m mountDescs) collect(ch chan<- prometheus.Metric, s Sources) {
	j, f := s.Journal(), s.Files()
	gauge(ch, m.build, 1, s.Version)
	gauge(ch, m.role, 1, s.Role())
	gauge(ch, m.lastPosition, float64(j.LastPosition))
	gauge(ch, m.bytes, float64(j.Bytes))
	gauge(ch, m.maxBytes, float64(j.MaxBytes))
	counter(ch, m.records, j.Records)
	gauge(ch, m.openFiles, float64(f.Open))
	gauge(ch, m.dirtyFiles, float64(f.Dirty))
	gauge(ch, m.deletesHeld, 0) // this version holds none back
}
