package supply

import (
	"casebook/domain"
	"casebook/domain/supply"
	"casebook/projections"
	supplyviews "casebook/readmodels/supply"
)

type shipment = supplyviews.Shipment

// Shipments makes a document a shipment.
var Shipments = projections.New(supplyviews.Shipments, byShipment,
	projections.On(func(s *shipment, e supply.ShipmentCreated, at projections.Envelope) {
		s.Shipment, s.Study, s.From, s.To, s.Kits = e.Shipment, e.Study, e.Location, e.To, e.Kits
		s.Status, s.Resupply, s.Reason = supply.ShipmentPacked, e.Resupply, e.Reason
		s.CreatedAt, s.CreatedBy = at.Metadata.RecordedAt, at.Metadata.Actor
	}),
	projections.On(func(s *shipment, e supply.ShipmentDispatched, _ projections.Envelope) {
		s.Status, s.DispatchedOn, s.Carrier = supply.ShipmentOnItsWay, e.On, e.Carrier
	}),
	projections.On(func(s *shipment, e supply.ShipmentCancelled, at projections.Envelope) {
		s.End(supply.ShipmentIsCanceled, e.Reason, at.Metadata.Actor, at.Metadata.RecordedAt)
	}),
	projections.On(func(s *shipment, e supply.ShipmentReceived, at projections.Envelope) {
		s.End(supply.ShipmentArrived, e.Note, at.Metadata.Actor, at.Metadata.RecordedAt)
		s.ReceivedOn, s.Excursion = e.On, e.Excursion
		s.Damaged, s.Missing, s.Quarantined = len(e.Damaged), len(e.Missing), len(e.Quarantined)
	}),
	projections.On(func(s *shipment, e supply.ShipmentLost, at projections.Envelope) {
		s.End(supply.ShipmentIsLost, e.Reason, at.Metadata.Actor, at.Metadata.RecordedAt)
	}),
).BegunBy(func(at projections.Envelope) bool {
	_, created := at.Event.(supply.ShipmentCreated)
	return created
})

func byShipment(at projections.Envelope) []string {
	var study domain.StudyID
	var id supply.ShipmentID
	switch e := at.Event.(type) {
	case supply.ShipmentCreated:
		study, id = e.Study, e.Shipment
	case supply.ShipmentDispatched:
		study, id = e.Study, e.Shipment
	case supply.ShipmentCancelled:
		study, id = e.Study, e.Shipment
	case supply.ShipmentReceived:
		study, id = e.Study, e.Shipment
	case supply.ShipmentLost:
		study, id = e.Study, e.Shipment
	}
	return []string{supplyviews.ShipmentKey(study, id)}
}
