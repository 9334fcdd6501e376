package patient

import (
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/study"
)

// DeviationCandidateJudgedAgain says that something is a candidate after a correction of a day that it depends on, or is none any more.
type DeviationCandidateJudgedAgain struct {
	Patient   domain.PatientID `json:"patient"`
	Candidate CandidateID      `json:"candidate"`
	// What it would be as a deviation; "" if it is no candidate any more.
	What DeviationKind `json:"what,omitempty"`
	// On is the day that it is about.
	On domain.Date `json:"on,omitempty"`
}

func (DeviationCandidateJudgedAgain) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e DeviationCandidateJudgedAgain) AboutPatient() domain.PatientID { return e.Patient }

// correcting returns a correction with what it changes about other days: those that it makes candidates, and the waiting ones that it
// ends. What the correction proposes itself covers a consent that is missing on other days too.
func (p Patient) correcting(s study.Study, corrected Event) []Event {
	own := ProposalOf(corrected)
	after := evolve(p, corrected)
	was, is := p.verdicts(s), after.verdicts(s)
	events := []Event{corrected}
	for _, id := range slices.Sorted(maps.Keys(is)) {
		switch what := is[id].what; {
		case id == own.ID, what == was[id].what, what == "" && !after.Candidates.has(id),
			what == DeviationConsent && own.What == DeviationConsent:
		default:
			events = append(events, DeviationCandidateJudgedAgain{Patient: p.ID, Candidate: id, What: what, On: is[id].on})
		}
	}
	return events
}

// verdictAfter returns what the corrected day of a correction would be as a deviation; "" for none.
func (p Patient) verdictAfter(s study.Study, corrected Event) DeviationKind {
	return evolve(p, corrected).verdicts(s)[ProposalOf(corrected).ID].what
}

// verdict is what a day of the record would be as a deviation; "" for none.
type verdict struct {
	on   domain.Date
	what DeviationKind
}

// verdicts returns the verdicts about the days of the record, by the candidate that each may be.
func (p Patient) verdicts(s study.Study) map[CandidateID]verdict {
	all := map[CandidateID]verdict{}
	for visit, on := range p.Visits {
		all["visit/"+CandidateID(visit)] = verdict{on, p.verdictOf(s, visit, on)}
	}
	for i, c := range p.Consents {
		all["consent/"+CandidateID(c.Version)] = verdict{c.On, p.verdictOfConsent(s, i)}
	}
	if p.EnrolledOn != "" {
		enrolled := verdict{on: p.EnrolledOn}
		if p.EnrolledOn < p.FirstConsentOn {
			enrolled.what = DeviationConsent
		}
		all["enrollment"] = enrolled
	}
	return all
}

// verdictOf returns what a visit on a day would be as a deviation; "" for none.
func (p Patient) verdictOf(s study.Study, id string, on domain.Date) DeviationKind {
	visit, known := p.Follows(s).Visit(id)
	switch {
	case on < p.FirstConsentOn, p.wasBlocked(on):
		return DeviationConsent
	case known && visit.Day >= 0 && on < p.EnrolledOn, known && outOfWindow(visit, p.EnrolledOn, on):
		return DeviationVisit
	}
	return ""
}

// verdictOfConsent returns what a signature would be as a deviation; "" for none.
func (p Patient) verdictOfConsent(s study.Study, i int) DeviationKind {
	c, first := p.Consents[i], p.firstProcedureOn()
	if i == 0 && first != "" && c.On > first || tooEarly(s.ConsentOn(c.Version, p.siteOn(c.On), c.On)) || p.lacksSigner(s, c) {
		return DeviationConsent
	}
	return ""
}

// lacksSigner says whether a minor's consent lacks the representative or the assent, by the age that is recorded now.
func (p Patient) lacksSigner(s study.Study, c Signature) bool {
	version := s.Version(c.Protocol)
	return version != nil && p.AgeYears > 0 && p.maySign(version.Minors, c.On, c.represented, c.assent) != nil
}
