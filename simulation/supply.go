package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
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

	// depotID is the depot that all sites are supplied from.
	depotID supply.LocationID = "DEPOT-EU"
	// verum and placebo are the arms. Their ids look like nothing else, so that a search finds every place that tells one.
	verum   domain.ArmID = "RLV-7Q4"
	placebo domain.ArmID = "PLC-2K9"
	// secondVisit is when the second kit is given out.
	secondVisit = "week-2"
	// unitsPerKit are two doses a day for two weeks.
	unitsPerKit = 28
	// outOfStock is the site whose first shipment gets too warm on its way, and is kept in quarantine for some days.
	outOfStock domain.SiteID = "03"
)

const daysBarred = 4

// perArm is how many kits of each arm a site is filled up to.
func perArm(o Options) int { return min(400, 2*o.Patients/len(sites)+10) }

// kitsCSV is the file of the first delivery: kits in random order, of two lots, each of which holds both arms.
func kitsCSV(o Options) string {
	random := rand.New(rand.NewPCG(o.Seed, 1<<32)) // #nosec G404 -- a simulation has to repeat itself
	n := min(2900, 2*(len(sites)+1)*perArm(o))
	var text strings.Builder
	text.WriteString("kit,arm,lot,expiry,units\n")
	for i, place := range random.Perm(n) {
		arm, lot, expires := verum, "LOT-71", o.Today.AddDays(500)
		if place%2 == 1 {
			arm = placebo
		}
		if place%4 > 1 {
			lot, expires = "LOT-72", o.Today.AddDays(700)
		}
		fmt.Fprintf(&text, "%06d,%s,%s,%s,%d\n", 310_000+i, arm, lot, expires, unitsPerKit)
	}
	return text.String()
}

// supplyStudy makes the randomisation list, and fills depot and sites.
func (s *simulation) supplyStudy(ctx context.Context, opened domain.Date) error {
	// Some acts ask for a person who has just signed in.
	statistician, err := s.api.signIn(ctx, statisticianID, s.Password)
	if err != nil {
		return err
	}
	made, err := s.api.command(ctx, statistician, "supply/list", randomisation.GenerateRandomisationList{InStudy: domain.ForStudy(studyID), Scheme: "main",
		Ratio: map[domain.ArmID]int{verum: 1, placebo: 1}, BlockSizes: []int{2, 4}, PerStratum: 2*s.Patients + 8})
	if err != nil {
		return err
	}
	if err := s.send(ctx, statistician, "supply/activate", randomisation.ActivateRandomisation{InStudy: domain.ForStudy(studyID), Scheme: "main", SHA256: made.Events[0].Data.SHA256}); err != nil {
		return err
	}
	manager := s.accounts[supplyManagerID].token
	err = s.sendAll(ctx, manager, "supply", supply.OpenDepot{InStudy: domain.ForStudy(studyID), Depot: depotID, Name: "Central depot, Leiden"})
	if err == nil {
		err = s.send(ctx, s.accounts[unblindedManagerID].token, "supply/kits", supply.RegisterKits{InStudy: domain.ForStudy(studyID), Depot: depotID, CSV: kitsCSV(s.Options)})
	}
	for _, lot := range []string{"LOT-71", "LOT-72"} {
		if err == nil {
			err = s.send(ctx, manager, "supply/release/"+lot, supply.ReleaseBatch{InStudy: domain.ForStudy(studyID), Lot: lot, Certificate: "QP-2026-" + lot})
		}
	}
	if err != nil {
		return err
	}
	// The delivery is taken in by a process: until then a rule finds nothing to send.
	if err := s.until(ctx, func() (bool, error) {
		waiting, err := s.kits(ctx, manager, "", "registered", "")
		return len(waiting) == 0, err
	}); err != nil {
		return err
	}
	for _, place := range sites {
		rule := supply.ResupplyRule{Site: place.id, Depot: depotID, Trigger: max(2, perArm(s.Options)/4), Target: perArm(s.Options), OverdueDays: 5}
		if err := s.send(ctx, manager, "supply/rule/"+string(place.id), supply.SetResupplyRule{InStudy: domain.ForStudy(studyID), Rule: rule}); err != nil {
			return err
		}
		var first string
		if err := s.until(ctx, func() (bool, error) {
			shipments, err := s.shipments(ctx, manager, string(place.id), "")
			if len(shipments) > 0 {
				first = shipments[0].Shipment
				for _, other := range shipments {
					first = min(first, other.Shipment)
				}
			}
			return first != "", err
		}); err != nil {
			return err
		}
		temperature := supply.TemperatureInRange
		if place.id == outOfStock {
			temperature = supply.TemperatureExcursion
		}
		if err := s.deliver(ctx, supply.ShipmentID(first), place, opened, temperature); err != nil {
			return err
		}
	}
	return nil
}

// deliver takes a shipment from the depot to its site.
func (s *simulation) deliver(ctx context.Context, id supply.ShipmentID, to site, on domain.Date, temperature supply.Temperature) error {
	err := s.send(ctx, s.accounts[supplyManagerID].token, "supply/dispatch/"+string(id),
		supply.DispatchShipment{FromLocation: supply.FromLocation{Study: studyID, From: depotID}, Shipment: id, On: on, Carrier: "ColdLine"})
	if err != nil {
		return err
	}
	return s.send(ctx, s.accounts[to.crc].token, "supply/receive/"+string(id), supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: studyID, Location: supply.LocationID(to.id)},
		From: depotID, Shipment: id, On: on, Temperature: temperature})
}

// supplyRound is what the depot and the sites do about kits on a day: what the rules asked for is sent and received, and
// the quarantine of the site that ran out is decided on.
func (s *simulation) supplyRound(ctx context.Context, day domain.Date, barredUntil domain.Date) error {
	manager := s.accounts[supplyManagerID].token
	for _, place := range sites {
		if place.id == outOfStock && day < barredUntil {
			continue // the carrier's cool boxes are looked into first
		}
		waiting, err := s.shipments(ctx, manager, string(place.id), "packed")
		if err != nil {
			return err
		}
		for _, w := range waiting {
			if err := s.deliver(ctx, supply.ShipmentID(w.Shipment), place, day, supply.TemperatureInRange); err != nil {
				return err
			}
		}
	}
	if day != barredUntil {
		return nil
	}
	barred, err := s.kits(ctx, manager, string(outOfStock), "quarantined", "")
	if err != nil || len(barred) == 0 {
		return err
	}
	var kits []supply.KitNumber
	for _, k := range barred {
		kits = append(kits, supply.KitNumber(k.Kit))
	}
	return s.send(ctx, manager, "supply/release-kits", supply.ReleaseKits{AtLocation: supply.AtLocation{Study: studyID, Location: supply.LocationID(outOfStock)}, Kits: kits,
		Reasoned: domain.Because("The manufacturer's stability data cover the excursion")})
}

// dispense gives a patient the kit that was allocated for a visit, and takes the one before back.
func (s *simulation) dispense(ctx context.Context, c *course, on domain.Date) error {
	crc, key := s.accounts[c.site.crc].token, "patient/"+c.number+"/kit"
	var next kitRow
	if err := s.until(ctx, func() (bool, error) {
		kits, err := s.kits(ctx, crc, string(c.site.id), "", c.id())
		for _, k := range kits {
			if k.Visit == visitOf(c, on) {
				next = k
			}
		}
		return next.Kit != "", err
	}); err != nil {
		return fmt.Errorf("the kit of %s: %w", c.id(), err)
	}
	err := s.send(ctx, crc, key+"/dispense/"+string(on), supply.DispenseKit{Site: c.site.id, OfPatient: domain.ForPatient(c.id()), Kit: supply.KitNumber(next.Kit), On: on})
	if err != nil || c.kit == "" {
		c.kit = supply.KitNumber(next.Kit)
		return err
	}
	left := len(c.number) % 3 // a few doses come back
	err = s.sendAll(ctx, crc, key, supply.ReturnKit{Site: c.site.id, OfPatient: domain.ForPatient(c.id()), Kit: c.kit, On: on},
		supply.ReconcileKit{Site: c.site.id, OfPatient: domain.ForPatient(c.id()), Kit: c.kit, Returned: left, Used: unitsPerKit - left})
	c.kit = supply.KitNumber(next.Kit)
	return err
}

func visitOf(c *course, on domain.Date) string {
	if on == c.enrolledOn {
		return ""
	}
	return secondVisit
}

// visit records the second visit, at which the second kit is given out.
func (s *simulation) visit(ctx context.Context, c *course, on domain.Date) error {
	if err := s.sendAll(ctx, s.accounts[c.site.crc].token, "patient/"+c.number, patient.RecordVisit{OfPatient: domain.ForPatient(c.id()), Visit: secondVisit, On: on}); err != nil {
		return err
	}
	return s.dispense(ctx, c, on)
}

// reviewAlerts has the investigator of the first site look at what was raised there; the others' stay open.
func (s *simulation) reviewAlerts(ctx context.Context) error {
	investigator := s.accounts[sites[0].investigator].token
	var open struct {
		Items []struct {
			Alert safety.AlertID `json:"alert"`
		} `json:"items"`
	}
	if err := s.api.get(ctx, investigator, "/api/v1/studies/"+string(studyID)+"/alerts", url.Values{"status": {"open"}, "site": {string(sites[0].id)}}, s.lastPosition(), &open); err != nil {
		return err
	}
	for _, a := range open.Items {
		err := s.send(ctx, investigator, "alert/"+string(a.Alert), safety.ReviewAlert{OfAlert: safety.OfAlert{Alert: a.Alert}, Note: "Spoke with the patient"})
		var r *refusal
		if err != nil && !(errors.As(err, &r) && r.Code == "alert_reviewed") {
			return err
		}
	}
	return nil
}

func (s *simulation) countShipments(ctx context.Context) error {
	for _, place := range sites {
		arrived, err := s.shipments(ctx, s.accounts[supplyManagerID].token, string(place.id), "received")
		if err != nil {
			return err
		}
		s.report("", 0, 0, func(c *Counts) { c.Shipments += len(arrived) })
	}
	return nil
}

// kitRow and shipmentRow are what the simulation reads of the views.
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

// kits lists the kits of a place, by status, and those of one patient alone where one is named.
func (s *simulation) kits(ctx context.Context, token, location, status string, of domain.PatientID) (all []kitRow, err error) {
	parameters := url.Values{"limit": {"200"}}
	if location != "" {
		parameters.Set("location", location)
	}
	if status != "" {
		parameters.Set("status", status)
	}
	for cursor := ""; ; {
		var page struct {
			Items []kitRow `json:"items"`
			Next  string   `json:"next"`
		}
		if cursor != "" {
			parameters.Set("cursor", cursor)
		}
		if err := s.api.get(ctx, token, "/api/v1/studies/"+string(studyID)+"/kits", parameters, s.lastPosition(), &page); err != nil {
			return nil, err
		}
		for _, k := range page.Items {
			if of == "" || k.Patient == of {
				all = append(all, k)
			}
		}
		if cursor = page.Next; cursor == "" {
			return all, nil
		}
	}
}

func (s *simulation) shipments(ctx context.Context, token, to, status string) ([]shipmentRow, error) {
	parameters := url.Values{"to": {to}, "limit": {"200"}}
	if status != "" {
		parameters.Set("status", status)
	}
	var page struct {
		Items []shipmentRow `json:"items"`
	}
	return page.Items, s.api.get(ctx, token, "/api/v1/studies/"+string(studyID)+"/shipments", parameters, s.lastPosition(), &page)
}

// settleTime bounds how long the simulation waits for what a process does.
const settleTime = time.Minute

// until waits for something that a process does by itself.
func (s *simulation) until(ctx context.Context, is func() (bool, error)) error {
	for begun := time.Now(); ; {
		ok, err := is()
		if ok || err != nil {
			return err
		}
		if time.Since(begun) > settleTime {
			return errors.New("a process does not come to its end")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// get asks a query that has to see a position of the log.
func (c *client) get(ctx context.Context, token, path string, parameters url.Values, position uint64, into any) error {
	return c.exchange(ctx, http.MethodGet, path+"?"+parameters.Encode(), token, map[string]string{"Casebook-Position": strconv.FormatUint(position, 10)}, nil, into)
}

// signIn returns the token of a person who has just signed in.
func (c *client) signIn(ctx context.Context, user domain.UserID, password string) (string, error) {
	var session struct {
		Token string `json:"token"`
	}
	err := c.exchange(ctx, http.MethodPost, "/api/v1/sign-in", "", nil, map[string]string{"user": string(user), "password": password}, &session)
	return session.Token, err
}
