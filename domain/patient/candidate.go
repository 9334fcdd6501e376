package patient

import (
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// CandidateID names what may be a deviation within a patient's record, by what it is about, such as visit/week-4. Something
// can be a candidate again after somebody has decided about it, when its day is corrected for example.
type CandidateID string

// Candidate is something that may be a protocol deviation. A person decides.
type Candidate struct {
	ID   CandidateID
	What DeviationKind
}

// Candidates are the candidates that nobody has decided about, the newest last.
type Candidates []Candidate

// ProposalOf returns which candidate an event is about, and what it would be as a deviation: "" for none, or none any more.
// The id is "" for an event that says nothing about candidates.
func ProposalOf(e Event) Candidate {
	switch e := e.(type) {
	case EnrollmentRequested:
		if len(e.Overridden) > 0 {
			return Candidate{ID: "eligibility/" + CandidateID(e.On), What: DeviationEligibility}
		}
	case VisitRecorded:
		return Candidate{ID: "visit/" + CandidateID(e.Visit), What: e.Candidate}
	case VisitSkipped:
		return Candidate{ID: "visit/" + CandidateID(e.Visit), What: e.Candidate}
	case VisitDateCorrected:
		return Candidate{ID: "visit/" + CandidateID(e.Visit), What: e.Candidate}
	case VisitVoided:
		return Candidate{ID: "visit/" + CandidateID(e.Visit)}
	case ConsentDateCorrected:
		return Candidate{ID: "consent/" + CandidateID(e.ConsentVersion), What: e.Candidate}
	case ConsentVoided:
		return Candidate{ID: "consent/" + CandidateID(e.ConsentVersion), What: e.Candidate}
	case DeviationCandidateJudgedAgain:
		return Candidate{ID: e.Candidate, What: e.What}
	case DosingJudged:
		return Candidate{ID: e.candidate(), What: e.Candidate}
	case EnrollmentDateCorrected:
		return Candidate{ID: "enrollment", What: e.Candidate}
	case AgeCorrected:
		return Candidate{ID: "age", What: e.Candidate}
	case SexCorrected:
		return Candidate{ID: "sex", What: e.Candidate}
	case ProtocolDeviationRecorded:
		return Candidate{ID: e.Candidate}
	case DeviationCandidateDismissed:
		return Candidate{ID: e.Candidate}
	}
	return Candidate{}
}

func (c Candidates) has(id CandidateID) bool {
	return slices.ContainsFunc(c, func(o Candidate) bool { return o.ID == id })
}

// dayOfCandidate returns the day that a candidate is about of a patient who was never enrolled; "" where it is about none.
func (p Patient) dayOfCandidate(id CandidateID) domain.Date {
	switch kind, of, _ := strings.Cut(string(id), "/"); kind {
	case "visit":
		return p.Visits[of]
	case "consent":
		if i := p.signature(of); i >= 0 {
			return p.Consents[i].On
		}
	case "eligibility":
		return domain.Date(of)
	}
	return ""
}

// After returns the candidates after one more event. Decisions and views both use it.
func (c Candidates) After(e Event) Candidates {
	if _, voided := e.(RegistrationVoided); voided {
		return nil
	}
	proposed := ProposalOf(e)
	at := slices.IndexFunc(c, func(o Candidate) bool { return o.ID == proposed.ID })
	if proposed.ID == "" || at < 0 && proposed.What == "" {
		return c
	}
	after := slices.Clone(c)
	if at >= 0 {
		after = slices.Delete(after, at, at+1)
	}
	if proposed.What != "" {
		after = append(after, proposed)
	}
	return after
}

// DismissDeviationCandidate records that a candidate is no deviation.
type DismissDeviationCandidate struct {
	domain.OfPatient
	Candidate       CandidateID `json:"candidate" minLength:"1" doc:"The candidate's id, as the patient's view has it"`
	domain.Reasoned `doc:"Why it is no deviation"`
}

// DeviationCandidateDismissed says that a candidate is no deviation.
type DeviationCandidateDismissed struct {
	Patient   domain.PatientID `json:"patient"`
	Candidate CandidateID      `json:"candidate"`
	Reason    personal.Text    `json:"reason"`
}

func (DeviationCandidateDismissed) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e DeviationCandidateDismissed) AboutPatient() domain.PatientID { return e.Patient }

// Dismiss decides about DismissDeviationCandidate. It refuses reason_required, value_too_long, patient_not_found and
// candidate_not_found.
func Dismiss(p Patient, cmd DismissDeviationCandidate, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	if !p.Exists() {
		return nil, patientNotFound()
	}
	if err := p.mustPropose(cmd.Candidate); err != nil {
		return nil, err
	}
	return []Event{DeviationCandidateDismissed{Patient: cmd.Patient, Candidate: cmd.Candidate, Reason: cmd.Reason}}, nil
}

// mustPropose refuses a candidate that waits for nobody.
func (p Patient) mustPropose(id CandidateID) error {
	if p.Candidates.has(id) {
		return nil
	}
	return refuse.WrongState("candidate_not_found", "nothing that is called %.80q waits for a decision", string(id)).At("candidate").
		Do("read the patient's candidates again; somebody may have decided, or the day was corrected")
}
