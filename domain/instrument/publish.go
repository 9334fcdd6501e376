package instrument

import (
	"slices"

	"casebook/domain"
	"casebook/domain/canonical"
	"casebook/domain/refuse"
)

// Event is an event of an instrument of a study.
type Event interface{ instrumentEvent() }

// events are the events of the stream with their stored names.
var events = []domain.EventType{
	// A program that knows only version 1 must not read the definition of an instrument about doses.
	domain.Stored[Published]("InstrumentPublished", domain.Unchanged).InNoView("decisions read it"),
}

// Published says that a version of an instrument was published. There is one event for each version.
type Published struct {
	Study      domain.StudyID `json:"study"`
	Instrument Definition     `json:"instrument"`
	// SHA256 is the hash of the definition (see Definition.SHA256). A protocol refers to the definition by it.
	SHA256 string `json:"sha256"`
}

func (Published) instrumentEvent() {}

// PublishInstrument publishes a version of an instrument, so that protocols can refer to it.
type PublishInstrument struct {
	domain.InStudy
	Instrument Definition `json:"instrument" doc:"The whole version"`
}

// RecordInstrument publishes a version of an instrument that one of the study's protocols contains. The process of
// instruments sends it. It does not repeat the definition, because the size of an event is limited.
type RecordInstrument struct {
	domain.InStudy
	Instrument ID  `json:"instrument" doc:"The instrument"`
	Version    int `json:"version" doc:"Its version"`
}

// Reference names a version of an instrument that was published on its own.
type Reference struct {
	ID      ID     `json:"id" doc:"The instrument"`
	Version int    `json:"version" minimum:"1" doc:"Its version"`
	SHA256  string `json:"sha256" minLength:"64" maxLength:"64" doc:"SHA-256 of the version's definition, as InstrumentPublished holds it"`
}

// Decider decides on an instrument's stream.
var Decider = domain.Decider[Versions, Event]{Category: "instrument", Key: byInstrument, Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams(), ImageDecider.Streams()}

// byInstrument returns the key of the instrument's stream that a command is decided on.
func byInstrument(command any) (id string, ok bool) {
	switch c := command.(type) {
	case PublishInstrument:
		return StreamID(c.Study, c.Instrument.ID), true
	case RecordInstrument:
		return StreamID(c.Study, c.Instrument), true
	}
	return "", false
}

// StreamID returns the id of an instrument's stream. A study's id has no dot, so the first dot separates the two parts.
func StreamID(study domain.StudyID, id ID) string { return string(study) + "." + string(id) }

// StreamOf returns the name of an instrument's stream.
func StreamOf(study domain.StudyID, id ID) string { return Decider.Stream(StreamID(study, id)) }

// Versions is the state of an instrument's stream: its published versions in ascending order. It never changes; Evolve
// returns a new one.
type Versions struct {
	published []Published
}

// Definition returns the definition of a version, or nil if the version is not published. It is shared: do not change
// it.
func (v Versions) Definition(version int) *Definition {
	if p := v.find(version); p != nil {
		return &p.Instrument
	}
	return nil
}

// SHA256 returns the hash of a version's definition, or "" if the version is not published.
func (v Versions) SHA256(version int) string {
	if p := v.find(version); p != nil {
		return p.SHA256
	}
	return ""
}

// Newest returns the highest published version, or 0 if none is published.
func (v Versions) Newest() int {
	if len(v.published) == 0 {
		return 0
	}
	return v.published[len(v.published)-1].Instrument.Version
}

func (v Versions) find(version int) *Published {
	n, found := v.index(version)
	if !found {
		return nil
	}
	return &v.published[n]
}

func (v Versions) index(version int) (int, bool) {
	return slices.BinarySearchFunc(v.published, version, func(p Published, version int) int { return p.Instrument.Version - version })
}

func evolve(v Versions, e Event) Versions {
	published, ok := e.(Published)
	if !ok {
		return v
	}
	n, found := v.index(published.Instrument.Version)
	if found {
		return v // a second event for a version, by an older program: protocols refer to the first
	}
	return Versions{published: slices.Insert(slices.Clone(v.published), n, published)}
}

// SHA256 returns the hash by which protocols refer to the definition: the SHA-256 of its canonical JSON (RFC 8785, see
// package canonical), in lower-case hexadecimal. Empty fields are not in the JSON, so that a field that a later program
// adds changes no existing hash. It refuses a definition with a number that JSON cannot hold (code invalid_instrument).
func (d *Definition) SHA256() (string, error) {
	hash, err := canonical.SHA256(d)
	if err != nil {
		return "", parts.Invalid("items", "the definition holds a number that cannot be written: %v", err)
	}
	return hash, nil
}

// Publication are the facts that Publish needs from the study's stream.
type Publication struct {
	// StudyExists says that the study has been created.
	StudyExists bool
	// InProtocols are the versions of the instrument that the study's protocols contain.
	InProtocols []*Definition
	// Images are the hashes of the images of the study among those that the instrument refers to.
	Images []string
}

// mustHave refuses malformed_id and study_not_found.
func (p Publication) mustHave(study domain.StudyID) error {
	if err := study.Validate(); err != nil {
		return err
	}
	if !p.StudyExists {
		return refuse.NotFound("study_not_found", "there is no study %s", study).At("study").
			Do("check the id, or create the study first")
	}
	return nil
}

// Publish publishes a version of an instrument. A version is published once: it records nothing for the same content
// again, and other content needs a higher version than all earlier versions, including those in protocols. A version
// that a protocol contains may be recorded in any order, because it is recorded after the protocol.
//
// It refuses malformed_id, study_not_found, invalid_instrument, invalid_rule, unknown_image and instrument_version_order.
func Publish(v Versions, facts Publication, cmd PublishInstrument, _ domain.Call) ([]Event, error) {
	if err := facts.mustHave(cmd.Study); err != nil {
		return nil, err
	}
	next := &cmd.Instrument
	if err := next.Validate(); err != nil {
		return nil, err
	}
	for _, image := range next.Images() {
		if !slices.Contains(facts.Images, image) {
			return nil, refuse.Because("unknown_image", "the study has no image %s", image).At("instrument").
				Do("publish it with PublishImage first")
		}
	}
	hash, err := next.SHA256()
	if err != nil {
		return nil, err
	}
	recorded := v.SHA256(next.Version)
	if recorded == hash {
		return nil, nil
	}
	contained, newest, err := facts.contained(next, hash)
	if err != nil {
		return nil, err
	}
	newest = max(newest, v.Newest())
	if recorded != "" || newest >= next.Version && !contained {
		return nil, VersionOrder(next.ID, next.Version, newest).At("instrument.version")
	}
	return []Event{Published{Study: cmd.Study, Instrument: *next, SHA256: hash}}, nil
}

// Record publishes the definition that a protocol contains, as Publish does. It also refuses unknown_instrument_version
// if no protocol contains the version.
func Record(v Versions, facts Publication, cmd RecordInstrument, call domain.Call) ([]Event, error) {
	for _, d := range facts.InProtocols {
		if d.Version == cmd.Version {
			return Publish(v, facts, PublishInstrument{InStudy: cmd.InStudy, Instrument: *d}, call)
		}
	}
	return nil, refuse.Because("unknown_instrument_version", "no protocol of study %s has brought version %d of instrument %s",
		cmd.Study, cmd.Version, cmd.Instrument).At("version").Do("publish the instrument itself")
}

// contained says whether a protocol contains exactly this definition, and returns the newest version in protocols.
func (p Publication) contained(next *Definition, hash string) (same bool, newest int, err error) {
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

// VersionOrder refuses a changed instrument whose version is not higher than the published ones (code
// instrument_version_order).
func VersionOrder(id ID, version, before int) *refuse.Refusal {
	return refuse.WrongState("instrument_version_order", "instrument %s changed but has version %d, after %d", id, version, before).
		Do("give the changed instrument a higher version")
}
