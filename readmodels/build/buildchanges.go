package build

import (
	"context"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/build"
	"casebook/readmodels"
)

var buildChanges = readmodels.Declare(readmodels.Query{
	Name: "BuildChanges", Path: "/api/v1/studies/{study}/builds/{build}/changes", Summary: "What a build changes of an earlier one",
	Doc: "Item by item, with what that means for the values that were recorded by the earlier build. Drafts can be compared, too. " +
		"Blinded items are in it.",
	OpenTo: access.DataManagers, Reach: readmodels.ReachStudy, OfStates: true,
}, LoadBuildChanges)

// BuildChangesQuery asks how a build differs from an earlier one.
type BuildChangesQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Build int            `path:"build" example:"2" minimum:"1" maximum:"1000000" doc:"Number of the build"`
	From  int            `query:"from" example:"1" minimum:"1" maximum:"1000000" doc:"The build that it is compared with; the one before when left out"`
}

// ChangesOfBuild are the differences between two builds.
type ChangesOfBuild struct {
	Study   domain.StudyID `json:"study" doc:"The study"`
	Build   int            `json:"build" doc:"Number of the build"`
	From    int            `json:"from" doc:"The build that it is compared with; 0 where there is none before"`
	Changes []build.Change `json:"changes" doc:"What is different: forms, groups, items, visits and checks"`
}

// LoadBuildChanges compares two builds. The first build of a study is compared with an empty one. It refuses build_not_found.
func LoadBuildChanges(ctx context.Context, r readmodels.Request, q BuildChangesQuery) (ChangesOfBuild, error) {
	to, err := stateOf(ctx, r, q.Study, q.Build)
	if err != nil {
		return ChangesOfBuild{}, err
	}
	earlier := q.From
	if earlier == 0 {
		earlier = q.Build - 1
	}
	from := &build.Definition{}
	if earlier > 0 {
		b, err := stateOf(ctx, r, q.Study, earlier)
		if err != nil {
			return ChangesOfBuild{}, err
		}
		from = b.Definition()
	}
	return ChangesOfBuild{Study: q.Study, Build: q.Build, From: earlier,
		Changes: append([]build.Change{}, build.Diff(from, to.Definition())...)}, nil
}
