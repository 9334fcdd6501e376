package safety

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"
)

// recalled is what the process of a patient's recalled kits remembers.
type recalled struct {
	// Site is where the patient was transferred to; "" for a patient who is where the kits were given out.
	Site domain.SiteID `json:"site,omitempty"`
	// Alerts are the open ones, each with the kits of its recall that patients had at home. The kit of this patient is one of them, and is
	// named again when the recall ends, whatever has become of the others.
	Alerts map[safety.AlertID][]supply.KitNumber `json:"alerts,omitempty"`
	// Moved is where the log says that the patient was transferred, and Ended where it says last that the recall of a kit has ended.
	Moved uint64                      `json:"moved,omitempty"`
	Ended map[supply.KitNumber]uint64 `json:"ended,omitempty"`
	// Settled are the last alerts that were settled: one of them may be raised late.
	Settled sagas.Settled `json:"settled,omitempty"`
}

// namesAllKits reads what an instance remembered in version 1: one kit of each recall.
func namesAllKits(state map[string]any) (map[string]any, error) {
	alerts, _ := state["alerts"].(map[string]any)
	for alert, kit := range alerts {
		alerts[alert] = []any{kit}
	}
	return state, nil
}

// RecalledAtHome is the process that tells the site of a patient of each recall of a kit that the patient has at home. The alert follows
// the patient to another site, and is settled when the recall is withdrawn.
var RecalledAtHome = sagas.Define("recalled-at-home",
	sagas.Sends(safety.RaiseAlert{}, safety.SettleAlert{}),
	sagas.On(func(e supply.KitsQuarantined, _ eventlog.Recorded) []string { return named(e.Holders) }, recalled.lotRecalled),
	sagas.On(func(e supply.LotRecallEnded, _ eventlog.Recorded) []string { return named(e.Holders) }, recalled.recallEnded),
	sagas.On[patient.Transferred](sagas.ByPatient, recalled.transferred),
	sagas.On(aboutPatient, recalled.closed),
	sagas.On(sagas.AboutPatientOf(safety.RecalledKitAtHome), recalled.alertRaised),
	// Version 2 took events in the order in which they came.
).OfPatients().InGroup("recalled-at-home-2").Upcast(namesAllKits, domain.Unchanged)

// named are the instances of patients.
func named(patients []domain.PatientID) (all []string) {
	for _, p := range patients {
		all = append(all, string(p))
	}
	return all
}

// aboutPatient names the instance of the patient whom an alert is about.
func aboutPatient(_ safety.AlertClosed, at eventlog.Recorded) []string {
	return sagas.Instance(at.Metadata.Patient)
}

func (s recalled) lotRecalled(e supply.KitsQuarantined, o sagas.Occurrence) (sagas.Reaction[recalled], bool) {
	if !slices.ContainsFunc(e.AtHome, func(kit supply.KitNumber) bool { return s.Ended[kit] <= o.Position }) { // all are over
		return sagas.Reaction[recalled]{}, false
	}
	raised := s.raise(cmp.Or(s.Site, domain.SiteID(e.Location)), o.ID+"/"+o.Of, e.AtHome, o)
	return s.react(raised), true
}

// raise returns the command that raises an alert about the patient of the instance, and notes it. source says what it comes from.
func (s *recalled) raise(at domain.SiteID, source string, kits []supply.KitNumber, o sagas.Occurrence) safety.RaiseAlert {
	p, of := domain.PatientID(o.Of), sagas.AlertFrom(o.Study, source)
	s.Alerts = sagas.Put(s.Alerts, of.Alert, kits)
	return safety.RaiseAlert{OfAlert: of, Study: o.Study, Site: at, Patient: p, Kind: safety.RecalledKitAtHome,
		Severity: safety.Urgent, Source: o.ID, OccurredAt: o.At,
		Summary: fmt.Sprintf("Patient %s has a recalled kit at home. Tell the patient, and record what was done.", p)}
}

func (s recalled) recallEnded(e supply.LotRecallEnded, o sagas.Occurrence) (sagas.Reaction[recalled], bool) {
	for _, kit := range e.AtHome {
		s.Ended = sagas.Newest(s.Ended, kit, o.Position)
	}
	ended := func(kit supply.KitNumber) bool { return slices.Contains(e.AtHome, kit) }
	var settled []any
	left := map[safety.AlertID][]supply.KitNumber{}
	for _, alert := range slices.Sorted(maps.Keys(s.Alerts)) {
		if kits := s.Alerts[alert]; slices.ContainsFunc(kits, ended) {
			settled = append(settled, s.Settled.Settle(alert, "The recall was withdrawn: the patient may use the kit."))
		} else {
			left[alert] = kits
		}
	}
	s.Alerts = left
	return s.react(settled...), true
}

// transferred brings the alerts that are open to the patient's new site, one for each recall.
func (s recalled) transferred(e patient.Transferred, o sagas.Occurrence) (sagas.Reaction[recalled], bool) {
	if o.Position < s.Moved {
		return sagas.Reaction[recalled]{}, false
	}
	s.Site, s.Moved = e.To, o.Position
	former := s.Alerts
	s.Alerts = nil
	var all []any
	for n, alert := range slices.Sorted(maps.Keys(former)) {
		all = append(all, s.Settled.Settle(alert, fmt.Sprintf("The patient was transferred to site %s, which is told.", e.To)),
			s.raise(e.To, fmt.Sprintf("%s/%s/%d", o.ID, o.Of, n), former[alert], o))
	}
	return s.react(all...), true
}

// alertRaised settles an alert that was raised when it had been settled.
func (s recalled) alertRaised(e safety.AlertRaised, _ sagas.Occurrence) (sagas.Reaction[recalled], bool) {
	if !s.Settled.Has(e.Alert) {
		return sagas.Reaction[recalled]{}, false
	}
	return s.react(sagas.Settle(e.Alert, "The recall does not concern the patient here any more.")), true
}

// closed forgets an alert that people have closed.
func (s recalled) closed(e safety.AlertClosed, _ sagas.Occurrence) (sagas.Reaction[recalled], bool) {
	if len(s.Alerts) == 0 {
		return sagas.Reaction[recalled]{}, false
	}
	s.Alerts = maps.Clone(s.Alerts)
	delete(s.Alerts, e.Alert)
	return s.react(), true
}

func (s recalled) react(all ...any) sagas.Reaction[recalled] {
	r := sagas.Reaction[recalled]{State: s, Stage: "nothing recalled", Outcome: process.Completed, Commands: all}
	if len(s.Alerts) > 0 {
		r.Stage, r.Outcome = "has a recalled kit at home", process.Held
	}
	return r
}
