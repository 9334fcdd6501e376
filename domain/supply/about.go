package supply

import (
	"slices"

	"casebook/domain"
)

// OfKits is an event that names the kits that it is about.
type OfKits interface {
	// OfKits returns the study and the kits, each once.
	OfKits() (domain.StudyID, []KitNumber)
}

// OfKits implements OfKits.
func (e KitsRegistered) OfKits() (domain.StudyID, []KitNumber) { return e.Study, e.Kits }

// OfKits implements OfKits.
func (e DeliveryTakenIn) OfKits() (domain.StudyID, []KitNumber) { return e.Study, e.Kits }

// OfKits implements OfKits.
func (e ShipmentCreated) OfKits() (domain.StudyID, []KitNumber) { return e.Study, e.Kits }

// OfKits implements OfKits.
func (e ShipmentLost) OfKits() (domain.StudyID, []KitNumber) { return e.Study, e.Kits }

// OfKits implements OfKits.
func (e KitsQuarantined) OfKits() (domain.StudyID, []KitNumber) {
	return e.Study, slices.Concat(e.Kits, e.AtHome)
}

// OfKits implements OfKits.
func (e LotRecallEnded) OfKits() (domain.StudyID, []KitNumber) { return e.Study, e.AtHome }

// OfKits implements OfKits.
func (e KitsReleased) OfKits() (domain.StudyID, []KitNumber) { return e.Study, e.Kits }

// OfKits implements OfKits.
func (e KitsSetAside) OfKits() (domain.StudyID, []KitNumber) { return e.Study, e.Kits }

// OfKits implements OfKits.
func (e KitsExpired) OfKits() (domain.StudyID, []KitNumber) { return e.Study, e.Kits }

// OfKits implements OfKits.
func (e KitsDestroyed) OfKits() (domain.StudyID, []KitNumber) { return e.Study, e.Kits }

// OfKits implements OfKits.
func (e KitDispensed) OfKits() (domain.StudyID, []KitNumber) { return e.Study, []KitNumber{e.Kit} }

// OfKits implements OfKits.
func (e KitReturned) OfKits() (domain.StudyID, []KitNumber) { return e.Study, []KitNumber{e.Kit} }

// OfKits implements OfKits.
func (e KitReconciled) OfKits() (domain.StudyID, []KitNumber) { return e.Study, []KitNumber{e.Kit} }

// OfKits implements OfKits.
func (e KitLost) OfKits() (domain.StudyID, []KitNumber) { return e.Study, []KitNumber{e.Kit} }

// OfKits implements OfKits.
func (e KitFound) OfKits() (domain.StudyID, []KitNumber) { return e.Study, []KitNumber{e.Kit} }

// OfKits implements OfKits.
func (e KitReplacementAsked) OfKits() (domain.StudyID, []KitNumber) {
	return e.Study, []KitNumber{e.Kit}
}

// OfKits implements OfKits.
func (e KitPutBack) OfKits() (domain.StudyID, []KitNumber) { return e.Study, []KitNumber{e.Kit} }

// OfKits implements OfKits.
func (e RecallActionRecorded) OfKits() (domain.StudyID, []KitNumber) {
	return e.Study, []KitNumber{e.Kit}
}

// OfKits implements OfKits.
func (e DestructionApproved) OfKits() (domain.StudyID, []KitNumber) { return e.Study, e.Kits }

// OfKits implements OfKits.
func (e ShipmentReceived) OfKits() (domain.StudyID, []KitNumber) {
	all := slices.Concat(e.Available, e.Quarantined, e.Damaged, e.Missing, e.Returned)
	for _, some := range e.Kept {
		if some.Status != KitLostInTransit { // those are missing
			all = append(all, some.Kits...)
		}
	}
	return e.Study, all
}

// OfKits implements OfKits. It includes the kit that is replaced.
func (e KitAllocated) OfKits() (domain.StudyID, []KitNumber) {
	if e.Replaces != "" && e.Replaces != e.Kit {
		return e.Study, []KitNumber{e.Kit, e.Replaces}
	}
	return e.Study, []KitNumber{e.Kit}
}

// OfShipment is an event that is about a shipment.
type OfShipment interface {
	// OfShipment returns the study and the shipment.
	OfShipment() (domain.StudyID, ShipmentID)
}

// OfShipment implements OfShipment.
func (e ShipmentCreated) OfShipment() (domain.StudyID, ShipmentID) { return e.Study, e.Shipment }

// OfShipment implements OfShipment.
func (e ShipmentCancelled) OfShipment() (domain.StudyID, ShipmentID) { return e.Study, e.Shipment }

// OfShipment implements OfShipment.
func (e ShipmentDispatched) OfShipment() (domain.StudyID, ShipmentID) { return e.Study, e.Shipment }

// OfShipment implements OfShipment.
func (e ShipmentReceived) OfShipment() (domain.StudyID, ShipmentID) { return e.Study, e.Shipment }

// OfShipment implements OfShipment.
func (e ShipmentLost) OfShipment() (domain.StudyID, ShipmentID) { return e.Study, e.Shipment }

// ReasonRevealsArm implements domain.ArmRevealing: a recall is about a lot, and a lot may hold kits of one arm only.
func (LotRecalled) ReasonRevealsArm() bool { return true }

// ReasonRevealsArm implements domain.ArmRevealing.
func (LotRecallWithdrawn) ReasonRevealsArm() bool { return true }

// ReasonRevealsArm implements domain.ArmRevealing.
func (LotRecallEnded) ReasonRevealsArm() bool { return true }

// ReasonRevealsArm implements domain.ArmRevealing.
func (e KitsQuarantined) ReasonRevealsArm() bool { return e.Cause == CauseRecall }

// ShownIn implements domain.ShownElsewhere: a shipment is shown to its sender and to its receiver.
func (e ShipmentCreated) ShownIn(sender domain.Scope) []domain.Scope { return bothEnds(sender, e.To) }

// ShownIn implements domain.ShownElsewhere.
func (e ShipmentDispatched) ShownIn(sender domain.Scope) []domain.Scope {
	return bothEnds(sender, e.To)
}

// ShownIn implements domain.ShownElsewhere.
func (e ShipmentReceived) ShownIn(receiver domain.Scope) []domain.Scope {
	return bothEnds(receiver, e.From)
}

// ShownIn implements domain.ShownElsewhere.
func (e ShipmentLost) ShownIn(receiver domain.Scope) []domain.Scope {
	return bothEnds(receiver, e.From)
}

func bothEnds(one domain.Scope, other LocationID) []domain.Scope {
	return []domain.Scope{one, {Study: one.Study, Site: domain.SiteID(other)}}
}

// OfApproval is an event that is about the green light of a country or of a site.
type OfApproval interface {
	// OfApproval returns the study and the country or, if there is none, the site.
	OfApproval() (domain.StudyID, string, domain.SiteID)
}

// OfApproval implements OfApproval.
func (e ShippingApproved) OfApproval() (domain.StudyID, string, domain.SiteID) {
	return e.Study, e.Country, e.Site
}

// OfApproval implements OfApproval.
func (e ShippingApprovalWithdrawn) OfApproval() (domain.StudyID, string, domain.SiteID) {
	return e.Study, e.Country, e.Site
}

// Scope implements domain.Scoped: the command is about the whole study, and the rule of a site.
func (e ResupplyRuleSet) Scope() domain.Scope { return domain.Scope{Study: e.Study, Site: e.Rule.Site} }

// Changed implements domain.Changing. Rules count kits of all arms together, so that they tell nothing of an arm.
func (e ResupplyRuleSet) Changed() []domain.ChangedValue {
	if e.Was == nil {
		return nil
	}
	return slices.Concat(domain.ChangedText("rule.depot", e.Was.Depot, e.Rule.Depot),
		domain.ChangedNumber("rule.trigger", e.Was.Trigger, e.Rule.Trigger), domain.ChangedNumber("rule.target", e.Was.Target, e.Rule.Target),
		domain.ChangedNumber("rule.overdueDays", e.Was.OverdueDays, e.Rule.OverdueDays),
		domain.ChangedNumber("rule.predictDays", e.Was.PredictDays, e.Rule.PredictDays),
		domain.ChangedNumber("rule.enrolments", e.Was.Enrolments, e.Rule.Enrolments))
}
