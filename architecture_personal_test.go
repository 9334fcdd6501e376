package casebook_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestPersonalDataAreInOneContext finds fields of the type personal.Value outside of the context identity. Who a patient is must be in
// one place, which alone has to be erased.
func TestPersonalDataAreInOneContext(t *testing.T) {
	inside, files := 0, token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			structure, is := n.(*ast.StructType)
			if !is {
				return true
			}
			for _, field := range structure.Fields.List {
				ast.Inspect(field.Type, func(n ast.Node) bool {
					if selector, is := n.(*ast.SelectorExpr); is && selector.Sel.Name == "Value" {
						if of, is := selector.X.(*ast.Ident); is && of.Name == "personal" {
							if filepath.ToSlash(filepath.Dir(path)) == "domain/identity" {
								inside++
							} else {
								t.Errorf("%s holds personal data; only the context identity may", files.Position(field.Pos()))
							}
						}
					}
					return true
				})
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if inside < 3 {
		t.Fatalf("only %d fields were found in the context identity, so the test finds nothing", inside)
	}
}
