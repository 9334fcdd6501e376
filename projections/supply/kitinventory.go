package supply

import (
	"strings"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/supply"
	"casebook/projections"
	supplyviews "casebook/readmodels/supply"
)

type kit = supplyviews.Kit

// KitInventory makes one document per kit, and one per shipment, which names the shipment's kits. It shows only what blinded
// people may know. Contents stay sealed. Some events could reveal contents: which kits are held, which lot was recalled,
// which kits expired on which day. Of these it shows only the kit's status.
var KitInventory = projections.New(supplyviews.KitInventories,
	projections.InGroups[supply.ShipmentCreated](projections.KeysOf(func(e supply.OfKits,
		_ projections.Envelope) []string {
		return keysOf(e)
	}),
		func(e supply.OfShipment) string { return supplyviews.ShippedKey(e.OfShipment()) }),
	projections.Begin(func(k *kit, e supply.KitsRegistered, at projections.Envelope) {
		k.Kit, k.Study, k.Location, k.Status = numberOf(k), e.Study, e.Depot, supply.KitRegistered
		noted(k, at, supplyviews.Custody{At: e.Depot})
	}),
	projections.On(func(k *kit, e supply.DeliveryTakenIn, at projections.Envelope) {
		follow(k, e, at, supplyviews.Custody{At: e.Location})
	}),
	projections.On(func(k *kit, e supply.ShipmentCreated, at projections.Envelope) {
		if isShipment(k, e) {
			k.Shipped = keysOf(e)
			return
		}
		follow(k, e, at, supplyviews.Custody{At: e.Location, Shipment: e.Shipment, Note: string(e.Reason)})
	}),
	projections.On(func(k *kit, e supply.ShipmentCancelled, at projections.Envelope) {
		if k.Shipment == e.Shipment { // else it has been packed with another since
			follow(k, e, at, supplyviews.Custody{At: e.Location, Shipment: e.Shipment, Note: string(e.Reason)})
		}
	}),
	projections.On(func(k *kit, e supply.ShipmentDispatched, at projections.Envelope) {
		if !isShipment(k, e) {
			follow(k, e, at, supplyviews.Custody{At: e.Location, On: e.On, Shipment: e.Shipment, Note: e.Carrier})
		}
	}),
	projections.On(func(k *kit, e supply.ShipmentReceived, at projections.Envelope) {
		k.Location = e.Location
		follow(k, e, at, supplyviews.Custody{At: e.Location, On: e.On, Shipment: e.Shipment, Note: string(e.Note)})
	}),
	projections.On(func(k *kit, e supply.ShipmentLost, at projections.Envelope) {
		k.Location = e.Location
		follow(k, e, at, supplyviews.Custody{At: e.Location, Shipment: e.Shipment, Note: string(e.Reason)})
	}),
	projections.On(func(k *kit, e supply.KitsQuarantined, at projections.Envelope) {
		note := string(e.Cause)
		if e.Cause != supply.CauseRecall { // the reason of a recall is free to name the lot
			note += ": " + string(e.Reason)
		}
		was := k.Recalled
		stand(k, e)
		if k.Recalled && !was {
			k.RecallAction = "" // what was done about a former recall does not count
		}
		noted(k, at, supplyviews.Custody{At: e.Location, Note: note})
	}),
	projections.On(func(k *kit, e supply.LotRecallEnded, at projections.Envelope) {
		follow(k, e, at, supplyviews.Custody{At: e.Location, Note: "the recall was withdrawn"})
	}),
	projections.On(func(k *kit, e supply.KitReplacementAsked, at projections.Envelope) {
		follow(k, e, at, supplyviews.Custody{At: e.Location, Note: string(e.Cause) + ": " + string(e.Reason)})
	}),
	projections.On(func(k *kit, e supply.KitPutBack, at projections.Envelope) {
		k.Reconciled = 1
		if e.Shelved { // it is nobody's again
			k.Reconciled, k.Patient, k.Visit = 0, "", ""
		}
		follow(k, e, at, supplyviews.Custody{At: e.Location, Note: string(e.Reason)})
	}),
	projections.On(func(k *kit, e supply.RecallActionRecorded, at projections.Envelope) {
		k.RecallAction = e.Action
		note := string(e.Action)
		if e.Note != "" {
			note += ": " + string(e.Note)
		}
		follow(k, e, at, supplyviews.Custody{At: e.Location, On: e.On, Note: note})
	}),
	projections.On(func(k *kit, e supply.DestructionApproved, at projections.Envelope) {
		follow(k, e, at, supplyviews.Custody{At: e.Location, Note: string(e.Reason)})
	}),
	projections.On(func(k *kit, e supply.KitFound, at projections.Envelope) {
		if k.Before == supply.KitIsDispensed { // its patient has it again, and its doses are to be accounted for
			k.Reconciled, k.Returned, k.Used, k.Lost = 0, 0, 0, 0
		}
		follow(k, e, at, supplyviews.Custody{At: e.Location, Note: string(e.Reason)})
	}),
	projections.On(func(k *kit, e supply.KitsReleased, at projections.Envelope) {
		follow(k, e, at, supplyviews.Custody{At: e.Location, Note: string(e.Reason)})
	}),
	projections.On(func(k *kit, e supply.KitAllocated, at projections.Envelope) {
		if e.Kit != numberOf(k) {
			k.Replaced = true
			follow(k, e, at, supplyviews.Custody{At: e.Location, Note: "replaced by kit " + string(e.Kit)})
			return
		}
		k.Patient, k.Visit, k.Given = e.Patient, e.Visit, &supplyviews.Given{Patient: e.Patient, Site: e.Location}
		k.Reconciled = 0 // one that was put back is given to its patient after all
		follow(k, e, at, supplyviews.Custody{At: e.Location})
	}),
	projections.On(func(k *kit, e supply.KitsSetAside, at projections.Envelope) {
		k.Reconciled = 1
		follow(k, e, at, supplyviews.Custody{At: e.Location, Note: string(e.Reason)})
	}),
	projections.On(func(k *kit, e supply.KitDispensed, at projections.Envelope) {
		k.Dispensed, k.DispensedOn = 1, e.On
		follow(k, e, at, supplyviews.Custody{At: e.Location, On: e.On})
	}),
	projections.On(func(k *kit, e supply.KitReturned, at projections.Envelope) {
		k.CameBack, k.BackOn = 1, e.On
		follow(k, e, at, supplyviews.Custody{At: e.Location, On: e.On})
	}),
	projections.On(func(k *kit, e supply.KitPartlyReturned, at projections.Envelope) {
		k.BackOn = e.On
		follow(k, e, at, supplyviews.Custody{At: e.Location, On: e.On})
	}),
	projections.On(func(k *kit, e supply.KitNotReturned, at projections.Envelope) {
		follow(k, e, at, supplyviews.Custody{At: e.Location, On: e.On, Note: string(e.Reason)})
	}),
	projections.On(func(k *kit, e supply.DispensingDateCorrected, at projections.Envelope) {
		k.DispensedOn = e.To
		follow(k, e, at, supplyviews.Custody{At: e.Location, On: e.To, Note: otherDay(e.From, e.To, e.Reason)})
	}),
	projections.On(func(k *kit, e supply.ReturnDateCorrected, at projections.Envelope) {
		k.BackOn = e.BackOn
		follow(k, e, at, supplyviews.Custody{At: e.Location, On: e.To, Note: otherDay(e.From, e.To, e.Reason)})
	}),
	projections.On(func(k *kit, e supply.KitRecounted, at projections.Envelope) {
		k.Returned, k.Used, k.Lost = e.To.Returned, e.To.Used, e.To.Lost
		follow(k, e, at, supplyviews.Custody{At: e.Location, Note: string(e.Reason)})
	}),
	projections.On(func(k *kit, e supply.KitReconciled, at projections.Envelope) {
		k.Reconciled, k.Returned, k.Used, k.Lost = 1, e.Returned, e.Used, e.Lost
		follow(k, e, at, supplyviews.Custody{At: e.Location})
	}),
	projections.On(func(k *kit, e supply.KitsExpired, at projections.Envelope) {
		follow(k, e, at, supplyviews.Custody{At: e.Location})
	}),
	projections.On(func(k *kit, e supply.KitsDestroyed, at projections.Envelope) {
		note := e.Certificate
		if e.Witness != "" {
			note += ", seen by " + string(e.Witness)
		}
		follow(k, e, at, supplyviews.Custody{At: e.Location, On: e.On, Note: note})
	}),
	projections.On(func(k *kit, e supply.KitLost, at projections.Envelope) {
		follow(k, e, at, supplyviews.Custody{At: e.Location, Note: string(e.Reason)})
	}),
)

// follow gives the kit the status that it has after an event, and notes the event in the chain of custody.
func follow(k *kit, e supply.StockEvent, at projections.Envelope, c supplyviews.Custody) {
	stand(k, e)
	noted(k, at, c)
}

// stand gives the kit the status that it has after an event.
func stand(k *kit, e supply.StockEvent) {
	is := supply.Kit{Status: k.Status, Shipment: k.Shipment, Packed: k.Packed, Before: k.Before, Recalled: k.Recalled}.After(numberOf(k), e)
	k.Status, k.Shipment, k.Packed, k.Before, k.Recalled = is.Status, is.Shipment, is.Packed, is.Before, is.Recalled
}

// noted adds an event to the chain of custody, after all that it changes.
func noted(k *kit, at projections.Envelope, c supplyviews.Custody) {
	c.What, c.By, c.RecordedAt = at.Type, at.Metadata.Actor, at.Metadata.RecordedAt
	k.Note(c)
}

// otherDay is the note of a corrected day, with the old one and the new one.
func otherDay(from, to domain.Date, reason personal.Text) string {
	return string(from) + " -> " + string(to) + ": " + string(reason)
}

// isShipment says whether the document is that of the shipment, which names its kits.
func isShipment(k *kit, e supply.OfShipment) bool {
	return k.ID == supplyviews.ShippedKey(e.OfShipment())
}

// numberOf returns the number of the document's kit, with which its key ends.
func numberOf(k *kit) supply.KitNumber {
	_, number, _ := strings.Cut(k.ID, "/")
	return supply.KitNumber(number)
}

// keysOf returns the keys of the kits that an event names.
func keysOf(e supply.OfKits) []string {
	study, kits := e.OfKits()
	keys := make([]string, len(kits))
	for i, n := range kits {
		keys[i] = supplyviews.KitKey(study, n)
	}
	return keys
}
