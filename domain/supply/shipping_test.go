package supply_test

import (
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// withCountries is the study, whose site A is in DE and whose site B is in AT, and whose protocol may ask for green lights.
func withCountries(greenLights bool) study.Study {
	s := theStudy(func(t *study.Treatment) { t.GreenLights = greenLights })
	a, b := s.Sites["A"], s.Sites["B"]
	a.Country, b.Country = "DE", "AT"
	s.Sites = map[domain.SiteID]study.Site{"A": a, "B": b}
	return s
}

var (
	countryApproved = supply.ShippingApproved{Study: pain, Country: "DE", Sites: []domain.SiteID{"A"}, Reference: "ref"}
	siteApproved    = supply.ShippingApproved{Study: pain, Site: "A", Sites: []domain.SiteID{"A"}, Reference: "ref"}
)

// in is what an approval or a withdrawal is decided with.
func in[C any](decide func(supply.Supply, study.Study, C, domain.Call) ([]supply.Event, error), cmd C) supplyDecision {
	return scenario.SentWithFacts(decide, withCountries(true), cmd, call)
}

func TestGreenLights(t *testing.T) {
	ofStudy, why := domain.ForStudy(pain), domain.Because("r")
	given := withDepot(t)
	given.When(in(supply.ApproveSite, supply.ApproveShippingToSite{InStudy: ofStudy, Site: "Z",
		Reference: "ref"})).ThenRefused("site_not_found")
	given.When(in(supply.ApproveSite, supply.ApproveShippingToSite{InStudy: ofStudy, Site: "A"})).ThenRefused("value_missing")
	given.When(in(supply.ApproveCountry, supply.ApproveShippingToCountry{InStudy: ofStudy, Country: "FR", Reference: "ref"})).
		ThenRefused("country_not_found")
	site := supply.ApproveShippingToSite{InStudy: ofStudy, Site: "A", Reference: "ref"}
	country := supply.ApproveShippingToCountry{InStudy: ofStudy, Country: "DE", Reference: "ref"}
	approved := given.When(in(supply.ApproveSite, site)).Then(siteApproved).When(in(supply.ApproveCountry, country)).Then(countryApproved)
	approved.When(in(supply.ApproveSite, site)).ThenRefused("shipping_approved")
	approved.When(in(supply.ApproveCountry, country)).ThenRefused("shipping_approved")
	noSite := supply.WithdrawShippingToSite{InStudy: ofStudy, Site: "A", Reasoned: why}
	noCountry := supply.WithdrawShippingToCountry{InStudy: ofStudy, Country: "DE", Reasoned: why}
	approved.When(in(supply.WithdrawSite, supply.WithdrawShippingToSite{InStudy: ofStudy, Site: "A"})).ThenRefused("reason_required")
	approved.When(in(supply.WithdrawSite, noSite)).Then(supply.ShippingApprovalWithdrawn{Study: pain, Site: "A", Reason: "r"}).
		When(in(supply.WithdrawSite, noSite)).ThenRefused("site_not_approved")
	approved.When(in(supply.WithdrawCountry, noCountry)).Then(supply.ShippingApprovalWithdrawn{Study: pain, Country: "DE", Reason: "r"}).
		When(in(supply.WithdrawCountry, noCountry)).ThenRefused("country_not_approved")
}

// Where the protocol asks for green lights, kits leave for a site that has its own, in a country that has its own. A protocol that says
// nothing asks for none.
func TestKitsShipOnlyWithGreenLights(t *testing.T) {
	with := func(asked bool, more ...supply.Event) supply.Facts {
		return facts(func(f *supply.Facts) { f.Study, f.Supply = withCountries(asked), theSupply(more...) })
	}
	create := func(f supply.Facts) stockDecision {
		return decisionWith(supply.Create, f, supply.CreateShipment{FromLocation: fromLocation("D"), To: "A", Kits: kits("K1"),
			Reasoned: domain.Because("r")})
	}
	given, made := stockAt(t, depot, "K1"), shipmentCreated(depot, "D-0001", "A", "K1")
	given.When(create(with(true))).ThenRefused("country_not_approved")
	given.When(create(with(true, countryApproved))).ThenRefused("site_not_approved")
	given.When(create(with(true, siteApproved))).ThenRefused("country_not_approved")
	given.When(create(with(false))).Then(made)
	packed := given.When(create(with(true, countryApproved, siteApproved))).Then(made)
	// The light may have changed since the shipment was packed.
	dispatch := func(f supply.Facts) stockDecision { return dispatchShipment(f, "D", "D-0001", "2026-03-09") }
	packed.When(dispatch(with(true, countryApproved, siteApproved, supply.ShippingApprovalWithdrawn{Study: pain, Site: "A", Reason: "r"}))).
		ThenRefused("site_not_approved")
	packed.When(dispatch(with(true, countryApproved, siteApproved))).Then(shipmentDispatched(depot, "D-0001", "A", "2026-03-09"))
}

// A resupply without green light is recorded once, and again when an approval has changed and it still lacks one.
func TestResupplyWaitsForTheGreenLight(t *testing.T) {
	rule := supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 1, OverdueDays: 5}}
	plan := func(more ...supply.Event) stockDecision {
		f := facts(func(f *supply.Facts) {
			f.Study, f.Supply = withCountries(true), theSupply(append([]supply.Event{rule}, more...)...)
		})
		return decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})
	}
	withheld := supply.ResupplyWithheld{OfStock: depot, To: "A", Code: "country_not_approved", Reason: "kits may not be shipped to DE yet"}
	once := stockAt(t, depot, "K1", "K3").When(plan()).Then(withheld)
	once.When(plan()).Then()
	withheld.Code, withheld.Reason, withheld.Changes = "site_not_approved", "kits may not be shipped to site A yet", 1
	once.When(plan(countryApproved)).Then(withheld).When(plan(countryApproved)).Then()
	sent := shipmentCreated(depot, "D-0001", "A", "K1", "K3")
	sent.Resupply, sent.Reason = true, "resupply"
	once.When(plan(countryApproved, siteApproved)).Then(sent)
	stockAt(t, depot).When(plan(countryApproved)).Then(withheld) // the depot is empty, and may not send either
}

const labelled = "kit,arm,lot,expiry,countries\n4711,XQ-7,L1,2027-01-01,DE AT\n4718,YW-4,L1,2027-01-01,AT DE\n4712,XQ-7,L1,2027-01-01,\n" +
	"4719,YW-4,L1,2027-01-01,\n"

func TestLabelsLimitCountries(t *testing.T) {
	given := withDepot(t)
	events, err := registering(withCountries(true), "D", labelled)(given.State())
	if err != nil {
		t.Fatal(err)
	}
	got := events[0].(supply.KitsRegistered)
	if len(got.Labels) != 1 || strings.Join(got.Labels[0].Countries, " ") != "AT DE" || len(got.Labels[0].Kits) != 2 {
		t.Errorf("the labels are %+v", got.Labels)
	}
	given.When(registering(withCountries(true), "D", strings.Replace(labelled, "DE AT", "de", 1))).ThenRefused("malformed_country")
	given.When(registering(withCountries(true), "D", strings.Replace(labelled, "DE AT", "", 1))).ThenRefused("labels_reveal_arm")

	// Staff count the units of a kit that comes back, so their number is on kits of every arm.
	counted := "kit,arm,lot,expiry,units\n4711,XQ-7,L1,2027-01-01,28\n4718,YW-4,L1,2027-01-01,56\n4712,XQ-7,L1,2027-01-01,56\n" +
		"4719,YW-4,L1,2027-01-01,28\n"
	if _, err := registering(withCountries(true), "D", counted)(given.State()); err != nil {
		t.Error(err)
	}
	given.When(registering(withCountries(true), "D", strings.Replace(counted, "28", "30", 1))).ThenRefused("units_reveal_arm")

	// K1 and K3 may go to AT alone, K2 everywhere.
	inSupply := theSupply(supply.KitsRegistered{Study: pain, Depot: "D", Delivery: 1, Kits: kits("K1", "K2", "K3"),
		Contents: contentsOf("K1", "K2", "K3"), Together: true, Labels: []supply.Label{{Countries: []string{"AT"}, Kits: kits("K1", "K3")}}},
		supply.DepotOpened{Study: pain, Depot: "E"},
		supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 1, OverdueDays: 5}})
	f := facts(func(f *supply.Facts) { f.Study, f.Supply = withCountries(false), inSupply })
	create := func(to supply.LocationID, kit supply.KitNumber) stockDecision {
		return decisionWith(supply.Create, f, supply.CreateShipment{FromLocation: fromLocation("D"), To: to, Kits: kits(kit),
			Reasoned: domain.Because("r")})
	}
	stocked := stockAt(t, depot, "K1", "K2", "K3")
	stocked.When(create("A", "K1")).ThenRefused("label_not_for_country")
	stocked.When(create("B", "K1")).Then(shipmentCreated(depot, "D-0001", "B", "K1"))
	stocked.When(create("E", "K1")).Then(shipmentCreated(depot, "D-0001", "E", "K1")) // a depot may store kits of every label
	stocked.When(create("A", "K2")).Then(shipmentCreated(depot, "D-0001", "A", "K2"))
	// A rule sends only what is labelled for the country. Arm y has no such kit.
	sent := shipmentCreated(depot, "D-0001", "A", "K2")
	sent.Resupply, sent.Reason = true, "resupply"
	stocked.When(decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})).
		Then(sent, supply.ResupplyFellShort{OfStock: depot, To: "A", Missing: blind.Of(supply.MissingKits{y: 1})})
}

func TestDoNotShipDays(t *testing.T) {
	set := func(lot, country string, days int) supply.DoNotShipDaysSet {
		return supply.DoNotShipDaysSet{Study: pain, Lot: lot, Country: country, Days: days, Reason: "r"}
	}
	setting := func(lot, country string, days int) supplyDecision {
		return in(supply.SetShipDays, supply.SetDoNotShipDays{InStudy: domain.ForStudy(pain), Lot: lot, Country: country, Days: days,
			Reasoned: domain.Because("r")})
	}
	given := withDepot(t).Given(supply.BatchReleased{Study: pain, Lot: "L1"})
	given.When(setting("L9", "", 90)).ThenRefused("lot_not_found")
	given.When(setting("", "FR", 90)).ThenRefused("country_not_found")
	given.When(setting("", "", -1)).ThenRefused("value_out_of_range")
	given.When(setting("", "", 0)).ThenRefused("days_unchanged")
	given.When(setting("L1", "DE", 90)).Then(set("L1", "DE", 90)).When(setting("L1", "DE", 90)).ThenRefused("days_unchanged")

	// K2 expires 83 days after the day of the call.
	rule := supply.ResupplyRuleSet{Study: pain, Rule: supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 1, OverdueDays: 5}}
	for name, c := range map[string]struct {
		limits   []supply.Event
		sendable bool
	}{
		"no limit":                      {nil, true},
		"one day less":                  {[]supply.Event{set("", "", 82)}, true},
		"of all kits":                   {[]supply.Event{set("", "", 83)}, false},
		"of the lot":                    {[]supply.Event{set("L2", "", 83)}, false},
		"of another lot":                {[]supply.Event{set("L1", "", 83)}, true},
		"of the country":                {[]supply.Event{set("", "DE", 83)}, false},
		"of another country":            {[]supply.Event{set("", "AT", 83)}, true},
		"of the lot in the country":     {[]supply.Event{set("L2", "DE", 83)}, false},
		"the longest of several counts": {[]supply.Event{set("", "", 83), set("L2", "DE", 10)}, false},
		"taken away":                    {[]supply.Event{set("", "", 83), set("", "", 0)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := facts(func(f *supply.Facts) {
				f.Study, f.Supply = withCountries(false), theSupply(append(c.limits, rule, supply.DepotOpened{Study: pain, Depot: "E"})...)
			})
			byHand := func(to supply.LocationID) stockDecision {
				return decisionWith(supply.Create, f, supply.CreateShipment{FromLocation: fromLocation("D"), To: to, Kits: kits("K2"),
					Reasoned: domain.Because("r")})
			}
			given := stockAt(t, depot, "K2", "K4")
			given.When(byHand("E")).Then(shipmentCreated(depot, "D-0001", "E", "K2")) // the limit is about sites
			outcome := given.When(byHand("A"))
			events, err := decisionWith(supply.Resupply, f, supply.PlanResupply{AtDepot: atDepot, Site: "A", Seed: theSeed})(given.State())
			if err != nil {
				t.Fatal(err)
			}
			if c.sendable {
				outcome.Then(shipmentCreated(depot, "D-0001", "A", "K2"))
			} else {
				outcome.ThenRefused("kits_not_sendable")
			}
			sent := false
			for _, e := range events {
				_, is := e.(supply.ShipmentCreated)
				sent = sent || is
			}
			if sent != c.sendable {
				t.Errorf("the rule has led to %v", events)
			}
		})
	}
}

// Kits with new labels are sent in the last days before the expiry that they had, once all kits of the lot here have them. Before, no
// kit of the delivery is sent, so that nobody learns which kits are of the lot.
func TestRelabelledKitsAreSentNearTheirOldExpiry(t *testing.T) {
	of := lotsOfArms(2) // LX expires on 2026-06-30, LY on 2026-12-31
	extended := supply.LotExpiryExtended{Study: pain, Lot: "LX", To: blind.Of(domain.Date("2026-11-30")), Certificate: "c", Reason: "r"}
	s, f, numbers := delivered(of, true, releasedNow("LX"), releasedNow("LY"), extended)
	near := call
	near.At = time.Date(2026, 6, 25, 12, 0, 0, 0, time.UTC)
	relabel := func(s supply.Stock, n supply.KitNumber) supply.Stock {
		return supply.StockDecider.Evolve(s, supply.KitsRelabelled{OfStock: depot,
			To: blind.Of(supply.Expiries{n: "2026-11-30"})})
	}
	only := func(s supply.Stock, f supply.Facts, want string) {
		t.Helper()
		got := answers(t, s, f, numbers, near)
		for answer := range got {
			if code, _, _ := strings.Cut(answer, ":"); len(got) != 1 || code != want {
				t.Errorf("the kits are answered %v, want %s", got, want)
			}
		}
	}
	only(s, f, "kits_not_sendable")
	s = relabel(s, "0000")
	only(s, f, "kits_not_sendable") // 0002 has its old label
	s = relabel(s, "0002")
	only(s, f, "sent")
	near.At = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) // near the new expiry
	only(s, f, "kits_not_sendable")
}
