package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"closefs/cmd/closefs/control"
)

func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	acked := now.Add(-90 * time.Second)
	s := control.Status{Mountpoint: "/var/www/uploads", Backing: "/srv/uploads", Role: "primary", State: control.Serving, PID: 4242,
		Since: now.Add(-time.Hour), Journal: control.Journal{First: 1, Last: 1 << 40, Bytes: 64 << 20},
		Targets: []control.Target{
			{Name: "web2", URL: "sftp://u@web2/p", State: "synced", LastAckedAt: &acked},
			{Name: strings.Repeat("long-name-", 4), State: "needs-reconcile", PendingChanges: 12345678901, PendingBytes: 1 << 45,
				LagSeconds: 400 * 24 * 3600, LastError: "no space left at the target"},
		}}
	var b strings.Builder
	if err := printStatus(&b, s, now); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if utf8.RuneCountInString(line) > 81 && !strings.Contains(line, "NOT well") {
			t.Errorf("longer than 80 columns: %q", line)
		}
	}
	for _, want := range []string{"/var/www/uploads: NOT well: long-name-", "pid 4242", "backing  /srv/uploads", "1m30s", "400d0h", "no space left"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func TestVerdict(t *testing.T) {
	targets := func(states ...string) (all []control.Target) {
		for _, s := range states {
			all = append(all, control.Target{Name: "t", State: s})
		}
		return all
	}
	for _, tc := range []struct {
		state   string
		targets []control.Target
		want    string
	}{
		{control.Serving, nil, "is well; no targets"},
		{control.Serving, targets("synced"), "all is well, the target is up to date"},
		{control.Serving, targets("synced", "synced"), "all is well, all 2 targets are up to date"},
		{control.Serving, targets("synced", "shipping", "reconciling"), "is well, 1 of 3 targets up to date, 2 catching up"},
		{control.Serving, targets("synced", "stopped"), "NOT well: t is stopped"},
		{control.Stopping, targets("synced"), "is stopping"},
	} {
		if got := verdict(control.Status{State: tc.state, Targets: tc.targets}); !strings.HasPrefix(got, tc.want) {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}
