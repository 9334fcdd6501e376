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

// onRecord is the state of the stream of an instrument, published by itself in these versions.
func onRecord(t failer, versions ...instrument.Definition) study.PublishedInstruments {
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

func publishingKnowing(known study.PublishedInstruments, p study.Protocol) decision {
	return scenario.SentWithFacts(study.Publish, known, study.PublishProtocolVersion{InStudy: domain.ForStudy(pain), Protocol: p}, call)
}

func TestPublishTakesReferences(t *testing.T) {
	first, second, phq := titled(1, "First"), titled(2, "Second"), *instrument.PHQ9()
	known := onRecord(t, first, second, phq)
	given := begun(t).When(publishingKnowing(known, referring(t, 1, first, phq))).Then(published(referring(t, 1, first, phq)))
	s := given.State()
	for _, want := range []instrument.Definition{first, phq} {
		if r, ok := s.InstrumentReference(want.ID); !ok || r.Version != want.Version || r.SHA256 != hashOf(t, want) {
			t.Errorf("%s is referred to as %+v, %v", want.ID, r, ok)
		}
		if d, err := s.InstrumentInForce(want.ID, known[want.ID]); err != nil || d == nil || d.Title != want.Title {
			t.Errorf("in force is %v, %v; want %s", d, err, want.Title)
		}
		if s.Instrument(want.ID) != nil {
			t.Errorf("the protocol is said to bring %s itself", want.ID)
		}
	}
	// The instrument's state has to be that of the instrument, and new enough.
	for name, stale := range map[string]instrument.Versions{"none": {}, "another": known[phq.ID],
		"changed": onRecord(t, titled(1, "Other"))[first.ID]} {
		if d, err := s.InstrumentInForce(first.ID, stale); err == nil || d != nil {
			t.Errorf("%s: in force is %v", name, d)
		}
	}
	amended := given.When(publishingKnowing(known, referring(t, 2, second))).Then(published(referring(t, 2, second)))
	if d, err := amended.State().InstrumentInForce(first.ID, known[first.ID]); err != nil || d.Title != "Second" {
		t.Errorf("in force is %v, %v", d, err)
	}
	if d, err := amended.State().InstrumentInForce(phq.ID, known[phq.ID]); err != nil || d != nil {
		t.Errorf("an instrument that was left out is in force: %v, %v", d, err)
	}
	if d, err := (study.Study{}).InstrumentInForce(first.ID, known[first.ID]); err != nil || d != nil {
		t.Errorf("a study without a protocol has an instrument: %v, %v", d, err)
	}
	// An instrument that the protocol brings needs no state of its own.
	inline := begun(t).Given(published(protocol(1, first))).State()
	if d, err := inline.InstrumentInForce(first.ID, instrument.Versions{}); err != nil || d == nil || d.Title != "First" {
		t.Errorf("in force is %v, %v", d, err)
	}
	if _, ok := inline.InstrumentReference(first.ID); ok {
		t.Error("what a protocol brings is taken for a reference")
	}
}

func TestPublishRefusesReferences(t *testing.T) {
	first, second := titled(1, "First"), titled(2, "Second")
	known := onRecord(t, first, second)
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
		"brought as well": {"invalid_protocol", "instrumentReferences",
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
			if r := begun(t).When(publishingKnowing(known, p)).ThenRefused(x.code); r.Field != "protocol."+x.field {
				t.Errorf("the fault is said to be in %s, not protocol.%s", r.Field, x.field)
			}
		})
	}
	begun(t).When(publishingKnowing(nil, referring(t, 1, second))).ThenRefused("unknown_instrument_version")
}

// An instrument keeps its meaning under its version, whether protocols bring it or refer to it.
func TestVersionsOrderAcrossReferences(t *testing.T) {
	first, second, third := titled(1, "First"), titled(2, "Second"), titled(3, "Third")
	other := titled(2, "Other")
	known := onRecord(t, first, second)
	brought := begun(t).Given(published(protocol(1, second)))
	brought.When(publishingKnowing(known, referring(t, 2, second))).Then(published(referring(t, 2, second)))
	brought.When(publishingKnowing(known, referring(t, 2, first))).ThenRefused("instrument_version_order")
	brought.When(publishingKnowing(onRecord(t, other), referring(t, 2, other))).ThenRefused("instrument_version_order")
	referred := begun(t).Given(published(referring(t, 1, second)))
	referred.When(publishingKnowing(known, protocol(2, second))).Then(published(protocol(2, second)))
	referred.When(publishingKnowing(known, protocol(2, other))).ThenRefused("instrument_version_order")
	referred.When(publishingKnowing(known, protocol(2, first))).ThenRefused("instrument_version_order")
	referred.When(publishingKnowing(known, protocol(2, third))).Then(published(protocol(2, third)))
	// Also where the instrument was only published by itself so far.
	begun(t).When(publishingKnowing(known, protocol(1, other))).ThenRefused("instrument_version_order")
	begun(t).When(publishingKnowing(known, protocol(1, second))).Then(published(protocol(1, second)))
	begun(t).When(publishingKnowing(onRecord(t, first, third), protocol(1, second))).ThenRefused("instrument_version_order")
	// What is in force may stay in force while a higher version is published by itself, and while it is not yet on record.
	brought.When(publishingKnowing(onRecord(t, first, third), protocol(2, second))).Then(published(protocol(2, second)))
	brought.When(publishingKnowing(nil, protocol(2, second))).Then(published(protocol(2, second)))
	// Where both stand against each other, a higher version has to settle it.
	brought.When(publishingKnowing(onRecord(t, other), protocol(2, second))).ThenRefused("instrument_version_order")
	brought.When(publishingKnowing(onRecord(t, other), protocol(2, third))).Then(published(protocol(2, third)))
	// In a protocol between, the instrument may have been left out.
	between := referred.Given(published(protocol(2)))
	between.When(publishingKnowing(known, referring(t, 3, first))).ThenRefused("instrument_version_order")
	between.When(publishingKnowing(known, protocol(3, other))).ThenRefused("instrument_version_order")
	between.When(publishingKnowing(known, referring(t, 3, second))).Then(published(referring(t, 3, second)))
}

func TestPublicationHoldsWhatProtocolsBrought(t *testing.T) {
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
		t.Errorf("a protocol that will be refused has %d streams read", len(got))
	}
}

// A protocol in force always says what its instruments are: by themselves, or by a reference to what is on record. No version
// of an instrument ever has two contents, in protocols and streams together.
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
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				events, err := instrument.Publish(known, s.Publication(d.ID), instrument.PublishInstrument{InStudy: domain.ForStudy(pain), Instrument: d}, domain.Call{})
				mustBeRefused(t, err)
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
			events, err := study.Publish(s, study.PublishedInstruments{d.ID: known}, study.PublishProtocolVersion{InStudy: domain.ForStudy(pain), Protocol: p}, call)
			mustBeRefused(t, err)
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

func mustBeRefused(t *rapid.T, err error) {
	if _, refused := refuse.As(err); err != nil && !refused {
		t.Fatalf("failed: %v", err)
	}
}
