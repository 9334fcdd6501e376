package sagas_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"casebook/commands"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/refuse"
	"casebook/domain/supply"
	"casebook/eventlog"
)

// ledger is an account of all kits, kept in the plainest way from the log's events alone.
type ledger struct {
	t testing.TB
	// at is where each kit is: a delivery, a place, or a way; status how it stands there.
	at, status map[supply.KitNumber]string
	patient    map[supply.KitNumber]domain.PatientID
	sent       map[supply.ShipmentID]supply.ShipmentCreated
	// places and draws count those of each patient; caps is the most places that there may be.
	places, draws map[domain.PatientID]int
	taken, most   int
}

func newLedger(t testing.TB) *ledger {
	return &ledger{t: t, at: map[supply.KitNumber]string{}, status: map[supply.KitNumber]string{},
		patient: map[supply.KitNumber]domain.PatientID{},
		sent:    map[supply.ShipmentID]supply.ShipmentCreated{}, places: map[domain.PatientID]int{}, draws: map[domain.PatientID]int{}}
}

// move takes a kit from where it has to be to somewhere else: a kit that is in two places, or in none, is found out.
func (l *ledger) move(e eventlog.Recorded, kit supply.KitNumber, from, to, status string) {
	if l.at[kit] != from {
		l.t.Errorf("%s@%d %s: kit %s is at %q, not at %q", e.Stream, e.Revision, e.Type, kit, l.at[kit], from)
	}
	l.at[kit], l.status[kit] = to, status
}

func (l *ledger) set(e eventlog.Recorded, place supply.LocationID, kits []supply.KitNumber, status string) {
	for _, k := range kits {
		l.move(e, k, string(place), string(place), status)
	}
}

// take books one event.
func (l *ledger) take(e eventlog.Recorded) {
	switch x := e.Event.(type) {
	case supply.KitsRegistered:
		for _, k := range x.Kits {
			l.move(e, k, "", fmt.Sprint("delivery ", x.Delivery), "registered")
		}
	case supply.DeliveryTakenIn:
		for _, k := range x.Kits {
			l.move(e, k, fmt.Sprint("delivery ", x.Delivery), string(x.Location), "available")
		}
	case supply.ShipmentCreated:
		l.sent[x.Shipment] = x
		l.set(e, x.Location, x.Kits, "packed")
	case supply.ShipmentCancelled:
		l.set(e, x.Location, l.sent[x.Shipment].Kits, "available")
	case supply.ShipmentDispatched:
		for _, k := range l.sent[x.Shipment].Kits {
			l.move(e, k, string(x.Location), "way "+string(x.Shipment), "in transit")
		}
	case supply.ShipmentReceived:
		for status, kits := range map[string][]supply.KitNumber{"available": x.Available, "quarantined": x.Quarantined,
			"damaged": x.Damaged, "lost": x.Missing, "returned": x.Returned} {
			for _, k := range kits {
				l.move(e, k, "way "+string(x.Shipment), string(x.Location), status)
			}
		}
	case supply.KitsQuarantined:
		l.set(e, x.Location, x.Kits, "quarantined")
	case supply.KitsReleased:
		l.set(e, x.Location, x.Kits, "available")
	case supply.KitsExpired:
		l.set(e, x.Location, x.Kits, "expired")
	case supply.KitAllocated:
		if of := l.patient[x.Kit]; of != "" {
			l.t.Errorf("%s@%d: kit %s is allocated to %s, and was to %s", e.Stream, e.Revision, x.Kit, x.Patient, of)
		}
		if l.draws[x.Patient] != 1 {
			l.t.Errorf("%s@%d: %s gets a kit, and was drawn %d times", e.Stream, e.Revision, x.Patient, l.draws[x.Patient])
		}
		l.patient[x.Kit] = x.Patient
		l.set(e, x.Location, []supply.KitNumber{x.Kit}, "allocated")
	case supply.KitsSetAside:
		l.set(e, x.Location, x.Kits, "returned")
	case supply.KitDispensed:
		if l.patient[x.Kit] != x.Patient {
			l.t.Errorf("%s@%d: kit %s of %s is given to %s", e.Stream, e.Revision, x.Kit, l.patient[x.Kit], x.Patient)
		}
		l.set(e, x.Location, []supply.KitNumber{x.Kit}, "dispensed")
	case enrollment.PlaceReserved:
		l.places[x.Patient]++
		l.taken++
	case enrollment.PlaceReleased:
		l.places[x.Patient]--
		l.taken--
		if l.draws[x.Patient] > 0 {
			l.t.Errorf("the place of %s is given back after the draw", x.Patient)
		}
	case randomisation.PatientRandomised:
		l.draws[x.Patient]++
		if l.draws[x.Patient] > 1 || l.places[x.Patient] != 1 {
			l.t.Errorf("%s is drawn for the %d. time, with %d places", x.Patient, l.draws[x.Patient], l.places[x.Patient])
		}
	}
	if l.taken > l.most {
		l.t.Errorf("%s@%d: %d places are taken of %d", e.Stream, e.Revision, l.taken, l.most)
	}
}

// Patients, shipments, excursions, recalls, losses and withdrawals in random order, the processes' events delivered late
// and out of order among them. At every prefix of the log the kits add up, and none has two patients; at the end every
// enrolment has come to an end that can be explained.
func TestR36_RandomInterleavings(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 99))
			w := newWorld(t, 14)
			lot := func(i int) string { return []string{"L1", "L2"}[i%2] }
			var lines strings.Builder
			for i, k := range r.Perm(80) {
				fmt.Fprintf(&lines, "%05d,%s,%s,%s\n", 20_000+i, []domain.ArmID{blue, green}[k%2], lot(k/2),
					[]string{"2026-02-20", "2027-06-30"}[k/4%2])
			}
			w.treated(nil, lines.String())
			w.must(w.supplier(), supply.ReleaseBatch{InStudy: domain.ForStudy(w.study), Lot: "L2", Certificate: "C-2"})
			w.must(w.supplier(), supply.SetResupplyRule{InStudy: domain.ForStudy(w.study),
				Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 2, Target: 4, OverdueDays: 3}})
			c := w.courier(w.newPart())
			var pending []eventlog.Recorded
			deliver := func(n int) {
				pending = append(pending, c.fresh()...)
				for range min(n, len(pending)) {
					i := r.IntN(len(pending))
					e := pending[i]
					if r.IntN(5) > 0 { // else it comes again
						pending = append(pending[:i], pending[i+1:]...)
						c.past = append(c.past, e)
					}
					if err := c.deal(e); err != nil {
						t.Fatal(err)
					}
				}
			}
			var who []domain.PatientID
			step := 0
			for ; step < 120; step++ {
				w.act(r, c, &who)
				if r.IntN(3) > 0 {
					deliver(1 + r.IntN(6))
				}
			}
			for again := true; again; { // and then all comes to rest
				before := len(pending)
				deliver(1000)
				again = len(pending) > 0 || before > 0
			}
			c.mustSettle()
			l := newLedger(t)
			l.most = 14
			all := w.courier(w.part)
			for _, e := range all.fresh() {
				l.take(e)
			}
			if len(l.at) != 80 {
				t.Errorf("there are %d kits", len(l.at))
			}
			for _, p := range who {
				if o := w.look(p); o.places > 1 || o.draws > 1 || o.holds != 0 {
					t.Errorf("%s has %+v", p, o)
				}
				events := w.events(patient.Decider.Stream(string(p)))
				if _, open := events[len(events)-1].(patient.EnrollmentRequested); open && l.draws[p] != 1 {
					t.Errorf("%s waits, and was not drawn", p)
				}
			}
		})
	}
}

// act does one thing that people do, refused or not.
func (w *world) act(r *rand.Rand, c *courier, who *[]domain.PatientID) {
	w.t.Helper()
	stock := supply.StockDecider.Fold(stockOf(w, "A")...)
	depot := supply.StockDecider.Fold(stockOf(w, "D")...)
	some := func(s supply.Stock, n int, is func(supply.Kit) bool) (kits []supply.KitNumber) {
		for k, v := range s.Kits.All() {
			if is(v) && len(kits) < n {
				kits = append(kits, k)
			}
		}
		return kits
	}
	available := func(k supply.Kit) bool { return k.Status == supply.KitAvailable }
	var shipment supply.ShipmentID
	var status supply.ShipmentStatus
	for id, s := range depot.Sent.All() {
		if _, ended := stock.Arrived.Get(id); !ended && r.IntN(2) == 0 {
			shipment, status = id, s.Status
		}
	}
	var err error
	try := func(_ commands.Answer, e error) { err = e }
	switch n := r.IntN(20); {
	case n < 6:
		*who = append(*who, w.request())
	case n < 8:
		if kits := some(depot, 1+r.IntN(6), available); len(kits) > 0 {
			try(w.do(w.supplier(), supply.CreateShipment{FromLocation: supply.FromLocation{Study: w.study, From: "D"}, To: "A", Kits: kits,
				Reasoned: domain.Because("by hand")}))
		}
	case n < 13 && shipment != "":
		switch {
		case status == supply.ShipmentPacked && r.IntN(6) == 0:
			try(w.do(w.supplier(), supply.CancelShipment{FromLocation: supply.FromLocation{Study: w.study, From: "D"}, Shipment: shipment,
				Reasoned: domain.Because("not needed")}))
		case status == supply.ShipmentPacked:
			try(w.do(w.supplier(), supply.DispatchShipment{FromLocation: supply.FromLocation{Study: w.study, From: "D"}, Shipment: shipment,
				On: domain.DateOf(w.clock.Now())}))
		default:
			sent, _ := depot.Sent.Get(shipment)
			receive := supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: w.study, Location: "A"}, From: "D", Shipment: shipment,
				On: domain.DateOf(w.clock.Now()), Temperature: supply.TemperatureInRange}
			if r.IntN(4) == 0 {
				receive.Temperature = supply.TemperatureExcursion
			}
			if r.IntN(4) == 0 {
				receive.Damaged = sent.Kits[:1]
			}
			try(w.do(w.crc, receive))
		}
	case n == 13:
		if kits := some(stock, 3, func(k supply.Kit) bool { return available(k) || k.Status == supply.KitIsAllocated }); len(kits) > 0 {
			try(w.do(w.crc, supply.QuarantineKits{AtLocation: supply.AtLocation{Study: w.study, Location: "A"}, Kits: kits,
				Cause: supply.CauseExcursion, Reasoned: domain.Because("the fridge failed")}))
		}
	case n == 14:
		if kits := some(stock, 4, func(k supply.Kit) bool { return k.Status == supply.KitQuarantined && !k.Replaced }); len(kits) > 0 {
			try(w.do(w.supplier(), supply.ReleaseKits{AtLocation: supply.AtLocation{Study: w.study, Location: "A"}, Kits: kits,
				Reasoned: domain.Because("still good")}))
		}
	case n == 15 && r.IntN(6) == 0:
		try(w.do(w.supplier(), supply.RecallLot{InStudy: domain.ForStudy(w.study), Lot: "L2", Reasoned: domain.Because("impurity")}))
	case n == 16 && len(*who) > 0:
		if p := (*who)[r.IntN(len(*who))]; r.IntN(2) == 0 {
			try(w.do(w.crc, patient.WithdrawConsent{OfPatient: domain.ForPatient(p), On: "2026-02-03"}))
		} else {
			try(w.do(w.crc, patient.EnrollPatient{OfPatient: domain.ForPatient(p), On: "2026-02-03"})) // after a failure
		}
	case n == 17:
		w.clock.set(w.clock.Now().Add(time.Duration(r.IntN(20)) * time.Hour))
		c.fire()
	default:
		if kits := some(stock, 1, func(k supply.Kit) bool { return k.Status == supply.KitIsAllocated }); len(kits) > 0 {
			k, _ := stock.Kits.Get(kits[0])
			try(w.do(w.crc, supply.DispenseKit{Site: "A", OfPatient: domain.ForPatient(k.Patient), Kit: kits[0], On: domain.DateOf(w.clock.Now())}))
		}
	}
	if _, refused := refuse.As(err); err != nil && !refused {
		w.t.Fatal(err)
	}
}
