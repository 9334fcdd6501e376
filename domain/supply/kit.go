package supply

import (
	"cmp"
	"slices"

	"casebook/domain"
)

// Kit is the state of a kit in the stock of one location.
type Kit struct {
	Status KitStatus
	// Patient is the only patient who may ever get the kit; "" before the allocation.
	Patient domain.PatientID
	Visit   string
	// Step and Rescue are the dose for which it was allocated; 0 where that is not known.
	Step   int
	Rescue bool
	// Plan is the mark of what was planned for the visit then; "" where that is not known.
	Plan string
	// Shipment is the shipment that the kit leaves with, or left with.
	Shipment ShipmentID
	// Packed is the status before the kit was packed, Before the status before it was quarantined, lost, or chosen to be destroyed.
	Packed, Before KitStatus
	// ArrivedOn is the day on which the location received it; "" at the depot that took its delivery in.
	ArrivedOn domain.Date
	// Dispensed says that the kit was handed to its patient, and GivenOn on which day.
	Dispensed bool
	GivenOn   domain.Date
	// Recalled says that its lot was recalled while its patient had the kit.
	Recalled bool
	// Wanted says that its patient is to get another kit instead.
	Wanted bool
	// Replaced says that its patient got another kit instead.
	Replaced bool
	// Reconciled says that the doses are accounted for, and Doses how.
	Reconciled bool
	Doses      Doses
	// Back is how many doses came back by the counts at the returns.
	Back int
	// NotReturned says that its patient does not bring it back, and needs no other one for it. LastUsedOn is the last day on which the
	// patient used it.
	NotReturned bool
	LastUsedOn  domain.Date
	// ReturnedOn are the days on which some of it came back, and FirstActedOn the first on which something was done about it in a recall.
	ReturnedOn   []domain.Date
	FirstActedOn domain.Date
}

// notBeforeGiven refuses a day on which the patient did not have the kit yet (code before_dispensing).
func (k Kit) notBeforeGiven(on domain.Date, what string) error {
	return on.NotBefore(k.GivenOn, "before_dispensing", "on", what, "the day when the kit was given out")
}

// KitStatus is the status of a kit in its life cycle.
type KitStatus string

// The statuses of a kit. The field calls an available kit of a depot "in depot".
const (
	// KitRegistered is the status before the depot takes the delivery in. No stock has the kit yet.
	KitRegistered  KitStatus = "registered"
	KitAvailable   KitStatus = "available"
	KitPacked      KitStatus = "packed"     // packed for a shipment that has not left
	KitInTransit   KitStatus = "in_transit" // sent; from now on the receiver's stream decides about it
	KitIsAllocated KitStatus = "allocated"
	KitIsDispensed KitStatus = "dispensed"
	// KitUnavailable kits were allocated and never given out. They may still go to their patient, and to nobody else.
	KitUnavailable KitStatus = "temporarily_unavailable"
	KitIsReturned  KitStatus = "returned_by_patient"
	// KitSentBack kits have come back to a depot, and go to nobody any more.
	KitSentBack    KitStatus = "returned_to_depot"
	KitQuarantined KitStatus = "quarantined"
	// KitIsRecalled kits are in quarantine because their lot was recalled.
	KitIsRecalled         KitStatus = "recalled"
	KitDamaged            KitStatus = "damaged"
	KitExpired            KitStatus = "expired"
	KitPendingDestruction KitStatus = "pending_destruction"
	KitDestroyed          KitStatus = "destroyed"
	KitLostInTransit      KitStatus = "lost_in_transit"
	KitLostAtSite         KitStatus = "lost_at_site" // or at the depot
	KitLostByPatient      KitStatus = "lost_by_patient"
)

// KitStatuses are all statuses of a kit.
var KitStatuses = []KitStatus{KitRegistered, KitAvailable, KitPacked, KitInTransit, KitIsAllocated, KitIsDispensed, KitUnavailable,
	KitIsReturned, KitSentBack, KitQuarantined, KitIsRecalled, KitDamaged, KitExpired, KitPendingDestruction, KitDestroyed,
	KitLostInTransit, KitLostAtSite, KitLostByPatient}

// Lost says that nobody knows where the kit is.
func (s KitStatus) Lost() bool {
	return s == KitLostInTransit || s == KitLostAtSite || s == KitLostByPatient
}

// InQuarantine says that the kit waits for a decision.
func (s KitStatus) InQuarantine() bool { return s == KitQuarantined || s == KitIsRecalled }

// Schema implements domain.HasSchema.
func (KitStatus) Schema() domain.Schema { return domain.OneOf(KitStatuses...) }

// After returns the kit, whose number is n, after an event that is about it. Stocks and views both use it.
func (k Kit) After(n KitNumber, event StockEvent) Kit {
	switch e := event.(type) {
	case DeliveryTakenIn:
		return Kit{Status: KitAvailable}
	case ShipmentCreated:
		k.Packed, k.Status, k.Shipment = k.Status, KitPacked, e.Shipment
	case ShipmentCancelled:
		return k.unpacked(e.Shipment)
	case ShipmentDispatched:
		k.Status = KitInTransit
	case ShipmentReceived:
		k = e.arrived(n)
		k.ArrivedOn = e.On
		return k
	case ShipmentLost:
		return e.Kept.of(n, Kit{Status: KitLostInTransit, Before: KitAvailable})
	case KitsQuarantined:
		return k.quarantined(n, e)
	case LotRecallEnded:
		k.Recalled = false
	case KitsReleased:
		k.Status, k.Before = k.Before, ""
	case KitAllocated:
		k.Replaced = k.Replaced || n == e.Replaces && n != e.Kit
		if n == e.Kit {
			k.Status, k.Patient, k.Visit, k.Reconciled = KitIsAllocated, e.Patient, e.Visit, false
			k.Step, k.Rescue, k.Plan = e.Step, e.Rescue, e.Plan
		}
	case KitsSetAside:
		k.Status, k.Reconciled = KitUnavailable, true
	case KitPutBack:
		if e.Shelved {
			return Kit{Status: KitAvailable, ArrivedOn: k.ArrivedOn}
		}
		k.Status, k.Reconciled = KitUnavailable, true
	case KitReplacementAsked:
		return k.unserviceable(e.Cause)
	case KitDispensed:
		k.Status, k.Dispensed, k.GivenOn = KitIsDispensed, true, e.On
	case KitReturned:
		k.Status, k.Back = KitIsReturned, k.Back+e.Units
		return k.returnedOn(e.On)
	case KitPartlyReturned:
		k.Back += e.Units
		return k.returnedOn(e.On)
	case KitNotReturned:
		k = k.takenOut(KitLostByPatient)
		k.NotReturned, k.LastUsedOn = true, e.On
	case DispensingDateCorrected:
		k.GivenOn = e.To
	case ReturnDateCorrected:
		return k.backOnAnotherDay(e)
	case RecallActionRecorded:
		return k.actedOn(e.On)
	case KitReconciled:
		k.Reconciled, k.Doses = true, Doses{e.Returned, e.Used, e.Lost}
	case KitRecounted:
		k.Doses = e.To
	case KitsExpired:
		return k.expired()
	case KitsDestroyed:
		k.Status = KitDestroyed
	case KitLost:
		k = k.takenOut(KitLostAtSite)
		if k.Before == KitIsDispensed {
			k.Status = KitLostByPatient
		}
	case KitFound:
		return k.found()
	case DestructionApproved:
		return k.takenOut(KitPendingDestruction)
	case ResupplyFellShort, ResupplyWithheld, ResupplyPredicted, StockHeld, StockRefused, HoldReleased,
		AllocationFailed: // they name no kit openly
	case KitsRelabelled, UnscheduledKitAsked, ReplacementsAllowed: // they leave the kit where it is
	}
	return k
}

// quarantined returns the kit after a quarantine. One that its patient has at home stays there.
func (k Kit) quarantined(n KitNumber, e KitsQuarantined) Kit {
	if slices.Contains(e.AtHome, n) {
		k.Recalled = true
		return k
	}
	if k.Status != KitExpired || k.Before == "" { // an expired one has a new label, and comes back to what it was before its expiry
		k.Before = k.Status
	}
	k.Status = KitQuarantined
	if e.Cause == CauseRecall {
		k.Status = KitIsRecalled
	}
	return k
}

// expired returns the kit after its expiry, which remembers what it was: it may get a new label with a later one. A kit that was
// allocated can then still go to its patient.
func (k Kit) expired() Kit {
	if !k.Status.InQuarantine() {
		k.Before = k.Status
	}
	switch k.Before {
	case KitPacked: // it does not leave with its shipment
		k.Before = k.Packed
	case KitIsAllocated:
		k.Before = KitUnavailable
	default:
	}
	k.Status = KitExpired
	return k
}

// unserviceable returns a kit that its patient is to get no more, or has to give back.
func (k Kit) unserviceable(cause ReplacementCause) Kit {
	k.Wanted = true
	switch {
	case cause == LostByPatient:
		return k.takenOut(KitLostByPatient)
	case cause == KitWasDamaged:
		k.Status = KitDamaged
	case k.Status == KitIsAllocated:
		k.Before, k.Status = k.Status, KitQuarantined
	}
	return k
}

// takenOut returns the kit in a status from which it may come back to the one before. It leaves with no shipment that it was packed for.
func (k Kit) takenOut(to KitStatus) Kit {
	switch k.Before = cmp.Or(k.Before, k.Status); {
	case k.Status == KitExpired:
		k.Before = KitExpired
	case k.Before == KitPacked:
		k.Before = k.Packed
	}
	k.Status, k.Packed, k.Shipment = to, "", ""
	return k
}

// found returns the kit after it was found. A patient has it again who had it, and otherwise somebody has to decide about it.
func (k Kit) found() Kit {
	if k.Before == KitIsDispensed {
		k.Status, k.Before, k.NotReturned, k.LastUsedOn, k.Reconciled = KitIsDispensed, "", false, "", false
		return k
	}
	k.Status = KitQuarantined
	return k
}

// serves says that the kit was given to its patient, or can be, so that the patient needs no other one for the visit. newest says
// that the patient got no later kit: one of a former visit that was lost, or is recalled, is not given out again.
func (k Kit) serves(newest bool) bool {
	switch {
	case k.Wanted:
		return false
	case k.Dispensed:
		return !newest || !k.Recalled && (k.Status != KitLostByPatient || k.NotReturned)
	}
	return k.Status == KitIsAllocated
}

// unpacked returns the kit after a shipment that it was packed for was cancelled. A kit that expired in that shipment
// may have been packed for another one since; then it does not change.
func (k Kit) unpacked(from ShipmentID) Kit {
	if k.Shipment != from {
		return k
	}
	if k.Status == KitPacked {
		k.Status = k.Packed
	}
	if k.Before == KitPacked { // it is in quarantine
		k.Before = k.Packed
	}
	k.Packed, k.Shipment = "", ""
	return k
}

// arrived returns the state of a kit of the shipment in the stock of the receiver.
func (e ShipmentReceived) arrived(n KitNumber) Kit {
	switch {
	case slices.Contains(e.Quarantined, n):
		return Kit{Status: KitQuarantined, Before: KitAvailable}
	case slices.Contains(e.Damaged, n):
		return Kit{Status: KitDamaged}
	case slices.Contains(e.Missing, n):
		return e.Kept.of(n, Kit{Status: KitLostInTransit, Before: KitAvailable})
	case slices.Contains(e.Returned, n):
		return Kit{Status: KitSentBack, Reconciled: true}
	}
	return e.Kept.of(n, Kit{Status: KitAvailable})
}

// of returns a kit as it arrived, or otherwise the one that is given.
func (all Keeping) of(n KitNumber, otherwise Kit) Kit {
	for _, some := range all {
		if slices.Contains(some.Kits, n) {
			return Kit{Status: some.Status, Before: some.Before, Reconciled: true}
		}
	}
	return otherwise
}

// with returns the list with one more kit.
func (all Keeping) with(n KitNumber, status, before KitStatus) Keeping {
	for i, some := range all {
		if some.Status == status && some.Before == before {
			all[i].Kits = append(all[i].Kits, n)
			return all
		}
	}
	return append(all, Kept{Status: status, Before: before, Kits: []KitNumber{n}})
}

// released is the status that a kit which was packed has when it is released from a quarantine.
func (k Kit) released() KitStatus { return cmp.Or(k.Before, k.Packed) }

// unused says that a kit which was packed could go to any patient once somebody has decided so: no patient ever had it.
func (k Kit) unused() bool {
	return k.Patient == "" && k.released() == KitAvailable && (k.Packed == KitAvailable || k.Packed == KitQuarantined)
}
