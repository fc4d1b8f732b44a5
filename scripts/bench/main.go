// Bench measures how long after close(2) a file is visible, whole, at one
// secondary: for closefs, for a bare SFTP put on an open connection with the
// same guarantees (the floor), and for lsyncd with delay 1 and delay 0. The
// contenders take turns within one run, so that what else the machine does
// meets all of them.
//
// scripts/bench/run prepares the machine and calls it.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	closefs string // the program
	primary string // directory for the primary's side, on its image
	labEnv  string // what lab up printed
	out     string // file with the markers to write between; "": print only
	samples int    // of the fast contenders
	lsyncd  int    // of each lsyncd; 0: leave them out
	files   int    // in each tree
	bytes   int    // of each file that is measured
}

func main() {
	var s settings
	flag.StringVar(&s.closefs, "closefs", "bin/closefs", "the program to measure")
	flag.StringVar(&s.primary, "primary", "", "directory for the primary's side")
	flag.StringVar(&s.labEnv, "lab", "", "file with what lab up printed")
	flag.StringVar(&s.out, "out", "", "file whose marked section is replaced")
	flag.IntVar(&s.samples, "samples", 400, "samples of closefs and of bare SFTP")
	flag.IntVar(&s.lsyncd, "lsyncd", 25, "samples of each lsyncd (0: none)")
	flag.IntVar(&s.files, "files", 10_000, "files in each tree")
	flag.IntVar(&s.bytes, "bytes", 100<<10, "size of each file that is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) error {
	l, err := readLab(s.labEnv)
	if err != nil {
		return err
	}
	all, err := startAll(ctx, s, l)
	defer func() {
		for _, c := range all {
			c.stop()
		}
	}()
	if err != nil {
		return err
	}
	if err := measure(ctx, s, all); err != nil {
		return err
	}
	text := table(s, all)
	fmt.Print(text)
	if s.out == "" {
		return nil
	}
	return replaceSection(s.out, text)
}

// startAll brings every contender to the point where its trees are equal and
// it waits for changes.
func startAll(ctx context.Context, s settings, l lab) ([]*contender, error) {
	kinds := []struct {
		name  string
		start func(context.Context, settings, lab, *contender) error
	}{
		{"bare SFTP put", startBareSFTP},
		{"closefs", startClosefs},
		{"lsyncd, delay 0", startLsyncd(0)},
		{"lsyncd, delay 1", startLsyncd(1)},
	}
	if s.lsyncd == 0 {
		kinds = kinds[:2]
	}
	var all []*contender
	for i, k := range kinds {
		c, err := newContender(s, l, k.name, fmt.Sprintf("tree%d", i))
		if err != nil {
			return all, err
		}
		all = append(all, c)
		if err := k.start(ctx, s, l, c); err != nil {
			return all, fmt.Errorf("start %s: %w", k.name, err)
		}
		if err := c.warmUp(ctx); err != nil {
			return all, fmt.Errorf("warm up %s: %w", k.name, err)
		}
	}
	return all, nil
}

// measure has the contenders take turns: in each round each fast one has a
// block of samples, and while there are any to take, each lsyncd one.
func measure(ctx context.Context, s settings, all []*contender) error {
	rounds := max(s.lsyncd, 20)
	for round := range rounds {
		order := rand.Perm(len(all))
		for _, i := range order {
			n := s.samples / rounds
			if i >= 2 {
				n = min(1, max(0, s.lsyncd-round))
			}
			if err := all[i].sample(ctx, max(n, 0)); err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
		}
		fmt.Fprintf(os.Stderr, "\rbench: round %d of %d", round+1, rounds)
	}
	fmt.Fprintln(os.Stderr)
	return nil
}

// pause lets a contender come to rest, for a time that keeps no step with
// anything: files come to an idle system, as most uploads do.
func pause() { time.Sleep(5*time.Millisecond + rand.N(10*time.Millisecond)) }
