// Package contexts lists what the program is made of: one line for each room in which a context has something. Nothing
// else in the program lists contexts. A context that is not listed fails a test of this package.
package contexts

import (
	"slices"

	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/projection"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/security"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"
)

// Streams are all kinds of streams that the log holds.
func Streams() []domain.StreamType {
	return slices.Concat(
		study.Streams,
		enrollment.Streams,
		patient.Streams,
		diary.Streams,
		user.Streams,
		security.Streams,
		randomisation.Streams,
		supply.Streams,
		safety.Streams,
		process.Streams,
		projection.Streams,
	)
}

// Registry returns the registry of all events.
func Registry() *eventlog.Registry { return eventlog.NewRegistry(Streams()...) }

// Commands are all commands that the program takes.
func Commands() []commands.Command {
	return slices.Concat(
		commands.StudyCommands,
		commands.EnrollmentCommands,
		commands.PatientCommands,
		commands.DiaryCommands,
		commands.SupplyCommands,
		commands.RandomisationCommands,
		commands.SafetyCommands,
		commands.ProcessCommands,
		commands.ProjectionCommands(viewNames()),
		commands.UserCommands,
		commands.SecurityCommands,
	)
}

// Projections are all projections that the program makes views with.
func Projections() []projections.Projection {
	return slices.Concat(
		projections.StudyProjections,
		projections.PatientProjections,
		projections.DiaryProjections,
		projections.ProcessProjections,
		projections.SafetyProjections,
		projections.SupplyProjections,
		projections.AuditProjections(Streams()),
		projections.EnrollmentProjections,
		projections.UserProjections,
	)
}

// Views are the views that the projections make.
func Views() []readmodels.View {
	var all []readmodels.View
	for _, p := range Projections() {
		all = append(all, p.View)
	}
	return all
}

func viewNames() (names []string) {
	for _, v := range Views() {
		names = append(names, v.Name)
	}
	return names
}
