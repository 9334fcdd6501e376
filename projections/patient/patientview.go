package patient

import (
	"fmt"
	"strconv"
	"strings"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/projections"
	patientviews "casebook/readmodels/patient"
)

type view = patientviews.PatientDocument

// PatientView makes one document per patient, with all that is known of the patient.
var PatientView = projections.New(patientviews.PatientViews, projections.ByPatient,
	projections.On(func(v *view, e patient.Screened, at projections.Envelope) {
		v.Patient, v.Study, v.Site, v.ScreeningNumber, v.Zone = e.Patient, e.Study, e.Site, e.ScreeningNumber, e.Zone
		v.Sex, v.AgeYears, v.RescreeningOf = e.Sex, e.AgeYears, e.RescreeningOf
		step(v, e, at, e.On, "")
	}),
	projections.On(func(v *view, e patient.ConsentRecorded, at projections.Envelope) {
		step(v, e, at, e.On, e.ConsentVersion)
		v.Reconsent.Signed(e)
	}),
	projections.On(func(v *view, e patient.ProtocolVersionApplied, at projections.Envelope) {
		step(v, e, at, e.On, strconv.Itoa(e.From)+" -> "+strconv.Itoa(e.To))
		if v.ProtocolVersion = e.To; e.Reconsent != nil {
			asked := patientviews.Asked(*e.Reconsent)
			v.Reconsent = &asked
		}
	}),
	projections.On(func(v *view, e patient.ReconsentRefused, at projections.Envelope) {
		step(v, e, at, e.On, strings.TrimSuffix(e.ConsentVersion+": "+string(e.Reason), ": "))
		v.Reconsent.Refused(e)
	}),
	projections.On(func(v *view, e patient.ScreenFailureRecorded, at projections.Envelope) {
		step(v, e, at, e.On, string(e.Reason))
		v.EndedOn = e.On
	}),
	projections.On(func(v *view, e patient.EnrollmentRequested, at projections.Envelope) {
		step(v, e, at, e.On, "")
		v.ProtocolVersion = e.Protocol
		propose(v, e, at, e.On, strings.Join(e.Overridden, ", "))
	}),
	projections.On(func(v *view, e patient.Enrolled, at projections.Envelope) {
		v.PatientNumber, v.EnrolledOn, v.RandomisedOn = e.PatientNumber, e.On, e.RandomisedOn
		step(v, e, at, e.On, "")
	}),
	projections.On(func(v *view, e patient.RandomisationRequested, at projections.Envelope) { step(v, e, at, "", e.Stage) }),
	projections.On(func(v *view, e patient.RandomisationConfirmed, at projections.Envelope) {
		v.RandomisedOn, v.Stage = e.On, e.Stage
		step(v, e, at, e.On, e.Stage)
	}),
	projections.On(func(v *view, e patient.RandomisationNotPossible, at projections.Envelope) {
		step(v, e, at, "", string(e.Reason))
	}),
	projections.On(func(v *view, e patient.EnrollmentFailed, at projections.Envelope) {
		step(v, e, at, "", string(e.Reason))
	}),
	projections.On(func(v *view, e patient.VisitRecorded, at projections.Envelope) {
		v.Visited(patientviews.Visit{Visit: e.Visit, On: e.On})
		step(v, e, at, e.On, e.Visit)
		propose(v, e, at, e.On, e.Visit)
	}),
	projections.On(func(v *view, e patient.ConsentWithdrawn, at projections.Envelope) {
		step(v, e, at, e.On, string(e.Reason))
		v.Withdrawn = append(v.Withdrawn, e.Extent...)
		if e.EndsParticipation {
			v.EndedOn = e.On
		}
	}),
	projections.On(func(v *view, e patient.Discontinued, at projections.Envelope) {
		step(v, e, at, e.On, string(e.Reason))
		v.EndedOn = e.On
	}),
	projections.On(func(v *view, e patient.Completed, at projections.Envelope) {
		step(v, e, at, e.On, "")
		v.EndedOn = e.On
	}),
	projections.On(func(v *view, e patient.ParticipationEnded, at projections.Envelope) {
		step(v, e, at, e.On, string(e.Reason.With(e.Detail)))
		v.EndedOn = e.On
	}),
	projections.On(func(v *view, e patient.TreatmentDiscontinued, at projections.Envelope) {
		step(v, e, at, e.On, string(e.Reason.With(e.Detail)))
	}),
	projections.On(func(v *view, e patient.DoseHeld, at projections.Envelope) { step(v, e, at, e.On, string(e.Reason)) }),
	projections.On(func(v *view, e patient.DoseResumed, at projections.Envelope) { step(v, e, at, e.On, string(e.Reason)) }),
	projections.On(func(v *view, e patient.StepUndone, at projections.Envelope) {
		step(v, e, at, e.On, string(e.Step)+": "+string(e.Reason))
		v.EndedOn, v.TreatmentEndedOn, v.Withdrawn = e.EndedOn, e.TreatmentEndedOn, e.Withdrawn
	}),
	projections.On(func(v *view, e patient.Unblinded, at projections.Envelope) {
		step(v, e, at, domain.DateOf(e.At.UTC()), string(e.Kind))
		if known := e.At.UTC(); v.UnblindedAt == nil || v.UnblindedAt.Before(known) {
			v.Unblinded, v.UnblindedAt = e.Kind, &known
		}
	}),
	projections.On(func(v *view, e patient.Transferred, at projections.Envelope) {
		step(v, e, at, e.On, string(e.To)+": "+string(e.Reason))
		v.Site = e.To
	}),
	projections.On(func(v *view, e patient.EligibilityOverridden, at projections.Envelope) {
		step(v, e, at, "", strings.Join(e.Criteria, ", ")+": "+string(e.Reason))
	}),
	projections.On(func(v *view, e patient.ProtocolDeviationRecorded, at projections.Envelope) {
		step(v, e, at, e.FoundOn, string(e.What)+": "+string(e.Reason))
		propose(v, e, at, "", "")
		v.Deviate(patientviews.Deviation{What: e.What, Important: e.Important, FoundOn: e.FoundOn,
			Reason: string(e.Reason), By: at.Metadata.Actor,
			RecordedAt: at.Metadata.RecordedAt})
	}),
	projections.On(func(v *view, e patient.VisitDateCorrected, at projections.Envelope) {
		v.Visited(patientviews.Visit{Visit: e.Visit, On: e.To})
		corrected(v, e, at, e.Visit, string(e.From), string(e.To), string(e.Reason))
		propose(v, e, at, e.To, e.Visit)
	}),
	projections.On(func(v *view, e patient.VisitSkipped, at projections.Envelope) {
		v.Visited(patientviews.Visit{Visit: e.Visit, Skipped: true})
		step(v, e, at, "", e.Visit+": "+string(e.Reason))
		propose(v, e, at, "", e.Visit)
	}),
	projections.On(func(v *view, e patient.DoseChanged, at projections.Envelope) {
		step(v, e, at, e.On, string(e.Direction)+": "+string(e.Reason))
		v.DoseStep, v.Rescue = e.Step, e.Rescue
	}),
	projections.On(func(v *view, e patient.VisitVoided, at projections.Envelope) {
		v.VisitVoided(e.Visit)
		step(v, e, at, e.On, e.Visit+": "+string(e.Reason))
		propose(v, e, at, "", "")
	}),
	projections.On(func(v *view, e patient.DeviationCandidateDismissed, at projections.Envelope) {
		step(v, e, at, "", string(e.Candidate)+": "+string(e.Reason))
		propose(v, e, at, "", "")
	}),
	projections.On(func(v *view, e patient.RegistrationVoided, at projections.Envelope) {
		step(v, e, at, "", string(e.Reason))
		v.EndedOn, v.Candidates = e.ScreenedOn, nil
	}),
	projections.On(func(v *view, e patient.ConsentDateCorrected, at projections.Envelope) {
		corrected(v, e, at, e.ConsentVersion, string(e.From), string(e.To), string(e.Reason))
		propose(v, e, at, e.To, e.ConsentVersion)
	}),
	projections.On(func(v *view, e patient.ConsentVoided, at projections.Envelope) {
		step(v, e, at, e.On, e.ConsentVersion+": "+string(e.Reason))
		propose(v, e, at, e.On, e.ConsentVersion)
		v.Reconsent.Voided(e)
	}),
	projections.On(func(v *view, e patient.DeviationCandidateJudgedAgain, at projections.Envelope) {
		step(v, e, at, e.On, string(e.Candidate))
		propose(v, e, at, e.On, string(e.Candidate))
	}),
	projections.On(func(v *view, e patient.DosingJudged, at projections.Envelope) {
		note := string(patient.ProposalOf(e).ID) + ": to be counted anew"
		if e.Planned > 0 {
			note = fmt.Sprintf("%s: %d of %g doses", patient.ProposalOf(e).ID, e.Taken, e.Planned)
		}
		step(v, e, at, e.On, note)
		propose(v, e, at, e.On, note)
	}),
	projections.On(func(v *view, e patient.Rescreened, at projections.Envelope) { step(v, e, at, "", string(e.As)) }),
	projections.On(func(v *view, e patient.EnrollmentDateCorrected, at projections.Envelope) {
		corrected(v, e, at, "", string(e.From), string(e.To), string(e.Reason))
		propose(v, e, at, e.To, "")
		v.EnrolledOn = e.To
	}),
	projections.On(func(v *view, e patient.ScreeningDateCorrected, at projections.Envelope) {
		corrected(v, e, at, "", string(e.From), string(e.To), string(e.Reason))
	}),
	projections.On(func(v *view, e patient.EndDateCorrected, at projections.Envelope) {
		corrected(v, e, at, string(e.Step), string(e.From), string(e.To), string(e.Reason))
		v.EndedOn, v.TreatmentEndedOn = e.EndedOn, e.TreatmentEndedOn
	}),
	projections.On(func(v *view, e patient.AgeCorrected, at projections.Envelope) {
		corrected(v, e, at, "", strconv.Itoa(e.From), strconv.Itoa(e.To), string(e.Reason))
		v.AgeYears = e.To
		propose(v, e, at, "", strconv.Itoa(e.To))
	}),
	projections.On(func(v *view, e patient.ZoneChanged, at projections.Envelope) {
		step(v, e, at, e.On, e.From+" to "+e.To)
	}),
	projections.On(func(v *view, e patient.SexCorrected, at projections.Envelope) {
		corrected(v, e, at, "", string(e.From), string(e.To), string(e.Reason))
		v.Sex = e.To
		propose(v, e, at, "", string(e.To))
	}),

	projections.On(func(v *view, e diary.InstrumentAssigned, at projections.Envelope) {
		v.Assigned(e.Instrument.ID, patientviews.Assignment{Version: e.Instrument.Version, Title: e.Instrument.Title,
			Zone: e.Zone, From: e.From, Until: e.Until, Phase: e.Phase}, domain.DateOf(at.Metadata.RecordedAt.UTC()))
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	projections.On(func(v *view, e diary.InstrumentStopped, at projections.Envelope) {
		v.Stopped(e)
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	projections.On(func(v *view, e diary.LanguageSet, at projections.Envelope) {
		v.Language, v.UpdatedAt = e.Language, at.Metadata.RecordedAt
	}),
	projections.On(func(v *view, e diary.Voided, at projections.Envelope) {
		v.Void(e)
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	projections.On(func(v *view, _ diary.Held, at projections.Envelope) {
		v.Compliance.Held++
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	projections.On(func(v *view, e diary.Submitted, at projections.Envelope) {
		v.Decided(e.Instrument, patientviews.TrendPoint{Window: e.Window.ID, Opens: e.Window.Opens.UTC(), Late: e.Late, Mode: e.Mode,
			Score: firstScore(e.Scores)})
		v.Compliance.Answered(e)
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	projections.On(func(v *view, e diary.RiskFlagged, at projections.Envelope) {
		v.Flag(patientviews.Risk{Instrument: e.Instrument, Window: e.Window, Rule: e.Rule, Severity: e.Severity, Message: e.Message,
			RecordedAt: at.Metadata.RecordedAt})
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	projections.On(func(v *view, e diary.Corrected, at projections.Envelope) {
		if point := v.Point(e.Instrument, e.Window); point != nil {
			point.Score = firstScore(e.Scores)
		}
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
	projections.On(func(v *view, e diary.WindowMissed, at projections.Envelope) {
		v.Decided(e.Instrument, patientviews.TrendPoint{Window: e.Window.ID, Opens: e.Window.Opens.UTC(), Missed: true})
		v.Compliance.WasMissed()
		v.UpdatedAt = at.Metadata.RecordedAt
	}),
).OfPatient(patient.Decider.Stream, diary.Decider.Stream)

// step adds an event of the patient's stream to the history, and sets the status, the treatment and the phase after it.
func step(v *view, e patient.Event, at projections.Envelope, on domain.Date, note string) {
	before := v.Treatment
	v.Status, v.Treatment, v.UpdatedAt = v.Status.After(e), v.Treatment.After(e), at.Metadata.RecordedAt
	v.Extended = patient.Extended(v.Extended, e)
	v.Phase = patient.PhaseOf(v.Status, v.Treatment, v.Extended)
	v.Step(patientviews.Step{What: at.Type, On: on, Note: note, By: at.Metadata.Actor, RecordedAt: at.Metadata.RecordedAt,
		Status: v.Status, Treatment: v.Treatment, Phase: v.Phase})
	v.Reconsent.Ended(e)
	if v.Treatment == patient.TreatmentEnded && before != patient.TreatmentEnded {
		v.TreatmentEndedOn = on
	}
}

// corrected adds a correction to the history, with the old value and the new one.
func corrected(v *view, e patient.Event, at projections.Envelope, what, from, to, reason string) {
	if what != "" {
		what += ": "
	}
	step(v, e, at, "", what+from+" -> "+to+": "+reason)
}

// propose adds what may be a deviation, or removes what is none any more.
func propose(v *view, e patient.Event, at projections.Envelope, on domain.Date, note string) {
	if is := patient.ProposalOf(e); is.ID != "" {
		v.Propose(patientviews.Candidate{ID: is.ID, What: is.What, Step: at.Type, On: on, Note: note, RecordedAt: at.Metadata.RecordedAt})
	}
}

func firstScore(scores []diary.ScoreResult) *float64 {
	if len(scores) == 0 {
		return nil
	}
	return scores[0].Value
}
