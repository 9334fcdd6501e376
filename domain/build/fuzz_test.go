package build_test

import (
	"encoding/json"
	"testing"

	"casebook/domain/build"
	"casebook/domain/refuse"
)

// Whatever is put into a draft, sealing it succeeds or is refused by name, and a part that is not well formed is refused before.
func FuzzSeal(f *testing.F) {
	whole, err := json.Marshal(definition())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	for _, seed := range []string{`{}`, `{"forms":[{}]}`, `{"forms":[{"id":"A","title":"A","kind":"visit","groups":[{"id":"A","title":"A",
		"repeats":{"kind":"static","key":["X"]},"items":[{"id":"X","type":"choice","text":"X","list":"L","askedWhen":"A.X == 1"}]}]}],
		"lists":[{"id":"L","options":[{"value":"a"}]}],"schedule":{"visits":[{"id":"V","title":"V","kind":"common","anchor":{"visit":"V"}}]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var d build.Definition
		if json.Unmarshal(text, &d) != nil {
			return
		}
		state := build.Decider.Fold(build.DraftCreated{OfBuild: of, Title: "Any", Languages: d.Languages})
		for _, e := range put(&d)[1:] {
			recorded, err := sent(e)(state)
			if err != nil {
				if r, ok := refuse.As(err); !ok || r.Field == "" || r.Remedy == "" {
					t.Fatalf("%T is refused with %v", e, err)
				}
				continue
			}
			for _, r := range recorded {
				state = build.Decider.Evolve(state, r)
			}
		}
		sealed, err := build.Seal(state, build.SealBuild{OfBuild: of}, call)
		if r, ok := refuse.As(err); err != nil && (!ok || r.Field == "" || r.Remedy == "") || err == nil && len(sealed) != 1 {
			t.Fatalf("sealing brings %v, %v", sealed, err)
		}
	})
}
