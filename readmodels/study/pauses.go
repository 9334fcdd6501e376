package study

import (
	"context"
	"errors"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Pauses are what is stopped in a study for a time.
type Pauses struct {
	Study     domain.StudyID `json:"study" doc:"The study"`
	Suspended []Suspension   `json:"suspended" doc:"What is stopped in the whole study, in a country or for a cohort"`
	Sites     []SitePause    `json:"sites" doc:"What is stopped at single sites, of those that the caller may see, by id"`
}

// SitePause is what is stopped at a site alone.
type SitePause struct {
	Site    domain.SiteID `json:"site" doc:"The site"`
	Name    string        `json:"name" doc:"Hospital or practice"`
	Country string        `json:"country" doc:"ISO 3166 code"`
	Pause
}

// pauses is the query of what is stopped in a study.
var pauses = readmodels.Declare(readmodels.Query{
	Name: "Pauses", Path: "/api/v1/studies/{study}/pauses", Summary: "What is stopped in a study for a time",
	Doc: "What is suspended in the whole study, in countries and for cohorts, and what is paused at sites, with the reasons. Callers who " +
		"see single sites get the suspensions and those sites.",
	OpenTo: access.StudyMembers, Reach: readmodels.ReachSites, Views: []readmodels.View{StudyOverviews},
}, LoadPauses)

// PausesQuery asks for what is stopped in a study.
type PausesQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Site  domain.SiteID  `query:"site" doc:"Of single sites only this one; what is suspended for all is shown with it"`
	AsOf  time.Time      `query:"asOf" doc:"As it was at this moment"`
}

// LoadPauses returns what is stopped in a study, as far as the caller may see it; it refuses study_not_found.
func LoadPauses(ctx context.Context, r readmodels.Request, q PausesQuery) (p Pauses, err error) {
	if q.Site != "" {
		if err := r.MustSee(ctx, q.Study, q.Site); err != nil {
			return p, err
		}
		r.Sites, r.WholeStudy = []domain.SiteID{q.Site}, false
	}
	only := bson.D{}
	for _, field := range []string{"suspended", "pastSuspended", "sites.site", "sites.name", "sites.country", "sites.pauses"} {
		only = append(only, bson.E{Key: field, Value: 1})
	}
	var o StudyOverview
	err = r.Store.Collection(StudyOverviews).FindOne(ctx, bson.D{{Key: "_id", Value: string(q.Study)}},
		options.FindOne().SetProjection(only)).Decode(&o)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return p, refuse.NotFound("study_not_found", "there is no study %s", q.Study).Do("check the id")
	}
	if !r.WholeStudy {
		o.OnlySites(r.Sites)
	}
	if p.Study, p.Suspended = q.Study, o.Suspended; !q.AsOf.IsZero() {
		p.Suspended, _ = o.PastSuspended.At(q.AsOf)
	}
	for _, site := range o.Sites {
		if is, some := site.Pauses.At(q.AsOf); some && len(is.Activities) > 0 {
			p.Sites = append(p.Sites, SitePause{Site: site.Site, Name: site.Name, Country: site.Country, Pause: is})
		}
	}
	return p, err
}
