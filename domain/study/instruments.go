package study

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"casebook/domain/instrument"
	"casebook/domain/refuse"
)

// PublishedInstruments are the states of instruments' own streams, by instrument.
type PublishedInstruments map[instrument.ID]instrument.Versions

// NamedInstruments returns the instruments that the protocol contains or refers to, each once. Publish needs the states
// of their streams. For a protocol with too many instruments it returns none, because Publish refuses the protocol
// anyway.
func (p Protocol) NamedInstruments() []instrument.ID {
	if len(p.Instruments)+len(p.InstrumentReferences) > maxInstruments {
		return nil
	}
	var ids []instrument.ID
	for i := range p.Instruments {
		ids = append(ids, p.Instruments[i].ID)
	}
	for _, r := range p.InstrumentReferences {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id instrument.ID) bool { return !instrumentName.MatchString(string(id)) })
}

var (
	// instrumentName is the form of an instrument's id. No stream exists for an id of another form.
	instrumentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	hashPattern    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// InstrumentReference returns the reference of the protocol in force to an instrument that was published on its own. ok
// is false if the protocol contains the instrument, or does not have it.
func (s Study) InstrumentReference(id instrument.ID) (r instrument.Reference, ok bool) {
	if s.Protocol == nil {
		return instrument.Reference{}, false
	}
	for _, r := range s.Protocol.InstrumentReferences {
		if r.ID == id {
			return r, true
		}
	}
	return instrument.Reference{}, false
}

// InstrumentInForce returns the definition of an instrument in the protocol in force, or nil if the protocol does not
// have it. If the protocol refers to the instrument (see InstrumentReference), the definition comes from published, the
// state of the instrument's stream. It fails if that state lacks the version: the state is outdated or of another
// instrument.
func (s Study) InstrumentInForce(id instrument.ID, published instrument.Versions) (*instrument.Definition, error) {
	r, isReference := s.InstrumentReference(id)
	if !isReference {
		return s.Instrument(id), nil
	}
	d := published.Definition(r.Version)
	if d == nil || published.SHA256(r.Version) != r.SHA256 {
		return nil, fmt.Errorf("instrument %s version %d with hash %s is not in the instrument's stream", id, r.Version, r.SHA256)
	}
	return d, nil
}

// Publication returns the facts that instrument.Publish needs from the study.
func (s Study) Publication(id instrument.ID) instrument.Publication {
	return instrument.Publication{StudyExists: s.Exists(), InProtocols: slices.Clone(s.instruments[id].contained)}
}

// using returns the uses of instruments after one more protocol version.
func (s Study) using(p *Protocol) map[instrument.ID]usage {
	if len(p.Instruments)+len(p.InstrumentReferences) == 0 {
		return s.instruments
	}
	next := maps.Clone(s.instruments)
	if next == nil {
		next = map[instrument.ID]usage{}
	}
	for i := range p.Instruments {
		d := &p.Instruments[i]
		u := next[d.ID]
		contained := slices.DeleteFunc(slices.Clone(u.contained), func(before *instrument.Definition) bool { return before.Version == d.Version })
		next[d.ID] = usage{contained: append(contained, d), newest: d.Version}
	}
	for _, r := range p.InstrumentReferences {
		next[r.ID] = usage{contained: next[r.ID].contained, newest: r.Version, sha256: r.SHA256}
	}
	return next
}

// mayUse refuses instruments that change a published version, and references to versions that are not published.
func (s Study) mayUse(p *Protocol, published PublishedInstruments) error {
	for i := range p.Instruments {
		if err := s.mayContain(&p.Instruments[i], published[p.Instruments[i].ID]); err != nil {
			return err
		}
	}
	for i, r := range p.InstrumentReferences {
		if err := s.mayRefer(r, published[r.ID]); err != nil {
			return err.At(fmt.Sprintf("protocol.instrumentReferences[%d].%s", i, err.Field))
		}
	}
	return nil
}

func (s Study) mayContain(next *instrument.Definition, published instrument.Versions) error {
	hash, err := next.SHA256()
	if err != nil {
		return err
	}
	before, recorded := s.instruments[next.ID], published.SHA256(next.Version)
	newest := max(before.newest, published.Newest())
	switch {
	case next.Version > newest:
		return nil
	case next.Version == before.newest && hash == before.hash() && (recorded == hash || recorded == ""):
		return nil // it was in force before, and its own stream has the same version or none yet
	case next.Version > before.newest && recorded == hash:
		return nil // it was published on its own, and is used for the first time
	}
	return instrument.VersionOrder(next.ID, next.Version, newest).At("protocol.instruments")
}

// hash returns the hash of the version that was used last, or "" if there is none.
func (u usage) hash() string {
	if u.sha256 != "" || len(u.contained) == 0 {
		return u.sha256
	}
	hash, err := u.contained[len(u.contained)-1].SHA256()
	if err != nil {
		return "" // cannot happen: a published definition has only numbers that JSON can hold
	}
	return hash
}

// mayRefer refuses a reference; the refusal names the faulty field within the reference.
func (s Study) mayRefer(r instrument.Reference, published instrument.Versions) *refuse.Refusal {
	before := s.instruments[r.ID]
	if before.newest > r.Version || before.newest == r.Version && before.hash() != r.SHA256 {
		return instrument.VersionOrder(r.ID, r.Version, before.newest).At("version")
	}
	switch known := published.SHA256(r.Version); known {
	case r.SHA256:
		return nil
	case "":
		return refuse.Because("unknown_instrument_version", "instrument %s has no published version %d", r.ID, r.Version).At("version").
			Do("publish the version with PublishInstrument first")
	default:
		return refuse.Because("instrument_hash_mismatch", "instrument %s version %d has another hash than %s", r.ID, r.Version, r.SHA256).
			At("sha256").Do("use the hash that the version was published with, " + known)
	}
}

func (p Protocol) validateInstruments() error {
	// An instrument limits the length of its own title.
	if err := uniqueIDs("instruments", p.Instruments, func(d instrument.Definition) (string, string) { return string(d.ID), "" }); err != nil {
		return err
	}
	for i := range p.Instruments {
		if err := p.Instruments[i].Validate(); err != nil {
			return err
		}
		if len(p.Instruments[i].Images()) > 0 {
			return invalidProtocol("instruments", "the instrument %s has images", p.Instruments[i].ID).
				Do("publish it with PublishInstrument, and refer to it")
		}
	}
	if err := p.validateReferences(); err != nil {
		return err
	}
	return p.validatePhases()
}

// validatePhases refuses instruments that are asked around visits, or in phases, that the protocol does not have.
func (p Protocol) validatePhases() error {
	for i := range p.Instruments {
		around := p.Instruments[i].Schedule.AroundVisits
		if around == nil {
			continue
		}
		for _, visit := range around.Visits {
			if !slices.ContainsFunc(p.Visits, func(v Visit) bool { return v.ID == visit }) {
				return invalidProtocol("instruments", "the instrument %s is asked around the visit %s, which the protocol does not have",
					p.Instruments[i].ID, visit).Do("add the visit, or take it from the schedule")
			}
		}
	}
	const list = "phaseInstruments"
	if err := atMost(list, len(p.PhaseInstruments), maxInstruments); err != nil {
		return err
	}
	seen := map[PhaseInstrument]bool{}
	for _, a := range p.PhaseInstruments {
		switch {
		case !p.hasInstrument(a.Instrument):
			return invalidProtocol(list, "the protocol has no instrument %.80q", string(a.Instrument)).Do("contain it, or refer to it")
		case !slices.Contains(assignable, a.Phase):
			return invalidProtocol(list, "the instrument %s belongs to the phase %.80q", a.Instrument, string(a.Phase)).
				Do("use run_in, treatment, open_extension or follow_up: diaries begin with the enrolment")
		case a.Days < 0 || a.Days > maxPhaseDays:
			return invalidProtocol(list, "the instrument %s is assigned for %d days", a.Instrument, a.Days).
				Do(fmt.Sprintf("use 1 to %d, or leave it out", maxPhaseDays))
		}
		key := PhaseInstrument{Instrument: a.Instrument, Phase: a.Phase}
		if seen[key] {
			return invalidProtocol(list, "the instrument %s is assigned to the phase %s twice", a.Instrument, a.Phase).Do("name it once")
		}
		seen[key] = true
	}
	return nil
}

// maxPhaseDays bounds an assignment by the protocol to ten years.
const maxPhaseDays = 3650

func (p Protocol) hasInstrument(id instrument.ID) bool {
	return slices.ContainsFunc(p.Instruments, func(d instrument.Definition) bool { return d.ID == id }) ||
		slices.ContainsFunc(p.InstrumentReferences, func(r instrument.Reference) bool { return r.ID == id })
}

// InstrumentsOf returns the instruments that the protocol in force asks for in a phase.
func (s Study) InstrumentsOf(phase Phase) []PhaseInstrument {
	if s.Protocol == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.Protocol.PhaseInstruments), func(a PhaseInstrument) bool { return a.Phase != phase })
}

func (p Protocol) validateReferences() error {
	const list = "instrumentReferences"
	err := uniqueIDs(list, p.InstrumentReferences, func(r instrument.Reference) (string, string) { return string(r.ID), "" })
	if err != nil {
		return err
	}
	for _, r := range p.InstrumentReferences {
		switch {
		case slices.ContainsFunc(p.Instruments, func(d instrument.Definition) bool { return d.ID == r.ID }):
			return invalidProtocol(list, "the instrument %s is both contained in the protocol and referred to", r.ID).
				Do("contain it or refer to it, not both")
		case r.Version < 1:
			return invalidProtocol(list, "the instrument %s is referred to in version %d", r.ID, r.Version).Do("versions count from 1")
		case !hashPattern.MatchString(r.SHA256):
			return invalidProtocol(list, "the instrument %s is referred to with a malformed hash", r.ID).
				Do("use the sha256 of InstrumentPublished, 64 digits of lower-case hexadecimal")
		}
	}
	return nil
}

// InstrumentIDs names the instruments of the protocol in force.
func (s Study) InstrumentIDs() []instrument.ID {
	if s.Protocol == nil {
		return nil
	}
	return s.Protocol.NamedInstruments()
}
