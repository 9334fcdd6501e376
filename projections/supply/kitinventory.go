package supply

import (
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/supply"
	"casebook/projections"
	supplyviews "casebook/readmodels/supply"
)

type kit = supplyviews.Kit

// KitInventory makes a document a kit. It is folded of what blinded people may know: contents stay sealed, and events
// that would tell of them (which kits are held, which lot was recalled, what has run out on which day) leave in it no more
// than where the kit stands.
var KitInventory = projections.New(supplyviews.KitInventories, byKit,
	projections.On(func(k *kit, e supply.KitsRegistered, at projections.Envelope) {
		k.Kit, k.Study, k.Location, k.Status = numberOf(k), e.Study, e.Depot, supply.KitRegistered
		noted(k, at, supplyviews.Custody{At: e.Depot})
	}),
	projections.On(func(k *kit, e supply.DeliveryTakenIn, at projections.Envelope) {
		k.Status = supply.KitAvailable
		noted(k, at, supplyviews.Custody{At: e.Location})
	}),
	projections.On(func(k *kit, e supply.ShipmentCreated, at projections.Envelope) {
		if k.ID == supplyviews.ShippedKey(e.Study, e.Shipment) {
			k.Shipped = byKit(at)
			return
		}
		k.Packed, k.Status, k.Shipment = k.Status, supply.KitPacked, e.Shipment
		noted(k, at, supplyviews.Custody{At: e.Location, Shipment: e.Shipment, Note: e.Reason})
	}),
	projections.On(func(k *kit, e supply.ShipmentCancelled, at projections.Envelope) {
		if k.ID == supplyviews.ShippedKey(e.Study, e.Shipment) {
			return
		}
		if k.Before == supply.KitPacked { // it was set aside meanwhile
			k.Before = k.Packed
		}
		if k.Status == supply.KitPacked {
			k.Status = k.Packed
		}
		k.Shipment, k.Packed = "", ""
		noted(k, at, supplyviews.Custody{At: e.Location, Shipment: e.Shipment, Note: e.Reason})
	}),
	projections.On(func(k *kit, e supply.ShipmentDispatched, at projections.Envelope) {
		if k.ID == supplyviews.ShippedKey(e.Study, e.Shipment) {
			return
		}
		k.Status = supply.KitInTransit
		noted(k, at, supplyviews.Custody{At: e.Location, On: e.On, Shipment: e.Shipment, Note: e.Carrier})
	}),
	projections.On(func(k *kit, e supply.ShipmentReceived, at projections.Envelope) {
		number, status := numberOf(k), supply.KitAvailable
		switch {
		case slices.Contains(e.Quarantined, number):
			status, k.Before = supply.KitQuarantined, supply.KitAvailable
		case slices.Contains(e.Damaged, number):
			status = supply.KitDamaged
		case slices.Contains(e.Missing, number):
			status = supply.KitIsLost
		case slices.Contains(e.Returned, number):
			status = supply.KitIsReturned
		}
		k.Location, k.Status, k.Shipment, k.Packed = e.Location, status, "", ""
		noted(k, at, supplyviews.Custody{At: e.Location, On: e.On, Shipment: e.Shipment, Note: e.Note})
	}),
	projections.On(func(k *kit, e supply.ShipmentLost, at projections.Envelope) {
		k.Location, k.Status, k.Shipment, k.Packed = e.Location, supply.KitIsLost, "", ""
		noted(k, at, supplyviews.Custody{At: e.Location, Shipment: e.Shipment, Note: e.Reason})
	}),
	projections.On(func(k *kit, e supply.KitsQuarantined, at projections.Envelope) {
		k.Before, k.Status = k.Status, supply.KitQuarantined
		note := string(e.Cause)
		if e.Cause != supply.CauseRecall { // the reason of a recall is free to name the lot
			note += ": " + e.Reason
		}
		noted(k, at, supplyviews.Custody{At: e.Location, Note: note})
	}),
	projections.On(func(k *kit, e supply.KitsReleased, at projections.Envelope) {
		k.Status, k.Before = k.Before, ""
		noted(k, at, supplyviews.Custody{At: e.Location, Note: e.Reason})
	}),
	projections.On(func(k *kit, e supply.KitAllocated, at projections.Envelope) {
		if e.Kit != numberOf(k) {
			k.Replaced = true
			noted(k, at, supplyviews.Custody{At: e.Location, Note: "replaced by kit " + string(e.Kit)})
			return
		}
		k.Status, k.Patient, k.Visit = supply.KitIsAllocated, e.Patient, e.Visit
		k.Given = &supplyviews.Given{Patient: e.Patient, Site: e.Location}
		noted(k, at, supplyviews.Custody{At: e.Location})
	}),
	projections.On(func(k *kit, e supply.KitsSetAside, at projections.Envelope) {
		k.Status, k.Reconciled = supply.KitIsReturned, 1
		noted(k, at, supplyviews.Custody{At: e.Location, Note: e.Reason})
	}),
	projections.On(func(k *kit, e supply.KitDispensed, at projections.Envelope) {
		k.Status, k.Dispensed = supply.KitIsDispensed, 1
		noted(k, at, supplyviews.Custody{At: e.Location, On: e.On})
	}),
	projections.On(func(k *kit, e supply.KitReturned, at projections.Envelope) {
		k.Status, k.CameBack = supply.KitIsReturned, 1
		noted(k, at, supplyviews.Custody{At: e.Location, On: e.On})
	}),
	projections.On(func(k *kit, e supply.KitReconciled, at projections.Envelope) {
		k.Reconciled, k.Returned, k.Used, k.Lost = 1, e.Returned, e.Used, e.Lost
		noted(k, at, supplyviews.Custody{At: e.Location})
	}),
	projections.On(func(k *kit, e supply.KitsExpired, at projections.Envelope) {
		k.Status = supply.KitExpired
		noted(k, at, supplyviews.Custody{At: e.Location})
	}),
	projections.On(func(k *kit, e supply.KitsDestroyed, at projections.Envelope) {
		k.Status = supply.KitDestroyed
		noted(k, at, supplyviews.Custody{At: e.Location, On: e.On, Note: e.Certificate})
	}),
	projections.On(func(k *kit, e supply.KitLost, at projections.Envelope) {
		k.Status = supply.KitIsLost
		noted(k, at, supplyviews.Custody{At: e.Location, Note: e.Reason})
	}),
).BegunBy(func(at projections.Envelope) bool {
	_, registered := at.Event.(supply.KitsRegistered)
	return registered
}).Grouped(func(at projections.Envelope) string {
	switch e := at.Event.(type) {
	case supply.ShipmentCreated:
		return supplyviews.ShippedKey(e.Study, e.Shipment)
	case supply.ShipmentCancelled:
		return supplyviews.ShippedKey(e.Study, e.Shipment)
	case supply.ShipmentDispatched:
		return supplyviews.ShippedKey(e.Study, e.Shipment)
	}
	return ""
})

// noted adds to the chain of custody what happened.
func noted(k *kit, at projections.Envelope, c supplyviews.Custody) {
	c.What, c.By, c.RecordedAt = at.Type, at.Metadata.Actor, at.Metadata.RecordedAt
	k.Note(c)
}

// numberOf is the number of the document's kit, which its key ends with.
func numberOf(k *kit) supply.KitNumber {
	_, number, _ := strings.Cut(k.ID, "/")
	return supply.KitNumber(number)
}

func byKit(at projections.Envelope) []string {
	study, kits := kitsOf(at.Event)
	keys := make([]string, len(kits))
	for i, n := range kits {
		keys[i] = supplyviews.KitKey(study, n)
	}
	return keys
}

// kitsOf are the kits that an event names, each once.
func kitsOf(event any) (domain.StudyID, []supply.KitNumber) {
	switch e := event.(type) {
	case supply.KitsRegistered:
		return e.Study, e.Kits
	case supply.DeliveryTakenIn:
		return e.Study, e.Kits
	case supply.ShipmentCreated:
		return e.Study, e.Kits
	case supply.ShipmentReceived:
		return e.Study, slices.Concat(e.Available, e.Quarantined, e.Damaged, e.Missing, e.Returned)
	case supply.ShipmentLost:
		return e.Study, e.Kits
	case supply.KitsQuarantined:
		return e.Study, e.Kits
	case supply.KitsReleased:
		return e.Study, e.Kits
	case supply.KitAllocated:
		if e.Replaces != "" && e.Replaces != e.Kit {
			return e.Study, []supply.KitNumber{e.Kit, e.Replaces}
		}
		return e.Study, []supply.KitNumber{e.Kit}
	case supply.KitsSetAside:
		return e.Study, e.Kits
	case supply.KitDispensed:
		return e.Study, []supply.KitNumber{e.Kit}
	case supply.KitReturned:
		return e.Study, []supply.KitNumber{e.Kit}
	case supply.KitReconciled:
		return e.Study, []supply.KitNumber{e.Kit}
	case supply.KitsExpired:
		return e.Study, e.Kits
	case supply.KitsDestroyed:
		return e.Study, e.Kits
	case supply.KitLost:
		return e.Study, []supply.KitNumber{e.Kit}
	}
	return "", nil
}
