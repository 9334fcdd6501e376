package projections_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/domain/supply"
	patientprojections "casebook/projections/patient"
	supplyprojections "casebook/projections/supply"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
	supplyviews "casebook/readmodels/supply"

	"pgregory.net/rapid"
)

// TestViewsShowThePatientStatusOfTheDomain, with both axes and their ends, whatever happens to a patient in whatever order.
func TestViewsShowThePatientStatusOfTheDomain(t *testing.T) {
	events := []patient.Event{patient.Screened{Patient: "S.1", Study: "S", Site: "01"}, patient.ConsentRecorded{Patient: "S.1"},
		patient.ScreenFailureRecorded{Patient: "S.1"},
		patient.EnrollmentRequested{Patient: "S.1"}, patient.Enrolled{Patient: "S.1"}, patient.EnrollmentFailed{Patient: "S.1"},
		patient.VisitRecorded{Patient: "S.1"}, patient.VisitSkipped{Patient: "S.1", Visit: "week-4"},
		patient.DoseChanged{Patient: "S.1", Direction: patient.DoseUp, Step: 2},
		patient.ConsentWithdrawn{Patient: "S.1", On: "2026-03-01", Extent: patient.Extents[3:]},
		patient.ConsentWithdrawn{Patient: "S.1", On: "2026-03-02", Extent: patient.Extents[:1], EndsTreatment: true},
		patient.ConsentWithdrawn{Patient: "S.1", On: "2026-03-03", Extent: patient.Extents[:3], EndsTreatment: true, EndsParticipation: true},
		patient.Discontinued{Patient: "S.1", On: "2026-03-04"}, patient.Completed{Patient: "S.1", On: "2026-03-05"},
		patient.DoseHeld{Patient: "S.1"}, patient.DoseResumed{Patient: "S.1"},
		patient.TreatmentDiscontinued{Patient: "S.1", On: "2026-03-06", Reason: patient.EndedByAdverseEvent},
		patient.ParticipationEnded{Patient: "S.1", On: "2026-03-07", Reason: patient.EndedByDeath},
		patient.StepUndone{Patient: "S.1", Status: patient.StatusEnrolled, Treatment: patient.TreatmentOn},
		patient.StepUndone{Patient: "S.1", Status: patient.StatusEnrolled, Treatment: patient.TreatmentEnded, TreatmentEndedOn: "2026-03-06"},
		patient.Transferred{Patient: "S.1", From: "01", To: "02"}, patient.ConsentVoided{Patient: "S.1"},
		patient.DeviationCandidateJudgedAgain{Patient: "S.1"}, patient.Rescreened{Patient: "S.1"}}
	rapid.Check(t, func(r *rapid.T) {
		state, s := patient.Decider.Initial, newStory()
		rows, views := map[string]readmodels.Document{}, map[string]readmodels.Document{}
		for _, e := range rapid.SliceOfN(rapid.SampledFrom(events), 1, 20).Draw(r, "events") {
			state = patient.Decider.Evolve(state, e)
			s.events = nil
			s.tell(e)
			apply(t, patientprojections.PatientList, rows, s.events)
			apply(t, patientprojections.PatientView, views, s.events)
			row, view := rows["S.1"].(*patientviews.PatientRow), views["S.1"].(*patientviews.PatientDocument)
			if row.Status != state.Status || view.Status != state.Status {
				r.Fatalf("after %T the patient is %q, and shown as %q in lists and as %q alone", e, state.Status, row.Status, view.Status)
			}
			phase := state.Phase()
			if row.Treatment != state.Treatment || view.Treatment != state.Treatment || row.Phase != phase || view.Phase != phase {
				r.Fatalf("after %T the treatment is %q, and shown as %q, %q; the phase is %q, and shown as %q, %q", e, state.Treatment,
					row.Treatment, view.Treatment, phase, row.Phase, view.Phase)
			}
			ends := []domain.Date{state.EndedOn, state.TreatmentEndedOn}
			if !slices.Equal(ends, []domain.Date{row.EndedOn, row.TreatmentEndedOn}) ||
				!slices.Equal(ends, []domain.Date{view.EndedOn, view.TreatmentEndedOn}) ||
				!slices.Equal(state.Withdrawn, row.Withdrawn) || !slices.Equal(state.Withdrawn, view.Withdrawn) || row.Site != state.Site ||
				view.Site != state.Site {
				r.Fatalf("after %T the patient is %+v, and shown as %+v and %+v", e, state, row, view)
			}
		}
	})
}

// TestViewsShowTheKitAndShipmentStatusesOfTheDomain lets a depot and two sites decide at random, and compares each kit's
// document with the stock of the place that has the kit, and each shipment's with those of both its ends.
func TestViewsShowTheKitAndShipmentStatusesOfTheDomain(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(r *rapid.T) {
		w := newStocks(r)
		for range 500 {
			evenly(w.acts()).Draw(r, "act")()
			w.compare()
		}
		w.recall()
		w.compare()
		for _, e := range w.story.events {
			seen[e.Type]++
		}
	})
	for _, e := range []any{supply.ShipmentCreated{}, supply.ShipmentCancelled{}, supply.ShipmentDispatched{}, supply.ShipmentReceived{},
		supply.ShipmentLost{},
		supply.KitsQuarantined{}, supply.KitsReleased{}, supply.KitAllocated{}, supply.KitsSetAside{}, supply.KitDispensed{},
		supply.KitReturned{}, supply.KitReconciled{},
		supply.KitsExpired{}, supply.KitsDestroyed{}, supply.KitLost{}, supply.KitFound{}, supply.KitReplacementAsked{},
		supply.KitPutBack{}, supply.RecallActionRecorded{}, supply.DestructionApproved{},
		supply.KitPartlyReturned{}, supply.KitNotReturned{}, supply.KitRecounted{}} {
		if name, _ := registry.NameOf(e); seen[name] == 0 {
			t.Errorf("%s never happened, so that nothing is proved of it", name)
		}
	}
}

var patientsOfStocks = []domain.PatientID{"S.1", "S.2", "S.3"}

// stocks are a depot and two sites, and the views of what they decide.
type stocks struct {
	*rapid.T
	facts           supply.Facts
	at              map[supply.LocationID]supply.Stock
	now             time.Time
	story           *story
	told            int
	kits, shipments map[string]readmodels.Document
}

func newStocks(r *rapid.T) *stocks {
	const lot = "L1"
	of := study.Decider.Fold(study.Created{Study: "S"}, study.ProtocolVersionPublished{Study: "S", Protocol: study.Protocol{Version: 1,
		Arms: []study.Arm{{ID: "verum"}}, Treatment: &study.Treatment{Kits: true}}},
		study.SiteAdded{Study: "S", Site: "01"}, study.SiteActivated{Study: "S", Site: "01"}, study.SiteAdded{Study: "S", Site: "02"},
		study.SiteActivated{Study: "S", Site: "02"})
	w := &stocks{T: r, at: map[supply.LocationID]supply.Stock{}, now: recordedAt, story: newStory(),
		kits: map[string]readmodels.Document{}, shipments: map[string]readmodels.Document{}}
	contents := supply.KitContents{}
	var numbers []supply.KitNumber
	for n := range 24 {
		number := supply.KitNumber(fmt.Sprintf("K-%02d", n))
		numbers = append(numbers, number)
		contents[number] = supply.Content{Arm: "verum", Lot: lot, Units: 2, Expiry: domain.DateOf(w.now).AddDays(100 * (1 + n%4))}
	}
	registered := supply.KitsRegistered{Study: "S", Depot: "D", Delivery: 1, Kits: numbers, SHA256: blind.Of(""),
		Contents: blind.Of(contents)}
	w.facts = supply.Facts{Study: of, Participating: true, Arm: "verum",
		Supply: supply.Decider.Fold(supply.DepotOpened{Study: "S", Depot: "D"}, supply.BatchReleased{Study: "S", Lot: lot}, registered)}
	w.story.tell(registered)
	act(w, "D", "", supply.AcceptDelivery, supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: "S", Depot: "D"}, Delivery: 1})
	return w
}

// act takes a decision at a place, with another place's stock for its facts, and records what it decides.
func act[C any](w *stocks, at, other supply.LocationID, decide decision[C], cmd C) {
	w.facts.Other = w.at[other]
	events, err := decide(w.at[at], w.facts, cmd, domain.Call{At: w.now, Actor: "somebody"})
	if _, refused := refuse.As(err); err != nil && !refused {
		w.Fatal(err)
	}
	for _, e := range events {
		w.at[at] = supply.StockDecider.Evolve(w.at[at], e)
		w.story.tell(e)
	}
}

// decision is a decision about the kits of a place.
type decision[C any] = func(supply.Stock, supply.Facts, C, domain.Call) ([]supply.StockEvent, error)

// knowing makes a decision without facts one with them.
func knowing[C any](decide func(supply.Stock, C, domain.Call) ([]supply.StockEvent, error)) decision[C] {
	return func(s supply.Stock, _ supply.Facts, cmd C, call domain.Call) ([]supply.StockEvent, error) {
		return decide(s, cmd, call)
	}
}

// acts are the actions that are possible now, with drawn locations, kits, patients and shipments.
func (w *stocks) acts() []func() {
	var locations []supply.LocationID
	var sent []supply.Sent
	for _, at := range []supply.LocationID{"D", "01", "02"} {
		if w.at[at].Kits.Len() > 0 {
			locations = append(locations, at)
		}
		for id, shipment := range w.at[at].Sent.All() {
			if _, ended := w.at[shipment.To].Arrived.Get(id); !ended && shipment.Status != supply.ShipmentIsCancelled {
				sent = append(sent, shipment)
			}
		}
	}
	location := evenly(locations).Draw(w.T, "location")
	site := evenly([]supply.LocationID{"01", "02"}).Draw(w.T, "site")
	to := site
	if location != "D" {
		to = "D"
	}
	who := evenly(patientsOfStocks).Draw(w.T, "patient")
	here := slices.Sorted(maps.Keys(maps.Collect(w.at[location].Kits.All())))
	some := rapid.SliceOfNDistinct(evenly(here), 1, min(3, len(here)), rapid.ID[supply.KitNumber]).Draw(w.T, "kits")
	kit := supply.KitNumber("none")
	if kits := w.at[site].KitsOf(who); len(kits) > 0 {
		kit = evenly(kits).Draw(w.T, "kit")
	}
	var shipment supply.Sent
	if len(sent) > 0 {
		slices.SortFunc(sent, func(a, b supply.Sent) int { return strings.Compare(string(a.Shipment), string(b.Shipment)) })
		shipment = evenly(sent).Draw(w.T, "shipment")
	}
	id, from, on := shipment.Shipment, shipment.Location, domain.DateOf(w.now)
	var damaged, missing []supply.KitNumber
	for _, n := range shipment.Kits {
		switch rapid.IntRange(0, 5).Draw(w.T, "arrives") {
		case 0:
			damaged = append(damaged, n)
		case 1:
			missing = append(missing, n)
		}
	}
	temperature := evenly([]supply.Temperature{supply.TemperatureInRange, supply.TemperatureExcursion}).Draw(w.T, "temperature")
	reason, ofPatient, siteID := domain.Because("r"), domain.ForPatient(who), domain.SiteID(site)
	fromSender := supply.FromLocation{Study: "S", From: from}
	fromLocation := supply.FromLocation{Study: "S", From: location}
	atReceiver := supply.AtLocation{Study: "S", Location: shipment.To}
	atLocation := supply.AtLocation{Study: "S", Location: location}
	ship := func() {
		act(w, location, to, supply.Create, supply.CreateShipment{FromLocation: fromLocation, To: to, Kits: some, Reasoned: reason})
	}
	dispatch := func() {
		act(w, from, "", supply.Dispatch, supply.DispatchShipment{FromLocation: fromSender, Shipment: id, On: on})
	}
	receive := func() {
		act(w, shipment.To, from, supply.Receive, supply.ReceiveShipment{AtLocation: atReceiver, From: from, Shipment: id,
			On: on, Damaged: damaged, Missing: missing, Temperature: temperature})
	}
	allocate := func() {
		act(w, site, "", supply.Allocate, supply.AllocateKit{Study: "S", Site: siteID, OfPatient: ofPatient, Seed: strings.Repeat("5e", 32),
			Visit: evenly([]string{"", "week-2", "week-4"}).Draw(w.T, "visit")})
	}
	cancel := func() {
		act(w, from, "", knowing(supply.Cancel), supply.CancelShipment{FromLocation: fromSender, Shipment: id, Reasoned: reason})
	}
	reconcile := func() {
		act(w, site, "", knowing(supply.Return), supply.ReturnKit{Site: siteID, OfPatient: ofPatient, Kit: kit, On: on})
		act(w, site, "", knowing(supply.Reconcile), supply.ReconcileKit{Site: siteID, OfPatient: ofPatient, Kit: kit, Used: 2})
	}
	dispense := func() {
		act(w, site, "", supply.Dispense, supply.DispenseKit{Site: siteID, OfPatient: ofPatient, Kit: kit, On: on})
	}
	returnSome := func() {
		act(w, site, "", knowing(supply.Return), supply.ReturnKit{Site: siteID, OfPatient: ofPatient, Kit: kit, On: on, Units: 1,
			KeepsRest: true})
	}
	keep := func() {
		act(w, site, "", knowing(supply.NotReturned), supply.RecordKitNotReturned{Site: siteID, OfPatient: ofPatient, Kit: kit, On: on,
			Reasoned: reason})
	}
	expire := func() {
		w.now = w.now.AddDate(0, 0, 10)
		act(w, location, "", knowing(supply.Expire), supply.ExpireKits{AtLocation: atLocation, Through: domain.DateOf(w.now)})
	}
	return []func(){ship, ship, ship, ship, dispatch, dispatch, receive, receive, allocate, allocate, allocate,
		cancel, expire,
		func() {
			act(w, shipment.To, from, supply.RecordShipmentLoss, supply.ReportShipmentLost{AtLocation: atReceiver, From: from,
				Shipment: id, Reasoned: reason})
		},
		func() {
			act(w, location, "", knowing(supply.Quarantine), supply.QuarantineKits{AtLocation: atLocation, Kits: some,
				Cause: supply.CauseOther, Reasoned: reason})
		},
		func() {
			act(w, location, "", supply.ReleaseFromQuarantine, supply.ReleaseKits{AtLocation: atLocation, Kits: some, Reasoned: reason})
		},
		dispense, dispense, dispense, dispense, dispense, dispense,
		func() {
			act(w, site, "", knowing(supply.Return), supply.ReturnKit{Site: siteID, OfPatient: ofPatient, Kit: kit, On: on})
		},
		reconcile, reconcile, reconcile,
		returnSome, returnSome, keep, keep,
		func() {
			act(w, site, "", knowing(supply.Recount), supply.RecountKit{Site: siteID, OfPatient: ofPatient, Kit: kit, Used: 1, Lost: 1,
				Reasoned: reason})
		},
		func() {
			act(w, site, "", supply.SetAside, supply.SetKitsAside{Study: "S", Site: siteID, OfPatient: ofPatient, Reasoned: reason})
		},
		func() {
			w.facts.WitnessAtSite = true
			act(w, location, "", supply.Destroy, supply.DestroyKits{AtLocation: atLocation, Kits: some, On: on, Certificate: "c",
				Witness: "somebody else"})
		},
		func() {
			act(w, location, "", knowing(supply.Approve), supply.ApproveDestruction{AtLocation: atLocation, Kits: some, Reasoned: reason})
		},
		func() {
			act(w, location, "", supply.RecordFound, supply.ReportKitFound{AtLocation: atLocation, Kit: some[0], Reasoned: reason})
		},
		func() {
			cause := evenly([]supply.ReplacementCause{supply.LostByPatient, supply.KitWasDamaged, supply.KitMisallocated}).Draw(w.T, "cause")
			act(w, site, "", supply.Replace, supply.ReplaceKit{Site: siteID, OfPatient: ofPatient, Kit: kit, Cause: cause, Reasoned: reason,
				Seed: strings.Repeat("5e", 32)})
		},
		func() {
			act(w, site, "", supply.PutBack, supply.RecordNotDispensed{Site: siteID, OfPatient: ofPatient, Kit: kit, Reasoned: reason})
		},
		func() {
			if evenly([]bool{true, 9: false}).Draw(w.T, "recall") { // most walks go on without
				w.recall()
			}
		},
		func() {
			act(w, location, "", knowing(supply.RecordKitLoss), supply.ReportKitLost{AtLocation: atLocation, Kit: some[0], Reasoned: reason})
		},
	}
}

// recall takes the lot back at both sites, and tells every patient who has a kit of it. Afterwards little can happen,
// since there is no other lot.
func (w *stocks) recall() {
	reason := domain.Because("r")
	for _, site := range []supply.LocationID{"01", "02"} {
		act(w, site, "", knowing(supply.QuarantineKitsOfLot), supply.QuarantineLot{
			AtLocation: supply.AtLocation{Study: "S", Location: site}, Lot: "L1", Reasoned: reason})
		for _, who := range patientsOfStocks {
			for _, kit := range w.at[site].KitsOf(who) {
				act(w, site, "", knowing(supply.RecordAction), supply.RecordRecallAction{Site: domain.SiteID(site),
					OfPatient: domain.ForPatient(who), Kit: kit, Action: supply.PatientTold, On: domain.DateOf(w.now)})
			}
		}
	}
}

// evenly picks one with the same chance for each; rapid's own generators prefer the first ones, and little would happen.
func evenly[E any](all []E) *rapid.Generator[E] {
	const bits = 10
	return rapid.Custom(func(r *rapid.T) E {
		n := 0
		for range bits {
			if n *= 2; rapid.Bool().Draw(r, "") {
				n++
			}
		}
		return all[n*len(all)>>bits]
	})
}

// compare folds what is new, and compares all documents with the stocks.
func (w *stocks) compare() {
	fresh := w.story.events[w.told:]
	w.told = len(w.story.events)
	if len(fresh) == 0 {
		return
	}
	apply(w.T, supplyprojections.KitInventory, w.kits, fresh)
	apply(w.T, supplyprojections.Shipments, w.shipments, fresh)
	event := fresh[len(fresh)-1].Type
	for key, doc := range w.kits {
		k := doc.(*supplyviews.Kit)
		if k.Kit == "" || k.Status == supply.KitRegistered {
			continue // a shipment's document, or a kit that no stock has taken in
		}
		if kept, _ := k.Past.At(time.Time{}); kept != k.KitState {
			w.Fatalf("after %s kit %s is %+v, and remembered as %+v", event, key, k.KitState, kept)
		}
		is, here := w.at[k.Location].Kits.Get(k.Kit)
		if !here || is.Status != k.Status || is.Shipment != k.Shipment || is.Packed != k.Packed || is.Before != k.Before {
			w.Fatalf("after %s kit %s at %s is %+v, and shown as %s, shipment %q, before packing %q, before quarantine %q", event, key,
				k.Location, is, k.Status, k.Shipment,
				k.Packed, k.Before)
		}
	}
	for key, doc := range w.shipments {
		s := doc.(*supplyviews.Shipment)
		sent, _ := w.at[s.From].Sent.Get(s.Shipment)
		is := sent.Status
		if ended, has := w.at[s.To].Arrived.Get(s.Shipment); has {
			is = ended
		}
		if s.Status != is {
			w.Fatalf("after %s shipment %s is %s, and shown as %s", event, key, is, s.Status)
		}
	}
}
