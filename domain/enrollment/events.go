// Package enrollment holds a study's places: whether enrolment is open, the caps, and which patient holds a place. A
// place is the right of one patient to enrol; it counts towards the study's cap and the site's cap. Each study has one
// stream, so that the log decides which of two sites gets the last place.
package enrollment

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
)

// Event is what can happen to a study's places.
type Event interface{ enrollmentEvent() }

// events are the events of the stream, under the names that the log knows them by.
var events = []domain.EventType{
	// Since version 2, countries can have caps.
	domain.Stored[Opened]("EnrollmentOpened", domain.Unchanged),
	domain.Stored[Closed]("EnrollmentClosed"),
	domain.Stored[TargetSet]("EnrollmentTargetSet", domain.Unchanged),
	domain.Stored[PlaceReserved]("PlaceReserved").InNoView("the patient's own events say the same"),
	domain.Stored[PlaceRefused]("PlaceRefused").ForReaders().InNoView("the patient's own events say the same"),
	domain.Stored[PlaceReleased]("PlaceReleased").InNoView("the patient's own events say the same"),
}

// Opened lets patients enrol, up to the caps.
type Opened struct {
	Study domain.StudyID `json:"study"`
	Caps  Caps           `json:"caps"`
}

// Closed stops the enrolment of patients. Patients who hold a place keep it.
type Closed struct {
	Study  domain.StudyID `json:"study"`
	Reason personal.Text  `json:"reason"`
}

// TargetSet changes target and caps.
type TargetSet struct {
	Study domain.StudyID `json:"study"`
	Caps  Caps           `json:"caps"`
	// Was are those before; nil in events from before they said so.
	Was *Caps `json:"was,omitempty"`
}

// PlaceReserved gives a patient a place in the study.
type PlaceReserved struct {
	Study   domain.StudyID   `json:"study"`
	Site    domain.SiteID    `json:"site"`
	Patient domain.PatientID `json:"patient"`
	// Number is the running number of the reservation in the study, from 1.
	Number int `json:"number"`
}

// PlaceRefused says why a patient got no place.
type PlaceRefused struct {
	Study   domain.StudyID   `json:"study"`
	Site    domain.SiteID    `json:"site"`
	Patient domain.PatientID `json:"patient"`
	Code    string           `json:"code"`
	Reason  personal.Text    `json:"reason"`
}

// PlaceReleased gives a patient's place back.
type PlaceReleased struct {
	Study   domain.StudyID   `json:"study"`
	Site    domain.SiteID    `json:"site"`
	Patient domain.PatientID `json:"patient"`
	Reason  personal.Text    `json:"reason"`
}

func (Opened) enrollmentEvent()        {}
func (Closed) enrollmentEvent()        {}
func (TargetSet) enrollmentEvent()     {}
func (PlaceReserved) enrollmentEvent() {}
func (PlaceRefused) enrollmentEvent()  {}
func (PlaceReleased) enrollmentEvent() {}

// AboutPatient returns the patient that the event is about.
func (e PlaceReserved) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e PlaceRefused) AboutPatient() domain.PatientID { return e.Patient }

// Caps bound how many patients may hold a place. A site or a country without a cap, or with a cap of 0, is bound by the other
// caps alone.
type Caps struct {
	Target int                   `json:"target" minimum:"1" doc:"How many patients the study wants"`
	Study  int                   `json:"study" minimum:"1" doc:"How many patients may hold a place at most"`
	Sites  map[domain.SiteID]int `json:"sites,omitempty" doc:"The same, by site"`
	// Countries are ISO 3166 codes, as the sites have them.
	Countries map[string]int `json:"countries,omitempty" doc:"The same, by the country of the sites"`
}

// Changed implements domain.Changing.
func (e TargetSet) Changed() []domain.ChangedValue {
	if e.Was == nil {
		return nil
	}
	return slices.Concat(domain.ChangedNumber("caps.target", e.Was.Target, e.Caps.Target),
		domain.ChangedNumber("caps.study", e.Was.Study, e.Caps.Study),
		changedCaps("caps.sites.", e.Was.Sites, e.Caps.Sites), changedCaps("caps.countries.", e.Was.Countries, e.Caps.Countries))
}

// changedCaps are the caps that differ, in the order of the ids.
func changedCaps[K ~string](field string, old, now map[K]int) (all []domain.ChangedValue) {
	of := maps.Clone(now)
	if of == nil {
		of = map[K]int{}
	}
	maps.Copy(of, old)
	for _, id := range slices.Sorted(maps.Keys(of)) {
		all = append(all, domain.ChangedNumber(field+string(id), old[id], now[id])...)
	}
	return all
}
