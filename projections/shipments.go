package projections

import (
	"casebook/domain"
	"casebook/domain/supply"
	"casebook/readmodels"
)

type shipment = readmodels.Shipment

// Shipments makes a document a shipment.
var Shipments = New(readmodels.Shipments, byShipment,
	On(func(s *shipment, e supply.ShipmentCreated, at Envelope) {
		s.Shipment, s.Study, s.From, s.To, s.Kits = e.Shipment, e.Study, e.Location, e.To, e.Kits
		s.Status, s.Resupply, s.Reason = supply.ShipmentPacked, e.Resupply, e.Reason
		s.CreatedAt, s.CreatedBy = at.Metadata.RecordedAt, at.Metadata.Actor
	}),
	On(func(s *shipment, e supply.ShipmentDispatched, _ Envelope) {
		s.Status, s.DispatchedOn, s.Carrier = supply.ShipmentOnItsWay, e.On, e.Carrier
	}),
	On(func(s *shipment, e supply.ShipmentCancelled, at Envelope) {
		s.End(supply.ShipmentIsCanceled, e.Reason, at.Metadata.Actor, at.Metadata.RecordedAt)
	}),
	On(func(s *shipment, e supply.ShipmentReceived, at Envelope) {
		s.End(supply.ShipmentArrived, e.Note, at.Metadata.Actor, at.Metadata.RecordedAt)
		s.ReceivedOn, s.Excursion = e.On, e.Excursion
		s.Damaged, s.Missing, s.Quarantined = len(e.Damaged), len(e.Missing), len(e.Quarantined)
	}),
	On(func(s *shipment, e supply.ShipmentLost, at Envelope) {
		s.End(supply.ShipmentIsLost, e.Reason, at.Metadata.Actor, at.Metadata.RecordedAt)
	}),
).BegunBy(func(at Envelope) bool {
	_, created := at.Event.(supply.ShipmentCreated)
	return created
})

func byShipment(at Envelope) []string {
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
	return []string{readmodels.ShipmentKey(study, id)}
}
