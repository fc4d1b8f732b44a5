package daemon

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"closefs/replicate"
)

func TestDescribe(t *testing.T) {
	now := time.Now()
	b, err := json.Marshal(describe(replicate.Status{Name: "a", State: replicate.Shipping, OldestPending: now.Add(-1500 * time.Millisecond)}, now))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"lag_seconds":1.5`, `"last_acked_at":null`, `"state":"shipping"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
}

func TestLagReason(t *testing.T) {
	for want, s := range map[string]replicate.Status{
		"connecting, 3 changes pending: connection refused": {State: replicate.Connecting, PendingChanges: 3, LastError: "connection refused"},
		"reconciling": {State: replicate.Reconciling},
	} {
		if got := lagReason(s); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
