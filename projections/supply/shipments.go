package supply

import (
	"casebook/domain/supply"
	"casebook/projections"
	supplyviews "casebook/readmodels/supply"
)

type shipment = supplyviews.Shipment

// Shipments makes one document per shipment.
var Shipments = projections.New(supplyviews.Shipments, projections.KeyOf(func(e supply.OfShipment, _ projections.Envelope) string {
	return supplyviews.ShipmentKey(e.OfShipment())
}),
	projections.Begin(func(s *shipment, e supply.ShipmentCreated, at projections.Envelope) {
		s.Shipment, s.Study, s.From, s.To, s.Kits = e.Shipment, e.Study, e.Location, e.To, e.Kits
		s.Status, s.Resupply, s.Reason = s.Status.After(e), e.Resupply, string(e.Reason)
		s.CreatedAt, s.CreatedBy = at.Metadata.RecordedAt, at.Metadata.Actor
	}),
	projections.On(func(s *shipment, e supply.ShipmentDispatched, _ projections.Envelope) {
		s.Status, s.DispatchedOn, s.Carrier = s.Status.After(e), e.On, e.Carrier
	}),
	projections.On(func(s *shipment, e supply.ShipmentCancelled, at projections.Envelope) {
		s.End(s.Status.After(e), string(e.Reason), at.Metadata.Actor, at.Metadata.RecordedAt)
	}),
	projections.On(func(s *shipment, e supply.ShipmentReceived, at projections.Envelope) {
		s.End(s.Status.After(e), string(e.Note), at.Metadata.Actor, at.Metadata.RecordedAt)
		s.ReceivedOn, s.Excursion = e.On, e.Excursion
		s.Damaged, s.Missing, s.Quarantined = len(e.Damaged), len(e.Missing), len(e.Quarantined)
	}),
	projections.On(func(s *shipment, e supply.ShipmentLost, at projections.Envelope) {
		s.End(s.Status.After(e), string(e.Reason), at.Metadata.Actor, at.Metadata.RecordedAt)
	}),
)
