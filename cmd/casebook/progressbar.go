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

// progressBar shows the progress of a fold of the log: on a terminal in one line that changes, elsewhere in a new line
// every five seconds.
type progressBar struct {
	out      io.Writer
	name     string
	terminal bool
	drawn    bool
	last     time.Time
}

const (
	barWidth = 30
	barEvery = 5 * time.Second // between lines, where there is no terminal
)

func newProgressBar(out io.Writer, name string) *progressBar {
	file, ok := out.(*os.File)
	return &progressBar{out: out, name: name, terminal: ok && term.IsTerminal(int(file.Fd())), last: time.Now()}
}

// show draws the progress of a fold that is catching up.
func (b *progressBar) show(at readmodels.Checkpoint) {
	if at.State != readmodels.CatchingUp || at.End == 0 {
		return
	}
	done := min(float64(at.Position.Commit)/float64(at.End), 1)
	bar := strings.Repeat("#", int(done*barWidth)) + strings.Repeat("-", barWidth-int(done*barWidth))
	left := (time.Duration(at.RemainingMillis) * time.Millisecond).Round(time.Second)
	line := fmt.Sprintf("%s [%s] %5.1f%%  %d events  %.0f/s  %s left", b.name, bar, 100*done, at.Events, at.Rate, left)
	switch {
	case b.terminal:
		fmt.Fprintf(b.out, "\r\x1b[K%s", line)
		b.drawn = true
	case time.Since(b.last) > barEvery:
		fmt.Fprintln(b.out, line)
		b.last = time.Now()
	}
}

// end ends the line that was drawn, so that the next output begins on a new one.
func (b *progressBar) end() {
	if b.drawn {
		fmt.Fprintln(b.out)
		b.drawn = false
	}
}
