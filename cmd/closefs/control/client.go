package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrNotRunning: nobody answers at the socket.
var ErrNotRunning = errors.New("no closefs answers")

// A Client asks one daemon.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient makes a client of the daemon at socket; it does not connect yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Close drops the connection.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// answerTime bounds the questions that a daemon that lives answers at once.
const answerTime = 30 * time.Second

// Status asks how the mount is. ErrNotRunning if nobody answers.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return s, c.call(ctx, http.MethodGet, "status", nil, &s)
}

// Version asks what the daemon was built from.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return v, c.call(ctx, http.MethodGet, "version", nil, &v)
}

// Wait waits as r says.
func (c *Client) Wait(ctx context.Context, r WaitRequest) (res WaitResult, err error) {
	return res, c.call(ctx, http.MethodPost, "wait", r, &res)
}

// Unmount asks the daemon to unmount and end. It returns when the mount is gone.
func (c *Client) Unmount(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "unmount", struct{}{}, &struct{}{})
}

func (c *Client) call(ctx context.Context, method, name string, body, into any) error {
	var b bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://closefs/v1/"+name, &b)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.transportError(name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return answeredError(name, res)
	}
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		return fmt.Errorf("%s: the answer was cut short: %w", name, err)
	}
	return nil
}

func (c *Client) transportError(name string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w at %s", ErrNotRunning, c.socket)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("control socket %s: %w: only the user who mounted may ask", c.socket, syscall.EACCES)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%s: closefs ended before it answered: %w", name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

func answeredError(name string, res *http.Response) error {
	var f failure
	if err := json.NewDecoder(res.Body).Decode(&f); err != nil || f.Error == "" {
		return fmt.Errorf("%s: answered %s", name, res.Status)
	}
	return errors.New(f.Error)
}

// FindOnly returns a client of the one daemon that answers in the directory of
// sockets. ErrNotRunning if there is none; several are listed in the error.
func FindOnly(ctx context.Context, dir string) (*Client, error) {
	sockets, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.sock"))
	if err != nil {
		return nil, fmt.Errorf("look for mounts in %s: %w", dir, err)
	}
	var found []*Client
	var where []string
	for _, s := range sockets {
		c := NewClient(s)
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		st, err := c.Status(ctx)
		cancel()
		if err == nil {
			found, where = append(found, c), append(where, st.Mountpoint)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%w in %s: nothing is mounted", ErrNotRunning, dir)
	case 1:
		return found[0], nil
	}
	slices.Sort(where)
	return nil, &SeveralError{Mountpoints: where}
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(s)
}

// SeveralError says that a mountpoint has to be named.
type SeveralError struct{ Mountpoints []string }

func (e *SeveralError) Error() string {
	return fmt.Sprintf("%d mounts run; name one of: %s", len(e.Mountpoints), strings.Join(e.Mountpoints, ", "))
}
