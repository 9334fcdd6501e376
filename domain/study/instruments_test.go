package study_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"

	"pgregory.net/rapid"
)

func titled(version int, title string) instrument.Definition {
	d := *instrument.PainDiary()
	d.Version, d.Title = version, title
	return d
}

// recorded returns the states of the streams of instruments that were published on their own in these versions.
func recorded(t failer, versions ...instrument.Definition) study.PublishedInstruments {
	t.Helper()
	all := study.PublishedInstruments{}
	for _, d := range versions {
		all[d.ID] = instrument.Decider.Evolve(all[d.ID], instrument.Published{Study: pain, Instrument: d, SHA256: hashOf(t, d)})
	}
	return all
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func hashOf(t failer, d instrument.Definition) string {
	t.Helper()
	hash, err := d.SHA256()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return hash
}

func referring(t failer, version int, to ...instrument.Definition) study.Protocol {
	t.Helper()
	p := protocol(version)
	for _, d := range to {
		p.InstrumentReferences = append(p.InstrumentReferences, instrument.Reference{ID: d.ID, Version: d.Version, SHA256: hashOf(t, d)})
	}
	return p
}

func publishingWith(known study.PublishedInstruments, p study.Protocol) decision {
	return scenario.SentWithFacts(study.Publish, known, study.PublishProtocolVersion{InStudy: domain.ForStudy(pain), Protocol: p}, call)
}

func TestPublishAcceptsReferences(t *testing.T) {
	first, second, phq := titled(1, "First"), titled(2, "Second"), *instrument.PHQ9()
	known := recorded(t, first, second, phq)
	given := begun(t).When(publishingWith(known, referring(t, 1, first, phq))).Then(published(referring(t, 1, first, phq)))
	s := given.State()
	for _, want := range []instrument.Definition{first, phq} {
		if r, ok := s.InstrumentReference(want.ID); !ok || r.Version != want.Version || r.SHA256 != hashOf(t, want) {
			t.Errorf("the reference to %s is %+v, %v", want.ID, r, ok)
		}
		if d, err := s.InstrumentInForce(want.ID, known[want.ID]); err != nil || d == nil || d.Title != want.Title {
			t.Errorf("the instrument in force is %v, %v; want %s", d, err, want.Title)
		}
		if s.Instrument(want.ID) != nil {
			t.Errorf("Instrument returns %s, which the protocol only refers to", want.ID)
		}
	}
	// An outdated state, and the state of another instrument, are errors.
	for name, stale := range map[string]instrument.Versions{"none": {}, "another": known[phq.ID],
		"changed": recorded(t, titled(1, "Other"))[first.ID]} {
		if d, err := s.InstrumentInForce(first.ID, stale); err == nil || d != nil {
			t.Errorf("%s: the instrument in force is %v", name, d)
		}
	}
	amended := given.When(publishingWith(known, referring(t, 2, second))).Then(published(referring(t, 2, second)))
	if d, err := amended.State().InstrumentInForce(first.ID, known[first.ID]); err != nil || d.Title != "Second" {
		t.Errorf("the instrument in force is %v, %v", d, err)
	}
	if d, err := amended.State().InstrumentInForce(phq.ID, known[phq.ID]); err != nil || d != nil {
		t.Errorf("an instrument that was left out is in force: %v, %v", d, err)
	}
	if d, err := (study.Study{}).InstrumentInForce(first.ID, known[first.ID]); err != nil || d != nil {
		t.Errorf("a study without a protocol has an instrument: %v, %v", d, err)
	}
	// An instrument that the protocol contains needs no state of a stream.
	inline := begun(t).Given(published(protocol(1, first))).State()
	if d, err := inline.InstrumentInForce(first.ID, instrument.Versions{}); err != nil || d == nil || d.Title != "First" {
		t.Errorf("the instrument in force is %v, %v", d, err)
	}
	if _, ok := inline.InstrumentReference(first.ID); ok {
		t.Error("an instrument that a protocol contains is taken for a reference")
	}
}

func TestPublishRefusesReferences(t *testing.T) {
	first, second := titled(1, "First"), titled(2, "Second")
	known := recorded(t, first, second)
	many := func(n int) (all []instrument.Reference) {
		for i := range n {
			all = append(all, instrument.Reference{ID: instrument.ID(fmt.Sprint("i", i)), Version: 1, SHA256: strings.Repeat("a", 64)})
		}
		return all
	}
	for name, x := range map[string]struct {
		code, field string
		change      func(*study.Protocol)
	}{
		"unknown": {"unknown_instrument_version", "instrumentReferences[0].version",
			func(p *study.Protocol) { p.InstrumentReferences[0].ID = "phq-9" }},
		"unknown version": {"unknown_instrument_version", "instrumentReferences[0].version",
			func(p *study.Protocol) { p.InstrumentReferences[0].Version = 3 }},
		"the other's hash": {"instrument_hash_mismatch", "instrumentReferences[0].sha256",
			func(p *study.Protocol) { p.InstrumentReferences[0].Version = 1 }},
		"no version": {"invalid_protocol", "instrumentReferences", func(p *study.Protocol) { p.InstrumentReferences[0].Version = 0 }},
		"no hash":    {"invalid_protocol", "instrumentReferences", func(p *study.Protocol) { p.InstrumentReferences[0].SHA256 = "" }},
		"capital digits": {"invalid_protocol", "instrumentReferences",
			func(p *study.Protocol) { p.InstrumentReferences[0].SHA256 = strings.Repeat("A", 64) }},
		"no id": {"value_missing", "instrumentReferences.id", func(p *study.Protocol) { p.InstrumentReferences[0].ID = "" }},
		"a long id": {"value_too_long", "instrumentReferences.id",
			func(p *study.Protocol) { p.InstrumentReferences[0].ID = instrument.ID(strings.Repeat("x", 51)) }},
		"twice": {"invalid_protocol", "instrumentReferences",
			func(p *study.Protocol) {
				p.InstrumentReferences = append(p.InstrumentReferences, p.InstrumentReferences[0])
			}},
		"contained as well": {"invalid_protocol", "instrumentReferences",
			func(p *study.Protocol) { p.Instruments = append(p.Instruments, titled(2, "Second")) }},
		"too many": {"invalid_protocol", "instruments", func(p *study.Protocol) { p.InstrumentReferences = many(51) }},
		"too many together": {"invalid_protocol", "instruments", func(p *study.Protocol) {
			p.InstrumentReferences, p.Instruments = many(50),
				append(p.Instruments, *instrument.PHQ9())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := referring(t, 1, second)
			x.change(&p)
			if r := begun(t).When(publishingWith(known, p)).ThenRefused(x.code); r.Field != "protocol."+x.field {
				t.Errorf("the field is %s, not protocol.%s", r.Field, x.field)
			}
		})
	}
	begun(t).When(publishingWith(nil, referring(t, 1, second))).ThenRefused("unknown_instrument_version")
}

// A version of an instrument never changes its content, whether protocols contain it or refer to it.
func TestVersionOrderWithReferences(t *testing.T) {
	first, second, third := titled(1, "First"), titled(2, "Second"), titled(3, "Third")
	other := titled(2, "Other")
	known := recorded(t, first, second)
	contained := begun(t).Given(published(protocol(1, second)))
	contained.When(publishingWith(known, referring(t, 2, second))).Then(published(referring(t, 2, second)))
	contained.When(publishingWith(known, referring(t, 2, first))).ThenRefused("instrument_version_order")
	contained.When(publishingWith(recorded(t, other), referring(t, 2, other))).ThenRefused("instrument_version_order")
	referred := begun(t).Given(published(referring(t, 1, second)))
	referred.When(publishingWith(known, protocol(2, second))).Then(published(protocol(2, second)))
	referred.When(publishingWith(known, protocol(2, other))).ThenRefused("instrument_version_order")
	referred.When(publishingWith(known, protocol(2, first))).ThenRefused("instrument_version_order")
	referred.When(publishingWith(known, protocol(2, third))).Then(published(protocol(2, third)))
	// The same holds for an instrument that was only published on its own so far.
	begun(t).When(publishingWith(known, protocol(1, other))).ThenRefused("instrument_version_order")
	begun(t).When(publishingWith(known, protocol(1, second))).Then(published(protocol(1, second)))
	begun(t).When(publishingWith(recorded(t, first, third), protocol(1, second))).ThenRefused("instrument_version_order")
	// A version in force may stay in force if a higher version was published on its own, or if no stream has it yet.
	contained.When(publishingWith(recorded(t, first, third), protocol(2, second))).Then(published(protocol(2, second)))
	contained.When(publishingWith(nil, protocol(2, second))).Then(published(protocol(2, second)))
	// If the protocol and the stream have different contents, a higher version is needed.
	contained.When(publishingWith(recorded(t, other), protocol(2, second))).ThenRefused("instrument_version_order")
	contained.When(publishingWith(recorded(t, other), protocol(2, third))).Then(published(protocol(2, third)))
	// The same holds if a protocol version in between left the instrument out.
	between := referred.Given(published(protocol(2)))
	between.When(publishingWith(known, referring(t, 3, first))).ThenRefused("instrument_version_order")
	between.When(publishingWith(known, protocol(3, other))).ThenRefused("instrument_version_order")
	between.When(publishingWith(known, referring(t, 3, second))).Then(published(referring(t, 3, second)))
}

func TestPublicationHasTheInstrumentsOfProtocols(t *testing.T) {
	first, second := titled(1, "First"), titled(2, "Second")
	if facts := (study.Study{}).Publication(first.ID); facts.StudyExists || len(facts.InProtocols) > 0 {
		t.Errorf("got %+v", facts)
	}
	s := begun(t).Given(published(protocol(1, first)), published(protocol(2, first)), published(protocol(3)), published(protocol(4, second)),
		published(referring(t, 5, titled(3, "Third")))).State()
	facts := s.Publication(first.ID)
	if !facts.StudyExists || len(facts.InProtocols) != 2 || facts.InProtocols[0].Title != "First" || facts.InProtocols[1].Title != "Second" {
		t.Errorf("got %+v", facts)
	}
	if facts := s.Publication("phq-9"); !facts.StudyExists || len(facts.InProtocols) > 0 {
		t.Errorf("got %+v", facts)
	}
}

func TestNamedInstruments(t *testing.T) {
	p := protocol(1, titled(1, "First"), *instrument.PHQ9())
	p.InstrumentReferences = []instrument.Reference{{ID: "b"}, {ID: "phq-9"}, {ID: ""}, {ID: "no/name"},
		{ID: instrument.ID(strings.Repeat("x", 65))}}
	if got := p.NamedInstruments(); !slices.Equal(got, []instrument.ID{"b", "pain-diary", "phq-9"}) {
		t.Errorf("got %v", got)
	}
	p.InstrumentReferences = make([]instrument.Reference, 49)
	if got := p.NamedInstruments(); got != nil {
		t.Errorf("a protocol with too many instruments names %d", len(got))
	}
}

// Every instrument of the protocol in force has a definition, in the protocol or in its stream. No version of an
// instrument has two contents, in protocols and streams together.
func TestProtocolsAndStreamsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, known, contents, next := study.Study{ID: pain}, instrument.Versions{}, map[int]string{}, 1
		agree := func(d *instrument.Definition) {
			if title, taken := contents[d.Version]; taken && title != d.Title {
				t.Fatalf("version %d was %q, and is %q", d.Version, title, d.Title)
			}
			contents[d.Version] = d.Title
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			d := titled(rapid.IntRange(1, 4).Draw(t, "version"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "title"))
			p := protocol(next)
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				cmd := instrument.PublishInstrument{InStudy: domain.ForStudy(pain), Instrument: d}
				events, err := instrument.Publish(known, s.Publication(d.ID), cmd, domain.Call{})
				mustBeRefusal(t, err)
				for _, e := range events {
					known = scenario.Evolve(t, instrument.Decider, known, e)
					agree(&d)
				}
				continue
			case 1:
				p.Instruments = append(p.Instruments, d)
			case 2:
				p = referring(t, next, d)
			}
			cmd := study.PublishProtocolVersion{InStudy: domain.ForStudy(pain), Protocol: p}
			events, err := study.Publish(s, study.PublishedInstruments{d.ID: known}, cmd, call)
			mustBeRefusal(t, err)
			for _, e := range events {
				s, next = scenario.Evolve(t, study.Decider, s, e), next+1
			}
			inForce, err := s.InstrumentInForce(d.ID, known)
			if err != nil {
				t.Fatalf("%v", err)
			}
			if inForce != nil {
				agree(inForce)
			}
			if len(events) > 0 && (inForce == nil) != (len(p.Instruments)+len(p.InstrumentReferences) == 0) {
				t.Fatalf("%+v has the instrument %v", p, inForce)
			}
		}
	})
}

func mustBeRefusal(t *rapid.T, err error) {
	if _, refused := refuse.As(err); err != nil && !refused {
		t.Fatalf("an error that is not a refusal: %v", err)
	}
}
