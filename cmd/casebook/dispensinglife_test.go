package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"
	patientviews "casebook/readmodels/patient"
	safetyviews "casebook/readmodels/safety"
	supplyviews "casebook/readmodels/supply"
)

// dosesOfKit is how many doses each kit of these scenarios holds.
const dosesOfKit = 30

// dispensingProtocol has a run-in, a number of kits that follows from the weight, two doses, a rescue and strict windows. The numbers
// of the kits begin with their types: L, H, R and X.
func dispensingProtocol() study.Protocol {
	one := func(kind string, count int) []study.KitsOf { return []study.KitsOf{{Type: kind, Count: count}} }
	return study.Protocol{Version: 1, ConsentVersion: "1.0", Arms: []study.Arm{{ID: "drug", Title: "Drug"}},
		Criteria: []study.Criterion{{ID: "adult"}},
		Visits: []study.Visit{{ID: "run-in", Day: -14},
			{ID: "week-4", Day: 28, DaysBefore: 3, DaysAfter: 10, OutOfWindow: study.RefuseVisit},
			{ID: "week-8", Day: 56, DaysBefore: 3, DaysAfter: 3}, {ID: "week-12", Day: 84, DaysAfter: 5}},
		Treatment: &study.Treatment{Kits: true, DispensingVisits: []string{"run-in", "week-4", "week-8"}, UntilNextVisit: true,
			DosingLimits: &study.DosingLimits{MinPercent: 95, MaxPercent: 110},
			Titration:    &study.Titration{Steps: 2, Rescue: true},
			Plan: &study.DispensingPlan{Types: []study.KitType{{ID: "low", Arm: "drug", Strength: "54 mg", Form: "patch", LabelGroup: "small"},
				{ID: "high", Arm: "drug", Strength: "81 mg", Form: "patch", LabelGroup: "large"},
				{ID: "lead-in", Open: true}, {ID: "rescue", Open: true}},
				Kits: []study.PlannedKits{{Visits: []string{"run-in"}, Kits: one("lead-in", 1)},
					{Step: 1, BelowKg: 70, Arm: "drug", DosesPerDay: 1, Kits: one("low", 1)},
					{Step: 1, FromKg: 70, Arm: "drug", DosesPerDay: 2, Kits: one("low", 2)},
					{Step: 2, Arm: "drug", DosesPerDay: 1, Kits: one("high", 1)}, {Rescue: true, Kits: one("rescue", 1)}}}}}
}

// openDispensing starts a server with a study that has the protocol, and kits at site 01. One kit, L-99, expires in 20 days.
func openDispensing(t *testing.T) *site {
	t.Helper()
	const id = domain.StudyID("DOSE")
	in, inStudy := install(t), domain.ForStudy(id)
	s := &site{installation: in, study: id, manager: in.account("manager", user.Grant{Role: user.DataManager, Study: id}),
		crc:      in.account("crc.one", user.Grant{Role: user.CRC, Study: id, Site: "01"}),
		supplier: in.account("supplier", user.Grant{Role: user.UnblindedSupplyManager, Study: id})}
	in.must(s.manager, study.CreateStudy{InStudy: inStudy, Title: "Daily life of a pharmacy", Sponsor: "Nobody"})
	in.must(s.manager, study.PublishProtocolVersion{InStudy: inStudy, Protocol: dispensingProtocol()})
	in.must(s.manager, study.AddSite{AtSite: domain.ForSite(inStudy.Study, "01"), Name: "Hospital", Country: "DE", Zone: "Europe/Berlin"})
	in.must(s.manager, study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, "01"), On: "2026-01-01"})
	in.must(s.supplier, supply.OpenDepot{InStudy: inStudy, Depot: "D", Name: "Depot"})
	var kits []supply.KitNumber
	csv := "kit,type,strength,blinding,lot,expiry,units\n"
	add := func(n supply.KitNumber, rest string, expiry domain.Date) {
		kits, csv = append(kits, n), csv+fmt.Sprintf("%s,%s,L1,%s,%d\n", n, rest, expiry, dosesOfKit)
	}
	for i := range 30 {
		add(supply.KitNumber(fmt.Sprintf("L-%02d", i)), "low,54 mg,blinded", "2031-12-31")
		add(supply.KitNumber(fmt.Sprintf("H-%02d", i)), "high,,", "2031-12-31")
		add(supply.KitNumber(fmt.Sprintf("R-%02d", i)), "lead-in,,open", "2031-12-31")
	}
	add("L-99", "low,,", domain.DateOf(time.Now().UTC()).AddDays(20))
	add("X-00", "rescue,,open", "2031-12-31")
	register := supply.RegisterKits{InStudy: inStudy, Depot: "D", CSV: csv}
	s.t = t
	unknown := register
	unknown.CSV = strings.Replace(csv, "strength", "colour", 1)
	s.refused(s.supplier, "unknown_column", unknown)
	in.must(s.supplier, register)
	in.must(s.supplier, supply.ReleaseBatch{InStudy: inStudy, Lot: "L1", Certificate: "C-1"})
	s.stands(kits[0], supply.KitAvailable)
	s.send(s.supplier, "D", "01", s.crc, kits...)
	in.must(s.manager, enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 10, Study: 30}})
	return s
}

// ranIn is a patient with a weight, who has consented and got the kit of the run-in.
func (s *site) ranIn(kg float64) domain.OfPatient {
	s.t.Helper()
	of := s.consented()
	s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "run-in", On: "2026-02-02", WeightKg: kg})
	if kit := s.dispense(s.crc, of, "01", "2026-02-02"); kit[0] != 'R' {
		s.t.Errorf("in the run-in the patient gets %s", kit)
	}
	return of
}

// waiting returns so many kits that wait for a patient, when there are as many.
func (s *site) waiting(of domain.OfPatient, n int) (kits []supply.KitNumber) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d kits wait for %s", n, of.Patient), func() bool {
		kits = nil
		for _, k := range s.kits(s.crc, "01") {
			if k.Patient == of.Patient && k.Status == supply.KitIsAllocated && !slices.Contains(s.given, k.Kit) {
				kits = append(kits, k.Kit)
			}
		}
		return len(kits) == n
	})
	slices.Sort(kits)
	return kits
}

// give dispenses kits.
func (s *site) give(of domain.OfPatient, on domain.Date, kits ...supply.KitNumber) (position uint64) {
	s.t.Helper()
	for _, kit := range kits {
		position = s.must(s.crc, supply.DispenseKit{Site: "01", OfPatient: of, Kit: kit, On: on}).Position
		s.given = append(s.given, kit) // the list of kits may show it as allocated for a moment
	}
	return position
}

// withoutKit returns the patients of the worklist, as it is or was at a moment.
func (s *site) withoutKit(token string, asOf time.Time) (all []domain.PatientID) {
	s.t.Helper()
	path := fmt.Sprintf("/api/v1/studies/%s/without-kit?site=01", s.study)
	if !asOf.IsZero() {
		path += "&asOf=" + url.QueryEscape(asOf.Format(time.RFC3339Nano))
	}
	var list readmodels.List[safetyviews.Alert]
	s.query(token, path, 0, &list)
	for _, a := range list.Items {
		all = append(all, a.Patient)
	}
	return all
}

// TestDailyLifeOfDispensing plays what happens every day when study drug is given out and taken back, over HTTP, on a running server.
// Each scenario has the name that the people of a trial give it.
func TestDailyLifeOfDispensing(t *testing.T) {
	s := openDispensing(t)

	t.Run("drug that must last", func(t *testing.T) {
		s.t = t
		of := s.screened(nil)
		today := domain.DateOf(time.Now().UTC())
		s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1.0", On: "2026-02-02"})
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "run-in", On: "2026-02-02", WeightKg: 60})
		s.waiting(of, 1)
		requested := s.must(s.crc, patient.EnrollPatient{OfPatient: of, On: today, Criteria: map[string]bool{"adult": true}}).Position
		s.eventually("the patient is enrolled", func() bool { return s.patient(s.crc, of, requested).Status == patient.StatusEnrolled })
		// L-99 expires first, and before the end of the window of week 4.
		if kits := s.waiting(of, 2); kits[0] == "L-99" || kits[0][0] != 'L' || kits[1][0] != 'R' {
			t.Errorf("the patient gets %v", kits)
		}
		s.must(s.crc, supply.QuarantineKits{AtLocation: s.at("01"), Kits: []supply.KitNumber{"L-99"}, Cause: supply.CauseOther,
			Reasoned: domain.Because("Expires soon")})
	})

	t.Run("several kit types, n kits, titration, weight", func(t *testing.T) {
		s.t = t
		of := s.consented()
		s.refused(s.crc, "weight_missing", patient.EnrollPatient{OfPatient: of, On: "2026-02-03", Criteria: map[string]bool{"adult": true}})
		of = s.ranIn(82)
		s.enrol(of)
		two := s.waiting(of, 2) // by the weight
		if two[0][0] != 'L' || two[1][0] != 'L' {
			t.Errorf("the patient gets %v", two)
		}
		s.give(of, "2026-02-03", two...)
		change := patient.RecordDoseChange{OfPatient: of, Direction: patient.DoseUp, On: "2026-03-01", Reasoned: domain.Because("Pain of 7")}
		s.refused(s.supplier, "not_allowed", change)
		s.must(s.crc, change)
		s.refused(s.crc, "dose_at_limit", change)
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"})
		high := s.waiting(of, 1)
		if high[0][0] != 'H' {
			t.Errorf("at the second step the patient gets %v", high)
		}
		s.give(of, "2026-03-03", high...)
		change.Direction = patient.DoseRescue
		changed := s.must(s.crc, change).Position
		if v := s.patient(s.crc, of, changed); v.DoseStep != 2 || !v.Rescue || v.Steps[len(v.Steps)-1].What != "DoseChanged" {
			t.Errorf("the view shows step %d, rescue %t", v.DoseStep, v.Rescue)
		}
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-8", On: "2026-03-31"})
		if kits := s.waiting(of, 2); kits[0][0] != 'H' || kits[1][0] != 'X' {
			t.Errorf("with the rescue the patient gets %v", kits)
		}
	})

	t.Run("a dose lowered in the visit, after its kit was allocated", func(t *testing.T) {
		s.t = t
		of := s.ranIn(60)
		s.enrol(of)
		s.give(of, "2026-02-03", s.waiting(of, 1)...)
		change := patient.RecordDoseChange{OfPatient: of, Direction: patient.DoseUp, On: "2026-02-20", Reasoned: domain.Because("Pain of 7")}
		s.must(s.crc, change)
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"})
		high := s.waiting(of, 1)[0]
		change.Direction, change.On, change.Reason = patient.DoseDown, "2026-03-03", "Nausea"
		s.must(s.crc, change)
		s.eventually("the kit of the former dose is set aside", func() bool { return s.setAside(s.crc, high) })
		s.refused(s.crc, "kit_status", supply.DispenseKit{Site: "01", OfPatient: of, Kit: high, On: "2026-03-03"})
		if kits := s.waiting(of, 1); high[0] != 'H' || kits[0][0] != 'L' {
			t.Errorf("first the patient was to get %s, and then gets %v", high, kits)
		}
	})

	t.Run("false alarm, a voided visit, and the visit after all", func(t *testing.T) {
		s.t = t
		of := s.ranIn(60)
		s.enrol(of)
		s.give(of, "2026-02-03", s.waiting(of, 1)...)
		visit := patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"}
		void := patient.VoidVisit{OfPatient: of, Visit: "week-4", Reasoned: domain.Because("The patient did not come")}
		s.must(s.crc, visit)
		kit := s.waiting(of, 1)[0]
		s.must(s.crc, supply.RecordNotDispensed{Site: "01", OfPatient: of, Kit: kit, Reasoned: domain.Because("False alarm")})
		s.stands(kit, supply.KitAvailable) // nobody is drawn in this study, so that whoever gets it learns nothing
		s.must(s.crc, void)
		s.must(s.crc, visit)
		kit = s.waiting(of, 1)[0]
		s.must(s.crc, void) // typed wrongly, and put right at once
		s.must(s.crc, visit)
		s.waiting(of, 1)
		// The kit of a voided visit is set aside by itself, and nobody gives it out.
		s.must(s.crc, void)
		s.eventually("the kit is set aside", func() bool { return s.setAside(s.crc, kit) })
		s.must(s.crc, visit)
		s.give(of, "2026-03-03", s.waiting(of, 1)...)
	})

	t.Run("a visit while the treatment had ended in error", func(t *testing.T) {
		s.t = t
		of := s.ranIn(60)
		s.enrol(of)
		s.give(of, "2026-02-03", s.waiting(of, 1)...)
		s.must(s.crc, patient.DiscontinueTreatment{OfPatient: of, On: "2026-03-01", Reason: patient.EndedByAdverseEvent})
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"})
		s.must(s.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepTreatmentEnd, Reasoned: domain.Because("Another patient's")})
		s.waiting(of, 1)
	})

	t.Run("consent recorded in error", func(t *testing.T) {
		s.t = t
		of := s.ranIn(60)
		s.enrol(of)
		kit := s.waiting(of, 1)[0]
		s.must(s.crc, patient.VoidConsent{OfPatient: of, ConsentVersion: "1.0", Reasoned: domain.Because("Another patient's form")})
		give := supply.DispenseKit{Site: "01", OfPatient: of, Kit: kit, On: "2026-02-03"}
		s.refused(s.crc, "consent_missing", give)
		s.refused(s.crc, "consent_missing", supply.DispenseUnscheduled{Site: "01", OfPatient: of, Reasoned: domain.Because("Travels")})
		s.must(s.crc, supply.ReportKitLost{AtLocation: s.at("01"), Kit: kit, Reasoned: domain.Because("Not on the shelf")})
		s.eventually("the site is told", func() bool { return slices.Contains(s.withoutKit(s.crc, time.Time{}), of.Patient) })
		s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1.0", On: "2026-02-01"})
		give.Kit = s.waiting(of, 1)[0]
		s.must(s.crc, give)
		s.eventually("nobody is told any more", func() bool { return !slices.Contains(s.withoutKit(s.crc, time.Time{}), of.Patient) })
	})

	t.Run("without a kit", func(t *testing.T) {
		s.t = t
		of := s.ranIn(60)
		s.enrol(of)
		s.give(of, "2026-02-03", s.waiting(of, 1)...)
		s.must(s.crc, patient.RecordDoseChange{OfPatient: of, Direction: patient.DoseRescue, On: "2026-03-01",
			Reasoned: domain.Because("Pain of 8")})
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"})
		// There is no rescue kit left: the patient gets neither, and somebody is told until there are both.
		s.eventually("the patient is on the worklist", func() bool { return slices.Contains(s.withoutKit(s.crc, time.Time{}), of.Patient) })
		then := time.Now()
		if seen := s.withoutKit(s.supplier, time.Time{}); slices.Contains(seen, of.Patient) || len(seen) != 1 {
			t.Errorf("who may not know patients sees %v", seen)
		}
		s.must(s.supplier, supply.RegisterKits{InStudy: domain.ForStudy(s.study), Depot: "D",
			CSV: "kit,type,lot,expiry\nX-01,rescue,L2,2031-12-31\n"})
		s.must(s.supplier, supply.ReleaseBatch{InStudy: domain.ForStudy(s.study), Lot: "L2", Certificate: "C-2"})
		s.stands("X-01", supply.KitAvailable)
		s.send(s.supplier, "D", "01", s.crc, "X-01")
		if kits := s.waiting(of, 2); kits[0][0] != 'L' || kits[1] != "X-01" {
			t.Errorf("the patient gets %v", kits)
		}
		for token, want := range map[string]int{s.crc: 1, s.supplier: 0} {
			for who, n := range map[domain.PatientID]int{of.Patient: want, domain.NewPatientID(s.study, "nobody"): 0} {
				var list readmodels.List[safetyviews.Alert]
				s.query(token, fmt.Sprintf("/api/v1/studies/%s/without-kit?site=01&asOf=%s&patient=%s", s.study,
					url.QueryEscape(then.Format(time.RFC3339Nano)), who), 0, &list)
				if len(list.Items) != n {
					t.Errorf("of patient %s, the worklist has %+v", who, list.Items)
				}
			}
		}
		s.eventually("the worklist is empty", func() bool { return len(s.withoutKit(s.crc, time.Time{})) == 0 })
		if was := s.withoutKit(s.crc, then); !slices.Equal(was, []domain.PatientID{of.Patient}) {
			t.Errorf("then the worklist had %v", was)
		}
	})

	t.Run("early, late, skipped visit", func(t *testing.T) {
		s.t = t
		of := s.ranIn(60)
		s.enrol(of)
		visit := patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-02-27"}
		s.refused(s.crc, "visit_too_early", visit)
		visit.On = "2026-03-14"
		s.refused(s.crc, "visit_too_late", visit)
		skip := patient.SkipVisit{OfPatient: of, Visit: "week-4", Reasoned: domain.Because("Abroad")}
		skipped := s.must(s.crc, skip).Position
		s.refused(s.crc, "visit_skipped", skip)
		visit.On = "2026-03-03"
		s.refused(s.crc, "visit_skipped", visit)
		if v := s.patient(s.crc, of, skipped); len(v.Candidates) != 1 || v.Candidates[0].Step != "VisitSkipped" {
			t.Errorf("the candidates are %+v", v.Candidates)
		}
		late := s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-8", On: "2026-04-20"}).Position // flagged
		if v := s.patient(s.crc, of, late); len(v.Candidates) != 2 || v.Candidates[1].Step != "VisitRecorded" {
			t.Errorf("the candidates are %+v", v.Candidates)
		}
	})

	t.Run("partial return, recount, never returned, return without dispensing", func(t *testing.T) {
		s.t = t
		of := s.ranIn(82)
		s.enrol(of)
		kits := s.waiting(of, 2)
		back := supply.ReturnKit{Site: "01", OfPatient: of, Kit: kits[0], On: "2026-02-20", Units: 4, KeepsRest: true}
		s.refused(s.crc, "kit_not_dispensed", back)
		s.give(of, "2026-02-03", kits...)
		s.must(s.crc, back)
		back.On, back.Units, back.KeepsRest = "2026-03-03", dosesOfKit, false
		s.refused(s.crc, "too_many_doses", back)
		back.Units = 2
		s.must(s.crc, back)
		count := supply.ReconcileKit{Site: "01", OfPatient: of, Kit: kits[0], Returned: 5, Used: 25}
		s.refused(s.crc, "count_differs", count)
		count.Returned, count.Used = 6, 24
		s.must(s.crc, count)
		s.must(s.crc, supply.RecountKit{Site: "01", OfPatient: of, Kit: kits[0], Returned: 5, Used: 24, Lost: 1,
			Reasoned: domain.Because("The monitor counts five")})
		s.must(s.crc, supply.RecordKitNotReturned{Site: "01", OfPatient: of, Kit: kits[1], On: "2026-03-03",
			Reasoned: domain.Because("Thrown away")})
		seen := s.must(s.crc, supply.ReconcileKit{Site: "01", OfPatient: of, Kit: kits[1], Used: 28, Lost: 2}).Position

		// 52 doses were taken in the 28 days, of 2 each day.
		var d supplyviews.DosingCompliance
		s.query(s.crc, "/api/v1/patients/"+string(of.Patient)+"/dosing", seen, &d)
		if in := d.Intervals[len(d.Intervals)-1]; d.Percent == nil || *d.Percent != 92.9 || in.Planned != 56 || in.Taken != 52 ||
			in.Until != "2026-03-03" || len(in.Kits) != 2 {
			t.Errorf("the dosing is %+v", d)
		}
		// That is less than the protocol asks for. A person decides.
		deviations := func() (all []patientviews.DeviationRow) {
			var list readmodels.List[patientviews.DeviationRow]
			s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/deviations?site=01&limit=100", s.study), 0, &list)
			for _, d := range list.Items {
				if d.Patient == of.Patient {
					all = append(all, d)
				}
			}
			return all
		}
		var proposed []patientviews.DeviationRow
		s.eventually("the doses are proposed as a deviation", func() bool {
			proposed = deviations()
			return len(proposed) == 1
		})
		if d := proposed[0]; d.Candidate != "dosing/enrollment" || d.What != patient.DeviationTreatment || d.On != "2026-03-03" ||
			d.Status != patientviews.DeviationProposed {
			t.Errorf("proposed is %+v", d)
		}
		s.must(s.manager, patient.RecordProtocolDeviation{OfPatient: of, What: patient.DeviationTreatment, FoundOn: "2026-03-04",
			Candidate: "dosing/enrollment", Reasoned: domain.Because("Forgot the patches on four days")})
		s.eventually("the deviation is confirmed", func() bool {
			all := deviations()
			return slices.ContainsFunc(all, func(d patientviews.DeviationRow) bool { return d.Status == patientviews.DeviationConfirmed })
		})
		var list readmodels.List[supplyviews.DosingCompliance]
		s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/dosing-compliance?patient=%s", s.study, of.Patient), seen, &list)
		if len(list.Items) != 1 || list.Items[0].Patient != of.Patient {
			t.Errorf("the figures of the patient are %+v", list.Items)
		}
		s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/dosing-compliance?site=01&limit=100", s.study), seen, &list)
		if !slices.ContainsFunc(list.Items, func(d supplyviews.DosingCompliance) bool { return d.Patient == of.Patient && d.Taken == 52 }) {
			t.Errorf("the list is %+v", list.Items)
		}
		var sheet readmodels.List[supplyviews.AccountedKit]
		s.query(s.crc, fmt.Sprintf("/api/v1/studies/%s/reconciliation?site=01&patient=%s", s.study, of.Patient), seen, &sheet)
		lines := map[supply.KitNumber]supplyviews.AccountedKit{}
		for _, k := range sheet.Items {
			lines[k.Kit] = k
		}
		first, second := lines[kits[0]], lines[kits[1]]
		if len(lines) != 3 || !first.Reconciled || first.Returned != 5 || first.Lost != 1 || first.BackOn != "2026-03-03" ||
			second.Used != 28 || second.Status != supply.KitLostByPatient || !second.Reconciled {
			t.Errorf("the sheet is %+v", sheet.Items)
		}
		// Nothing replaces the kit that does not come back: when the kits of the next visit are there, no other one is.
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"})
		for _, kit := range s.waiting(of, 2) {
			if k := s.kit(s.crc, kit, 0); k.Visit != "week-4" {
				t.Errorf("kit %s waits for the patient, for the visit %q", kit, k.Visit)
			}
		}
		if s.kit(s.crc, kits[1], 0).Replaced {
			t.Errorf("kit %s is replaced", kits[1])
		}
	})

	t.Run("leaves with an undispensed kit, and the dropout is replaced", func(t *testing.T) {
		s.t = t
		of := s.ranIn(60)
		s.enrol(of)
		kit := s.waiting(of, 1)[0]
		s.must(s.crc, patient.EndParticipation{OfPatient: of, On: "2026-02-10", Reason: patient.EndedByLossToFollowUp})
		s.stands(kit, supply.KitUnavailable)
		s.refused(s.crc, "kit_status", supply.DispenseKit{Site: "01", OfPatient: of, Kit: kit, On: "2026-02-10"})
		other := s.ranIn(60)
		s.enrol(other)
		if theirs := s.waiting(other, 1); theirs[0] == kit {
			t.Errorf("kit %s has two patients", kit)
		}
	})

	t.Run("registered in error, with a kit of the run-in and a skipped visit", func(t *testing.T) {
		s.t = t
		of := s.consented()
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "run-in", On: "2026-02-02", WeightKg: 60})
		kit := s.waiting(of, 1)[0]
		skipped := s.must(s.crc, patient.SkipVisit{OfPatient: of, Visit: "week-4", Reasoned: domain.Because("Abroad")}).Position
		s.deviates(of, skipped, "visit/week-4", patientviews.DeviationProposed)
		voided := s.must(s.crc, patient.VoidRegistration{OfPatient: of, Reasoned: domain.Because("Typed in twice")}).Position
		s.deviates(of, voided, "visit/week-4", patientviews.DeviationObsolete)
		s.stands(kit, supply.KitUnavailable)
	})

	t.Run("screen failure with a kit of the run-in", func(t *testing.T) {
		s.t = t
		of := s.consented()
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "run-in", On: "2026-02-02", WeightKg: 60})
		kit := s.waiting(of, 1)[0]
		s.must(s.crc, patient.RecordScreenFailure{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("Too little pain")})
		s.stands(kit, supply.KitUnavailable)
		status, _, _ := s.command(s.crc, "", supply.DispenseKit{Site: "01", OfPatient: of, Kit: kit, On: "2026-02-03"})
		if status == http.StatusOK {
			t.Error("a kit was given out after the screen failure")
		}
		// It was the wrong patient: the kit is there again, and more come later.
		s.must(s.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepScreenFailure, Reasoned: domain.Because("The wrong patient")})
		if again := s.waiting(of, 1)[0]; again != kit {
			t.Errorf("instead of %s, the patient gets %s", kit, again)
		}
		s.give(of, "2026-02-02", kit)
		s.enrol(of)
		s.give(of, "2026-02-03", s.waiting(of, 1)...)
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"})
		s.waiting(of, 1)
	})

	// deliver registers a delivery of kits of a type, and waits until the depot has them.
	ofStudy := domain.ForStudy(s.study)
	deliver := func(kind string, expiry domain.Date, kits ...supply.KitNumber) {
		s.t.Helper()
		csv := "kit,type,lot,expiry,units\n"
		for _, n := range kits {
			csv += fmt.Sprintf("%s,%s,L1,%s,%d\n", n, kind, expiry, dosesOfKit)
		}
		s.must(s.supplier, supply.RegisterKits{InStudy: ofStudy, Depot: "D", CSV: csv})
		s.eventually("the delivery is there", func() bool { // a rule may have packed it by then
			return s.kit(s.manager, kits[len(kits)-1], lastRecorded(t, s.log)).Status != supply.KitRegistered
		})
	}

	t.Run("kits of a type that expire too soon are not shipped", func(t *testing.T) {
		s.t = t
		auditor := s.account("auditor", user.Grant{Role: user.Auditor, Study: s.study})
		soon := domain.DateOf(time.Now().UTC()).AddDays(60)
		deliver("low", soon, "L-90")
		deliver("high", soon, "H-90")
		limit := supply.SetDoNotShipDays{InStudy: ofStudy, Type: "low", Country: "DE", Days: 90, Reasoned: domain.Because("Cooled on its way")}
		for _, token := range []string{s.manager, s.crc} {
			s.refused(token, "not_allowed", limit)
		}
		none := limit
		none.Type = "middle"
		s.refused(s.supplier, "unknown_kit_type", none)
		set := s.must(s.supplier, limit).Position
		low := supply.CreateShipment{FromLocation: supply.FromLocation{Study: s.study, From: "D"}, To: "01", Kits: []supply.KitNumber{"L-90"},
			Reasoned: domain.Because("A spare one")}
		s.refused(s.supplier, "kits_not_sendable", low)
		s.send(s.supplier, "D", "01", s.crc, "H-90") // it looks different, so that nothing is told
		// Nobody who looks at the record sees of which type the days are.
		var trail readmodels.List[auditviews.AuditEvent]
		s.query(auditor, fmt.Sprintf("/api/v1/audit/studies/%s/events?limit=200", s.study), set, &trail)
		i := slices.IndexFunc(trail.Items, func(e auditviews.AuditEvent) bool { return e.Type == "DoNotShipDaysOfTypeSet" })
		if i < 0 || trail.Items[i].Reason != "" || trail.Items[i].About != "" {
			t.Errorf("the audit trail shows it as %d of %+v", i, trail.Items)
		}
		limit.Days = 0
		s.must(s.supplier, limit)
		s.send(s.supplier, "D", "01", s.crc, "L-90")
		s.stands("L-90", supply.KitAvailable)
	})

	t.Run("resupply ended per kit type", func(t *testing.T) {
		s.t = t
		because := domain.Because("Nobody gets the high dose any more")
		s.must(s.manager, study.AddSite{AtSite: domain.ForSite(ofStudy.Study, "02"), Name: "Second hospital",
			Country: "DE", Zone: "Europe/Berlin"})
		s.must(s.manager, study.ActivateSite{AtSite: domain.ForSite(ofStudy.Study, "02"), On: "2026-01-01"})
		end := supply.EndResupplyOfKitTypes{InStudy: ofStudy, Types: supply.KitTypes{"high", "lead-in", "rescue"}, Country: "DE",
			Reasoned: because}
		s.refused(s.supplier, "no_resupply_rule", end)
		ruled := func(target int) {
			s.must(s.supplier, supply.SetResupplyRule{InStudy: ofStudy, Rule: supply.ResupplyRule{Site: "02", Depot: "D", Trigger: 1,
				Target: target, OverdueDays: 7}})
		}
		sent := func(n int) (kits []supply.KitNumber) {
			t.Helper()
			s.eventually(fmt.Sprintf("%d kits are packed", n), func() bool {
				var list readmodels.List[supplyviews.Shipment]
				s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/shipments?to=02", s.study), lastRecorded(t, s.log), &list)
				kits = nil
				for _, shipment := range list.Items {
					kits = append(kits, shipment.Kits...)
				}
				return len(kits) == n
			})
			slices.Sort(kits)
			return kits
		}
		ruled(3) // the depot has nothing
		for _, token := range []string{s.manager, s.crc} {
			s.refused(token, "not_allowed", end)
		}
		s.must(s.supplier, end)
		s.refused(s.supplier, "resupply_of_types_ended", end)
		deliver("high", "2031-12-31", "H-80", "H-81")
		deliver("low", "2031-12-31", "L-80", "L-81", "L-82")
		ruled(4)
		if kits := sent(3); kits[0] != "L-80" || kits[2] != "L-82" {
			t.Errorf("the site is sent %v", kits)
		}
		s.must(s.supplier, supply.ResumeResupplyOfKitTypes{InStudy: ofStudy, Types: supply.KitTypes{"high"},
			Reasoned: domain.Because("The high dose is given again")})
		ruled(5)
		if kits := sent(5); kits[0] != "H-80" || kits[1] != "H-81" {
			t.Errorf("the site is sent %v", kits)
		}
	})
}
