package supply_test

import (
	"fmt"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/supply"
)

// BenchmarkHold holds kits for patients at a location with many kits, allocates each patient one, and folds the events.
func BenchmarkHold(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint("kits=", n), func(b *testing.B) {
			full := supply.StockDecider.Initial
			for from := 0; from < n; from += 1_000 {
				var numbers []supply.KitNumber
				of := supply.KitContents{}
				for i := from; i < from+1_000; i++ {
					k := supply.KitNumber(fmt.Sprintf("E%06d", i))
					numbers = append(numbers, k)
					of[k] = supply.Content{Arm: []domain.ArmID{x, y}[i%2], Lot: []string{"L1", "L2"}[i/2%2],
						Expiry: domain.Date(fmt.Sprintf("2027-%02d-01", 1+i/4%12)), Units: 10}
				}
				full = supply.StockDecider.Evolve(full, supply.ShipmentReceived{OfStock: site, From: "Z", Available: numbers,
					Shipment: supply.ShipmentID(fmt.Sprint("Z-", from)), Contents: blind.Of(of)})
			}
			in, stock := inArm(x), full
			seed := strings.Repeat("01", 32)
			evolve := func(events []supply.StockEvent, err error) {
				if err != nil || len(events) == 0 {
					b.Fatal(events, err)
				}
				for _, e := range events {
					if r, refused := e.(supply.StockRefused); refused {
						b.Fatal(r)
					}
					stock = supply.StockDecider.Evolve(stock, e)
				}
			}
			i := 0
			for b.Loop() {
				if i++; i%(n/4) == 0 {
					stock = full
				}
				p := domain.NewPatientID(pain, fmt.Sprint(i))
				evolve(supply.Hold(stock, in, supply.HoldStock{Study: pain, Site: "A", OfPatient: domain.ForPatient(p), Seed: seed}, call))
				evolve(supply.Allocate(stock, in, supply.AllocateKit{Study: pain, Site: "A", OfPatient: domain.ForPatient(p), Seed: seed}, call))
			}
		})
	}
}
