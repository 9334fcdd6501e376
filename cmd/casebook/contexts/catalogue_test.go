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

var update = flag.Bool("update", false, "write the catalogue anew")

// catalogueFile is the catalogue of events and commands.
const catalogueFile = root + "/docs/catalogue.md"

// TestTheCatalogueIsUpToDate holds docs/catalogue.md to what the program declares.
func TestTheCatalogueIsUpToDate(t *testing.T) {
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
		t.Errorf("docs/catalogue.md is not what the program declares; write it anew with go test ./cmd/casebook/contexts -update (-declared +written):\n%s", diff)
	}
}

// catalogue is the text of the catalogue.
func catalogue(t *testing.T) string {
	var b strings.Builder
	b.WriteString("# Catalogue\n\nWhat the program is made of: every command with the roles that may send it and the events that it can record, and every event with " +
		"the views that show it and the processes that listen to it. This page is made from the declarations; `go test ./cmd/casebook/contexts -update` writes it anew.\n\n" +
		"A command without a role for people is sent by processes alone. The version is that of the event's stored shape. The audit index shows nearly every event and is left out of the views below.\n")
	recorded := map[string][]string{} // commands by event
	records := map[string][]string{}  // events by command
	decisions := newDecisions(t)
	for _, c := range contexts.Commands() {
		records[c.Name()] = decisions.events(c)
		for _, event := range records[c.Name()] {
			recorded[event] = append(recorded[event], c.Name())
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
		fmt.Fprintf(&b, "\n## %s\n\nStreams `%s-...`, decided in [`domain/%s`](../domain/%s).\n", stream.Category, stream.Category, context, context)
		b.WriteString("\n| command | roles | records | sent by |\n| --- | --- | --- | --- |\n")
		for _, c := range contexts.Commands() {
			if c.Category() == stream.Category {
				fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.Name(), rolesOf(c), words(records[c.Name()]), words(senders[c.Name()]))
			}
		}
		b.WriteString("\n| event | version | recorded by | shown in | listened to by |\n| --- | --- | --- | --- | --- |\n")
		for _, event := range stream.Events {
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %s |\n", event.Name, event.Version(), words(recorded[event.Name]), words(views[event.Name]), words(listeners[event.Name]))
			if len(recorded[event.Name]) == 0 {
				t.Errorf("no command was found that records %s: its decision is written in a way that this test cannot read", event.Name)
			}
		}
	}
	return b.String()
}

func words(all []string) string { return strings.Join(all, ", ") }

// rolesOf names the roles for people that a command is open to.
func rolesOf(c commands.Command) string {
	var roles []string
	for _, role := range c.OpenTo() {
		if word := string(role); word != "system" && !slices.Contains(roles, word) {
			roles = append(roles, word)
		}
	}
	return words(roles)
}

// viewsOfEvents names the views that fold each event.
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

// auditIndex names the view that folds the most types of events.
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

func foldedOf(p projections.Projection, stream domain.StreamType) func(func(domain.EventType) bool) {
	return func(yield func(domain.EventType) bool) {
		for _, event := range stream.Events {
			if p.Folds(event.Go) && !yield(event) {
				return
			}
		}
	}
}

// decisions reads from the source which events a decision can record.
type decisions struct {
	t *testing.T
	// functions and methods of each package of the domain, by their names; methods of one name are taken together.
	functions map[string]map[string][]*ast.FuncDecl
	events    func(commands.Command) []string
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
		} else { // a decision that is written with the declaration
			d.declared(c, made)
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

// carries says whether a command brings an event with it, as those of the machinery do.
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

// walk collects the types of values that a function makes, and those that it calls.
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

// declared looks at the decisions that stand in the context's declarations, for the functions of the domain that they call.
func (d *decisions) declared(c commands.Command, made map[string]bool) {
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
