package patient

import (
	"maps"

	"casebook/domain"
)

// Patient is the state of a patient's stream.
type Patient struct {
	ID              domain.PatientID
	Study           domain.StudyID
	Site            domain.SiteID
	Zone            string
	ScreeningNumber string
	PatientNumber   string
	Status          Status
	ConsentVersion  string
	ScreenedOn      domain.Date
	ConsentedOn     domain.Date
	// RequestedOn is the day of enrolment in the last request.
	RequestedOn domain.Date
	// Attempts counts the requests of an enrolment.
	Attempts   int
	EnrolledOn domain.Date
	EndedOn    domain.Date
	// Visits are the days of the visits that took place.
	Visits map[string]domain.Date
}

// Decider decides on a patient's stream.
var Decider = domain.Decider[Patient, Event]{Category: "patient", Key: domain.ByPatient, Events: events, Evolve: evolve}

// Streams are the kinds of streams of this context.
var Streams = []domain.StreamType{Decider.Streams()}

// Exists says whether the patient has been screened.
func (p Patient) Exists() bool { return p.ID != "" }

// Participating says whether the patient is enrolled and the participation has not ended.
func (p Patient) Participating() bool { return p.Status == StatusEnrolled }

// MayGetKits says whether the patient may be assigned to an arm and get kits: during and after the enrolment.
func (p Patient) MayGetKits() bool { return p.Status == StatusEnrolled || p.Status == StatusEnrolling }

func evolve(p Patient, e Event) Patient {
	p.Status = p.Status.After(e)
	switch e := e.(type) {
	case Screened:
		p.ID, p.Study, p.Site, p.Zone, p.ScreeningNumber = e.Patient, e.Study, e.Site, e.Zone, e.ScreeningNumber
		p.ScreenedOn = e.On
	case ConsentRecorded:
		p.ConsentVersion, p.ConsentedOn = e.ConsentVersion, e.On
	case ScreenFailureRecorded:
		p.EndedOn = e.On
	case EnrollmentRequested:
		p.RequestedOn = e.On
		p.Attempts++
	case Enrolled:
		p.EnrolledOn, p.PatientNumber = e.On, e.PatientNumber
	case VisitRecorded:
		p.Visits = maps.Clone(p.Visits)
		if p.Visits == nil {
			p.Visits = map[string]domain.Date{}
		}
		p.Visits[e.Visit] = e.On
	case ConsentWithdrawn:
		p.EndedOn = e.On
	case Discontinued:
		p.EndedOn = e.On
	case Completed:
		p.EndedOn = e.On
	case EnrollmentFailed: // changes only the status
	}
	return p
}
