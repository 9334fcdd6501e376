package patient

import (
	"cmp"
	"slices"

	"casebook/domain"
	"casebook/domain/study"
)

// JudgeDosing tells a patient's record how many doses the patient took between two visits. The process of the dosing sends it.
type JudgeDosing struct {
	domain.OfPatient
	// Visit is that at which the patient got the kits; "" for the enrolment.
	Visit string `json:"visit,omitempty"`
	// Planned is 0 if it is not known any more how many doses were taken.
	Planned float64 `json:"planned,omitempty"`
	Taken   int     `json:"taken,omitempty"`
	// On is the last day on which the kits were used.
	On domain.Date `json:"on,omitempty"`
}

// DosingJudged says that the doses that a patient took between two visits may be a protocol deviation, or are none any more.
type DosingJudged struct {
	Patient domain.PatientID `json:"patient"`
	// Visit is that at which the patient got the kits; "" for the enrolment.
	Visit string `json:"visit,omitempty"`
	// Candidate is what it would be as a deviation; "" if it is none any more.
	Candidate DeviationKind `json:"candidate,omitempty"`
	// Planned and Taken are doses, until the day On; all are empty where they have to be counted anew.
	Planned float64     `json:"planned,omitempty"`
	Taken   int         `json:"taken,omitempty"`
	On      domain.Date `json:"on,omitempty"`
}

func (DosingJudged) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e DosingJudged) AboutPatient() domain.PatientID { return e.Patient }

func (e DosingJudged) candidate() CandidateID {
	return "dosing/" + CandidateID(cmp.Or(e.Visit, study.AtEnrollment))
}

// JudgeDoses decides about JudgeDosing. Fewer or more doses than the patient's version of the protocol allows may be a deviation, which
// somebody has to confirm. It refuses patient_not_found.
func JudgeDoses(p Patient, s study.Study, cmd JudgeDosing, _ domain.Call) ([]Event, error) {
	if !p.Exists() {
		return nil, patientNotFound()
	}
	judged := DosingJudged{Patient: p.ID, Visit: cmd.Visit, Planned: cmd.Planned, Taken: cmd.Taken, On: cmd.On}
	if p.Status != StatusRegisteredInError && p.Follows(s).Treatment().DosingLimits.Breached(cmd.Planned, cmd.Taken) {
		judged.Candidate = DeviationTreatment
	}
	if p.hasDecidedAbout(judged) {
		judged.Candidate = "" // the count has come back to what somebody has looked at
	}
	if judged.Candidate == "" && !p.Candidates.has(judged.candidate()) {
		return nil, nil
	}
	return []Event{judged}, nil
}

// judgedDoses are doses that were proposed as a deviation. decided says that somebody has answered the proposal.
type judgedDoses struct {
	candidate CandidateID
	planned   float64
	taken     int
	decided   bool
}

// dosesAfter returns what is remembered of judged doses after one more event: the last that were judged of each candidate, and all
// that somebody has decided about.
func (p Patient) dosesAfter(e Event) []judgedDoses {
	var answered CandidateID
	switch e := e.(type) {
	case DosingJudged:
		open := func(d judgedDoses) bool { return d.candidate == e.candidate() && !d.decided }
		return append(slices.DeleteFunc(slices.Clone(p.doses), open), judgedDoses{e.candidate(), e.Planned, e.Taken, false})
	case ProtocolDeviationRecorded:
		answered = e.Candidate
	case DeviationCandidateDismissed:
		answered = e.Candidate
	}
	if answered == "" || len(p.doses) == 0 {
		return p.doses
	}
	after := slices.Clone(p.doses)
	for i := range after {
		after[i].decided = after[i].decided || after[i].candidate == answered
	}
	return after
}

// hasDecidedAbout says whether somebody has answered the proposal of just these doses.
func (p Patient) hasDecidedAbout(e DosingJudged) bool {
	return slices.Contains(p.doses, judgedDoses{e.candidate(), e.Planned, e.Taken, true})
}
