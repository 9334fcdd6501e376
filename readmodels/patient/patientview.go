package patient

import (
	"context"
	"errors"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// PatientViews is the view of whole patients, with one document per patient.
var PatientViews = readmodels.View{Name: "patient-view", Version: 12}

const (
	// TrendLength bounds the windows in the trend of an instrument: a month of a daily diary. The view of diaries has all
	// windows. Without a bound, every diary would write all windows of the patient again.
	TrendLength = 30
	// maxLater bounds the assignments of an instrument that are to come; there is rarely more than one.
	maxLater = 20
	// maxSteps bounds the steps; a patient has about a dozen.
	maxSteps = 200
	// maxRisks bounds the newest risks that a document holds.
	maxRisks = 100
)

// PatientDocument is all that is known of a patient except the identity, which is kept elsewhere.
type PatientDocument struct {
	readmodels.Header `bson:",inline"`
	Patient           domain.PatientID  `bson:"patient" json:"patient" doc:"The patient"`
	Study             domain.StudyID    `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID     `bson:"site" json:"site" doc:"The site"`
	ScreeningNumber   string            `bson:"screeningNumber" json:"screeningNumber" doc:"Number given at screening"`
	PatientNumber     string            `bson:"patientNumber,omitempty" json:"patientNumber,omitempty" doc:"Number given at the enrolment"`
	Zone              string            `bson:"zone" json:"zone" doc:"IANA time zone the patient lives in"`
	Sex               patient.Sex       `bson:"sex,omitempty" json:"sex,omitempty" doc:"Sex, CDISC C66731"`
	AgeYears          int               `bson:"ageYears,omitempty" json:"ageYears,omitempty" doc:"Age at screening"`
	RescreeningOf     domain.PatientID  `bson:"rescreeningOf,omitempty" json:"rescreeningOf,omitempty" doc:"The same person's earlier record, which ended with a screen failure"`
	Status            patient.Status    `bson:"status" json:"status" doc:"Status of the participation"`
	Treatment         patient.Treatment `bson:"treatment" json:"treatment" doc:"Status of the treatment with study drug"`
	Phase             patient.Phase     `bson:"phase,omitempty" json:"phase,omitempty" doc:"Part of the study that the patient is in; left out after the participation"`
	Extended          bool              `bson:"extended,omitempty" json:"-"` // as patient.Extended has it
	EndedOn           domain.Date       `bson:"endedOn,omitempty" json:"endedOn,omitempty" doc:"Last day of the participation"`
	EnrolledOn        domain.Date       `bson:"enrolledOn,omitempty" json:"enrolledOn,omitempty" doc:"Day of the enrolment"`
	RandomisedOn      domain.Date       `bson:"randomisedOn,omitempty" json:"randomisedOn,omitempty" doc:"Day of the last draw; none for draws before it was recorded here"`
	Stage             string            `bson:"stage,omitempty" json:"stage,omitempty" doc:"The later stage that the patient was drawn for last"`
	TreatmentEndedOn  domain.Date       `bson:"treatmentEndedOn,omitempty" json:"treatmentEndedOn,omitempty" doc:"Last day of the treatment"`
	Withdrawn         []patient.Extent  `bson:"withdrawn,omitempty" json:"withdrawn,omitempty" doc:"What the patient no longer consents to"`
	// ProtocolVersion is 0 before the first request to enrol: the patient then follows the version that is in force at the site.
	ProtocolVersion int                   `bson:"protocolVersion,omitempty" json:"protocolVersion,omitempty" doc:"Version of the protocol by which the enrolment was requested, or that was applied since; before, the patient follows the site's"`
	Reconsent       *Reconsent            `bson:"reconsent,omitempty" json:"reconsent,omitempty" doc:"The consent that the patient was asked to sign again last"`
	Unblinded       study.Unblinding      `bson:"unblinded,omitempty" json:"unblinded,omitempty" doc:"How the arm has become known last; left out where nobody at the site and in the trial knows it, and for the patient"`
	UnblindedAt     *time.Time            `bson:"unblindedAt,omitempty" json:"unblindedAt,omitempty" doc:"When"`
	DoseStep        int                   `bson:"doseStep,omitempty" json:"doseStep,omitempty" doc:"Step of the titration, the same in all arms; left out as long as the dose was never changed"`
	Rescue          bool                  `bson:"rescue,omitempty" json:"rescue,omitempty" doc:"The patient gets rescue medication besides"`
	Deviations      []Deviation           `bson:"deviations,omitempty" json:"deviations,omitempty" doc:"Protocol deviations that somebody has recorded, the newest last, at most 100"`
	Candidates      []Candidate           `bson:"candidates,omitempty" json:"candidates,omitempty" doc:"What may be a deviation and waits for somebody to look at, the newest last, at most 100; left out for the patient"`
	Steps           []Step                `bson:"steps" json:"steps" doc:"How the patient got there"`
	Visits          []Visit               `bson:"visits,omitempty" json:"visits" doc:"The visits that took place or were skipped, in the order in which they were recorded; PatientVisits has those that are planned too"`
	Instruments     []AnsweredBy          `bson:"instruments" json:"instruments" doc:"What the patient answers, with the trend"`
	Risks           []Risk                `bson:"risks" json:"risks" doc:"Risks flagged, the newest last, at most 100; empty for the patient"`
	Language        diary.Language        `bson:"language,omitempty" json:"language,omitempty" doc:"Language in which the patient is shown diaries"`
	Compliance      diaryviews.Compliance `bson:"compliance" json:"compliance" doc:"How the patient keeps the diaries"`
	UpdatedAt       time.Time             `bson:"updatedAt" json:"updatedAt" doc:"When the newest of these facts was recorded"`
}

// Step is one step of a patient through the study.
type Step struct {
	What       string        `bson:"what" json:"what" doc:"The event's name"`
	On         domain.Date   `bson:"on,omitempty" json:"on,omitempty" doc:"The day it happened, as the site wrote it"`
	Note       string        `bson:"note,omitempty" json:"note,omitempty" doc:"The signed version, the visit, the site, or the reason"`
	By         domain.UserID `bson:"by" json:"by" doc:"Who recorded it"`
	RecordedAt time.Time     `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded"`
	// What the patient was after it.
	Status    patient.Status    `bson:"status" json:"status" doc:"The participation after the step"`
	Treatment patient.Treatment `bson:"treatment" json:"treatment" doc:"The treatment after the step"`
	Phase     patient.Phase     `bson:"phase,omitempty" json:"phase,omitempty" doc:"The part of the study after the step; left out after the participation"`
}

// Visit is a visit that took place, or was skipped.
type Visit struct {
	Visit   string      `bson:"visit" json:"visit" doc:"Id of the visit in the protocol"`
	On      domain.Date `bson:"on,omitempty" json:"on,omitempty" doc:"The day on which it took place"`
	Skipped bool        `bson:"skipped,omitempty" json:"skipped,omitempty" doc:"It was recorded as skipped"`
}

// Visited notes a visit in place of what was noted of it before.
func (v *PatientDocument) Visited(is Visit) {
	v.VisitVoided(is.Visit)
	v.Visits = append(v.Visits, is)
}

// VisitVoided forgets a visit.
func (v *PatientDocument) VisitVoided(id string) {
	v.Visits = slices.DeleteFunc(v.Visits, func(is Visit) bool { return is.Visit == id })
}

// Deviation is a protocol deviation that somebody has recorded.
type Deviation struct {
	What       patient.DeviationKind `bson:"what" json:"what" doc:"What it is about"`
	Important  bool                  `bson:"important,omitempty" json:"important,omitempty" doc:"Whether it may affect rights, safety or the data"`
	FoundOn    domain.Date           `bson:"foundOn" json:"foundOn" doc:"Day on which it was found"`
	Reason     string                `bson:"reason" json:"reason" doc:"What happened, and why"`
	By         domain.UserID         `bson:"by" json:"by" doc:"Who recorded it"`
	RecordedAt time.Time             `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded"`
}

// Candidate is something that may be a protocol deviation. A person decides whether to record one.
type Candidate struct {
	ID         patient.CandidateID   `bson:"id" json:"id" doc:"What somebody names who decides about it"`
	What       patient.DeviationKind `bson:"what" json:"what" doc:"What it would be about"`
	Step       string                `bson:"step" json:"step" doc:"The event's name"`
	On         domain.Date           `bson:"on,omitempty" json:"on,omitempty" doc:"The day it happened, as the site wrote it"`
	Note       string                `bson:"note,omitempty" json:"note,omitempty" doc:"The visit, the criteria, or the value"`
	RecordedAt time.Time             `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded"`
}

// maxDeviations bounds the newest deviations, and the newest candidates, that a document holds.
const maxDeviations = 100

// Deviate adds a deviation.
func (v *PatientDocument) Deviate(d Deviation) {
	v.Deviations = readmodels.LatestOf(append(v.Deviations, d), maxDeviations)
}

// Propose adds something that may be a deviation, in place of a former candidate with the same id. What is "" if it is none, or
// none any more.
func (v *PatientDocument) Propose(c Candidate) {
	v.Candidates = slices.DeleteFunc(v.Candidates, func(o Candidate) bool { return o.ID == c.ID })
	if c.What != "" {
		v.Candidates = readmodels.LatestOf(append(v.Candidates, c), maxDeviations)
	}
}

// AnsweredBy is an instrument that is assigned to the patient, with the newest windows.
type AnsweredBy struct {
	Instrument instrument.ID `bson:"instrument" json:"instrument" doc:"The instrument"`
	Assignment `bson:",inline"`
	Later      []Assignment `bson:"later,omitempty" json:"later,omitempty" doc:"Assignments that are to come, in order, at most 20"`
	Trend      []TrendPoint `bson:"trend" json:"trend" doc:"The newest windows in order, at most 30"`
}

// Assignment is a range of days on which a patient answers an instrument.
type Assignment struct {
	Version int           `bson:"version" json:"version" doc:"Version of its definition"`
	Title   string        `bson:"title" json:"title" doc:"Its title"`
	Zone    string        `bson:"zone" json:"zone" doc:"Zone that its windows follow"`
	From    domain.Date   `bson:"from" json:"from" doc:"First day"`
	Until   domain.Date   `bson:"until" json:"until" doc:"Last day on which a window opens"`
	Phase   patient.Phase `bson:"phase,omitempty" json:"phase,omitempty" doc:"The phase for which the protocol assigned it; left out if a person did"`
	Stopped string        `bson:"stopped,omitempty" json:"stopped,omitempty" doc:"Why it was stopped before its last day"`
}

// TrendPoint is a decided window in a trend. Its stored names are short because every diary writes all points of the patient
// again.
type TrendPoint struct {
	Window string `bson:"w" json:"window" doc:"Local day and name of the window"`
	// Opens orders the windows of a day.
	Opens  time.Time `bson:"o" json:"-"`
	Missed bool      `bson:"m,omitempty" json:"missed,omitempty" doc:"It passed unanswered"`
	Late   bool      `bson:"l,omitempty" json:"late,omitempty" doc:"Captured after the window"`
	// Mode is how it came in.
	Mode diary.Mode `bson:"e,omitempty" json:"mode,omitempty" doc:"How it came in; left out for the patient's own entry"`
	// Score is the instrument's first score, if it could be computed.
	Score *float64 `bson:"s,omitempty" json:"score,omitempty" doc:"The instrument's first score; left out for the patient"`
	Risk  bool     `bson:"r,omitempty" json:"risk,omitempty" doc:"The diary flagged a risk; left out for the patient"`
}

// Risk is a risk that a diary flagged.
type Risk struct {
	Instrument instrument.ID       `bson:"instrument" json:"instrument" doc:"The instrument"`
	Window     string              `bson:"window" json:"window" doc:"The window"`
	Rule       string              `bson:"rule" json:"rule" doc:"The rule that holds"`
	Severity   instrument.Severity `bson:"severity" json:"severity" doc:"How urgent a review is"`
	Message    string              `bson:"message" json:"message" doc:"What the site reads"`
	RecordedAt time.Time           `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded"`
}

// Step adds a step of the patient.
func (v *PatientDocument) Step(s Step) {
	v.Steps = readmodels.LatestOf(append(v.Steps, s), maxSteps)
}

// Flag adds a risk, to the list and to the trend.
func (v *PatientDocument) Flag(r Risk) {
	v.Risks = readmodels.LatestOf(append(v.Risks, r), maxRisks)
	if p := v.Point(r.Instrument, r.Window); p != nil {
		p.Risk = true
	}
}

// Assigned adds an assignment that was recorded on a day. One that is to come stays behind the one in force until then. As in the diary,
// what has not ended by the first day of the new one ends on the day before.
func (v *PatientDocument) Assigned(id instrument.ID, to Assignment, recordedOn domain.Date) {
	at := slices.IndexFunc(v.Instruments, func(a AnsweredBy) bool { return a.Instrument == id })
	if at < 0 {
		v.Instruments = append(v.Instruments, AnsweredBy{Instrument: id, Assignment: to})
		return
	}
	a := &v.Instruments[at]
	a.on(recordedOn)
	a.endOn(to.From.AddDays(-1), "")
	if to.From <= recordedOn || a.Until < recordedOn || a.Until < a.From {
		a.Assignment, a.Later = to, nil
		return
	}
	a.Later = readmodels.LatestOf(append(a.Later, to), maxLater)
}

// on makes the assignment that is in force on a day the present one.
func (a *AnsweredBy) on(day domain.Date) {
	for len(a.Later) > 0 && a.Later[0].From <= day {
		a.Assignment, a.Later = a.Later[0], a.Later[1:]
	}
}

// endOn ends the present assignment, and those to come, on a day. why is "" where another one goes on.
func (a *AnsweredBy) endOn(day domain.Date, why string) {
	a.Assignment.endOn(day, why)
	for i := range a.Later {
		a.Later[i].endOn(day, why)
	}
	a.Later = slices.DeleteFunc(a.Later, func(l Assignment) bool { return l.Until < l.From })
}

func (a *Assignment) endOn(day domain.Date, why string) {
	if a.Until > day {
		a.Until = day
		if why != "" {
			a.Stopped = why
		}
	}
}

// Stopped ends an instrument.
func (v *PatientDocument) Stopped(e diary.InstrumentStopped) {
	for i := range v.Instruments {
		if a := &v.Instruments[i]; a.Instrument == e.Instrument {
			a.endOn(e.Until, string(e.Reason))
		}
	}
}

// inForce shows for each instrument the assignment that is in force at a moment.
func (v *PatientDocument) inForce(at time.Time) {
	for i := range v.Instruments {
		a := &v.Instruments[i]
		for len(a.Later) > 0 {
			zone, err := localtime.Load(a.Later[0].Zone)
			if err != nil || a.Later[0].From > domain.DateOf(zone.In(at)) {
				break
			}
			a.on(a.Later[0].From)
		}
	}
}

// Void takes a diary out of the trend and the figures. Its window is missed again if it was before.
func (v *PatientDocument) Void(e diary.Voided) {
	v.Compliance.Void(e)
	for i := range v.Instruments {
		a := &v.Instruments[i]
		at := a.point(e.Window.ID)
		switch {
		case a.Instrument != e.Instrument || at < 0:
		case e.AfterMissed:
			a.Trend[at] = TrendPoint{Window: e.Window.ID, Opens: e.Window.Opens.UTC(), Missed: true}
		default:
			a.Trend = slices.Delete(a.Trend, at, at+1)
		}
	}
}

// Point returns the trend's point of a window, or nil if the trend does not contain the window any more.
func (v *PatientDocument) Point(id instrument.ID, window string) *TrendPoint {
	for i := range v.Instruments {
		if a := &v.Instruments[i]; a.Instrument == id {
			if at := a.point(window); at >= 0 {
				return &a.Trend[at]
			}
		}
	}
	return nil
}

// Decided adds a decided window to the trend in the order of time, or replaces the point of the window.
func (v *PatientDocument) Decided(id instrument.ID, p TrendPoint) {
	for i := range v.Instruments {
		a := &v.Instruments[i]
		if a.Instrument != id {
			continue
		}
		if at := a.point(p.Window); at >= 0 {
			a.Trend[at] = p
			return
		}
		at := len(a.Trend) // mostly the newest
		for at > 0 && p.Opens.Before(a.Trend[at-1].Opens) {
			at--
		}
		a.Trend = readmodels.LatestOf(slices.Insert(a.Trend, at, p), TrendLength)
		return
	}
}

// point returns the index of a window in the trend, or -1. It begins with the newest.
func (a *AnsweredBy) point(window string) int {
	at := len(a.Trend) - 1
	for at >= 0 && a.Trend[at].Window != window {
		at--
	}
	return at
}

// patientView is the query of one patient.
var patientView = readmodels.Declare(readmodels.Query{
	Name: "Patient", Path: "/api/v1/patients/{patient}", Summary: "All that is known of a patient",
	Doc: "The patient's way through the study, diaries with their trend, and risks. Identity data are held apart. Patients are not shown " +
		"scores, risks, and what may be a deviation, which are for the site.",
	OpenTo: access.To(access.ClinicalReaders, access.ThePatient), Reach: readmodels.ReachPatient,
	Views: []readmodels.View{PatientViews},
}, LoadPatientView)

// PatientQuery asks for all that is known of a patient, now or at a moment.
type PatientQuery struct {
	Patient domain.PatientID  `path:"patient" doc:"The patient"`
	AsOf    readmodels.Moment `query:"asOf"`
}

// PatientView is a patient's document, with what is wrong with the patient's record.
type PatientView struct {
	PatientDocument
	Damaged []readmodels.DamagedRecord `json:"damaged,omitempty" doc:"Streams of the patient that are damaged: what they hold from there on is not shown, and commands on them are refused"`
	LeftOut []LeftOut                  `json:"leftOut,omitempty" doc:"Streams of the patient of which an event cannot be shown: what they hold from there on is missing here, and is in the audit trail"`
}

// LeftOut is a stream of which a view cannot show an event, nor what follows it.
type LeftOut struct {
	Stream   string    `json:"stream" doc:"The stream"`
	Revision uint64    `json:"revision" doc:"Its first event that is not shown"`
	Since    time.Time `json:"since" doc:"When this was noticed"`
}

// LoadPatientView returns all that is known of a patient; it refuses patient_not_found.
func LoadPatientView(ctx context.Context, r readmodels.Request, q PatientQuery) (shown PatientView, err error) {
	if shown.PatientDocument, err = LoadPatient(ctx, r, q); err != nil {
		return shown, err
	}
	if !r.Caller.MayRead(access.ClinicalReaders, domain.Scope{Study: shown.Study, Site: shown.Site}) {
		shown.withoutUnblinding()
		shown.withoutJudgements()
	}
	streams := []string{patient.Decider.Stream(string(q.Patient)), diary.Decider.Stream(string(q.Patient))}
	if shown.Damaged, err = r.Store.DamagedRecords(ctx, streams...); err != nil {
		return shown, err
	}
	at, err := r.Store.LoadCheckpoint(ctx, PatientViews)
	for _, left := range at.LeftOut {
		if slices.Contains(streams, left.Stream) {
			shown.LeftOut = append(shown.LeftOut, LeftOut{Stream: left.Stream, Revision: left.Revision, Since: left.Since})
		}
	}
	return shown, err
}

// withoutUnblinding leaves out for the patient that the arm has become known: what the patient is told is the site's to say.
func (v *PatientDocument) withoutUnblinding() {
	v.Unblinded, v.UnblindedAt = "", nil
	v.Steps = slices.DeleteFunc(slices.Clone(v.Steps), func(s Step) bool { return s.What == patientUnblinded })
	for i := range v.Steps {
		if v.Steps[i].By == unblindingProcess { // the treatment was ended, and the note says why
			v.Steps[i].Note = ""
		}
	}
}

// withoutJudgements leaves out for the patient what is for the site: scores and risks, and what may be a deviation.
func (v *PatientDocument) withoutJudgements() {
	v.Risks, v.Candidates = nil, nil
	v.Instruments = slices.Clone(v.Instruments)
	for i := range v.Instruments {
		a := &v.Instruments[i]
		a.Trend = slices.Clone(a.Trend)
		for n := range a.Trend {
			a.Trend[n].Score, a.Trend[n].Risk = nil, false
		}
	}
}

const (
	// patientUnblinded is the name of the event that marks a patient as unblinded.
	patientUnblinded = "PatientUnblinded"
	// unblindingProcess is the process that records it, and what follows from it.
	unblindingProcess = domain.UserID("process:unblinding")
)

// LoadPatient returns the document of a patient, as it was at the moment that the query names. It refuses patient_not_found.
func LoadPatient(ctx context.Context, r readmodels.Request, q PatientQuery) (v PatientDocument, err error) {
	if !q.AsOf.IsPresent() {
		past, err := r.AsOf(ctx, PatientViews, q.Patient, q.AsOf)
		if err != nil {
			return v, err
		}
		was, known := past[string(q.Patient)].(*PatientDocument)
		if !known {
			return v, refuse.NotFound("patient_not_found", "there was no patient %s then", q.Patient).At("asOf").Do("ask for a later moment")
		}
		at := q.AsOf.Time
		if at.IsZero() { // the moment is a position
			at = was.UpdatedAt
		}
		was.inForce(at)
		return *was, nil
	}
	err = r.Store.Collection(PatientViews).FindOne(ctx, bson.D{{Key: "_id", Value: string(q.Patient)}}).Decode(&v)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return v, refuse.NotFound("patient_not_found", "there is no patient %s", q.Patient).Do("check the id")
	}
	v.inForce(r.Now)
	return v, err
}
