package casebook_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// requirements is the number of requirements in docs/compliance.md: R1 to R42.
const requirements = 42

// requirement is a row of the table in docs/compliance.md.
type requirement struct {
	// state begins with shown, partly or not yet.
	state string
	tests []namedTest
}

// namedTest is a test function and the folder of its package, relative to the repository.
type namedTest struct{ folder, name string }

func (t namedTest) String() string { return t.folder + ": " + t.name }

var (
	idOfRow    = regexp.MustCompile(`^R[1-9][0-9]*$`)
	stateOfRow = regexp.MustCompile(`^(shown|partly|not yet)\b`)
	codeSpan   = regexp.MustCompile("`([^`]+)`")
	nameOf     = regexp.MustCompile(`^(Test|Fuzz)[A-Z0-9_]`)
	idsOfTest  = regexp.MustCompile(`^(?:Test|Fuzz)((?:R[1-9][0-9]*_)+)`)
)

// TestComplianceTableNamesTests compares docs/compliance.md with the code: each requirement has one row, each named
// test exists in the named package, and each test with the id of a requirement in its name is in the row of that
// requirement.
func TestComplianceTableNamesTests(t *testing.T) {
	text, err := os.ReadFile("docs/compliance.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := testFunctions(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(tests) < 100 {
		t.Fatalf("only %d tests were found in the repository", len(tests))
	}
	for _, problem := range complianceProblems(string(text), tests) {
		t.Error(problem)
	}
}

// problems collects sentences that each say what is wrong with the table.
type problems []string

func (p *problems) add(format string, values ...any) { *p = append(*p, fmt.Sprintf(format, values...)) }

// complianceProblems compares the table with the tests of the repository.
func complianceProblems(text string, tests []namedTest) problems {
	rows, found := complianceRows(text)
	folders := map[string][]string{} // by the name of the test
	for _, test := range tests {
		folders[test.name] = append(folders[test.name], test.folder)
	}
	for n := 1; n <= requirements; n++ {
		id := "R" + strconv.Itoa(n)
		row, exists := rows[id]
		if !exists {
			found.add("docs/compliance.md has no row for %s.", id)
			continue
		}
		if strings.HasPrefix(row.state, "shown") && len(row.tests) == 0 {
			found.add("The row of %s says that it is shown, and names no test.", id)
		}
		for _, named := range row.tests {
			switch actual := folders[named.name]; {
			case len(actual) == 0:
				found.add("The row of %s names %s in %s, and no test has that name.", id, named.name, named.folder)
			case !slices.Contains(actual, named.folder):
				found.add("The row of %s names %s in %s, but it is in %s.", id, named.name, named.folder, strings.Join(actual, " and "))
			}
		}
	}
	for id := range rows {
		if n, err := strconv.Atoi(id[1:]); err != nil || n > requirements {
			found.add("docs/compliance.md has a row for %s, and there are only R1 to R%d.", id, requirements)
		}
	}
	for _, test := range tests {
		for _, id := range idsIn(test.name) {
			row, exists := rows[id]
			switch {
			case !exists:
				found.add("%s in %s is named after %s, which docs/compliance.md does not have.", test.name, test.folder, id)
			case !slices.Contains(row.tests, test):
				found.add("%s in %s is named after %s; name it in that row of docs/compliance.md.", test.name, test.folder, id)
			}
		}
	}
	slices.Sort(found)
	return found
}

// complianceRows parses the rows of the table: id, requirement, source, state, tests.
func complianceRows(text string) (rows map[string]requirement, found problems) {
	rows = map[string]requirement{}
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		id := cells[0]
		if !idOfRow.MatchString(id) {
			continue
		}
		if len(cells) != 5 {
			found.add("The row of %s has %d cells; it needs id, requirement, source, state and tests.", id, len(cells))
			continue
		}
		if _, twice := rows[id]; twice {
			found.add("docs/compliance.md has two rows for %s.", id)
		}
		row := requirement{state: cells[3]}
		if !stateOfRow.MatchString(row.state) {
			found.add("The state of %s is %q; it has to begin with shown, partly or not yet.", id, row.state)
		}
		folder := ""
		for _, span := range codeSpan.FindAllStringSubmatch(cells[4], -1) {
			if !nameOf.MatchString(span[1]) {
				folder = span[1]
				continue
			}
			if folder == "" {
				found.add("The row of %s names %s without its package.", id, span[1])
			}
			row.tests = append(row.tests, namedTest{folder, span[1]})
		}
		rows[id] = row
	}
	return rows, found
}

// idsIn returns the ids of requirements in the name of a test: R36 and R37 for TestR36_R37_Kits.
func idsIn(test string) []string {
	match := idsOfTest.FindStringSubmatch(test)
	if match == nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(match[1], "_"), "_")
}

// holdsNoTests reports whether a folder cannot contain tests of this module: Go ignores it, or npm has installed it.
func holdsNoTests(name string) bool {
	return strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules"
}

// testFunctions returns the tests and fuzz tests in and below a folder.
func testFunctions(root string) (tests []namedTest, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && holdsNoTests(entry.Name()):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, declaration := range file.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil && nameOf.MatchString(f.Name.Name) {
				tests = append(tests, namedTest{filepath.ToSlash(folder), f.Name.Name})
			}
		}
		return nil
	})
	return tests, err
}

// TestComplianceProblemsAreFound breaks a correct table in every way that has to be found.
func TestComplianceProblemsAreFound(t *testing.T) {
	tests := []namedTest{{"access", "TestR1_A"}, {"api", "TestR1_R2_B"}, {"api", "TestC"}}
	line := func(n int, state, named string) string {
		return fmt.Sprintf("| R%d | x | y | %s | %s |\n", n, state, named)
	}
	correct := line(1, "shown", "`access`: `TestR1_A`; `api`: `TestR1_R2_B`, `TestC`") + line(2, "partly: x", "`api`: `TestR1_R2_B`")
	for n := 3; n <= requirements; n++ {
		correct += line(n, "not yet", "")
	}
	if found := complianceProblems(correct, tests); len(found) > 0 {
		t.Errorf("in a correct table it finds %q", found)
	}
	second := line(2, "partly: x", "`api`: `TestR1_R2_B`")
	for _, c := range []struct{ old, changed, want string }{
		{second, "", "docs/compliance.md has no row for R2."},
		{second, second + second, "docs/compliance.md has two rows for R2."},
		{second, second + line(43, "not yet", ""), "docs/compliance.md has a row for R43, and there are only R1 to R42."},
		{"| R3 | x ", "| R3 ", "The row of R3 has 4 cells; it needs id, requirement, source, state and tests."},
		{"partly: x", "done", `The state of R2 is "done"; it has to begin with shown, partly or not yet.`},
		{"| R3 | x | y | not yet", "| R3 | x | y | shown", "The row of R3 says that it is shown, and names no test."},
		{"TestC", "TestD", "The row of R1 names TestD in api, and no test has that name."},
		{"`TestC`", "`commands`: `TestC`", "The row of R1 names TestC in commands, but it is in api."},
		{"`access`: ", "", "The row of R1 names TestR1_A without its package."},
		{"`TestR1_R2_B`, ", "", "TestR1_R2_B in api is named after R1; name it in that row of docs/compliance.md."},
		{second, line(2, "partly: x", "`api`: `TestC`"), "TestR1_R2_B in api is named after R2; name it in that row of docs/compliance.md."},
	} {
		if found := complianceProblems(strings.Replace(correct, c.old, c.changed, 1), tests); !slices.Contains(found, c.want) {
			t.Errorf("with %q instead of %q it finds %q, want %q", c.changed, c.old, found, c.want)
		}
	}
	want := "TestR99_X in api is named after R99, which docs/compliance.md does not have."
	if found := complianceProblems(correct, append(tests, namedTest{"api", "TestR99_X"})); !slices.Contains(found, want) {
		t.Errorf("with a test of an unknown requirement it finds %q", found)
	}
}
