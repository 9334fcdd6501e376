package study

import (
	"slices"

	"casebook/domain/study"
	"casebook/projections"
	studyviews "casebook/readmodels/study"
)

// Protocols makes one document per version of a protocol, of what it asks of a site. What is shown is named here field by field, so
// that what a later protocol says of an arm is not shown by accident.
var Protocols = projections.New(studyviews.Protocols,
	projections.KeyOf(func(e study.ProtocolVersionPublished, _ projections.Envelope) string {
		return studyviews.ProtocolKey(e.Study, e.Protocol.Version)
	}),
	projections.On(func(d *studyviews.ProtocolDocument, e study.ProtocolVersionPublished, _ projections.Envelope) {
		p, t := e.Protocol, study.Treatment{}
		if p.Treatment != nil {
			t = *p.Treatment
		}
		d.Study, d.Version, d.PublishedOn, d.ConsentVersion, d.SiteApproval = e.Study, p.Version, p.PublishedOn, p.ConsentVersion, p.SiteApproval
		d.ForEverybody, d.DrawnLater = !e.ByPatient, t.DrawnLater
		if p.Reconsent != nil {
			d.Reconsent = &studyviews.ProtocolReconsent{Who: p.Reconsent.Who, WithinDays: p.Reconsent.WithinDays, Blocks: p.Reconsent.Blocks}
		}
		if p.Minors != nil {
			d.AgeOfMajority, d.AssentFrom = p.Minors.AgeOfMajority, p.Minors.AssentFrom
		}
		if t.Titration != nil {
			d.DoseSteps, d.Rescue = t.Titration.Steps, t.Titration.Rescue
		}
		d.Phases, d.Criteria, d.Factors = phases(t), criteria(p), factors(t)
		d.Visits, d.Instruments, d.Stages = visits(p), instruments(p), stages(t)
	}),
)

// phases are those that patients of a protocol can be in after their enrolment.
func phases(t study.Treatment) (all []study.Phase) {
	if t.DrawnLater {
		all = append(all, study.PhaseRunIn)
	}
	all = append(all, study.PhaseTreatment)
	if slices.ContainsFunc(t.Stages, func(s study.Stage) bool { return s.OpenExtension }) {
		all = append(all, study.PhaseOpenExtension)
	}
	return append(all, study.PhaseFollowUp)
}

func criteria(p study.Protocol) (all []studyviews.ProtocolCriterion) {
	for _, c := range p.Criteria {
		kind := studyviews.Inclusion
		if c.Exclusion {
			kind = studyviews.Exclusion
		}
		all = append(all, studyviews.ProtocolCriterion{ID: c.ID, Text: c.Title, Kind: kind})
	}
	return all
}

func factors(t study.Treatment) (all []studyviews.ProtocolFactor) {
	for _, f := range t.Factors {
		all = append(all, studyviews.ProtocolFactor{ID: f.ID, Title: f.Title, Levels: f.Levels, DerivedFrom: f.DerivedFrom, Bounds: f.Bounds})
	}
	return all
}

func visits(p study.Protocol) (all []studyviews.ProtocolVisit) {
	for _, v := range p.Visits {
		policy := v.OutOfWindow
		switch {
		case !v.HasWindow():
			policy = ""
		case policy == "":
			policy = study.FlagVisit
		}
		all = append(all, studyviews.ProtocolVisit{ID: v.ID, Title: v.Title, Day: v.Day, Earliest: v.Day - v.DaysBefore,
			Latest: v.Day + v.DaysAfter, OutOfWindow: policy, Dispenses: study.Study{Protocol: &p}.Gives(v.ID)})
	}
	return all
}

func instruments(p study.Protocol) (all []studyviews.ProtocolInstrument) {
	for _, i := range p.Instruments {
		all = append(all, studyviews.ProtocolInstrument{ID: i.ID, Version: i.Version, Title: i.Title})
	}
	for _, i := range p.InstrumentReferences {
		all = append(all, studyviews.ProtocolInstrument{ID: i.ID, Version: i.Version})
	}
	for i := range all {
		for _, of := range p.PhaseInstruments {
			if of.Instrument == all[i].ID {
				all[i].Phases = append(all[i].Phases, of.Phase)
			}
		}
	}
	return all
}

func stages(t study.Treatment) (all []studyviews.ProtocolStage) {
	for _, s := range t.Stages {
		all = append(all, studyviews.ProtocolStage{ID: s.ID, OpenExtension: s.OpenExtension})
	}
	return all
}
