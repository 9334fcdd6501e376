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
	"casebook/readmodels"

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

func TestProcessesAreListedTheLastToMoveFirst(t *testing.T) {
	s := connect(t, newDatabase())
	outcomes := []process.Outcome{readmodels.UnderWay, process.Held, process.Completed, process.Failed}
	names := []string{"enrollment", "resupply", "safety"}
	var all []readmodels.Process
	for n := range documents {
		p := readmodels.Process{Header: key(n), Study: "S", Site: domain.SiteID(fmt.Sprint(n % 3)), Process: names[n%7%3], Outcome: outcomes[n%5%4],
			Stage: names[n%2], LastStepAt: moment(n * 7), Since: moment(n * 5)}
		all = append(all, p)
		put(t, s, readmodels.SagaMonitors, p)
	}
	id := func(p readmodels.Process) string { return p.ID }
	rapid.Check(t, func(r *rapid.T) {
		f := readmodels.ProcessFilter{Site: rapid.SampledFrom([]domain.SiteID{"", "1", "9"}).Draw(r, "site"),
			Outcome:   rapid.SampledFrom(append(outcomes, "")).Draw(r, "outcome"),
			Processes: rapid.SampledFrom([][]string{nil, {"enrollment"}, {"resupply", "safety"}, {"none"}}).Draw(r, "processes"),
			Stage:     rapid.SampledFrom([]string{"", "resupply"}).Draw(r, "stage")}
		order := rapid.SampledFrom(append(readmodels.ProcessSorts, "")).Draw(r, "order")
		got := listed(t, rapid.IntRange(1, 100).Draw(r, "limit"), id, func(p readmodels.Page) (readmodels.List[readmodels.Process], error) {
			p.Sort = order
			return s.Processes(t.Context(), "S", f, p)
		})
		want := expected(all, id, func(p readmodels.Process) bool {
			return wanted(f.Site, p.Site) && wanted(f.Outcome, p.Outcome) && wanted(f.Stage, p.Stage) && (f.Processes == nil || slices.Contains(f.Processes, p.Process))
		}, func(a, b readmodels.Process) int {
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
	statuses := []readmodels.ParkedStatus{readmodels.ParkedWaiting, readmodels.ParkedRetried, readmodels.ParkedAbandoned}
	var all []readmodels.ParkedMessage
	for n := range documents {
		m := readmodels.ParkedMessage{Header: key(n), Study: "S", Status: statuses[n%3], Since: moment(n * 5)}
		all = append(all, m)
		put(t, s, readmodels.ParkedMessages, m)
	}
	id := func(m readmodels.ParkedMessage) string { return m.ID }
	for _, status := range append(statuses, "") {
		for order, direction := range map[string]int{"": 1, "oldest": 1, "newest": -1} {
			got := listed(t, 7, id, func(p readmodels.Page) (readmodels.List[readmodels.ParkedMessage], error) {
				p.Sort = order
				return s.ParkedMessages(t.Context(), "S", status, p)
			})
			want := expected(all, id, func(m readmodels.ParkedMessage) bool { return wanted(status, m.Status) },
				func(a, b readmodels.ParkedMessage) int {
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
	statuses := []readmodels.AlertStatus{readmodels.AlertOpen, readmodels.AlertReviewed, readmodels.AlertClosed}
	kinds := []safety.Kind{safety.RiskFlagged, safety.ResupplyShort, safety.KitsAffected}
	var all []readmodels.Alert
	for n := range documents {
		a := readmodels.Alert{Header: key(n), Study: "S", Site: domain.SiteID(fmt.Sprint(n % 3)), Kind: kinds[n%7%3], Severity: safety.Routine, RaisedAt: moment(n * 3)}
		if n%2 == 0 {
			a.Severity = safety.Urgent
		}
		a.Become(statuses[n%5%3])
		all = append(all, a)
		put(t, s, readmodels.Alerts, a)
	}
	id := func(a readmodels.Alert) string { return a.ID }
	urgent := func(a readmodels.Alert) int {
		if a.Severity == safety.Urgent {
			return 0
		}
		return 1
	}
	rapid.Check(t, func(r *rapid.T) {
		f := readmodels.AlertFilter{Site: rapid.SampledFrom([]domain.SiteID{"", "1", "9"}).Draw(r, "site"),
			Status:       rapid.SampledFrom(append(statuses, "")).Draw(r, "status"),
			Severity:     rapid.SampledFrom([]safety.Severity{"", safety.Urgent, safety.Routine}).Draw(r, "severity"),
			RaisedBefore: rapid.SampledFrom([]time.Time{{}, moment(0), moment(2)}).Draw(r, "raised before"),
			Kinds:        rapid.SampledFrom([][]safety.Kind{nil, kinds[:1], kinds[1:]}).Draw(r, "kinds")}
		order := rapid.SampledFrom(append(readmodels.AlertSorts, "")).Draw(r, "order")
		got := listed(t, rapid.IntRange(1, 100).Draw(r, "limit"), id, func(p readmodels.Page) (readmodels.List[readmodels.Alert], error) {
			p.Sort = order
			return s.Alerts(t.Context(), "S", f, p)
		})
		want := expected(all, id, func(a readmodels.Alert) bool {
			return wanted(f.Site, a.Site) && wanted(f.Status, a.Status) && wanted(f.Severity, a.Severity) &&
				(f.RaisedBefore.IsZero() || a.RaisedAt.Before(f.RaisedBefore)) && (f.Kinds == nil || slices.Contains(f.Kinds, a.Kind))
		}, func(a, b readmodels.Alert) int {
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
	a := readmodels.Alert{Patient: "S.P1", Summary: "There is no kit for patient S.P1 at site 1.", Note: "she called", Outcome: "she got one", Level: 1}
	a.WithoutPatient()
	if diff := gocmp.Diff(readmodels.Alert{Summary: "There is no kit for patient (left out) at site 1.", Level: 1}, a); diff != "" {
		t.Error(diff)
	}
	about := readmodels.Alert{Summary: "Depot D has not enough kits for site 1.", Note: "ordered", Outcome: "delivered"}
	same := about
	if same.WithoutPatient(); !gocmp.Equal(about, same) {
		t.Errorf("an alert about no patient becomes %+v", same)
	}
}

var statuses = []supply.KitStatus{supply.KitAvailable, supply.KitIsAllocated, supply.KitIsLost}

func TestKitsAndShipmentsAreNarrowed(t *testing.T) {
	s := connect(t, newDatabase())
	var kits []readmodels.Kit
	var shipments []readmodels.Shipment
	ways := []supply.ShipmentStatus{supply.ShipmentPacked, supply.ShipmentOnItsWay, supply.ShipmentArrived}
	for n := range documents {
		location := supply.LocationID(fmt.Sprint(n % 3))
		k := readmodels.Kit{KitRow: readmodels.KitRow{Header: key(n), Kit: supply.KitNumber(fmt.Sprint("K", n)), Study: "S", Location: location, Status: statuses[n%5%3], UpdatedAt: moment(n * 7)}}
		x := readmodels.Shipment{Header: key(n), Study: "S", From: location, To: supply.LocationID(fmt.Sprint(n % 4)), Status: ways[n%5%3], CreatedAt: moment(n * 3)}
		kits, shipments = append(kits, k), append(shipments, x)
		put(t, s, readmodels.KitInventories, k)
		put(t, s, readmodels.Shipments, x)
	}
	// A shipment's document lies among the kits, and is none.
	put(t, s, readmodels.KitInventories, readmodels.Kit{KitRow: readmodels.KitRow{Header: readmodels.Header{ID: readmodels.ShippedKey("S", "0-1")}}, Shipped: []string{"S/K1"}})
	places := []supply.LocationID{"", "1", "9"}
	rapid.Check(t, func(r *rapid.T) {
		limit := rapid.IntRange(1, 100).Draw(r, "limit")
		kf := readmodels.KitFilter{Location: rapid.SampledFrom(places).Draw(r, "location"), Status: rapid.SampledFrom(append(statuses, "")).Draw(r, "status")}
		order := rapid.SampledFrom([]string{"", "number", "changed"}).Draw(r, "order of kits")
		got := listed(t, limit, func(k readmodels.KitRow) string { return k.ID }, func(p readmodels.Page) (readmodels.List[readmodels.KitRow], error) {
			p.Sort = order
			return s.Kits(t.Context(), "S", kf, p)
		})
		want := expected(kits, func(k readmodels.Kit) string { return k.ID }, func(k readmodels.Kit) bool { return wanted(kf.Location, k.Location) && wanted(kf.Status, k.Status) },
			func(a, b readmodels.Kit) int {
				if order == "changed" {
					return cmp.Or(b.UpdatedAt.Compare(a.UpdatedAt), cmp.Compare(b.ID, a.ID))
				}
				return cmp.Compare(a.ID, b.ID)
			})
		if diff := gocmp.Diff(want, got); diff != "" {
			r.Fatalf("kits: %s", diff)
		}
		sf := readmodels.ShipmentFilter{From: rapid.SampledFrom(places).Draw(r, "from"), To: rapid.SampledFrom(places).Draw(r, "to"), Status: rapid.SampledFrom(append(ways, "")).Draw(r, "way")}
		id := func(x readmodels.Shipment) string { return x.ID }
		order = rapid.SampledFrom([]string{"", "newest", "oldest"}).Draw(r, "order of shipments")
		got = listed(t, limit, id, func(p readmodels.Page) (readmodels.List[readmodels.Shipment], error) {
			p.Sort = order
			return s.Shipments(t.Context(), "S", sf, p)
		})
		want = expected(shipments, id, func(x readmodels.Shipment) bool {
			return wanted(sf.From, x.From) && wanted(sf.To, x.To) && wanted(sf.Status, x.Status)
		}, func(a, b readmodels.Shipment) int {
			if order == "oldest" {
				a, b = b, a
			}
			return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
		})
		if diff := gocmp.Diff(want, got); diff != "" {
			r.Fatalf("shipments: %s", diff)
		}
	})
	_, err := s.Kit(t.Context(), "S", "K999")
	if r, ok := refuse.As(err); !ok || r.Code != "kit_not_found" || r.Kind != refuse.KindNotFound {
		t.Errorf("a kit that is not there: %v", err)
	}
}

// TestKitsAreAccountedFor compares what the store counts with a count by hand, for kits of several places and patients, of
// whom one has moved.
func TestKitsAreAccountedFor(t *testing.T) {
	s := connect(t, newDatabase())
	places := map[supply.LocationID]readmodels.Accountability{}
	patients := map[readmodels.Given]readmodels.PatientAccountability{}
	for n := range documents {
		k := readmodels.Kit{KitRow: readmodels.KitRow{Header: key(n), Study: "S", Location: supply.LocationID(fmt.Sprint(n % 3)), Status: statuses[n%5%3]}}
		k.Stands = readmodels.Standing{Location: k.Location, Status: k.Status}
		if n%2 == 0 {
			k.Given = &readmodels.Given{Patient: domain.PatientID(fmt.Sprint("S.", n%14)), Site: supply.LocationID(fmt.Sprint(n % 4))}
			k.Dispensed, k.CameBack, k.Reconciled, k.Returned, k.Used, k.Lost = 1, n%3%2, n%5%2, n, 2*n, n%4
			p := patients[*k.Given]
			p.Patient, p.Site = k.Given.Patient, k.Given.Site
			p.Allocated, p.Dispensed, p.CameBack, p.Reconciled = p.Allocated+1, p.Dispensed+1, p.CameBack+k.CameBack, p.Reconciled+k.Reconciled
			p.Returned, p.Used, p.Lost = p.Returned+k.Returned, p.Used+k.Used, p.Lost+k.Lost
			patients[*k.Given] = p
		}
		a := places[k.Location]
		if a.Statuses == nil {
			a = readmodels.Accountability{Location: k.Location, Statuses: map[supply.KitStatus]int{}}
		}
		a.Kits++
		a.Statuses[k.Status]++
		places[k.Location] = a
		put(t, s, readmodels.KitInventories, k)
	}
	put(t, s, readmodels.KitInventories, readmodels.Kit{KitRow: readmodels.KitRow{Header: readmodels.Header{ID: "T.1"}, Study: "T", Location: "1"}, Given: &readmodels.Given{Patient: "T.1", Site: "1"}})
	for _, asked := range [][]supply.LocationID{nil, {"1"}, {"2", "0"}, {"9"}} {
		got, err := s.Accountability(t.Context(), "S", asked)
		if err != nil {
			t.Fatal(err)
		}
		want := []readmodels.Accountability{}
		for _, l := range []supply.LocationID{"0", "1", "2"} {
			if asked == nil || slices.Contains(asked, l) {
				want = append(want, places[l])
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%v: %s", asked, diff)
		}
	}
	for _, site := range []supply.LocationID{"", "2", "9"} {
		for _, limit := range []int{1, 3, 100} {
			got := pages(t, limit, func(p readmodels.Page) (readmodels.List[readmodels.PatientAccountability], error) {
				return s.AccountabilityByPatient(t.Context(), "S", site, p)
			})
			var want []readmodels.PatientAccountability
			for given, p := range patients {
				if wanted(site, given.Site) {
					want = append(want, p)
				}
			}
			slices.SortFunc(want, func(a, b readmodels.PatientAccountability) int {
				return cmp.Or(cmp.Compare(a.Patient, b.Patient), cmp.Compare(a.Site, b.Site))
			})
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("site %q by %d: %s", site, limit, diff)
			}
		}
	}
}
