package diary

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/refuse"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// DiaryCompliances is the view of how diaries are kept, with one document per patient, site and study.
var DiaryCompliances = readmodels.View{Name: "diary-compliance", Version: 3, Indexes: []mongo.IndexModel{
	{Keys: bson.D{{Key: "study", Value: 1}, {Key: "level", Value: 1}, {Key: "site", Value: 1}, {Key: "order", Value: 1},
		{Key: "_id", Value: 1}}},
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

// Schema implements domain.HasSchema.
func (Level) Schema() domain.Schema { return domain.OneOf(OfPatient, OfSite, OfStudy) }

// Compliance counts windows. A window counts once it is decided, that is answered or recorded as missed. Open windows do not
// count, so that the rate does not fall just because a day passes. What staff have entered is never on time, and does not raise the
// rate: nobody can prove when it was answered.
type Compliance struct {
	Closed      int `bson:"closed" json:"closed" doc:"Windows decided: answered or missed"`
	Completed   int `bson:"completed" json:"completed" doc:"Windows answered"`
	OnTime      int `bson:"onTime" json:"onTime" doc:"Of them captured on a device within the window"`
	Late        int `bson:"late" json:"late" doc:"Of them captured on a device after the window, as the protocol allows, or moved into a window in which they were not captured"`
	Transcribed int `bson:"transcribed,omitempty" json:"transcribed" doc:"Of them entered by staff, from paper or an interview"`
	// AfterMissed counts answers that the server received after their window had been recorded as missed. These windows no
	// longer count as missed.
	AfterMissed int `bson:"afterMissed" json:"afterMissed" doc:"Of them received after the window had been recorded as missed"`
	Missed      int `bson:"missed" json:"missed" doc:"Windows that passed unanswered"`
	Voided      int `bson:"voided,omitempty" json:"voided" doc:"Diaries that do not count, without those that were moved"`
	Held        int `bson:"held,omitempty" json:"held" doc:"Diaries that count nowhere until the site decides about them"`
	// Events are not among the completed.
	Events            int      `bson:"events,omitempty" json:"events" doc:"Diaries about events such as attacks, which no window asks for"`
	EventsTranscribed int      `bson:"eventsTranscribed,omitempty" json:"eventsTranscribed" doc:"Of them entered by staff, from paper or an interview"`
	Rate              *float64 `bson:"rate,omitempty" json:"rate,omitempty" doc:"Windows answered on a device, on time or late, divided by closed; left out while nothing is closed"`
}

// Answered counts an answered window, or an entry about an event.
func (c *Compliance) Answered(e diary.Submitted) {
	if e.Window.IsEvent() {
		c.countEvent(e.Mode, 1)
		return
	}
	c.count(e.Mode, e.Late, e.AfterMissed, 1)
}

// Void takes a diary out of the figures.
func (c *Compliance) Void(e diary.Voided) {
	if e.MovedTo == "" {
		c.Voided++
	}
	switch {
	case e.Held:
		c.Held--
	case e.Window.IsEvent():
		c.countEvent(e.Mode, -1)
	default:
		c.count(e.Mode, e.Late, e.AfterMissed, -1)
	}
}

// countEvent adds an entry about an event, or takes it away.
func (c *Compliance) countEvent(mode diary.Mode, n int) {
	c.Events += n
	if mode.ByStaff() {
		c.EventsTranscribed += n
	}
}

// count adds an answered window, or takes it away.
func (c *Compliance) count(mode diary.Mode, late, afterMissed bool, n int) {
	c.Completed += n
	switch {
	case mode.ByStaff():
		c.Transcribed += n
	case late:
		c.Late += n
	default:
		c.OnTime += n
	}
	if afterMissed {
		c.AfterMissed += n
		c.Missed -= n
	} else {
		c.Closed += n
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
	if c.Closed == 0 {
		c.Rate = nil
		return
	}
	rate := float64(c.OnTime+c.Late) / float64(c.Closed)
	c.Rate = &rate
}

// DiaryCompliance counts the windows of a patient, a site or a study.
type DiaryCompliance struct {
	readmodels.Header `bson:",inline"`
	Level             Level            `bson:"level" json:"level" doc:"Whether the figures are those of a patient or of a site"`
	Study             domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID    `bson:"site,omitempty" json:"site,omitempty" doc:"The site"`
	Patient           domain.PatientID `bson:"patient,omitempty" json:"patient,omitempty" doc:"The patient"`
	Compliance        `bson:",inline"`
	// Order is the rate by which lists are sorted, the worst first. Documents without a rate come last.
	Order float64 `bson:"order" json:"-"`
}

// ComplianceKey is the key of the document about a patient, a site of a study (STUDY/SITE), or a study.
func ComplianceKey(level Level, of string) string { return string(level) + "/" + of }

// noRate is the Order of documents without a rate. It is higher than all rates.
const noRate = 2

// Ordered sets Order by the rate.
func (c *DiaryCompliance) Ordered() {
	c.Order = noRate
	if c.Rate != nil {
		c.Order = *c.Rate
	}
}

// best is the order in which the best rates come first.
const best = "best"

// complianceOrders begin with the worst or the best rates.
var complianceOrders = []readmodels.Order[DiaryCompliance]{
	readmodels.Ascending("worst", func(c DiaryCompliance) []any { return []any{c.Order, c.ID} }, "order", "_id"),
	readmodels.Descending(best, func(c DiaryCompliance) []any { return []any{c.Order, c.ID} }, "order", "_id"),
}

// complianceSort names the orders of both lists. Lists that begin with the best rates leave out documents without a rate.
var complianceSort = readmodels.SortBy(complianceOrders, "By the rate of windows answered on a device;")

// compliance and complianceBySite are the queries of patients and sites by their rates.
var (
	compliance = readmodels.Declare(readmodels.Query{
		Name: "Compliance", Path: "/api/v1/studies/{study}/compliance", Summary: "How patients keep their diaries",
		Doc:    "Patients without a decided window come last, or are left out where the best come first.",
		OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{DiaryCompliances}, Sort: complianceSort,
	}, ListPatientsByCompliance)
	complianceBySite = readmodels.Declare(readmodels.Query{
		Name: "ComplianceBySite", Path: "/api/v1/studies/{study}/compliance/sites", Summary: "How sites keep their diaries",
		Doc:    "Callers who see single sites get those, on one page.",
		OpenTo: access.ClinicalReaders, Reach: readmodels.ReachSites, Views: []readmodels.View{DiaryCompliances}, Sort: complianceSort,
	}, ListSitesByCompliance)
)

// ComplianceQuery asks for patients by their rates; empty fields do not narrow the list.
type ComplianceQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Site  domain.SiteID  `query:"site" doc:"Only this site"`
	Below Rate           `query:"below"`
	readmodels.Page
}

// ComplianceBySiteQuery asks for sites by their rates; empty fields do not narrow the list.
type ComplianceBySiteQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Below Rate           `query:"below"`
	readmodels.Page
}

// Rate is an upper bound on the rate of answered windows, above 0 and at most 1. The zero Rate is no bound.
type Rate float64

// Schema implements domain.HasSchema.
func (Rate) Schema() domain.Schema {
	return domain.Schema{Description: "Only rates below this one, of at most 1", Example: "0.8"}
}

// UnmarshalText refuses anything but a rate (code malformed_parameter).
func (r *Rate) UnmarshalText(text []byte) error {
	rate, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(rate > 0 && rate <= 1) { // NaN is neither
		return refuse.Malformed("malformed_parameter", "below is no rate").Do("give a number above 0, and at most 1")
	}
	*r = Rate(rate)
	return nil
}

// ListPatientsByCompliance returns a page of patients by their rates.
func ListPatientsByCompliance(ctx context.Context, r readmodels.Request, q ComplianceQuery) (readmodels.List[DiaryCompliance], error) {
	return listByCompliance(ctx, r, OfPatient, q)
}

// ListSitesByCompliance returns a page of sites by their rates. A caller who sees single sites gets them all on one page.
func ListSitesByCompliance(ctx context.Context, r readmodels.Request, q ComplianceBySiteQuery) (readmodels.List[DiaryCompliance], error) {
	if r.WholeStudy {
		return listByCompliance(ctx, r, OfSite, ComplianceQuery{Study: q.Study, Below: q.Below, Page: q.Page})
	}
	var own readmodels.List[DiaryCompliance]
	for _, site := range r.Sites {
		one := ComplianceQuery{Study: q.Study, Site: site, Below: q.Below, Page: readmodels.Page{Limit: 1, Sort: q.Sort}}
		found, err := listByCompliance(ctx, r, OfSite, one)
		if err != nil {
			return own, err
		}
		own.Items = append(own.Items, found.Items...)
	}
	slices.SortStableFunc(own.Items, func(x, y DiaryCompliance) int {
		if q.Sort == best {
			x, y = y, x
		}
		return cmp.Compare(x.Order, y.Order)
	})
	return own, nil
}

func listByCompliance(ctx context.Context, r readmodels.Request, level Level, q ComplianceQuery) (readmodels.List[DiaryCompliance], error) {
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}, {Key: "level", Value: string(level)}}, "site", q.Site)
	switch {
	case q.Below > 0:
		filter = readmodels.Bounded(filter, "order", "$lt", float64(q.Below))
	case q.Sort == best:
		filter = readmodels.Bounded(filter, "order", "$lt", noRate)
	}
	return readmodels.Listed(ctx, r.Store.Collection(DiaryCompliances), q.Page, filter, complianceOrders)
}
