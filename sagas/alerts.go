package sagas

import (
	"slices"

	"casebook/domain/safety"
	"casebook/eventlog"
)

// Settled are the alerts that an instance has settled, the last ones. One of them may be raised only afterwards: by another program,
// which took the step that raises it, and is slower. Who is told of such an alert settles it again.
type Settled []safety.AlertID

// maxSettled bounds Settled.
const maxSettled = 16

// With returns the alerts with one more.
func (s Settled) With(alert safety.AlertID) Settled {
	return append(slices.Clone(s[max(0, len(s)-maxSettled+1):]), alert)
}

// Has says whether an alert is among them.
func (s Settled) Has(alert safety.AlertID) bool { return slices.Contains(s, alert) }

// AboutPatientOf names the instance of the patient whom an alert of a kind is about.
func AboutPatientOf(kind safety.Kind) func(safety.AlertRaised, eventlog.Recorded) []string {
	return func(e safety.AlertRaised, _ eventlog.Recorded) []string {
		if e.Kind != kind {
			return nil
		}
		return Instance(e.Patient)
	}
}
