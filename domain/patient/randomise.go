package patient

import (
	"maps"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// RequestRandomisation requests the draw of an enrolled patient, such as after a run-in, or of a treated patient for a later
// stage. The enrolment process then sends ConfirmRandomisation or FailRandomisation. The system dates the draw.
type RequestRandomisation struct {
	domain.OfPatient
	Stage   string            `json:"stage,omitempty" maxLength:"50" doc:"The stage of the protocol; the first draw where it is left out"`
	Factors map[string]string `json:"factors,omitempty" doc:"The patient's level of each factor of the randomisation, by the factor's id; for a later stage those that have changed"`
}

// ConfirmRandomisation is sent by the enrolment process when the patient has been drawn, and has a kit where there are kits.
type ConfirmRandomisation struct {
	domain.OfPatient
	Stage string `json:"stage,omitempty" doc:"The stage of the protocol"`
	// DrawnAt is when the draw was recorded.
	DrawnAt time.Time `json:"drawnAt" doc:"When the draw was recorded"`
}

// FailRandomisation is sent by the enrolment process when the patient cannot be drawn at present.
type FailRandomisation struct {
	domain.OfPatient
	Stage           string `json:"stage,omitempty" doc:"The stage of the protocol"`
	Attempt         int    `json:"attempt,omitempty" doc:"Which of the patient's requests it answers; the last one where it is left out"`
	Code            string `json:"code" doc:"Stable code of the reason"`
	domain.Reasoned `doc:"The reason as a sentence"`
}

// RandomisationRequested asks the enrolment process for the draw of an enrolled patient.
type RandomisationRequested struct {
	Patient domain.PatientID `json:"patient"`
	Study   domain.StudyID   `json:"study"`
	Site    domain.SiteID    `json:"site"`
	// Stage is the stage of the protocol; "" is the first draw.
	Stage string `json:"stage,omitempty"`
	// Attempt counts the patient's requests for a draw, from 1, with those of draws that go on after an undoing.
	Attempt  int `json:"attempt"`
	Protocol int `json:"protocol"`
	// Kits says that the patient gets a kit with the draw.
	Kits    bool              `json:"kits,omitempty"`
	Factors map[string]string `json:"factors,omitempty"`
}

// RandomisationConfirmed says that the patient was drawn. With the first draw, the treatment begins.
type RandomisationConfirmed struct {
	Patient domain.PatientID `json:"patient"`
	Stage   string           `json:"stage,omitempty"`
	// On is the day of the draw in the patient's time zone.
	On domain.Date `json:"on"`
	// OpenExtension says that the patient is in an open extension from then on. No event of version 1 says so.
	OpenExtension bool `json:"openExtension,omitempty"`
}

// RandomisationNotPossible says that the patient could not be drawn, such as for want of stock. The patient has not failed,
// and can be drawn later.
type RandomisationNotPossible struct {
	Patient domain.PatientID `json:"patient"`
	Stage   string           `json:"stage,omitempty"`
	Code    string           `json:"code"`
	Reason  personal.Text    `json:"reason"`
}

func (RandomisationRequested) patientEvent()   {}
func (RandomisationConfirmed) patientEvent()   {}
func (RandomisationNotPossible) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e RandomisationRequested) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e RandomisationConfirmed) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e RandomisationNotPossible) AboutPatient() domain.PatientID { return e.Patient }

// RequestDraw decides about RequestRandomisation. The first draw begins the treatment; a later one needs a treatment that is
// under way. A site that is closed to enrolment may have its enrolled patients drawn. It refuses patient_not_found,
// patient_ended, patient_status, study_not_found, study_not_randomised, stage_not_found, randomisation_requested,
// already_randomised, not_randomised, treatment_not_under_way, site_not_active, consent_missing, reconsent_required where the
// patient gets a kit with the draw, activity_paused, factor_not_derivable, factor_contradicts_record, unknown_factor_level and
// unknown_factor.
func RequestDraw(p Patient, s study.Study, cmd RequestRandomisation, _ domain.Call) ([]Event, error) {
	if err := p.mustBe("draw the patient", StatusEnrolled); err != nil {
		return nil, err
	}
	s = p.Follows(s)
	if err := mustDraw(s, p.Study, cmd.Stage); err != nil {
		return nil, err
	}
	switch {
	case p.Drawing:
		return nil, refuse.WrongState("randomisation_requested", "the draw of the patient has been requested already").At("patient").
			Do("wait for the answer")
	case slices.Contains(p.Stages, cmd.Stage):
		return nil, refuse.WrongState("already_randomised", "the patient has been drawn already").At("patient").
			Do("nothing is left to do: an assignment never changes")
	case cmd.Stage != "" && !slices.Contains(p.Stages, ""):
		return nil, refuse.WrongState("not_randomised", "the patient has not been drawn for the first time").At("stage").
			Do("request the first draw before")
	}
	status := TreatmentOn
	if cmd.Stage == "" {
		status = TreatmentNotStarted
	}
	if err := p.mustBeTreated("draw the patient", status); err != nil {
		return nil, err
	}
	if !s.SiteIsSupplied(p.Site) {
		return nil, refuse.WrongState("site_not_active", "site %s is not active", p.Site).At("patient").Do("activate the site first")
	}
	if len(p.Consents) == 0 {
		return nil, refuse.Because("consent_missing", "the only consent of the patient was recorded in error").At("patient").
			Do("record the signature first (ICH E6(R3) 2.8.1)")
	}
	if s.Gives("") && p.Blocked(study.BlocksDispensing) {
		return nil, refuse.WrongState("reconsent_required", "the patient gets a kit with the draw, and has not signed consent version %s, as "+
			"version %d of the protocol asks", p.Reconsent.ConsentVersion, p.Reconsent.Protocol).At("patient").
			Do("record the signature first (ICH E6(R3) 2.8.2)")
	}
	known := maps.Clone(cmd.Factors)
	if cmd.Stage != "" {
		known = p.knownLevels(s)
		maps.Copy(known, cmd.Factors)
	}
	factors, err := p.levels(s, known)
	if err != nil {
		return nil, err
	}
	if err := s.MustNotBePausedFor(p.Site, factors, study.ActivityRandomisation, "patient"); err != nil {
		return nil, err
	}
	return []Event{RandomisationRequested{Patient: p.ID, Study: p.Study, Site: p.Site, Stage: cmd.Stage, Attempt: p.Draws + 1,
		Protocol: s.Protocol.Version, Kits: s.Gives(""), Factors: factors}}, nil
}

// knownLevels returns the patient's levels of the factors that the protocol still has. Those that follow from the record are derived
// again.
func (p Patient) knownLevels(s study.Study) map[string]string {
	known := map[string]string{}
	for _, f := range s.Treatment().Factors {
		if level, has := p.Factors[f.ID]; has && f.DerivedFrom == "" {
			known[f.ID] = level
		}
	}
	return known
}

// mustDraw refuses a draw that the protocol does not have (codes study_not_found, study_not_randomised and stage_not_found).
func mustDraw(s study.Study, id domain.StudyID, stage string) error {
	if !s.Exists() {
		return refuse.NotFound("study_not_found", "there is no study %s", id).At("study").Do("check the id")
	}
	if !s.Treatment().Randomised {
		return refuse.WrongState("study_not_randomised", "the protocol of study %s does not randomise", id).At("patient").
			Do("nothing is left to do: there is no draw")
	}
	_, err := s.MustHaveStage(id, stage)
	return err
}

// ConfirmDraw records that a patient was drawn. If it is sent twice, it records nothing the second time. It refuses
// patient_not_found, patient_status, patient_ended and treatment_not_under_way.
func ConfirmDraw(p Patient, s study.Study, cmd ConfirmRandomisation, _ domain.Call) ([]Event, error) {
	if slices.Contains(p.Stages, cmd.Stage) {
		return nil, nil
	}
	if err := p.mustBe("confirm a draw", StatusEnrolled); err != nil {
		return nil, err
	}
	if err := p.mustBeTreated("confirm a draw", TreatmentNotStarted, TreatmentOn, TreatmentHeld); err != nil {
		return nil, err
	}
	return []Event{RandomisationConfirmed{Patient: p.ID, Stage: cmd.Stage, On: p.DayOf(cmd.DrawnAt),
		OpenExtension: p.Follows(s).IsOpenExtension(cmd.Stage)}}, nil
}

// FailDraw records that a patient cannot be drawn at present. It records nothing if no draw is requested, for example when it
// is sent twice or the treatment has ended in the meantime, or if it answers an earlier request. It refuses patient_not_found.
func FailDraw(p Patient, cmd FailRandomisation, _ domain.Call) ([]Event, error) {
	if !p.Exists() {
		return nil, patientNotFound()
	}
	if !p.Drawing || cmd.Attempt != 0 && cmd.Attempt != p.Draws {
		return nil, nil
	}
	return []Event{RandomisationNotPossible{Patient: cmd.Patient, Stage: cmd.Stage, Code: cmd.Code, Reason: cmd.Reason}}, nil
}
