package sagas_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/scenario"

	"github.com/google/go-cmp/cmp"
)

// storedShape is something that the steps of processes record: what an instance remembers, or a command.
type storedShape struct {
	// file begins the names of its golden files; what names it in a sentence.
	file, what string
	goType     reflect.Type
	upcasts    domain.Upcasts
	// decode reads it as the program does.
	decode func(stored []byte, into any) error
}

func storedShapes(t *testing.T) []storedShape {
	t.Helper()
	var all []storedShape
	sent := map[reflect.Type]bool{}
	for _, p := range processes {
		state, upcasts := p.State()
		if state == nil {
			continue // it sends at once what it sends, and records nothing before
		}
		all = append(all, storedShape{file: "testdata/golden/states/" + p.Name, what: "the state of the process " + p.Name,
			goType: state, upcasts: upcasts, decode: json.Unmarshal})
		for _, c := range p.Commands() {
			sent[c] = true
		}
	}
	for _, c := range contexts.Commands() {
		// A command that no process sends any more can still stand in a step: its golden file keeps it.
		file := "testdata/golden/commands/" + c.Name()
		kept, err := filepath.Glob(file + ".v*.json")
		if err != nil {
			t.Fatal(err)
		}
		if sent[c.Body()] || len(kept) > 0 {
			all = append(all, storedShape{file: file, what: "the command " + c.Name(), goType: c.Body(), upcasts: c.Upcasts(),
				decode: commands.Decode})
		}
	}
	return all
}

// TestWhatProcessesRecordedStillReads holds every golden file to what it reads as. The golden files are states and commands
// as each version of them was recorded, with every field filled. A file that is there is never rewritten. Beside a file of
// an earlier version lies what it means today.
func TestWhatProcessesRecordedStillReads(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range storedShapes(t) {
		for v := 1; v <= s.upcasts.Version(); v++ {
			file := fmt.Sprintf("%s.v%d.json", s.file, v)
			seen[file] = true
			t.Run(filepath.Base(file), func(t *testing.T) { s.check(t, file, v) })
		}
	}
	version := regexp.MustCompile(`\.v\d+\.json$`)
	err := filepath.WalkDir("testdata/golden", func(file string, d fs.DirEntry, err error) error {
		if err == nil && version.MatchString(file) && !seen[file] {
			t.Errorf("%s was recorded by an earlier program, and this one cannot read it: "+
				"there is no such process, command or version any more", file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// check holds one golden file to what it reads as.
func (s storedShape) check(t *testing.T, file string, version int) {
	t.Helper()
	filled := reflect.New(s.goType)
	scenario.Fill(filled.Elem(), filepath.Base(s.file))
	today := indented(t, filled.Interface())
	present := version == s.upcasts.Version()
	stored, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && *update && present {
		if err := os.WriteFile(file, today, 0o644); err != nil {
			t.Fatal(err)
		}
		stored, err = today, nil
	}
	if err != nil {
		t.Fatalf("%s has no golden file of version %d; make it with go test ./sagas -run Recorded -update: %v", s.what, version, err)
	}
	if present {
		for _, field := range fieldsMissing(t, today, stored) {
			t.Errorf("%s no longer has %q, which version %d recorded: what it says would be lost. "+
				"Give it one more version with Upcast, which says what becomes of it", s.what, field, version)
		}
		for _, field := range fieldsMissing(t, stored, today) {
			t.Errorf("%s has %q, which version %d does not have: a program of that version, which runs beside this one, would lose it. "+
				"Give it one more version with Upcast", s.what, field, version)
		}
	}
	upcast, err := s.upcasts.Current(version, stored)
	if err != nil {
		t.Fatal(err)
	}
	read := reflect.New(s.goType)
	if err := s.decode(upcast, read.Interface()); err != nil {
		t.Fatalf("%s of version %d cannot be read any more: %v", s.what, version, err)
	}
	got, want := indented(t, read.Interface()), stored
	if !present {
		meaning := strings.TrimSuffix(file, ".json") + ".meaning.json"
		if want, err = os.ReadFile(meaning); errors.Is(err, fs.ErrNotExist) && *update {
			want, err = got, os.WriteFile(meaning, got, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s of version %d reads as something else (-want +got):\n%s", s.what, version, diff)
	}
}

func indented(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := json.Indent(&text, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(text.Bytes(), '\n')
}

// fieldsMissing returns the fields of a JSON document that another does not have.
func fieldsMissing(t *testing.T, in, of []byte) []string {
	t.Helper()
	has := fieldsOf(t, in)
	return slices.DeleteFunc(fieldsOf(t, of), func(f string) bool { return slices.Contains(has, f) })
}

func fieldsOf(t *testing.T, document []byte) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal(document, &v); err != nil {
		t.Fatal(err)
	}
	var all []string
	var walk func(v any, path string)
	walk = func(v any, path string) {
		switch v := v.(type) {
		case map[string]any:
			for name, x := range v {
				field := strings.TrimPrefix(path+"."+name, ".")
				all = append(all, field)
				walk(x, field)
			}
		case []any:
			for _, x := range v {
				walk(x, path)
			}
		}
	}
	walk(v, "")
	slices.Sort(all)
	return all
}
