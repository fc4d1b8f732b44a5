package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func sampleRecords() []*Record {
	now := time.Unix(1_790_000_000, 123_456_789)
	stamp := func(i int, r Record) *Record {
		r.Pos, r.HLC, r.Origin = Position(100+i), uint64(now.UnixNano())+uint64(i), "here"
		if r.Time.IsZero() {
			r.Time = now
		}
		return &r
	}
	var all []*Record
	for i, r := range []Record{
		{Kind: Open, ID: 1<<63 | 7, Mode: 0o100644, Path: "a/b", Created: true},
		{Kind: Clean, ID: 7, Path: "a/b"},
		{Kind: Content, ID: 7, Mode: 0o100600, Path: "a/b", Links: []string{"c", "d/\xff\n"}, Size: 1 << 50, Mtime: now, Ctime: now.Add(-time.Nanosecond)},
		{Kind: Content, ID: 7, Path: "old", StillOpen: true, Mtime: time.Unix(-1, 5), Ctime: time.Unix(1<<40, 999_999_999)},
		{Kind: Attr, Path: "", Mode: 0o40755},
		{Kind: Make, Path: "link", Links: []string{"", "x"}},
		{Kind: Remove, ID: 9, Path: "gone", Last: true},
		{Kind: Rename, ID: 9, Path: "from", To: "to", Exchange: true},
		{Kind: Heartbeat, Time: now.Add(-time.Hour)},
		{Kind: Content, ID: 1, Path: strings.Repeat("p", MaxPath), Size: math.MinInt64, Mtime: time.Unix(0, 0)},
		{Kind: Gap},
	} {
		all = append(all, stamp(i, r))
	}
	elsewhere := *all[0]
	elsewhere.Origin = "elsewhere"
	return append(all, &elsewhere)
}

func TestRecordsSurviveEncoding(t *testing.T) {
	for _, r := range sampleRecords() {
		b, err := appendFrame(nil, r, note{durable: 90, opened: 80}, 5, "here")
		if err != nil {
			t.Fatal(err)
		}
		f, err := parseFrame(b, 5)
		if err != nil || f.size != len(b) {
			t.Fatalf("%+v: %v, %d of %d bytes", r, err, f.size, len(b))
		}
		var got Record
		n, err := decodeRecord(&got, f, "here")
		if err != nil || !sameRecord(r, &got) || n.durable != 90 {
			t.Fatalf("wrote %+v\nread  %+v, %v, %v", r, got, n, err)
		}
	}
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	r := sampleRecords()[2]
	body := binary.AppendUvarint(nil, 1000<<1|1)
	body = append(append(body, 3), "new"...)
	body = appendRecord(body, r, note{}, "here")
	body = binary.AppendUvarint(binary.AppendUvarint(body, 1001<<1), 1<<60)
	var got Record
	if _, err := decodeRecord(&got, frame{pos: r.Pos, body: body}, "here"); err != nil || !sameRecord(r, &got) {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestUnknownKinds(t *testing.T) {
	for kind, want := range map[Kind]error{Gap: nil, Gap + 1: ErrNewer, optionalKind - 1: ErrNewer, optionalKind: nil, 255: nil} {
		if err := known(kind, "x"); !errors.Is(err, want) {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
}

func TestRefusedRecords(t *testing.T) {
	j := mustOpen(t, t.TempDir(), Options{})
	many := make([]string, 300)
	for i := range many {
		many[i] = strings.Repeat("l", MaxPath)
	}
	for name, c := range map[string]struct {
		r    Record
		want error
	}{
		"long path":    {Record{Kind: Attr, Path: strings.Repeat("x", MaxPath+1)}, ErrTooLong},
		"long target":  {Record{Kind: Rename, Path: "a", To: strings.Repeat("x", MaxPath+1)}, ErrTooLong},
		"long link":    {Record{Kind: Make, Path: "a", Links: []string{strings.Repeat("x", MaxPath+1)}}, ErrTooLong},
		"many links":   {Record{Kind: Content, ID: 1, Path: "a", Links: many}, ErrTooLong},
		"NUL":          {Record{Kind: Attr, Path: "a\x00b"}, ErrInvalid},
		"no kind":      {Record{Path: "a"}, ErrInvalid},
		"unknown kind": {Record{Kind: Gap + 1, Path: "a"}, ErrInvalid},
		"checkpoint":   {Record{Kind: Checkpoint, ID: 1, Path: "a"}, ErrInvalid},
		"no id":        {Record{Kind: Open, Path: "a"}, ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			before := j.Last()
			if pos, err := j.Append(&c.r); !errors.Is(err, c.want) || pos != 0 {
				t.Fatalf("position %d, %v", pos, err)
			}
			mustAppend(t, j, Record{Kind: Attr, Path: "after"})
			all := readAll(t, j, before)
			if len(all) != 2 || all[0].Kind != Gap || all[1].Path != "after" {
				t.Fatalf("then %d records: %+v", len(all), all[0])
			}
		})
	}
}

// The largest records fit even where segments are smaller.
func TestRecordLargerThanSegment(t *testing.T) {
	dir := t.TempDir()
	links := make([]string, 250)
	for i := range links {
		links[i] = fmt.Sprintf("%0*d", 4000, i)
	}
	j := mustOpen(t, dir, Options{SegmentSize: minSegment})
	for range 3 {
		mustAppend(t, j, Record{Kind: Content, ID: 1, Path: "a", Links: links})
		mustAppend(t, j, Record{Kind: Attr, Path: "b"})
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, dir, Options{SegmentSize: minSegment})
	if all := readAll(t, again, 0); len(all) != 6 || len(all[4].Links) != len(links) {
		t.Fatalf("%d records", len(all))
	}
}

// FuzzDecode feeds arbitrary bytes to everything that reads what was stored.
func FuzzDecode(f *testing.F) {
	for _, r := range sampleRecords() {
		b, err := appendFrame(nil, r, note{durable: 1}, 0, "here")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	h := header{first: 1, origin: "here"}
	f.Add(h.encode())
	f.Add((&state{seq: 3, boot: "x"}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		decodeHeader(b)
		decodeState(b)
		parseFrame(b, 0)
		var r Record
		if _, err := decodeRecord(&r, frame{pos: 50, body: b}, "here"); err != nil {
			return
		}
		again := appendRecord(nil, &r, note{}, "here")
		var r2 Record
		if _, err := decodeRecord(&r2, frame{pos: 50, body: again}, "here"); err != nil || !sameRecord(&r, &r2) {
			t.Fatalf("%+v\n%+v\n%v", r, r2, err)
		}
	})
}

func TestHeaderHoldsWhatItWasGiven(t *testing.T) {
	h := header{first: 5, prevFirst: 2, prevLast: 4, hlc: 77, salt: 9, lossy: true, origin: strings.Repeat("o", maxOrigin)}
	b := h.encode()
	if got, err := decodeHeader(b); err != nil || got != h {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 1
		if got, err := decodeHeader(c); err == nil {
			t.Fatalf("byte %d flipped: %+v", i, got)
		}
	}
}
