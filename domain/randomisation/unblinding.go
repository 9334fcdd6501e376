package randomisation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// BlindBroken records that somebody requested the patient's arm, or came to know it, and why. It does not hold the arm
// (ICH E6(R3) 2.11.3, 4.1.4).
type BlindBroken struct {
	Study   domain.StudyID   `json:"study"`
	Patient domain.PatientID `json:"patient"`
	Kind    study.Unblinding `json:"kind"`
	Reason  personal.Text    `json:"reason"`
	// AskedBy is who asked, if the requester did it for somebody else, such as a caller at night.
	AskedBy personal.Text `json:"askedBy,omitempty"`
	// Kit is the number by which the patient was found, if the caller knew no other.
	Kit supply.KitNumber `json:"kit,omitempty"`
	// KnownTo are the accounts of those who know the arm by this unblinding; unknown, and so empty, in events of versions 1 and 2.
	KnownTo []domain.UserID `json:"knownTo,omitempty"`
	// Envelope is nil unless the arm was read from a sealed envelope, without the server.
	Envelope *OpenedEnvelope `json:"envelope,omitempty"`
}

// OpenedEnvelope is a code break envelope that somebody has opened.
type OpenedEnvelope struct {
	OpenedAt time.Time `json:"openedAt"`
	// OpenedBy is who has opened it. The person may have no account.
	OpenedBy personal.Text `json:"openedBy"`
	// Fingerprint is that of the envelope, as it was printed when it was opened.
	Fingerprint string `json:"fingerprint"`
}

// inEmergency is the upcast of BlindBroken from version 2, before which every unblinding was an emergency.
func inEmergency(old map[string]any) (map[string]any, error) {
	old["kind"] = string(study.UnblindedInEmergency)
	return old, nil
}

// BlindShownAgain records that the arm was shown again to the person who had requested it shortly before.
type BlindShownAgain struct {
	Study   domain.StudyID   `json:"study"`
	Patient domain.PatientID `json:"patient"`
}

// CodeBreaksExported records that the arms of patients are written into sealed envelopes. It comes before they are written.
type CodeBreaksExported struct {
	Study domain.StudyID `json:"study"`
	// Patients are those whose envelopes are written; empty if the envelopes of all patients are.
	Patients []domain.PatientID `json:"patients,omitempty"`
	// Recipients are the public keys of those who can open them.
	Recipients []string `json:"recipients"`
}

func (BlindBroken) randomisationEvent()        {}
func (BlindShownAgain) randomisationEvent()    {}
func (CodeBreaksExported) randomisationEvent() {}

// AboutPatient returns the patient that the event is about.
func (e BlindBroken) AboutPatient() domain.PatientID { return e.Patient }

// ReasonRevealsArm implements domain.ArmRevealing. Who reports an accident may tell what was seen, and the reason of a safety
// report may tell which reaction was suspected.
func (e BlindBroken) ReasonRevealsArm() bool {
	return e.Kind == study.UnblindedByAccident || e.Kind == study.UnblindedForSafetyReport
}

// KeptFromSite implements domain.KeptFromSite: those who treat the patient stay blinded when a reaction is reported (ICH E2A, III.D).
func (e BlindBroken) KeptFromSite() bool { return e.Kind == study.UnblindedForSafetyReport }

// About implements domain.Described.
func (e BlindBroken) About() string {
	if e.Envelope != nil {
		return string(e.Kind) + ", from a sealed envelope"
	}
	return string(e.Kind)
}

// About implements domain.Described.
func (e CodeBreaksExported) About() string {
	if len(e.Patients) == 0 {
		return fmt.Sprintf("all patients, for %d keys", len(e.Recipients))
	}
	return fmt.Sprintf("%d patients, for %d keys", len(e.Patients), len(e.Recipients))
}

// BreakBlind records that a patient's arm will be shown to the sender, or that somebody came to know it by accident. The
// patient is named by the id or by the number of a kit.
type BreakBlind struct {
	Study           domain.StudyID   `json:"study,omitempty" doc:"The patient's study; it follows from the patient, and is needed with a kit"`
	Patient         domain.PatientID `json:"patient,omitempty" doc:"The patient; left out where a kit is given"`
	Kit             supply.KitNumber `json:"kit,omitempty" doc:"A kit of the patient, where nobody knows the patient's number"`
	Kind            study.Unblinding `json:"kind,omitempty" doc:"Why the blind is broken; emergency where it is left out. A safety report is for the safety role alone, an accident is reported and shows nothing, and a planned unblinding comes after the participation and the enrolment have ended"`
	domain.Reasoned `doc:"Why the arm has to be known, or what happened"`
	// AskedBy may be somebody without an account, such as a physician of an emergency department.
	AskedBy personal.Text   `json:"askedBy,omitempty" maxLength:"200" doc:"Who asked, and how to reach them, if it is done for somebody else, such as a caller"`
	KnownTo []domain.UserID `json:"knownTo,omitempty" maxItems:"50" doc:"Of an accident: the accounts of those who know the arm now"`
	// Again says that the same request was accepted shortly before. The command's declaration sets it.
	Again bool `json:"-"`
}

// AboutStudy returns the patient's study.
func (c BreakBlind) AboutStudy() domain.StudyID {
	if c.Patient != "" {
		return c.Patient.Study()
	}
	return c.Study
}

// AboutPatient returns the patient; "" while only a kit is known.
func (c BreakBlind) AboutPatient() domain.PatientID { return c.Patient }

// KindGiven returns the kind of the unblinding: an emergency unless the sender says otherwise.
func (c BreakBlind) KindGiven() study.Unblinding {
	if c.Kind == "" {
		return study.UnblindedInEmergency
	}
	return c.Kind
}

// RecordCodeBreakOpened records afterwards that somebody has opened a sealed envelope while the server could not be reached.
// It shows nothing.
type RecordCodeBreakOpened struct {
	domain.OfPatient
	domain.Reasoned `doc:"Why the arm had to be known"`
	OpenedAt        time.Time       `json:"openedAt" doc:"When the envelope was opened"`
	OpenedBy        personal.Text   `json:"openedBy" minLength:"1" maxLength:"200" doc:"Who has opened it"`
	AskedBy         personal.Text   `json:"askedBy,omitempty" maxLength:"200" doc:"Who asked, and how to reach them, if it was done for somebody else"`
	KnownTo         []domain.UserID `json:"knownTo,omitempty" maxItems:"50" doc:"The accounts of those who know the arm now"`
	Fingerprint     string          `json:"fingerprint" minLength:"64" maxLength:"64" doc:"The fingerprint that was printed with the envelope's content"`
}

// AboutStudy returns the patient's study.
func (c RecordCodeBreakOpened) AboutStudy() domain.StudyID { return c.Patient.Study() }

// RecordCodeBreaksExported records that arms are written into sealed envelopes. The product itself sends it, before it writes them.
type RecordCodeBreaksExported struct {
	domain.InStudy
	Patients   []domain.PatientID `json:"patients,omitempty"`
	Recipients []string           `json:"recipients"`
}

// UnblindingFacts are the facts of Break. Only a planned unblinding needs them: an emergency depends on no other record.
type UnblindingFacts struct {
	// EnrollmentOpen says whether patients may still be enrolled, TakesPart names a drawn patient who has not left the study; "" if all
	// have.
	EnrollmentOpen bool
	TakesPart      domain.PatientID
}

// maxKnownTo bounds how many accounts one unblinding names.
const maxKnownTo = 50

// Break decides about BreakBlind. It records every request, also for the same patient. When the same request is repeated, it
// records that the arm is shown again. It refuses reason_required, value_too_long, unknown_code, malformed_id for a patient of
// another study or of an account, patient_not_randomised, and for a planned unblinding enrollment_open and participation_not_ended.
func Break(r Randomisation, f UnblindingFacts, cmd BreakBlind, call domain.Call) ([]Event, error) {
	err := domain.First(domain.Reason(cmd.Reason), domain.OptionalText("askedBy", cmd.AskedBy, 200), knownTo(cmd.KnownTo))
	if err != nil {
		return nil, err
	}
	of, kind := cmd.AboutStudy(), cmd.KindGiven()
	if cmd.Study != "" && cmd.Study != of {
		return nil, refuse.Malformed("malformed_id", "patient %s is not of study %s", cmd.Patient, cmd.Study).At("study").
			Do("leave the study out, or check the patient's id")
	}
	if !slices.Contains(study.Unblindings, kind) {
		return nil, refuse.Malformed("unknown_code", "%.40q is no kind of unblinding", kind).At("kind").
			Do("use emergency, safety_report, accidental or planned")
	}
	if _, err := r.mustBeDrawn(of, cmd.Patient); err != nil {
		return nil, err
	}
	if kind == study.UnblindedAsPlanned {
		if err := f.mustHaveEnded(of); err != nil {
			return nil, err
		}
	}
	known := []domain.UserID{call.Actor}
	if kind == study.UnblindedByAccident {
		if known = cmd.KnownTo; cmd.Again { // nothing is shown, so nothing is shown again
			return nil, nil
		}
	}
	if cmd.Again {
		return []Event{BlindShownAgain{Study: of, Patient: cmd.Patient}}, nil
	}
	return []Event{BlindBroken{Study: of, Patient: cmd.Patient, Kind: kind, Reason: cmd.Reason, AskedBy: cmd.AskedBy, Kit: cmd.Kit,
		KnownTo: known}}, nil
}

// mustHaveEnded refuses enrollment_open and participation_not_ended.
func (f UnblindingFacts) mustHaveEnded(of domain.StudyID) error {
	switch {
	case f.EnrollmentOpen:
		return refuse.WrongState("enrollment_open", "patients of study %s are still enrolled; arms are shown as planned after that", of).
			At("kind").Do("close the enrolment first; if the arm is needed now, name the kind that it is needed for")
	case f.TakesPart != "":
		return refuse.WrongState("participation_not_ended", "patients of study %s still take part; arms are shown as planned after that", of).
			At("kind").Do("record the end of every participation first; if the arm is needed now, name the kind that it is needed for")
	}
	return nil
}

func knownTo(users []domain.UserID) error {
	if len(users) > maxKnownTo {
		return refuse.Malformed("value_too_long", "%d accounts are too many", len(users)).At("knownTo").
			Do(fmt.Sprintf("name at most %d", maxKnownTo))
	}
	for _, u := range users {
		if err := domain.At("knownTo", u.Validate()); err != nil {
			return err
		}
	}
	return nil
}

// clockTolerance is how far the clock of the machine on which an envelope was opened may be ahead of the server's.
const clockTolerance = 5 * time.Minute

// OpeningFacts are the facts of RecordOpened: the day of the patient's first draw, "" where it is not recorded, and that of the opening,
// both where the patient lives.
type OpeningFacts struct{ DrawnOn, OpenedOn domain.Date }

// RecordOpened decides about RecordCodeBreakOpened. It refuses reason_required, value_missing, value_too_long, malformed_fingerprint,
// malformed_id, captured_in_future, opened_before_draw and patient_not_randomised.
func RecordOpened(r Randomisation, f OpeningFacts, cmd RecordCodeBreakOpened, call domain.Call) ([]Event, error) {
	err := domain.First(domain.Reason(cmd.Reason), domain.Text("openedBy", cmd.OpenedBy, 200), domain.Text("fingerprint", cmd.Fingerprint, 64),
		domain.OptionalText("askedBy", cmd.AskedBy, 200), knownTo(cmd.KnownTo))
	if err != nil {
		return nil, err
	}
	if printed, err := hex.DecodeString(cmd.Fingerprint); err != nil || len(printed) != sha256.Size {
		return nil, refuse.Malformed("malformed_fingerprint", "the fingerprint is not 64 hexadecimal digits").At("fingerprint").
			Do("copy it from what was printed with the content of the envelope")
	}
	if cmd.OpenedAt.IsZero() {
		return nil, refuse.Malformed("value_missing", "the command does not say when the envelope was opened").At("openedAt").
			Do("give the time")
	}
	if cmd.OpenedAt.After(call.At.Add(clockTolerance)) {
		return nil, refuse.Because("captured_in_future", "openedAt lies in the future").At("openedAt").Do("check the time")
	}
	if _, err := r.mustBeDrawn(cmd.AboutStudy(), cmd.Patient); err != nil {
		return nil, err
	}
	if err := f.OpenedOn.NotBefore(f.DrawnOn, "opened_before_draw", "openedAt", "the opening", "the draw"); err != nil {
		return nil, err
	}
	return []Event{BlindBroken{Study: cmd.AboutStudy(), Patient: cmd.Patient, Kind: study.UnblindedInEmergency, Reason: cmd.Reason,
		AskedBy: cmd.AskedBy, KnownTo: cmd.KnownTo,
		Envelope: &OpenedEnvelope{OpenedAt: cmd.OpenedAt.UTC(), OpenedBy: cmd.OpenedBy, Fingerprint: cmd.Fingerprint}}}, nil
}

// RecordExport decides about RecordCodeBreaksExported. It refuses value_missing without recipients.
func RecordExport(_ Randomisation, cmd RecordCodeBreaksExported, _ domain.Call) ([]Event, error) {
	if len(cmd.Recipients) == 0 {
		return nil, refuse.Malformed("value_missing", "no key can open the envelopes").At("recipients").Do("name a key")
	}
	return []Event{CodeBreaksExported{Study: cmd.Study, Patients: cmd.Patients, Recipients: cmd.Recipients}}, nil
}
