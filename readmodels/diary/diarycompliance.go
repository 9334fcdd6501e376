package diary

import (
	"context"

	"casebook/domain"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// DiaryCompliances is the view of how diaries are kept: a document a patient, a site and a study.
var DiaryCompliances = readmodels.View{Name: "diary-compliance", Version: 1, Indexes: []mongo.IndexModel{
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

// Schema implements domain.Described.
func (Level) Schema() domain.Schema { return domain.OneOf(OfPatient, OfSite, OfStudy) }

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
	readmodels.Header `bson:",inline"`
	Level             Level            `bson:"level" json:"level" doc:"What the figures are of"`
	Study             domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID    `bson:"site,omitempty" json:"site,omitempty" doc:"The site"`
	Patient           domain.PatientID `bson:"patient,omitempty" json:"patient,omitempty" doc:"The patient"`
	Compliance        `bson:",inline"`
	// Order is the rate for sorting, worst first; documents without one come last.
	Order float64 `bson:"order" json:"-"`
}

// ComplianceKey is the key of the document about a patient, a site of a study (STUDY/SITE), or a study.
func ComplianceKey(level Level, of string) string { return string(level) + "/" + of }

// ComplianceFilter narrows a list by compliance; empty fields do not.
type ComplianceFilter struct {
	Site domain.SiteID
	// Below leaves rates below this one, from 0 to 1; 0 leaves all.
	Below float64
}

// noRate is what stands in the place of a rate for sorting where there is none: it comes behind all rates.
const noRate = 2

// Ordered puts the document in its place in lists.
func (c *DiaryCompliance) Ordered() {
	c.Order = noRate
	if c.Rate != nil {
		c.Order = *c.Rate
	}
}

var complianceOrders = []readmodels.Order[DiaryCompliance]{
	readmodels.Ascending("worst", func(c DiaryCompliance) []any { return []any{c.Order, c.ID} }, "order", "_id"),
	readmodels.Descending("best", func(c DiaryCompliance) []any { return []any{c.Order, c.ID} }, "order", "_id"),
}

// ComplianceSorts are the orders of lists by compliance. Those without a rate come last in the first, worst; the other,
// best, leaves them out.
var ComplianceSorts = readmodels.Names(complianceOrders)

// ListPatientsByCompliance returns a page of patients by their rates.
func ListPatientsByCompliance(ctx context.Context, s *readmodels.Store, study domain.StudyID, f ComplianceFilter, page readmodels.Page) (readmodels.List[DiaryCompliance], error) {
	return listByCompliance(ctx, s, OfPatient, study, f, page)
}

// ListSitesByCompliance returns a page of sites by their rates.
func ListSitesByCompliance(ctx context.Context, s *readmodels.Store, study domain.StudyID, f ComplianceFilter, page readmodels.Page) (readmodels.List[DiaryCompliance], error) {
	return listByCompliance(ctx, s, OfSite, study, f, page)
}

func listByCompliance(ctx context.Context, s *readmodels.Store, level Level, study domain.StudyID, f ComplianceFilter, page readmodels.Page) (readmodels.List[DiaryCompliance], error) {
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(study)}, {Key: "level", Value: string(level)}}, "site", f.Site)
	switch {
	case f.Below > 0:
		filter = readmodels.Bounded(filter, "order", "$lt", f.Below)
	case page.Sort == "best":
		filter = readmodels.Bounded(filter, "order", "$lt", noRate)
	}
	return readmodels.Listed(ctx, s.Collection(DiaryCompliances), page, filter, complianceOrders)
}
