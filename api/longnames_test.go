package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"casebook/cmd/casebook/contexts"
)

// TestNamesThatNothingCanHaveAreRefused puts names of 5,000 bytes, empty ones, and one of the event store itself into every
// text field of every command, as those who may send it. All are refused, and none is looked for in the store.
func TestNamesThatNothingCanHaveAreRefused(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	all := askers(t, c, tr, newTrial(t))
	tried := 0
	for _, declared := range contexts.Commands() {
		if declared.Internal() {
			continue
		}
		name := declared.Name()
		var fields map[string]any
		if err := json.Unmarshal([]byte(bodyAbout(t, declared.Body(), tr)), &fields); err != nil {
			t.Fatal(err)
		}
		example, err := json.Marshal(declared.Example())
		if err != nil {
			t.Fatal(err)
		}
		var texts map[string]any
		if err := json.Unmarshal(example, &texts); err != nil {
			t.Fatal(err)
		}
		for field, value := range texts {
			if _, is := value.(string); !is {
				continue
			}
			before, given := fields[field]
			for _, text := range []string{strings.Repeat("x", 5000), "", "$all"} {
				fields[field] = text
				body, err := json.Marshal(fields)
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range all {
					if !may(name, a) || a.where == otherStudy {
						continue
					}
					if r := a.post("/api/v1/commands/"+name, string(body)); r.StatusCode == http.StatusInternalServerError {
						t.Errorf("%s with %s %.10q by %s is answered with %d %s", name, field, text, a.role, r.StatusCode, r.body)
					}
					tried++
					break
				}
			}
			delete(fields, field)
			if given {
				fields[field] = before
			}
		}
	}
	if tried < 200 {
		t.Errorf("only %d bodies were tried", tried)
	}
}
