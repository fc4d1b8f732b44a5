// Delaylink joins two network namespaces by a pair of tap devices and passes
// frames between them late, and with losses: what the kernel's netem does,
// for kernels that are built without it. It runs until it is killed or one of
// the devices is deleted.
//
//	delaylink [--delay D] [--loss PCT] [--ready FILE] LOCAL NETNS REMOTE
//
// LOCAL is the device to make in the present namespace, REMOTE the one in the
// namespace that the file NETNS names (/run/netns/...). Each direction has the
// delay and the loss. FILE is made once both devices exist.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"
)

func main() {
	delay := flag.Duration("delay", 0, "how late each frame is, each way")
	loss := flag.Float64("loss", 0, "percentage of frames that are dropped, each way")
	ready := flag.String("ready", "", "file to make once both devices exist")
	flag.Parse()
	if err := run(link{delay: *delay, loss: *loss / 100}, *ready, flag.Args()); err != nil {
		slog.Error("delaylink ends", "error", err)
		os.Exit(1)
	}
}

func run(l link, ready string, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want LOCAL NETNS REMOTE, got %q", args)
	}
	local, err := openTap(args[0])
	if err != nil {
		return err
	}
	var remote *os.File
	err = inNetns(args[1], func() (err error) {
		remote, err = openTap(args[2])
		return err
	})
	if err != nil {
		return err
	}
	if ready != "" {
		if err := os.WriteFile(ready, nil, 0o644); err != nil {
			return err
		}
	}
	ended := make(chan error, 2)
	go func() { ended <- l.pass(local, remote) }()
	go func() { ended <- l.pass(remote, local) }()
	return <-ended
}

// link is one direction's behaviour.
type link struct {
	delay time.Duration
	loss  float64 // share of frames, 0 to 1
}

// frame is one Ethernet frame and the moment it is to arrive.
type frame struct {
	due   time.Time
	bytes []byte
}

// queued bounds the frames on their way; more are dropped, as a full router does.
const queued = 65536

// pass carries frames from one device to the other, in order, until a device fails.
func (l link) pass(from, to *os.File) error {
	onTheWay := make(chan frame, queued)
	failed := make(chan error, 1)
	go func() { failed <- deliver(onTheWay, to) }()
	buf := make([]byte, 65536)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return fmt.Errorf("read frame: %w", err)
		}
		if rand.Float64() < l.loss {
			continue
		}
		select {
		case err := <-failed:
			return err
		case onTheWay <- frame{time.Now().Add(l.delay), append([]byte(nil), buf[:n]...)}:
		default:
		}
	}
}

func deliver(frames <-chan frame, to *os.File) error {
	for f := range frames {
		time.Sleep(time.Until(f.due))
		if _, err := to.Write(f.bytes); err != nil && !linkDown(err) {
			return fmt.Errorf("write frame: %w", err)
		}
	}
	return nil
}
