package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os/exec"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"closefs/cmd/closefs/control"
	"closefs/metrics"
)

// serveWeb answers /metrics, /healthz and /readyz until ctx ends.
func (d *daemon) serveWeb(ctx context.Context) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.registry(), promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelWarn)}))
	mux.HandleFunc("GET /healthz", d.healthz)
	mux.HandleFunc("GET /readyz", d.readyz)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(d.web); !errors.Is(err, http.ErrServerClosed) {
		d.log.Error("listen", "addr", d.c.Listen, "err", err)
	}
}

func (d *daemon) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	if err := d.latency.Register(r); err != nil {
		d.log.Error("metrics", "err", err)
	}
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	r.MustRegister(metrics.NewCollector(metrics.Sources{
		Version: d.o.Version,
		Role:    func() string { return role },
		Journal: d.journalMetrics,
		Files: func() metrics.Files {
			s := d.fs.Stats()
			return metrics.Files{Open: int64(s.OpenFiles), Dirty: int64(s.DirtyFiles)}
		},
		Targets: d.statuses,
		Now:     time.Now,
	}))
	return r
}

func (d *daemon) journalMetrics() metrics.Journal {
	s := d.journal.Stats()
	return metrics.Journal{LastPosition: uint64(s.Last), Bytes: s.Bytes, MaxBytes: s.MaxBytes, Records: int64(s.Records)}
}

// healthz says whether this process serves and its mount answers.
func (d *daemon) healthz(w http.ResponseWriter, r *http.Request) {
	if err := d.answers(r.Context()); err != nil {
		http.Error(w, "the mount does not answer: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// probeTime is how long the mount may take to answer before it counts as hung.
const probeTime = 5 * time.Second

// answers asks the mount for a sign of life, from another process: a request of
// this one to itself could outlive its death, and with it every lock it holds.
// One question at a time: one that hangs must not be joined by another at each
// probe.
func (d *daemon) answers(ctx context.Context) error {
	if !d.probing.TryLock() {
		return errors.New("an earlier question is still open")
	}
	defer d.probing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	probe := exec.CommandContext(ctx, "/proc/self/exe", "probe", d.c.Mountpoint)
	probe.Args[0] = "closefs"
	probe.WaitDelay = time.Second
	if out, err := probe.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// readiness is the body of /readyz.
type readiness struct {
	Mountpoint string            `json:"mountpoint"`
	State      string            `json:"state"`
	Targets    map[string]string `json:"targets"`
}

// readyz says whether applications may use the mount; how the targets are is
// told, and does not count: the mount works without them.
func (d *daemon) readyz(w http.ResponseWriter, _ *http.Request) {
	body := readiness{Mountpoint: d.c.Mountpoint, State: d.state.Load().(string), Targets: make(map[string]string)}
	for _, s := range d.statuses() {
		body.Targets[s.Name] = string(s.State)
	}
	w.Header().Set("Content-Type", "application/json")
	if body.State != control.Serving {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // the client is gone if this fails
}
