package config

import (
	"log/slog"
	"strings"
)

// SlogLevel is the level as log/slog has it. The error wraps ErrInvalid.
func (l Log) SlogLevel() (slog.Level, error) {
	switch strings.ToLower(l.Level) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, invalid("log.level", l.Level, "debug, info, warn or error")
}
