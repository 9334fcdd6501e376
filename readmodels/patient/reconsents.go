package patient

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// ReconsentState says what became of a consent that a patient was asked to sign again.
type ReconsentState string

// The states of such a consent.
const (
	ReconsentDue     ReconsentState = "due"
	ReconsentRefused ReconsentState = "refused"
	ReconsentSigned  ReconsentState = "signed"
	// ReconsentLeft says that the patient's participation ended before.
	ReconsentLeft ReconsentState = "left"
)

// ReconsentStates are all states.
var ReconsentStates = []ReconsentState{ReconsentDue, ReconsentRefused, ReconsentSigned, ReconsentLeft}

// Schema implements domain.HasSchema.
func (ReconsentState) Schema() domain.Schema { return domain.OneOf(ReconsentStates...) }

// Reconsent is a consent that a patient was asked to sign again.
type Reconsent struct {
	Protocol       int             `bson:"protocol" json:"protocol" doc:"Version of the protocol that asks for it"`
	ConsentVersion string          `bson:"consentVersion" json:"consentVersion" doc:"The form to sign"`
	Since          domain.Date     `bson:"since" json:"since" doc:"Day on which the version was applied to the patient"`
	By             domain.Date     `bson:"by" json:"by" doc:"Last day on which it is in time"`
	Blocks         []study.Blocked `bson:"blocks,omitempty" json:"blocks,omitempty" doc:"What the patient does not get before"`
	State          ReconsentState  `bson:"state" json:"state" doc:"Whether it is due, or what became of it"`
	SignedOn       domain.Date     `bson:"signedOn,omitempty" json:"signedOn,omitempty" doc:"Day of the signature"`
	RefusedOn      domain.Date     `bson:"refusedOn,omitempty" json:"refusedOn,omitempty" doc:"Day on which the patient refused"`
}

// Asked returns a consent that has just been asked for.
func Asked(of patient.Reconsent) Reconsent {
	return Reconsent{Protocol: of.Protocol, ConsentVersion: of.ConsentVersion, Since: of.Since, By: of.By, Blocks: of.Blocks,
		State: ReconsentDue}
}

func (r *Reconsent) open() bool {
	return r != nil && (r.State == ReconsentDue || r.State == ReconsentRefused)
}

// Signed notes a signature if it is the one that was asked for.
func (r *Reconsent) Signed(e patient.ConsentRecorded) {
	if e.Again && r.open() {
		r.State, r.SignedOn = ReconsentSigned, e.On
	}
}

// Voided notes that the signature was recorded in error.
func (r *Reconsent) Voided(e patient.ConsentVoided) {
	if r != nil && e.Reconsent != nil && r.State == ReconsentSigned {
		r.State, r.SignedOn = ReconsentDue, ""
		if e.Left {
			r.State = ReconsentLeft
		}
	}
}

// Refused notes that the patient does not sign.
func (r *Reconsent) Refused(e patient.ReconsentRefused) {
	if r.open() {
		r.State, r.RefusedOn = ReconsentRefused, e.On
	}
}

// Ended notes that an event has ended the participation, or that the end is undone.
func (r *Reconsent) Ended(e patient.Event) {
	switch after := patient.StatusEnrolled.After(e); {
	case r.open() && after != patient.StatusEnrolled:
		r.State = ReconsentLeft
	case r != nil && r.State == ReconsentLeft && after == patient.StatusEnrolled:
		if _, undone := e.(patient.StepUndone); !undone {
			return
		}
		if r.State = ReconsentDue; r.RefusedOn != "" {
			r.State = ReconsentRefused
		}
	}
}

// Reconsents is the worklist of consents that patients have to sign again. A patient has one document, with the consent that was
// asked for last. Patients who were asked for none have no study in theirs, and no list finds them.
var Reconsents = readmodels.View{Name: "reconsents", Version: 3, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "state", "by", "_id"),
	readmodels.IndexOn("study", "site", "state", "by", "_id"),
}}

// ReconsentRow is a line of the worklist.
type ReconsentRow struct {
	readmodels.Header `bson:",inline"`
	Patient           domain.PatientID `bson:"patient" json:"patient" doc:"The patient"`
	Study             domain.StudyID   `bson:"study,omitempty" json:"study" doc:"The study"`
	Site              domain.SiteID    `bson:"site,omitempty" json:"site" doc:"The site that the patient is at now"`
	Reconsent         `bson:",inline"`
	Past              readmodels.History[Reconsent] `bson:"past,omitempty" json:"-"`
}

// Remember keeps the state that holds since a moment.
func (r *ReconsentRow) Remember(at time.Time) { r.Past = r.Past.Since(at, r.Reconsent) }

var reconsentOrders = []readmodels.Order[ReconsentRow]{
	readmodels.Ascending("due", func(r ReconsentRow) []any { return []any{r.By, r.ID} }, "by", "_id"),
}

// reconsents is the query of the worklist.
var reconsents = readmodels.Declare(readmodels.Query{
	Name: "Reconsents", Path: "/api/v1/studies/{study}/reconsents", Summary: "Consents that patients have to sign again",
	Doc: "A line for each patient who was asked to sign again, the one that is due first in front: of those that are due or refused, unless " +
		"a state is named. Those that are overdue are due before today.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{Reconsents},
	Sort: readmodels.SortBy(reconsentOrders, "By the day on which they are due;"),
}, ListReconsents)

// ReconsentsQuery asks for consents that a study's patients have to sign again; empty fields do not narrow the list.
type ReconsentsQuery struct {
	Study     domain.StudyID `path:"study" doc:"The study"`
	Site      domain.SiteID  `query:"site" doc:"Only patients who are at this site now"`
	State     ReconsentState `query:"state" doc:"Only consents in this state"`
	DueBefore domain.Date    `query:"dueBefore" doc:"Only consents that were due before this day"`
	AsOf      time.Time      `query:"asOf" doc:"The states are those of this time"`
	readmodels.Page
}

// ListReconsents returns a page of the worklist.
func ListReconsents(ctx context.Context, r readmodels.Request, q ReconsentsQuery) (list readmodels.List[ReconsentRow], err error) {
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "site", q.Site)
	wanted := []ReconsentState{ReconsentDue, ReconsentRefused}
	if q.State != "" {
		wanted = []ReconsentState{q.State}
	}
	if q.AsOf.IsZero() {
		filter = append(filter, readmodels.OneOf("state", wanted))
		if q.DueBefore != "" {
			filter = readmodels.Bounded(filter, "by", "$lt", string(q.DueBefore))
		}
		return readmodels.Listed(ctx, r.Store.Collection(Reconsents), q.Page, filter, reconsentOrders)
	}
	filter = append(filter, readmodels.OneOf("state", ReconsentStates))
	then := bson.D{readmodels.OneOf("state", wanted)}
	if q.DueBefore != "" {
		then = readmodels.Bounded(then, "by", "$lt", string(q.DueBefore))
	}
	return readmodels.ListedAsOf(ctx, r.Store.Collection(Reconsents), q.Page, filter, reconsentOrders, q.AsOf, then,
		func(r *ReconsentRow) (readmodels.History[Reconsent], *Reconsent) { return r.Past, &r.Reconsent })
}
