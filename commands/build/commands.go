// Package build declares the commands on a study's builds. Those that publish a build, and release it to sites, are commands
// on the study.
package build

import (
	"context"

	"casebook/access"
	"casebook/commands"
	"casebook/domain/build"
	"casebook/domain/form"
	"casebook/domain/study"
)

// Commands are the commands on a study's builds.
var Commands = []commands.Command{
	commands.HandleWithFacts(build.Decider, before, build.CreateDraft).
		AllowedTo(access.DataManagers).
		Described("Begin a build: how the study's data are captured",
			build.CreateBuildDraft{OfBuild: build.ForBuild("PAIN1", 1), Title: "First build", Languages: []string{"en"}}),
	commands.Handle(build.Decider, build.ChangeForm).
		AllowedTo(access.DataManagers).
		Described("Put a form into a draft, or another one in its place", build.PutForm{OfBuild: build.ForBuild("PAIN1", 1), Form: exampleForm}),
	commands.Handle(build.Decider, build.ChangeCodeList).
		AllowedTo(access.DataManagers).
		Described("Put a code list into a draft, or another one in its place",
			build.PutCodeList{OfBuild: build.ForBuild("PAIN1", 1), List: form.CodeList{ID: "position",
				Options: []form.Option{{Value: "sitting", Label: in("Sitting")}, {Value: "supine", Label: in("Supine")}}}}),
	commands.Handle(build.Decider, build.ChangeSchedule).
		AllowedTo(access.DataManagers).
		Described("Put the schedule of events into a draft: visits, their windows and forms",
			build.PutSchedule{OfBuild: build.ForBuild("PAIN1", 1), Schedule: build.Schedule{Visits: []build.Visit{
				{ID: "baseline", Title: in("Baseline"), Kind: build.VisitScheduled, Forms: []string{"VS"}},
				{ID: "week-1", Title: in("Week 1"), Kind: build.VisitScheduled, Day: 7, Before: 1, After: 2, Forms: []string{"VS"}}}}}),
	commands.Handle(build.Decider, build.ChangeChecks).
		AllowedTo(access.DataManagers).
		Described("Put a set of edit checks into a draft, or another one in its place",
			build.PutChecks{OfBuild: build.ForBuild("PAIN1", 1), Checks: build.CheckSet{ID: "vital-signs", Checks: []build.Check{
				{ID: "rise", Group: "VS", Item: "SYSBP", When: `answers.SYSBP - at("baseline").VS.SYSBP > 40`,
					Message: in("More than 40 above the baseline"), Effect: form.EffectQuery}}}}),
	commands.Handle(build.Decider, build.Remove).
		AllowedTo(access.DataManagers).
		Described("Take a part out of a draft", build.RemovePart{OfBuild: build.ForBuild("PAIN1", 1), Kind: build.PartForm, Part: "VS"}),
	commands.Handle(build.Decider, build.Seal).
		AllowedTo(access.DataManagers).
		Described("Seal a draft, which then never changes; refused while something in it could not be used",
			build.SealBuild{OfBuild: build.ForBuild("PAIN1", 1)}),
}

// before is whether the study, and the build with the number before, exist. Both never cease to.
func before(ctx context.Context, reader commands.Reader, c build.CreateBuildDraft) (build.Before, error) {
	if err := c.Study.Validate(); err != nil {
		return build.Before{}, err
	}
	s, err := commands.Read(ctx, reader, study.Decider, string(c.Study))
	if err != nil {
		return build.Before{}, err
	}
	previous, err := commands.Read(ctx, reader, build.Decider, build.StreamID(c.Study, c.Build-1))
	return build.Before{StudyExists: s.Exists(), Previous: previous.Exists()}, err
}

func in(english string) form.Translation { return form.Translation{"en": english} }

var exampleForm = build.Form{ID: "VS", Title: in("Vital signs"), Kind: build.VisitForm,
	Groups: []build.Group{{ID: "VS", Title: in("Vital signs"),
		Items: []build.Item{
			{Item: form.Item{ID: "SYSBP", Text: in("Systolic blood pressure"), Type: form.Integer, Unit: "mm[Hg]", SoftMin: new(80.0),
				SoftMax: new(180.0), Required: true}, Critical: true},
			{Item: form.Item{ID: "POSITION", Text: in("Position"), Type: form.Choice, List: "position"}},
		}}}}
