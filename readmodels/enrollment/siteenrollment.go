// Package enrollment holds the views of how patients enter a study.
package enrollment

import (
	"context"
	"slices"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// SiteEnrollments is the view of enrolment over time, with one document per site. The document holds the days on which
// something happened. A study has some thousands of such days, and a query reads all days of a site together, so that one
// document per day would only cost more reads.
var SiteEnrollments = readmodels.View{Name: "site-enrollment", Version: 5, Indexes: []mongo.IndexModel{readmodels.IndexOn("study", "site")}}

// maxEnrollmentDays bounds the newest days that a document holds, which is more than ten years. Older days are kept as a sum.
const maxEnrollmentDays = 4000

// Enrolling counts patients by what happened to them.
type Enrolling struct {
	Screened          int `bson:"screened,omitempty" json:"screened" doc:"Patients screened"`
	Consented         int `bson:"consented,omitempty" json:"consented" doc:"Consents recorded, of a new version too"`
	ScreenFailures    int `bson:"screenFailures,omitempty" json:"screenFailures" doc:"Patients who failed screening"`
	Enrolled          int `bson:"enrolled,omitempty" json:"enrolled" doc:"Patients enrolled"`
	EnrollmentsFailed int `bson:"enrollmentsFailed,omitempty" json:"enrollmentsFailed" doc:"Enrolments that found no place, or no kit"`
	Withdrawn         int `bson:"withdrawn,omitempty" json:"withdrawn" doc:"Patients who withdrew their consent"`
	Discontinued      int `bson:"discontinued,omitempty" json:"discontinued" doc:"Patients who ended early for another reason"`
	Completed         int `bson:"completed,omitempty" json:"completed" doc:"Patients who completed the study"`
}

// Left counts n patients who left the study with a status. n is negative where that was recorded in error.
func (e *Enrolling) Left(as patient.Status, n int) {
	switch as {
	case patient.StatusScreenFailed:
		e.ScreenFailures += n
	case patient.StatusWithdrawn:
		e.Withdrawn += n
	case patient.StatusDiscontinued:
		e.Discontinued += n
	case patient.StatusCompleted:
		e.Completed += n
	case patient.StatusRegisteredInError: // is about nobody
		e.Screened -= n
	default: // the others are in the study
	}
}

// Plus returns the sum of both counts.
func (e Enrolling) Plus(o Enrolling) Enrolling {
	return Enrolling{
		Screened: e.Screened + o.Screened, Consented: e.Consented + o.Consented, ScreenFailures: e.ScreenFailures + o.ScreenFailures,
		Enrolled: e.Enrolled + o.Enrolled, EnrollmentsFailed: e.EnrollmentsFailed + o.EnrollmentsFailed,
		Withdrawn: e.Withdrawn + o.Withdrawn, Discontinued: e.Discontinued + o.Discontinued, Completed: e.Completed + o.Completed,
	}
}

// SiteEnrollment counts the patients who have entered a study at a site, and left it, by day.
type SiteEnrollment struct {
	readmodels.Header `bson:",inline"`
	Study             domain.StudyID `bson:"study"`
	Site              domain.SiteID  `bson:"site"`
	// Before is the sum of the days before the first one in Days, if there were too many.
	Before Enrolling       `bson:"before"`
	Days   []EnrollmentDay `bson:"days"`
}

// EnrollmentDay is a day on which something happened. It is the day that the site wrote down, or the day in UTC of the record
// if the site wrote none.
type EnrollmentDay struct {
	Day    domain.Date `bson:"day"`
	Counts Enrolling   `bson:"counts"`
}

// Count counts something on a day. The day may lie before others in Days, because sites record past days.
func (s *SiteEnrollment) Count(day domain.Date, add func(*Enrolling)) {
	at, found := slices.BinarySearchFunc(s.Days, day, func(d EnrollmentDay, day domain.Date) int {
		switch {
		case d.Day < day:
			return -1
		case d.Day > day:
			return 1
		}
		return 0
	})
	if !found {
		s.Days = slices.Insert(s.Days, at, EnrollmentDay{Day: day})
	}
	add(&s.Days[at].Counts)
	for len(s.Days) > maxEnrollmentDays {
		s.Before = s.Before.Plus(s.Days[0].Counts)
		s.Days = slices.Delete(s.Days, 0, 1)
	}
}

// Period is the step of a series of enrolments.
type Period string

// The periods.
const (
	ByMonth Period = "month"
	ByDay   Period = "day"
)

// Schema implements domain.HasSchema.
func (Period) Schema() domain.Schema { return domain.OneOf(ByMonth, ByDay) }

// of returns the first day of the period in which a day lies.
func (p Period) of(day domain.Date) domain.Date {
	if p == ByDay || len(day) < len("2006-01-02") {
		return day
	}
	return day[:len("2006-01")] + "-01"
}

// EnrollmentSeries is the enrolment at a site over time.
type EnrollmentSeries struct {
	Site   domain.SiteID     `json:"site" doc:"The site"`
	Points []EnrollmentPoint `json:"points" doc:"The periods in which something happened, the earliest first"`
	// Position is the log position that the document has seen.
	Position int64 `json:"position" doc:"Log position that the answer has seen"`
}

// EnrollmentPoint is one period of a series.
type EnrollmentPoint struct {
	From  domain.Date `json:"from" doc:"First day of the period"`
	New   Enrolling   `json:"new" doc:"What happened in it"`
	Total Enrolling   `json:"total" doc:"What had happened by its end"`
}

// Series adds up the days between two days, both included, in periods. An empty day is no bound. Totals also count the days
// before from.
func (s *SiteEnrollment) Series(step Period, from, to domain.Date) EnrollmentSeries {
	series := EnrollmentSeries{Site: s.Site, Points: []EnrollmentPoint{}, Position: s.Position}
	total := s.Before
	for _, d := range s.Days {
		if to != "" && d.Day > to {
			break
		}
		total = total.Plus(d.Counts)
		if d.Day < from {
			continue
		}
		start := step.of(d.Day)
		if n := len(series.Points); n == 0 || series.Points[n-1].From != start {
			series.Points = append(series.Points, EnrollmentPoint{From: start})
		}
		last := &series.Points[len(series.Points)-1]
		last.New, last.Total = last.New.Plus(d.Counts), total
	}
	return series
}

// EnrollmentKey is the key of a site's document.
func EnrollmentKey(study domain.StudyID, site domain.SiteID) string {
	return string(study) + "/" + string(site)
}

var enrollmentOrders = []readmodels.Order[SiteEnrollment]{
	readmodels.Ascending("site", func(s SiteEnrollment) []any { return []any{string(s.Site)} }, "site"),
}

// Queries are those of this context.
var Queries = []readmodels.Query{
	readmodels.Declare(readmodels.Query{
		Name: "EnrollmentBySite", Path: "/api/v1/studies/{study}/enrollment", Summary: "Enrolment by site over time",
		Doc: "For each site, how many patients came in and left in each month or on each day, by the days that the site wrote down, and how " +
			"many there were by then. Callers who see single sites get those.",
		OpenTo: access.StudyMembers, Reach: readmodels.ReachSites, Views: []readmodels.View{SiteEnrollments},
	}, ListEnrollmentBySite),
}

// EnrollmentBySiteQuery asks for the enrolment at a study's sites over time.
type EnrollmentBySiteQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Step  Period         `query:"step" doc:"The length of a period; month where none is named"`
	From  domain.Date    `query:"from" doc:"The first day that is shown; totals also count what was before"`
	To    domain.Date    `query:"to" doc:"The last day that is shown and counted"`
	readmodels.Page
}

// ListEnrollmentBySite returns a page of the sites that the caller may see, by id.
func ListEnrollmentBySite(
	ctx context.Context, r readmodels.Request, q EnrollmentBySiteQuery,
) (list readmodels.List[EnrollmentSeries], err error) {
	filter := bson.D{{Key: "study", Value: string(q.Study)}}
	if !r.WholeStudy {
		filter = append(filter, readmodels.OneOf("site", r.Sites))
	}
	found, err := readmodels.Listed(ctx, r.Store.Collection(SiteEnrollments), q.Page, filter, enrollmentOrders)
	if err != nil {
		return list, err
	}
	list.Next = found.Next
	for i := range found.Items {
		list.Items = append(list.Items, found.Items[i].Series(q.Step, q.From, q.To))
	}
	return list, nil
}
