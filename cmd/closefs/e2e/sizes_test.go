package e2e

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// size returns short, or long under CLOSEFS_CAMPAIGN, or what the environment
// variable name says.
func size(t *testing.T, name string, short, long int) int {
	t.Helper()
	if s := os.Getenv(name); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("%s=%q: want a positive number", name, s)
		}
		return n
	}
	if os.Getenv("CLOSEFS_CAMPAIGN") != "" {
		return long
	}
	return short
}

// newRandom returns a generator whose seed is logged, and taken from
// CLOSEFS_SEED if that is set.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("CLOSEFS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("CLOSEFS_SEED=%q: %v", s, err)
		}
	}
	t.Logf("CLOSEFS_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
