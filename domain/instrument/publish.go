package instrument

import (
	"slices"

	"casebook/domain"
	"casebook/domain/canonical"
	"casebook/domain/refuse"
)

// Event is what can happen to an instrument of a study.
type Event interface{ instrumentEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[Published]("InstrumentPublished").InNoView("decisions read it"),
}

// Published puts a version of an instrument on record. There is one for each version.
type Published struct {
	Study      domain.StudyID `json:"study"`
	Instrument Definition     `json:"instrument"`
	// SHA256 is the definition's (see Definition.SHA256), by which a protocol refers to it.
	SHA256 string `json:"sha256"`
}

func (Published) instrumentEvent() {}

// PublishInstrument puts a version of an instrument on record, for protocols to refer to.
type PublishInstrument struct {
	domain.InStudy
	Instrument Definition `json:"instrument" doc:"The whole version"`
}

// RecordInstrument publishes a version of an instrument that one of the study's protocols has brought itself. The process
// of instruments sends it. It does not repeat the definition, because an event has a bounded size.
type RecordInstrument struct {
	domain.InStudy
	Instrument ID  `json:"instrument" doc:"The instrument"`
	Version    int `json:"version" doc:"Its version"`
}

// Reference names a version of an instrument that has been published by itself.
type Reference struct {
	ID      ID     `json:"id" doc:"The instrument"`
	Version int    `json:"version" minimum:"1" doc:"Its version"`
	SHA256  string `json:"sha256" minLength:"64" maxLength:"64" doc:"SHA-256 of the version's definition, as InstrumentPublished holds it"`
}

// Decider is how an instrument's stream works.
var Decider = domain.Decider[Versions, Event]{Category: "instrument", Key: byInstrument, Events: events, Evolve: evolve}

// Streams are the kinds of streams in this context.
var Streams = []domain.StreamType{Decider.Streams()}

// byInstrument is the key of the streams of instruments.
func byInstrument(command any) (id string, ok bool) {
	switch c := command.(type) {
	case PublishInstrument:
		return StreamID(c.Study, c.Instrument.ID), true
	case RecordInstrument:
		return StreamID(c.Study, c.Instrument), true
	}
	return "", false
}

// StreamID is the id of an instrument's stream. A study's id has no dot, so that the two parts can be told apart.
func StreamID(study domain.StudyID, id ID) string { return string(study) + "." + string(id) }

// StreamOf names the stream of an instrument.
func StreamOf(study domain.StudyID, id ID) string { return Decider.Stream(StreamID(study, id)) }

// Versions is the state of an instrument's stream: its published versions, in their order. It never changes; Evolve
// returns a new one.
type Versions struct {
	published []Published
}

// Definition returns the definition of a version, nil where it is not published. It is shared: do not change it.
func (v Versions) Definition(version int) *Definition {
	if p := v.find(version); p != nil {
		return &p.Instrument
	}
	return nil
}

// SHA256 returns the hash of a version's definition, "" where it is not published.
func (v Versions) SHA256(version int) string {
	if p := v.find(version); p != nil {
		return p.SHA256
	}
	return ""
}

// Newest returns the highest version that is published, 0 where none is.
func (v Versions) Newest() int {
	if len(v.published) == 0 {
		return 0
	}
	return v.published[len(v.published)-1].Instrument.Version
}

func (v Versions) find(version int) *Published {
	n, found := v.place(version)
	if !found {
		return nil
	}
	return &v.published[n]
}

func (v Versions) place(version int) (int, bool) {
	return slices.BinarySearchFunc(v.published, version, func(p Published, version int) int { return p.Instrument.Version - version })
}

func evolve(v Versions, e Event) Versions {
	published, ok := e.(Published)
	if !ok {
		return v
	}
	n, found := v.place(published.Instrument.Version)
	if found {
		return v // recorded by a program that allowed it; the first stays what protocols refer to
	}
	return Versions{published: slices.Insert(slices.Clone(v.published), n, published)}
}

// SHA256 returns the hash by which protocols refer to the definition: the SHA-256 of its canonical JSON (RFC 8785, see
// package canonical), in lower-case hexadecimal. What the definition leaves out is left out of the JSON as well, so that a
// field that a later program adds changes no hash. It refuses a definition that holds a number that cannot be written
// (code invalid_instrument).
func (d *Definition) SHA256() (string, error) {
	hash, err := canonical.SHA256(d)
	if err != nil {
		return "", parts.Invalid("items", "the definition holds a number that cannot be written: %v", err)
	}
	return hash, nil
}

// Publication is what Publish has to know from the study's stream.
type Publication struct {
	// StudyExists says that the study has been created.
	StudyExists bool
	// InProtocols are the versions of the instrument that the study's protocols have brought themselves.
	InProtocols []*Definition
}

// Publish decides whether a version of an instrument is put on record. A version is published once: the same content again
// changes nothing, and other content needs a higher version than any before, those that protocols brought themselves
// included. What a protocol brought is recorded in any order, because it is recorded after the protocol.
//
// It refuses malformed_id, study_not_found, invalid_instrument, invalid_rule and instrument_version_order.
func Publish(v Versions, facts Publication, cmd PublishInstrument, _ domain.Call) ([]Event, error) {
	if err := cmd.Study.Validate(); err != nil {
		return nil, err
	}
	if !facts.StudyExists {
		return nil, refuse.NotFound("study_not_found", "there is no study %s", cmd.Study).At("study").
			Do("check the id, or create the study first")
	}
	next := &cmd.Instrument
	if err := next.Validate(); err != nil {
		return nil, err
	}
	hash, err := next.SHA256()
	if err != nil {
		return nil, err
	}
	recorded := v.SHA256(next.Version)
	if recorded == hash {
		return nil, nil
	}
	brought, newest, err := facts.brought(next, hash)
	if err != nil {
		return nil, err
	}
	newest = max(newest, v.Newest())
	if recorded != "" || newest >= next.Version && !brought {
		return nil, VersionOrder(next.ID, next.Version, newest).At("instrument.version")
	}
	return []Event{Published{Study: cmd.Study, Instrument: *next, SHA256: hash}}, nil
}

// Record decides about RecordInstrument as Publish does about the definition that the protocol brought. It also refuses
// unknown_instrument_version, where no protocol has brought that version.
func Record(v Versions, facts Publication, cmd RecordInstrument, call domain.Call) ([]Event, error) {
	for _, d := range facts.InProtocols {
		if d.Version == cmd.Version {
			return Publish(v, facts, PublishInstrument{InStudy: cmd.InStudy, Instrument: *d}, call)
		}
	}
	return nil, refuse.Because("unknown_instrument_version", "no protocol of study %s has brought version %d of instrument %s",
		cmd.Study, cmd.Version, cmd.Instrument).At("version").Do("publish the instrument itself")
}

// brought says whether a protocol brought this very definition, and which version is the newest that protocols brought.
func (p Publication) brought(next *Definition, hash string) (same bool, newest int, err error) {
	for _, d := range p.InProtocols {
		newest = max(newest, d.Version)
		if d.Version != next.Version {
			continue
		}
		known, err := d.SHA256()
		if err != nil {
			return false, 0, err
		}
		same = same || known == hash
	}
	return same, newest, nil
}

// VersionOrder refuses content of an instrument that has no higher version than what was published before (code
// instrument_version_order).
func VersionOrder(id ID, version, before int) *refuse.Refusal {
	return refuse.WrongState("instrument_version_order", "instrument %s changed but has version %d, after %d", id, version, before).
		Do("give the changed instrument a higher version")
}
