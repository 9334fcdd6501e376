package instrument_test

import (
	"encoding/json"
	"testing"
	"time"

	"casebook/domain/instrument"
	"casebook/domain/localtime"
	"casebook/domain/refuse"
)

// Every definition is refused with a reason, or can be used.
func FuzzDefinition(f *testing.F) {
	for _, d := range []*instrument.Definition{instrument.PainDiary(), instrument.PHQ9(), {}, everything(f).Definition()} {
		seed, err := json.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	zone, err := localtime.Load("Europe/Berlin")
	if err != nil {
		f.Fatal(err)
	}
	at := time.Date(2026, 10, 25, 1, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, published []byte) {
		var d instrument.Definition
		if json.Unmarshal(published, &d) != nil {
			return
		}
		i, err := instrument.Compile(&d)
		if err != nil {
			if r, ok := refuse.As(err); !ok || r.Field == "" || len(r.Sentence) > 4000 {
				t.Fatalf("not a refusal with a field: %v", err)
			}
			return
		}
		c, err := i.Calendar(zone, "2026-10-20", "2026-10-30")
		if err != nil {
			t.Fatal(err)
		}
		if c.Closed(at) > c.Opened(at) || c.Opened(at) > c.Len() {
			t.Fatalf("closed %d, opened %d of %d", c.Closed(at), c.Opened(at), c.Len())
		}
		if clean, err := i.Check(answers{}); err == nil {
			i.Risks(clean, i.Scores(clean))
		}
	})
}
