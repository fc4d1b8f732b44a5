package sftp

import (
	"net"
	"sync/atomic"
	"time"
)

// heardConn notes when the peer was last heard of. Everything counts, not only
// answers to keep-alives: on a slow link those queue behind the data, but the
// answers to earlier writes keep coming.
type heardConn struct {
	net.Conn
	last atomic.Int64 // nanoseconds since begun
	from time.Time
}

func newHeardConn(c net.Conn) *heardConn { return &heardConn{Conn: c, from: time.Now()} }

func (c *heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.last.Store(int64(time.Since(c.from)))
	}
	return n, err
}

// silence is how long nothing was heard.
func (c *heardConn) silence() time.Duration {
	return time.Since(c.from) - time.Duration(c.last.Load())
}

// watch asks for a sign of life after each interval of silence, and ends the
// connection after count of them. It returns when the connection has ended.
// A link that was cut without a word would otherwise be noticed by nobody until
// the kernel gives up, after a quarter of an hour.
func (c *connection) watch(interval time.Duration, count int) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait()
	}()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	answered := make(chan struct{}, 1) // room for the only one under way
	for asking := false; ; {
		select {
		case <-ended:
			return
		case <-answered:
			asking = false
		case <-tick.C:
			switch silence := c.heard.silence(); {
			case silence >= interval*time.Duration(count):
				c.heard.Close()
			case silence >= interval && !asking:
				asking = true
				go func() {
					// It returns with the answer, whatever that is, or when the connection ends.
					_, _, _ = c.SendRequest("keepalive@openssh.com", true, nil)
					answered <- struct{}{}
				}()
			}
		}
	}
}
