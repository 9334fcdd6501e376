package contexts_test

import (
	"flag"
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/projections"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/catalogue.md")

// catalogueFile is the catalogue of commands and events.
const catalogueFile = root + "/docs/catalogue.md"

// TestCatalogueIsUpToDate compares docs/catalogue.md with the program's declarations.
func TestCatalogueIsUpToDate(t *testing.T) {
	want := catalogue(t)
	if *update {
		if err := os.WriteFile(catalogueFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(catalogueFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/catalogue.md differs from the declarations; update it with "+
			"go test ./cmd/casebook/contexts -update (-declared +written):\n%s", diff)
	}
}

// catalogue returns the text of the catalogue.
func catalogue(t *testing.T) string {
	var b strings.Builder
	b.WriteString("# Catalogue\n\nThis page lists every command with the roles that may send it and the events that it can record, " +
		"and every event with the views that show it and the processes that listen to it. It is generated from the declarations: " +
		"`go test ./cmd/casebook/contexts -update` writes it.\n\n" +
		"Commands without a role are sent only by processes. The version is the event's schema version. " +
		"The audit index shows nearly every event and is not listed among the views.\n")
	recordedBy := map[string][]string{} // commands by event
	records := map[string][]string{}    // events by command
	decisions := newDecisions(t)
	for _, c := range contexts.Commands() {
		records[c.Name()] = decisions.events(c)
		for _, event := range records[c.Name()] {
			recordedBy[event] = append(recordedBy[event], c.Name())
		}
	}
	views := viewsOfEvents()
	listeners := listenersOfEvents()
	senders := sendersOfCommands()
	for _, stream := range contexts.Streams() {
		if stream.State == nil {
			continue
		}
		context := path.Base(stream.Events[0].Go.PkgPath())
		fmt.Fprintf(&b, "\n## %s\n\nStreams `%s-...`, decided in [`domain/%s`](../domain/%s).\n",
			stream.Category, stream.Category, context, context)
		b.WriteString("\n| command | roles | records | sent by |\n| --- | --- | --- | --- |\n")
		for _, c := range contexts.Commands() {
			if c.Category() == stream.Category {
				fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.Name(), rolesOf(c), words(records[c.Name()]), words(senders[c.Name()]))
			}
		}
		b.WriteString("\n| event | version | recorded by | shown in | listened to by |\n| --- | --- | --- | --- | --- |\n")
		for _, event := range stream.Events {
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %s |\n", event.Name, event.Version(),
				words(recordedBy[event.Name]), words(views[event.Name]), words(listeners[event.Name]))
			if len(recordedBy[event.Name]) == 0 {
				t.Errorf("this test found no command that records %s; its decision is written in a way that the test cannot read",
					event.Name)
			}
		}
	}
	return b.String()
}

func words(all []string) string { return strings.Join(all, ", ") }

// rolesOf returns the roles of people that may send a command.
func rolesOf(c commands.Command) string {
	var roles []string
	for _, role := range c.OpenTo() {
		if word := string(role); word != "system" && !slices.Contains(roles, word) {
			roles = append(roles, word)
		}
	}
	return words(roles)
}

// viewsOfEvents returns the views that fold each event, except the audit index.
func viewsOfEvents() map[string][]string {
	all := map[string][]string{}
	for _, stream := range contexts.Streams() {
		for _, event := range stream.Events {
			for _, p := range contexts.Projections() {
				if p.Folds(event.Go) && p.View.Name != auditIndex(contexts.Projections()) {
					all[event.Name] = append(all[event.Name], p.View.Name)
				}
			}
		}
	}
	return all
}

// auditIndex returns the name of the audit index: the view that folds the most types of events.
func auditIndex(all []projections.Projection) (name string) {
	most := 0
	for _, p := range all {
		n := 0
		for _, stream := range contexts.Streams() {
			n += len(slices.Collect(foldedOf(p, stream)))
		}
		if n > most {
			name, most = p.View.Name, n
		}
	}
	return name
}

// foldedOf returns the events of a stream that a projection folds.
func foldedOf(p projections.Projection, stream domain.StreamType) func(func(domain.EventType) bool) {
	return func(yield func(domain.EventType) bool) {
		for _, event := range stream.Events {
			if p.Folds(event.Go) && !yield(event) {
				return
			}
		}
	}
}

// decisions reads the source, to find out which events a decision can record.
type decisions struct {
	t *testing.T
	// functions holds the functions and methods of each package of the domain, by their names. Methods of several types
	// can have the same name.
	functions map[string]map[string][]*ast.FuncDecl
	// events returns the names of the events that a command can record.
	events func(commands.Command) []string
}

func newDecisions(t *testing.T) *decisions {
	d := &decisions{t: t, functions: map[string]map[string][]*ast.FuncDecl{}}
	folders, err := os.ReadDir(filepath.Join(root, "domain"))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		all := map[string][]*ast.FuncDecl{}
		for _, file := range parseFolder(t, filepath.Join(root, "domain", folder.Name())) {
			for _, decl := range file.Decls {
				if f, ok := decl.(*ast.FuncDecl); ok {
					all[f.Name.Name] = append(all[f.Name.Name], f)
				}
			}
		}
		d.functions[folder.Name()] = all
	}
	d.events = func(c commands.Command) []string {
		context := path.Base(c.Body().PkgPath())
		_, function, _ := strings.Cut(c.Decision(), ".")
		made := map[string]bool{}
		if within := d.functions[context]; len(within[function]) > 0 {
			d.walk(context, function, made, map[string]bool{})
		} else { // the decision is a function literal in the declaration
			d.walkLiterals(c, made)
		}
		var names []string
		for _, stream := range contexts.Streams() {
			for _, event := range stream.Events {
				if stream.Category == c.Category() && (made[event.Go.Name()] || carries(c.Body(), event.Go)) {
					names = append(names, event.Name)
				}
			}
		}
		return names
	}
	return d
}

// carries reports whether a command has a field of the event's type, or a list of them. Such a command, which only the
// program itself sends, records the events that it brings.
func carries(body, event reflect.Type) bool {
	for i := range body.NumField() {
		field := body.Field(i).Type
		if field.Kind() == reflect.Slice {
			field = field.Elem()
		}
		if field == event {
			return true
		}
	}
	return false
}

// walk collects into made the types of values that a function of the domain makes, itself or through functions it
// calls.
func (d *decisions) walk(context, function string, made, seen map[string]bool) {
	if seen[function] {
		return
	}
	seen[function] = true
	for _, f := range d.functions[context][function] {
		d.collect(context, f, made, seen)
	}
}

func (d *decisions) collect(context string, in ast.Node, made, seen map[string]bool) {
	ast.Inspect(in, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if id, ok := n.Type.(*ast.Ident); ok {
				made[id.Name] = true
			}
		case *ast.CallExpr:
			switch f := n.Fun.(type) {
			case *ast.Ident:
				made[f.Name] = true // a conversion
				d.walk(context, f.Name, made, seen)
			case *ast.SelectorExpr:
				d.walk(context, f.Sel.Name, made, seen)
			}
		}
		return true
	})
}

// walkLiterals walks the functions of the domain that the function literals in a context's declarations call.
func (d *decisions) walkLiterals(c commands.Command, made map[string]bool) {
	context := path.Base(c.Body().PkgPath())
	for _, file := range parseFolder(d.t, filepath.Join(root, "commands", context)) {
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.FuncLit)
			if !ok {
				return true
			}
			ast.Inspect(literal, func(n ast.Node) bool {
				if selector, ok := n.(*ast.SelectorExpr); ok {
					d.walk(context, selector.Sel.Name, made, map[string]bool{})
				}
				return true
			})
			return true
		})
	}
}
