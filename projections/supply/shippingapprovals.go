package supply

import (
	"casebook/domain/supply"
	"casebook/projections"
	supplyviews "casebook/readmodels/supply"
)

type approval = supplyviews.ShippingApproval

// ShippingApprovals makes one document per site and per country that has or had a green light.
var ShippingApprovals = projections.New(supplyviews.ShippingApprovals,
	projections.KeyOf(func(e supply.OfApproval, _ projections.Envelope) string {
		return supplyviews.ShippingApprovalKey(e.OfApproval())
	}),
	projections.Begin(func(a *approval, e supply.ShippingApproved, at projections.Envelope) {
		a.Study, a.Country, a.Site = e.Study, e.Country, e.Site
		a.Status, a.Reference, a.Reason = supplyviews.ShippingIsApproved, e.Reference, ""
		a.By, a.At = at.Metadata.Actor, at.Metadata.RecordedAt
		a.Remember()
	}),
	projections.On(func(a *approval, e supply.ShippingApprovalWithdrawn, at projections.Envelope) {
		a.Status, a.Reason = supplyviews.ShippingIsWithdrawn, string(e.Reason)
		a.By, a.At = at.Metadata.Actor, at.Metadata.RecordedAt
		a.Remember()
	}),
)
