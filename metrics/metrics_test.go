package metrics

import (
	"bytes"
	"flag"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"closefs/replicate"
)

var update = flag.Bool("update", false, "rewrite testdata")

func at(s int64) time.Time { return time.Unix(1_800_000_000+s, 250_000_000) }

// registry has every metric with a value of its own.
func registry(t *testing.T) *prometheus.Registry {
	t.Helper()
	l := NewLatencies()
	r := prometheus.NewPedanticRegistry()
	if err := l.Register(r); err != nil {
		t.Fatal(err)
	}
	l.Shipped("web2")(1500 * time.Microsecond)
	l.Shipped("web2")(time.Hour)
	l.Request("CREATE", 90*time.Microsecond)
	l.Request("CREATE", 91*time.Microsecond)
	l.Request("LOOKUP", 12*time.Microsecond)
	l.JournalSync(155 * time.Microsecond)
	r.MustRegister(NewCollector(Sources{
		Version: "1.2.3",
		Role:    func() string { return "primary" },
		Journal: func() Journal { return Journal{LastPosition: 17, Bytes: 4096, MaxBytes: 1 << 30, Records: 9} },
		Files:   func() Files { return Files{Open: 3, Dirty: 2} },
		Now:     func() time.Time { return at(10) },
		Targets: func() []replicate.Status {
			return []replicate.Status{{
				Name: "web2", Up: true, Acked: 15, PendingChanges: 2, PendingBytes: 2048, OldestPending: at(4),
				LastAckedAt: at(3), HeartbeatSent: at(2), HeartbeatApplied: at(1), ShippedFiles: 5, ShippedBytes: 6000,
				Errors: map[string]int64{"connection": 4, "space": 1},
			}, {Name: "web3", NeedsReconcile: true}}
		},
	}))
	return r
}

func exposition(t *testing.T) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry(t), promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.Bytes()
}

func TestExposition(t *testing.T) {
	const golden = "testdata/exposition.txt"
	got := exposition(t)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the exposition is not that of %s (-update rewrites it):\n%s", golden, got)
	}
}

func TestLint(t *testing.T) {
	problems, err := promlint.New(bytes.NewReader(exposition(t))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// The names are a contract: each one promised is there.
func TestNames(t *testing.T) {
	got := string(exposition(t))
	for _, name := range strings.Fields(`build_info role
		journal_last_position journal_bytes journal_max_bytes journal_records_total journal_sync_seconds
		target_up target_acked_position target_pending_changes target_pending_bytes
		target_oldest_pending_timestamp_seconds target_last_acked_timestamp_seconds
		target_heartbeat_sent_timestamp_seconds target_heartbeat_applied_timestamp_seconds
		target_shipped_files_total target_shipped_bytes_total target_errors_total target_needs_reconcile
		replication_lag_seconds replication_seconds fuse_request_seconds open_files dirty_files deletes_held`) {
		if !strings.Contains(got, "# TYPE closefs_"+name+" ") {
			t.Errorf("closefs_%s is missing", name)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	l := NewLatencies()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Request("LOOKUP", 12*time.Microsecond)
		}
	})
}
