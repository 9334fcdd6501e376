package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/readmodels"
	processviews "casebook/readmodels/process"
	safetyviews "casebook/readmodels/safety"
	supplyviews "casebook/readmodels/supply"
)

// shipping is a study whose kits need green lights, on a running server. Site 01 is in DE, site 02 in AT, and site 03 is not active.
type shipping struct {
	site
	qualified, monitor string
}

// openShipping starts a server with the study, which has two depots, and kits that nobody has released.
func openShipping(t *testing.T) *shipping {
	t.Helper()
	const id = domain.StudyID("SHIP")
	in, inStudy := install(t), domain.ForStudy(id)
	s := &shipping{site: site{installation: in, study: id, manager: in.account("manager", user.Grant{Role: user.DataManager, Study: id}),
		crc:      in.account("crc.one", user.Grant{Role: user.CRC, Study: id, Site: "01"}),
		otherCRC: in.account("crc.two", user.Grant{Role: user.CRC, Study: id, Site: "02"}),
		supplier: in.account("supplier", user.Grant{Role: user.UnblindedSupplyManager, Study: id})},
		qualified: in.account("qualified", user.Grant{Role: user.QualifiedPerson, Study: id}),
		monitor:   in.account("monitor", user.Grant{Role: user.Monitor, Study: id})}
	in.must(s.manager, study.CreateStudy{InStudy: inStudy, Title: "Shipping of a trial", Sponsor: "Nobody"})
	in.must(s.manager, study.PublishProtocolVersion{InStudy: inStudy, Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
		Arms: []study.Arm{{ID: "drug"}}, Criteria: []study.Criterion{{ID: "adult"}},
		Visits:    []study.Visit{{ID: "month-1", Day: 30, DaysAfter: 700}},
		Treatment: &study.Treatment{Kits: true, GreenLights: true, DoNotDispenseDays: 10, DispensingVisits: []string{"month-1"}}}})
	for at, country := range map[domain.SiteID]string{"01": "DE", "02": "AT", "03": "DE"} {
		in.must(s.manager, study.AddSite{AtSite: domain.ForSite(inStudy.Study, at), Name: "Hospital " + string(at),
			Country: country, Zone: "Europe/Berlin"})
		if at != "03" {
			in.must(s.manager, study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, at), On: "2026-01-01"})
		}
	}
	in.must(s.supplier, supply.OpenDepot{InStudy: inStudy, Depot: "D", Name: "Depot"})
	in.must(s.supplier, supply.OpenDepot{InStudy: inStudy, Depot: "E", Name: "Second depot"})
	in.must(s.manager, enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 10, Study: 20}})
	return s
}

// deliver registers a delivery of n kits with a prefix of their numbers, and waits until the depot has them.
func (s *shipping) deliver(depot supply.LocationID, prefix string, n int, lot string, expiry domain.Date,
	countries string) []supply.KitNumber {
	s.t.Helper()
	csv, kits := "kit,arm,lot,expiry,countries\n", []supply.KitNumber{}
	for i := range n {
		kits = append(kits, supply.KitNumber(fmt.Sprintf("%s-%02d", prefix, i)))
		csv += fmt.Sprintf("%s-%02d,drug,%s,%s,%s\n", prefix, i, lot, expiry, countries)
	}
	s.must(s.supplier, supply.RegisterKits{InStudy: domain.ForStudy(s.study), Depot: depot, CSV: csv})
	s.stands(kits[n-1], supply.KitAvailable)
	return kits
}

func (s *shipping) pack(to supply.LocationID, kits ...supply.KitNumber) supply.CreateShipment {
	return supply.CreateShipment{FromLocation: supply.FromLocation{Study: s.study, From: "D"}, To: to, Kits: kits,
		Reasoned: domain.Because("The scenario needs it")}
}

// alerted waits for an alert of a kind about a site, and about a patient if one is named.
func (s *shipping) alerted(kind safety.Kind, about domain.SiteID, who domain.PatientID, says string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("an alert %s says %q", kind, says), func() bool {
		var alerts readmodels.List[safetyviews.Alert]
		s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/alerts?kind=%s&limit=100", s.study, kind), 0, &alerts)
		return slices.ContainsFunc(alerts.Items, func(a safetyviews.Alert) bool {
			return a.Site == about && a.Patient == who && strings.Contains(a.Summary, says)
		})
	})
}

// sentTo waits until a resupply to a site has been made, and returns it.
func (s *shipping) sentTo(to supply.LocationID, from supply.LocationID) (found supplyviews.Shipment) {
	s.t.Helper()
	s.eventually("kits are packed for "+string(to), func() bool {
		var list readmodels.List[supplyviews.Shipment]
		s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/shipments?to=%s&from=%s&status=packed", s.study, to, from),
			lastRecorded(s.t, s.log), &list)
		for _, shipment := range list.Items {
			if shipment.Resupply {
				found = shipment
			}
		}
		return found.Shipment != ""
	})
	return found
}

// arrive dispatches a shipment, and receives it.
func (s *shipping) arrive(shipment supplyviews.Shipment, receiver string) {
	s.t.Helper()
	s.must(s.supplier, supply.DispatchShipment{FromLocation: supply.FromLocation{Study: s.study, From: shipment.From},
		Shipment: shipment.Shipment, On: "2026-02-01"})
	s.must(receiver, supply.ReceiveShipment{AtLocation: s.at(shipment.To), From: shipment.From, Shipment: shipment.Shipment, On: "2026-02-01",
		Temperature: supply.TemperatureInRange})
}

// TestDailyLifeOfShipments plays what decides whether drug may be sent, over HTTP, on a running server. Each scenario has the name that
// the people of a trial give it.
func TestDailyLifeOfShipments(t *testing.T) {
	s := openShipping(t)
	ofStudy, because := domain.ForStudy(s.study), domain.Because("The scenario needs it")
	today := domain.DateOf(time.Now().UTC())
	kits := s.deliver("D", "K", 20, "L1", "2031-12-31", "")
	ruleOf := func(at domain.SiteID, depot supply.LocationID, trigger, target int) supply.SetResupplyRule {
		return supply.SetResupplyRule{InStudy: ofStudy, Rule: supply.ResupplyRule{Site: at, Depot: depot, Trigger: trigger, Target: target,
			OverdueDays: 7}}
	}

	t.Run("batch not released by the qualified person", func(t *testing.T) {
		s.t = t
		release := supply.ReleaseBatch{InStudy: ofStudy, Lot: "L1", Certificate: "QP-1"}
		s.refused(s.supplier, "not_allowed", release)
		s.must(s.qualified, supply.ApproveShippingToCountry{InStudy: ofStudy, Country: "DE", Reference: "Authorised"})
		s.must(s.qualified, supply.ApproveShippingToSite{InStudy: ofStudy, Site: "01", Reference: "TMF complete"})
		s.refused(s.supplier, "kits_not_sendable", s.pack("01", kits[0]))
		s.must(s.qualified, release)
		s.must(s.supplier, s.pack("01", kits[0]))
		// The person sees no clinical data, and cannot get a role that does.
		s.refused(s.qualified, "not_allowed", patient.ScreenPatient{AtSite: domain.ForSite(s.study, "01"), ScreeningNumber: "Q-1",
			On: "2026-02-01"})
		request, err := http.NewRequest(http.MethodGet, s.url+"/api/v1/studies/"+string(s.study)+"/patients", nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, _ := s.do(request, s.qualified); status != http.StatusForbidden {
			t.Errorf("a qualified person is answered %d about patients", status)
		}
	})

	t.Run("site without shipping approval", func(t *testing.T) {
		s.t = t
		s.refused(s.supplier, "country_not_approved", s.pack("02", kits[1]))
		s.refused(s.supplier, "not_allowed", supply.ApproveShippingToSite{InStudy: ofStudy, Site: "02", Reference: "x"})
		// A rule makes no such shipment either. An alert says so, to who manages the supply as well.
		s.deliver("D", "R", 2, "L1", "2031-06-30", "") // they expire first, so that the rule sends them, and not those of other scenarios
		s.must(s.supplier, ruleOf("02", "D", 1, 2))
		s.alerted(safety.ResupplyWithheld, "02", "", "AT")
		approved := s.must(s.qualified, supply.ApproveShippingToCountry{InStudy: ofStudy, Country: "AT", Reference: "Authorised"}).Position
		s.alerted(safety.ResupplyWithheld, "02", "", "site 02")
		s.refused(s.supplier, "site_not_approved", s.pack("02", kits[1]))
		var list readmodels.List[supplyviews.ShippingApproval]
		s.query(s.monitor, fmt.Sprintf("/api/v1/studies/%s/shipping-approvals?country=AT", s.study), approved, &list)
		if len(list.Items) != 1 || list.Items[0].Status != supplyviews.ShippingIsApproved || list.Items[0].By != "qualified" {
			t.Errorf("the green lights are %+v", list.Items)
		}
		s.must(s.qualified, supply.ApproveShippingToSite{InStudy: ofStudy, Site: "02", Reference: "TMF complete"})
		if made := s.sentTo("02", "D"); len(made.Kits) != 2 {
			t.Errorf("the site is sent %v", made.Kits)
		}
	})

	t.Run("green light withdrawn", func(t *testing.T) {
		s.t = t
		made := s.sentTo("02", "D")
		dispatch := supply.DispatchShipment{FromLocation: supply.FromLocation{Study: s.study, From: "D"}, Shipment: made.Shipment,
			On: "2026-02-01"}
		withdraw := supply.WithdrawShippingToSite{InStudy: ofStudy, Site: "02", Reasoned: domain.Because("The refrigerator has failed")}
		s.refused(s.supplier, "not_allowed", withdraw)
		s.must(s.qualified, withdraw)
		s.refused(s.qualified, "site_not_approved", withdraw)
		s.refused(s.supplier, "site_not_approved", dispatch)
		s.must(s.qualified, supply.ApproveShippingToSite{InStudy: ofStudy, Site: "02", Reference: "Repaired"})
		s.arrive(made, s.otherCRC)
		s.must(s.supplier, supply.EndResupply{InStudy: ofStudy, Site: "02", Reasoned: because})
	})

	t.Run("label and country", func(t *testing.T) {
		s.t = t
		labelled := s.deliver("D", "A", 3, "L1", "2031-12-31", "AT CH")
		s.refused(s.supplier, "label_not_for_country", s.pack("01", labelled[0]))
		s.send(s.supplier, "D", "02", s.otherCRC, labelled[0])
		s.stands(labelled[0], supply.KitAvailable)
		s.refused(s.supplier, "malformed_country", supply.RegisterKits{InStudy: ofStudy, Depot: "D",
			CSV: "kit,arm,lot,expiry,countries\nX-1,drug,L1,2031-12-31,at\n"})
	})

	t.Run("second depot: depot to depot", func(t *testing.T) {
		s.t = t
		s.send(s.supplier, "D", "E", s.supplier, kits[2], kits[3]) // a depot needs no green light
		s.stands(kits[2], supply.KitAvailable)
		s.must(s.supplier, ruleOf("02", "E", 4, 5))
		made := s.sentTo("02", "E")
		if slices.Contains(made.Kits, kits[4]) || !slices.Contains(made.Kits, kits[2]) {
			t.Errorf("the second depot sends %v", made.Kits)
		}
		s.arrive(made, s.otherCRC)
		s.must(s.supplier, supply.EndResupply{InStudy: ofStudy, Site: "02", Reasoned: because})
	})

	t.Run("unused stock back", func(t *testing.T) {
		s.t = t
		s.send(s.otherCRC, "02", "D", s.supplier, kits[2])
		s.stands(kits[2], supply.KitQuarantined)
		s.refused(s.supplier, "kit_status", s.pack("01", kits[2]))
	})

	t.Run("excursion partly released", func(t *testing.T) {
		s.t = t
		warm := []supply.KitNumber{kits[5], kits[6]}
		made := s.pack("02", warm...)
		s.must(s.supplier, made)
		shipment := s.packedWith(kits[5])
		s.must(s.supplier, supply.DispatchShipment{FromLocation: made.FromLocation, Shipment: shipment, On: "2026-02-01"})
		s.must(s.otherCRC, supply.ReceiveShipment{AtLocation: s.at("02"), From: "D", Shipment: shipment, On: "2026-02-02",
			Temperature: supply.TemperatureExcursion})
		s.stands(kits[6], supply.KitQuarantined)
		s.must(s.supplier, supply.ReleaseKits{AtLocation: s.at("02"), Kits: warm[:1], Reasoned: domain.Because("Its logger was in range")})
		s.stands(warm[0], supply.KitAvailable)
		s.stands(warm[1], supply.KitQuarantined)
	})

	t.Run("kits that expire too soon are not shipped", func(t *testing.T) {
		s.t = t
		near := s.deliver("D", "N", 2, "L1", today.AddDays(60), "")
		limit := supply.SetDoNotShipDays{InStudy: ofStudy, Country: "DE", Days: 90, Reasoned: domain.Because("Customs take weeks")}
		s.refused(s.qualified, "not_allowed", limit)
		s.must(s.supplier, limit)
		s.refused(s.supplier, "kits_not_sendable", s.pack("01", near[0]))
		s.send(s.supplier, "D", "02", s.otherCRC, near[0]) // the limit is for DE
		s.stands(near[0], supply.KitAvailable)
	})

	t.Run("expiry extended near the old expiry", func(t *testing.T) {
		s.t = t
		old := s.deliver("D", "O", 2, "L5", today.AddDays(8), "") // within the last ten days no kit is given out
		s.must(s.qualified, supply.ReleaseBatch{InStudy: ofStudy, Lot: "L5", Certificate: "QP-5"})
		s.refused(s.supplier, "kits_not_sendable", s.pack("02", old[0]))
		s.must(s.supplier, supply.ExtendExpiry{InStudy: ofStudy, Lot: "L5", To: today.AddDays(400), Certificate: "S-1",
			Reasoned: domain.Because("Stability data")})
		s.must(s.supplier, supply.ConfirmRelabelling{AtLocation: s.at("D"), Kits: old[:1]})
		s.refused(s.supplier, "kits_not_sendable", s.pack("02", old[0])) // the other one has its old label
		s.must(s.supplier, supply.ConfirmRelabelling{AtLocation: s.at("D"), Kits: old[1:]})
		s.send(s.supplier, "D", "02", s.otherCRC, old[0])
		s.stands(old[0], supply.KitAvailable)
	})

	t.Run("expiring kits", func(t *testing.T) {
		s.t = t
		soon := s.deliver("D", "X", 2, "L8", today.AddDays(40), "")
		show := supply.ShowExpiringKits{InStudy: ofStudy, Through: today.AddDays(60), Location: "D"}
		for _, token := range []string{s.crc, s.manager, s.qualified} {
			s.refused(token, "not_allowed", show)
		}
		s.eventually("the kits that expire are listed", func() bool {
			_, _, text := s.command(s.supplier, "", show)
			return strings.Contains(text, string(soon[0])) && strings.Contains(text, string(soon[1])) && !strings.Contains(text, string(kits[12]))
		})
	})

	t.Run("inactive site", func(t *testing.T) {
		s.t = t
		s.must(s.qualified, supply.ApproveShippingToSite{InStudy: ofStudy, Site: "03", Reference: "TMF complete"})
		// A rule that asks for kits, and has asked, sends nothing before the site is active. A rule for site 02 asked at once.
		s.must(s.supplier, ruleOf("03", "D", 1, 1))
		s.eventually("the rule has been looked at", func() bool {
			var list readmodels.List[processviews.Process]
			s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/processes?process=resupply&limit=100", s.study), 0, &list)
			return slices.ContainsFunc(list.Items, func(p processviews.Process) bool {
				return strings.HasSuffix(p.Of, ".03") && slices.Contains(p.Asked, "PlanResupply")
			})
		})
		s.must(s.supplier, ruleOf("02", "D", 9, 12))
		made := s.sentTo("02", "D") // whatever was asked for before has been answered by now
		var list readmodels.List[supplyviews.Shipment]
		s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/shipments?to=03", s.study), 0, &list)
		if len(list.Items) > 0 {
			t.Errorf("a site that is not active is sent %+v", list.Items)
		}
		for _, site := range []domain.SiteID{"02", "03"} {
			s.must(s.supplier, supply.EndResupply{InStudy: ofStudy, Site: site, Reasoned: because})
		}
		s.must(s.supplier, supply.CancelShipment{FromLocation: supply.FromLocation{Study: s.study, From: "D"}, Shipment: made.Shipment,
			Reasoned: because})
		// People send it its first kits: a site has to have some when it begins.
		s.must(s.supplier, s.pack("03", kits[12]))
		s.must(s.supplier, supply.CancelShipment{FromLocation: supply.FromLocation{Study: s.study, From: "D"}, Shipment: s.packedWith(kits[12]),
			Reasoned: because})
	})

	t.Run("predicted resupply", func(t *testing.T) {
		s.t = t
		s.must(s.supplier, supply.CancelShipment{FromLocation: supply.FromLocation{Study: s.study, From: "D"}, Shipment: s.packedWith(kits[0]),
			Reasoned: because})
		more := s.deliver("E", "P", 20, "L1", "2031-12-31", "DE")
		s.must(s.supplier, ruleOf("01", "E", 1, 2))
		s.arrive(s.sentTo("01", "E"), s.crc)
		of := s.enrolled() // whose visit comes after a month, and may take place for long
		s.dispense(s.crc, of, "01", "2026-02-04")
		rule := ruleOf("01", "E", 1, 2)
		rule.Rule.PredictDays, rule.Rule.Enrolments = 60, 4
		s.must(s.supplier, rule)
		// Five kits are needed, one for the visit and four for enrolments; the spare of one is added, and one is there.
		if made := s.sentTo("01", "E"); len(made.Kits) != 5 || !slices.Contains(more, made.Kits[0]) {
			t.Errorf("the rule sends %v", made.Kits)
		}
	})

	t.Run("simulate", func(t *testing.T) {
		s.t = t
		var got simulatedSite
		lines := bufio.NewScanner(strings.NewReader(tool(t, exitOK, "supply", "simulate", "--study", string(s.study), "--data", s.dir,
			"--rule", "site=01,trigger=3,target=9,predictDays=0,enrolments=0", "--json")))
		for lines.Scan() {
			if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
		}
		if got.Site != "01" || got.Depot != "E" || got.Needed != 1 || got.Rule.Target != 9 || got.Actual.Kits != 7 || got.Simulated.Kits != 9 {
			t.Errorf("the simulation says %+v", got)
		}
		text := tool(t, exitOK, "supply", "simulate", "--study", string(s.study), "--data", s.dir)
		if !strings.Contains(text, "happened") || !strings.Contains(text, "simulated") || strings.Contains(text, "drug") {
			t.Errorf("the simulation prints %s", text)
		}
		tool(t, exitFailure, "supply", "simulate", "--study", string(s.study), "--data", s.dir, "--rule", "size=3")
	})

	t.Run("resupply ended per country, with patients who wait", func(t *testing.T) {
		s.t = t
		// The kits of site 01 are lost, so that the next patient waits.
		of := s.enrolled()
		kit := s.kitOf(s.crc, of, "01")
		for _, k := range s.kits(s.manager, "01") {
			if k.Status == supply.KitAvailable {
				s.must(s.crc, supply.ReportKitLost{AtLocation: s.at("01"), Kit: k.Kit, Reasoned: because})
			}
		}
		s.must(s.crc, supply.ReportKitLost{AtLocation: s.at("01"), Kit: kit, Reasoned: because})
		s.alerted(safety.PatientWithoutKit, "01", of.Patient, "no kit")
		end := supply.EndResupply{InStudy: ofStudy, Country: "DE", Reasoned: domain.Because("The country is closed")}
		s.refused(s.crc, "not_allowed", end)
		s.must(s.supplier, end)
		s.refused(s.supplier, "no_resupply_rule", end)
		if got := s.withoutKit(s.crc, time.Time{}); len(got) != 1 || got[0] != of.Patient { // once, and still
			t.Errorf("without a kit are %v", got)
		}
		s.refused(s.supplier, "no_resupply_rule", supply.EndResupplyOfArm{InStudy: ofStudy, Arm: "drug", Reasoned: because})
	})

	t.Run("recall with a typo, by error", func(t *testing.T) {
		s.t = t
		recall := supply.RecallLot{InStudy: ofStudy, Lot: "L!", Reasoned: domain.Because("Out of specification")}
		s.refused(s.supplier, "lot_not_found", recall)
		recall.Lot = "L5"
		s.must(s.supplier, recall)
		s.stands("O-01", supply.KitIsRecalled)
		s.must(s.supplier, supply.WithdrawLotRecall{InStudy: ofStudy, Lot: "L5", Reasoned: domain.Because("L1 was meant")})
		s.must(s.supplier, supply.ReleaseKits{AtLocation: s.at("D"), Kits: []supply.KitNumber{"O-01"}, Reasoned: because})
		s.stands("O-01", supply.KitAvailable)
	})

	t.Run("recall with drug at home", func(t *testing.T) {
		s.t = t
		s.must(s.supplier, supply.RecallLot{InStudy: ofStudy, Lot: "L1", Reasoned: domain.Because("Out of specification")})
		kit := s.given[0]
		var list readmodels.List[supplyviews.KitRow]
		listed := func(narrowed string, position uint64) bool {
			s.query(s.crc, fmt.Sprintf("/api/v1/studies/%s/recalled-kits?site=01&%s", s.study, narrowed), position, &list)
			return slices.ContainsFunc(list.Items, func(k supplyviews.KitRow) bool { return k.Kit == kit && k.Patient != "" })
		}
		s.eventually("the worklist names the patient", func() bool { return listed("status=dispensed", 0) })
		told := s.must(s.crc, supply.RecordRecallAction{Site: "01", OfPatient: domain.ForPatient(list.Items[0].Patient), Kit: kit,
			Action: supply.PatientTold, On: "2026-03-01"}).Position
		if listed("action=used_up", told) || !listed("action=told", told) || listed("status=returned_by_patient", told) {
			t.Errorf("the worklist is %+v", list.Items)
		}
	})

	t.Run("shipment overdue", func(t *testing.T) {
		s.t = t
		made := s.sentTo("01", "E")
		sent := s.must(s.supplier, supply.CancelShipment{FromLocation: supply.FromLocation{Study: s.study, From: "E"}, Shipment: made.Shipment,
			Reasoned: because}).Position
		s.must(s.supplier, supply.CreateShipment{FromLocation: supply.FromLocation{Study: s.study, From: "D"}, To: "02",
			Kits: []supply.KitNumber{"O-01"}, Reasoned: because})
		late := s.packedWith("O-01")
		sent = max(sent, s.must(s.supplier, supply.DispatchShipment{FromLocation: supply.FromLocation{Study: s.study, From: "D"}, Shipment: late,
			On: "2026-03-01"}).Position)
		overdue := func(since string) (ids []supply.ShipmentID) {
			var list readmodels.List[supplyviews.Shipment]
			s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/shipments?onTheWaySince=%s", s.study, since), sent, &list)
			for _, shipment := range list.Items {
				ids = append(ids, shipment.Shipment)
			}
			return ids
		}
		if before, on := overdue("2026-02-28"), overdue("2026-03-01"); len(before) != 0 || !slices.Equal(on, []supply.ShipmentID{late}) {
			t.Errorf("overdue are %v and %v", before, on)
		}
	})
}

// packedWith returns the shipment that a kit is packed for.
func (s *shipping) packedWith(kit supply.KitNumber) (id supply.ShipmentID) {
	s.t.Helper()
	s.eventually("kit "+string(kit)+" is packed", func() bool {
		k := s.kit(s.manager, kit, lastRecorded(s.t, s.log))
		id = k.Shipment
		return k.Status == supply.KitPacked
	})
	return id
}
