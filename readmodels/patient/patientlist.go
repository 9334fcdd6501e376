package patient

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// PatientLists is the view of the lists of patients, with one document per patient. A patient's id consists of the study and
// the screening number, so ids have the order of screening numbers.
//
// Every day something is recorded about a patient, so only two indexes contain the last activity. They begin with the
// status. A list without a status asks for all statuses, and the store merges them.
var PatientLists = readmodels.View{Name: "patient-list", Version: 9, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "_id"),
	readmodels.IndexOn("study", "site", "_id"),
	readmodels.IndexOn("study", "status", "_id"),
	readmodels.IndexOn("study", "site", "status", "_id"),
	readmodels.IndexOn("study", "status", "lastActivityAt", "_id"),
	readmodels.IndexOn("study", "site", "status", "lastActivityAt", "_id"),
	readmodels.IndexOn("study", "numbers"),
}}

// PatientRow is a line of a list of patients.
type PatientRow struct {
	readmodels.Header `bson:",inline"`
	Patient           domain.PatientID  `bson:"patient" json:"patient" doc:"The patient"`
	Study             domain.StudyID    `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID     `bson:"site" json:"site" doc:"The site"`
	ScreeningNumber   string            `bson:"screeningNumber" json:"screeningNumber" doc:"Number given at screening"`
	PatientNumber     string            `bson:"patientNumber,omitempty" json:"patientNumber,omitempty" doc:"Number given at the enrolment"`
	RescreeningOf     domain.PatientID  `bson:"rescreeningOf,omitempty" json:"rescreeningOf,omitempty" doc:"The same person's earlier record, which ended with a screen failure"`
	Status            patient.Status    `bson:"status" json:"status" doc:"Status of the participation"`
	Treatment         patient.Treatment `bson:"treatment" json:"treatment" doc:"Status of the treatment with study drug"`
	Phase             patient.Phase     `bson:"phase,omitempty" json:"phase,omitempty" doc:"Part of the study that the patient is in; left out after the participation"`
	Extended          bool              `bson:"extended,omitempty" json:"-"` // as patient.Extended has it
	ScreenedOn        domain.Date       `bson:"screenedOn" json:"screenedOn" doc:"Day of screening"`
	ConsentedOn       domain.Date       `bson:"consentedOn,omitempty" json:"consentedOn,omitempty" doc:"Day of the consent in force"`
	ConsentVersion    string            `bson:"consentVersion,omitempty" json:"consentVersion,omitempty" doc:"Version that was signed last"`
	ProtocolVersion   int               `bson:"protocolVersion,omitempty" json:"protocolVersion,omitempty" doc:"Version of the protocol by which the enrolment was requested, or that was applied since"`
	EnrolledOn        domain.Date       `bson:"enrolledOn,omitempty" json:"enrolledOn,omitempty" doc:"Day of enrolment"`
	EndedOn           domain.Date       `bson:"endedOn,omitempty" json:"endedOn,omitempty" doc:"Last day of participation"`
	EndCode           patient.EndReason `bson:"endCode,omitempty" json:"endCode,omitempty" doc:"Why it ended, a term of CDISC NCOMPLT; left out where only a text was recorded"`
	EndReason         string            `bson:"endReason,omitempty" json:"endReason,omitempty" doc:"Why it ended, or why the enrolment failed"`
	RandomisedOn      domain.Date       `bson:"randomisedOn,omitempty" json:"randomisedOn,omitempty" doc:"Day of the last draw"`
	Stage             string            `bson:"stage,omitempty" json:"stage,omitempty" doc:"The later stage that the patient was drawn for last"`
	TreatmentEndedOn  domain.Date       `bson:"treatmentEndedOn,omitempty" json:"treatmentEndedOn,omitempty" doc:"Last day of the treatment"`
	TreatmentEndCode  patient.EndReason `bson:"treatmentEndCode,omitempty" json:"treatmentEndCode,omitempty" doc:"Why the treatment ended, a term of CDISC NCOMPLT; left out where only a text was recorded"`
	Withdrawn         []patient.Extent  `bson:"withdrawn,omitempty" json:"withdrawn,omitempty" doc:"What the patient no longer consents to"`
	Unblinded         study.Unblinding  `bson:"unblinded,omitempty" json:"unblinded,omitempty" doc:"How the arm has become known last; left out where nobody at the site and in the trial knows it"`
	UnblindedAt       *time.Time        `bson:"unblindedAt,omitempty" json:"unblindedAt,omitempty" doc:"When"`
	LastDiaryAt       *time.Time        `bson:"lastDiaryAt,omitempty" json:"lastDiaryAt,omitempty" doc:"When the newest diary was captured"`
	LastActivityAt    time.Time         `bson:"lastActivityAt" json:"lastActivityAt" doc:"When the patient or the site recorded something last; a window that was missed does not count"`
	Deviations        int               `bson:"deviations,omitempty" json:"deviations,omitempty" doc:"Protocol deviations that somebody has recorded"`
	Candidates        int               `bson:"candidates,omitempty" json:"candidates,omitempty" doc:"What may be a deviation, and waits for somebody to look at"`
	// Open are the candidates that wait, of which Candidates is the number.
	Open       patient.Candidates    `bson:"open,omitempty" json:"-"`
	Risks      int                   `bson:"risks" json:"risks" doc:"Risks flagged so far"`
	Compliance diaryviews.Compliance `bson:"compliance" json:"compliance" doc:"How the patient keeps the diary"`
	// Numbers are those by which the patient is found, in the form of domain.Folded.
	Numbers []string `bson:"numbers" json:"-"`
	// Sites are those that the patient has been at.
	Sites readmodels.History[domain.SiteID] `bson:"sites" json:"-"`
}

var patientOrders = []readmodels.Order[PatientRow]{
	readmodels.Ascending("screening", func(r PatientRow) []any { return []any{r.ID} }, "_id"),
	readmodels.Descending("active", func(r PatientRow) []any { return []any{r.LastActivityAt.UTC(), r.ID} }, "lastActivityAt", "_id"),
	readmodels.Ascending("inactive", func(r PatientRow) []any { return []any{r.LastActivityAt.UTC(), r.ID} }, "lastActivityAt", "_id"),
}

// patients is the query of a study's patients. Those who keep their diaries badly are found by their compliance.
var patients = readmodels.Declare(readmodels.Query{
	Name: "Patients", Path: "/api/v1/studies/{study}/patients", Summary: "A study's patients",
	Doc:    "A line for each patient, with status and diary compliance. Identity data are held apart.",
	OpenTo: access.ClinicalReaders, Reach: readmodels.ReachStudy, Views: []readmodels.View{PatientLists},
	Sort: readmodels.SortBy(patientOrders,
		"By screening number, or by when they or their site recorded something, the last or the first in front;"),
}, ListPatients)

// PatientsQuery asks for a study's patients; empty fields do not narrow the list.
type PatientsQuery struct {
	Study  domain.StudyID `path:"study" doc:"The study"`
	Site   domain.SiteID  `query:"site" doc:"Only this site"`
	Status patient.Status `query:"status" doc:"Only patients with this status"`
	Number string         `query:"number" example:"S-0001" doc:"Only the patient with this screening number or patient number, in capital or small letters; with older records, it may be two"`
	// Treatment, Phase and EndCode narrow the list further.
	Treatment patient.Treatment `query:"treatment" doc:"Only patients whose treatment has this status"`
	Phase     patient.Phase     `query:"phase" doc:"Only patients in this phase"`
	EndCode   patient.EndReason `query:"endCode" doc:"Only patients whose participation ended for this reason"`
	readmodels.Page
}

// ListPatients returns a page of a study's patients.
func ListPatients(ctx context.Context, r readmodels.Request, q PatientsQuery) (readmodels.List[PatientRow], error) {
	filter := readmodels.Equal(bson.D{{Key: "study", Value: string(q.Study)}}, "site", q.Site)
	if q.Number != "" {
		filter = append(filter, bson.E{Key: "numbers", Value: domain.Folded(q.Number)})
		return readmodels.ListedFew(ctx, r.Store.Collection(PatientLists), q.Page, q.narrowed(readmodels.Equal(filter, "status", q.Status)),
			patientOrders)
	}
	if q.Sort == "" || q.Sort == patientOrders[0].Name {
		filter = readmodels.Equal(filter, "status", q.Status)
	} else {
		filter = append(filter, readmodels.OneOrAny("status", q.Status, patient.Statuses))
	}
	return readmodels.Listed(ctx, r.Store.Collection(PatientLists), q.Page, q.narrowed(filter), patientOrders)
}

// narrowed adds to a filter what no index finds.
func (q PatientsQuery) narrowed(filter bson.D) bson.D {
	filter = readmodels.Equal(filter, "treatment", q.Treatment)
	filter = readmodels.Equal(filter, "phase", q.Phase)
	return readmodels.Equal(filter, "endCode", q.EndCode)
}
