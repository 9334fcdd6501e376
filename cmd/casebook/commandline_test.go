package main

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// looking are the commands that only look, with what they need to look at something. They change no file of the data.
var looking = map[string][]string{
	"users list": nil, "stores": nil, "node verify": nil, "node backup": {"--to", "-"},
	"projections list": nil, "projections verify": {"alerts"}, "projections diff": {"alerts"},
	"projections as-of": {"alerts", "--time", "2026-01-01T00:00:00Z"}, "audit verify": nil, "openapi": nil, "version": nil,
}

// failing are those of them that have nothing to look at in a directory of a stopped server, or only one build.
var failing = []string{"stores", "projections diff"}

// folding are those of them that fold the log again. They fold into a collection of their own beside the views, and drop it, so
// only the files of the views change.
var folding = []string{"projections verify", "projections diff", "projections as-of"}

// nameless are the commands that change or make something without naming a person, and why they need none.
var nameless = map[string]string{
	"demo":              "it serves",
	"serve":             "it serves",
	"node serve":        "it serves",
	"node restore":      "it fills an empty directory; the record names who recorded what is in it",
	"projections reset": "it drops what is built again from the record, and changes no record",
	"codebreak key":     "it makes a key of a centre, and needs no installation",
	"codebreak export":  "the record says that the machine has exported, and for which keys",
	"codebreak list":    "it reads envelopes, offline",
	"codebreak open":    "it opens an envelope, offline; the opening is recorded afterwards, by name",
	"supply simulate":   "it reads the log of a study and prints an estimate",
	"bench diary":       "it works on stores of its own",
	"bench evening":     "it works on stores of its own",
	"bench fleet":       "it works on stores of its own",
	"bench rebuild":     "it works on stores of its own",
	"bench start":       "it works on stores of its own",
	"bench replaces":    "it works on stores of its own",
	"bench-server":      "it works on stores of its own",
}

// TestEveryCommandLooksOrNamesAPerson goes through the command line: a command that only looks changes no file of a stopped
// installation, and every other one has --as, so that the record names the person.
func TestEveryCommandLooksOrNamesAPerson(t *testing.T) {
	parser, err := kong.New(&cli{}, kong.Name("casebook"))
	if err != nil {
		t.Fatal(err)
	}
	data := stopped(t)
	commands := 0
	for _, leaf := range parser.Model.Leaves(false) {
		name := strings.TrimPrefix(leaf.FullPath(), "casebook ")
		commands++
		args, looks := looking[name]
		_, exempt := nameless[name]
		asks := slices.ContainsFunc(leaf.Flags, func(f *kong.Flag) bool { return f.Name == "as" })
		switch {
		case looks == (asks || exempt):
			t.Errorf("casebook %s: list it as one that only looks, or give it --as; looks %v, --as %v", name, looks, asks)
		case asks && exempt:
			t.Errorf("casebook %s has --as: remove it from the list", name)
		case looks:
			t.Run(name, func(t *testing.T) { changesNothing(t, data, leaf, name, args) })
		}
	}
	if want := len(looking) + len(nameless); commands <= want {
		t.Errorf("%d commands were looked at; %d are listed", commands, want)
	}
}

// changesNothing runs a command on the data of a stopped server.
func changesNothing(t *testing.T, data string, leaf *kong.Node, name string, args []string) {
	t.Helper()
	args = append(strings.Fields(name), args...)
	if slices.ContainsFunc(leaf.Flags, func(f *kong.Flag) bool { return f.Name == "data" && f.Target.Kind() == reflect.String }) {
		args = append(args, "--data", data)
	}
	code := exitOK
	if slices.Contains(failing, name) {
		code = exitFailure
	}
	looked := func() string {
		if slices.Contains(folding, name) {
			return tree(t, filepath.Join(data, eventStoreDir))
		}
		return tree(t, filepath.Dir(data))
	}
	before := looked()
	tool(t, code, args...)
	if after := looked(); after != before {
		t.Errorf("the data of the stopped server were changed from\n%s\nto\n%s", before, after)
	}
}
