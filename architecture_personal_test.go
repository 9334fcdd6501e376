package casebook_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// eachField calls f for each field of a struct in the program's own files below a directory, with the path of its file.
func eachField(t *testing.T, below string, f func(path string, field *ast.Field, at token.Position)) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir(below, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if structure, is := n.(*ast.StructType); is {
				for _, field := range structure.Fields.List {
					f(filepath.ToSlash(path), field, files.Position(field.Pos()))
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPersonalDataAreInOneContext finds fields of the type personal.Value outside of the context identity. Who a patient is must be in
// one place, which alone has to be erased.
func TestPersonalDataAreInOneContext(t *testing.T) {
	inside := 0
	eachField(t, ".", func(path string, field *ast.Field, at token.Position) {
		ast.Inspect(field.Type, func(n ast.Node) bool {
			if selector, is := n.(*ast.SelectorExpr); is && selector.Sel.Name == "Value" {
				if of, is := selector.X.(*ast.Ident); is && of.Name == "personal" {
					if filepath.ToSlash(filepath.Dir(path)) == "domain/identity" {
						inside++
					} else {
						t.Errorf("%s holds personal data; only the context identity may", at)
					}
				}
			}
			return true
		})
	})
	if inside < 3 {
		t.Fatalf("only %d fields were found in the context identity, so the test finds nothing", inside)
	}
}

// TestTextsThatPeopleWriteAreSealed finds fields for reasons, notes and the like that are no personal.Text, so that the log would not seal
// what people write into them.
func TestTextsThatPeopleWriteAreSealed(t *testing.T) {
	byPrograms := map[string]string{
		"domain/identity/identity.go":    "it is sealed with the key of the patient",
		"domain/process/process.go":      "processes write it",
		"domain/process/parked.go":       "ParkedMessage says what went wrong in a process",
		"domain/verified.go":             "the program finds damages",
		"domain/record/record.go":        "programs without keys show what became of a damage",
		"domain/security/blindingkey.go": "operators say what happened to a key of the installation",
		"domain/security/events.go":      "the program refuses",
	}
	names := []string{"reason", "note", "detail", "outcome", "comment", "decision", "askedBy", "openedBy", "narrative", "description",
		"explanation", "remark"}
	sealed := 0
	eachField(t, "domain", func(path string, field *ast.Field, at token.Position) {
		if field.Tag == nil {
			return
		}
		tag, err := strconv.Unquote(field.Tag.Value)
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		if !slices.Contains(names, name) {
			return
		}
		if of, is := field.Type.(*ast.SelectorExpr); is && of.Sel.Name == "Text" {
			sealed++
		} else if of, is := field.Type.(*ast.Ident); is && of.Name == "string" && byPrograms[path] == "" {
			t.Errorf("%s: people write %s, and it would not be sealed; make it a personal.Text", at, name)
		}
	})
	if sealed < 100 {
		t.Fatalf("only %d texts were found, so the test finds nothing", sealed)
	}
}
