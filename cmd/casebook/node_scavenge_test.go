package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/embedded/node/store"
)

// TestScavengeKeepsTheTrial hides events of every category by stream metadata. After a scavenge, only those events may
// be removed that are not records of a trial.
func TestScavengeKeepsTheTrial(t *testing.T) {
	data := t.TempDir()
	dir := filepath.Join(data, eventStoreDir)
	categories := contexts.Registry().Categories()
	if !slices.Contains(categories, "diary") || !slices.Contains(categories, "user") || len(categories) < 6 {
		t.Fatalf("the categories are %v", categories)
	}
	open := func() *store.Store {
		t.Helper()
		s, err := store.Open(store.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	put := func(s *store.Store, stream, eventType, data string) {
		t.Helper()
		done := make(chan store.Result, 1)
		var id store.ID
		copy(id[:], fmt.Sprint(len(stream), data))
		a := store.Append{
			Stream: stream, Expected: store.Any, Done: func(r store.Result) { done <- r },
			Events: []store.Proposed{store.Propose(stream, id, eventType, true, nil, []byte(data))},
		}
		if err := s.Submit(&a); err != nil {
			t.Fatal(err)
		}
		if r := <-done; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	s := open()
	for _, category := range append(categories, "scratch", "notes") {
		name := category + "-1"
		for i := range 3 {
			put(s, name, "T", fmt.Sprintf(`{"n":%d}`, i))
		}
		put(s, "$$"+name, store.MetadataType, `{"$maxCount":9}`)
		put(s, "$$"+name, store.MetadataType, `{"$maxCount":1}`)
	}
	prints := func(code int, want string, args ...string) {
		t.Helper()
		if printed := tool(t, code, append([]string{"node", "scavenge"}, args...)...); !strings.Contains(printed, want) {
			t.Errorf("casebook node scavenge %v does not print %q but:\n%s", args, want, printed)
		}
	}
	prints(exitFailure, "is being served", "--data", data)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	prints(exitFailure, "no event store", "--data", filepath.Join(t.TempDir(), "nothing"))
	prints(exitUsage, "--data")
	kept := fmt.Sprintf("%d kept", 2*len(categories)) // not those of processes, but those of notes
	prints(exitOK, "events   9 of 6 streams would be removed", "--data", data, "--dry-run")
	prints(exitOK, "events   6 of 4 streams would be removed", "--data", data, "--dry-run", "--keep", "notes")
	prints(exitOK, kept, "--data", data, "--keep", "notes-", "--keep", "other", "--as", "anna")
	prints(exitOK, "events   0 of 0 streams", "--data", data, "--keep", "notes-")

	s = open()
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	report, err := s.Verify(t.Context())
	if err != nil || report.Damage != nil || report.Scavenged != 6 {
		t.Fatalf("%+v, %v", report, err)
	}
	count := map[string]int{}
	var announced []byte
	for from := uint64(0); ; {
		page, _, err := s.ReadForward(from, nil, store.Page{Events: 100, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			count[string(r.Stream())]++
			if string(r.Stream()) == store.ScavengeStream {
				announced = r.Data()
			}
		}
		from = page[len(page)-1].Next()
	}
	for _, category := range append(categories, "scratch", "notes") {
		events, metadata := 3, 2
		if category == "process" || category == "scratch" {
			events, metadata = 1, 1
		}
		if name := category + "-1"; count[name] != events || count["$$"+name] != metadata {
			t.Errorf("%s has %d events and %d metadata", name, count[name], count["$$"+name])
		}
	}
	if !strings.Contains(string(announced), `"by":"anna"`) || !strings.Contains(string(announced), `"diary-"`) {
		t.Errorf("the scavenge was announced as %s", announced)
	}
}

// TestNodeServesByDefault runs casebook node without a further command.
func TestNodeServesByDefault(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &notifyingWriter{written: cancel}
	args := []string{"node", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--log-level", "error"}
	if code := run(ctx, args, out, io.Discard); code != exitOK {
		t.Errorf("it ends with %d", code)
	}
	if !strings.HasPrefix(out.text, "event store: esdb://casebook:xxxxx@127.0.0.1:") {
		t.Errorf("it prints %q", out.text)
	}
}

// notifyingWriter keeps what is written, and calls written after each write.
type notifyingWriter struct {
	text    string
	written func()
}

func (w *notifyingWriter) Write(b []byte) (int, error) {
	w.text += string(b)
	w.written()
	return len(b), nil
}
