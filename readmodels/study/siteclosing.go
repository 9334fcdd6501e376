package study

import (
	"context"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
	supplyviews "casebook/readmodels/supply"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// SiteClosing is the checklist for closing a site. It is read from the views of patients and kits, by their indexes.
type SiteClosing struct {
	Study     domain.StudyID           `json:"study" doc:"The study"`
	Site      domain.SiteID            `json:"site" doc:"The site"`
	Checklist []study.ChecklistItem    `json:"checklist" doc:"How many of each item are open"`
	Patients  map[patient.Status]int   `json:"patients" doc:"The participants by status"`
	Kits      map[supply.KitStatus]int `json:"kits" doc:"The kits by status"`
}

// siteClosing is the query of the checklist of a site.
var siteClosing = readmodels.Declare(readmodels.Query{
	Name: "SiteClosing", Path: "/api/v1/studies/{study}/sites/{site}/closing", Summary: "What is still open at a site",
	Doc: "The checklist for CloseSite: participants whose participation has not ended, and kits that are neither destroyed, lost nor " +
		"sent back. A site that is closed to enrolment keeps its patients supplied, so nothing of this forbids the closing.",
	OpenTo: access.To(access.StudyManagers, access.DataManagers, access.Monitors, access.SiteStaff), Reach: readmodels.ReachStudy,
	Views: []readmodels.View{patientviews.PatientLists, supplyviews.KitInventories},
}, LoadSiteClosing)

// SiteClosingQuery asks for the checklist of a site.
type SiteClosingQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
	Site  domain.SiteID  `path:"site" doc:"The site"`
}

// LoadSiteClosing returns the checklist of a site.
func LoadSiteClosing(ctx context.Context, r readmodels.Request, q SiteClosingQuery) (c SiteClosing, err error) {
	c = SiteClosing{Study: q.Study, Site: q.Site, Patients: map[patient.Status]int{}, Kits: map[supply.KitStatus]int{}}
	of := func(field string) bson.D {
		return bson.D{{Key: "study", Value: string(q.Study)}, {Key: field, Value: string(q.Site)}}
	}
	patients, err := counts[patient.Status](ctx, r.Store.Collection(patientviews.PatientLists), of("site"), "$status")
	if err != nil {
		return c, err
	}
	kits, err := counts[supply.KitStatus](ctx, r.Store.Collection(supplyviews.KitInventories), of("location"), "$status")
	if err != nil {
		return c, err
	}
	participants, stock := 0, 0
	for status, n := range patients {
		if patient.PhaseOf(status, patient.TreatmentOn, false) != "" {
			c.Patients[status], participants = n, participants+n
		}
	}
	for status, n := range kits {
		if status != supply.KitDestroyed && status != supply.KitSentBack && !status.Lost() {
			c.Kits[status], stock = n, stock+n
		}
	}
	c.Checklist = []study.ChecklistItem{{Item: study.OpenParticipants, Open: participants}, {Item: study.OpenKits, Open: stock}}
	return c, nil
}
