package main

import (
	"fmt"
	"net/url"
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
	safetyviews "casebook/readmodels/safety"
	studyviews "casebook/readmodels/study"
	supplyviews "casebook/readmodels/supply"
)

// kit returns a kit as a user sees it.
func (s *site) kit(token string, n supply.KitNumber, position uint64) (k supplyviews.Kit) {
	s.t.Helper()
	s.query(token, fmt.Sprintf("/api/v1/studies/%s/kits/%s", s.study, n), position, &k)
	return k
}

// stands waits until a kit has a status.
func (s *site) stands(n supply.KitNumber, status supply.KitStatus) {
	s.t.Helper()
	var list readmodels.List[supplyviews.Kit]
	s.eventually(fmt.Sprintf("kit %s is %s", n, status), func() bool {
		s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/kits?status=%s&limit=200", s.study, status), 0, &list)
		return slices.ContainsFunc(list.Items, func(k supplyviews.Kit) bool { return k.Kit == n })
	})
}

// free returns a kit of the first delivery at a location that nobody has.
func (s *site) free(at string) supply.KitNumber {
	s.t.Helper()
	for _, k := range s.kits(s.manager, at) {
		if k.Status == supply.KitAvailable && strings.HasPrefix(string(k.Kit), "K-") {
			return k.Kit
		}
	}
	s.t.Fatalf("there is no kit left at %s", at)
	return ""
}

// send sends kits from one location to another, where somebody receives them.
func (s *site) send(by string, from, to supply.LocationID, receiver string, kits ...supply.KitNumber) {
	s.t.Helper()
	sender := supply.FromLocation{Study: s.study, From: from}
	s.must(by, supply.CreateShipment{FromLocation: sender, To: to, Kits: kits, Reasoned: domain.Because("The scenario needs it")})
	var list readmodels.List[supplyviews.Shipment]
	var id supply.ShipmentID
	s.eventually("the shipment is listed", func() bool {
		s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/shipments?from=%s&status=packed", s.study, from), 0, &list)
		for _, shipment := range list.Items {
			if slices.Contains(shipment.Kits, kits[0]) {
				id = shipment.Shipment
			}
		}
		return id != ""
	})
	s.must(by, supply.DispatchShipment{FromLocation: sender, Shipment: id, On: "2026-01-05"})
	s.must(receiver, supply.ReceiveShipment{AtLocation: s.at(to), From: from, Shipment: id, On: "2026-01-06",
		Temperature: supply.TemperatureInRange})
}

func (s *site) at(l supply.LocationID) supply.AtLocation {
	return supply.AtLocation{Study: s.study, Location: l}
}

// TestDailyLifeOfKits plays what happens to study drug every day, over HTTP, on a running server. Each scenario has the name that the
// people of a trial give it.
func TestDailyLifeOfKits(t *testing.T) {
	s := openSites(t)
	because := domain.Because("Found at the monthly count")
	ofStudy := domain.ForStudy(s.study)

	t.Run("allocated kit lost", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		kit := s.kitOf(s.crc, of, "01")
		s.must(s.crc, supply.ReportKitLost{AtLocation: s.at("01"), Kit: kit, Reasoned: because})
		s.stands(kit, supply.KitLostAtSite)
		if other := s.dispense(s.crc, of, "01", "2026-02-04"); other == kit {
			t.Errorf("the lost kit %s is given out", kit)
		}
		// A found kit waits for a decision. Its patient has another one, so it is not released any more.
		s.must(s.crc, supply.ReportKitFound{AtLocation: s.at("01"), Kit: kit, Reasoned: because})
		s.stands(kit, supply.KitQuarantined)
		s.refused(s.supplier, "kit_replaced", supply.ReleaseKits{AtLocation: s.at("01"), Kits: []supply.KitNumber{kit}, Reasoned: because})
	})

	t.Run("found kit", func(t *testing.T) {
		s.t = t
		kit := s.free("01")
		s.must(s.crc, supply.ReportKitLost{AtLocation: s.at("01"), Kit: kit, Reasoned: because})
		s.must(s.crc, supply.ReportKitFound{AtLocation: s.at("01"), Kit: kit, Reasoned: because})
		s.must(s.supplier, supply.ReleaseKits{AtLocation: s.at("01"), Kits: []supply.KitNumber{kit}, Reasoned: because})
		s.stands(kit, supply.KitAvailable)
	})

	for cause, status := range map[supply.ReplacementCause]supply.KitStatus{
		supply.LostByPatient: supply.KitLostByPatient, supply.KitWasDamaged: supply.KitDamaged, supply.KitMisallocated: supply.KitIsDispensed,
	} {
		t.Run("dispensed kit replaced: "+string(cause), func(t *testing.T) {
			s.t = t
			of := s.enrolled()
			kit := s.dispense(s.crc, of, "01", "2026-02-04")
			ask := supply.ReplaceKit{Site: "01", OfPatient: of, Kit: kit, Cause: cause, Reasoned: domain.Because("Left on the train")}
			s.refused(s.supplier, "not_allowed", ask)
			s.must(s.crc, ask)
			s.stands(kit, status)
			if other := s.dispense(s.crc, of, "01", "2026-02-05"); other == kit || !s.kit(s.crc, kit, 0).Replaced {
				t.Errorf("kit %s is replaced by %s", kit, other)
			}
			s.refused(s.crc, "kit_replaced", ask)
		})
	}

	t.Run("kit reported lost that the patient has", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		kit := s.dispense(s.crc, of, "01", "2026-02-04")
		s.must(s.crc, supply.ReportKitLost{AtLocation: s.at("01"), Kit: kit, Reasoned: domain.Because("Stolen from the car")})
		s.stands(kit, supply.KitLostByPatient)
		s.dispense(s.crc, of, "01", "2026-02-05")
	})

	t.Run("unscheduled", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		s.dispense(s.crc, of, "01", "2026-02-04")
		s.must(s.crc, supply.DispenseUnscheduled{Site: "01", OfPatient: of, Reasoned: domain.Because("Travels for six weeks")})
		kit := s.dispense(s.crc, of, "01", "2026-02-10")
		if k := s.kit(s.crc, kit, 0); k.Visit != "unscheduled-1" {
			t.Errorf("the kit is %+v", k.KitRow)
		}
	})

	t.Run("false alarm: the visit did not take place", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		kit := s.kitOf(s.crc, of, "01")
		s.must(s.crc, supply.RecordNotDispensed{Site: "01", OfPatient: of, Kit: kit, Reasoned: domain.Because("The patient did not come")})
		// Nobody is drawn in this study, so whoever gets the kit learns nothing: it is back on the shelf. Its patient waits until the next
		// visit with drug, and the site is told.
		s.stands(kit, supply.KitAvailable)
		s.eventually("the site is told", func() bool { return s.waits(of) })
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"})
		s.dispense(s.crc, of, "01", "2026-03-03")
	})

	t.Run("second depot: depot to depot", func(t *testing.T) {
		s.t = t
		s.must(s.supplier, supply.OpenDepot{InStudy: ofStudy, Depot: "E", Name: "Second depot"})
		s.must(s.supplier, supply.RegisterKits{InStudy: ofStudy, Depot: "D",
			CSV: "kit,arm,lot,expiry\nD-1,drug,L2,2031-12-31\nD-2,drug,L2,2031-12-31\n"})
		s.must(s.supplier, supply.ReleaseBatch{InStudy: ofStudy, Lot: "L2", Certificate: "C-2"})
		s.stands("D-1", supply.KitAvailable)
		s.stands("D-2", supply.KitAvailable)
		s.send(s.supplier, "D", "E", s.supplier, "D-1", "D-2")
		s.stands("D-1", supply.KitAvailable)
		s.send(s.supplier, "E", "02", s.otherCRC, "D-1")
		s.stands("D-1", supply.KitAvailable)
	})

	t.Run("unused stock back", func(t *testing.T) {
		s.t = t
		kit := s.free("02")
		s.send(s.otherCRC, "02", "D", s.supplier, kit)
		s.stands(kit, supply.KitQuarantined)
		s.must(s.supplier, supply.ReleaseKits{AtLocation: s.at("D"), Kits: []supply.KitNumber{kit}, Reasoned: domain.Because("Was never opened")})
		s.stands(kit, supply.KitAvailable)
	})

	t.Run("expiry extended", func(t *testing.T) {
		s.t = t
		extend := supply.ExtendExpiry{InStudy: ofStudy, Lot: "L2", To: "2033-06-30", Certificate: "S-1",
			Reasoned: domain.Because("Stability data")}
		relabel := supply.ConfirmRelabelling{AtLocation: s.at("02"), Kits: []supply.KitNumber{"D-1"}}
		s.refused(s.supplier, "expiry_not_extended", relabel)
		s.refused(s.crc, "not_allowed", extend)
		s.must(s.supplier, extend)
		s.refused(s.supplier, "expiry_not_later", extend)
		s.must(s.supplier, relabel)
	})

	t.Run("receipt and destruction by the right people", func(t *testing.T) {
		s.t = t
		kit := s.free("02")
		s.must(s.otherCRC, supply.QuarantineKits{AtLocation: s.at("02"), Kits: []supply.KitNumber{kit}, Cause: supply.CauseOther,
			Reasoned: domain.Because("The box is torn")})
		s.account("crc.three", user.Grant{Role: user.CRC, Study: s.study, Site: "02"})
		destroy := supply.DestroyKits{AtLocation: s.at("02"), Kits: []supply.KitNumber{kit}, On: "2026-03-10", Certificate: "D-1"}
		s.refused(s.otherCRC, "destruction_not_approved", destroy)
		approve := supply.ApproveDestruction{AtLocation: s.at("02"), Kits: []supply.KitNumber{kit}, Reasoned: domain.Because("Beyond use")}
		s.refused(s.otherCRC, "not_allowed", approve)
		s.must(s.supplier, approve)
		s.stands(kit, supply.KitPendingDestruction)
		s.refused(s.otherCRC, "witness_required", destroy)
		destroy.Witness = "crc.one" // of another site
		s.refused(s.otherCRC, "witness_required", destroy)
		destroy.Witness = "crc.three"
		s.refused(s.supplier, "not_allowed", destroy)
		s.must(s.otherCRC, destroy)
		s.stands(kit, supply.KitDestroyed)
		s.refused(s.supplier, "not_allowed", supply.ReceiveShipment{AtLocation: s.at("02"), From: "D", Shipment: "D-0009", On: "2026-03-10",
			Temperature: supply.TemperatureInRange})
	})

	moved := s.enrolled()
	brought := s.dispense(s.crc, moved, "01", "2026-02-04")
	t.Run("kit of the former site replaced after a transfer", func(t *testing.T) {
		s.t = t
		s.must(s.manager, patient.TransferPatient{OfPatient: moved, To: "02", On: "2026-02-20", Reasoned: domain.Because("Moved")})
		ask := supply.ReplaceKit{Site: "01", OfPatient: moved, Kit: brought, Cause: supply.KitMisallocated, Reasoned: because}
		s.refused(s.crc, "not_allowed", ask)
		s.must(s.otherCRC, ask)
		s.dispense(s.otherCRC, moved, "02", "2026-02-21")
		s.refused(s.otherCRC, "kit_replaced", ask)
	})

	t.Run("recall with a typo, by error, and with drug at home", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		kit := s.dispense(s.crc, of, "01", "2026-02-04")
		recall := supply.RecallLot{InStudy: ofStudy, Lot: "L!", Reasoned: domain.Because("Out of specification")}
		s.refused(s.supplier, "lot_not_found", recall)

		recall.Lot = "L2"
		s.must(s.supplier, recall)
		s.stands("D-1", supply.KitIsRecalled)
		s.must(s.supplier, supply.WithdrawLotRecall{InStudy: ofStudy, Lot: "L2", Reasoned: domain.Because("L1 was meant")})
		s.must(s.supplier, supply.ReleaseKits{AtLocation: s.at("02"), Kits: []supply.KitNumber{"D-1"},
			Reasoned: domain.Because("Recalled by error")})
		s.stands("D-1", supply.KitAvailable)
		wasThere := time.Now()
		s.send(s.otherCRC, "02", "D", s.supplier, "D-1") // so that the patient can get one of another lot
		s.must(s.supplier, supply.ReleaseKits{AtLocation: s.at("D"), Kits: []supply.KitNumber{"D-1"}, Reasoned: because})
		s.send(s.supplier, "D", "01", s.crc, "D-1")

		// The alert is at the site where the patient is now, and is settled when the recall was an error.
		told := func(token, site string, who domain.OfPatient) bool {
			var alerts readmodels.List[safetyviews.Alert]
			s.query(token, fmt.Sprintf("/api/v1/studies/%s/alerts?site=%s&status=open&limit=100", s.study, site), 0, &alerts)
			return slices.ContainsFunc(alerts.Items, func(a safetyviews.Alert) bool {
				return a.Kind == safety.RecalledKitAtHome && a.Patient == who.Patient
			})
		}
		recall.Lot = "L1"
		var byMistake time.Time
		for _, byError := range []bool{true, false} {
			s.must(s.supplier, recall)
			s.eventually("the kit at home is recalled", func() bool { return s.kit(s.crc, kit, 0).Recalled })
			s.eventually("an alert names the patient", func() bool { return told(s.crc, "01", of) })
			s.eventually("an alert names the patient who was transferred", func() bool { return told(s.otherCRC, "02", moved) })
			if !byError {
				break
			}
			s.must(s.crc, supply.RecordRecallAction{Site: "01", OfPatient: of, Kit: kit, Action: supply.PatientTold, On: "2026-03-01"})
			byMistake = time.Now()
			s.must(s.supplier, supply.WithdrawLotRecall{InStudy: ofStudy, Lot: "L1", Reasoned: domain.Because("L2 was meant")})
			s.eventually("the kit at home can be used", func() bool { return !s.kit(s.crc, kit, 0).Recalled })
			s.eventually("nobody has to be told", func() bool { return !told(s.crc, "01", of) && !told(s.otherCRC, "02", moved) })
		}
		// Whoever recalls lots sees the kits, and not the patients.
		listed := func(token, narrowed string) (all []supplyviews.KitRow) {
			var list readmodels.List[supplyviews.KitRow]
			s.query(token, fmt.Sprintf("/api/v1/studies/%s/recalled-kits?limit=100&%s", s.study, narrowed), 0, &list)
			return list.Items
		}
		has := func(all []supplyviews.KitRow, n supply.KitNumber) bool {
			return slices.ContainsFunc(all, func(k supplyviews.KitRow) bool { return k.Kit == n })
		}
		if all := listed(s.supplier, ""); !has(all, kit) || !has(all, brought) ||
			slices.ContainsFunc(all, func(k supplyviews.KitRow) bool { return k.Patient != "" || k.RecallAction != "" }) {
			t.Errorf("the supply manager sees the recalled kits %+v", all)
		}
		here, there := listed(s.crc, "site=01"), listed(s.otherCRC, "site=02")
		if !has(here, kit) || has(here, brought) || has(there, kit) || !has(there, brought) {
			t.Errorf("site 01 has the recalled kits %+v, and site 02 %+v", here, there)
		}
		// What was recalled by mistake was recalled, and of whom a site has now it learns nothing of the time before.
		asOf := func(moment time.Time) string {
			return "&asOf=" + url.QueryEscape(moment.UTC().Format(time.RFC3339Nano))
		}
		if was := listed(s.crc, "site=01&action=told"+asOf(byMistake)); !has(was, kit) || has(was, brought) {
			t.Errorf("before the recall was withdrawn, site 01 had the recalled kits %+v", was)
		}
		if was := listed(s.otherCRC, "site=02"+asOf(byMistake)); !has(was, brought) || has(was, kit) {
			t.Errorf("before the recall was withdrawn, site 02 had the recalled kits %+v", was)
		}
		if was := listed(s.supplier, asOf(wasThere)); len(was) > 0 {
			t.Errorf("before the recall, there were the recalled kits %+v", was)
		}
		// A kit that has gone from site 02 to site 01 was at site 02, which is shown to neither.
		for _, c := range []struct {
			token, at string
			shown     bool
		}{{s.supplier, "02", true}, {s.otherCRC, "02", false}, {s.crc, "01", false}} {
			var was readmodels.List[supplyviews.KitRow]
			s.query(c.token, fmt.Sprintf("/api/v1/studies/%s/kits?limit=100&location=%s%s", s.study, c.at, asOf(wasThere)), 0, &was)
			if has(was.Items, "D-1") != c.shown {
				t.Errorf("who asks for what was at %s is shown %+v", c.at, was.Items)
			}
		}
		action := supply.RecordRecallAction{Site: "01", OfPatient: moved, Kit: brought, Action: supply.PatientTold, On: "2026-03-01"}
		s.refused(s.crc, "not_allowed", action)
		s.must(s.otherCRC, action)
		position := s.must(s.crc, supply.RecordRecallAction{Site: "01", OfPatient: of, Kit: kit, Action: supply.PatientWillReturn,
			On: "2026-03-01", Note: "Comes tomorrow"}).Position
		if k := s.kit(s.crc, kit, position); k.RecallAction != supply.PatientWillReturn ||
			k.Custody[len(k.Custody)-1].What != "RecallActionRecorded" {
			t.Errorf("the kit is %+v", k)
		}
		s.eventually("another kit is asked for", func() bool { return s.kit(s.crc, kit, 0).Replaced || s.waits(of) })
		s.must(s.crc, supply.ReturnKit{Site: "01", OfPatient: of, Kit: kit, On: "2026-03-02"})
	})

	t.Run("site closed with patients, with stock", func(t *testing.T) {
		s.t = t
		s.must(s.manager, enrollment.CloseEnrollment{InStudy: ofStudy, Reasoned: domain.Because("Target reached")})
		s.must(s.manager, study.CloseSite{AtSite: domain.ForSite(s.study, "02"), On: "2026-04-01", Reasoned: domain.Because("Staff has left")})
		s.must(s.supplier, supply.RegisterKits{InStudy: ofStudy, Depot: "D",
			CSV: "kit,arm,lot,expiry\nC-1,drug,L3,2031-12-31\nC-2,drug,L3,2031-12-31\n"})
		s.must(s.supplier, supply.ReleaseBatch{InStudy: ofStudy, Lot: "L3", Certificate: "C-3"})
		s.stands("C-2", supply.KitAvailable)
		s.must(s.supplier, supply.SetResupplyRule{InStudy: ofStudy,
			Rule: supply.ResupplyRule{Site: "02", Depot: "D", Trigger: 1, Target: 30, OverdueDays: 7}})
		s.eventually("the closed site is sent kits", func() bool {
			return slices.ContainsFunc(s.kits(s.manager, "D"), func(k supplyviews.Kit) bool {
				return k.Kit == "C-1" &&
					k.Status == supply.KitPacked
			})
		})
		s.must(s.supplier, supply.EndResupply{InStudy: ofStudy, Site: "02", Reasoned: domain.Because("No patient is treated there")})
		s.refused(s.supplier, "no_resupply_rule", supply.EndResupply{InStudy: ofStudy, Site: "02", Reasoned: because})
	})

	t.Run("site reopened", func(t *testing.T) {
		s.t = t
		screen := patient.ScreenPatient{AtSite: domain.ForSite(s.study, "02"), ScreeningNumber: "RE-1", On: "2026-04-02"}
		s.refused(s.otherCRC, "site_not_active", screen)
		s.must(s.manager, study.ReopenSite{AtSite: domain.ForSite(s.study, "02"), On: "2026-04-02", Reasoned: domain.Because("A new team")})
		s.must(s.otherCRC, screen)
	})

	t.Run("study stopped and resumed", func(t *testing.T) {
		s.t = t
		officer := s.account("officer", user.Grant{Role: user.SafetyOfficer, Study: s.study})
		all := []study.Activity{study.ActivityScreening, study.ActivityRandomisation, study.ActivityDispensing, study.ActivityShipping}
		s.must(s.manager, enrollment.OpenEnrollment{InStudy: ofStudy, Caps: enrollment.Caps{Target: 20, Study: 40}})
		csv := "kit,arm,lot,expiry\n"
		var kits []supply.KitNumber
		for i := range 12 {
			kits = append(kits, supply.KitNumber(fmt.Sprintf("S-%02d", i)))
			csv += fmt.Sprintf("S-%02d,drug,L4,2031-12-31\n", i)
		}
		s.must(s.supplier, supply.RegisterKits{InStudy: ofStudy, Depot: "D", CSV: csv})
		s.must(s.supplier, supply.ReleaseBatch{InStudy: ofStudy, Lot: "L4", Certificate: "C-4"})
		s.stands(kits[11], supply.KitAvailable)
		s.send(s.supplier, "D", "01", s.crc, kits...)
		waiting, of := s.consented(), s.enrolled()
		kit := s.kitOf(s.crc, of, "01")
		stop := study.SuspendStudy{InStudy: ofStudy, Activities: all, Reasoned: domain.Because("A SUSAR is being assessed")}
		s.refused(s.crc, "not_allowed", stop)
		stopped := s.must(officer, stop).Position

		s.refused(s.crc, "activity_paused", patient.ScreenPatient{AtSite: domain.ForSite(s.study, "01"), ScreeningNumber: "ST-1",
			On: "2026-04-02"})
		s.refused(s.crc, "activity_paused", patient.EnrollPatient{OfPatient: waiting, On: "2026-02-03", Criteria: map[string]bool{"adult": true}})
		s.refused(s.crc, "activity_paused", supply.DispenseKit{Site: "01", OfPatient: of, Kit: kit, On: "2026-04-02"})
		s.refused(s.supplier, "activity_paused", supply.CreateShipment{FromLocation: supply.FromLocation{Study: s.study, From: "D"}, To: "01",
			Kits: []supply.KitNumber{kit}, Reasoned: because})
		// What a recall takes back, and what moves between depots, is not stopped.
		at := s.kits(s.manager, "01")
		back := at[slices.IndexFunc(at, func(k supplyviews.Kit) bool { return k.Status == supply.KitAvailable })].Kit
		s.send(s.crc, "01", "D", s.supplier, back)
		s.stands(back, supply.KitQuarantined)
		s.send(s.supplier, "D", "E", s.supplier, back)
		s.stands(back, supply.KitQuarantined)
		var overview studyviews.StudyOverview
		s.query(s.crc, "/api/v1/studies/"+string(s.study), stopped, &overview)
		if len(overview.Suspended) != 1 || len(overview.Suspended[0].Activities) != len(all) {
			t.Errorf("the overview shows %+v", overview.Suspended)
		}
		// Who has to know is told, and what was not stopped goes on.
		var alerts readmodels.List[safetyviews.Alert]
		s.eventually("an alert tells that the study is suspended", func() bool {
			s.query(officer, fmt.Sprintf("/api/v1/studies/%s/alerts?limit=100", s.study), 0, &alerts)
			return slices.ContainsFunc(alerts.Items, func(a safetyviews.Alert) bool { return a.Kind == safety.ActivityPaused })
		})
		told := func(token, site string, kind safety.Kind) bool {
			s.query(token, fmt.Sprintf("/api/v1/studies/%s/alerts?kind=%s%s&limit=100", s.study, kind, site), 0, &alerts)
			return slices.ContainsFunc(alerts.Items, func(a safetyviews.Alert) bool { return strings.HasPrefix(a.Summary, "Suspended") })
		}
		s.eventually("the supply manager is told that nothing is sent", func() bool { return told(s.supplier, "", safety.ShippingPaused) })
		if !told(s.crc, "&site=01", safety.ActivityPaused) || !told(s.crc, "&site=01", safety.ShippingPaused) {
			t.Error("the site is not told that the study is suspended")
		}
		if told(s.supplier, "", safety.ActivityPaused) {
			t.Error("the supply manager is told what does not concern the supply")
		}
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-04-02"})

		s.must(s.manager, study.ResumeStudy{InStudy: ofStudy, Activities: all, Reasoned: domain.Because("The board recommends to go on")})
		s.must(s.crc, supply.DispenseKit{Site: "01", OfPatient: of, Kit: kit, On: "2026-04-02"})
		s.must(s.crc, patient.ScreenPatient{AtSite: domain.ForSite(s.study, "01"), ScreeningNumber: "ST-1", On: "2026-04-02"})
	})

	t.Run("site paused", func(t *testing.T) {
		s.t = t
		pause := study.PauseSite{AtSite: domain.ForSite(s.study, "01"), Activities: []study.Activity{study.ActivityScreening},
			Reasoned: domain.Because("The investigator is on leave")}
		paused := s.must(s.manager, pause).Position
		s.refused(s.manager, "activity_paused", pause)
		screen := patient.ScreenPatient{AtSite: domain.ForSite(s.study, "01"), ScreeningNumber: "PA-1", On: "2026-04-02"}
		s.refused(s.crc, "activity_paused", screen)
		stopped := func(token string, asOf time.Time, position uint64) []studyviews.SitePause {
			var pauses studyviews.Pauses
			path := "/api/v1/studies/" + string(s.study) + "/pauses"
			if !asOf.IsZero() {
				path += "?asOf=" + url.QueryEscape(asOf.UTC().Format(time.RFC3339Nano))
			}
			s.query(token, path, position, &pauses)
			return pauses.Sites
		}
		is := stopped(s.crc, time.Time{}, paused)
		if len(is) != 1 || is[0].Reason != "The investigator is on leave" || len(stopped(s.otherCRC, time.Time{}, paused)) > 0 {
			t.Fatalf("paused are %+v", is)
		}
		resumed := s.must(s.manager, study.ResumeSite{AtSite: pause.AtSite, Activities: pause.Activities,
			Reasoned: domain.Because("Back")}).Position
		s.must(s.crc, screen)
		now, then, elsewhere := stopped(s.crc, time.Time{}, resumed), stopped(s.crc, is[0].Since, resumed), stopped(s.otherCRC, is[0].Since,
			resumed)
		if len(now) > 0 || len(then) != 1 || len(elsewhere) > 0 {
			t.Errorf("paused are %+v, and were %+v; to another site they were %+v", now, then, elsewhere)
		}
	})
}

// waits says whether an alert says that there is no kit for a patient.
func (s *site) waits(of domain.OfPatient) bool {
	s.t.Helper()
	var alerts readmodels.List[safetyviews.Alert]
	s.query(s.crc, fmt.Sprintf("/api/v1/studies/%s/alerts?site=01&limit=100", s.study), 0, &alerts)
	return slices.ContainsFunc(alerts.Items, func(a safetyviews.Alert) bool {
		return a.Kind == safety.PatientWithoutKit && a.Patient == of.Patient
	})
}
