package patient

import (
	"context"
	"maps"
	"slices"
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
	// ReconsentToApply says that nothing is asked yet: the site works by a newer version than the patient, to whom it is to be applied.
	ReconsentToApply ReconsentState = "to_apply"
)

// ReconsentStates are all states.
var ReconsentStates = []ReconsentState{ReconsentDue, ReconsentRefused, ReconsentSigned, ReconsentLeft, ReconsentToApply}

// asked are the states of a consent that was asked for.
var asked = []ReconsentState{ReconsentDue, ReconsentRefused, ReconsentSigned, ReconsentLeft}

// Schema implements domain.HasSchema.
func (ReconsentState) Schema() domain.Schema { return domain.OneOf(ReconsentStates...) }

// Reconsent is a consent that a patient was asked to sign again.
type Reconsent struct {
	Protocol       int             `bson:"protocol" json:"protocol" doc:"Version of the protocol that asks for it, or that is to be applied"`
	ConsentVersion string          `bson:"consentVersion" json:"consentVersion" doc:"The form to sign"`
	Since          domain.Date     `bson:"since" json:"since" doc:"Day on which the version was applied to the patient, or has reached the site if it is to be applied"`
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

// Reconsents is the worklist of consents that patients have to sign again, and of those to whom a version of the protocol is to be
// applied. A patient has one document, with the consent that was asked for last, if any was.
var Reconsents = readmodels.View{Name: "reconsents", Version: 4, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "state", "by", "_id"),
	readmodels.IndexOn("study", "site", "state", "by", "_id"),
	readmodels.IndexOn("study", "enrolled", "_id"),
	readmodels.IndexOn("study", "site", "enrolled", "_id"),
}}

// ReconsentRow is a line of the worklist.
type ReconsentRow struct {
	readmodels.Header `bson:",inline"`
	Patient           domain.PatientID `bson:"patient" json:"patient" doc:"The patient"`
	Study             domain.StudyID   `bson:"study,omitempty" json:"study" doc:"The study"`
	Site              domain.SiteID    `bson:"site,omitempty" json:"site" doc:"The site that the patient is at now"`
	Amended           `bson:",inline"`
	Past              readmodels.History[Amended] `bson:"past,omitempty" json:"-"`
}

// Amended says how far a patient has come with the versions of the protocol.
type Amended struct {
	Reconsent `bson:",inline"`
	// At is the site that the patient was at then, and Follows the version that the patient was enrolled by or that was applied last.
	At       domain.SiteID  `bson:"at,omitempty" json:"-"`
	Follows  int            `bson:"follows,omitempty" json:"-"`
	Status   patient.Status `bson:"status,omitempty" json:"-"`
	Enrolled bool           `bson:"enrolled,omitempty" json:"-"`
}

// Remember keeps the state that holds since a moment.
func (r *ReconsentRow) Remember(at time.Time) { r.Past = r.Past.Since(at, r.Amended) }

var reconsentOrders = []readmodels.Order[ReconsentRow]{
	readmodels.Ascending("due", func(r ReconsentRow) []any { return []any{r.By, r.ID} }, "by", "_id"),
}

// toApplyOrders are those of patients to whom a version is to be applied: the day does not stand in their documents.
var toApplyOrders = []readmodels.Order[ReconsentRow]{
	readmodels.Ascending("due", func(r ReconsentRow) []any { return []any{r.ID} }, "_id"),
}

// reconsents is the query of the worklist.
var reconsents = readmodels.Declare(readmodels.Query{
	Name: "Reconsents", Path: "/api/v1/studies/{study}/reconsents", Summary: "Consents that patients have to sign again",
	Doc: "A line for each patient who was asked to sign again, the one that is due first in front: of those that are due or refused, unless " +
		"a state is named. Those that are overdue are due before today. The state to_apply has a line for each enrolled patient who follows an " +
		"older version of the protocol than the one by which the site works, by the patients' ids: ApplyProtocolVersion is to be sent.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{Reconsents, Rollouts},
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
	if q.State == ReconsentToApply {
		return listToApply(ctx, r, q, filter)
	}
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
	filter = append(filter, readmodels.OneOf("state", asked))
	then := bson.D{readmodels.OneOf("state", wanted)}
	if q.DueBefore != "" {
		then = readmodels.Bounded(then, "by", "$lt", string(q.DueBefore))
	}
	return readmodels.ListedAsOf(ctx, r.Store.Collection(Reconsents), q.Page, filter, reconsentOrders, q.AsOf, then,
		func(r *ReconsentRow) (readmodels.History[Amended], *Amended) { return r.Past, &r.Amended })
}

// listToApply returns a page of the patients to whom a version is to be applied, as it was at a time if the query names one.
func listToApply(ctx context.Context, r readmodels.Request, q ReconsentsQuery, filter bson.D) (
	list readmodels.List[ReconsentRow], err error,
) {
	in, err := LoadVersions(ctx, r, q.Study, q.AsOf)
	if err != nil {
		return list, err
	}
	prefix := ""
	if !q.AsOf.IsZero() {
		prefix = "state."
	}
	behind := whoIsBehind(in, q.DueBefore, prefix)
	if len(behind) == 0 {
		return readmodels.List[ReconsentRow]{Items: []ReconsentRow{}}, nil
	}
	then := bson.D{{Key: prefix + "enrolled", Value: true}, {Key: "$or", Value: behind}}
	if q.AsOf.IsZero() {
		filter = append(filter, then...)
	} else {
		filter = append(filter, readmodels.WasAt("past", q.AsOf, then...))
	}
	list, err = readmodels.Listed(ctx, r.Store.Collection(Reconsents), q.Page, filter, toApplyOrders)
	for i := range list.Items {
		row := &list.Items[i]
		was, _ := row.Past.At(q.AsOf)
		waits := in.ToApply(was.At, was.Follows)
		was.Reconsent = Reconsent{Protocol: waits.Version, ConsentVersion: in.Version(waits.Version).ConsentVersion, Since: waits.Since,
			By: waits.By, State: ReconsentToApply}
		row.Amended = was
	}
	return list, err
}

// whoIsBehind returns conditions on a patient's site and version, of which one holds for each patient to whom a version is to be
// applied: one for each site with approvals of its own, and one for all others. dueBefore leaves out those whose time ends later.
func whoIsBehind(in study.Study, dueBefore domain.Date, prefix string) (all bson.A) {
	behind := func(site domain.SiteID, at any) {
		if waits := in.ToApply(site, 0); waits.Version > 0 && (dueBefore == "" || waits.By < dueBefore) {
			all = append(all, bson.D{{Key: prefix + "at", Value: at},
				{Key: prefix + "follows", Value: bson.D{{Key: "$lt", Value: waits.Version}}}})
		}
	}
	own := bson.A{}
	for _, site := range slices.Sorted(maps.Keys(in.Sites)) {
		behind(site, string(site))
		own = append(own, string(site))
	}
	behind("", bson.D{{Key: "$nin", Value: own}})
	return all
}
