package study

import (
	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/study"
)

// Commands are the commands that build a study.
var Commands = []commands.Command{
	commands.Handle(study.Decider, study.Create).
		AllowedTo(access.DataManagers).
		Described("Begin a study",
			study.CreateStudy{InStudy: domain.ForStudy("PAIN1"), Title: "Pain relief by daily walking",
				Sponsor: "University of Example", Phase: "II"}),
	commands.Handle(study.Decider, study.Publish).
		AllowedTo(access.DataManagers).
		Described("Put the first protocol version, or an amendment, in force",
			study.PublishProtocolVersion{InStudy: domain.ForStudy("PAIN1"), Protocol: study.Protocol{
				Version: 1, ConsentVersion: "1.0", Arms: []study.Arm{{ID: "walk", Title: "Daily walking"}, {ID: "usual", Title: "Care as usual"}},
				Visits: []study.Visit{{ID: "baseline", Title: "Baseline", Day: 0}}, Instruments: []instrument.Definition{exampleInstrument}}}),
	commands.Handle(study.Decider, study.Add).
		AllowedTo(access.DataManagers).
		Described("Let a site take part",
			study.AddSite{InStudy: domain.ForStudy("PAIN1"), Site: "DE-01", Name: "City Hospital", Country: "DE", Zone: "Europe/Berlin"}),
	commands.Handle(study.Decider, study.Activate).
		AllowedTo(access.DataManagers).
		Described("Let a site screen and enrol",
			study.ActivateSite{InStudy: domain.ForStudy("PAIN1"), Site: "DE-01", On: "2026-01-15"}),
	commands.Handle(study.Decider, study.Close).
		In(commands.WholeStudy).
		AllowedTo(access.DataManagers).
		Described("End a site's screening and enrolment",
			study.CloseSite{AtSite: domain.ForSite("PAIN1", "DE-01"), On: "2026-11-30", Reasoned: domain.Because("The site's contract ends")}),
}

// exampleInstrument is an instrument that patients answer every evening.
var exampleInstrument = instrument.Definition{ID: "pain-short", Version: 1, Title: "Pain today", Source: "Own wording",
	Items: []instrument.Item{{ID: "worst", Text: "How strong was your pain today at its worst?", Type: instrument.Integer,
		Min: new(0.0), Max: new(10.0), Required: true}},
	Schedule: instrument.Schedule{EveryDays: 1, Windows: []instrument.DayWindow{{ID: "evening", Opens: "18:00", Closes: "00:00"}},
		Late: instrument.LatePolicy{AcceptHours: 12, SyncHours: 36}}}
