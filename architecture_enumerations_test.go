package casebook_test

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// leftOut lists the values that an enumeration leaves out on purpose, each with the reason.
var leftOut = map[string]map[string]string{
	"casebook/domain/user.Roles":                          {"system": "process managers alone hold it; it cannot be granted"},
	"casebook/domain/supply.QuarantineKits.Cause":         {"recall": "RecallLot sets kits aside for it"},
	"casebook/domain/diary.Mode.Schema":                   {"": "the patient's own entry leaves the mode out"},
	"casebook/domain/instrument.ScheduleKind.Schema":      {"": "a schedule by the time of the day leaves the kind out"},
	"casebook/readmodels/study.WaitingEnrollment.Outcome": {"completed": "it waits no longer", "failed": "it waits no longer"},
}

// enumeration is a list of a type's values somewhere in the program: a variable, the schema of the type, or the tag of a
// field.
type enumeration struct {
	where, goType string
	values        []string
}

// source is what the test knows of the program's source.
type source struct {
	// constants are the values of each type's constants, by the name of the constant.
	constants map[string]map[string]string
	lists     []enumeration
}

// sourceOf parses the program.
func sourceOf(t *testing.T) source {
	t.Helper()
	all := source{constants: map[string]map[string]string{}}
	var files []parsedFile
	for _, p := range packages(t) {
		for _, name := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), path.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			f := parsedFile{File: parsed, pkg: p.ImportPath}
			files = append(files, f)
			all.addConstants(f)
		}
	}
	for _, f := range files {
		all.addLists(f)
	}
	return all
}

// storedValues lists the values of the domain's enumerations, which events and documents hold.
const storedValues = "eventlog/catalog/testdata/golden/values.txt"

var update = flag.Bool("update", false, "add what is new to golden files")

// TestStoredValuesOfEnumerationsStay: a value that was recorded once has to be understood for ever. New values are added
// with go test . -run StoredValues -update; a value that is not used any more stays as a constant.
func TestStoredValuesOfEnumerationsStay(t *testing.T) {
	text, err := os.ReadFile(storedValues)
	if err != nil && !*update {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	now := map[string]bool{}
	for of, constants := range sourceOf(t).constants {
		for _, value := range constants {
			if name, ok := strings.CutPrefix(of, "casebook/domain/"); ok {
				now[name+" "+value] = true
			}
		}
	}
	for _, line := range lines {
		if line != "" && !now[line] {
			t.Errorf("there is no constant for %q any more: events that hold it could not be understood", line)
		}
		delete(now, line)
	}
	if added := slices.Sorted(maps.Keys(now)); *update && len(added) > 0 {
		lines = slices.Sorted(slices.Values(append(lines, added...)))
		if err := os.WriteFile(storedValues, []byte(strings.TrimSpace(strings.Join(lines, "\n"))+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if len(added) > 0 {
		t.Errorf("%s lacks %q: add them with go test . -run StoredValues -update", storedValues, added)
	}
}

// TestEnumerationsAreWhole finds constants that were added to a type and not to a list of its values: the API would
// refuse them, or not describe them.
func TestEnumerationsAreWhole(t *testing.T) {
	all := sourceOf(t)
	if len(all.lists) < 20 {
		t.Fatalf("only %d enumerations are found", len(all.lists))
	}
	used := map[string]bool{}
	for _, list := range all.lists {
		for _, value := range slices.Sorted(maps.Values(all.constants[list.goType])) {
			if _, onPurpose := leftOut[list.where][value]; onPurpose {
				used[list.where] = true
			} else if !slices.Contains(list.values, value) {
				t.Errorf("%s lists the values of %s and leaves out %q: add it, or say in leftOut why not", list.where, list.goType, value)
			}
		}
	}
	for where := range leftOut {
		if !used[where] {
			t.Errorf("leftOut names %s, which leaves nothing out", where)
		}
	}
}

// parsedFile is a file of a package.
type parsedFile struct {
	*ast.File
	pkg string
}

// typeName is the full name of a type that the file names; empty where it is none that has constants.
func (f parsedFile) typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return f.pkg + "." + e.Name
	case *ast.SelectorExpr:
		if of, ok := e.X.(*ast.Ident); ok {
			return f.imported(of.Name) + "." + e.Sel.Name
		}
	}
	return ""
}

func (f parsedFile) imported(name string) string {
	for _, i := range f.Imports {
		full, _ := strconv.Unquote(i.Path.Value)
		if i.Name != nil && i.Name.Name == name || i.Name == nil && path.Base(full) == name {
			return full
		}
	}
	return ""
}

func (s *source) addConstants(f parsedFile) {
	for _, declared := range f.Decls {
		d, ok := declared.(*ast.GenDecl)
		if !ok || d.Tok != token.CONST {
			continue
		}
		for _, spec := range d.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if !ok || v.Type == nil || len(v.Values) != len(v.Names) {
				continue
			}
			of := f.typeName(v.Type)
			for i, name := range v.Names {
				literal, ok := v.Values[i].(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					continue
				}
				value, _ := strconv.Unquote(literal.Value)
				if s.constants[of] == nil {
					s.constants[of] = map[string]string{}
				}
				s.constants[of][f.pkg+"."+name.Name] = value
			}
		}
	}
}

func (s *source) addLists(f parsedFile) {
	for _, declared := range f.Decls {
		switch d := declared.(type) {
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					s.addVariable(f, spec)
				case *ast.TypeSpec:
					if of, ok := spec.Type.(*ast.StructType); ok {
						s.addTags(f, spec.Name.Name, of)
					}
				}
			}
		case *ast.FuncDecl:
			if d.Name.Name == "Schema" && d.Recv != nil && d.Body != nil {
				s.addSchema(f, d)
			}
		}
	}
}

// addVariable adds an exported list of constants of one type.
func (s *source) addVariable(f parsedFile, v *ast.ValueSpec) {
	if len(v.Names) != 1 || len(v.Values) != 1 || !v.Names[0].IsExported() {
		return
	}
	literal, ok := v.Values[0].(*ast.CompositeLit)
	if !ok {
		return
	}
	of, ok := literal.Type.(*ast.ArrayType)
	if !ok {
		return
	}
	s.add(f, f.pkg+"."+v.Names[0].Name, f.typeName(of.Elt), literal.Elts)
}

// addSchema adds the values that a type's schema lists one by one.
func (s *source) addSchema(f parsedFile, method *ast.FuncDecl) {
	of := f.typeName(method.Recv.List[0].Type)
	ast.Inspect(method.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if ok && !call.Ellipsis.IsValid() && f.typeName(call.Fun) == "casebook/domain.OneOf" {
			s.add(f, of+".Schema", of, call.Args)
		}
		return true
	})
}

func (s *source) addTags(f parsedFile, name string, of *ast.StructType) {
	for _, field := range of.Fields.List {
		if field.Tag == nil {
			continue
		}
		text, _ := strconv.Unquote(field.Tag.Value)
		goType := f.typeName(field.Type)
		if values, ok := reflect.StructTag(text).Lookup("enum"); ok && len(s.constants[goType]) > 0 && len(field.Names) == 1 {
			s.lists = append(s.lists, enumeration{f.pkg + "." + name + "." + field.Names[0].Name, goType, strings.Split(values, ",")})
		}
	}
}

// add adds a list that holds nothing but constants of a type.
func (s *source) add(f parsedFile, where, of string, elements []ast.Expr) {
	list := enumeration{where: where, goType: of}
	for _, e := range elements {
		value, ok := s.constants[of][f.typeName(e)]
		if !ok {
			return
		}
		list.values = append(list.values, value)
	}
	if len(list.values) > 0 {
		s.lists = append(s.lists, list)
	}
}
