package diary

import (
	"context"
	"fmt"
	"time"

	"casebook/commands"
	diarycommands "casebook/commands/diary"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/sagas"
)

// phased is what the process of phases knows of a patient: nothing.
type phased struct{}

// Phases is the process that assigns the instruments which the protocol asks for in a phase when the patient enters the phase, and
// stops them when the patient leaves it. Instruments follow the patient into another time zone. It compares what is assigned with
// what the phase asks for, so it does not matter which of several events it sees, nor how often. It works by the clock, so that it
// records nothing about patients of studies whose protocol assigns nothing.
var Phases = sagas.DefineByClock("diary-phases",
	sagas.Sends(diary.FollowPhase{}),
	followPhase,
	sagas.Begin[patient.Enrolled](sagas.ByPatient, again[phased, patient.Enrolled]),
	sagas.Begin[patient.RandomisationConfirmed](sagas.ByPatient, again[phased, patient.RandomisationConfirmed]),
	sagas.Begin[patient.TreatmentDiscontinued](sagas.ByPatient, again[phased, patient.TreatmentDiscontinued]),
	sagas.Begin[patient.ConsentWithdrawn](sagas.ByPatient, again[phased, patient.ConsentWithdrawn]),
	sagas.Begin[patient.StepUndone](sagas.ByPatient, again[phased, patient.StepUndone]),
	sagas.Begin[patient.ProtocolVersionApplied](sagas.ByPatient, again[phased, patient.ProtocolVersionApplied]),
	sagas.Begin[patient.ZoneChanged](sagas.ByPatient, again[phased, patient.ZoneChanged]),
).InGroup("diary-phases-2")

// followPhase has the patient's instruments follow the phase, and ends the turns until the next change.
func followPhase(ctx context.Context, d *sagas.Desk, of string, _ phased) (next time.Time, err error) {
	id := domain.PatientID(of)
	// Most studies assign nothing by phases, and their enrolments need no more than this.
	s, err := commands.ReadNewest(ctx, d.Reader(), study.Decider, string(id.Study()))
	if err != nil {
		return time.Time{}, fmt.Errorf("read the study: %w", err)
	}
	if !s.AssignsByPhase() {
		who, err := commands.ReadNewest(ctx, d.Reader(), patient.Decider, of)
		if err != nil || len(who.ZoneChanges()) == 0 {
			return time.Time{}, err
		}
	}
	follow := diary.FollowPhase{OfPatient: domain.ForPatient(id)}
	state, err := commands.ReadNewest(ctx, d.Reader(), diary.Decider, of)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the diary: %w", err)
	}
	plan, err := diarycommands.PlanOf(ctx, d.Reader(), follow)
	if err != nil {
		return time.Time{}, fmt.Errorf("read what the protocol asks for: %w", err)
	}
	if state.FollowsPhase(plan, domain.Call{At: d.Now()}) {
		return time.Time{}, nil
	}
	phase := plan.Patient.Phase()
	_, err = d.Send(ctx, follow, fmt.Sprintf("%s/phase/%s/%d", of, phase, state.Changes()), nil)
	return time.Time{}, err
}
