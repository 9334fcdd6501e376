package process

import (
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/projections"
	processviews "casebook/readmodels/process"
)

type run = processviews.Process

// ProcessMonitor makes one document per instance of a process manager.
var ProcessMonitor = projections.New(processviews.ProcessMonitors, projections.ByStream,
	projections.On(func(p *run, e process.StepTaken, at projections.Envelope) {
		p.Process, p.Of, p.Study = e.Process, e.Of, e.Study
		if site := siteOf(e); site != "" {
			p.Site = site
		}
		p.Step(e.Stage, e.Outcome, e.Note, at.Metadata.RecordedAt)
		p.Trigger, p.Asked = e.TriggerType, nil
		for _, c := range e.Commands {
			if !slices.Contains(p.Asked, c.Name) {
				p.Asked = append(p.Asked, c.Name)
			}
		}
		if e.AnswerBy != nil || e.Answered {
			for _, name := range process.AnswerTimers {
				p.EndTimer(name)
			}
		}
		if e.AnswerBy != nil {
			p.SetTimer(processviews.Timer{Name: process.AnswerTimer, At: e.AnswerBy.UTC()})
		}
	}),
	projections.On(func(p *run, e process.Retried, at projections.Envelope) {
		p.RetriedBy, p.RetriedAt, p.RetryReason = at.Metadata.Actor, &at.Metadata.RecordedAt, string(e.Reason)
	}),
	projections.On(func(p *run, e process.TimerSet, _ projections.Envelope) {
		p.SetTimer(processviews.Timer{Name: e.Name, At: e.At.UTC()})
	}),
	projections.On(func(p *run, e process.TimerFired, _ projections.Envelope) { p.EndTimer(e.Name) }),
	projections.On(func(p *run, e process.TimerCancelled, _ projections.Envelope) { p.EndTimer(e.Name) }),
).BegunBy(func(at projections.Envelope) bool { return at.Revision == 0 })

// resupply is the process whose instances are named after places; see supply.StockID.
const resupply = "resupply"

// siteOf returns the site that a step is about. That is the site of the event that set it off, except in a resupply: a
// shipment that leaves one place is a step in the supply of another.
func siteOf(e process.StepTaken) domain.SiteID {
	if e.Process == resupply {
		_, place, _ := strings.Cut(e.Of, ".")
		return domain.SiteID(place)
	}
	return e.Site
}
