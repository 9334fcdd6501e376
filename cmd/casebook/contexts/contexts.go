// Package contexts lists what the program is made of: one line for each room in which a context has something. Nothing
// else in the program lists contexts. A context that is not listed fails a test of this package.
package contexts

import (
	"slices"

	"casebook/commands"
	buildcommands "casebook/commands/build"
	casebookcommands "casebook/commands/casebook"
	diarycommands "casebook/commands/diary"
	enrollmentcommands "casebook/commands/enrollment"
	identitycommands "casebook/commands/identity"
	instrumentcommands "casebook/commands/instrument"
	patientcommands "casebook/commands/patient"
	processcommands "casebook/commands/process"
	projectioncommands "casebook/commands/projection"
	randomisationcommands "casebook/commands/randomisation"
	recordcommands "casebook/commands/record"
	safetycommands "casebook/commands/safety"
	securitycommands "casebook/commands/security"
	studycommands "casebook/commands/study"
	supplycommands "casebook/commands/supply"
	usercommands "casebook/commands/user"
	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/casebook"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/identity"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/projection"
	"casebook/domain/randomisation"
	"casebook/domain/record"
	"casebook/domain/safety"
	"casebook/domain/security"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/notify"
	"casebook/projections"
	auditprojections "casebook/projections/audit"
	buildprojections "casebook/projections/build"
	casebookprojections "casebook/projections/casebook"
	diaryprojections "casebook/projections/diary"
	enrollmentprojections "casebook/projections/enrollment"
	patientprojections "casebook/projections/patient"
	processprojections "casebook/projections/process"
	randomisationprojections "casebook/projections/randomisation"
	safetyprojections "casebook/projections/safety"
	studyprojections "casebook/projections/study"
	supplyprojections "casebook/projections/supply"
	userprojections "casebook/projections/user"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"
	buildviews "casebook/readmodels/build"
	casebookviews "casebook/readmodels/casebook"
	diaryviews "casebook/readmodels/diary"
	enrollmentviews "casebook/readmodels/enrollment"
	patientviews "casebook/readmodels/patient"
	processviews "casebook/readmodels/process"
	projectionviews "casebook/readmodels/projection"
	randomisationviews "casebook/readmodels/randomisation"
	safetyviews "casebook/readmodels/safety"
	studyviews "casebook/readmodels/study"
	supplyviews "casebook/readmodels/supply"
	userviews "casebook/readmodels/user"
	"casebook/sagas"
	diaryprocesses "casebook/sagas/diary"
	enrollmentprocesses "casebook/sagas/enrollment"
	identityprocesses "casebook/sagas/identity"
	instrumentprocesses "casebook/sagas/instrument"
	patientprocesses "casebook/sagas/patient"
	safetyprocesses "casebook/sagas/safety"
	supplyprocesses "casebook/sagas/supply"
	userprocesses "casebook/sagas/user"
)

// Streams are all kinds of streams that the log holds.
func Streams() []domain.StreamType {
	return slices.Concat(
		study.Streams,
		build.Streams,
		instrument.Streams,
		enrollment.Streams,
		patient.Streams,
		diary.Streams,
		casebook.Streams,
		identity.Streams,
		user.Streams,
		security.Streams,
		randomisation.Streams,
		supply.Streams,
		safety.Streams,
		process.Streams,
		projection.Streams,
		record.Streams,
	)
}

// Registry returns the registry of all events.
func Registry() *eventlog.Registry { return eventlog.NewRegistry(Streams()...) }

// Commands are all commands that the program takes.
func Commands() []commands.Command {
	return slices.Concat(
		studycommands.Commands,
		buildcommands.Commands,
		instrumentcommands.Commands,
		enrollmentcommands.Commands,
		patientcommands.Commands,
		diarycommands.Commands,
		casebookcommands.Commands,
		identitycommands.Commands,
		identitycommands.CommandsOfPush,
		supplycommands.Commands,
		randomisationcommands.Commands,
		safetycommands.Commands,
		processcommands.Commands,
		projectioncommands.Commands(viewNames()),
		usercommands.Commands,
		securitycommands.Commands,
		recordcommands.Commands,
	)
}

// Processes are all processes that the program runs. Messages about alerts, reminders and accounts go to the channels.
func Processes(channels ...notify.Channel) []sagas.Process {
	return slices.Concat(
		enrollmentprocesses.Processes,
		instrumentprocesses.Processes,
		patientprocesses.Processes,
		supplyprocesses.Processes,
		diaryprocesses.Processes,
		safetyprocesses.Processes(channels),
		userprocesses.Processes(channels),
	)
}

// Reminders are the processes that remind patients. They are apart from the others, because they open personal data.
func Reminders(by identityprocesses.Senders) []sagas.Process { return identityprocesses.Processes(by) }

// Projections are all projections that the program makes views with.
func Projections() []projections.Projection {
	return slices.Concat(
		studyprojections.Projections,
		buildprojections.Projections,
		patientprojections.Projections,
		diaryprojections.Projections,
		casebookprojections.Projections,
		processprojections.Projections,
		safetyprojections.Projections,
		supplyprojections.Projections,
		auditprojections.Projections(Streams(), ofPatients()),
		enrollmentprojections.Projections,
		randomisationprojections.Projections,
		userprojections.Projections,
	)
}

// Queries are all queries that the program answers.
func Queries() []readmodels.Query {
	return slices.Concat(
		userviews.Queries,
		studyviews.Queries,
		buildviews.Queries,
		enrollmentviews.Queries,
		patientviews.Queries,
		diaryviews.Queries,
		casebookviews.Queries,
		processviews.Queries,
		safetyviews.Queries,
		supplyviews.Queries,
		randomisationviews.Queries,
		auditviews.Queries(eventNames()),
		projectionviews.Queries,
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

// ofPatients names the processes whose instances are named after patients.
func ofPatients() (names []string) {
	for _, p := range Processes() {
		if p.IsOfPatients() {
			names = append(names, p.Name)
		}
	}
	return names
}

func eventNames() (names []string) {
	for _, stream := range Streams() {
		for _, event := range stream.Events {
			names = append(names, event.Name)
		}
	}
	return names
}

func viewNames() (names []string) {
	for _, v := range Views() {
		names = append(names, v.Name)
	}
	return names
}
