// Package study holds what a trial is under its protocol: versions of the protocol with arms, visits, forms and
// instruments, and the sites that take part. Whether and how many patients may enter is decided in domain/enrollment.
package study

import (
	"encoding/json"

	"casebook/domain"
	"casebook/domain/instrument"
)

// Event is what can happen to a study.
type Event interface{ studyEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	domain.Stored[Created]("StudyCreated"),
	// From version 2 on, a protocol may refer to instruments that are published by themselves. An older program must stop
	// there: it would read the protocol as one without these instruments.
	domain.Stored[ProtocolVersionPublished]("ProtocolVersionPublished", domain.Unchanged),
	domain.Stored[SiteAdded]("SiteAdded"),
	domain.Stored[SiteActivated]("SiteActivated"),
	domain.Stored[SiteClosed]("SiteClosed"),
	domain.Stored[SecondFactorRequired]("SecondFactorRequired").InNoView("the audit trail shows it"),
}

// Created begins a study.
type Created struct {
	Study   domain.StudyID `json:"study"`
	Title   string         `json:"title"`
	Sponsor string         `json:"sponsor"`
	Phase   string         `json:"phase,omitempty"`
}

// ProtocolVersionPublished puts a version of the protocol, or an amendment, in force.
type ProtocolVersionPublished struct {
	Study    domain.StudyID `json:"study"`
	Protocol Protocol       `json:"protocol"`
}

// SiteAdded lets a site take part; it can do nothing before it is activated.
type SiteAdded struct {
	Study   domain.StudyID `json:"study"`
	Site    domain.SiteID  `json:"site"`
	Name    string         `json:"name"`
	Country string         `json:"country"`
	// Zone is the site's IANA time zone.
	Zone string `json:"zone"`
}

// SiteActivated lets a site screen and enrol, after its approvals (ICH E6(R3) 4.3.5).
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
	Reason string         `json:"reason"`
}

// SecondFactorRequired says whether signing and unblinding in the study ask for a second factor at the sign-in.
type SecondFactorRequired struct {
	Study    domain.StudyID `json:"study"`
	Required bool           `json:"required"`
	Reason   string         `json:"reason"`
}

func (SecondFactorRequired) studyEvent()     {}
func (Created) studyEvent()                  {}
func (ProtocolVersionPublished) studyEvent() {}
func (SiteAdded) studyEvent()                {}
func (SiteActivated) studyEvent()            {}
func (SiteClosed) studyEvent()               {}

// Protocol is one version of the plan. It is fixed once published.
type Protocol struct {
	// Version is a number that grows by one with every amendment.
	Version int `json:"version" minimum:"1" doc:"1 for the first, one more for each amendment"`
	// ConsentVersion is the informed consent form that patients sign under this version.
	ConsentVersion string                  `json:"consentVersion" minLength:"1" doc:"The informed consent form in force"`
	Arms           []Arm                   `json:"arms,omitempty" doc:"What patients can be assigned to"`
	Visits         []Visit                 `json:"visits,omitempty" doc:"The schedule of visits"`
	Forms          []Form                  `json:"forms,omitempty" doc:"Case report forms, stored as they come"`
	Instruments    []instrument.Definition `json:"instruments,omitempty" doc:"What patients answer themselves"`
	// InstrumentReferences name instruments that have been published by themselves, beside those in Instruments.
	InstrumentReferences []instrument.Reference `json:"instrumentReferences,omitempty" doc:"Instruments that were published by PublishInstrument, by version and hash"`
	Criteria             []Criterion            `json:"criteria,omitempty" doc:"Who may be enrolled"`
	Treatment            *Treatment             `json:"treatment,omitempty" doc:"How patients get what the study is about; without it nothing is drawn or dispensed"`
	Alerts               *AlertPolicy           `json:"alerts,omitempty" doc:"When somebody has to be told; 60 minutes and 3 windows where it is left out"`
}

// AlertPolicy says how alerts are raised and escalated.
type AlertPolicy struct {
	ReviewMinutes int `json:"reviewMinutes" minimum:"1" maximum:"10080" doc:"An alert that nobody has looked at for so long is escalated"`
	MissedInARow  int `json:"missedInARow" minimum:"1" maximum:"100" doc:"After so many missed windows in a row the site is told"`
}

// Criterion is one condition of eligibility; each is answered for each patient before the enrolment.
type Criterion struct {
	ID        string `json:"id" minLength:"1"`
	Title     string `json:"title"`
	Exclusion bool   `json:"exclusion,omitempty" doc:"Whether meeting it keeps the patient out"`
}

// Treatment says how patients are assigned and supplied.
type Treatment struct {
	// Randomised patients are drawn into one of the protocol's arms.
	Randomised bool     `json:"randomised,omitempty" doc:"Whether patients are drawn into the arms"`
	Factors    []Factor `json:"factors,omitempty" doc:"What the draw is stratified by, or balances"`
	// Kits says that drug comes in numbered kits.
	Kits bool `json:"kits,omitempty" doc:"Whether drug comes in numbered kits"`
	// ForcedAllocation allows a draw among the arms that are in stock when not all are.
	ForcedAllocation bool `json:"forcedAllocation,omitempty" doc:"Whether a patient may be drawn among the arms in stock when not all of them are; every skipped place of the list is recorded"`
	// DoNotDispenseDays is how long before its expiry a kit is not given out any more.
	DoNotDispenseDays int `json:"doNotDispenseDays,omitempty" minimum:"0" doc:"A kit that expires within so many days is not allocated"`
	// DispensingVisits are the visits at which the next kit is given out; the first comes with the enrolment.
	DispensingVisits []string `json:"dispensingVisits,omitempty" doc:"Visits after the enrolment at which a patient gets the next kit"`
}

// Factor is a property of patients with a few levels, such as a site's country or a grade of severity.
type Factor struct {
	ID     string   `json:"id" minLength:"1"`
	Title  string   `json:"title"`
	Levels []string `json:"levels" minItems:"1"`
}

// Arm is a treatment that patients can be assigned to. That arms exist is public; who is in one is not.
type Arm struct {
	ID    string `json:"id" minLength:"1"`
	Title string `json:"title"`
}

// Visit is a planned contact; days count from enrolment, which is day 0.
type Visit struct {
	ID         string   `json:"id" minLength:"1"`
	Title      string   `json:"title"`
	Day        int      `json:"day" doc:"Planned day, counted from enrolment"`
	DaysBefore int      `json:"daysBefore,omitempty" minimum:"0" doc:"How many days earlier is allowed"`
	DaysAfter  int      `json:"daysAfter,omitempty" minimum:"0" doc:"How many days later is allowed"`
	Forms      []string `json:"forms,omitempty" doc:"Ids of the forms filled in at the visit"`
}

// Form is a case report form; its definition is kept as it came.
type Form struct {
	ID         string          `json:"id" minLength:"1"`
	Title      string          `json:"title"`
	Definition json.RawMessage `json:"definition,omitempty"`
}
