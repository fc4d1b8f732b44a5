package daemon

import (
	"log/slog"
	"net"
	"os"
)

// notify tells systemd how the service is, by the protocol of sd_notify(3). It
// does nothing where systemd does not ask for it.
func notify(log *slog.Logger, state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err == nil {
		defer c.Close()
		_, err = c.Write([]byte(state))
	}
	if err != nil {
		log.Warn("tell systemd", "err", err)
	}
}
