package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"casebook/domain"
)

// Bounds of what one diary may cost the server, with both embedded stores and every view. Eight connections gave 480 to 550 objects of
// 63,000 to 69,000 bytes in all, and 4,500 to 4,900 bytes written: the busier the machine, the less is done at once, and the more it
// costs. What makes diaries dearer than this has to say why.
const (
	objectsPerDiary = 800
	bytesPerDiary   = 100_000
	// writtenPerDiary bounds the bytes that the process has the disk take, for the log, the views, and their compaction.
	writtenPerDiary = 8_000
)

// TestADiaryCostsNoMoreThanItDid counts objects, the bytes of them, and bytes that are written, rather than time, which depends on the
// machine. The race detector lets programs allocate more.
func TestADiaryCostsNoMoreThanItDid(t *testing.T) {
	dir := t.TempDir()
	sign := signer(t, dir)
	const id = domain.StudyID("COST")
	const phones, before, counted = 8, 50, 200
	c := spawn(t, dir)
	defer c.kill()
	setUp(installation{t: t, url: c.url}, id, sign, phones)
	token := sign("phones")
	days := func(from, through int) {
		t.Helper()
		var wait sync.WaitGroup
		for i := range phones {
			wait.Go(func() {
				for day := from; day < through; day++ {
					if !submit(c.url, token, domain.NewPatientID(id, fmt.Sprint(i)), domain.Date("2020-01-01").AddDays(day)) {
						t.Error("a diary was not taken")
						return
					}
				}
			})
		}
		wait.Wait()
	}
	days(0, before)
	began := c.spent(t)
	days(before, before+counted)
	ended := c.spent(t)
	const diaries = phones * counted
	for _, cost := range []struct {
		what  string
		spent float64
		bound float64
	}{
		{"objects", ended.objects - began.objects, objectsPerDiary},
		{"bytes of memory", ended.bytes - began.bytes, bytesPerDiary},
		{"bytes written", ended.written - began.written, writtenPerDiary},
	} {
		each := cost.spent / diaries
		t.Logf("%.0f %s for each diary", each, cost.what)
		if raceEnabled {
			cost.bound *= 2
		}
		if each > cost.bound {
			t.Errorf("each diary costs %.0f %s, and should cost %.0f at most", each, cost.what, cost.bound)
		}
	}
}

// spent is what a process has used since it began.
type spent struct{ objects, bytes, written float64 }

func (c child) spent(t *testing.T) (s spent) {
	t.Helper()
	answer, err := http.Get(c.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case name == "go_memstats_mallocs_total":
			s.objects = n
		case name == "go_memstats_alloc_bytes_total":
			s.bytes = n
		}
	}
	if s.objects == 0 || s.bytes == 0 {
		t.Fatal("the metrics do not tell what was allocated")
	}
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", c.process.Process.Pid))
	if err != nil {
		return s // another system than Linux
	}
	for line := range strings.Lines(string(io)) {
		if value, is := strings.CutPrefix(strings.TrimSpace(line), "write_bytes: "); is {
			if s.written, err = strconv.ParseFloat(value, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}
