package build

import (
	"encoding/json"
	"reflect"
	"slices"

	"casebook/domain"
	"casebook/domain/form"
	"casebook/domain/refuse"
)

// How large a build may be. The bounds are above real builds, of which the largest have about a thousand forms' worth of
// items.
const (
	maxForms     = 500
	maxGroups    = 50
	maxItems     = 200
	maxLists     = 500
	maxVisits    = 500
	maxCheckSets = 200
	maxChecks    = 500
	maxRows      = 500
	maxLanguages = 30
	// maxPartBytes bounds the JSON of a part. Its event has to fit into one append, with its metadata.
	maxPartBytes = 512 << 10
	// maxBytes bounds the JSON of all parts.
	maxBytes = 16 << 20
)

// CreateBuildDraft begins a build.
type CreateBuildDraft struct {
	OfBuild
	Title     string   `json:"title" minLength:"1" maxLength:"200" doc:"What the build is for"`
	Languages []string `json:"languages,omitempty" maxItems:"30" doc:"Languages that every text has to be there in, such as de and en-GB, the first being the one that others fall back to; texts are plain without"`
}

// PutForm puts a form into a draft.
type PutForm struct {
	OfBuild
	Form Form `json:"form" doc:"The whole form; it takes the place of the one with its id"`
}

// PutCodeList puts a code list into a draft.
type PutCodeList struct {
	OfBuild
	List form.CodeList `json:"list" doc:"The whole list; it takes the place of the one with its id"`
}

// PutSchedule puts the schedule into a draft.
type PutSchedule struct {
	OfBuild
	Schedule Schedule `json:"schedule" doc:"The whole schedule; it takes the place of the one before"`
}

// PutChecks puts a set of checks into a draft.
type PutChecks struct {
	OfBuild
	Checks CheckSet `json:"checks" doc:"The whole set; it takes the place of the one with its id"`
}

// RemovePart takes a part out of a draft.
type RemovePart struct {
	OfBuild
	Kind PartKind `json:"kind" doc:"What the part is"`
	Part string   `json:"part,omitempty" maxLength:"64" doc:"Its id; left out for the schedule"`
}

// Before are the facts that CreateDraft needs from other streams.
type Before struct {
	// StudyExists says that the study has been created.
	StudyExists bool
	// Previous says that the build with the number before exists.
	Previous bool
}

// CreateDraft decides about CreateBuildDraft. The numbers of a study's builds have no gaps.
//
// It refuses study_not_found, build_exists, build_order, invalid_build, value_missing, value_too_long and malformed_id.
func CreateDraft(b Build, facts Before, cmd CreateBuildDraft, _ domain.Call) ([]Event, error) {
	if err := domain.First(cmd.Study.Validate(), domain.Text("title", cmd.Title, 200)); err != nil {
		return nil, err
	}
	switch {
	case !facts.StudyExists:
		return nil, refuse.NotFound("study_not_found", "there is no study %s",
			cmd.Study).At("study").Do("check the id, or create the study first")
	case b.Exists():
		return nil, refuse.WrongState("build_exists", "study %s has a build %d already", cmd.Study, cmd.Build).At("build").
			Do("begin the next one, or change the parts of this one while it is a draft")
	case cmd.Build < 1 || cmd.Build > 1 && !facts.Previous:
		return nil, refuse.WrongState("build_order", "study %s has no build %d, so that %d cannot be begun", cmd.Study, cmd.Build-1, cmd.Build).
			At("build").Do("begin the builds in the order of their numbers, the first being 1")
	}
	if err := parts.Count("languages", len(cmd.Languages), 0, maxLanguages); err != nil {
		return nil, err
	}
	for n, l := range cmd.Languages {
		if !domain.IsLanguage(l) || slices.Contains(cmd.Languages[:n], l) {
			return nil, parts.Invalid("languages", "%q is not a language, or there twice; de and en-GB are", refuse.Shortened(l))
		}
	}
	return []Event{DraftCreated(cmd)}, nil
}

// parts refuses parts of a build.
var parts = form.Parts{Code: "invalid_build"}

// mustBeDraft refuses build_not_found and build_sealed.
func (b Build) mustBeDraft(of OfBuild) error {
	if err := b.MustExist(of.Study, of.Build); err != nil {
		return err
	}
	if b.IsSealed() {
		return refuse.WrongState("build_sealed", "build %d of study %s is sealed, and never changes", of.Build, of.Study).At("build").
			Do("begin the next build with CreateBuildDraft")
	}
	return nil
}

// MustExist refuses a build that was never begun (code build_not_found).
func (b Build) MustExist(study domain.StudyID, number int) error {
	if b.Exists() {
		return nil
	}
	return refuse.NotFound("build_not_found", "study %s has no build %d", study, number).At("build").
		Do("check the number, or begin the build with CreateBuildDraft")
}

// ChangeForm decides about PutForm. What a form names of other parts is looked at when the build is sealed, so that parts
// can come in any order. A part that is there already in the same content changes nothing.
//
// It refuses build_not_found, build_sealed and invalid_build.
func ChangeForm(b Build, cmd PutForm, _ domain.Call) ([]Event, error) {
	if err := domain.First(b.mustBeDraft(cmd.OfBuild), validForm("form", &cmd.Form), b.fits("form", cmd.Form)); err != nil {
		return nil, err
	}
	before := b.definition.Form(cmd.Form.ID)
	if before != nil && reflect.DeepEqual(*before, cmd.Form) {
		return nil, nil
	}
	if err := mayAdd("form", before == nil, len(b.definition.Forms), maxForms); err != nil {
		return nil, err
	}
	return []Event{FormPut(cmd)}, nil
}

// ChangeCodeList decides about PutCodeList, as ChangeForm does about a form.
func ChangeCodeList(b Build, cmd PutCodeList, _ domain.Call) ([]Event, error) {
	if err := domain.First(b.mustBeDraft(cmd.OfBuild), parts.Name("list.id", "a code list's id", cmd.List.ID),
		b.fits("list", cmd.List)); err != nil {
		return nil, err
	}
	before := b.definition.List(cmd.List.ID)
	if before != nil && reflect.DeepEqual(*before, cmd.List) {
		return nil, nil
	}
	if err := mayAdd("list", before == nil, len(b.definition.Lists), maxLists); err != nil {
		return nil, err
	}
	return []Event{CodeListPut(cmd)}, nil
}

// ChangeSchedule decides about PutSchedule, as ChangeForm does about a form.
func ChangeSchedule(b Build, cmd PutSchedule, _ domain.Call) ([]Event, error) {
	if err := domain.First(b.mustBeDraft(cmd.OfBuild), validSchedule(&cmd.Schedule), b.fits("schedule", cmd.Schedule)); err != nil {
		return nil, err
	}
	if reflect.DeepEqual(b.definition.Schedule, cmd.Schedule) {
		return nil, nil
	}
	return []Event{SchedulePut(cmd)}, nil
}

// ChangeChecks decides about PutChecks, as ChangeForm does about a form.
func ChangeChecks(b Build, cmd PutChecks, _ domain.Call) ([]Event, error) {
	if err := domain.First(b.mustBeDraft(cmd.OfBuild), parts.Name("checks.id", "the id of a set of checks", cmd.Checks.ID),
		parts.Count("checks.checks", len(cmd.Checks.Checks), 1, maxChecks), b.fits("checks", cmd.Checks)); err != nil {
		return nil, err
	}
	before := b.definition.CheckSet(cmd.Checks.ID)
	if before != nil && reflect.DeepEqual(*before, cmd.Checks) {
		return nil, nil
	}
	if err := mayAdd("set of checks", before == nil, len(b.definition.Checks), maxCheckSets); err != nil {
		return nil, err
	}
	return []Event{ChecksPut(cmd)}, nil
}

// Remove decides about RemovePart. It refuses build_not_found, build_sealed and part_not_found.
func Remove(b Build, cmd RemovePart, _ domain.Call) ([]Event, error) {
	if err := b.mustBeDraft(cmd.OfBuild); err != nil {
		return nil, err
	}
	there := false
	switch cmd.Kind {
	case PartForm:
		there = b.definition.Form(cmd.Part) != nil
	case PartList:
		there = b.definition.List(cmd.Part) != nil
	case PartSchedule:
		there = cmd.Part == "" && len(b.definition.Schedule.Visits) > 0
	case PartChecks:
		there = b.definition.CheckSet(cmd.Part) != nil
	}
	if !there {
		return nil, refuse.NotFound("part_not_found", "build %d has no part %s %.80q", cmd.Build, cmd.Kind, cmd.Part).At("part").
			Do("the query Build names its parts")
	}
	return []Event{PartRemoved(cmd)}, nil
}

func mayAdd(what string, isNew bool, there, most int) error {
	if isNew && there >= most {
		return parts.Invalid("build", "it has %d parts of the kind %s, and can have no more", there, what)
	}
	return nil
}

// fits refuses a part that is too large, or would make the build so.
func (b Build) fits(at string, part any) error {
	size := sizeOf(part)
	if size < 0 {
		return parts.Invalid(at, "it holds a number that cannot be written")
	}
	if size > maxPartBytes {
		return parts.Invalid(at, "it has %d bytes, more than %d", size, maxPartBytes)
	}
	for _, other := range b.sizes {
		size += other
	}
	if size > maxBytes {
		return parts.Invalid(at, "the build would have more than %d bytes", maxBytes)
	}
	return nil
}

// sizeOf returns how many bytes a part has as JSON, -1 if it cannot be written.
func sizeOf(part any) int {
	encoded, err := json.Marshal(part)
	if err != nil {
		return -1
	}
	return len(encoded)
}
