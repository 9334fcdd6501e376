package casebook_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestARefusalCodeHasOneKind: a client that meets a code knows its HTTP status, whatever command or query was refused.
func TestARefusalCodeHasOneKind(t *testing.T) {
	kinds := map[string]map[string]bool{}
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), path.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if kind, code, ok := refusalIn(n); ok {
					if kinds[code] == nil {
						kinds[code] = map[string]bool{}
					}
					kinds[code][kind] = true
				}
				return true
			})
		}
	}
	if len(kinds) < 100 {
		t.Fatalf("only %d codes are found", len(kinds))
	}
	for code, of := range kinds {
		if len(of) > 1 {
			t.Errorf("the code %s is refused as %s: choose one kind, or another code", code,
				strings.Join(slices.Sorted(maps.Keys(of)), " and as "))
		}
	}
}

// refusalIn returns the kind and the code of a call such as refuse.NotFound("site_not_found", ...).
func refusalIn(n ast.Node) (kind, code string, ok bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return "", "", false
	}
	of, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", "", false
	}
	if in, isName := of.X.(*ast.Ident); !isName || in.Name != "refuse" {
		return "", "", false
	}
	literal, ok := call.Args[0].(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", "", false
	}
	code, err := strconv.Unquote(literal.Value)
	return of.Sel.Name, code, err == nil
}

// TestEveryRefusalSaysWhatToDo: who is refused is told what was refused, why, and what to do. A function whose result is a *refuse.Refusal
// leaves that to its callers, unless it says it itself, and so does a variable.
func TestEveryRefusalSaysWhatToDo(t *testing.T) {
	refusals := 0
	for _, p := range packages(t) {
		files, parsed := token.NewFileSet(), []*ast.File{}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(files, path.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			parsed = append(parsed, f)
		}
		leaving := leavingRemedies(parsed)
		for _, f := range parsed {
			for _, declared := range f.Decls {
				said := saidLater(declared, leaving)
				ast.Inspect(declared, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					if of, chained := call.Fun.(*ast.SelectorExpr); chained && (of.Sel.Name == "Do" || of.Sel.Name == "At" && said[n]) {
						said[of.X] = true // outer calls are met before inner ones
					}
					if needsRemedy(call, leaving) {
						if refusals++; !said[n] {
							t.Errorf("%s: the refusal says nothing to do: add Do", files.Position(n.Pos()))
						}
					}
					return true
				})
			}
		}
	}
	if refusals < 500 {
		t.Fatalf("only %d refusals are found", refusals)
	}
}

// needsRemedy says whether a call makes a refusal without a remedy.
func needsRemedy(call *ast.CallExpr, leaving map[string]bool) bool {
	if of, ok := call.Fun.(*ast.Ident); ok {
		return leaving[of.Name]
	}
	_, _, ok := refusalIn(call)
	return ok
}

// leavingRemedies returns the functions of a package whose result is a *refuse.Refusal, and which give no remedy.
func leavingRemedies(files []*ast.File) map[string]bool {
	leaving := map[string]bool{}
	for _, f := range files {
		for _, declared := range f.Decls {
			if fn, ok := declared.(*ast.FuncDecl); ok && fn.Recv == nil && returnsRefusal(fn) && !mentions(fn, "Do") {
				leaving[fn.Name.Name] = true
			}
		}
	}
	return leaving
}

func returnsRefusal(fn *ast.FuncDecl) bool {
	if fn.Type.Results == nil || len(fn.Type.Results.List) != 1 {
		return false
	}
	star, ok := fn.Type.Results.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	of, ok := star.X.(*ast.SelectorExpr)
	return ok && of.Sel.Name == "Refusal"
}

// mentions says whether a selector of this name is somewhere in a declaration.
func mentions(n ast.Node, name string) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		of, is := n.(*ast.SelectorExpr)
		found = found || is && of.Sel.Name == name
		return !found
	})
	return found
}

// saidLater returns the values of a declaration whose remedy may be given later: those of variables, where there is a Do, and all of a
// function that leaves it to its callers.
func saidLater(declared ast.Decl, leaving map[string]bool) map[ast.Node]bool {
	said := map[ast.Node]bool{}
	fn, isFunc := declared.(*ast.FuncDecl)
	if !isFunc {
		return said
	}
	later := mentions(fn, "Do")
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, value := range n.Rhs {
				said[value] = later
			}
		case *ast.ReturnStmt:
			for _, value := range n.Results {
				said[value] = said[value] || fn.Recv == nil && leaving[fn.Name.Name]
			}
		}
		return true
	})
	return said
}
