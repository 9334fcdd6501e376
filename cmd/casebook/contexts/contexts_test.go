package contexts_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"
)

// root is the repository's root, as this test sees it.
const root = "../../.."

// rooms are those in which contexts have sub-folders, and the name under which each exports what it adds.
var rooms = map[string]string{
	"domain": "Streams", "commands": "Commands", "readmodels": "Queries", "projections": "Projections", "sagas": "Processes",
}

// parseFolder parses the Go files of a folder, tests left out.
func parseFolder(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// listed returns what contexts.go takes from the packages that it imports, as import path and name.
func listed(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, file := range parseFolder(t, ".") {
		paths := map[string]string{}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			name := path.Base(imported)
			if spec.Name != nil {
				name = spec.Name.Name
			}
			paths[name] = imported
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if selector, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := selector.X.(*ast.Ident); ok {
					all[paths[x.Name]+"."+selector.Sel.Name] = true
				}
			}
			return true
		})
	}
	return all
}

// exports says whether a package declares a name.
func exports(files []*ast.File, name string) bool {
	for _, file := range files {
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == name {
					return true
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && slices.ContainsFunc(v.Names, func(id *ast.Ident) bool { return id.Name == name }) {
						return true
					}
				}
			}
		}
	}
	return false
}

// TestEveryContextIsListed finds the folders of contexts in all rooms, and what each adds.
func TestEveryContextIsListed(t *testing.T) {
	all := listed(t)
	for room, name := range rooms {
		folders, err := os.ReadDir(filepath.Join(root, room))
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range folders {
			files := parseFolder(t, filepath.Join(root, room, folder.Name()))
			if !folder.IsDir() || len(files) == 0 {
				continue
			}
			place := "casebook/" + room + "/" + folder.Name()
			switch {
			case !exports(files, name) && room == "domain": // words that several contexts share
			case !exports(files, name) && room == "readmodels": // documents that another context's queries answer with
			case !exports(files, name):
				t.Errorf("%s adds nothing: declare what it adds to the room as %s", place, name)
			case !all[place+"."+name]:
				t.Errorf("%s is not listed: add its %s to the list of %s in cmd/casebook/contexts/contexts.go", place, name, name)
			}
		}
	}
}

// TestEveryDeciderAndEventIsDeclared: a decider that is missing in Streams would not be followed, and an event that is
// missing among the decider's could not be stored.
func TestEveryDeciderAndEventIsDeclared(t *testing.T) {
	folders, err := os.ReadDir(filepath.Join(root, "domain"))
	if err != nil {
		t.Fatal(err)
	}
	deciders, events := 0, 0
	for _, folder := range folders {
		declared, streams, stored := map[string]bool{}, map[string]bool{}, map[string]bool{}
		marked := map[string]string{}
		for _, file := range parseFolder(t, filepath.Join(root, "domain", folder.Name())) {
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ValueSpec:
					for i, value := range n.Values {
						if lit, ok := value.(*ast.CompositeLit); ok && strings.HasPrefix(fmt.Sprint(generic(lit.Type)), "domain.Decider") {
							declared[n.Names[i].Name] = true
						}
					}
				case *ast.CallExpr:
					if selector, ok := n.Fun.(*ast.SelectorExpr); ok && selector.Sel.Name == "Streams" {
						if x, ok := selector.X.(*ast.Ident); ok {
							streams[x.Name] = true
						}
					}
					if index, ok := n.Fun.(*ast.IndexExpr); ok && generic(index) == "domain.Stored" {
						if x, ok := index.Index.(*ast.Ident); ok {
							stored[x.Name] = true
						}
					}
				case *ast.FuncDecl:
					// An event says of which kind it is by a method without a body, such as diaryEvent.
					if n.Recv != nil && n.Body != nil && len(n.Body.List) == 0 && strings.HasSuffix(n.Name.Name, "Event") {
						if x, ok := n.Recv.List[0].Type.(*ast.Ident); ok {
							marked[x.Name] = n.Name.Name
						}
					}
				}
				return true
			})
		}
		for name := range declared {
			deciders++
			if !streams[name] {
				t.Errorf("domain/%s: the decider %s is missing in Streams: add %s.Streams() there", folder.Name(), name, name)
			}
		}
		for name := range marked {
			events++
			if !stored[name] {
				t.Errorf("domain/%s: the event %s has no stored name: add domain.Stored[%s](\"...\") to the decider's Events", folder.Name(), name, name)
			}
		}
	}
	if deciders < 10 || events < 80 {
		t.Errorf("only %d deciders and %d events were found: this test looks for them in the wrong way", deciders, events)
	}
}

// generic names a generic type without its parameters.
func generic(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.IndexExpr:
		return generic(e.X)
	case *ast.IndexListExpr:
		return generic(e.X)
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			return x.Name + "." + e.Sel.Name
		}
	}
	return ""
}

// TestAnEventsGoNameIsItsStoredName: without the word of its package, so that diary.Submitted is DiarySubmitted.
func TestAnEventsGoNameIsItsStoredName(t *testing.T) {
	for _, stream := range contexts.Streams() {
		for _, event := range stream.Events {
			word := path.Base(event.Go.PkgPath())
			word = strings.ToUpper(word[:1]) + word[1:]
			if event.Name != event.Go.Name() && event.Name != word+event.Go.Name() {
				t.Errorf("%v is stored as %s: name the type after it, without the word %s", event.Go, event.Name, word)
			}
		}
	}
}

// TestEveryCommandIsDeclaredOnce: two of one name would hide each other.
func TestEveryCommandIsDeclaredOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range contexts.Commands() {
		if seen[c.Name()] {
			t.Errorf("%s is declared twice", c.Name())
		}
		seen[c.Name()] = true
		if len(c.OpenTo()) == 0 {
			t.Errorf("%s is open to nobody: say with AllowedTo to which roles", c.Name())
		}
	}
}

// TestEveryViewIsMadeOnce: two projections of one view would write over each other.
func TestEveryViewIsMadeOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range contexts.Projections() {
		if seen[p.View.Name] {
			t.Errorf("the view %s is made by two projections", p.View.Name)
		}
		seen[p.View.Name] = true
	}
}
