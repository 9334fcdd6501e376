package sagas

import (
	"fmt"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/eventlog"
)

// dailyTimer wakes a process once a day, when it is night at most places where nobody works.
const dailyTimer = "daily"

func nextDay(o Occurrence) process.Timer {
	return process.Timer{Name: dailyTimer, At: o.At.UTC().Truncate(24 * time.Hour).Add(26 * time.Hour)}
}

// place is the instance of a place of a study.
func place(study domain.StudyID, l supply.LocationID) string { return supply.StockID(study, l) }

// resupplying is what the supply of one site remembers.
type resupplying struct {
	Study domain.StudyID       `json:"study,omitempty"`
	Site  domain.SiteID        `json:"site,omitempty"`
	Rule  *supply.ResupplyRule `json:"rule,omitempty"`
	// Waiting are those for whom there was no kit.
	Waiting []supply.Slot `json:"waiting,omitempty"`
	// Underway are the shipments that have been dispatched and not arrived.
	Underway []supply.ShipmentID `json:"underway,omitempty"`
}

// Resupply is the process of a site's stock: whatever makes it smaller has the site's rule looked at; whoever got no kit
// gets one as soon as there are new ones; a shipment that is overdue is reported; every day, what has expired is taken out.
var Resupply = Define("resupply", []string{"ResupplyRuleSet", "KitAllocated", "AllocationFailed", "StockRefused", "KitsQuarantined",
	"KitsReleased", "KitsExpired", "KitLost", "ShipmentDispatched", "ShipmentReceived", "ShipmentLost", "HoldReleased"},
	func(e eventlog.Recorded) []string {
		switch e := e.Event.(type) {
		case supply.ResupplyRuleSet:
			return []string{place(e.Study, supply.LocationID(e.Rule.Site))}
		case supply.ShipmentDispatched:
			return []string{place(e.Study, e.To)}
		}
		at, ok := placeOf(e.Event)
		if !ok {
			return nil
		}
		return []string{place(at.Study, at.Location)}
	}, reactToStock)

// placeOf returns where an event of a stock happened.
func placeOf(event any) (supply.Place, bool) {
	switch e := event.(type) {
	case supply.KitAllocated:
		return e.Place, true
	case supply.AllocationFailed:
		return e.Place, true
	case supply.StockRefused:
		return e.Place, true
	case supply.KitsQuarantined:
		return e.Place, true
	case supply.KitsReleased:
		return e.Place, true
	case supply.KitsExpired:
		return e.Place, true
	case supply.KitLost:
		return e.Place, true
	case supply.ShipmentReceived:
		return e.Place, true
	case supply.ShipmentLost:
		return e.Place, true
	case supply.HoldReleased:
		return e.Place, true
	}
	return supply.Place{}, false
}

func reactToStock(s resupplying, o Occurrence) (Reaction[resupplying], bool) {
	if at, ok := placeOf(o.Event); ok {
		s.Study, s.Site = at.Study, domain.SiteID(at.Location)
	}
	r, waited := Reaction[resupplying]{}, len(s.Waiting)
	switch e := o.Event.(type) {
	case supply.ResupplyRuleSet:
		s.Study, s.Site, s.Rule = e.Study, e.Rule.Site, &e.Rule
		r.Set = []process.Timer{nextDay(o)}
		r.Commands = s.plan()
	case supply.KitAllocated:
		s.Waiting = without(s.Waiting, supply.Slot{Patient: e.Patient, Visit: e.Visit})
		r.Commands = s.plan()
	case supply.AllocationFailed:
		slot := supply.Slot{Patient: e.Patient, Visit: e.Visit}
		s.Waiting = without(s.Waiting, slot)
		if e.Waits {
			s.Waiting = append(s.Waiting, slot)
		}
		r.Commands = s.plan()
	case supply.StockRefused, supply.KitsExpired, supply.KitLost, supply.KitsQuarantined:
		r.Commands = s.plan()
	case supply.KitsReleased, supply.HoldReleased:
		r.Commands = s.retry()
	case supply.ShipmentDispatched:
		s.Study, s.Site = e.Study, domain.SiteID(e.To)
		s.Underway = append(slices.Clone(s.Underway), e.Shipment)
		r.Set = []process.Timer{{Name: overdueTimer(e.Shipment), At: o.At.AddDate(0, 0, s.overdueDays())}}
	case supply.ShipmentReceived:
		s.Underway = without(s.Underway, e.Shipment)
		r.Cancel = []string{overdueTimer(e.Shipment)}
		r.Commands = append(s.retry(), s.plan()...)
	case supply.ShipmentLost:
		s.Underway = without(s.Underway, e.Shipment)
		r.Cancel = []string{overdueTimer(e.Shipment)}
		r.Commands = s.plan()
	case Fired:
		if e.Timer == dailyTimer {
			r.Set = []process.Timer{nextDay(o)}
			r.Commands = append([]any{supply.ExpireKits{AtLocation: supply.AtLocation{Study: s.Study, Location: supply.LocationID(s.Site)}, Through: domain.DateOf(o.At.UTC())}}, s.plan()...)
			break
		}
		for _, id := range s.Underway {
			if e.Timer == overdueTimer(id) {
				r.Commands = []any{safety.RaiseAlert{OfAlert: safety.OfAlert{Alert: alertID(s.Study, o.ID)}, Study: s.Study, Site: s.Site, Kind: safety.ShipmentOverdue, Severity: safety.Routine,
					Summary: fmt.Sprintf("Shipment %s has not arrived at site %s in time.", id, s.Site), Source: o.ID, OccurredAt: o.At}}
			}
		}
	default:
		return r, false
	}
	if len(r.Commands)+len(r.Set)+len(r.Cancel) == 0 && len(s.Waiting) == waited {
		return r, false // nothing that anybody has to know of
	}
	r.State, r.Stage = s, s.stage()
	return r, true
}

func (s resupplying) stage() string {
	if len(s.Waiting) > 0 {
		return fmt.Sprintf("%d patients wait for a kit", len(s.Waiting))
	}
	if len(s.Underway) > 0 {
		return fmt.Sprintf("%d shipments are under way", len(s.Underway))
	}
	return "supplied"
}

func (s resupplying) plan() []any {
	if s.Rule == nil {
		return nil
	}
	return []any{supply.PlanResupply{AtDepot: supply.AtDepot{Study: s.Study, Depot: s.Rule.Depot}, Site: s.Site}}
}

// retry asks again for those who wait, the longest wait first.
func (s resupplying) retry() []any {
	var all []any
	for _, slot := range s.Waiting {
		all = append(all, supply.AllocateKit{Study: s.Study, Site: s.Site, OfPatient: domain.ForPatient(slot.Patient), Visit: slot.Visit})
	}
	return all
}

// overdueDays is the rule's, or a week.
func (s resupplying) overdueDays() int {
	if s.Rule == nil {
		return 7
	}
	return s.Rule.OverdueDays
}

func overdueTimer(id supply.ShipmentID) string { return "overdue:" + string(id) }

func without[T comparable](all []T, one T) []T {
	return slices.DeleteFunc(slices.Clone(all), func(t T) bool { return t == one })
}

// upkeep is what the upkeep of a study's supply remembers.
type upkeep struct {
	Study  domain.StudyID      `json:"study,omitempty"`
	Depots []supply.LocationID `json:"depots,omitempty"`
}

// SupplyUpkeep is the process of a study's supply as a whole: registered kits go into their depot's stock, a recalled lot
// is set aside everywhere, and every day what has expired is taken out of the depots.
var SupplyUpkeep = Define("supply-upkeep", []string{"DepotOpened", "KitsRegistered", "LotRecalled"},
	func(e eventlog.Recorded) []string {
		switch e := e.Event.(type) {
		case supply.DepotOpened:
			return one(e.Study)
		case supply.KitsRegistered:
			return one(e.Study)
		case supply.LotRecalled:
			return one(e.Study)
		}
		return nil
	}, func(s upkeep, o Occurrence) (Reaction[upkeep], bool) {
		r := Reaction[upkeep]{Stage: "kept up"}
		switch e := o.Event.(type) {
		case supply.DepotOpened:
			s.Study, s.Depots = e.Study, append(slices.Clone(s.Depots), e.Depot)
			r.Set = []process.Timer{nextDay(o)}
		case supply.KitsRegistered:
			r.Commands = []any{supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: e.Study, Depot: e.Depot}, Delivery: e.Delivery}}
		case supply.LotRecalled:
			for _, l := range e.Locations {
				r.Commands = append(r.Commands, supply.QuarantineLot{AtLocation: supply.AtLocation{Study: e.Study, Location: l}, Lot: e.Lot, Reasoned: domain.Because(e.Reason)})
			}
		case Fired:
			for _, d := range s.Depots {
				r.Commands = append(r.Commands, supply.ExpireKits{AtLocation: supply.AtLocation{Study: s.Study, Location: d}, Through: domain.DateOf(o.At.UTC())})
			}
			r.Set = []process.Timer{nextDay(o)}
		default:
			return r, false
		}
		r.State = s
		return r, true
	})

// dispensing is what the dispensing of one patient remembers.
type dispensing struct {
	// Wanted are the visits for which a kit has been asked for.
	Wanted []string `json:"wanted,omitempty"`
	Ended  bool     `json:"ended,omitempty"`
}

// Dispensing is the process that has a patient's next kit allocated at the visits that dispense one, and a new one where
// the kit that was allocated cannot be given out any more.
var Dispensing = Define("dispensing", []string{"VisitRecorded", "KitsQuarantined", "KitsExpired", "KitLost", "KitAllocated", "ConsentWithdrawn", "PatientDiscontinued", "PatientCompleted"},
	func(e eventlog.Recorded) []string {
		switch e := e.Event.(type) {
		case patient.VisitRecorded:
			if e.Dispense {
				return one(e.Patient)
			}
		case supply.KitsQuarantined:
			return patientsOf(e.Affected)
		case supply.KitsExpired:
			return patientsOf(e.Affected)
		case supply.KitLost:
			return patientsOf(e.Affected)
		case supply.KitAllocated:
			if e.Visit != "" {
				return one(e.Patient)
			}
		case patient.ConsentWithdrawn:
			return one(e.Patient)
		case patient.Discontinued:
			return one(e.Patient)
		case patient.Completed:
			return one(e.Patient)
		}
		return nil
	}, reactToDispensing)

func patientsOf(slots []supply.Slot) []string {
	var all []string
	for _, s := range slots {
		if !slices.Contains(all, string(s.Patient)) {
			all = append(all, string(s.Patient))
		}
	}
	return all
}

func reactToDispensing(s dispensing, o Occurrence) (Reaction[dispensing], bool) {
	r := Reaction[dispensing]{Stage: "kit asked for"}
	replace := func(at supply.Place, affected []supply.Slot) {
		for _, slot := range affected {
			r.Commands = append(r.Commands, supply.AllocateKit{Study: at.Study, Site: domain.SiteID(at.Location), OfPatient: domain.ForPatient(slot.Patient), Visit: slot.Visit})
		}
		r.Note = "a kit cannot be given out any more"
	}
	if s.Ended {
		return r, false
	}
	switch e := o.Event.(type) {
	case patient.VisitRecorded:
		if slices.Contains(s.Wanted, e.Visit) {
			return r, false
		}
		s.Wanted = append(slices.Clone(s.Wanted), e.Visit)
		r.Commands = []any{supply.AllocateKit{Study: o.Study, Site: o.Site, OfPatient: domain.ForPatient(e.Patient), Visit: e.Visit}}
	case supply.KitsQuarantined:
		replace(e.Place, e.Affected)
	case supply.KitsExpired:
		replace(e.Place, e.Affected)
	case supply.KitLost:
		replace(e.Place, e.Affected)
	case supply.KitAllocated:
		if !slices.Contains(s.Wanted, e.Visit) {
			return r, false
		}
		r.Stage = "kit allocated"
	case patient.ConsentWithdrawn, patient.Discontinued, patient.Completed:
		if len(s.Wanted) == 0 {
			return r, false
		}
		s.Ended, r.Stage, r.Outcome = true, "the patient's participation has ended", process.Completed
	default:
		return r, false
	}
	r.State = s
	return r, true
}

// leaving is what the process of a patient's leaving remembers: nothing.
type leaving struct{}

// Leaving is the process that frees what is kept for a patient whose participation has ended. Schedules end by themselves:
// a patient who does not take part has no windows.
var Leaving = Define("leaving", []string{"ConsentWithdrawn", "PatientDiscontinued", "PatientCompleted"},
	func(e eventlog.Recorded) []string {
		if e.Metadata.Site == "" {
			return nil
		}
		return one(e.Metadata.Patient)
	}, func(s leaving, o Occurrence) (Reaction[leaving], bool) {
		var who domain.PatientID
		switch e := o.Event.(type) {
		case patient.ConsentWithdrawn:
			who = e.Patient
		case patient.Discontinued:
			who = e.Patient
		case patient.Completed:
			who = e.Patient
		default:
			return Reaction[leaving]{}, false
		}
		return Reaction[leaving]{State: s, Stage: "kits set aside", Outcome: process.Completed, Commands: []any{
			supply.SetKitsAside{Study: o.Study, Site: o.Site, OfPatient: domain.ForPatient(who), Reasoned: domain.Because("the patient's participation has ended")}}}, true
	})
