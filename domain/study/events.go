// Package study decides about a study: the versions of its protocol, with arms, visits, forms and instruments, and its
// sites. Package domain/enrollment decides whether and how many patients may enter.
package study

import (
	"encoding/json"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/personal"
)

// Event is an event of a study.
type Event interface{ studyEvent() }

// events are the events of the stream with their stored names.
var events = []domain.EventType{
	domain.Stored[Created]("StudyCreated"),
	// Since version 2, a protocol may refer to instruments that were published on their own. A program that knows only
	// version 1 must not read such an event, because it would see a protocol without these instruments. Since version 3, an
	// instrument can be about doses, and a factor can follow from the patient's record. Since version 4, a version reaches sites and
	// patients one by one (before, it was in force for everybody at once), a protocol can say what follows from an unblinding,
	// patients can be drawn some time after the enrolment and again in later stages, a treatment can have a dispensing plan and a
	// titration, and kits can need a green light to be shipped.
	domain.Stored[ProtocolVersionPublished]("ProtocolVersionPublished", domain.Unchanged, domain.Unchanged, domain.Unchanged),
	domain.Stored[SiteAdded]("SiteAdded"),
	domain.Stored[SiteActivated]("SiteActivated"),
	// Since version 2, what was open at the site can be recorded.
	domain.Stored[SiteClosed]("SiteClosed", domain.Unchanged),
	domain.Stored[SitePaused]("SitePaused"),
	domain.Stored[SiteResumed]("SiteResumed"),
	domain.Stored[SiteReopened]("SiteReopened"),
	// Since version 2, a cohort can be suspended.
	domain.Stored[Suspended]("StudySuspended", domain.Unchanged),
	domain.Stored[Resumed]("StudyResumed", domain.Unchanged),
	domain.Stored[ProtocolApprovedAtSite]("ProtocolApprovedAtSite"),
	domain.Stored[SiteApprovalWithdrawn]("SiteApprovalWithdrawn"),
	domain.Stored[BuildPublished]("BuildPublished"),
	domain.Stored[BuildReleased]("BuildReleased"),
	domain.Stored[SecondFactorRequired]("SecondFactorRequired").InNoView("the audit trail shows it"),
}

// Created says that a study was created.
type Created struct {
	Study   domain.StudyID `json:"study"`
	Title   string         `json:"title"`
	Sponsor string         `json:"sponsor"`
	Phase   string         `json:"phase,omitempty"`
}

// ProtocolVersionPublished publishes the first version of the protocol, or an amendment.
type ProtocolVersionPublished struct {
	Study    domain.StudyID `json:"study"`
	Protocol Protocol       `json:"protocol"`
	// ByPatient says that the version reaches sites and patients one by one. Events from before that was possible do not say so: their
	// versions were in force for everybody at once.
	ByPatient bool `json:"byPatient,omitempty"`
}

// SiteAdded adds a site to the study. The site may not screen or enrol before it is activated.
type SiteAdded struct {
	Study   domain.StudyID `json:"study"`
	Site    domain.SiteID  `json:"site"`
	Name    string         `json:"name"`
	Country string         `json:"country"`
	// Zone is the site's IANA time zone.
	Zone string `json:"zone"`
}

// SiteActivated allows a site to screen and enrol patients, after its approvals (ICH E6(R3) 4.3.5).
type SiteActivated struct {
	Study domain.StudyID `json:"study"`
	Site  domain.SiteID  `json:"site"`
	On    domain.Date    `json:"on"`
}

// SiteClosed ends a site's screening and enrolment; its patients stay.
type SiteClosed struct {
	Study  domain.StudyID `json:"study"`
	Site   domain.SiteID  `json:"site"`
	On     domain.Date    `json:"on"`
	Reason personal.Text  `json:"reason"`
	// Checklist is what was open at the site, as the closer confirmed it.
	Checklist []ChecklistItem `json:"checklist,omitempty"`
}

// SecondFactorRequired says whether signing and unblinding in the study ask for a second factor at the sign-in.
type SecondFactorRequired struct {
	Study    domain.StudyID `json:"study"`
	Required bool           `json:"required"`
	Reason   personal.Text  `json:"reason"`
}

func (SecondFactorRequired) studyEvent()     {}
func (Created) studyEvent()                  {}
func (ProtocolVersionPublished) studyEvent() {}
func (SiteAdded) studyEvent()                {}
func (SiteActivated) studyEvent()            {}
func (SiteClosed) studyEvent()               {}

// Protocol is one version of the protocol. It does not change after its publication.
type Protocol struct {
	// Version is a number that grows by one with every amendment.
	Version int `json:"version" minimum:"1" doc:"1 for the first, one more for each amendment"`
	// ConsentVersion is the informed consent form that patients sign under this version.
	ConsentVersion string `json:"consentVersion" minLength:"1" doc:"The informed consent form of this version"`
	// PublishedOn is "" for a first version of which no day is known.
	PublishedOn  domain.Date `json:"publishedOn,omitempty" doc:"Day of publication; no consent to it is older. For an amendment that leaves it out, the day on which it is recorded"`
	SiteApproval bool        `json:"siteApproval,omitempty" doc:"Whether a site works by the version only after its approval, which ApproveProtocolAtSite records"`
	Reconsent    *Reconsent  `json:"reconsent,omitempty" doc:"Which patients have to sign again when the amendment is applied to them; nobody when left out"`
	Minors       *Minors     `json:"minors,omitempty" doc:"Who signs for minors; nobody else than for adults when left out"`

	Arms        []Arm                   `json:"arms,omitempty" doc:"What patients can be assigned to"`
	Visits      []Visit                 `json:"visits,omitempty" doc:"The schedule of visits"`
	Forms       []Form                  `json:"forms,omitempty" doc:"Case report forms, stored as they come"`
	Instruments []instrument.Definition `json:"instruments,omitempty" doc:"What patients answer themselves"`
	// InstrumentReferences name instruments that were published on their own, in addition to those in Instruments.
	InstrumentReferences []instrument.Reference `json:"instrumentReferences,omitempty" doc:"Instruments that were published by PublishInstrument, by version and hash"`
	// PhaseInstruments are assigned to every patient who is in the phase, and stopped when the patient leaves it.
	PhaseInstruments []PhaseInstrument `json:"phaseInstruments,omitempty" doc:"Instruments that patients are assigned by themselves while they are in a phase"`
	Criteria         []Criterion       `json:"criteria,omitempty" doc:"Who may be enrolled"`
	Treatment        *Treatment        `json:"treatment,omitempty" doc:"How patients get what the study is about; without it nothing is drawn or dispensed"`
	Alerts           *AlertPolicy      `json:"alerts,omitempty" doc:"When people have to be notified; 60 minutes and 3 windows where it is left out"`
}

// AlertPolicy says how alerts are raised and escalated.
type AlertPolicy struct {
	ReviewMinutes int `json:"reviewMinutes" minimum:"1" maximum:"10080" doc:"An alert that nobody has reviewed for so long is escalated"`
	MissedInARow  int `json:"missedInARow" minimum:"1" maximum:"100" doc:"After so many missed windows in a row the site gets an alert"`
	// MissedWithin is beside MissedInARow: windows that need not be in a row.
	MissedWithin *MissedWithin `json:"missedWithin,omitempty" doc:"After how many missed windows within how many days the site gets an alert too"`
}

// MissedWithin is a number of missed windows of an instrument within a number of days.
type MissedWithin struct {
	Missed int `json:"missed" minimum:"1" maximum:"100" doc:"So many missed windows"`
	Days   int `json:"days" minimum:"1" maximum:"366" doc:"Within so many days, that of the last window included"`
}

// PhaseInstrument is an instrument that belongs to a phase.
type PhaseInstrument struct {
	Instrument instrument.ID `json:"instrument" doc:"An instrument of the protocol"`
	Phase      Phase         `json:"phase" doc:"run_in, treatment, open_extension or follow_up"`
	Days       int           `json:"days,omitempty" minimum:"0" doc:"For how many days; as long as the phase lasts when left out, ten years at most"`
}

// Criterion is one condition of eligibility. Every criterion is answered for every patient before the enrolment.
type Criterion struct {
	ID        string `json:"id" minLength:"1"`
	Title     string `json:"title"`
	Exclusion bool   `json:"exclusion,omitempty" doc:"Whether meeting it keeps the patient out"`
}

// Treatment says how patients are assigned to arms and supplied with kits.
type Treatment struct {
	// Randomised patients are drawn into one of the protocol's arms.
	Randomised bool     `json:"randomised,omitempty" doc:"Whether patients are drawn into the arms"`
	Factors    []Factor `json:"factors,omitempty" doc:"What the draw is stratified by, or balances"`
	// Kits says that drug comes in numbered kits.
	Kits bool `json:"kits,omitempty" doc:"Whether drug comes in numbered kits"`
	// DrawnLater says that patients are enrolled without a draw, such as for a run-in, and drawn later.
	DrawnLater bool `json:"drawnLater,omitempty" doc:"Whether patients are drawn by RequestRandomisation some time after their enrolment, such as after a run-in"`
	// FirstArms are the arms of the first draw; all arms of the protocol if there are none.
	FirstArms []string `json:"firstArms,omitempty" doc:"The arms of the first draw; all arms where it is left out"`
	Stages    []Stage  `json:"stages,omitempty" doc:"Later draws, such as a second randomisation or an open extension"`
	// ForcedAllocation allows a draw among the arms that are in stock when not all are.
	ForcedAllocation bool `json:"forcedAllocation,omitempty" doc:"Whether a patient may be drawn among the arms in stock when not all of them are; every skipped entry of the list is recorded"`
	// DoNotDispenseDays is the number of days before its expiry in which a kit is not given out any more.
	DoNotDispenseDays int `json:"doNotDispenseDays,omitempty" minimum:"0" doc:"A kit that expires within so many days is not allocated"`
	// DispensingVisits are the visits at which the patient gets the next kit. The first kit comes with the enrolment.
	DispensingVisits []string `json:"dispensingVisits,omitempty" doc:"Visits after the enrolment at which a patient gets the next kit"`
	InEmergency      string   `json:"inEmergency,omitempty" maxLength:"2000" doc:"What to do when a patient is unblinded in an emergency, whatever the arm"`
	// GreenLights says that a qualified person alone releases batches, and that kits go only to countries and sites that one has
	// approved (ICH E6(R3) 3.15.3). Protocols without it ask for neither, as those from before it do.
	GreenLights bool `json:"greenLights,omitempty" doc:"Whether kits are shipped only to countries and sites that a qualified person has approved, and only a qualified person releases batches"`
	// AfterUnblinding is nil where the protocol says nothing: the treatment and its assessments then go on as before.
	AfterUnblinding *AfterUnblinding `json:"afterUnblinding,omitempty" doc:"What follows from the unblinding of a patient; nothing where it is left out"`
	// Plan says which kits patients get; without it, one kit of the own arm each time.
	Plan      *DispensingPlan `json:"plan,omitempty" doc:"Which kits patients get, and how many; without it one kit of their arm each time"`
	Titration *Titration      `json:"titration,omitempty" doc:"How doses are changed; without it they are not"`
	// UntilNextVisit says that a kit has to last until the end of the window of the next visit.
	UntilNextVisit bool                `json:"untilNextVisit,omitempty" doc:"Whether a kit is given out only if it does not expire before the end of the window of the next visit"`
	DoNotDispense  []DoNotDispenseRule `json:"doNotDispense,omitempty" doc:"Days before its expiry in which a kit is not given out, by type, visit and country; the largest number that fits counts"`
	// DosingLimits is nil where no dosing is proposed as a deviation.
	DosingLimits *DosingLimits `json:"dosingLimits,omitempty" doc:"How many of the planned doses a patient has to take between two visits; what lies outside is proposed as a deviation. Without it nothing is"`
}

// DosingLimits are the limits of the doses taken, in percent of those planned from one dispensing to the return of its kits.
type DosingLimits struct {
	MinPercent int `json:"minPercent,omitempty" minimum:"0" maximum:"100" doc:"So many at least"`
	MaxPercent int `json:"maxPercent,omitempty" minimum:"0" maximum:"1000" doc:"So many at most; without a limit when left out"`
}

// Breached says whether the doses taken lie outside of the limits. Without limits, or planned doses, none do.
func (l *DosingLimits) Breached(planned float64, taken int) bool {
	if l == nil || planned == 0 {
		return false
	}
	percent := 100 * float64(taken) / planned
	return percent < float64(l.MinPercent) || l.MaxPercent > 0 && percent > float64(l.MaxPercent)
}

// Arm is a treatment that patients can be assigned to. The arms are public; the patients in them are blinded.
type Arm struct {
	ID    string `json:"id" minLength:"1"`
	Title string `json:"title"`
	// Dose and InEmergency are shown to somebody who unblinds a patient in an emergency.
	Dose        string `json:"dose,omitempty" maxLength:"300" doc:"What a patient of the arm takes, how much and how often"`
	InEmergency string `json:"inEmergency,omitempty" maxLength:"2000" doc:"What to do when a patient of the arm is unblinded in an emergency, such as the antidote"`
}

// Visit is a planned visit. Days count from the enrolment, which is day 0.
type Visit struct {
	ID         string   `json:"id" minLength:"1"`
	Title      string   `json:"title"`
	Day        int      `json:"day" doc:"Planned day, counted from enrolment"`
	DaysBefore int      `json:"daysBefore,omitempty" minimum:"0" doc:"How many days earlier is allowed"`
	DaysAfter  int      `json:"daysAfter,omitempty" minimum:"0" doc:"How many days later is allowed"`
	Forms      []string `json:"forms,omitempty" doc:"Ids of the forms filled in at the visit"`
	// OutOfWindow says what becomes of a visit that takes place earlier or later. Flagged is the default.
	OutOfWindow WindowPolicy `json:"outOfWindow,omitempty" doc:"What becomes of the visit if it takes place earlier or later: it is flagged if left out"`
}

// HasWindow says whether a visit is to take place within a window of days. Visits of the screening, and visits for which the protocol
// allows no other days, have none.
func (v Visit) HasWindow() bool { return v.Day >= 0 && v.DaysBefore+v.DaysAfter > 0 }

// WindowPolicy is what becomes of a visit outside of its window.
type WindowPolicy string

// A visit outside of its window may be a deviation, or is not recorded.
const (
	FlagVisit   WindowPolicy = "flag"
	RefuseVisit WindowPolicy = "refuse"
)

// Schema implements domain.HasSchema.
func (WindowPolicy) Schema() domain.Schema { return domain.OneOf(FlagVisit, RefuseVisit) }

// Form is a case report form. Its definition is stored as it was sent.
type Form struct {
	ID         string          `json:"id" minLength:"1"`
	Title      string          `json:"title"`
	Definition json.RawMessage `json:"definition,omitempty" kinds:"object"`
}
