package study

import (
	"context"
	"errors"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	processviews "casebook/readmodels/process"
	safetyviews "casebook/readmodels/safety"
	supplyviews "casebook/readmodels/supply"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// SiteDashboard shows the state of a site. The query reads it from the views of its parts. A view of its own would need one
// document per site with the former status of every patient, kit and alert, because their events do not say it. Each part
// is found by an index, and its size is that of a site, not of a study. The dashboard does not show how many kits will soon
// expire: expiry dates may differ between arms, and a number that falls when a patient gets a kit would reveal the arm.
type SiteDashboard struct {
	Study domain.StudyID `json:"study" doc:"The study"`
	Site  domain.SiteID  `json:"site" doc:"The site"`
	// Patients, OpenAlerts and Kits leave out zeros.
	Patients   map[patient.Status]int   `json:"patients" doc:"Number of patients by status; a status without any is left out"`
	OpenAlerts map[safety.Severity]int  `json:"openAlerts" doc:"Number of alerts that nobody has reviewed, by severity; a severity without any is left out"`
	Compliance diaryviews.Compliance    `json:"compliance" doc:"How the site's patients keep their diaries"`
	Kits       map[supply.KitStatus]int `json:"kits" doc:"Number of kits by status; a status without any is left out"`
	Awaited    []supplyviews.Shipment   `json:"awaited" doc:"Shipments to the site that have not arrived: those on their way, then those that are packed, the oldest first, at most 50"`
	Waiting    []WaitingEnrollment      `json:"waiting" doc:"Enrolments that have not come to an end: those that are held, then those under way, the longest first, at most 50"`
}

// WaitingEnrollment is an enrolment that is under way or held.
type WaitingEnrollment struct {
	Patient domain.PatientID `json:"patient" doc:"The patient"`
	Stage   string           `json:"stage" doc:"What it waits for"`
	Outcome process.Outcome  `json:"outcome" enum:"under_way,held,stuck" doc:"Whether it goes on by itself, is held until people see to it, or has waited beyond its time"`
	Note    string           `json:"note,omitempty" doc:"Why it is in this stage"`
	Since   time.Time        `json:"since" doc:"Since when"`
}

// dashboardViews are the views that a dashboard is made of.
var dashboardViews = []readmodels.View{patientviews.PatientLists, safetyviews.Alerts, diaryviews.DiaryCompliances,
	supplyviews.KitInventories, supplyviews.Shipments, processviews.ProcessMonitors}

// dashboardItems bounds each list of a dashboard.
const dashboardItems = 50

// enrolling is the name of the process that enrols patients. Each instance is about one patient.
const enrolling = "enrollment"

// siteDashboard is the query of a site's dashboard.
var siteDashboard = readmodels.Declare(readmodels.Query{
	Name: "SiteDashboard", Path: "/api/v1/studies/{study}/sites/{site}/dashboard", Summary: "How a site stands",
	Doc: "Patients by status, alerts that nobody has looked at, how the diaries are kept, kits by status, shipments that have not arrived, " +
		"and enrolments that wait, with what for. A site that nothing has happened at yet has nothing to say.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: dashboardViews,
}, LoadSiteDashboard)

// SiteDashboardQuery asks for the dashboard of a site.
type SiteDashboardQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Site  domain.SiteID  `path:"site" doc:"The site"`
}

// LoadSiteDashboard returns the dashboard of a site. It is empty if nothing has happened at the site.
func LoadSiteDashboard(ctx context.Context, r readmodels.Request, q SiteDashboardQuery) (d SiteDashboard, err error) {
	d.Study, d.Site = q.Study, q.Site
	s, at := r.Store, bson.D{{Key: "study", Value: string(q.Study)}, {Key: "site", Value: string(q.Site)}}
	if d.Patients, err = counts[patient.Status](ctx, s.Collection(patientviews.PatientLists), at, "$status"); err != nil {
		return d, err
	}
	open := safetyviews.Orders(func(k safetyviews.Rank) bool { return k.Status == safetyviews.AlertOpen && !k.OfArms })
	unseen := slices.Concat(at, bson.D{{Key: "order", Value: bson.D{{Key: "$in", Value: open}}}})
	if d.OpenAlerts, err = counts[safety.Severity](ctx, s.Collection(safetyviews.Alerts), unseen, "$severity"); err != nil {
		return d, err
	}
	var kept diaryviews.DiaryCompliance
	key := diaryviews.ComplianceKey(diaryviews.OfSite, string(q.Study)+"/"+string(q.Site))
	err = s.Collection(diaryviews.DiaryCompliances).FindOne(ctx, bson.D{{Key: "_id", Value: key}}).Decode(&kept)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return d, err
	}
	d.Compliance = kept.Compliance
	here := bson.D{{Key: "study", Value: string(q.Study)}, {Key: "location", Value: string(q.Site)}}
	if d.Kits, err = counts[supply.KitStatus](ctx, s.Collection(supplyviews.KitInventories), here, "$status"); err != nil {
		return d, err
	}
	for _, status := range []supply.ShipmentStatus{supply.ShipmentOnItsWay, supply.ShipmentPacked} {
		coming, err := supplyviews.ListShipments(ctx, r, supplyviews.ShipmentsQuery{Study: q.Study, To: supply.LocationID(q.Site), Status: status,
			Page: readmodels.Page{Limit: dashboardItems, Sort: "oldest"}})
		if err != nil {
			return d, err
		}
		d.Awaited = append(d.Awaited, coming.Items...)
	}
	d.Awaited = d.Awaited[:min(len(d.Awaited), dashboardItems)]
	for _, outcome := range []process.Outcome{process.Stuck, process.Held, process.UnderWay} {
		waiting, err := processviews.ListProcesses(ctx, r, processviews.ProcessesQuery{Study: q.Study, Site: q.Site, Process: enrolling,
			Outcome: outcome, Page: readmodels.Page{Limit: dashboardItems, Sort: "longest"}})
		if err != nil {
			return d, err
		}
		for _, p := range waiting.Items {
			d.Waiting = append(d.Waiting, WaitingEnrollment{Patient: domain.PatientID(p.Of), Stage: p.Stage, Outcome: p.Outcome, Note: p.Note,
				Since: p.Since})
		}
	}
	d.Waiting = d.Waiting[:min(len(d.Waiting), dashboardItems)]
	return d, nil
}

// counts counts the documents that a filter finds, by one of their fields.
func counts[K ~string](ctx context.Context, c *mongo.Collection, filter bson.D, by string) (map[K]int, error) {
	found, err := c.Aggregate(ctx, []bson.D{{{Key: "$match", Value: filter}},
		{{Key: "$group", Value: bson.D{{Key: "_id", Value: by}, {Key: "count", Value: bson.D{{Key: "$sum", Value: 1}}}}}}})
	if err != nil {
		return nil, err
	}
	var groups []struct {
		Of    K   `bson:"_id"`
		Count int `bson:"count"`
	}
	if err := found.All(ctx, &groups); err != nil {
		return nil, err
	}
	all := make(map[K]int, len(groups))
	for _, g := range groups {
		all[g.Of] = g.Count
	}
	return all, nil
}
