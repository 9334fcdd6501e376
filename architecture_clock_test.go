package casebook_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"
)

// clockCalls returns the calls of a file that read the clock or wait for it.
func clockCalls(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	forbidden := map[string]bool{"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "Tick": true, "NewTimer": true,
		"NewTicker": true, "AfterFunc": true}
	var found []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == "time" && pkg.Obj == nil && forbidden[selector.Sel.Name] {
			found = append(found, "time."+selector.Sel.Name)
		}
		return true
	})
	return found
}
