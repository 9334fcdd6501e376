package build

import (
	"context"
	"slices"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/form"
	"casebook/domain/refuse"
	"casebook/readmodels"
)

var (
	buildForm = readmodels.Declare(readmodels.Query{
		Name: "BuildForm", Path: "/api/v1/studies/{study}/builds/{build}/forms/{form}", Summary: "A form of a sealed build, to fill in",
		Doc: "The groups of items with the code lists that they use, and their rules in CEL. A sealed build never changes: load it once. " +
			"Blinded items are left out.",
		OpenTo: access.StudyMembers, Reach: readmodels.ReachSites, OfStates: true,
	}, LoadBuildForm)
	buildPart = readmodels.Declare(readmodels.Query{
		Name: "BuildPart", Path: "/api/v1/studies/{study}/builds/{build}/parts/{kind}/{part}",
		Summary: "A part of a build as it was put, drafts included",
		Doc:     "For those who build the study. Blinded items are in it.",
		OpenTo:  access.DataManagers, Reach: readmodels.ReachStudy, OfStates: true,
	}, LoadBuildPart)
)

// BuildFormQuery asks for a form of a sealed build.
type BuildFormQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Build int            `path:"build" example:"1" minimum:"1" maximum:"1000000" doc:"Number of the build"`
	Form  string         `path:"form" example:"VS" maxLength:"40" doc:"The form"`
}

// BuildPartQuery asks for a part of a build.
type BuildPartQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Build int            `path:"build" example:"1" minimum:"1" maximum:"1000000" doc:"Number of the build"`
	Kind  build.PartKind `path:"kind" doc:"What the part is"`
	Part  string         `path:"part" example:"VS" maxLength:"64" doc:"Its name; that of the schedule is schedule"`
}

// FormToFillIn is a form of a sealed build for those who fill it in.
type FormToFillIn struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	Build int            `json:"build" doc:"Number of the build"`
	// SHA256 is what was published.
	SHA256    string          `json:"sha256" doc:"Hash of the build's definition"`
	Languages []string        `json:"languages" doc:"Languages of its texts; texts are plain without"`
	Form      build.Form      `json:"form" doc:"The form"`
	Lists     []form.CodeList `json:"lists" doc:"The code lists that its items use"`
}

// Part is a part of a build, in the field of its kind.
type Part struct {
	Form     *build.Form     `json:"form,omitempty" doc:"The form"`
	List     *form.CodeList  `json:"list,omitempty" doc:"The code list"`
	Schedule *build.Schedule `json:"schedule,omitempty" doc:"The schedule"`
	Checks   *build.CheckSet `json:"checks,omitempty" doc:"The set of checks"`
}

// LoadBuildForm returns a form of a sealed build. A draft is refused, because nobody has looked yet whether it tells of what is blinded.
// It refuses build_not_found, build_not_sealed and part_not_found.
func LoadBuildForm(ctx context.Context, r readmodels.Request, q BuildFormQuery) (FormToFillIn, error) {
	b, err := stateOf(ctx, r, q.Study, q.Build)
	if err != nil {
		return FormToFillIn{}, err
	}
	if !b.IsSealed() {
		return FormToFillIn{}, refuse.WrongState("build_not_sealed", "build %d of study %s is a draft", q.Build, q.Study).At("build").
			Do("ask for a sealed build")
	}
	f := b.Definition().Form(q.Form)
	if f == nil {
		return FormToFillIn{}, noPart(q.Build, build.PartForm, q.Form)
	}
	shown := FormToFillIn{Study: q.Study, Build: q.Build, SHA256: b.SHA256(), Languages: append([]string{}, b.Definition().Languages...),
		Form: f.VisibleTo(""), Lists: []form.CodeList{}}
	for _, g := range shown.Form.Groups {
		for _, it := range g.Items {
			if l := b.Definition().List(it.List); l != nil && !slices.ContainsFunc(shown.Lists, func(o form.CodeList) bool { return o.ID == l.ID }) {
				shown.Lists = append(shown.Lists, *l)
			}
		}
	}
	return shown, nil
}

// LoadBuildPart returns a part of a build. It refuses build_not_found and part_not_found.
func LoadBuildPart(ctx context.Context, r readmodels.Request, q BuildPartQuery) (p Part, err error) {
	b, err := stateOf(ctx, r, q.Study, q.Build)
	if err != nil {
		return p, err
	}
	d := b.Definition()
	switch q.Kind {
	case build.PartForm:
		p.Form = d.Form(q.Part)
	case build.PartList:
		p.List = d.List(q.Part)
	case build.PartSchedule:
		if q.Part == string(build.PartSchedule) && len(d.Schedule.Visits) > 0 {
			p.Schedule = &d.Schedule
		}
	case build.PartChecks:
		p.Checks = d.CheckSet(q.Part)
	}
	if p == (Part{}) {
		return p, noPart(q.Build, q.Kind, q.Part)
	}
	return p, nil
}
