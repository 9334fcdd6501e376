package audit_test

import (
	"strings"
	"testing"
	"time"

	"casebook/audit"
	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/eventlog"

	"github.com/google/uuid"
)

// TestVerifyRepeatsChoicesOfKits records a choice of kits as decided, and one that does not follow from the seed.
func TestVerifyRepeatsChoicesOfKits(t *testing.T) {
	log := sealedLog(t, supply.Streams)
	record := func(stream string, events ...any) {
		t.Helper()
		id := uuid.New()
		if _, err := log.Append(t.Context(), stream, eventlog.EmptyTail, id,
			eventlog.Metadata{Actor: "somebody", Study: "PAIN1", RecordedAt: time.Now(), CommandID: id.String()}, events...); err != nil {
			t.Fatal(err)
		}
	}
	record("supply-PAIN1", supply.BatchReleased{Study: "PAIN1", Lot: "L"})
	facts := supply.Facts{Supply: supply.Decider.Fold(supply.BatchReleased{Study: "PAIN1", Lot: "L"}), Participating: true, Arm: "a",
		Study: study.Decider.Fold(study.Created{Study: "PAIN1"})}
	numbers := []supply.KitNumber{"1", "2", "3", "4", "5"}
	contents := supply.KitContents{}
	for _, n := range numbers {
		contents[n] = supply.Content{Arm: "a", Lot: "L", Expiry: "2099-01-01", Units: 1}
	}
	for _, site := range []supply.LocationID{"HONEST", "FORGED"} {
		arrived := supply.ShipmentReceived{OfStock: supply.OfStock{Study: "PAIN1", Location: site}, Shipment: "D-1", Available: numbers,
			Contents: blind.Of(contents)}
		decided, err := supply.Allocate(supply.StockDecider.Fold(arrived), facts, supply.AllocateKit{Study: "PAIN1", Site: domain.SiteID(site),
			OfPatient: domain.ForPatient("PAIN1.S-1"), Seed: strings.Repeat("07", 32)}, domain.Call{At: time.Now()})
		if err != nil || len(decided) != 2 {
			t.Fatalf("%v, %v", decided, err)
		}
		allocated := decided[1].(supply.KitAllocated)
		if site == "FORGED" {
			allocated.Kit = numbers[0]
			if decided[1].(supply.KitAllocated).Kit == numbers[0] {
				allocated.Kit = numbers[1]
			}
		}
		record("stock-"+supply.StockID("PAIN1", site), arrived, decided[0], allocated)
	}
	var findings []audit.Finding
	summary, err := audit.Verify(t.Context(), log, func(f audit.Finding) { findings = append(findings, f) })
	if err != nil {
		t.Fatal(err)
	}
	if summary.Locations != 2 || len(findings) != 1 || findings[0].Check != audit.Kits || !strings.HasSuffix(findings[0].Stream, "FORGED") {
		t.Errorf("%+v, %+v", summary, findings)
	}
}
