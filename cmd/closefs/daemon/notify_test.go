package daemon

import (
	"log/slog"
	"net"
	"path/filepath"
	"testing"
)

func TestNotify(t *testing.T) {
	addr := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	systemd, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", addr.Name)
	log := slog.New(slog.DiscardHandler)
	notify(log, "READY=1\nSTATUS=serving /m")
	buf := make([]byte, 100)
	n, err := systemd.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1\nSTATUS=serving /m" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", addr.Name+"-gone")
	notify(log, "READY=1") // nobody there is no reason to fail
}
