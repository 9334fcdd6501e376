package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// clientModule is the client whose suite is run, in the version that go.mod requires.
const clientModule = "github.com/EventStore/EventStore-Client-Go/v4"

// suiteTimeout is the time after which a suite is ended, with the stacks of all its goroutines.
const suiteTimeout = 5 * time.Minute

// impatience is how the suite writes the five seconds that it gives most of its waits. They are enough for a node that
// has a machine of its own, but not for one beside every other test of this repository, with the race detector on.
var impatience = regexp.MustCompile(`time\.Duration\(5\) ?\* ?time\.Second`)

// reasons lists the accepted reasons for leaving out a test.
var reasons = []string{
	"needs a cluster",
	"needs JavaScript projections",
	"needs the original's certificates",
	"compares positions that only the original's data set has",
	"is wrong itself",
}

// TestGoClientSuite runs the official Go client's own tests, with nodes in place of their containers. Every test must
// pass in at least one mode and fail in none, except those that testdata/goclient/leftout.txt names with a reason.
func TestGoClientSuite(t *testing.T) {
	slow(t)
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "goclient", "leftout.txt"))
	if err != nil {
		t.Fatal(err)
	}
	leftOut, err := parseLeftOut(string(text))
	if err != nil {
		t.Fatal(err)
	}
	tree := clientTree(t)
	if *update {
		tidy(t, tree)
	}
	names, err := suiteTests(filepath.Join(tree, "esdb"))
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "suite.test")
	compile := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "./esdb")
	compile.Dir = tree
	compile.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("the client's suite does not build: %v; if a requirement has changed, "+
			"`go test ./embedded/node/acceptance -run TestGoClientSuite -update` renews them\n%s", err, out)
	}

	var mu sync.Mutex
	outcomes := map[string]map[string]outcome{}
	t.Run("over", func(t *testing.T) {
		for mode, flags := range modes(t, filepath.Join(tree, "certs")) {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				got := runSuite(t, binary, filepath.Join(tree, "esdb"), leftOut, flags)
				mu.Lock()
				defer mu.Unlock()
				outcomes[mode] = got
			})
		}
	})
	summary, problems := judge(names, leftOut, outcomes)
	for _, problem := range problems {
		t.Error(problem)
	}
	t.Log(summary)
}

// update renews the requirements of the client's suite after the client or the requirements of this module have
// changed.
var update = flag.Bool("update", false, "renew testdata/goclient/go.mod and go.sum")

// tidy renews the requirements of the copied client module. Modules that this module requires too get its versions.
func tidy(t *testing.T, tree string) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{if not .Main}}{{.Path}}@{{.Version}}{{end}}", "all")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := os.ReadFile(filepath.Join(tree, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	edit := []string{"mod", "edit"}
	for module := range strings.FieldsSeq(string(out)) {
		if path, _, _ := strings.Cut(module, "@"); bytes.Contains(wanted, []byte("\t"+path+" v")) {
			edit = append(edit, "-require="+module)
		}
	}
	for _, args := range [][]string{edit, {"mod", "tidy"}} {
		command := exec.CommandContext(t.Context(), "go", args...)
		command.Dir = tree
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		if err := copyFile(filepath.Join("testdata", "goclient", file), filepath.Join(tree, file)); err != nil {
			t.Fatal(err)
		}
	}
}

// clientDir returns the directory of the client's sources.
var clientDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", clientModule).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("find the client's sources: %w\n%s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
})

// clientTree copies the client's module and replaces its containers by nodes. It copies, because the go command does
// not allow an overlay of the module cache. The copy has a go.mod of our own, without the container library and with
// the versions of this module.
func clientTree(t *testing.T) string {
	t.Helper()
	from, err := clientDir()
	if err != nil {
		t.Fatal(err)
	}
	tree := t.TempDir()
	for _, folder := range []string{"esdb", "protos", "resources"} {
		source := os.DirFS(filepath.Join(from, folder))
		err := fs.WalkDir(source, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			to := filepath.Join(tree, folder, path)
			if entry.IsDir() {
				return os.MkdirAll(to, 0o755)
			}
			return copyPatient(to, filepath.Join(from, folder, path))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for to, source := range map[string]string{
		"go.mod":                  "go.mod",
		"go.sum":                  "go.sum",
		"esdb/containers_test.go": "containers_test.go.txt",
	} {
		if err := copyFile(filepath.Join(tree, filepath.FromSlash(to)), filepath.Join("testdata", "goclient", source)); err != nil {
			t.Fatal(err)
		}
	}
	writeCertificates(t, filepath.Join(tree, "certs"))
	return tree
}

// copyPatient copies a file and lets the tests in it wait a minute where they would wait five seconds.
func copyPatient(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if strings.HasSuffix(to, "_test.go") {
		content = impatience.ReplaceAll(content, []byte("time.Minute"))
	}
	return os.WriteFile(to, content, 0o644)
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}

// nodeHost starts and stops nodes for the suite, which runs in another process and may end without stopping them.
type nodeHost struct {
	t     *testing.T
	flags []string

	mu    sync.Mutex
	nodes map[string]*node // by endpoint
}

// handler starts a node on POST /empty and POST /populated and answers with its address. On DELETE /<address> it stops
// the node.
func (h *nodeHost) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{kind}", func(w http.ResponseWriter, r *http.Request) {
		dir, err := os.MkdirTemp(h.t.TempDir(), "node-")
		if err == nil && r.PathValue("kind") == "populated" {
			err = populatedCopy(dir)
		}
		var n *node
		if err == nil {
			n, err = startNode(context.WithoutCancel(h.t.Context()), dir, h.flags...)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.nodes[n.endpoint] = n
		fmt.Fprintln(w, n.endpoint)
	})
	mux.HandleFunc("DELETE /{endpoint}", func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		n, found := h.nodes[r.PathValue("endpoint")]
		delete(h.nodes, r.PathValue("endpoint"))
		h.mu.Unlock()
		if !found {
			http.Error(w, "there is no such node", http.StatusNotFound)
			return
		}
		if err := n.stop(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}

func (h *nodeHost) stopAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.nodes {
		if err := n.stop(); err != nil {
			h.t.Error(err)
		}
	}
}

// outcome is the result and the output of one test of the suite.
type outcome struct {
	result string // pass, fail or skip; empty if the test did not end
	output string
}

// runSuite runs the compiled suite without the tests that are left out, against nodes with the given flags. It returns
// the outcome of each test by its name.
func runSuite(t *testing.T, binary, dir string, leftOut map[string]string, flags []string) map[string]outcome {
	t.Helper()
	h := &nodeHost{t: t, flags: flags, nodes: map[string]*node{}}
	server := httptest.NewServer(h.handler())
	t.Cleanup(func() { server.Close(); h.stopAll() })

	suite := exec.CommandContext(t.Context(), binary,
		"-test.v=test2json", "-test.timeout="+suiteTimeout.String(), "-test.skip="+skipPattern(leftOut))
	suite.Dir = dir
	insecure := strconv.FormatBool(slices.Contains(flags, withoutUsers))
	suite.Env = append(os.Environ(), "ACCEPTANCE_NODES="+server.URL, "CLUSTER=false", "EVENTSTORE_INSECURE="+insecure)
	var printed bytes.Buffer
	suite.Stdout, suite.Stderr = &printed, &printed
	ended := suite.Run()
	var exit *exec.ExitError
	if ended != nil && !errors.As(ended, &exit) {
		t.Fatal(ended)
	}

	convert := exec.CommandContext(t.Context(), "go", "tool", "test2json")
	convert.Stdin = &printed
	lines, err := convert.Output()
	if err != nil {
		t.Fatalf("test2json: %v", err)
	}
	outcomes, err := parseEvents(bytes.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	failed := slices.ContainsFunc(slices.Collect(maps.Values(outcomes)), func(o outcome) bool { return o.result == "fail" })
	if ended != nil && !failed {
		t.Errorf("the suite ended with %v, but no test of it failed:\n%s", ended, outcomes[""].output)
	}
	return outcomes
}

// parseEvents reads the output of `go test -json`. Output that belongs to no test has an empty name.
func parseEvents(r io.Reader) (map[string]outcome, error) {
	outcomes := map[string]outcome{}
	for decoder := json.NewDecoder(r); ; {
		var event struct{ Action, Test, Output string }
		if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
			return outcomes, nil
		} else if err != nil {
			return nil, err
		}
		o := outcomes[event.Test]
		switch event.Action {
		case "pass", "fail", "skip":
			o.result = event.Action
		case "output":
			o.output += event.Output
		}
		outcomes[event.Test] = o
	}
}

// parseLeftOut reads lines with the name of a test, a colon and the reason why it is left out.
func parseLeftOut(text string) (map[string]string, error) {
	leftOut := map[string]string{}
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, _ := strings.Cut(line, ": ")
		if !slices.ContainsFunc(reasons, func(allowed string) bool { return strings.HasPrefix(reason, allowed) }) {
			return nil, fmt.Errorf("line %d leaves out %s with the reason %q; accepted reasons begin with one of %q", i+1, name, reason, reasons)
		}
		leftOut[name] = reason
	}
	return leftOut, nil
}

// skipPattern returns the value of -test.skip that leaves out these tests.
func skipPattern(leftOut map[string]string) string {
	var patterns []string
	for _, name := range slices.Sorted(maps.Keys(leftOut)) {
		var levels []string
		for level := range strings.SplitSeq(name, "/") {
			levels = append(levels, "^"+regexp.QuoteMeta(level)+"$")
		}
		patterns = append(patterns, strings.Join(levels, "/"))
	}
	return strings.Join(patterns, "|")
}

// suiteTests returns the full names of all tests in a folder. It reads them from the sources: from each Test function
// it follows the calls that pass t on, and the calls of t.Run in them.
func suiteTests(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	functions := map[string]*ast.FuncDecl{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			return nil, err
		}
		for _, declaration := range parsed.Decls {
			if function, is := declaration.(*ast.FuncDecl); is && function.Recv == nil {
				functions[function.Name.Name] = function
			}
		}
	}
	names := map[string]bool{}
	var follow func(path string, body ast.Node)
	follow = func(path string, body ast.Node) {
		names[path] = true
		ast.Inspect(body, func(n ast.Node) bool {
			call, is := n.(*ast.CallExpr)
			if !is || len(call.Args) == 0 {
				return true
			}
			if selector, is := call.Fun.(*ast.SelectorExpr); is && selector.Sel.Name == "Run" {
				if literal, is := call.Args[0].(*ast.BasicLit); is {
					name, _ := strconv.Unquote(literal.Value)
					follow(path+"/"+strings.ReplaceAll(name, " ", "_"), call.Args[1])
					return false
				}
			}
			called, is := call.Fun.(*ast.Ident)
			t, passesOn := call.Args[0].(*ast.Ident)
			if is && passesOn && t.Name == "t" && functions[called.Name] != nil {
				follow(path, functions[called.Name].Body)
			}
			return true
		})
	}
	for name, function := range functions {
		if strings.HasPrefix(name, "Test") {
			follow(name, function.Body)
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// judge compares the tests of the suite with those that ran in each mode and those that are left out. It returns a
// summary and the problems.
func judge(names []string, leftOut map[string]string, outcomes map[string]map[string]outcome) (summary string, problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	isLeaf := func(name string) bool {
		return !slices.ContainsFunc(names, func(other string) bool { return strings.HasPrefix(other, name+"/") })
	}
	for _, name := range slices.Sorted(maps.Keys(leftOut)) {
		if !slices.Contains(names, name) {
			report("%s is left out, but the suite has no such test: remove it from the list", name)
		}
	}

	var counts []string
	passedSomewhere := map[string]bool{}
	for _, mode := range slices.Sorted(maps.Keys(outcomes)) {
		run, passed, skipped := 0, 0, 0
		for _, name := range slices.Sorted(maps.Keys(outcomes[mode])) {
			o := outcomes[mode][name]
			if name == "" {
				continue
			}
			if !slices.Contains(names, name) {
				report("%s: the suite ran %s, which was not found in its sources", mode, name)
			}
			passedSomewhere[name] = passedSomewhere[name] || o.result == "pass"
			if !isLeaf(name) && o.result != "" {
				// A parent fails with its children. Report it only if it failed by itself.
				if o.result == "fail" && strings.Contains(o.output, "_test.go:") {
					report("%s: %s failed:\n%s", mode, name, o.output)
				}
				continue
			}
			run++
			switch o.result {
			case "pass":
				passed++
			case "skip":
				skipped++
			case "fail":
				report("%s: %s failed:\n%s", mode, name, o.output)
			default:
				report("%s: %s did not end:\n%s\n%s", mode, name, o.output, outcomes[mode][""].output)
			}
		}
		counts = append(counts, fmt.Sprintf("%s: %d run, %d passed, %d skipped themselves", mode, run, passed, skipped))
	}

	left, leaves := 0, 0
	for _, name := range names {
		if !isLeaf(name) {
			continue
		}
		leaves++
		listed := name
		for leftOut[listed] == "" && strings.Contains(listed, "/") {
			listed = listed[:strings.LastIndex(listed, "/")]
		}
		switch isListed := leftOut[listed] != ""; {
		case isListed && passedSomewhere[name]:
			report("%s is left out, but was run and passed", name)
		case isListed:
			left++
		case !passedSomewhere[name]:
			report("%s passed in no mode and is not left out", name)
		}
	}
	counts = append(counts, fmt.Sprintf("%d of %d left out", left, leaves))
	return strings.Join(counts, "; "), problems
}
