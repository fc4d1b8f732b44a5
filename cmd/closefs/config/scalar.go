package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// A Size is a number of bytes, written as 512, 64KiB, 64MiB, 1GiB or 2TiB.
type Size int64

// ParseSize reads a size. Decimal units (MB) are refused rather than guessed.
func ParseSize(s string) (Size, error) {
	number, shift := s, 0
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			number, shift = n, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q: want a size as 64MiB: %w", s, ErrInvalid)
	}
	return Size(n << shift), nil
}

// String is the shortest exact form.
func (s Size) String() string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	n, i := int64(s), 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	return strconv.FormatInt(n, 10) + units[i]
}

// UnmarshalYAML reads a size.
func (s *Size) UnmarshalYAML(n ast.Node) error {
	return scalar(n, func(v string) (err error) { *s, err = ParseSize(v); return err })
}

// A Duration is a span of time, written as 5ms, 30s, 1h30m or 7d.
type Duration time.Duration

// ParseDuration reads a duration: what time.ParseDuration reads, and days.
func ParseDuration(s string) (Duration, error) {
	bad := fmt.Errorf("%q: want a duration as 5ms, 30s or 7d: %w", s, ErrInvalid)
	rest, days := s, int64(0)
	if d, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseInt(d, 10, 32)
		if err != nil || n < 0 {
			return 0, bad
		}
		days, rest = n, after
	}
	total := time.Duration(days) * 24 * time.Hour
	if rest != "" || days == 0 {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return 0, bad
		}
		total += d
	}
	if total < 0 || days > math.MaxInt64/int64(24*time.Hour) {
		return 0, bad
	}
	return Duration(total), nil
}

func (d Duration) String() string { return time.Duration(d).String() }

// UnmarshalYAML reads a duration.
func (d *Duration) UnmarshalYAML(n ast.Node) error {
	return scalar(n, func(v string) (err error) { *d, err = ParseDuration(v); return err })
}

// Sync says when an appended record is made durable: by a group timer, or
// before the append returns.
type Sync struct {
	Always   bool
	Interval time.Duration
}

func (s Sync) String() string {
	if s.Always {
		return "always"
	}
	return s.Interval.String()
}

// UnmarshalYAML reads "always" or the timer's interval.
func (s *Sync) UnmarshalYAML(n ast.Node) error {
	return scalar(n, func(v string) error {
		if v == "always" {
			*s = Sync{Always: true}
			return nil
		}
		d, err := ParseDuration(v)
		*s = Sync{Interval: time.Duration(d)}
		return err
	})
}

// Strings is a list that may be written as one string.
type Strings []string

// UnmarshalYAML reads a string or a list of strings.
func (s *Strings) UnmarshalYAML(n ast.Node) error {
	if n.Type() != ast.SequenceType {
		return scalar(n, func(v string) error { *s = Strings{v}; return nil })
	}
	var list []string
	if err := yaml.NodeToValue(n, &list); err != nil {
		return err
	}
	*s = list
	return nil
}

// scalar gives the text of a scalar node to set, and the node's place to set's error.
func scalar(n ast.Node, set func(string) error) error {
	s, ok := n.(ast.ScalarNode)
	if !ok {
		return &yaml.SyntaxError{Message: fmt.Sprintf("want a single value, got a %s", strings.ToLower(n.Type().String())), Token: n.GetToken()}
	}
	if err := set(fmt.Sprint(s.GetValue())); err != nil {
		message := strings.TrimSuffix(err.Error(), ": "+ErrInvalid.Error())
		return &yaml.SyntaxError{Message: message, Token: n.GetToken()}
	}
	return nil
}
