package study

import (
	"context"
	"errors"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// PatientVisits are the visits of a patient, as they are planned and as they took place.
type PatientVisits struct {
	Patient         domain.PatientID `json:"patient" doc:"The patient"`
	ProtocolVersion int              `json:"protocolVersion" doc:"The version of the protocol that the patient follows"`
	EnrolledOn      domain.Date      `json:"enrolledOn,omitempty" doc:"Day of the enrolment, day 0"`
	Visits          []PatientVisit   `json:"visits" doc:"The visits of the version in its order; after the participation, those that took place or were skipped"`
}

// VisitState says what became of a visit.
type VisitState string

// The states of a visit.
const (
	VisitPlanned   VisitState = "planned"
	VisitTookPlace VisitState = "took_place"
	VisitSkipped   VisitState = "skipped"
)

// Schema implements domain.HasSchema.
func (VisitState) Schema() domain.Schema {
	return domain.OneOf(VisitPlanned, VisitTookPlace, VisitSkipped)
}

// PatientVisit is a visit of a patient.
type PatientVisit struct {
	Visit string      `json:"visit" example:"week-1" doc:"What RecordVisit names it by"`
	Title string      `json:"title,omitempty" doc:"What it is; none for a visit that the version does not have any more"`
	State VisitState  `json:"state" doc:"Whether it is planned still"`
	On    domain.Date `json:"on,omitempty" doc:"The day on which it took place"`
	// The days follow from the enrolment.
	Planned   domain.Date `json:"planned,omitempty" doc:"Planned day; none before the enrolment"`
	Earliest  domain.Date `json:"earliest,omitempty" doc:"First day of its window: it is due from then on; absent for a visit without a window"`
	Latest    domain.Date `json:"latest,omitempty" doc:"Last day of its window: a visit that is planned still is late after it; absent for a visit without a window"`
	Dispenses bool        `json:"dispenses" doc:"Whether the patient gets drug at it while treated"`
}

// patientVisits is the query of the visits of a patient.
var patientVisits = readmodels.Declare(readmodels.Query{
	Name: "PatientVisits", Path: "/api/v1/patients/{patient}/visits", Summary: "The visits of a patient, planned and past",
	Doc: "The visits of the version of the protocol that the patient follows, with the days of their windows, and what became of them. " +
		"Before the enrolment is requested, it is the version that is in force at the site.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachPatient,
	Views: []readmodels.View{patientviews.PatientViews, patientviews.Rollouts, Protocols},
}, LoadPatientVisits)

// PatientVisitsQuery asks for the visits of a patient.
type PatientVisitsQuery struct {
	Patient domain.PatientID `path:"patient" doc:"The patient"`
}

// LoadPatientVisits returns the visits of a patient; it refuses patient_not_found.
func LoadPatientVisits(ctx context.Context, r readmodels.Request, q PatientVisitsQuery) (shown PatientVisits, err error) {
	p, err := patientviews.LoadPatient(ctx, r, patientviews.PatientQuery{Patient: q.Patient})
	if err != nil {
		return shown, err
	}
	version, err := followed(ctx, r, p)
	if err != nil {
		return shown, err
	}
	shown = PatientVisits{Patient: p.Patient, ProtocolVersion: version.Version, EnrolledOn: p.EnrolledOn}
	was := p.Visits
	for _, v := range version.Visits {
		is := PatientVisit{Visit: v.ID, Title: v.Title, State: VisitPlanned, Dispenses: v.Dispenses}
		if on := p.EnrolledOn; on != "" {
			is.Planned = on.AddDays(v.Day)
			if v.OutOfWindow != "" {
				is.Earliest, is.Latest = on.AddDays(v.Earliest), on.AddDays(v.Latest)
			}
		}
		if at := slices.IndexFunc(was, func(o patientviews.Visit) bool { return o.Visit == v.ID }); at >= 0 {
			is.became(was[at])
			was = slices.Delete(was, at, at+1)
		}
		if is.State != VisitPlanned || p.EndedOn == "" {
			shown.Visits = append(shown.Visits, is)
		}
	}
	for _, o := range was { // of a version that the patient followed before
		is := PatientVisit{Visit: o.Visit}
		is.became(o)
		shown.Visits = append(shown.Visits, is)
	}
	return shown, nil
}

func (v *PatientVisit) became(was patientviews.Visit) {
	if v.State, v.On = VisitTookPlace, was.On; was.Skipped {
		v.State = VisitSkipped
	}
}

// followed returns the version of the protocol that a patient follows; the zero document for none.
func followed(ctx context.Context, r readmodels.Request, p patientviews.PatientDocument) (version ProtocolDocument, err error) {
	in, err := patientviews.LoadVersions(ctx, r, p.Study, time.Time{})
	if err != nil {
		return version, err
	}
	n := in.InForceAt(p.Site, "")
	if p.ProtocolVersion > 0 {
		n = in.Following(p.ProtocolVersion)
	}
	err = r.Store.Collection(Protocols).FindOne(ctx, bson.D{{Key: "_id", Value: ProtocolKey(p.Study, n)}}).Decode(&version)
	if errors.Is(err, mongo.ErrNoDocuments) {
		err = nil
	}
	return version, err
}
