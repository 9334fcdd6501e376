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
	sealed, files := 0, token.NewFileSet()
	err := filepath.WalkDir("domain", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		parsed, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			field, is := n.(*ast.Field)
			if !is || field.Tag == nil {
				return true
			}
			tag, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
			if !slices.Contains([]string{"reason", "note", "detail", "outcome", "comment", "decision", "askedBy", "openedBy", "narrative",
				"description", "explanation", "remark"}, name) {
				return true
			}
			if of, is := field.Type.(*ast.SelectorExpr); is && of.Sel.Name == "Text" {
				sealed++
			} else if of, is := field.Type.(*ast.Ident); is && of.Name == "string" && byPrograms[filepath.ToSlash(path)] == "" {
				t.Errorf("%s: people write %s, and it would not be sealed; make it a personal.Text", files.Position(field.Pos()), name)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sealed < 100 {
		t.Fatalf("only %d texts were found, so the test finds nothing", sealed)
	}
}
