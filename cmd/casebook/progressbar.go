package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"casebook/readmodels"

	"golang.org/x/term"
)

// progressBar shows how far a fold of the log has come: on a terminal in one line that changes, elsewhere in a line now and
// then.
type progressBar struct {
	out      io.Writer
	name     string
	terminal bool
	drawn    bool
	last     time.Time
}

const (
	barWidth = 30
	barEvery = 5 * time.Second // off a terminal
)

func newProgressBar(out io.Writer, name string) *progressBar {
	file, ok := out.(*os.File)
	return &progressBar{out: out, name: name, terminal: ok && term.IsTerminal(int(file.Fd())), last: time.Now()}
}

// show draws where a fold stands.
func (b *progressBar) show(at readmodels.Checkpoint) {
	if at.State != readmodels.CatchingUp || at.End == 0 {
		return
	}
	done := min(float64(at.Position.Commit)/float64(at.End), 1)
	line := fmt.Sprintf("%s [%s%s] %5.1f%%  %d events  %.0f/s  %s left", b.name, strings.Repeat("#", int(done*barWidth)),
		strings.Repeat("-", barWidth-int(done*barWidth)), 100*done, at.Events, at.Rate, (time.Duration(at.RemainingMillis) * time.Millisecond).Round(time.Second))
	switch {
	case b.terminal:
		fmt.Fprintf(b.out, "\r\x1b[K%s", line)
		b.drawn = true
	case time.Since(b.last) > barEvery:
		fmt.Fprintln(b.out, line)
		b.last = time.Now()
	}
}

// end leaves the line.
func (b *progressBar) end() {
	if b.drawn {
		fmt.Fprintln(b.out)
		b.drawn = false
	}
}
