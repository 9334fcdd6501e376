package patient

import (
	"slices"

	"casebook/domain"
)

// Changed implements domain.Changing.
func (e VisitDateCorrected) Changed() []domain.ChangedValue {
	return domain.ChangedText("visits."+e.Visit, e.From, e.To)
}

// Changed implements domain.Changing.
func (e VisitVoided) Changed() []domain.ChangedValue {
	return domain.ChangedText("visits."+e.Visit, e.On, "")
}

// Changed implements domain.Changing.
func (e ConsentDateCorrected) Changed() []domain.ChangedValue {
	return domain.ChangedText("consents."+e.ConsentVersion, e.From, e.To)
}

// Changed implements domain.Changing.
func (e ConsentVoided) Changed() []domain.ChangedValue {
	return domain.ChangedText("consents."+e.ConsentVersion, e.On, "")
}

// Changed implements domain.Changing.
func (e EnrollmentDateCorrected) Changed() []domain.ChangedValue {
	return domain.ChangedText("enrolledOn", e.From, e.To)
}

// Changed implements domain.Changing.
func (e AgeCorrected) Changed() []domain.ChangedValue {
	return domain.ChangedNumber("ageYears", e.From, e.To)
}

// Changed implements domain.Changing.
func (e SexCorrected) Changed() []domain.ChangedValue { return domain.ChangedText("sex", e.From, e.To) }

// Changed implements domain.Changing.
func (e ZoneChanged) Changed() []domain.ChangedValue { return domain.ChangedText("zone", e.From, e.To) }

// Changed implements domain.Changing.
func (e Transferred) Changed() []domain.ChangedValue { return domain.ChangedText("site", e.From, e.To) }

// Changed implements domain.Changing.
func (e ProtocolVersionApplied) Changed() []domain.ChangedValue {
	return domain.ChangedNumber("protocolVersion", e.From, e.To)
}

// Changed implements domain.Changing.
func (e RegistrationVoided) Changed() []domain.ChangedValue {
	return domain.ChangedText("status", e.From, StatusRegisteredInError)
}

// Changed implements domain.Changing.
func (e StepUndone) Changed() []domain.ChangedValue {
	return slices.Concat(domain.ChangedText("status", e.From, e.Status), domain.ChangedText("treatment", e.FromTreatment, e.Treatment))
}

// Changed implements domain.Changing.
func (e DoseChanged) Changed() []domain.ChangedValue {
	switch e.FromStep {
	case 0: // recorded before events said so
		return nil
	case e.Step: // then it begins or ends the rescue medication
		return []domain.ChangedValue{{Field: "rescue", Old: !e.Rescue, New: e.Rescue}}
	}
	return domain.ChangedNumber("doseStep", e.FromStep, e.Step)
}
