package e2e

import (
	"testing"
)

// TestLoads runs both loads on a plain directory: what they meet there is what
// any filesystem may answer, and what they leave is whole.
func TestLoads(t *testing.T) {
	r := newRandom(t)
	c := newChaos(t.TempDir(), 3000)
	<-c.start(r, 6)
	if c.failed != nil {
		t.Errorf("random operations: %v", c.failed)
	}
	for _, op := range operations {
		if c.counts[op.name] == 0 {
			t.Errorf("%s never succeeded", op.name)
		}
	}
	u := newUploads(t.TempDir(), 4, 100)
	ended := u.start(r)
	if !u.gate.await(200, ended) {
		t.Error("the gate missed the 200th operation")
	}
	u.gate.hold(func() {})
	<-ended
	u.check(t, u.root)
	if len(u.acked) == 0 {
		t.Error("no upload was acknowledged")
	}
}

// TestCheckWhole has the check find every cut and every changed byte.
func TestCheckWhole(t *testing.T) {
	b := newContent(newRandom(t), 500)
	if err := checkWhole(b); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		if checkWhole(b[:i]) == nil {
			t.Errorf("%d bytes of %d pass for whole", i, len(b))
		}
		b[i] ^= 1
		if checkWhole(b) == nil {
			t.Errorf("passes for whole with byte %d changed", i)
		}
		b[i] ^= 1
	}
}
