package codebreak

import (
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/supply"
	"casebook/eventlog"
)

// The envelope says what became of the kits that the patient has had, also when one is found, stays away, or is recalled at home.
func TestWhatBecomesOfKits(t *testing.T) {
	const anna, ben = domain.PatientID("PAIN1.S-1"), domain.PatientID("PAIN1.S-2")
	at := supply.OfStock{Study: "PAIN1", Location: "A"}
	given := []supply.StockEvent{
		supply.KitDispensed{OfStock: at, Patient: anna, Kit: "K1", Visit: "week-4", On: "2026-03-01"},
		supply.KitDispensed{OfStock: at, Patient: ben, Kit: "K2", Visit: "week-4", On: "2026-03-01"},
	}
	lost := supply.KitLost{OfStock: at, Kit: "K1", Affected: []supply.Slot{{Patient: anna, Visit: "week-4"}}}
	recalled := supply.KitsQuarantined{OfStock: at, Cause: supply.CauseRecall, AtHome: []supply.KitNumber{"K1"},
		Holders: []domain.PatientID{anna}}
	for name, one := range map[string]struct {
		events []supply.StockEvent
		want   Kit
	}{
		"found": {[]supply.StockEvent{lost, supply.KitFound{OfStock: at, Kit: "K1"}}, Kit{Kit: "K1", Visit: "week-4", Status: "found"}},
		"not returned": {[]supply.StockEvent{supply.KitNotReturned{OfStock: at, Patient: anna, Kit: "K1", On: "2026-04-01"}},
			Kit{Kit: "K1", Visit: "week-4", Status: "not_returned", On: "2026-04-01"}},
		"recalled": {[]supply.StockEvent{recalled}, Kit{Kit: "K1", Visit: "week-4", Status: "recalled", On: "2026-03-01"}},
		"recalled by error": {[]supply.StockEvent{recalled, supply.LotRecallEnded{OfStock: at, AtHome: []supply.KitNumber{"K1"}}},
			Kit{Kit: "K1", Visit: "week-4", Status: "dispensed", On: "2026-03-01"}},
		"given on another day": {[]supply.StockEvent{recalled, supply.DispensingDateCorrected{OfStock: at, Patient: anna, Kit: "K1",
			From: "2026-03-01", To: "2026-03-02"}}, Kit{Kit: "K1", Visit: "week-4", Status: "recalled", On: "2026-03-02"}},
		"back on another day": {[]supply.StockEvent{supply.KitReturned{OfStock: at, Patient: anna, Kit: "K1", On: "2026-04-01"},
			supply.DispensingDateCorrected{OfStock: at, Patient: anna, Kit: "K1", From: "2026-03-01", To: "2026-03-02"},
			supply.ReturnDateCorrected{OfStock: at, Patient: anna, Kit: "K1", From: "2026-04-01", To: "2026-04-02"}},
			Kit{Kit: "K1", Visit: "week-4", Status: "returned", On: "2026-04-02"}},
		"another lot recalled": {[]supply.StockEvent{supply.KitsQuarantined{OfStock: at, Kits: []supply.KitNumber{"K9"}}},
			Kit{Kit: "K1", Visit: "week-4", Status: "dispensed", On: "2026-03-01"}},
	} {
		c := newContents()
		for _, e := range given {
			c.follow(eventlog.Recorded{Event: e})
		}
		clear(c.changed)
		for _, e := range one.events {
			c.follow(eventlog.Recorded{Event: e})
		}
		if got := c.patients[anna].Kits; !slices.Equal(got, []Kit{one.want}) || c.patients[ben].Kits[0].Status != "dispensed" {
			t.Errorf("%s: the envelope has %+v", name, got)
		}
		if name != "another lot recalled" && !c.changed[anna] || c.changed[ben] {
			t.Errorf("%s: the envelopes of %v are written again", name, c.changed)
		}
	}
}
