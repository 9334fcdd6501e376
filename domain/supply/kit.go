package supply

import (
	"slices"

	"casebook/domain"
)

// Kit is a kit as one place knows it.
type Kit struct {
	Status KitStatus
	// Patient is the only one who may ever get the kit; "" for nobody yet.
	Patient domain.PatientID
	Visit   string
	// Shipment is the one that it leaves with, or left with.
	Shipment ShipmentID
	// Packed is what it was before it was set aside for a shipment, Before what it was before its quarantine.
	Packed, Before KitStatus
	// Dispensed says that its patient has had it in hand.
	Dispensed bool
	// Replaced says that its patient got another one instead.
	Replaced bool
	// Reconciled says that its doses are accounted for.
	Reconciled bool
}

// KitStatus is what has become of a kit.
type KitStatus string

// The statuses of a kit. At a depot, what is available is what the field calls in depot.
const (
	// KitRegistered is known and not yet in its depot's stock, so that no stock has it.
	KitRegistered  KitStatus = "registered"
	KitAvailable   KitStatus = "available"
	KitPacked      KitStatus = "packed"     // set aside for a shipment that has not left
	KitInTransit   KitStatus = "in_transit" // sent; the receiving place decides from here on
	KitIsAllocated KitStatus = "allocated"
	KitIsDispensed KitStatus = "dispensed"
	KitIsReturned  KitStatus = "returned" // by its patient, or set aside for good
	KitQuarantined KitStatus = "quarantined"
	KitDamaged     KitStatus = "damaged"
	KitExpired     KitStatus = "expired"
	KitDestroyed   KitStatus = "destroyed"
	KitIsLost      KitStatus = "lost"
)

// KitStatuses are all statuses of a kit.
var KitStatuses = []KitStatus{KitRegistered, KitAvailable, KitPacked, KitInTransit, KitIsAllocated, KitIsDispensed, KitIsReturned,
	KitQuarantined, KitDamaged, KitExpired, KitDestroyed, KitIsLost}

// Schema implements domain.HasSchema.
func (KitStatus) Schema() domain.Schema { return domain.OneOf(KitStatuses...) }

// After returns the kit with the number n after an event that is about it. Stocks and views both use it.
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
		return e.arrived(n)
	case ShipmentLost:
		return Kit{Status: KitIsLost}
	case KitsQuarantined:
		k.Before, k.Status = k.Status, KitQuarantined
	case KitsReleased:
		k.Status, k.Before = k.Before, ""
	case KitAllocated:
		k.Replaced = k.Replaced || n == e.Replaces
		if n == e.Kit {
			k.Status, k.Patient, k.Visit = KitIsAllocated, e.Patient, e.Visit
		}
	case KitsSetAside:
		k.Status, k.Reconciled = KitIsReturned, true
	case KitDispensed:
		k.Status, k.Dispensed = KitIsDispensed, true
	case KitReturned:
		k.Status = KitIsReturned
	case KitReconciled:
		k.Reconciled = true
	case KitsExpired:
		k.Status = KitExpired
	case KitsDestroyed:
		k.Status = KitDestroyed
	case KitLost:
		k.Status = KitIsLost
	case ResupplyFellShort, StockHeld, StockRefused, HoldReleased, AllocationFailed: // about no kit that blinded people may know of
	}
	return k
}

// unpacked returns the kit after the shipment that it was packed for was cancelled. One that expired in it may have been
// packed with another since.
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

// arrived returns a kit of the shipment as the receiving place knows it.
func (e ShipmentReceived) arrived(n KitNumber) Kit {
	switch {
	case slices.Contains(e.Quarantined, n):
		return Kit{Status: KitQuarantined, Before: KitAvailable}
	case slices.Contains(e.Damaged, n):
		return Kit{Status: KitDamaged}
	case slices.Contains(e.Missing, n):
		return Kit{Status: KitIsLost}
	case slices.Contains(e.Returned, n):
		return Kit{Status: KitIsReturned, Reconciled: true}
	}
	return Kit{Status: KitAvailable}
}
