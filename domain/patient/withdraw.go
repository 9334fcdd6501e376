package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// Extent is something that a patient may no longer consent to.
type Extent string

// What a patient can withdraw from. Each contains those before it, except the future use, which stands alone.
const (
	ExtentTreatment  Extent = "treatment"
	ExtentProcedures Extent = "procedures"
	ExtentContact    Extent = "contact"
	ExtentFutureUse  Extent = "future_use"
)

// Extents are everything that a patient can withdraw from.
var Extents = []Extent{ExtentTreatment, ExtentProcedures, ExtentContact, ExtentFutureUse}

// Schema implements domain.HasSchema.
func (Extent) Schema() domain.Schema {
	s := domain.OneOf(Extents...)
	s.Description = "treatment: no more study drug. procedures: no more visits and diaries, so that the participation ends. " +
		"contact: not even calls for follow-up. future_use: no use of data and samples beyond the study."
	return s
}

// WithdrawConsent records what a patient no longer consents to. It is possible as long as the study has the patient's
// data, also after the treatment or the participation has ended.
type WithdrawConsent struct {
	domain.OfPatient
	On     domain.Date   `json:"on" doc:"Day of withdrawal"`
	Reason personal.Text `json:"reason,omitempty" maxLength:"500" doc:"Patients need not give one"`
	// Extent is treatment, procedures and contact when it is not given, as the patient then leaves the study.
	Extent []Extent `json:"extent,omitempty" doc:"What the patient withdraws from; treatment, procedures and contact when not given"`
}

// GivenReason returns the reason. It may be empty, because patients need not give one.
func (c WithdrawConsent) GivenReason() personal.Text { return c.Reason }

// Withdraw decides about WithdrawConsent. A patient who withdraws from the procedures of the study leaves it, and so does a
// patient who withdraws from the treatment before it has started. Others stay, and are followed up. It refuses
// patient_not_found, malformed_date, captured_in_future, value_too_long, unknown_code, patient_ended for a record that is
// about nobody, consent_missing, withdrawn_before_consent, patient_died, consent_withdrawn, and ended_before_enrollment and
// ended_before_treatment for
// a patient who is in the study.
func Withdraw(p Patient, cmd WithdrawConsent, call domain.Call) ([]Event, error) {
	if !p.Exists() {
		return nil, patientNotFound()
	}
	if err := domain.First(cmd.On.NotAfterToday("on", call), domain.OptionalText("reason", cmd.Reason, 500)); err != nil {
		return nil, err
	}
	if p.Status == StatusRegisteredInError {
		return nil, p.mustNotHaveEnded()
	}
	if p.ConsentVersion == "" && p.EnrolledOn == "" { // a consent that is voided later leaves the patient in the study
		return nil, refuse.Because("consent_missing", "the patient has signed no consent that could be withdrawn").
			At("patient").Do("record a screen failure instead")
	}
	if err := cmd.On.NotBefore(p.FirstConsentOn, "withdrawn_before_consent", "on", "the withdrawal", "the consent"); err != nil {
		return nil, err
	}
	if p.Died {
		return nil, refuse.WrongState("patient_died", "the patient died on %s", p.EndedOn).At("patient").Do("nothing can be withdrawn any more")
	}
	extent, err := p.withdrawing(cmd.Extent)
	if err != nil {
		return nil, err
	}
	ends := !p.ended() && slices.Contains(extent, ExtentProcedures)
	stops := slices.Contains(extent, ExtentTreatment)
	switch {
	case ends: // who signs again is in the study still
		err = domain.First(p.mayLeaveOn(cmd.On, call),
			cmd.On.NotBefore(p.ConsentedOn, "withdrawn_before_consent", "on", "the withdrawal", "the last consent"))
	case stops && p.Treatment.underWay():
		err = p.mayEndOn(cmd.On, call)
	}
	if err != nil {
		return nil, err
	}
	return []Event{ConsentWithdrawn{Patient: cmd.Patient, On: cmd.On, Reason: cmd.Reason, Extent: extent, EndsParticipation: ends,
		EndsTreatment: stops}}, nil
}

// withdrawing returns what is withdrawn now and was not before, with everything that follows from it. It refuses unknown_code,
// value_missing and consent_withdrawn.
func (p Patient) withdrawing(asked []Extent) ([]Extent, error) {
	if asked != nil && len(asked) == 0 {
		return nil, refuse.Malformed("value_missing", "extent names nothing").At("extent").
			Do("name what is withdrawn; leave extent out for a withdrawal from treatment, procedures and contact")
	}
	if asked == nil {
		asked = []Extent{ExtentTreatment, ExtentProcedures, ExtentContact}
	}
	for _, e := range asked {
		if !slices.Contains(Extents, e) {
			return nil, refuse.Malformed("unknown_code", "%.40q is nothing that can be withdrawn from", string(e)).At("extent").
				Do("use treatment, procedures, contact or future_use")
		}
	}
	var all []Extent
	for _, e := range Extents {
		if !slices.Contains(p.Withdrawn, e) && p.follows(e, asked) {
			all = append(all, e)
		}
	}
	if len(all) == 0 {
		return nil, refuse.WrongState("consent_withdrawn", "the patient has withdrawn from all of this before").At("extent").
			Do("nothing is left to do")
	}
	return all, nil
}

// follows says whether an extent is withdrawn by what a patient asked for.
func (p Patient) follows(e Extent, asked []Extent) bool {
	switch e {
	case ExtentTreatment: // no treatment without procedures
		return slices.Contains(asked, ExtentTreatment) || p.follows(ExtentProcedures, asked)
	case ExtentProcedures: // no procedures without contact, and none before the treatment if there will be no treatment
		return slices.Contains(asked, ExtentProcedures) || slices.Contains(asked, ExtentContact) ||
			slices.Contains(asked, ExtentTreatment) && p.Treatment == TreatmentNotStarted && !p.ended()
	default:
		return slices.Contains(asked, e)
	}
}
