package casebook_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayFollowUnverified are the files that may follow the log without the verifier, each for a reason.
var mayFollowUnverified = map[string]string{
	"eventlog/verifier.go":       "it is the verifier",
	"eventlog/subscription.go":   "it is FollowToEnd, whose callers are looked at like those of Follow",
	"eventlog/sealed.go":         "it looks for values to try a key on, before there is a verifier",
	"commands/states.go":         "it reads which streams have grown, and checks their events when it reads them",
	"commands/administrators.go": "it reads which accounts to look at, and reads their streams checked",
	"audit/verify.go":            "it checks everything by itself",
	"codebreak/exporter.go":      "it needs the blinding keys, which the verifier's log has not, and has the verifier check every batch",
	"cmd/casebook/supply.go":     "it estimates what a rule would have sent, and shows no record",
	"cmd/casebook/users.go":      "it reads whole streams, and checks them by itself",
}

// TestFollowersReadWhatIsVerified: a new follower that takes events as they come would show forged ones, or react to them. The
// methods Follow of the verifier and of the log differ only in that, so this goes by the type of the value before the dot.
// FollowToEnd is the log's alone.
func TestFollowersReadWhatIsVerified(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		if !slices.Contains(p.Imports, "casebook/eventlog") && p.ImportPath != "casebook/eventlog" {
			continue // another kind of log
		}
		for _, name := range p.GoFiles {
			path := filepath.Join(p.Dir, name)
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			short := strings.TrimPrefix(p.ImportPath, "casebook/") + "/" + name
			ast.Inspect(file, func(n ast.Node) bool {
				call, is := n.(*ast.CallExpr)
				if !is {
					return true
				}
				method, is := call.Fun.(*ast.SelectorExpr)
				if !is || method.Sel.Name != "Follow" && method.Sel.Name != "FollowToEnd" || followsVerified(file, method.X) {
					return true
				}
				if seen[short] = true; mayFollowUnverified[short] == "" {
					t.Errorf("%s follows the log without the verifier: call Follow of an eventlog.Verifier", short)
				}
				return true
			})
		}
	}
	for name := range mayFollowUnverified {
		if !seen[name] {
			t.Errorf("%s does not follow the log any more: take it off the list", name)
		}
	}
}

// followsVerified says whether a value is declared as a *eventlog.Verifier, or is no log at all, in the file.
func followsVerified(file *ast.File, value ast.Expr) bool {
	var name string
	switch v := value.(type) {
	case *ast.Ident:
		name = v.Name
	case *ast.SelectorExpr:
		name = v.Sel.Name
	}
	if name == "verifier" {
		return true
	}
	var verified []string
	ast.Inspect(file, func(n ast.Node) bool {
		field, is := n.(*ast.Field)
		if !is {
			return true
		}
		if star, is := field.Type.(*ast.StarExpr); is {
			if of, is := star.X.(*ast.SelectorExpr); is && of.Sel.Name == "Verifier" {
				for _, n := range field.Names {
					verified = append(verified, n.Name)
				}
			}
		}
		return true
	})
	return slices.Contains(verified, name)
}
