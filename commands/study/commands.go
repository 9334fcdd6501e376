// Package study declares the commands of the context study: which decision, which facts, which roles.
package study

import (
	"context"

	"casebook/access"
	"casebook/commands"
	instrumentcommands "casebook/commands/instrument"
	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/instrument"
	"casebook/domain/study"
)

// Commands are the commands that build a study.
var Commands = []commands.Command{
	commands.Handle(study.Decider, study.Create).
		AllowedTo(access.DataManagers).
		Described("Create a study",
			study.CreateStudy{InStudy: domain.ForStudy("PAIN1"), Title: "Pain relief by daily walking",
				Sponsor: "University of Example", Phase: "II"}),
	commands.HandleWithFacts(study.Decider, publishedInstruments, study.Publish).
		AllowedTo(access.DataManagers).
		Described("Publish the first protocol version, or an amendment, which then reaches sites and patients one by one",
			study.PublishProtocolVersion{InStudy: domain.ForStudy("PAIN1"), Protocol: study.Protocol{
				Version: 1, ConsentVersion: "1.0", Arms: []study.Arm{{ID: "walk", Title: "Daily walking"}, {ID: "usual", Title: "Care as usual"}},
				Visits: []study.Visit{{ID: "baseline", Title: "Baseline", Day: 0}}, Instruments: []instrument.Definition{instrumentcommands.Example}}}),
	commands.Handle(study.Decider, study.Add).
		Scoped(commands.WholeStudy).
		AllowedTo(access.DataManagers).
		Described("Add a site to a study",
			study.AddSite{AtSite: domain.ForSite("PAIN1", "DE-01"), Name: "City Hospital", Country: "DE", Zone: "Europe/Berlin"}),
	commands.Handle(study.Decider, study.Activate).
		Scoped(commands.WholeStudy).
		AllowedTo(access.DataManagers).
		Described("Activate a site, so that it may screen and enrol patients",
			study.ActivateSite{AtSite: domain.ForSite("PAIN1", "DE-01"), On: "2026-01-15"}),
	commands.Handle(study.Decider, study.ApproveAtSite).
		Scoped(commands.WholeStudy).
		AllowedTo(access.DataManagers).
		Described("Record that an ethics committee has approved a version of the protocol for a site",
			study.ApproveProtocolAtSite{AtSite: domain.ForSite("PAIN1", "DE-01"), Version: 1, ApprovedOn: "2026-01-10",
				By: "Ethics committee of the Charite", Reference: "EA1/042/26"}),
	commands.Handle(study.Decider, study.WithdrawApproval).
		Scoped(commands.WholeStudy).
		AllowedTo(access.DataManagers).
		Described("Take the approval of a protocol version for a site back; patients who follow it stay on it",
			study.WithdrawSiteApproval{AtSite: domain.ForSite("PAIN1", "DE-01"), Version: 1,
				Reasoned: domain.Because("Recorded for the wrong site")}),
	commands.Handle(study.Decider, study.Close).
		Scoped(commands.WholeStudy).
		AllowedTo(access.StudyManagers, access.DataManagers).
		Described("Close a site: end its screening and enrolment",
			study.CloseSite{AtSite: domain.ForSite("PAIN1", "DE-01"), On: "2026-11-30", Reasoned: domain.Because("The site's contract ends")}),
	commands.Handle(study.Decider, study.Reopen).
		Scoped(commands.WholeStudy).
		AllowedTo(access.StudyManagers, access.DataManagers).
		Described("Let a closed site screen and enrol again",
			study.ReopenSite{AtSite: domain.ForSite("PAIN1", "DE-01"), On: "2026-12-01", Reasoned: domain.Because("A new contract")}),
	commands.Handle(study.Decider, study.Pause).
		Scoped(commands.WholeStudy).
		AllowedTo(access.StudyManagers, access.DataManagers, access.SafetyOfficers).
		Described("Stop screening, randomisation, dispensing or shipping at a site for a time",
			study.PauseSite{AtSite: domain.ForSite("PAIN1", "DE-01"), Activities: []study.Activity{study.ActivityScreening},
				Reasoned: domain.Because("The investigator is on leave")}),
	commands.Handle(study.Decider, study.Resume).
		Scoped(commands.WholeStudy).
		AllowedTo(access.StudyManagers, access.DataManagers, access.SafetyOfficers).
		Described("Let a site go on with what was paused",
			study.ResumeSite{AtSite: domain.ForSite("PAIN1", "DE-01"), Activities: []study.Activity{study.ActivityScreening},
				Reasoned: domain.Because("The investigator is back")}),
	commands.Handle(study.Decider, study.Suspend).
		AllowedTo(access.StudyManagers, access.DataManagers, access.SafetyOfficers).
		Described("Stop screening, randomisation, dispensing or shipping at all sites, or at those of a country",
			study.SuspendStudy{InStudy: domain.ForStudy("PAIN1"), Activities: []study.Activity{study.ActivityRandomisation,
				study.ActivityDispensing},
				Reasoned: domain.Because("A SUSAR is being assessed")}),
	commands.Handle(study.Decider, study.GoOn).
		AllowedTo(access.StudyManagers, access.DataManagers, access.SafetyOfficers).
		Described("Let the sites of a study, or of a country, go on with what was suspended",
			study.ResumeStudy{InStudy: domain.ForStudy("PAIN1"), Activities: []study.Activity{study.ActivityRandomisation, study.ActivityDispensing},
				Reasoned: domain.Because("The board recommends to go on")}),
	commands.HandleWithFacts(study.Decider, ofBuild, study.Publishing).
		AllowedTo(access.DataManagers).
		Reauthenticated().
		Described("Publish a sealed build, so that it can be released to sites; asks for a fresh sign-in",
			study.PublishBuild{InStudy: domain.ForStudy("PAIN1"), Build: 1, Protocol: 1,
				SHA256: "4f6b1c5d0a8e7f3b2c9d4e5f60718293a4b5c6d7e8f9012a3b4c5d6e7f8091a2"}),
	commands.Handle(study.Decider, study.Release).
		Scoped(commands.WholeStudy).
		AllowedTo(access.DataManagers).
		Described("Release a published build to a site whose approval of the protocol is recorded",
			study.ReleaseBuild{AtSite: domain.ForSite("PAIN1", "DE-01"), Build: 1}),
	commands.Handle(study.Decider, study.SetSecondFactor).
		AllowedTo(access.DataManagers).
		Reauthenticated().
		Described("Ask for a second factor at signing and unblinding, or stop asking; asks for a fresh sign-in",
			study.RequireSecondFactor{InStudy: domain.ForStudy("PAIN1"), Required: true, Reasoned: domain.Because("The protocol asks for it")}),
}

// ofBuild is the build that is to be published. Once it is sealed it never changes.
func ofBuild(ctx context.Context, reader commands.Reader, c study.PublishBuild) (build.Build, error) {
	return commands.ReadNewest(ctx, reader, build.Decider, build.StreamID(c.Study, c.Build))
}

// publishedInstruments are the published versions of the instruments that a protocol names.
func publishedInstruments(ctx context.Context, reader commands.Reader, c study.PublishProtocolVersion) (study.PublishedInstruments, error) {
	published := study.PublishedInstruments{}
	for _, id := range c.Protocol.NamedInstruments() {
		versions, err := commands.ReadNewest(ctx, reader, instrument.Decider, instrument.StreamID(c.Study, id))
		if err != nil {
			return nil, err
		}
		published[id] = versions
	}
	return published, nil
}
