package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/supply"
)

const (
	supplyManagerID    domain.UserID = "supply.manager"
	unblindedManagerID domain.UserID = "supply.unblinded"
	statisticianID     domain.UserID = "statistician"

	// depotID is the depot that supplies all sites.
	depotID supply.LocationID = "DEPOT-EU"
	// verum and placebo are the arms. Their ids occur nowhere else by chance, so that a search for them finds every leak.
	verum   domain.ArmID = "RLV-7Q4"
	placebo domain.ArmID = "PLC-2K9"
	// secondVisit is the visit at which the second kit is dispensed.
	secondVisit = "week-2"
	// unitsPerKit is two doses per day for two weeks.
	unitsPerKit = 14 * dosesPerDay
	// dosesPerDay is the dose of the first step, and maxStep the highest one.
	dosesPerDay = 2
	maxStep     = 2
	// warmShipmentSite is the site whose first shipment gets too warm, and is kept in quarantine for quarantineDays.
	warmShipmentSite domain.SiteID = "03"
	// quarantineDays is how long that is.
	quarantineDays int = 4
)

// kitsPerArm returns how many kits of each arm a site's stock is filled up to.
func kitsPerArm(o Options) int { return min(400, 2*o.Patients/len(sites)+10) }

// kitsCSV returns the list of the first delivery: kits of two lots, each with both arms, in random order.
func kitsCSV(o Options) string {
	random := rand.New(rand.NewPCG(o.Seed, 1<<32)) // #nosec G404 -- a simulation has to be repeatable
	n := min(2900, 2*(len(sites)+1)*kitsPerArm(o))
	var text strings.Builder
	text.WriteString("kit,type,lot,expiry,units\n")
	for i, drawn := range random.Perm(n) {
		arm, lot, expires := verum, "LOT-71", o.Today.AddDays(500)
		if drawn%2 == 1 {
			arm = placebo
		}
		if drawn%4 > 1 {
			lot, expires = "LOT-72", o.Today.AddDays(700)
		}
		if drawn%16 < 2 {
			lot = recalledLot
		}
		fmt.Fprintf(&text, "%06d,%s,%s,%s,%d\n", 310_000+i, arm, lot, expires, unitsPerKit)
	}
	return text.String()
}

// supplyStudy creates the randomisation list, and fills the stock of the depot and the sites.
func (s *simulation) supplyStudy(ctx context.Context, opened domain.Date) error {
	if err := s.randomise(ctx); err != nil {
		return err
	}
	manager, in := s.accounts[supplyManagerID].token, domain.ForStudy(studyID)
	err := s.sendAll(ctx, manager, "supply", supply.OpenDepot{InStudy: in, Depot: depotID, Name: "Central depot, Leiden"})
	if err == nil {
		err = s.send(ctx, s.accounts[unblindedManagerID].token, "supply/kits",
			supply.RegisterKits{InStudy: in, Depot: depotID, CSV: kitsCSV(s.Options)})
	}
	for _, lot := range []string{"LOT-71", "LOT-72", recalledLot} {
		if err == nil {
			err = s.send(ctx, s.accounts[unblindedManagerID].token, "supply/release/"+lot,
				supply.ReleaseBatch{InStudy: in, Lot: lot, Certificate: "QP-2026-" + lot})
		}
	}
	if err != nil {
		return err
	}
	// A process takes the delivery into stock. Before that, the resupply rules find no kits to send.
	if err := s.waitUntil(ctx, func() (bool, error) {
		registered, err := s.kits(ctx, manager, "", "registered", "")
		return len(registered) == 0, err
	}); err != nil {
		return err
	}
	for _, to := range sites {
		perArm := kitsPerArm(s.Options)
		rule := supply.ResupplyRule{Site: to.id, Depot: depotID, Trigger: max(2, perArm/4), Target: perArm, OverdueDays: 5}
		if err := s.send(ctx, manager, "supply/rule/"+string(to.id), supply.SetResupplyRule{InStudy: in, Rule: rule}); err != nil {
			return err
		}
		first, err := s.firstShipment(ctx, to)
		if err != nil {
			return err
		}
		temperature := supply.TemperatureInRange
		if to.id == warmShipmentSite {
			temperature = supply.TemperatureExcursion
		}
		if err := s.deliver(ctx, first, to, opened, temperature); err != nil {
			return err
		}
	}
	return nil
}

// randomise creates and activates the randomisation list. Both commands require a sign-in within the last minutes.
func (s *simulation) randomise(ctx context.Context) error {
	statistician, err := s.api.signIn(ctx, statisticianID, s.Password)
	if err != nil {
		return err
	}
	in := domain.ForStudy(studyID)
	list, err := s.api.command(ctx, statistician, "supply/list", randomisation.GenerateRandomisationList{
		InStudy: in, Scheme: "main",
		Ratio: map[domain.ArmID]int{verum: 1, placebo: 1}, BlockSizes: []int{2, 4}, PerStratum: 2*s.Patients + 8,
	})
	if err != nil {
		return err
	}
	return s.send(ctx, statistician, "supply/activate", randomisation.ActivateRandomisation{
		InStudy: in, Scheme: "main", SHA256: list.Events[0].Data.SHA256,
	})
}

// firstShipment waits until the resupply process has created a site's first shipment.
func (s *simulation) firstShipment(ctx context.Context, to site) (first supply.ShipmentID, err error) {
	err = s.waitUntil(ctx, func() (bool, error) {
		shipments, err := s.shipments(ctx, s.accounts[supplyManagerID].token, string(to.id), "")
		for _, row := range shipments {
			if id := supply.ShipmentID(row.Shipment); first == "" || id < first {
				first = id
			}
		}
		return first != "", err
	})
	return first, err
}

// deliver dispatches a shipment at the depot and receives it at its site.
func (s *simulation) deliver(ctx context.Context, id supply.ShipmentID, to site, on domain.Date, temperature supply.Temperature) error {
	err := s.send(ctx, s.accounts[supplyManagerID].token, "supply/dispatch/"+string(id),
		supply.DispatchShipment{FromLocation: supply.FromLocation{Study: studyID, From: depotID}, Shipment: id, On: on, Carrier: "ColdLine"})
	if err != nil {
		return err
	}
	return s.send(ctx, s.accounts[to.crc].token, "supply/receive/"+string(id), supply.ReceiveShipment{
		AtLocation: supply.AtLocation{Study: studyID, Location: supply.LocationID(to.id)},
		From:       depotID, Shipment: id, On: on, Temperature: temperature,
	})
}

// supplyRound delivers the shipments that are packed on a day. On the last day of the quarantine it releases the kits
// of the shipment that got too warm; until then its site gets no other shipment.
func (s *simulation) supplyRound(ctx context.Context, day, quarantineUntil domain.Date) error {
	manager := s.accounts[supplyManagerID].token
	for _, to := range sites {
		if to.id == warmShipmentSite && day < quarantineUntil {
			continue
		}
		packed, err := s.shipments(ctx, manager, string(to.id), "packed")
		if err != nil {
			return err
		}
		for _, row := range packed {
			if err := s.deliver(ctx, supply.ShipmentID(row.Shipment), to, day, supply.TemperatureInRange); err != nil {
				return err
			}
		}
	}
	if day != quarantineUntil {
		return nil
	}
	quarantined, err := s.kits(ctx, manager, string(warmShipmentSite), "quarantined", "")
	if err != nil || len(quarantined) == 0 {
		return err
	}
	var kits []supply.KitNumber
	for _, k := range quarantined {
		kits = append(kits, supply.KitNumber(k.Kit))
	}
	return s.send(ctx, manager, "supply/release-kits", supply.ReleaseKits{
		AtLocation: supply.AtLocation{Study: studyID, Location: supply.LocationID(warmShipmentSite)}, Kits: kits,
		Reasoned: domain.Because("The manufacturer's stability data cover the excursion"),
	})
}

// dispense dispenses the kits that are allocated for a visit, and takes back the kit before them.
func (s *simulation) dispense(ctx context.Context, c *course, on domain.Date) error {
	crc, key, of := s.accounts[c.site.crc].token, "patient/"+c.number+"/kit", domain.ForPatient(c.id())
	n := 1
	if c.incident == changesDose && on > c.enrolledOn {
		n = 2 // of the higher step
	}
	kits, err := s.waitForKits(ctx, c, n, func(k kitRow) bool { return k.Visit == visitOf(c, on) })
	if err != nil {
		return err
	}
	previous := c.kit
	c.kit = kits[0]
	for i, kit := range kits {
		err := s.send(ctx, crc, fmt.Sprintf("%s/dispense/%s/%d", key, on, i),
			supply.DispenseKit{Site: c.site.id, OfPatient: of, Kit: kit, On: on})
		if err != nil {
			return err
		}
	}
	if previous == "" {
		return nil
	}
	left := c.dosesLeft()
	return s.sendAll(ctx, crc, key, supply.ReturnKit{Site: c.site.id, OfPatient: of, Kit: previous, On: on},
		supply.ReconcileKit{Site: c.site.id, OfPatient: of, Kit: previous, Returned: left, Used: unitsPerKit - left})
}

// dosesLeft is how many doses of the first kit a patient brings back.
func (c *course) dosesLeft() int {
	switch c.incident {
	case forgetsDoses:
		return unitsPerKit / 2
	case losesKit: // the kit was given out later
		return dosesPerDay * incidentDay
	case stopsTreatment, writesOnPaper, changesDose, comesInPause, "":
	}
	return int(c.number[len(c.number)-1]-'0') % 3
}

// waitForKits waits until a patient has so many kits of a kind, and returns them. In a repeated run there may be more, since the later
// ones are there already: the first one was lost or given out, and those that were sent after a recall still wait.
func (s *simulation) waitForKits(ctx context.Context, c *course, n int, is func(kitRow) bool) (found []supply.KitNumber, err error) {
	rank := func(k kitRow) int {
		switch supply.KitStatus(k.Status) {
		case supply.KitIsAllocated:
			return 2
		case supply.KitLostByPatient:
			return 0
		default:
			return 1
		}
	}
	err = s.waitUntil(ctx, func() (bool, error) {
		kits, err := s.kits(ctx, s.accounts[c.site.crc].token, string(c.site.id), "", c.id())
		kits = slices.DeleteFunc(kits, func(k kitRow) bool { return !is(k) })
		slices.SortFunc(kits, func(a, b kitRow) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a.Kit, b.Kit)) })
		if len(kits) < n {
			return false, err
		}
		found = nil
		for _, k := range kits[:n] {
			found = append(found, supply.KitNumber(k.Kit))
		}
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("the kits of %s: %w", c.id(), err)
	}
	return found, nil
}

// visitOf returns the visit of a day: "" for the enrolment.
func visitOf(c *course, on domain.Date) string {
	if on == c.enrolledOn {
		return ""
	}
	return secondVisit
}

// visit records the second visit, and dispenses the second kit.
func (s *simulation) visit(ctx context.Context, c *course, on domain.Date) error {
	visit := patient.RecordVisit{OfPatient: domain.ForPatient(c.id()), Visit: secondVisit, On: on}
	if err := s.sendAll(ctx, s.accounts[c.site.crc].token, "patient/"+c.number, visit); err != nil || c.incident == stopsTreatment {
		return err // who is followed up comes to the visits, and gets no kit
	}
	return s.dispense(ctx, c, on)
}

// alertRow holds the fields that the simulation needs from an alert.
type alertRow struct {
	Alert   safety.AlertID   `json:"alert"`
	Patient domain.PatientID `json:"patient"`
}

// aboutOwn returns the alerts about simulated patients. A study that keeps serving also has patients whom somebody entered by hand:
// nobody but a person reviews their alerts.
func (s *simulation) aboutOwn(alerts []alertRow) []alertRow {
	return slices.DeleteFunc(slices.Clone(alerts), func(a alertRow) bool {
		return !slices.ContainsFunc(s.courses, func(c *course) bool { return c.id() == a.Patient })
	})
}

// reviewAlerts lets the investigator of the first site review the alerts of its simulated patients. The alerts of the other sites
// stay open.
func (s *simulation) reviewAlerts(ctx context.Context) error {
	investigator := s.accounts[sites[0].investigator].token
	open, err := listed[alertRow](ctx, s, investigator, "alerts", url.Values{"status": {"open"}, "site": {string(sites[0].id)}})
	if err != nil {
		return err
	}
	for _, a := range s.aboutOwn(open) {
		review := safety.ReviewAlert{OfAlert: safety.OfAlert{Alert: a.Alert}, Note: "Spoke with the patient"}
		err := s.send(ctx, investigator, "alert/"+string(a.Alert), review)
		var r *refusal
		if err != nil && !(errors.As(err, &r) && r.Code == "alert_reviewed") {
			return err
		}
	}
	return nil
}

func (s *simulation) countShipments(ctx context.Context) error {
	for _, to := range sites {
		arrived, err := s.shipments(ctx, s.accounts[supplyManagerID].token, string(to.id), "received")
		if err != nil {
			return err
		}
		s.report("", 0, 0, func(c *Counts) { c.Shipments += len(arrived) })
	}
	return nil
}

// kitRow and shipmentRow hold the fields that the simulation needs from the lists of kits and shipments.
type kitRow struct {
	Kit     string           `json:"kit"`
	Status  string           `json:"status"`
	Patient domain.PatientID `json:"patient"`
	Visit   string           `json:"visit"`
}

type shipmentRow struct {
	Shipment string `json:"shipment"`
	Status   string `json:"status"`
}

// recalledRow holds the fields that the simulation needs from the list of recalled kits.
type recalledRow struct {
	Kit      string           `json:"kit"`
	Location domain.SiteID    `json:"location"`
	Patient  domain.PatientID `json:"patient"`
}

// kits lists kits. It filters them by location, status and patient; an empty filter matches all.
func (s *simulation) kits(ctx context.Context, token, location, status string, of domain.PatientID) ([]kitRow, error) {
	parameters := url.Values{}
	for name, value := range map[string]string{"location": location, "status": status, "patient": string(of)} {
		if value != "" {
			parameters.Set(name, value)
		}
	}
	return listed[kitRow](ctx, s, token, "kits", parameters)
}

func (s *simulation) shipments(ctx context.Context, token, to, status string) ([]shipmentRow, error) {
	parameters := url.Values{"to": {to}}
	if status != "" {
		parameters.Set("status", status)
	}
	return listed[shipmentRow](ctx, s, token, "shipments", parameters)
}

// listed returns all lines of a list of the study.
func listed[T any](ctx context.Context, s *simulation, token, list string, parameters url.Values) (all []T, err error) {
	parameters.Set("limit", "200")
	for {
		var page struct {
			Items []T    `json:"items"`
			Next  string `json:"next"`
		}
		if err := s.api.get(ctx, token, "/api/v1/studies/"+string(studyID)+"/"+list, parameters, s.lastPosition(), &page); err != nil {
			return nil, err
		}
		if all = append(all, page.Items...); page.Next == "" {
			return all, nil
		}
		parameters.Set("cursor", page.Next)
	}
}

// processTimeout is how long the simulation waits for a process.
const processTimeout = time.Minute

// waitUntil waits for the effect of a process. It calls done again and again until it returns true or an error.
func (s *simulation) waitUntil(ctx context.Context, done func() (bool, error)) error {
	for began := time.Now(); ; {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Since(began) > processTimeout {
			return fmt.Errorf("a process has not ended after %s", processTimeout)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// get sends a query, which waits until its view has reached a position.
func (c *client) get(ctx context.Context, token, path string, parameters url.Values, position uint64, into any) error {
	return c.exchange(ctx, http.MethodGet, path+"?"+parameters.Encode(), token, atPosition(position), nil, into)
}

// signIn signs a person in and returns the token.
func (c *client) signIn(ctx context.Context, user domain.UserID, password string) (string, error) {
	var session struct {
		Token string `json:"token"`
	}
	credentials := map[string]string{"user": string(user), "password": password}
	err := c.exchange(ctx, http.MethodPost, "/api/v1/sign-in", "", nil, credentials, &session)
	return session.Token, err
}
