// Package build holds the views of studies' builds, and the queries for those who capture data by them.
package build

import (
	"context"
	"errors"
	"fmt"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/refuse"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Builds is the view of all builds, with one document per build.
var Builds = readmodels.View{Name: "build-catalogue", Version: 1, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "build", "_id"),
}}

// BuildDocument says what a build consists of, and where it is used. The contents of its parts are not in it.
type BuildDocument struct {
	readmodels.Header `bson:",inline"`
	Study             domain.StudyID `bson:"study" json:"study" doc:"The study"`
	Build             int            `bson:"build" json:"build" doc:"Number of the build within the study"`
	Title             string         `bson:"title" json:"title" doc:"What it is for"`
	Status            BuildStatus    `bson:"status" json:"status" doc:"What became of it"`
	Languages         []string       `bson:"languages,omitempty" json:"languages" doc:"Languages of its texts; texts are plain without"`
	Forms             []string       `bson:"forms,omitempty" json:"forms" doc:"Its forms"`
	Lists             []string       `bson:"lists,omitempty" json:"lists" doc:"Its code lists"`
	Visits            []string       `bson:"visits,omitempty" json:"visits" doc:"The visits of its schedule, in order"`
	Checks            []string       `bson:"checks,omitempty" json:"checks" doc:"Its sets of edit checks"`
	SHA256            string         `bson:"sha256,omitempty" json:"sha256,omitempty" doc:"Hash of its definition, once it is sealed"`
	SealedOn          domain.Date    `bson:"sealedOn,omitempty" json:"sealedOn,omitempty" doc:"Day on which it was sealed"`
	Protocol          int            `bson:"protocol,omitempty" json:"protocol,omitempty" doc:"Version of the protocol that it captures the data of, once it is published"`
	PublishedOn       domain.Date    `bson:"publishedOn,omitempty" json:"publishedOn,omitempty" doc:"Day on which it was published"`
	Releases          []Release      `bson:"releases,omitempty" json:"releases" doc:"The sites that it was released to, in order"`
}

// Release says that a build was released to a site.
type Release struct {
	Site domain.SiteID `bson:"site" json:"site" doc:"The site"`
	On   domain.Date   `bson:"on" json:"on" doc:"Day of the release"`
}

// BuildStatus says what became of a build.
type BuildStatus string

// The statuses of builds.
const (
	BuildDraft     BuildStatus = "draft"
	BuildSealed    BuildStatus = "sealed"
	BuildPublished BuildStatus = "published"
)

// Schema implements domain.HasSchema.
func (BuildStatus) Schema() domain.Schema {
	return domain.OneOf(BuildDraft, BuildSealed, BuildPublished)
}

// BuildKey returns the key of a build's document.
func BuildKey(study domain.StudyID, number int) string { return fmt.Sprintf("%s/%06d", study, number) }

// Queries are those of this context.
var Queries = []readmodels.Query{builds, oneBuild, buildForm, buildPart}

var (
	builds = readmodels.Declare(readmodels.Query{
		Name: "Builds", Path: "/api/v1/studies/{study}/builds", Summary: "The builds of a study",
		Doc:    "Every build, the first in front, with the names of its parts, and the sites that it was released to.",
		OpenTo: access.StudyMembers, Reach: readmodels.ReachSites, Views: []readmodels.View{Builds},
	}, ListBuilds)
	oneBuild = readmodels.Declare(readmodels.Query{
		Name: "Build", Path: "/api/v1/studies/{study}/builds/{build}", Summary: "What a build consists of",
		Doc:    "The names of its parts, what became of it, and the sites that it was released to.",
		OpenTo: access.StudyMembers, Reach: readmodels.ReachSites, Views: []readmodels.View{Builds},
	}, LoadBuild)
)

// BuildsQuery asks for the builds of a study.
type BuildsQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	readmodels.Page
}

// BuildQuery asks for a build of a study.
type BuildQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Build int            `path:"build" example:"1" minimum:"1" maximum:"1000000" doc:"Number of the build"`
}

var buildOrders = []readmodels.Order[BuildDocument]{
	readmodels.Ascending("build", func(b BuildDocument) []any { return []any{b.Build, b.ID} }, "build", "_id"),
}

// ListBuilds returns a page of the builds of a study.
func ListBuilds(ctx context.Context, r readmodels.Request, q BuildsQuery) (readmodels.List[BuildDocument], error) {
	return readmodels.Listed(ctx, r.Store.Collection(Builds), q.Page, bson.D{{Key: "study", Value: string(q.Study)}}, buildOrders)
}

// LoadBuild returns a build. It refuses build_not_found.
func LoadBuild(ctx context.Context, r readmodels.Request, q BuildQuery) (b BuildDocument, err error) {
	err = r.Store.Collection(Builds).FindOne(ctx, bson.D{{Key: "_id", Value: BuildKey(q.Study, q.Build)}}).Decode(&b)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return b, build.Build{}.MustExist(q.Study, q.Build)
	}
	return b, err
}

// stateOf returns the state of a build. It refuses build_not_found.
func stateOf(ctx context.Context, r readmodels.Request, study domain.StudyID, number int) (build.Build, error) {
	b, _, err := readmodels.StateOf(ctx, r, build.Decider, build.StreamID(study, number))
	if err != nil {
		return b, err
	}
	return b, b.MustExist(study, number)
}

func noPart(number int, kind build.PartKind, part string) error {
	return refuse.NotFound("part_not_found", "build %d has no part %s %.80q", number, kind,
		part).At("part").Do("the query Build names its parts")
}
