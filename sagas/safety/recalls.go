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
	// Alerts are the open ones, each with a kit of its recall: a recall that ends names its kits.
	Alerts map[safety.AlertID]supply.KitNumber `json:"alerts,omitempty"`
}

// RecalledAtHome is the process that tells the site of a patient of each recall of a kit that the patient has at home. The alert follows
// the patient to another site, and is settled when the recall is withdrawn.
var RecalledAtHome = sagas.Define("recalled-at-home",
	sagas.Sends(safety.RaiseAlert{}, safety.SettleAlert{}),
	sagas.On(func(e supply.KitsQuarantined, _ eventlog.Recorded) []string { return named(e.Holders) }, recalled.lotRecalled),
	sagas.On(func(e supply.LotRecallEnded, _ eventlog.Recorded) []string { return named(e.Holders) }, recalled.recallEnded),
	sagas.On[patient.Transferred](sagas.ByPatient, recalled.transferred),
	sagas.On(aboutPatient, recalled.closed),
).OfPatients()

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
	if len(e.AtHome) == 0 {
		return sagas.Reaction[recalled]{}, false
	}
	return s.raise(cmp.Or(s.Site, domain.SiteID(e.Location)), e.AtHome[0], o)
}

// raise raises an alert about the patient of the instance.
func (s recalled) raise(at domain.SiteID, kit supply.KitNumber, o sagas.Occurrence) (sagas.Reaction[recalled], bool) {
	p := domain.PatientID(o.Of)
	of := sagas.AlertFrom(o.Study, o.ID+"/"+o.Of)
	s.Alerts = maps.Clone(s.Alerts)
	if s.Alerts == nil {
		s.Alerts = map[safety.AlertID]supply.KitNumber{}
	}
	s.Alerts[of.Alert] = kit
	return s.react(safety.RaiseAlert{OfAlert: of, Study: o.Study, Site: at, Patient: p, Kind: safety.RecalledKitAtHome,
		Severity: safety.Urgent, Source: o.ID, OccurredAt: o.At,
		Summary: fmt.Sprintf("Patient %s has a recalled kit at home. Tell the patient, and record what was done.", p)}), true
}

func (s recalled) recallEnded(e supply.LotRecallEnded, _ sagas.Occurrence) (sagas.Reaction[recalled], bool) {
	r := s.settle("The recall was withdrawn: the patient may use the kit.", func(kit supply.KitNumber) bool {
		return slices.Contains(e.AtHome, kit)
	})
	return r, len(r.Commands) > 0
}

// transferred brings the alerts that are open to the patient's new site.
func (s recalled) transferred(e patient.Transferred, o sagas.Occurrence) (sagas.Reaction[recalled], bool) {
	s.Site = e.To
	if len(s.Alerts) == 0 {
		return s.react(), true
	}
	kits := slices.Sorted(maps.Values(s.Alerts))
	settled := s.settle(fmt.Sprintf("The patient was transferred to site %s, which is told.", e.To), func(supply.KitNumber) bool {
		return true
	})
	r, goesOn := settled.State.raise(e.To, kits[0], o)
	r.Commands = append(settled.Commands, r.Commands...)
	return r, goesOn
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

// settle settles the alerts about some kits.
func (s recalled) settle(why string, about func(supply.KitNumber) bool) sagas.Reaction[recalled] {
	var all []any
	left := map[safety.AlertID]supply.KitNumber{}
	for _, alert := range slices.Sorted(maps.Keys(s.Alerts)) {
		if kit := s.Alerts[alert]; about(kit) {
			all = append(all, safety.SettleAlert{OfAlert: safety.OfAlert{Alert: alert}, Outcome: why})
		} else {
			left[alert] = kit
		}
	}
	s.Alerts = left
	return s.react(all...)
}

func (s recalled) react(all ...any) sagas.Reaction[recalled] {
	r := sagas.Reaction[recalled]{State: s, Stage: "nothing recalled", Outcome: process.Completed, Commands: all}
	if len(s.Alerts) > 0 {
		r.Stage, r.Outcome = "has a recalled kit at home", process.Held
	}
	return r
}
