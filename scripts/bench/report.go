package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The lines that enclose the section of the report that is written anew.
const (
	beginMark = "<!-- make bench writes from here -->"
	endMark   = "<!-- make bench writes to here -->"
)

// percentile returns the p-th percentile (0 to 100) of sorted, by nearest rank.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(float64(len(sorted))*p/100+0.999999) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

// table is the result as Markdown. The first contender is the floor.
func table(s settings, all []*contender) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Close to visible, files of %d KiB written one at a time into a tree of %d files; %s.\n\n", s.bytes>>10, s.files, machine())
	b.WriteString("| | samples | p50 | p99 | p50 / floor | p99 / floor | p50 / closefs |\n|---|---:|---:|---:|---:|---:|---:|\n")
	p50 := func(c *contender) time.Duration { return percentile(c.sorted(), 50) }
	p99 := func(c *contender) time.Duration { return percentile(c.sorted(), 99) }
	floor, closefs := all[0], all[1]
	for _, c := range all {
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %.2f | %.2f | %.2f |\n", c.name, len(c.lags), inMillis(p50(c)), inMillis(p99(c)),
			ratio(p50(c), p50(floor)), ratio(p99(c), p99(floor)), ratio(p50(c), p50(closefs)))
	}
	return b.String()
}

func (c *contender) sorted() []time.Duration {
	sorted := slices.Clone(c.lags)
	slices.Sort(sorted)
	return sorted
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func inMillis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms >= 100 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.2f ms", ms)
}

// machine describes where the figures come from.
func machine() string {
	var u unix.Utsname
	kernel := "unknown kernel"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	return fmt.Sprintf("%d × %s, %s, %s; both ends on ext4 with a journal on images in memory, loopback, %s; %s",
		runtime.NumCPU(), cpuModel(), kernel, runtime.Version(), firstLine("sshd", "-V"), strings.Replace(firstLine("lsyncd", "--version"), "Version:", "lsyncd", 1))
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown CPU"
}

// firstLine is the first line that has a digit of what a program prints about
// itself, up to a comma.
func firstLine(program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput() // sshd has no -V before 9.3 and prints its version with the usage
	for line := range strings.Lines(string(out)) {
		if strings.ContainsAny(line, "0123456789") && !strings.Contains(line, "option") {
			version, _, _ := strings.Cut(strings.TrimSpace(line), ",")
			return version
		}
	}
	return program
}

// replaceSection puts text between the marks in file, which are appended if
// there are none yet.
func replaceSection(file, text string) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	section := []byte(beginMark + "\n" + text + endMark + "\n")
	from := bytes.Index(old, []byte(beginMark))
	to := bytes.Index(old, []byte(endMark+"\n"))
	if from < 0 || to < from {
		return os.WriteFile(file, append(old, section...), 0o644)
	}
	rest := bytes.Clone(old[to+len(endMark)+1:])
	return os.WriteFile(file, slices.Concat(old[:from], section, rest), 0o644)
}
