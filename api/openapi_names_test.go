package api

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// publishedNames lists what clients may use: operations, their parameters, and the fields of what is sent and answered.
const publishedNames = "testdata/openapi.names.txt"

var update = flag.Bool("update", false, "add what is new to the published names")

// TestPublishedNamesStay: a client that was written against the description still works. New names are added with
// go test ./api -run PublishedNames -update; who takes a name away removes its line by hand.
func TestPublishedNamesStay(t *testing.T) {
	text, err := os.ReadFile(publishedNames)
	if err != nil && !*update {
		t.Fatal(err)
	}
	now := map[string]bool{}
	d := document(t)
	operations(t, d, func(method, path string, operation map[string]any) {
		at := strings.ToUpper(method) + " " + path
		now[at] = true
		parameters, _ := operation["parameters"].([]any)
		for _, p := range parameters {
			p := p.(map[string]any)
			now[at+" "+p["in"].(string)+" "+p["name"].(string)] = true
		}
	})
	for name, schema := range d["components"].(map[string]any)["schemas"].(map[string]any) {
		properties, _ := schema.(map[string]any)["properties"].(map[string]any)
		for property := range properties {
			now[name+"."+property] = true
		}
	}
	if len(now) < 500 {
		t.Fatalf("only %d names are found", len(now))
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines {
		if line != "" && !now[line] {
			t.Errorf("%q is gone: clients may use it. Keep it, or remove its line from %s on purpose", line, publishedNames)
		}
		delete(now, line)
	}
	if added := slices.Sorted(maps.Keys(now)); *update && len(added) > 0 {
		lines = slices.Sorted(slices.Values(append(lines, added...)))
		if err := os.WriteFile(publishedNames, []byte(strings.TrimSpace(strings.Join(lines, "\n"))+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if len(added) > 0 {
		t.Errorf("%d names are not in %s, such as %q: add them with go test ./api -run PublishedNames -update", len(added),
			publishedNames, added[0])
	}
}
