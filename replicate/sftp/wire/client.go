package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrClosed is wrapped by every call that had no answer when the stream ended.
var ErrClosed = errors.New("sftp session ended")

// A Client is one SFTP session. It may be used concurrently.
type Client struct {
	w    io.WriteCloser
	ext  map[string]string
	lim  Limits
	done chan struct{} // closed when the receiver has stopped

	// sending is held while packets are written, so that they are not mixed, and
	// while w is closed, which an SSH channel allows in no other way. Lock order:
	// sending, mu.
	sending sync.Mutex

	mu      sync.Mutex
	calls   map[uint32]*Call // sent, not answered
	next    uint32           // id of the next request
	failure error            // why the session ended; nil while it lasts
}

// Limits are a server's bounds, in bytes.
type Limits struct {
	Packet uint64 // a whole packet
	Read   uint64 // data of one Read
	Write  uint64 // data of one Write
}

// minimum is what every server takes (section 3 of the draft: packets of 34,000 bytes).
var minimum = Limits{Packet: 34000, Read: 32768, Write: 32768}

// NewClient begins a session over r and w: it exchanges versions and asks for
// the server's limits. Close closes w; r must end when the peer, or the
// connection below, is gone.
func NewClient(ctx context.Context, r io.Reader, w io.WriteCloser) (*Client, error) {
	c := &Client{w: w, calls: make(map[uint32]*Call), done: make(chan struct{}), lim: minimum}
	started := make(chan error, 1)
	br := bufio.NewReaderSize(r, 64<<10)
	go func() {
		defer close(c.done)
		err := c.greet(br)
		started <- err
		if err == nil {
			c.receive(br)
		}
	}()
	select {
	case err := <-started:
		if err != nil {
			c.Close()
			return nil, err
		}
	case <-ctx.Done():
		c.Close()
		return nil, ctx.Err()
	}
	if err := c.askLimits(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// greet sends our version and reads theirs, with the extensions offered.
func (c *Client) greet(r io.Reader) error {
	p := NewPacket(Init)
	p.Uint32(3)
	c.send([][]byte{p.Finish(0)})
	typ, f, err := ReadPacket(r)
	if err != nil {
		return fmt.Errorf("%w: no answer to the greeting: %w", ErrClosed, err)
	}
	version := f.Uint32()
	if typ != Version || version != 3 || f.Err() != nil {
		return fmt.Errorf("%w: greeting of type %d, version %d", ErrPacket, typ, version)
	}
	c.ext = make(map[string]string)
	for f.Left() > 0 && f.Err() == nil {
		name := f.String()
		c.ext[name] = f.String()
	}
	return f.Err()
}

func (c *Client) askLimits(ctx context.Context) error {
	if !c.Has(ExtLimits) {
		return nil
	}
	b := c.Batch()
	call := b.Extended(ExtLimits)
	b.Send()
	f, err := call.Extended(ctx)
	if errors.As(err, new(Code)) {
		return nil
	}
	if err != nil {
		return err
	}
	got := Limits{Packet: f.Uint64(), Read: f.Uint64(), Write: f.Uint64()}
	if f.Err() == nil {
		c.lim = Limits{
			Packet: max(minimum.Packet, min(got.Packet, MaxPacket)),
			Read:   max(minimum.Read, min(got.Read, MaxPacket-1024)),
			Write:  max(minimum.Write, min(got.Write, MaxPacket-1024)),
		}
	}
	return nil
}

// Has says whether the server offers the extension.
func (c *Client) Has(ext string) bool { _, ok := c.ext[ext]; return ok }

// Limits are the bounds to keep.
func (c *Client) Limits() Limits { return c.lim }

// Done is closed when the session has ended, by either side.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the session; calls without an answer fail with ErrClosed. It waits
// for a write under way, which only ends with the connection below if the peer
// has stopped to read: end that first.
func (c *Client) Close() error {
	c.fail(ErrClosed)
	c.sending.Lock()
	defer c.sending.Unlock()
	return c.w.Close()
}

// receive gives answers to their calls until the stream ends.
func (c *Client) receive(r io.Reader) {
	for {
		typ, f, err := ReadPacket(r)
		if err != nil {
			c.fail(fmt.Errorf("%w: %w", ErrClosed, err))
			return
		}
		id := f.Uint32()
		c.mu.Lock()
		call := c.calls[id]
		delete(c.calls, id)
		c.mu.Unlock()
		if call == nil || f.Err() != nil {
			c.fail(fmt.Errorf("%w: %w: answer %d to nothing that was asked", ErrClosed, ErrPacket, id))
			return
		}
		call.answer <- reply{typ: typ, fields: f}
	}
}

// fail ends the session with err, if it has not ended yet.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return
	}
	c.failure = err
	for id, call := range c.calls {
		delete(c.calls, id)
		call.answer <- reply{err: err}
	}
}

// register gives call an id, or its failure if the session has ended.
func (c *Client) register(call *Call) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	if c.failure != nil {
		call.answer <- reply{err: c.failure}
	} else {
		c.calls[c.next] = call
	}
	return c.next
}

// send writes whole packets.
func (c *Client) send(packets [][]byte) {
	c.sending.Lock()
	defer c.sending.Unlock()
	for _, p := range packets {
		if _, err := c.w.Write(p); err != nil {
			c.fail(fmt.Errorf("%w: %w", ErrClosed, err))
			return
		}
	}
}
