package catalog_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/eventlog"
)

// oldEvents is the heading of the tables that say what the events of older logs mean.
const oldEvents = "\n## What the events of older logs mean\n"

// named finds the names of events in the first cell of a row, each with the versions that the row is about, if it says so.
var named = regexp.MustCompile("`([A-Za-z]+)`(?: (of version|up to version) ([0-9]+))?")

// TestOldEventsAreExplained asks the documents for a row about each former version of each event of a trial. Which events have former
// versions follows from their upcasts. Accounts and the bookkeeping of processes are no part of a trial's record.
func TestOldEventsAreExplained(t *testing.T) {
	schemas := map[string]*eventlog.Schema{}
	for _, s := range contexts.Registry().Schemas() {
		schemas[s.Name] = s
	}
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		_, section, _ := strings.Cut(string(text), oldEvents)
		section, _, _ = strings.Cut(section, "\n## ")
		for line := range strings.Lines(section) {
			if !strings.HasPrefix(line, "| `") {
				continue
			}
			rows := named.FindAllStringSubmatch(strings.Split(line, "|")[1], -1)
			for _, row := range rows {
				s, known := schemas[row[1]]
				version, _ := strconv.Atoi(row[3])
				if !known || version >= s.Version && version > 0 {
					t.Errorf("%s has a row for %s, and there is no such former event", filepath.Base(page), row[0])
				}
				for v := version; v > 0; v-- {
					explained[row[1]+".v"+strconv.Itoa(v)] = true
					if row[2] == "of version" {
						break
					}
				}
			}
		}
	}
	for _, s := range schemas {
		switch s.Category {
		case "user", "security", "saga":
			continue
		}
		for v := 1; v < s.Version; v++ {
			if !explained[s.Name+".v"+strconv.Itoa(v)] {
				t.Errorf("no document says what %s of version %d means: add a row below %q, in docs/participation.md, docs/supply.md or "+
					"docs/diaries.md", s.Name, v, strings.TrimSpace(oldEvents))
			}
		}
	}
}
