package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse: another daemon answers at the socket.
var ErrInUse = errors.New("another closefs answers")

// A Server answers on a control socket.
type Server struct {
	listener net.Listener
	http     *http.Server
	cancel   context.CancelFunc
}

// Listen makes the socket, mode 0600, in a directory that is made if missing.
// A socket left by a dead daemon is replaced; ErrInUse if somebody answers there.
func Listen(socket string, log *slog.Logger) (*Server, error) {
	if err := privateDir(filepath.Dir(socket)); err != nil {
		return nil, err
	}
	if err := removeDead(socket); err != nil {
		return nil, err
	}
	// The mode that a socket has before bind(2) is the mode of its file, so
	// there is no moment at which others may connect.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); e != nil {
			return e
		}
		return err
	}}
	l, err := lc.Listen(context.Background(), "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{listener: l, cancel: cancel, http: &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}, nil
}

// privateDir makes the sockets' directory. One in a place that everybody may
// write to has to belong to us alone, or somebody could put a socket there first.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() || fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("control socket: directory %s: want it owned by user %d and writable for no one else", dir, os.Geteuid())
	}
	return nil
}

func removeDead(socket string) error {
	c, err := net.DialTimeout("unix", socket, 5*time.Second)
	switch {
	case err == nil:
		c.Close()
		return fmt.Errorf("control socket %s: %w", socket, ErrInUse)
	case errors.Is(err, syscall.ENOENT):
		return nil
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("control socket %s: %w: %w", socket, ErrInUse, err)
	}
	if fi, err := os.Lstat(socket); err != nil || fi.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("control socket: %s is in the way and is not a socket", socket)
	}
	return os.Remove(socket)
}

// Serve answers until Close.
func (s *Server) Serve(svc Service) error {
	s.http.Handler = Handler(svc)
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Close ends the requests that wait, lets the others finish for a second at
// most, and removes the socket.
func (s *Server) Close() error {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	s.listener.Close() // where Serve was never called
	if err != nil {
		return s.http.Close()
	}
	return nil
}

// Handler serves the requests.
func Handler(svc Service) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { reply(w, svc.Status()) })
	mux.HandleFunc("GET /v1/version", func(w http.ResponseWriter, _ *http.Request) { reply(w, svc.Version()) })
	mux.HandleFunc("POST /v1/wait", func(w http.ResponseWriter, r *http.Request) {
		var req WaitRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			refuse(w, http.StatusBadRequest, fmt.Errorf("wait: read request: %w", err))
			return
		}
		res, err := svc.Wait(r.Context(), req)
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		reply(w, res)
	})
	mux.HandleFunc("POST /v1/unmount", func(w http.ResponseWriter, r *http.Request) {
		if err := svc.Unmount(r.Context()); err != nil {
			refuse(w, http.StatusConflict, err)
			return
		}
		reply(w, struct{}{})
	})
	return mux
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}

func refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(failure{Error: err.Error()})
}
