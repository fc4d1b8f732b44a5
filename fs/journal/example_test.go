package journal_test

import (
	"fmt"
	"log"
	"os"

	"closefs/fs/journal"
)

func Example() {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	j, err := journal.OpenDir(dir, journal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer j.Close()

	for _, r := range []journal.Record{
		{Kind: journal.Open, ID: 42, Path: "report.tmp", Created: true},
		{Kind: journal.Content, ID: 42, Path: "report.tmp", Size: 1000},
		{Kind: journal.Rename, ID: 42, Path: "report.tmp", To: "report"},
		{Kind: journal.Open, ID: 42, Path: "report"},
	} {
		if _, err := j.Append(&r); err != nil {
			log.Fatal(err)
		}
	}

	r, err := j.NewReader(1) // everything up to position 1 is done already
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	for r.Next() {
		fmt.Println(r.Record().Pos, r.Record().Kind, r.Record().Path)
	}
	if r.Err() != nil {
		log.Fatal(r.Err())
	}
	for _, f := range j.Dirty() {
		fmt.Println("being written:", f.Path)
	}
	// Output:
	// 2 3 report.tmp
	// 3 7 report.tmp
	// 4 1 report
	// being written: report
}
