package instrument_test

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/refuse"
	"casebook/domain/scenario"

	"pgregory.net/rapid"
)

const study = domain.StudyID("PAIN1")

var call = domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: "manager"}

// version is the pain diary in this version, with another title if one is given.
func version(n int, title string) *instrument.Definition {
	d := instrument.PainDiary()
	d.Version = n
	if title != "" {
		d.Title = title
	}
	return d
}

func published(t testing.TB, d *instrument.Definition) instrument.Published {
	t.Helper()
	hash, err := d.SHA256()
	if err != nil {
		t.Fatal(err)
	}
	return instrument.Published{Study: study, Instrument: *d, SHA256: hash}
}

type decision = func(instrument.Versions) ([]instrument.Event, error)

// publishing is PublishInstrument in a study whose protocols contain some versions.
func publishing(d *instrument.Definition, contained ...*instrument.Definition) decision {
	return scenario.SentWithFacts(instrument.Publish, instrument.Publication{StudyExists: true, InProtocols: contained},
		instrument.PublishInstrument{InStudy: domain.ForStudy(study), Instrument: *d}, call)
}

func begun(t testing.TB) scenario.Given[instrument.Versions, instrument.Event] {
	return scenario.For(t, instrument.Decider).Strict()
}

func TestPublish(t *testing.T) {
	first, second := version(1, ""), version(2, "Second")
	given := begun(t).When(publishing(first)).Then(published(t, first)).When(publishing(second)).Then(published(t, second))
	state := given.State()
	if state.Newest() != 2 || state.Definition(2).Title != "Second" || state.Definition(1).Title != first.Title {
		t.Errorf("got %d: %v", state.Newest(), state.Definition(2))
	}
	if hash, err := first.SHA256(); err != nil || state.SHA256(1) != hash || state.SHA256(1) == state.SHA256(2) {
		t.Errorf("the hashes are %s and %s, %v", state.SHA256(1), state.SHA256(2), err)
	}
	for _, unknown := range []int{-1, 0, 3} {
		if state.Definition(unknown) != nil || state.SHA256(unknown) != "" {
			t.Errorf("version %d exists", unknown)
		}
	}
	if (instrument.Versions{}).Newest() != 0 {
		t.Error("an empty stream has a newest version")
	}
	// Version numbers may have gaps.
	given.When(publishing(version(7, "Seventh"))).Then(published(t, version(7, "Seventh")))
}

func TestTheSameVersionIsPublishedOnce(t *testing.T) {
	given := begun(t).Given(published(t, version(1, "")), published(t, version(3, "Third")))
	given.When(publishing(version(1, ""))).Then()
	given.When(publishing(version(3, "Third"))).Then()
	given.When(publishing(version(1, "Other"))).ThenRefused("instrument_version_order")
	given.When(publishing(version(3, "Other"))).ThenRefused("instrument_version_order")
	if r := given.When(publishing(version(2, "Between"))).ThenRefused("instrument_version_order"); r.Field != "instrument.version" {
		t.Errorf("got %+v", r)
	}
	// An empty list and no list are the same in the log.
	empty := version(3, "Third")
	empty.Scores = slices.Concat(empty.Scores, []instrument.Score{})
	empty.RiskRules = append([]instrument.RiskRule{}, empty.RiskRules...)
	given.When(publishing(empty)).Then()
}

func TestPublishRefuses(t *testing.T) {
	in := func(facts instrument.Publication, change func(*instrument.PublishInstrument)) decision {
		cmd := instrument.PublishInstrument{InStudy: domain.ForStudy(study), Instrument: *version(1, "")}
		change(&cmd)
		return scenario.SentWithFacts(instrument.Publish, facts, cmd, call)
	}
	known := instrument.Publication{StudyExists: true}
	for code, decide := range map[string]decision{
		"malformed_id":       in(known, func(c *instrument.PublishInstrument) { c.Study = "PAIN.1" }),
		"study_not_found":    in(instrument.Publication{}, func(*instrument.PublishInstrument) {}),
		"invalid_instrument": in(known, func(c *instrument.PublishInstrument) { c.Instrument.Version = 0 }),
		"invalid_rule":       in(known, func(c *instrument.PublishInstrument) { c.Instrument.RiskRules[0].When = "answers.pain > 3" }),
	} {
		begun(t).When(decide).ThenRefused(code)
	}
	begun(t).When(in(known, func(c *instrument.PublishInstrument) { c.Instrument.Items[0].Max = new(math.NaN()) })).
		ThenRefused("invalid_instrument")
}

// Versions in protocols count as published, and may be recorded in any order.
func TestPublishCountsVersionsOfProtocols(t *testing.T) {
	first, second, third := version(1, ""), version(2, "Second"), version(3, "Third")
	begun(t).When(publishing(second, first, second)).Then(published(t, second)).
		When(publishing(first, first, second)).Then(published(t, first)).
		When(publishing(first, first, second)).Then()
	// Other content is refused under these versions, and under a version below the newest.
	begun(t).When(publishing(version(2, "Other"), first, second)).ThenRefused("instrument_version_order")
	begun(t).When(publishing(version(1, "Other"), second)).ThenRefused("instrument_version_order")
	begun(t).When(publishing(version(1, "Other"), first, second)).ThenRefused("instrument_version_order")
	begun(t).When(publishing(third, first, second)).Then(published(t, third)).
		// A protocol contains the second version by now.
		When(publishing(second, first, second)).Then(published(t, second)).
		// A recorded version is not replaced.
		When(publishing(version(3, "Other"), version(3, "Other"))).ThenRefused("instrument_version_order")
}

func TestStreams(t *testing.T) {
	if got := instrument.StreamOf("PAIN1", "pain-diary"); got != "instrument-PAIN1.pain-diary" {
		t.Errorf("the stream is %s", got)
	}
}

// A second event for a version changes nothing, because protocols refer to the first.
func TestTheFirstOfTwoEventsCounts(t *testing.T) {
	state := begun(t).Given(published(t, version(1, "")), published(t, version(1, "Other"))).State()
	if got := state.Definition(1).Title; got != version(1, "").Title {
		t.Errorf("version 1 is %q", got)
	}
}

// The hash is that of the definition's JSON with sorted members and no spaces, so that other programs can compute it.
func TestHashOfADefinition(t *testing.T) {
	pain := instrument.PainDiary()
	hash, err := pain.SHA256()
	if err != nil {
		t.Fatal(err)
	}
	// Another hash would make every reference to a published instrument invalid.
	if want := "08fe9b9c6ad6f068056bd55d9027db9d1622cb863b3967183874b9a15738254d"; hash != want {
		t.Errorf("the hash of the pain diary is %s, want %s", hash, want)
	}
	stored, err := json.Marshal(published(t, pain))
	if err != nil {
		t.Fatal(err)
	}
	var back instrument.Published
	if err := json.Unmarshal(stored, &back); err != nil {
		t.Fatal(err)
	}
	if again, err := back.Instrument.SHA256(); err != nil || again != back.SHA256 {
		t.Errorf("the hash of the stored definition is %s, %v; want %s", again, err, back.SHA256)
	}
}

// In every order of publications and protocols: no version has two contents, the state has every published version, and
// every version of a protocol can be recorded.
func TestVersionsKeepTheirContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var state instrument.Versions
		var contained []*instrument.Definition
		contents := map[int]string{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			d := version(rapid.IntRange(1, 5).Draw(t, "version"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "title"))
			newest := 0
			for _, b := range contained {
				newest = max(newest, b.Version)
			}
			if _, taken := contents[d.Version]; rapid.Bool().Draw(t, "in a protocol") && d.Version > newest && !taken {
				contained = append(contained, d)
			}
			events, err := publishing(d, contained...)(state)
			if _, refused := refuse.As(err); err != nil && !refused {
				t.Fatalf("an error that is not a refusal: %v", err)
			}
			for _, e := range events {
				p := e.(instrument.Published)
				if title, taken := contents[p.Instrument.Version]; taken {
					t.Fatalf("version %d was %q, and is published again as %q", p.Instrument.Version, title, p.Instrument.Title)
				}
				contents[p.Instrument.Version] = p.Instrument.Title
				state = scenario.Evolve(t, instrument.Decider, state, e)
			}
			for n, title := range contents {
				if got := state.Definition(n); got == nil || got.Title != title || state.SHA256(n) == "" || state.Newest() < n {
					t.Fatalf("version %d is %+v, want %q", n, got, title)
				}
			}
		}
		for _, b := range contained {
			if events, err := publishing(b, contained...)(state); err != nil || len(events) == 0 && contents[b.Version] != b.Title {
				t.Fatalf("version %d, which a protocol contains, cannot be recorded: %v", b.Version, err)
			}
		}
	})
}
