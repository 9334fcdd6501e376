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

// clientModule is the client whose suite is run, in the version that go.mod says.
const clientModule = "github.com/EventStore/EventStore-Client-Go/v4"

// suiteTimeout ends a suite that hangs, with the stacks of all its goroutines.
const suiteTimeout = 100 * time.Second

// reasons are those for which a test may be left out.
var reasons = []string{
	"needs a cluster",
	"needs JavaScript projections",
	"needs the original's certificates",
	"compares positions that only the original's data set has",
	"is wrong itself",
}

// TestGoClientSuite runs the official Go client's own tests. Where they start a container, they are given a node. Every
// test has to pass, in at least one mode where it skips itself in another, but for those that testdata/goclient/leftout.txt
// names with a reason.
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
		t.Fatalf("the client's suite does not build: %v; if a requirement has changed, `go test ./embedded/node/acceptance -run TestGoClientSuite -update` renews them\n%s", err, out)
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
	summary, complaints := judge(names, leftOut, outcomes)
	for _, line := range complaints {
		t.Error(line)
	}
	t.Log(summary)
}

// update renews the requirements of the client's suite, after the client or this module's requirements have changed.
var update = flag.Bool("update", false, "write testdata/goclient/go.mod and go.sum anew")

// tidy renews the requirements of the laid out module: those that this module has too, in its versions.
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

// clientDir is where the client's sources are.
var clientDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", clientModule).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("where is the client? %w\n%s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
})

// clientTree lays out the client's module with our containers in it. It is a copy, because the module cache cannot be
// overlaid, with a go.mod of our own: the container library is not needed, and what is needed is as new as in ours.
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
			return copyFile(to, filepath.Join(from, folder, path))
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

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}

// keeper starts and ends nodes for the suite, which runs in another process and may end without cleaning up.
type keeper struct {
	t     *testing.T
	flags []string

	mu    sync.Mutex
	nodes map[string]*node
}

// serve answers POST /empty and POST /populated with the address of a new node, and DELETE /<address> when it has ended.
func (k *keeper) serve() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{kind}", func(w http.ResponseWriter, r *http.Request) {
		dir, err := os.MkdirTemp(k.t.TempDir(), "node-")
		if err == nil && r.PathValue("kind") == "populated" {
			err = populatedCopy(dir)
		}
		var n *node
		if err == nil {
			n, err = startNode(context.WithoutCancel(k.t.Context()), dir, k.flags...)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.nodes[n.endpoint] = n
		fmt.Fprintln(w, n.endpoint)
	})
	mux.HandleFunc("DELETE /{endpoint}", func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		n, kept := k.nodes[r.PathValue("endpoint")]
		delete(k.nodes, r.PathValue("endpoint"))
		k.mu.Unlock()
		if !kept {
			http.Error(w, "no such node runs", http.StatusNotFound)
			return
		}
		if err := n.stop(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}

func (k *keeper) stopAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.nodes {
		if err := n.stop(); err != nil {
			k.t.Error(err)
		}
	}
}

// outcome is how a test of the suite ended: with pass, fail or skip, or with nothing, and what it printed.
type outcome struct {
	result string
	output string
}

// runSuite runs the compiled suite but for the tests that are left out, against nodes with the given flags, and returns
// the outcome of each test by its name.
func runSuite(t *testing.T, binary, dir string, leftOut map[string]string, flags []string) map[string]outcome {
	t.Helper()
	k := &keeper{t: t, flags: flags, nodes: map[string]*node{}}
	server := httptest.NewServer(k.serve())
	t.Cleanup(func() { server.Close(); k.stopAll() })

	suite := exec.CommandContext(t.Context(), binary, "-test.v=test2json", "-test.timeout="+suiteTimeout.String(), "-test.skip="+skipPattern(leftOut))
	suite.Dir = dir
	suite.Env = append(os.Environ(), "ACCEPTANCE_NODES="+server.URL, "CLUSTER=false", "EVENTSTORE_INSECURE="+strconv.FormatBool(len(flags) == 0))
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
	if ended != nil && !slices.ContainsFunc(slices.Collect(maps.Values(outcomes)), func(o outcome) bool { return o.result == "fail" }) {
		t.Errorf("the suite ended with %v, but no test of it failed:\n%s", ended, outcomes[""].output)
	}
	return outcomes
}

// parseEvents reads what `go test -json` prints. What belongs to no test is kept under an empty name.
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

// parseLeftOut reads lines of a test's name, a colon and the reason why it is left out.
func parseLeftOut(text string) (map[string]string, error) {
	leftOut := map[string]string{}
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, _ := strings.Cut(line, ": ")
		if !slices.ContainsFunc(reasons, func(allowed string) bool { return strings.HasPrefix(reason, allowed) }) {
			return nil, fmt.Errorf("line %d leaves %s out because %q: no reason to; those that are begin with one of %q", i+1, name, reason, reasons)
		}
		leftOut[name] = reason
	}
	return leftOut, nil
}

// skipPattern is the -skip that leaves tests out.
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

// suiteTests returns the full names of all tests in a folder, by following from each Test function the calls that pass
// t on and the t.Run in them.
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

// judge compares what the suite has with what was run in each mode and with what is left out. It returns a summary, and
// what is to complain about.
func judge(names []string, leftOut map[string]string, outcomes map[string]map[string]outcome) (string, []string) {
	var complaints []string
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	isLeaf := func(name string) bool {
		return !slices.ContainsFunc(names, func(other string) bool { return strings.HasPrefix(other, name+"/") })
	}
	for _, name := range slices.Sorted(maps.Keys(leftOut)) {
		if !slices.Contains(names, name) {
			complain("%s is left out, but the suite has no such test: take it from the list", name)
		}
	}

	var summary []string
	passedSomewhere := map[string]bool{}
	for _, mode := range slices.Sorted(maps.Keys(outcomes)) {
		run, passed, skipped := 0, 0, 0
		for _, name := range slices.Sorted(maps.Keys(outcomes[mode])) {
			o := outcomes[mode][name]
			if name == "" {
				continue
			}
			if !slices.Contains(names, name) {
				complain("%s: the suite ran %s, which was not found in its sources", mode, name)
			}
			passedSomewhere[name] = passedSomewhere[name] || o.result == "pass"
			if !isLeaf(name) && o.result != "" {
				// It fails with its children, or by what it does around them.
				if o.result == "fail" && strings.Contains(o.output, "_test.go:") {
					complain("%s: %s failed:\n%s", mode, name, o.output)
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
				complain("%s: %s failed:\n%s", mode, name, o.output)
			default:
				complain("%s: %s did not end:\n%s\n%s", mode, name, o.output, outcomes[mode][""].output)
			}
		}
		summary = append(summary, fmt.Sprintf("%s: %d run, %d passed, %d skipped themselves", mode, run, passed, skipped))
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
			complain("%s is left out, but was run and passed", name)
		case isListed:
			left++
		case !passedSomewhere[name]:
			complain("%s passed in no mode and is not left out", name)
		}
	}
	summary = append(summary, fmt.Sprintf("%d of %d left out", left, leaves))
	return strings.Join(summary, "; "), complaints
}
