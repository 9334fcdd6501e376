package supply

import (
	"slices"

	"casebook/domain"
)

// Kit is the state of a kit in the stock of one location.
type Kit struct {
	Status KitStatus
	// Patient is the only patient who may ever get the kit; "" before the allocation.
	Patient domain.PatientID
	Visit   string
	// Shipment is the shipment that the kit leaves with, or left with.
	Shipment ShipmentID
	// Packed is the status before the kit was packed, Before the status before its quarantine.
	Packed, Before KitStatus
	// Dispensed says that the kit was handed to its patient.
	Dispensed bool
	// Replaced says that its patient got another kit instead.
	Replaced bool
	// Reconciled says that the doses are accounted for.
	Reconciled bool
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
	case ResupplyFellShort, StockHeld, StockRefused, HoldReleased, AllocationFailed: // they name no kit openly
	}
	return k
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
		return Kit{Status: KitIsLost}
	case slices.Contains(e.Returned, n):
		return Kit{Status: KitIsReturned, Reconciled: true}
	}
	return Kit{Status: KitAvailable}
}
