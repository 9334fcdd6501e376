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
