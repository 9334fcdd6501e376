// Package build decides about the builds of a study: how its data are captured. A build is drafted part by part, with one
// event for each form, code list, schedule and set of checks, because a whole build is larger than one append may be. Once
// it is sealed it never changes, so that every value that is captured by it can be read as it was meant. Package study
// publishes sealed builds and releases them to sites.
//
// Begin reading at Definition, then Build, then Definition.Compile.
package build

import (
	"maps"
	"strconv"

	"casebook/domain"
	"casebook/domain/form"
)

// Event is an event of a build.
type Event interface{ buildEvent() }

// events are the events of the stream with their stored names.
var events = []domain.EventType{
	domain.Stored[DraftCreated]("BuildDraftCreated"),
	domain.Stored[FormPut]("BuildFormPut"),
	domain.Stored[CodeListPut]("BuildCodeListPut"),
	domain.Stored[SchedulePut]("BuildSchedulePut"),
	domain.Stored[ChecksPut]("BuildChecksPut"),
	domain.Stored[PartRemoved]("BuildPartRemoved"),
	domain.Stored[Sealed]("BuildSealed"),
}

// DraftCreated begins a build.
type DraftCreated struct {
	OfBuild
	Title     string   `json:"title"`
	Languages []string `json:"languages,omitempty"`
}

// FormPut puts a form into a draft, in the place of the one with its id if there is one.
type FormPut struct {
	OfBuild
	Form Form `json:"form"`
}

// CodeListPut puts a code list into a draft, in the place of the one with its id if there is one.
type CodeListPut struct {
	OfBuild
	List form.CodeList `json:"list"`
}

// SchedulePut puts the schedule of a draft in the place of the one before.
type SchedulePut struct {
	OfBuild
	Schedule Schedule `json:"schedule"`
}

// ChecksPut puts a set of checks into a draft, in the place of the one with its id if there is one.
type ChecksPut struct {
	OfBuild
	Checks CheckSet `json:"checks"`
}

// PartRemoved takes a part out of a draft.
type PartRemoved struct {
	OfBuild
	Kind PartKind `json:"kind"`
	// Part is the id of the part, "" for the schedule.
	Part string `json:"part,omitempty"`
}

// Sealed says that a build never changes any more.
type Sealed struct {
	OfBuild
	// SHA256 is the hash of the build's definition (see Definition.SHA256).
	SHA256 string `json:"sha256"`
}

func (DraftCreated) buildEvent() {}
func (FormPut) buildEvent()      {}
func (CodeListPut) buildEvent()  {}
func (SchedulePut) buildEvent()  {}
func (ChecksPut) buildEvent()    {}
func (PartRemoved) buildEvent()  {}
func (Sealed) buildEvent()       {}

// Decider decides on a build's stream.
var Decider = domain.Decider[Build, Event]{Category: "build", Key: byBuild, Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams()}

// OfBuild is embedded by commands about one build of a study.
type OfBuild struct {
	domain.InStudy
	Build int `json:"build" minimum:"1" doc:"Number of the build within the study"`
}

// AboutBuild returns the build that the command is about.
func (o OfBuild) AboutBuild() (domain.StudyID, int) { return o.Study, o.Build }

// ForBuild returns the fields of a command about this build.
func ForBuild(study domain.StudyID, build int) OfBuild {
	return OfBuild{InStudy: domain.ForStudy(study), Build: build}
}

func byBuild(command any) (id string, ok bool) {
	c, ok := command.(interface{ AboutBuild() (domain.StudyID, int) })
	if !ok {
		return "", false
	}
	return StreamID(c.AboutBuild()), true
}

// StreamID returns the id of a build's stream. A study's id has no dot, so the first dot separates the two parts.
func StreamID(study domain.StudyID, build int) string {
	return string(study) + "." + strconv.Itoa(build)
}

// Build is the state of a build's stream. It never changes; Evolve returns a new one.
type Build struct {
	Study      domain.StudyID
	Number     int
	Title      string
	definition Definition
	// sizes are how many bytes each part has as JSON.
	sizes  map[partName]int
	sha256 string
}

type partName struct {
	kind PartKind
	id   string
}

// Exists says whether the build was begun.
func (b Build) Exists() bool { return b.Number > 0 }

// IsSealed says whether the build never changes any more.
func (b Build) IsSealed() bool { return b.sha256 != "" }

// SHA256 returns the hash of a sealed build, "" for a draft.
func (b Build) SHA256() string { return b.sha256 }

// Definition returns what the build consists of. It is shared: do not change it.
func (b Build) Definition() *Definition { return &b.definition }

func evolve(b Build, e Event) Build {
	d := &b.definition
	switch e := e.(type) {
	case DraftCreated:
		b.Study, b.Number, b.Title = e.Study, e.Build, e.Title
		d.Languages = e.Languages
	case FormPut:
		d.Forms = put(d.Forms, e.Form, formID)
		b.sizes = sized(b.sizes, PartForm, e.Form.ID, e.Form)
	case CodeListPut:
		d.Lists = put(d.Lists, e.List, listID)
		b.sizes = sized(b.sizes, PartList, e.List.ID, e.List)
	case SchedulePut:
		d.Schedule = e.Schedule
		b.sizes = sized(b.sizes, PartSchedule, "", e.Schedule)
	case ChecksPut:
		d.Checks = put(d.Checks, e.Checks, setID)
		b.sizes = sized(b.sizes, PartChecks, e.Checks.ID, e.Checks)
	case PartRemoved:
		b.sizes = sized(b.sizes, e.Kind, e.Part, nil)
		switch e.Kind {
		case PartForm:
			d.Forms = without(d.Forms, e.Part, formID)
		case PartList:
			d.Lists = without(d.Lists, e.Part, listID)
		case PartSchedule:
			d.Schedule = Schedule{}
		case PartChecks:
			d.Checks = without(d.Checks, e.Part, setID)
		}
	case Sealed:
		b.sha256 = e.SHA256
	}
	return b
}

// sized returns the sizes with that of a part; a part that is nil has none.
func sized(sizes map[partName]int, kind PartKind, id string, part any) map[partName]int {
	next := make(map[partName]int, len(sizes)+1)
	maps.Copy(next, sizes)
	if part == nil {
		delete(next, partName{kind, id})
		return next
	}
	next[partName{kind, id}] = sizeOf(part)
	return next
}
