package sagas

import (
	"slices"

	"casebook/domain/personal"
	"casebook/domain/safety"
	"casebook/eventlog"
)

// Settled are the alerts that an instance has settled, the last ones. One of them may be raised only afterwards: by another program,
// which took the step that raises it, and is slower. Who is told of such an alert settles it again.
type Settled []safety.AlertID

// maxSettled bounds Settled.
const maxSettled = 16

// Settle returns the command that settles an alert whose cause is gone, and notes the alert.
func (s *Settled) Settle(alert safety.AlertID, why string) safety.SettleAlert {
	*s = append(slices.Clone((*s)[max(0, len(*s)-maxSettled+1):]), alert)
	return Settle(alert, why)
}

// Settle returns the command that settles an alert whose cause is gone.
func Settle(alert safety.AlertID, why string) safety.SettleAlert {
	return safety.SettleAlert{OfAlert: safety.OfAlert{Alert: alert}, Outcome: personal.Text(why)}
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
