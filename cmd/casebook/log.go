package main

import (
	"io"
	"log/slog"
)

type logFlags struct {
	Level slog.Level `help:"Least level that is logged: debug, info, warn or error." default:"info"`
}

// logger writes structured JSON, a line an entry.
func (f logFlags) logger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: f.Level}))
}
