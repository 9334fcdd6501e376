package supply

import (
	"slices"
	"testing"

	"casebook/domain/supply"
	"casebook/sagas"
)

// What was lost before kits have arrived, or supply has looked at it, is no news when it is heard of later; and what ended it before the
// last loss settles nothing.
func TestALossThatIsHeardOfLate(t *testing.T) {
	at := func(position uint64) sagas.Occurrence {
		return sagas.Occurrence{ID: "7b3f1a52-9a0c-4c53-b0f9-0d8f6f0f1f11", Of: "PAIN1.A", Position: position}
	}
	lost := supply.KitLost{OfStock: supply.OfStock{Study: "PAIN1", Location: "A"}, Kit: "K2", Again: []supply.KitNumber{"K1", "K2"}}
	for name, end := range map[string]func(spoilt, sagas.Occurrence) (sagas.Reaction[spoilt], bool){
		"arrived": func(s spoilt, o sagas.Occurrence) (sagas.Reaction[spoilt], bool) {
			return s.shipmentReceived(supply.ShipmentReceived{}, o)
		},
		"allowed": func(s spoilt, o sagas.Occurrence) (sagas.Reaction[spoilt], bool) {
			return s.allowed(supply.ReplacementsAllowed{}, o)
		},
	} {
		for order, want := range map[string]struct {
			lost, ended uint64
			lostFirst   bool
			open        bool
		}{
			"lost, ended":            {1, 2, true, false},
			"lost, ended, told late": {1, 2, false, false},
			"ended, lost":            {2, 1, false, true},
			"ended, lost, told late": {2, 1, true, true},
		} {
			var s spoilt
			take := func(r sagas.Reaction[spoilt], reacted bool) {
				if reacted {
					s = r.State
				}
			}
			steps := []func(){func() { take(s.kitLost(lost, at(want.lost))) }, func() { take(end(s, at(want.ended))) }}
			if !want.lostFirst {
				slices.Reverse(steps)
			}
			for _, step := range steps {
				step()
			}
			if open := s.Alert != ""; open != want.open {
				t.Errorf("%s, %s: an alert is open: %t", name, order, open)
			}
		}
	}
}
