// Package casebook_test checks the rules of the architecture, and docs/compliance.md.
package casebook_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mayImport lists, for every room, the rooms whose packages it may import. Dependencies point inwards.
var mayImport = map[string][]string{
	"domain":      {"domain"},
	"eventlog":    {"domain"},
	"access":      {"domain"},
	"admission":   {"domain"},
	"commands":    {"domain", "eventlog", "access", "admission"},
	"readmodels":  {"domain", "access", "admission"},
	"projections": {"domain", "readmodels", "eventlog"},
	"audit":       {"domain", "eventlog"},
	"codebreak":   {"domain", "eventlog"},
	"keystore":    {"domain"},
	"odm":         {"domain"},
	"sagas":       {"domain", "commands", "eventlog", "access", "notify"},
	"api":         {"domain", "commands", "readmodels", "access", "admission"},
	// The embedded stores know nothing of each other.
	"embedded/node":        {"embedded/loopback", "embedded/diskguard"},
	"embedded/mongo":       {"embedded/loopback", "embedded/diskguard"},
	"embedded/diskguard":   {},
	"embedded/loopback":    {},
	"embedded/credentials": {"embedded/loopback"},
	"embedded/storetest":   {"embedded/node", "embedded/mongo", "embedded/credentials"},
	"simulation":           {"domain"},
	"loadtest":             {"domain"},
	"notify":               {},
	"cmd": {"domain", "eventlog", "access", "commands", "readmodels", "projections", "audit", "codebreak", "keystore", "sagas", "api",
		"notify", "odm", "embedded/node", "embedded/mongo", "embedded/credentials", "embedded/loopback", "simulation", "loadtest"},
}

// onlyThese limits what a room may import from another room to single packages. The API imports no context except that of
// users, for the sign-in.
var onlyThese = map[string]map[string][]string{
	"api": {
		"domain":     {"casebook/domain", "casebook/domain/refuse"},
		"commands":   {"casebook/commands", "casebook/commands/user"},
		"readmodels": {"casebook/readmodels"},
	},
}

// thirdParty lists the modules outside of the standard library that packages of the domain may import.
var thirdParty = map[string][]string{
	// Rules over answers are expressions; cel-go evaluates them without I/O and within a cost limit.
	"casebook/domain/rule": {"cel.dev/cel-go", "google.golang.org/protobuf", "cel.dev/expr", "google.golang.org/genproto"},
	// What an image is, WebP's decoder finds in its bytes.
	"casebook/domain/instrument": {"golang.org/x/image/webp"},
	// The functions for scenario tests compare values.
	"casebook/domain/scenario": {"github.com/google/go-cmp"},
}

// impure lists packages of the standard library that the domain must not import. Package time is allowed for its types;
// TestDomainReadsNoClock forbids its clock.
var impure = []string{
	"os", "os/exec", "net", "net/http", "io/ioutil", "math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog", "database/sql",
	"syscall",
}

type goPackage struct {
	ImportPath string
	Imports    []string
	Dir        string
	GoFiles    []string
}

// packages returns the packages of this module.
func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Dir,GoFiles", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// room returns the room of a package of this module, and false for any other package.
func room(importPath string) (string, bool) {
	rest, ours := strings.CutPrefix(importPath, "casebook/")
	if !ours {
		return "", false
	}
	parts := strings.Split(rest, "/")
	if parts[0] == "embedded" && len(parts) > 1 {
		return parts[0] + "/" + parts[1], true
	}
	return parts[0], true
}

func TestDependenciesPointInwards(t *testing.T) {
	for _, p := range packages(t) {
		from, ours := room(p.ImportPath)
		if !ours {
			continue // the root of the module contains only tests
		}
		allowed, known := mayImport[from]
		if !known {
			t.Errorf("%s is in the room %s, which mayImport does not list", p.ImportPath, from)
			continue
		}
		for _, imported := range p.Imports {
			to, ours := room(imported)
			if !ours || to == from {
				continue
			}
			// The catalog is the one place where the log meets the domain's events by name.
			if p.ImportPath == "casebook/eventlog/catalog" && to == "domain" {
				continue
			}
			if !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: %s may not depend on %s", p.ImportPath, imported, from, to)
			}
		}
		for _, file := range p.GoFiles {
			checkOnlyThese(t, p, file, onlyThese[from])
		}
	}
}

// checkOnlyThese checks that a file imports only those packages of other rooms that onlyThese allows.
func checkOnlyThese(t *testing.T, p goPackage, file string, only map[string][]string) {
	t.Helper()
	if len(only) == 0 {
		return
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), p.Dir+"/"+file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range parsed.Imports {
		imported, _ := strconv.Unquote(i.Path.Value)
		to, ours := room(imported)
		if these := only[to]; ours && these != nil && !slices.Contains(these, imported) {
			t.Errorf("%s/%s imports %s: of %s it may import %v alone", p.ImportPath, file, imported, to, these)
		}
	}
}

// engines are the rooms whose own package is an engine. It runs what the contexts' packages declare.
var engines = []string{"commands", "projections", "readmodels", "sagas"}

// TestEnginesKnowNoContext: an engine is given what it runs.
func TestEnginesKnowNoContext(t *testing.T) {
	for _, p := range packages(t) {
		of, _ := room(p.ImportPath)
		if !slices.Contains(engines, of) || p.ImportPath != "casebook/"+of {
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, p.ImportPath+"/") {
				t.Errorf("%s imports %s: an engine is given what it runs, by cmd/casebook/contexts", p.ImportPath, imported)
			}
		}
	}
}

func TestDomainIsPure(t *testing.T) {
	for _, p := range packages(t) {
		if from, _ := room(p.ImportPath); from != "domain" {
			continue
		}
		for _, imported := range p.Imports {
			if slices.Contains(impure, imported) {
				t.Errorf("%s imports %s: the domain does no I/O and draws no random numbers", p.ImportPath, imported)
			}
			standard := !strings.Contains(strings.Split(imported, "/")[0], ".")
			if standard || strings.HasPrefix(imported, "casebook/") {
				continue
			}
			if !slices.ContainsFunc(thirdParty[p.ImportPath], func(prefix string) bool { return strings.HasPrefix(imported, prefix) }) {
				t.Errorf("%s imports %s: the domain uses only the standard library", p.ImportPath, imported)
			}
		}
	}
}

// TestDomainReadsNoClock finds calls that read the clock or wait for it.
func TestDomainReadsNoClock(t *testing.T) {
	for _, p := range packages(t) {
		if from, _ := room(p.ImportPath); from != "domain" || p.ImportPath == "casebook/domain/scenario" {
			continue
		}
		for _, file := range p.GoFiles {
			for _, call := range clockCalls(t, p.Dir+"/"+file) {
				t.Errorf("%s/%s calls %s: the domain gets the time with the command", p.ImportPath, file, call)
			}
		}
	}
}
