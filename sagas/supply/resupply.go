package supply

import (
	"fmt"
	"slices"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"
)

// resupplying is what the resupply of one site remembers.
type resupplying struct {
	Study domain.StudyID       `json:"study,omitempty"`
	Site  domain.SiteID        `json:"site,omitempty"`
	Rule  *supply.ResupplyRule `json:"rule,omitempty"`
	// Waiting are those for whom there was no kit.
	Waiting []supply.Slot `json:"waiting,omitempty"`
	// Underway are the shipments that have been dispatched and not arrived.
	Underway []supply.ShipmentID `json:"underway,omitempty"`
	// Came are patients who have come from other sites, and whom the site has given no kit yet.
	Came []domain.PatientID `json:"came,omitempty"`
	// Early are the shipments that have arrived, or are lost, and of whose dispatch the instance was not told yet.
	Early []supply.ShipmentID `json:"early,omitempty"`
	// RuleAt is where the log has the rule, or its end.
	RuleAt uint64 `json:"ruleAt,omitempty"`
	// BroughtAt is where the log last has kits that came, or may be used. Who lacked one before is asked for again.
	BroughtAt uint64 `json:"broughtAt,omitempty"`
}

// Resupply is the process of a site's stock. Each event that lowers the stock triggers a check of the site's resupply
// rule. Patients who wait for a kit are served first when there are new ones. A shipment that is overdue raises an alert.
// Every day, kits that have expired are taken out.
var Resupply = sagas.Define("resupply",
	sagas.Sends(supply.PlanResupply{}, supply.AllocateKit{}, supply.ExpireKits{}, safety.RaiseAlert{}),
	sagas.On(bySiteOfRule, resupplying.ruleSet),
	sagas.On(bySiteOfEndedRule, resupplying.ended),
	sagas.On(bySitesOfApproval, resupplying.shippingApproved),
	sagas.On[supply.KitAllocated](byStock, resupplying.kitAllocated),
	sagas.On[supply.AllocationFailed](byStock, resupplying.allocationFailed),
	sagas.On[supply.StockRefused](byStock, lowersStock),
	sagas.On[supply.KitsQuarantined](byStock, lowersStock),
	sagas.On[supply.KitsReleased](byStock, bringsStock),
	sagas.On[supply.KitsRelabelled](byStock, bringsStock),
	sagas.On[supply.KitsExpired](byStock, lowersStock),
	sagas.On[supply.KitLost](byStock, lowersStock),
	sagas.On(byDestination, resupplying.shipmentDispatched),
	sagas.On[supply.ShipmentReceived](byStock, resupplying.shipmentReceived),
	sagas.On[supply.ShipmentLost](byStock, resupplying.shipmentLost),
	sagas.On[supply.HoldReleased](byStock, resupplying.holdReleased),
	sagas.On[supply.ReplacementsAllowed](byStock, bringsStock),
	sagas.On(bySitesOfTransfer, resupplying.transferred),
	sagas.OnUnchanged(resupplying.hasKit),
	sagas.OnTimer(resupplying.timeHasCome),
	// Version 1 is from before rules looked ahead. Version 2 forgot what had arrived, and did not see patients who came from other sites.
).InGroup("resupply-3").Upcast(domain.Unchanged, domain.Unchanged)

// bySitesOfTransfer names the instances of the site that a patient comes to, and of the one that the patient leaves.
func bySitesOfTransfer(e patient.Transferred, at eventlog.Recorded) []string {
	return []string{supply.StockID(at.Metadata.Study, supply.LocationID(e.To)), supply.StockID(at.Metadata.Study, supply.LocationID(e.From))}
}

// transferred has a rule that looks ahead see who comes with the drug for the days until the next visit.
func (s resupplying) transferred(e patient.Transferred, o sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	here := o.Of != supply.StockID(o.Study, supply.LocationID(e.From))
	if !here && !slices.Contains(s.Came, e.Patient) {
		return sagas.Reaction[resupplying]{}, false
	}
	s.Came = without(s.Came, e.Patient)
	if !here {
		return s.react(nil, nil, nil), true
	}
	s.Study, s.Site, s.Came = o.Study, e.To, append(s.Came, e.Patient)
	return s.react(s.plan(), nil, nil), true
}

// aboutStock is an event about the kits of a place.
type aboutStock interface{ AboutStock() supply.OfStock }

func byStock[E aboutStock](e E, _ eventlog.Recorded) []string {
	at := e.AboutStock()
	return sagas.Instance(supply.StockID(at.Study, at.Location))
}

func bySiteOfRule(e supply.ResupplyRuleSet, _ eventlog.Recorded) []string {
	return sagas.Instance(supply.StockID(e.Study, supply.LocationID(e.Rule.Site)))
}

func bySiteOfEndedRule(e supply.ResupplyEnded, _ eventlog.Recorded) []string {
	return sagas.Instance(supply.StockID(e.Study, supply.LocationID(e.Site)))
}

func bySitesOfApproval(e supply.ShippingApproved, _ eventlog.Recorded) []string {
	var all []string
	for _, site := range e.Sites {
		all = append(all, supply.StockID(e.Study, supply.LocationID(site)))
	}
	return all
}

func byDestination(e supply.ShipmentDispatched, _ eventlog.Recorded) []string {
	return sagas.Instance(supply.StockID(e.Study, e.To))
}

func (s resupplying) ruleSet(e supply.ResupplyRuleSet, o sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	if o.Position < s.RuleAt {
		return sagas.Reaction[resupplying]{}, false
	}
	s.Study, s.Site, s.Rule, s.RuleAt = e.Study, e.Rule.Site, &e.Rule, o.Position
	return s.react(s.plan(), []process.Timer{nextDay(o)}, nil), true
}

// ended goes on without a rule: those who wait are still served by what people send. There is an alert for each of them already.
func (s resupplying) ended(e supply.ResupplyEnded, o sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	if o.Position < s.RuleAt {
		return sagas.Reaction[resupplying]{}, false
	}
	s.Study, s.Site, s.Rule, s.RuleAt = e.Study, e.Site, nil, o.Position
	return s.react(nil, nil, nil), true
}

// shippingApproved sends what was withheld.
func (s resupplying) shippingApproved(supply.ShippingApproved, sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	plan := s.plan()
	return s.react(plan, nil, nil), len(plan) > 0
}

func (s resupplying) kitAllocated(e supply.KitAllocated, _ sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	waited, came := len(s.Waiting), len(s.Came)
	s = s.at(e)
	s.Waiting, s.Came = without(s.Waiting, supply.Slot{Patient: e.Patient, Visit: e.Visit}), without(s.Came, e.Patient)
	plan := s.plan()
	return s.react(plan, nil, nil), len(plan) > 0 || len(s.Waiting) != waited || len(s.Came) != came
}

// hasKit forgets who has the kit: the instance was told of that before it was told of the want.
func (s resupplying) hasKit(asked supply.AllocateKit, _ sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	waited := len(s.Waiting)
	s.Waiting = without(s.Waiting, supply.Slot{Patient: asked.Patient, Visit: asked.Visit})
	return s.react(nil, nil, nil), len(s.Waiting) != waited
}

func (s resupplying) allocationFailed(e supply.AllocationFailed, o sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	waited, slot := len(s.Waiting), supply.Slot{Patient: e.Patient, Visit: e.Visit}
	s = s.at(e)
	s.Waiting = without(s.Waiting, slot)
	if e.Waits {
		s.Waiting = append(s.Waiting, slot)
	}
	all := s.plan()
	if e.Waits && o.Position < s.BroughtAt {
		all = append(s.retry(), all...)
	}
	return s.react(all, nil, nil), len(all) > 0 || len(s.Waiting) != waited
}

// lowersStock triggers a check of the rule.
func lowersStock[E aboutStock](s resupplying, e E, _ sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	s = s.at(e)
	plan := s.plan()
	return s.react(plan, nil, nil), len(plan) > 0
}

// bringsStock serves those who wait.
func bringsStock[E aboutStock](s resupplying, e E, o sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	s = s.at(e)
	s.BroughtAt = max(s.BroughtAt, o.Position)
	return s.react(s.retry(), nil, nil), true
}

// holdReleased is too frequent to be remembered where nobody waits.
func (s resupplying) holdReleased(e supply.HoldReleased, o sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	r, _ := bringsStock(s, e, o)
	return r, len(r.Commands) > 0
}

func (s resupplying) shipmentDispatched(e supply.ShipmentDispatched, o sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	s.Study, s.Site = e.Study, domain.SiteID(e.To)
	if slices.Contains(s.Early, e.Shipment) {
		s.Early = without(s.Early, e.Shipment)
		return s.react(nil, nil, nil), true
	}
	s.Underway = append(slices.Clone(s.Underway), e.Shipment)
	overdue := process.Timer{Name: overdueTimer(e.Shipment), At: o.At.AddDate(0, 0, s.overdueDays())}
	return s.react(nil, []process.Timer{overdue, nextDay(o)}, nil), true // its kits expire, with a rule and without one
}

func (s resupplying) shipmentReceived(e supply.ShipmentReceived, o sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	s = s.at(e).arrived(e.Shipment)
	s.BroughtAt = max(s.BroughtAt, o.Position)
	return s.react(append(s.retry(), s.plan()...), []process.Timer{nextDay(o)}, []string{overdueTimer(e.Shipment)}), true
}

func (s resupplying) shipmentLost(e supply.ShipmentLost, _ sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	s = s.at(e).arrived(e.Shipment)
	return s.react(s.plan(), nil, []string{overdueTimer(e.Shipment)}), true
}

func (s resupplying) timeHasCome(e sagas.Fired, o sagas.Occurrence) (sagas.Reaction[resupplying], bool) {
	if e.Timer == dailyTimer {
		expire := supply.ExpireKits{AtLocation: supply.AtLocation{Study: s.Study, Location: supply.LocationID(s.Site)},
			Through: domain.DateOf(o.At.UTC())}
		return s.react(append([]any{expire}, s.plan()...), []process.Timer{nextDay(o)}, nil), true
	}
	for _, id := range s.Underway {
		if e.Timer == overdueTimer(id) {
			return s.react([]any{s.overdueAlert(id, o)}, nil, nil), true
		}
	}
	return sagas.Reaction[resupplying]{}, false
}

func (s resupplying) overdueAlert(id supply.ShipmentID, o sagas.Occurrence) safety.RaiseAlert {
	return safety.RaiseAlert{OfAlert: sagas.AlertFrom(s.Study, o.ID), Study: s.Study, Site: s.Site,
		Kind: safety.ShipmentOverdue, Severity: safety.Routine,
		Summary: fmt.Sprintf("Shipment %s has not arrived at site %s in time.", id, s.Site), Source: o.ID, OccurredAt: o.At}
}

func (s resupplying) react(commands []any, set []process.Timer, cancel []string) sagas.Reaction[resupplying] {
	return sagas.Reaction[resupplying]{State: s, Stage: s.stage(), Commands: commands, Set: set, Cancel: cancel}
}

// at notes the place.
func (s resupplying) at(e aboutStock) resupplying {
	s.Study, s.Site = e.AboutStock().Study, domain.SiteID(e.AboutStock().Location)
	return s
}

// arrived notes that a shipment is not under way any more.
func (s resupplying) arrived(id supply.ShipmentID) resupplying {
	if !slices.Contains(s.Underway, id) {
		s.Early = append(without(s.Early, id), id)
	}
	s.Underway = without(s.Underway, id)
	return s
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
	return []any{supply.PlanResupply{AtDepot: supply.AtDepot{Study: s.Study, Depot: s.Rule.Depot}, Site: s.Site, Patients: s.Came}}
}

// retry asks for kits again for those who wait, the longest wait first.
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

func without[T comparable](all []T, value T) []T {
	return slices.DeleteFunc(slices.Clone(all), func(t T) bool { return t == value })
}
