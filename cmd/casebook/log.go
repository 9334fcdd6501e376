package main

import (
	"io"
	"log/slog"
)

type logFlags struct {
	Level slog.Level `help:"Lowest level that is logged: debug, info, warn or error." default:"info"`
}

// logger returns a logger that writes one line of JSON per entry.
func (f logFlags) logger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: f.Level}))
}
