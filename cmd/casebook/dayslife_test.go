package main

import (
	"fmt"
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"
	enrollmentviews "casebook/readmodels/enrollment"
	patientviews "casebook/readmodels/patient"
	supplyviews "casebook/readmodels/supply"
)

// TestEveryWrongDayOfAPatientIsCorrected records a patient's way through a study on wrong days, over HTTP, and corrects each of them. The
// views then show the right days, the doses are judged by them, and an auditor sees who has corrected what, when and why.
func TestEveryWrongDayOfAPatientIsCorrected(t *testing.T) {
	s := openDispensing(t)
	auditor := s.account("auditor", user.Grant{Role: user.Auditor, Study: s.study})
	of := s.screened(nil)
	s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1.0", On: "2026-02-02"})
	s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "run-in", On: "2026-02-02", WeightKg: 60})
	leadIn := s.dispense(s.crc, of, "01", "2026-02-02")
	s.enrol(of)
	kit := s.dispense(s.crc, of, "01", "2026-02-05")
	s.must(s.crc, supply.ReturnKit{Site: "01", OfPatient: of, Kit: kit, On: "2026-03-03", Units: 5})
	s.must(s.crc, supply.ReconcileKit{Site: "01", OfPatient: of, Kit: kit, Returned: 5, Used: 25}) // 25 of 26 doses: as planned
	s.must(s.crc, patient.CompletePatient{OfPatient: of, On: "2026-05-01"})

	why := domain.Because("The source has another day")
	dispensing := func(n supply.KitNumber, from, to domain.Date) supply.CorrectDispensingDate {
		return supply.CorrectDispensingDate{Site: "01", OfPatient: of, Kit: n, From: from, To: to, Reasoned: why}
	}
	enrolment := func(to domain.Date) patient.CorrectEnrollmentDate {
		return patient.CorrectEnrollmentDate{OfPatient: of, From: "2026-02-03", To: to, Reasoned: why}
	}
	for code, command := range map[string]any{
		"dispensed_before_enrollment": dispensing(kit, "2026-02-05", "2026-02-02"),
		"dispensed_before_receipt":    dispensing(leadIn, "2026-02-02", "2026-01-05"),
		"captured_in_future":          dispensing(kit, "2026-02-05", "2099-01-01"),
		"other_value_recorded":        dispensing(kit, "2026-02-06", "2026-02-08"),
		"before_dispensing":           dispensing(kit, "2026-02-05", "2026-03-04"),
		"enrolled_before_screening":   patient.CorrectScreeningDate{OfPatient: of, From: "2026-02-01", To: "2026-02-04", Reasoned: why},
		"reason_required":             patient.CorrectScreeningDate{OfPatient: of, From: "2026-02-01", To: "2026-01-31"},
		"end_not_recorded": patient.CorrectEndDate{OfPatient: of, Step: patient.StepWithdrawal, From: "2026-05-01",
			To: "2026-04-30", Reasoned: why},
	} {
		s.refused(s.crc, code, command)
	}
	s.refused(s.crc, "dispensed_before_enrollment", enrolment("2026-02-06"))
	s.refused(s.manager, "not_allowed", enrolment("2026-02-04"))

	var position uint64
	for _, command := range []any{
		patient.CorrectScreeningDate{OfPatient: of, From: "2026-02-01", To: "2026-01-31", Reasoned: why},
		patient.CorrectConsentDate{OfPatient: of, ConsentVersion: "1.0", From: "2026-02-02", To: "2026-02-01", Reasoned: why},
		patient.CorrectVisitDate{OfPatient: of, Visit: "run-in", From: "2026-02-02", To: "2026-02-01", Reasoned: why},
		dispensing(leadIn, "2026-02-02", "2026-02-01"),
		dispensing(kit, "2026-02-05", "2026-02-08"),
		enrolment("2026-02-04"),
		supply.CorrectReturnDate{Site: "01", OfPatient: of, Kit: kit, From: "2026-03-03", To: "2026-03-02", Reasoned: why},
		patient.CorrectEndDate{OfPatient: of, Step: patient.StepCompletion, From: "2026-05-01", To: "2026-04-30", Reasoned: why},
	} {
		position = s.must(s.crc, command).Position
	}

	// The views show the right days.
	var list readmodels.List[patientviews.PatientRow]
	s.query(s.manager, "/api/v1/studies/DOSE/patients", position, &list)
	if len(list.Items) != 1 {
		t.Fatalf("the list is %+v", list.Items)
	}
	if r := list.Items[0]; r.ScreenedOn != "2026-01-31" || r.ConsentedOn != "2026-02-01" || r.EnrolledOn != "2026-02-04" ||
		r.EndedOn != "2026-04-30" || r.TreatmentEndedOn != "2026-04-30" || r.Status != patient.StatusCompleted {
		t.Errorf("the list has %+v", r)
	}
	v := s.patient(s.manager, of, position)
	if v.EnrolledOn != "2026-02-04" || v.EndedOn != "2026-04-30" || v.TreatmentEndedOn != "2026-04-30" {
		t.Errorf("the patient is %+v", v)
	}
	if !slices.ContainsFunc(v.Steps, func(step patientviews.Step) bool {
		return step.What == "ScreeningDateCorrected" && step.By == "crc.one" &&
			step.Note == "2026-02-01 -> 2026-01-31: The source has another day"
	}) {
		t.Errorf("the history is %+v", v.Steps)
	}
	s.countsDays(position)
	var sheet readmodels.List[supplyviews.AccountedKit]
	s.query(s.crc, fmt.Sprintf("/api/v1/studies/DOSE/reconciliation?site=01&patient=%s", of.Patient), position, &sheet)
	days := map[supply.KitNumber][]domain.Date{}
	for _, k := range sheet.Items {
		days[k.Kit] = []domain.Date{k.DispensedOn, k.BackOn}
	}
	if !slices.Equal(days[kit], []domain.Date{"2026-02-08", "2026-03-02"}) || !slices.Equal(days[leadIn], []domain.Date{"2026-02-01", ""}) {
		t.Errorf("the sheet has %v", days)
	}
	custody := s.kit(s.crc, kit, position).Custody
	if last := custody[len(custody)-1]; last.What != "ReturnDateCorrected" || last.On != "2026-03-02" ||
		last.Note != "2026-03-03 -> 2026-03-02: The source has another day" {
		t.Errorf("the chain of custody ends with %+v", last)
	}

	// 25 doses in 22 days are more than the protocol allows.
	var d supplyviews.DosingCompliance
	s.query(s.crc, "/api/v1/patients/"+string(of.Patient)+"/dosing", position, &d)
	if in := d.Intervals[len(d.Intervals)-1]; in.From != "2026-02-08" || in.Until != "2026-03-02" || in.Planned != 22 || in.Taken != 25 {
		t.Errorf("the dosing is %+v", in)
	}
	s.eventually("the doses are proposed as a deviation", func() bool {
		return slices.ContainsFunc(s.patient(s.manager, of, position).Candidates, func(c patientviews.Candidate) bool {
			return c.ID == "dosing/enrollment" && c.What == patient.DeviationTreatment && c.On == "2026-03-02"
		})
	})
	s.trailHas(auditor, of, position, map[string][2]string{
		"ScreeningDateCorrected screenedOn":                     {"2026-02-01", "2026-01-31"},
		"ConsentDateCorrected consents.1.0":                     {"2026-02-02", "2026-02-01"},
		"VisitDateCorrected visits.run-in":                      {"2026-02-02", "2026-02-01"},
		"DispensingDateCorrected dispensedOn." + string(leadIn): {"2026-02-02", "2026-02-01"},
		"DispensingDateCorrected dispensedOn." + string(kit):    {"2026-02-05", "2026-02-08"},
		"EnrollmentDateCorrected enrolledOn":                    {"2026-02-03", "2026-02-04"},
		"ReturnDateCorrected returnedOn." + string(kit):         {"2026-03-03", "2026-03-02"},
		"EndDateCorrected steps.completion":                     {"2026-05-01", "2026-04-30"},
	})
}

// countsDays checks that the figures of the site count the patient on the right days alone.
func (s *site) countsDays(position uint64) {
	s.t.Helper()
	var sites readmodels.List[enrollmentviews.EnrollmentSeries]
	s.query(s.manager, "/api/v1/studies/DOSE/enrollment?step=day", position, &sites)
	got := map[domain.Date]enrollmentviews.Enrolling{}
	for _, p := range sites.Items[0].Points {
		if p.New != (enrollmentviews.Enrolling{}) {
			got[p.From] = p.New
		}
	}
	if len(got) != 4 || got["2026-01-31"].Screened != 1 || got["2026-02-01"].Consented != 1 || got["2026-02-04"].Enrolled != 1 ||
		got["2026-04-30"].Completed != 1 {
		s.t.Errorf("the figures are %+v", got)
	}
}

// trailHas checks that the auditor sees just these values replaced, by whom, when and why.
func (s *site) trailHas(auditor string, of domain.OfPatient, position uint64, want map[string][2]string) {
	s.t.Helper()
	var trail readmodels.List[auditviews.AuditEvent]
	s.query(auditor, fmt.Sprintf("/api/v1/audit/studies/DOSE/events?limit=200&patient=%s", of.Patient), position, &trail)
	got := map[string][2]string{}
	for _, e := range trail.Items {
		for _, c := range e.Changes {
			got[e.Type+" "+c.Field] = [2]string{fmt.Sprint(c.Old), fmt.Sprint(c.New)}
			if e.Actor != "crc.one" || e.RecordedAt.IsZero() || e.Reason != "The source has another day" {
				s.t.Errorf("the trail says %+v", e)
			}
		}
	}
	for what, values := range want {
		if got[what] != values {
			s.t.Errorf("%s: the trail has %v, not %v", what, got[what], values)
		}
	}
	if len(got) != len(want) {
		s.t.Errorf("the trail has %v", got)
	}
}
