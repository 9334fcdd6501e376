package readmodels

import (
	"context"

	"casebook/domain"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// DiaryCompliances is the view of how diaries are kept: a document a patient, a site and a study.
var DiaryCompliances = View{Name: "diary-compliance", Version: 1, Indexes: []mongo.IndexModel{
	{Keys: bson.D{{Key: "study", Value: 1}, {Key: "level", Value: 1}, {Key: "site", Value: 1}, {Key: "order", Value: 1}, {Key: "_id", Value: 1}}},
	{Keys: bson.D{{Key: "study", Value: 1}, {Key: "level", Value: 1}, {Key: "order", Value: 1}, {Key: "_id", Value: 1}}},
}}

// Level says what a compliance document is about.
type Level string

// The levels.
const (
	OfPatient Level = "patient"
	OfSite    Level = "site"
	OfStudy   Level = "study"
)

// Compliance counts windows. A window counts once it is decided: when it is answered, or recorded as missed. Windows
// that are still open are in no figure, so that the rate never falls by the mere passing of a day.
type Compliance struct {
	Closed    int `bson:"closed" json:"closed" doc:"Windows decided: answered or missed"`
	Completed int `bson:"completed" json:"completed" doc:"Windows answered"`
	OnTime    int `bson:"onTime" json:"onTime" doc:"Of them captured within the window"`
	Late      int `bson:"late" json:"late" doc:"Of them captured after the window, as the protocol allows"`
	// AfterMissed counts answers that reached the server when the window had been recorded as missed; they no longer
	// count as missed.
	AfterMissed int      `bson:"afterMissed" json:"afterMissed" doc:"Of them received after the window had been recorded as missed"`
	Missed      int      `bson:"missed" json:"missed" doc:"Windows that passed unanswered"`
	Rate        *float64 `bson:"rate,omitempty" json:"rate,omitempty" doc:"Completed divided by closed; left out while nothing is closed"`
}

// Answered counts an answered window.
func (c *Compliance) Answered(late, afterMissed bool) {
	c.Completed++
	if late {
		c.Late++
	} else {
		c.OnTime++
	}
	if afterMissed {
		c.AfterMissed++
		c.Missed--
	} else {
		c.Closed++
	}
	c.rate()
}

// WasMissed counts a missed window.
func (c *Compliance) WasMissed() {
	c.Missed++
	c.Closed++
	c.rate()
}

func (c *Compliance) rate() {
	rate := float64(c.Completed) / float64(c.Closed)
	c.Rate = &rate
}

// DiaryCompliance is how diaries are kept by a patient, at a site or in a study.
type DiaryCompliance struct {
	Header     `bson:",inline"`
	Level      Level            `bson:"level" json:"level" enum:"patient,site,study" doc:"What the figures are of"`
	Study      domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	Site       domain.SiteID    `bson:"site,omitempty" json:"site,omitempty" doc:"The site"`
	Patient    domain.PatientID `bson:"patient,omitempty" json:"patient,omitempty" doc:"The patient"`
	Compliance `bson:",inline"`
	// Order is the rate for sorting, worst first; documents without one come last.
	Order float64 `bson:"order" json:"-"`
}

// PatientsByCompliance returns a page of patients, the worst rate first; of one site where it is named.
func (s *Store) PatientsByCompliance(ctx context.Context, study domain.StudyID, site domain.SiteID, page Page) (List[DiaryCompliance], error) {
	return s.compliance(ctx, OfPatient, study, site, page)
}

// SitesByCompliance returns a page of sites, the worst rate first.
func (s *Store) SitesByCompliance(ctx context.Context, study domain.StudyID, site domain.SiteID, page Page) (List[DiaryCompliance], error) {
	return s.compliance(ctx, OfSite, study, site, page)
}

func (s *Store) compliance(ctx context.Context, level Level, study domain.StudyID, site domain.SiteID, page Page) (List[DiaryCompliance], error) {
	filter := bson.D{{Key: "study", Value: string(study)}, {Key: "level", Value: string(level)}}
	if site != "" {
		filter = append(filter, bson.E{Key: "site", Value: string(site)})
	}
	var order float64
	var last string
	if more, err := page.after(&order, &last); err != nil {
		return List[DiaryCompliance]{}, err
	} else if more {
		filter = append(filter, bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "order", Value: bson.D{{Key: "$gt", Value: order}}}},
			bson.D{{Key: "order", Value: order}, {Key: "_id", Value: bson.D{{Key: "$gt", Value: last}}}},
		}})
	}
	return list(ctx, s.Collection(DiaryCompliances), page, filter, bson.D{{Key: "order", Value: 1}, {Key: "_id", Value: 1}},
		func(c DiaryCompliance) []any { return []any{c.Order, c.ID} })
}
