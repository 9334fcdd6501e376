package contexts_test

import (
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
	"unicode"

	"casebook/cmd/casebook/contexts"
)

// root is the repository's root, relative to this folder.
const root = "../../.."

// rooms are the rooms in which contexts have sub-folders, with the exported name by which each sub-folder adds to the
// room.
var rooms = map[string]string{
	"domain": "Streams", "commands": "Commands", "readmodels": "Queries", "projections": "Projections", "sagas": "Processes",
}

// parseFolder parses the Go files of a folder, except its tests.
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

// listed returns the names that contexts.go uses of the packages that it imports, each as import path, dot and name.
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

// exports reports whether a package declares a function or variable with this name.
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
					v, ok := spec.(*ast.ValueSpec)
					if ok && slices.ContainsFunc(v.Names, func(id *ast.Ident) bool { return id.Name == name }) {
						return true
					}
				}
			}
		}
	}
	return false
}

// TestEveryContextIsListed checks that each sub-folder of a room exports what it adds, and that contexts.go lists it.
func TestEveryContextIsListed(t *testing.T) {
	all := listed(t)
	picture, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, named, _ := strings.Cut(string(picture), "The contexts are ")
	named, _, _ = strings.Cut(named, "\n")
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
			pkg := "casebook/" + room + "/" + folder.Name()
			switch {
			case !exports(files, name) && room == "domain": // types that several contexts share
			case !exports(files, name) && room == "readmodels": // documents for the queries of another context
			case !exports(files, name):
				t.Errorf("%s adds nothing: declare what it adds to the room as %s", pkg, name)
			case !all[pkg+"."+name]:
				t.Errorf("%s is not listed: add its %s to the list of %s in cmd/casebook/contexts/contexts.go", pkg, name, name)
			case !slices.Contains(strings.FieldsFunc(named, func(r rune) bool { return !unicode.IsLetter(r) }), folder.Name()):
				t.Errorf("%s is a context: name it in docs/architecture.md, in the sentence that begins with \"The contexts are\"", folder.Name())
			}
		}
	}
}

// TestEveryDeciderAndEventIsDeclared reads the source of the domain. A decider that is missing in Streams would not be
// followed, and an event that is missing in its decider's Events could not be stored.
func TestEveryDeciderAndEventIsDeclared(t *testing.T) {
	folders, err := os.ReadDir(filepath.Join(root, "domain"))
	if err != nil {
		t.Fatal(err)
	}
	deciders, events := 0, 0
	for _, folder := range folders {
		declared, streams := map[string]bool{}, map[string]bool{} // deciders, by the names of their variables
		marked, stored := map[string]bool{}, map[string]bool{}    // events, by the names of their types
		for _, file := range parseFolder(t, filepath.Join(root, "domain", folder.Name())) {
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ValueSpec:
					for i, value := range n.Values {
						if lit, ok := value.(*ast.CompositeLit); ok && strings.HasPrefix(generic(lit.Type), "domain.Decider") {
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
					// An event is marked by an empty method, such as diaryEvent.
					if n.Recv != nil && n.Body != nil && len(n.Body.List) == 0 && strings.HasSuffix(n.Name.Name, "Event") {
						if x, ok := n.Recv.List[0].Type.(*ast.Ident); ok {
							marked[x.Name] = true
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
				t.Errorf("domain/%s: the event %s has no stored name: add domain.Stored[%s](\"...\") to the decider's Events",
					folder.Name(), name, name)
			}
		}
	}
	if deciders < 10 || events < 80 {
		t.Errorf("this test found only %d deciders and %d events; the source is written in a way that it cannot read", deciders, events)
	}
}

// generic returns the name of a generic type without its parameters.
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

// TestEventTypesAreNamedAsStored checks that the stored name is the name of the Go type, with or without the word of
// the package in front: diary.Submitted is stored as DiarySubmitted.
func TestEventTypesAreNamedAsStored(t *testing.T) {
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

// TestEveryCommandIsDeclaredOnce checks the names, because of two commands with the same name one would be unreachable.
func TestEveryCommandIsDeclaredOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range contexts.Commands() {
		if seen[c.Name()] {
			t.Errorf("%s is declared twice", c.Name())
		}
		seen[c.Name()] = true
		if len(c.OpenTo()) == 0 && !c.OpenToOwner() {
			t.Errorf("%s is allowed to no role: declare the roles with AllowedTo", c.Name())
		}
	}
}

// TestEveryProjectionAndQueryIsListed counts the declarations in the source: one that its package does not list would never
// be made or answered.
func TestEveryProjectionAndQueryIsListed(t *testing.T) {
	listed := map[string]int{"projections": len(contexts.Projections()), "readmodels": len(contexts.Queries())}
	for room, call := range map[string]string{"projections": "New", "readmodels": "Declare"} {
		declared := 0
		folders, err := os.ReadDir(filepath.Join(root, room))
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range folders {
			for _, file := range parseFolder(t, filepath.Join(root, room, folder.Name())) {
				ast.Inspect(file, func(n ast.Node) bool {
					if of, ok := n.(*ast.SelectorExpr); ok && of.Sel.Name == call {
						if x, ok := of.X.(*ast.Ident); ok && x.Name == room {
							declared++
						}
					}
					return true
				})
			}
		}
		if declared != listed[room] {
			t.Errorf("the contexts' packages call %s.%s %d times, and list %d: add the missing one to the package's list", room, call,
				declared, listed[room])
		}
	}
}

// TestThePastOfAPatientIsComplete: where a view folds one patient for asOf, it reads the streams of all events that it folds.
func TestThePastOfAPatientIsComplete(t *testing.T) {
	for _, p := range contexts.Projections() {
		read := map[string]bool{}
		for _, stream := range p.PatientStreams("PAIN1.S-0001") {
			category, _, _ := strings.Cut(stream, "-")
			read[category] = true
		}
		for _, s := range contexts.Streams() {
			for _, e := range s.Events {
				if len(read) > 0 && p.Folds(e.Go) && !read[s.Category] {
					t.Errorf("%s folds %s and does not read the patient's stream of the category %s for asOf: name it in OfPatient of %s",
						p.View.Name, e.Name, s.Category, p.View.Name)
				}
			}
		}
	}
}

// TestEveryViewIsMadeOnce checks the views' names, because two projections of one view would overwrite each other.
func TestEveryViewIsMadeOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range contexts.Projections() {
		if seen[p.View.Name] {
			t.Errorf("the view %s is made by two projections", p.View.Name)
		}
		seen[p.View.Name] = true
	}
}
