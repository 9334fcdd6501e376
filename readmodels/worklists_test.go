package readmodels_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/domain/safety"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/readmodels"
	processviews "casebook/readmodels/process"
	safetyviews "casebook/readmodels/safety"
	supplyviews "casebook/readmodels/supply"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// moment is one of a few, so that many documents have it in common.
func moment(n int) time.Time { return time.Date(2026, 3, 1, 0, 0, n%4, 0, time.UTC) }

func key(n int) readmodels.Header { return readmodels.Header{ID: fmt.Sprintf("S.%03d", n)} }

// listed are the keys of all pages of a list.
func listed[T any](t *testing.T, limit int, id func(T) string, ask func(readmodels.Page) (readmodels.List[T], error)) []string {
	t.Helper()
	var ids []string
	for _, item := range pages(t, limit, ask) {
		ids = append(ids, id(item))
	}
	return ids
}

// expected are the keys of the documents that a list should have, in its order.
func expected[T any](all []T, id func(T) string, keep func(T) bool, order func(a, b T) int) []string {
	kept := slices.DeleteFunc(slices.Clone(all), func(x T) bool { return !keep(x) })
	slices.SortFunc(kept, order)
	var ids []string
	for _, x := range kept {
		ids = append(ids, id(x))
	}
	return ids
}

// wanted says whether a filter's value lets a document's value through.
func wanted[T comparable](filter, value T) bool {
	var none T
	return filter == none || filter == value
}

const documents = 90

// anybody is a request of somebody who may read clinical data, or of a supply manager, who sees what is about supply.
func anybody(r *rapid.T, s *readmodels.Store) (request readmodels.Request, ofSupply bool) {
	if rapid.Bool().Draw(r, "a supply manager") {
		return requestOf(s, user.Grant{Role: user.SupplyManager, Study: "S"}), true
	}
	return everything(s), false
}

func TestProcessesAreListedTheLastToMoveFirst(t *testing.T) {
	s := connect(t, newDatabase())
	outcomes := slices.Clone(process.Outcomes)
	names := []string{"enrollment", "resupply", "safety"}
	var all []processviews.Process
	for n := range documents {
		p := processviews.Process{Header: key(n), Study: "S", Site: domain.SiteID(fmt.Sprint(n % 3)), Process: names[n%7%3],
			Outcome: outcomes[n%5%4],
			Stage:   names[n%2], LastStepAt: moment(n * 7), Since: moment(n * 5)}
		all = append(all, p)
		put(t, s, processviews.ProcessMonitors, p)
	}
	id := func(p processviews.Process) string { return p.ID }
	rapid.Check(t, func(r *rapid.T) {
		f := processviews.ProcessesQuery{Study: "S", Site: rapid.SampledFrom([]domain.SiteID{"", "1", "9"}).Draw(r, "site"),
			Outcome: rapid.SampledFrom(append(outcomes, "")).Draw(r, "outcome"),
			Process: rapid.SampledFrom([]string{"", "enrollment", "resupply", "none"}).Draw(r, "process"),
			Stage:   rapid.SampledFrom([]string{"", "resupply"}).Draw(r, "stage")}
		request, ofSupply := anybody(r, s)
		order := rapid.SampledFrom(ordersOf("Processes")).Draw(r, "order")
		got := listed(t, rapid.IntRange(1, 100).Draw(r, "limit"), id, func(p readmodels.Page) (readmodels.List[processviews.Process], error) {
			f.Page, f.Sort = p, order
			return processviews.ListProcesses(t.Context(), request, f)
		})
		want := expected(all, id, func(p processviews.Process) bool {
			return wanted(f.Site, p.Site) && wanted(f.Outcome, p.Outcome) && wanted(f.Stage, p.Stage) && wanted(f.Process, p.Process) &&
				(!ofSupply || p.Process == "resupply")
		}, func(a, b processviews.Process) int {
			if order == "longest" {
				return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
			}
			return cmp.Or(b.LastStepAt.Compare(a.LastStepAt), cmp.Compare(b.ID, a.ID))
		})
		if diff := gocmp.Diff(want, got); diff != "" {
			r.Fatal(diff)
		}
	})
}

func TestParkedMessagesAreListedTheLongestParkedFirst(t *testing.T) {
	s := connect(t, newDatabase())
	statuses := []processviews.ParkedStatus{processviews.ParkedWaiting, processviews.ParkedRetried, processviews.ParkedAbandoned}
	var all []processviews.ParkedMessage
	for n := range documents {
		m := processviews.ParkedMessage{Header: key(n), Study: "S", Status: statuses[n%3], Since: moment(n * 5)}
		all = append(all, m)
		put(t, s, processviews.ParkedMessages, m)
	}
	id := func(m processviews.ParkedMessage) string { return m.ID }
	for _, status := range append(statuses, "") {
		for order, direction := range map[string]int{"": 1, "oldest": 1, "newest": -1} {
			got := listed(t, 7, id, func(p readmodels.Page) (readmodels.List[processviews.ParkedMessage], error) {
				p.Sort = order
				return processviews.ListParkedMessages(t.Context(), everything(s), processviews.ParkedMessagesQuery{Study: "S", Status: status,
					Page: p})
			})
			want := expected(all, id, func(m processviews.ParkedMessage) bool { return wanted(status, m.Status) },
				func(a, b processviews.ParkedMessage) int {
					return direction * cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
				})
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("%q %s: %s", status, order, diff)
			}
		}
	}
}

func TestAlertsAreListedByUrgencyAndAge(t *testing.T) {
	s := connect(t, newDatabase())
	statuses := []safetyviews.AlertStatus{safetyviews.AlertOpen, safetyviews.AlertReviewed, safetyviews.AlertClosed}
	kinds := []safety.Kind{safety.RiskFlagged, safety.ResupplyShort, safety.KitsAffected, safety.ActivityPaused, safety.ShippingPaused}
	var all []safetyviews.Alert
	for n := range documents {
		a := safetyviews.Alert{Header: key(n), Study: "S", Kind: kinds[n%7%len(kinds)],
			Severity: safety.Routine, RaisedAt: moment(n * 3)}
		if n%2 == 0 {
			a.Severity = safety.Urgent
		}
		switch {
		case a.Kind.OfManySites() && n%2 == 0: // of the whole study
			a.At("", nil)
		case a.Kind.OfManySites():
			a.At("", []domain.SiteID{"0", domain.SiteID(fmt.Sprint(n % 3))})
		default:
			a.At(domain.SiteID(fmt.Sprint(n%3)), nil)
		}
		a.Become(statuses[n%5%3])
		all = append(all, a)
		put(t, s, safetyviews.Alerts, a)
	}
	id := func(a safetyviews.Alert) string { return a.ID }
	urgent := func(a safetyviews.Alert) int {
		if a.Severity == safety.Urgent {
			return 0
		}
		return 1
	}
	rapid.Check(t, func(r *rapid.T) {
		f := safetyviews.AlertsQuery{Study: "S", Site: rapid.SampledFrom([]domain.SiteID{"", "1", "9"}).Draw(r, "site"),
			Status:       rapid.SampledFrom(append(statuses, "")).Draw(r, "status"),
			Severity:     rapid.SampledFrom([]safety.Severity{"", safety.Urgent, safety.Routine}).Draw(r, "severity"),
			RaisedBefore: rapid.SampledFrom([]time.Time{{}, moment(0), moment(2)}).Draw(r, "raised before"),
			Kind:         rapid.SampledFrom(append(kinds, "")).Draw(r, "kind")}
		request, ofSupply := anybody(r, s)
		order := rapid.SampledFrom(ordersOf("Alerts")).Draw(r, "order")
		got := listed(t, rapid.IntRange(1, 100).Draw(r, "limit"), id, func(p readmodels.Page) (readmodels.List[safetyviews.Alert], error) {
			f.Page, f.Sort = p, order
			return safetyviews.ListAlerts(t.Context(), request, f)
		})
		want := expected(all, id, func(a safetyviews.Alert) bool {
			at := wanted(f.Site, a.Site) || a.Kind.OfManySites() && (len(a.Sites) == 0 || slices.Contains(a.Sites, f.Site))
			return at && wanted(f.Status, a.Status) && wanted(f.Severity, a.Severity) &&
				(f.RaisedBefore.IsZero() || a.RaisedAt.Before(f.RaisedBefore)) && wanted(f.Kind, a.Kind) && (!ofSupply || a.Kind.OfSupply())
		}, func(a, b safetyviews.Alert) int {
			switch age := cmp.Or(a.RaisedAt.Compare(b.RaisedAt), cmp.Compare(a.ID, b.ID)); order {
			case "oldest":
				return age
			case "newest":
				return -age
			}
			return cmp.Or(cmp.Compare(slices.Index(statuses, a.Status), slices.Index(statuses, b.Status)), cmp.Compare(urgent(a), urgent(b)),
				a.RaisedAt.Compare(b.RaisedAt), cmp.Compare(a.ID, b.ID))
		})
		if diff := gocmp.Diff(want, got); diff != "" {
			r.Fatal(diff)
		}
	})
}

func TestAnAlertWithoutItsPatientTellsNothingOfHer(t *testing.T) {
	a := safetyviews.Alert{Patient: "S.P1", Summary: "There is no kit for patient S.P1 at site 1.", Note: "she called",
		Outcome: "she got one", Level: 1}
	a.WithoutPatient()
	if diff := gocmp.Diff(safetyviews.Alert{Summary: "There is no kit for patient (left out) at site 1.", Level: 1}, a); diff != "" {
		t.Error(diff)
	}
	about := safetyviews.Alert{Summary: "Depot D has not enough kits for site 1.", Note: "ordered", Outcome: "delivered"}
	same := about
	if same.WithoutPatient(); !gocmp.Equal(about, same) {
		t.Errorf("an alert about no patient becomes %+v", same)
	}
}

var statuses = []supply.KitStatus{supply.KitAvailable, supply.KitIsAllocated, supply.KitLostAtSite}

func TestKitsAndShipmentsAreNarrowed(t *testing.T) {
	s := connect(t, newDatabase())
	var kits []supplyviews.Kit
	var shipments []supplyviews.Shipment
	ways := []supply.ShipmentStatus{supply.ShipmentPacked, supply.ShipmentOnItsWay, supply.ShipmentArrived}
	for n := range documents {
		location := supply.LocationID(fmt.Sprint(n % 3))
		k := supplyviews.Kit{KitRow: supplyviews.KitRow{Header: key(n), Kit: supply.KitNumber(fmt.Sprint("K", n)), Study: "S",
			KitState: supplyviews.KitState{Location: location, Status: statuses[n%5%3], UpdatedAt: moment(n * 7)}}}
		x := supplyviews.Shipment{Header: key(n), Study: "S", From: location, To: supply.LocationID(fmt.Sprint(n % 4)), Status: ways[n%5%3],
			CreatedAt: moment(n * 3)}
		kits, shipments = append(kits, k), append(shipments, x)
		put(t, s, supplyviews.KitInventories, k)
		put(t, s, supplyviews.Shipments, x)
	}
	// A shipment's document lies among the kits, and is none.
	shipped := readmodels.Header{ID: supplyviews.ShippedKey("S", "0-1")}
	put(t, s, supplyviews.KitInventories, supplyviews.Kit{KitRow: supplyviews.KitRow{Header: shipped}, Shipped: []string{"S/K1"}})
	places := []supply.LocationID{"", "1", "9"}
	rapid.Check(t, func(r *rapid.T) {
		limit := rapid.IntRange(1, 100).Draw(r, "limit")
		kf := supplyviews.KitsQuery{Study: "S", Location: rapid.SampledFrom(places).Draw(r, "location"),
			Status: rapid.SampledFrom(append(statuses, "")).Draw(r, "status")}
		order := rapid.SampledFrom([]string{"", "number", "changed"}).Draw(r, "order of kits")
		got := listed(t, limit, func(k supplyviews.KitRow) string { return k.ID },
			func(p readmodels.Page) (readmodels.List[supplyviews.KitRow], error) {
				kf.Page, kf.Sort = p, order
				return supplyviews.ListKits(t.Context(), everything(s), kf)
			})
		want := expected(kits, func(k supplyviews.Kit) string { return k.ID },
			func(k supplyviews.Kit) bool { return wanted(kf.Location, k.Location) && wanted(kf.Status, k.Status) },
			func(a, b supplyviews.Kit) int {
				if order == "changed" {
					return cmp.Or(b.UpdatedAt.Compare(a.UpdatedAt), cmp.Compare(b.ID, a.ID))
				}
				return cmp.Compare(a.ID, b.ID)
			})
		if diff := gocmp.Diff(want, got); diff != "" {
			r.Fatalf("kits: %s", diff)
		}
		sf := supplyviews.ShipmentsQuery{Study: "S", From: rapid.SampledFrom(places).Draw(r, "from"), To: rapid.SampledFrom(places).Draw(r, "to"),
			Status: rapid.SampledFrom(append(ways, "")).Draw(r, "way")}
		id := func(x supplyviews.Shipment) string { return x.ID }
		order = rapid.SampledFrom([]string{"", "newest", "oldest"}).Draw(r, "order of shipments")
		got = listed(t, limit, id, func(p readmodels.Page) (readmodels.List[supplyviews.Shipment], error) {
			sf.Page, sf.Sort = p, order
			return supplyviews.ListShipments(t.Context(), everything(s), sf)
		})
		want = expected(shipments, id, func(x supplyviews.Shipment) bool {
			return wanted(sf.From, x.From) && wanted(sf.To, x.To) && wanted(sf.Status, x.Status)
		}, func(a, b supplyviews.Shipment) int {
			if order == "oldest" {
				a, b = b, a
			}
			return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
		})
		if diff := gocmp.Diff(want, got); diff != "" {
			r.Fatalf("shipments: %s", diff)
		}
	})
	_, err := supplyviews.LoadKit(t.Context(), everything(s), supplyviews.KitQuery{Study: "S", Kit: "K999"})
	if r, ok := refuse.As(err); !ok || r.Code != "kit_not_found" || r.Kind != refuse.KindNotFound {
		t.Errorf("a kit that is not there: %v", err)
	}
}

// TestKitsAreAccountedFor compares what the store counts with a count by hand, for kits of several places and patients, of
// whom one has moved.
func TestKitsAreAccountedFor(t *testing.T) {
	s := connect(t, newDatabase())
	places := map[supply.LocationID]supplyviews.Accountability{}
	patients := map[supplyviews.Given]supplyviews.PatientAccountability{}
	for n := range documents {
		k := supplyviews.Kit{KitRow: supplyviews.KitRow{Header: key(n), Study: "S", KitState: supplyviews.KitState{
			Location: supply.LocationID(fmt.Sprint(n % 3)), Status: statuses[n%5%3]}}}
		k.Where = supplyviews.LocationStatus{Location: k.Location, Status: k.Status}
		if n%2 == 0 {
			k.Given = &supplyviews.Given{Patient: domain.PatientID(fmt.Sprint("S.", n%14)), Site: supply.LocationID(fmt.Sprint(n % 4))}
			k.Dispensed, k.CameBack, k.Reconciled, k.Returned, k.Used, k.Lost = 1, n%3%2, n%5%2, n, 2*n, n%4
			p := patients[*k.Given]
			p.Patient, p.Site = k.Given.Patient, k.Given.Site
			p.Allocated, p.Dispensed, p.CameBack, p.Reconciled = p.Allocated+1, p.Dispensed+1, p.CameBack+k.CameBack, p.Reconciled+k.Reconciled
			p.Returned, p.Used, p.Lost = p.Returned+k.Returned, p.Used+k.Used, p.Lost+k.Lost
			patients[*k.Given] = p
		}
		a := places[k.Location]
		if a.Statuses == nil {
			a = supplyviews.Accountability{Location: k.Location, Statuses: map[supply.KitStatus]int{}}
		}
		a.Kits++
		a.Statuses[k.Status]++
		places[k.Location] = a
		put(t, s, supplyviews.KitInventories, k)
	}
	put(t, s, supplyviews.KitInventories, supplyviews.Kit{KitRow: supplyviews.KitRow{Header: readmodels.Header{ID: "T.1"}, Study: "T",
		KitState: supplyviews.KitState{Location: "1", KitUse: supplyviews.KitUse{Given: &supplyviews.Given{Patient: "T.1", Site: "1"}}}}})
	for _, sites := range [][]domain.SiteID{nil, {"1"}, {"2", "0"}, {"9"}} {
		request := everything(s)
		request.WholeStudy, request.Sites = sites == nil, sites
		got, err := supplyviews.ListAccountability(t.Context(), request, supplyviews.AccountabilityQuery{Study: "S"})
		if err != nil {
			t.Fatal(err)
		}
		var want []supplyviews.Accountability
		for _, l := range []supply.LocationID{"0", "1", "2"} {
			if sites == nil || slices.Contains(sites, domain.SiteID(l)) {
				want = append(want, places[l])
			}
		}
		if diff := gocmp.Diff(want, got.Items); diff != "" {
			t.Errorf("%v: %s", sites, diff)
		}
	}
	for _, site := range []domain.SiteID{"", "2", "9"} {
		for _, limit := range []int{1, 3, 100} {
			got := pages(t, limit, func(p readmodels.Page) (readmodels.List[supplyviews.PatientAccountability], error) {
				return supplyviews.ListAccountabilityByPatient(t.Context(), everything(s), supplyviews.AccountabilityByPatientQuery{Study: "S",
					Site: site, Page: p})
			})
			var want []supplyviews.PatientAccountability
			for given, p := range patients {
				if wanted(supply.LocationID(site), given.Site) {
					want = append(want, p)
				}
			}
			slices.SortFunc(want, func(a, b supplyviews.PatientAccountability) int {
				return cmp.Or(cmp.Compare(a.Patient, b.Patient), cmp.Compare(a.Site, b.Site))
			})
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("site %q by %d: %s", site, limit, diff)
			}
		}
	}
}
