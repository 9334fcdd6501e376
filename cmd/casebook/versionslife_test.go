package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
	safetyviews "casebook/readmodels/safety"
	studyviews "casebook/readmodels/study"
)

// amend publishes an amendment that needs the approval of each site, moves a visit, has a rule for minors, and asks everybody to sign
// again. Site 01 has approved it.
func (s *site) amend() {
	s.t.Helper()
	inStudy := domain.ForStudy(s.study)
	s.must(s.manager, study.PublishProtocolVersion{InStudy: inStudy, Protocol: study.Protocol{Version: 2, ConsentVersion: "2.0",
		PublishedOn: "2026-03-01", SiteApproval: true, Minors: &study.Minors{AgeOfMajority: 18, AssentFrom: 12},
		Reconsent: &study.Reconsent{Who: study.ReconsentEverybody, WithinDays: 14,
			Blocks: []study.Blocked{study.BlocksVisits, study.BlocksDispensing}},
		Arms: []study.Arm{{ID: "drug", Title: "Drug"}}, Instruments: []instrument.Definition{*instrument.PainDiary(), doses()},
		Visits:   []study.Visit{{ID: "screening", Day: -7}, {ID: "week-6", Day: 42}, {ID: "week-8", Day: 56}},
		Criteria: []study.Criterion{{ID: "adult"}, {ID: "no-opioids"}},
		Treatment: &study.Treatment{Kits: true, DispensingVisits: []string{"week-6", "week-8"},
			Factors: []study.Factor{{ID: "age", Levels: []string{"under-50", "50-or-more"}, DerivedFrom: study.FromAge, Bounds: []int{50}}}}}})
	s.must(s.manager, study.ApproveProtocolAtSite{AtSite: domain.ForSite(inStudy.Study, "01"), Version: 2, ApprovedOn: "2026-03-05",
		By: "Ethics committee of Berlin", Reference: "EA1/042"})
}

func apply(of domain.OfPatient, on domain.Date) patient.ApplyProtocolVersion {
	return patient.ApplyProtocolVersion{OfPatient: of, Version: 2, On: on}
}

// reconsents returns the worklist, narrowed by a query.
func (s *site) reconsents(token, narrowed string, position uint64) map[domain.PatientID]patientviews.ReconsentRow {
	s.t.Helper()
	var list readmodels.List[patientviews.ReconsentRow]
	s.query(token, fmt.Sprintf("/api/v1/studies/%s/reconsents?limit=100&%s", s.study, narrowed), position, &list)
	all := map[domain.PatientID]patientviews.ReconsentRow{}
	for _, r := range list.Items {
		all[r.Patient] = r
	}
	return all
}

// overdueAlert waits until the alert that a patient's consent is overdue has a status.
func (s *site) overdueAlert(of domain.OfPatient, status safetyviews.AlertStatus) (found safetyviews.Alert) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("the alert about %s is %s", of.Patient, status), func() bool {
		var list readmodels.List[safetyviews.Alert]
		s.query(s.crc, fmt.Sprintf("/api/v1/studies/%s/alerts?site=01&kind=%s&status=%s&limit=100", s.study, safety.ReconsentOverdue,
			status), 0, &list)
		for _, a := range list.Items {
			if a.Patient == of.Patient {
				found = a
			}
		}
		return found.Alert != ""
	})
	return found
}

// overdueAt waits until the alert that a patient's consent is overdue is open at a site, as its staff sees it.
func (s *site) overdueAt(token, at string, of domain.OfPatient) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("site %s is told about %s", at, of.Patient), func() bool {
		var list readmodels.List[safetyviews.Alert]
		s.query(token, fmt.Sprintf("/api/v1/studies/%s/alerts?site=%s&kind=%s&status=open&limit=100", s.study, at,
			safety.ReconsentOverdue), 0, &list)
		return slices.ContainsFunc(list.Items, func(a safetyviews.Alert) bool { return a.Patient == of.Patient })
	})
}

// withheld waits until a kit was withheld from a patient because of the consent.
func (s *site) withheld(of domain.OfPatient) {
	s.t.Helper()
	s.eventually("a kit is withheld from "+string(of.Patient), func() bool {
		for r, err := range s.log.ReadStream(s.t.Context(), supply.StockDecider.Stream(supply.StockID(s.study, "01")), 0) {
			if err != nil {
				s.t.Fatal(err)
			}
			if e, ok := r.Event.(supply.AllocationFailed); ok && e.Patient == of.Patient && e.Withheld == supply.ReconsentIsDue {
				return true
			}
		}
		return false
	})
}

// TestAmendmentsReachSitesAndPatients plays what an amendment does to sites and patients, over HTTP, on a running server. Each scenario
// has the name that the people of a trial give it.
func TestAmendmentsReachSitesAndPatients(t *testing.T) {
	s := openSites(t)
	early, supplied, unwilling, untouched, moving := s.enrolled(), s.enrolled(), s.enrolled(), s.enrolled(), s.enrolled()
	behind, leaving, away := s.enrolled(), s.enrolled(), s.enrolled()
	s.dispense(s.crc, supplied, "01", "2026-02-04")
	elsewhere := domain.ForPatient(domain.NewPatientID(s.study, "E-1"))
	s.must(s.otherCRC, patient.ScreenPatient{AtSite: domain.ForSite(s.study, "02"), ScreeningNumber: "E-1", On: "2026-02-01", AgeYears: 54})
	s.amend()

	t.Run("amendment that nobody has applied", func(t *testing.T) {
		s.t = t
		s.toApply(behind, leaving, away)
	})

	t.Run("re-consent", func(t *testing.T) {
		s.t = t
		// Until the amendment is applied, the patient follows the version before.
		s.refused(s.crc, "unknown_visit", patient.RecordVisit{OfPatient: early, Visit: "week-6", On: "2026-03-17"})
		s.refused(s.crc, "applied_before_approval", apply(early, "2026-03-04"))
		applied := s.must(s.crc, apply(early, "2026-03-10")).Position
		v := s.patient(s.crc, early, applied)
		if v.ProtocolVersion != 2 || v.Reconsent == nil || v.Reconsent.State != patientviews.ReconsentDue || v.Reconsent.By != "2026-03-24" ||
			v.Steps[len(v.Steps)-1].What != "ProtocolVersionApplied" {
			t.Errorf("the patient is %+v", v)
		}
		row, listed := s.reconsents(s.crc, "site=01&dueBefore=2026-04-01", applied)[early.Patient]
		if !listed || row.ConsentVersion != "2.0" || row.Protocol != 2 {
			t.Errorf("the worklist has %+v", row)
		}
		if _, listed := s.reconsents(s.crc, "site=01&dueBefore=2026-03-24", applied)[early.Patient]; listed {
			t.Error("the consent counts as overdue on its last day")
		}
		for token, path := range map[string]string{s.otherCRC: "site=01", s.supplier: ""} {
			request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/api/v1/studies/%s/reconsents?%s", s.url, s.study, path), nil)
			if err != nil {
				t.Fatal(err)
			}
			if status, text := s.do(request, token); status != http.StatusForbidden {
				t.Errorf("somebody else is answered %d %s", status, text)
			}
		}
		s.overdueAlert(early, safetyviews.AlertOpen)
		before := time.Now().Add(-time.Millisecond) // times are recorded in whole milliseconds
		signed := s.must(s.crc, patient.RecordConsent{OfPatient: early, ConsentVersion: "2.0", On: "2026-03-20", Language: "de"}).Position
		if v := s.patient(s.crc, early, signed); v.Reconsent.State != patientviews.ReconsentSigned || v.Reconsent.SignedOn != "2026-03-20" {
			t.Errorf("the patient is %+v", v.Reconsent)
		}
		if _, listed := s.reconsents(s.crc, "site=01", signed)[early.Patient]; listed {
			t.Error("a signed consent is still due")
		}
		if _, listed := s.reconsents(s.crc, "site=01&state=signed", signed)[early.Patient]; !listed {
			t.Error("the signed consent is not found")
		}
		asOf := "site=01&asOf=" + url.QueryEscape(before.UTC().Format(time.RFC3339Nano))
		if row := s.reconsents(s.crc, asOf, signed)[early.Patient]; row.State != patientviews.ReconsentDue {
			t.Errorf("before the signature the worklist had %+v", row)
		}
		if closed := s.overdueAlert(early, safetyviews.AlertClosed); !strings.Contains(closed.Outcome, "signed consent version 2.0") {
			t.Errorf("the alert is %+v", closed)
		}
	})

	t.Run("blocked visit", func(t *testing.T) {
		s.t = t
		of := untouched
		s.must(s.crc, apply(of, "2026-03-10"))
		s.refused(s.crc, "reconsent_required", patient.RecordVisit{OfPatient: of, Visit: "week-6", On: "2026-03-17"})
		s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "2.0", On: "2026-03-20"})
		// A visit that took place all the same may be a deviation.
		position := s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-6", On: "2026-03-17"}).Position
		if v := s.patient(s.crc, of, position); len(v.Candidates) != 1 || v.Candidates[0].What != patient.DeviationConsent {
			t.Errorf("the candidates are %+v", v.Candidates)
		}
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-8", On: "2026-03-31"})
	})

	t.Run("blocked dispensing", func(t *testing.T) {
		s.t = t
		s.must(s.crc, patient.RecordVisit{OfPatient: supplied, Visit: "week-4", On: "2026-03-03"}) // by the version before
		kit := s.kitOf(s.crc, supplied, "01")
		s.must(s.crc, apply(supplied, "2026-03-10"))
		s.refused(s.crc, "reconsent_required", supply.DispenseKit{Site: "01", OfPatient: supplied, Kit: kit, On: "2026-03-10"})
		s.refused(s.crc, "reconsent_required", supply.DispenseUnscheduled{Site: "01", OfPatient: supplied, Reasoned: domain.Because("Travels")})
		// A kit that is due meanwhile waits for the signature.
		s.must(s.crc, supply.ReportKitLost{AtLocation: s.at("01"), Kit: kit, Reasoned: domain.Because("Not found")})
		s.withheld(supplied)
		s.must(s.crc, patient.RecordConsent{OfPatient: supplied, ConsentVersion: "2.0", On: "2026-03-11"})
		if other := s.dispense(s.crc, supplied, "01", "2026-03-11"); other == kit {
			t.Errorf("the lost kit %s was given out", kit)
		}
	})

	t.Run("refuses to sign again", func(t *testing.T) {
		s.t = t
		s.refused(s.crc, "no_reconsent_due", patient.RecordReconsentRefusal{OfPatient: unwilling, On: "2026-03-10"})
		s.must(s.crc, apply(unwilling, "2026-03-10"))
		s.overdueAlert(unwilling, safetyviews.AlertOpen)
		position := s.must(s.crc, patient.RecordReconsentRefusal{OfPatient: unwilling, On: "2026-03-12", Reason: "The new scan"}).Position
		if row := s.reconsents(s.manager, "state=refused", position)[unwilling.Patient]; row.RefusedOn != "2026-03-12" {
			t.Errorf("the worklist has %+v", row)
		}
		s.overdueAlert(unwilling, safetyviews.AlertClosed)
		s.refused(s.crc, "reconsent_required", patient.RecordVisit{OfPatient: unwilling, Visit: "week-6", On: "2026-03-17"})
		ended := s.must(s.crc, patient.EndParticipation{OfPatient: unwilling, On: "2026-03-17", Reason: patient.EndedBySubject}).Position
		if row := s.reconsents(s.manager, "state=left", ended)[unwilling.Patient]; row.State != patientviews.ReconsentLeft {
			t.Errorf("the worklist has %+v", row)
		}
	})

	t.Run("consent typed late", func(t *testing.T) {
		s.t = t
		of := s.screened(nil)
		s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1.0", On: "2026-02-20"})
		enrol := patient.EnrollPatient{OfPatient: of, On: "2026-03-06", Criteria: map[string]bool{"adult": true, "no-opioids": true}}
		s.refused(s.crc, "consent_version_not_in_force", enrol)
		s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "2.0", On: "2026-03-06"})
		enrol.Criteria = map[string]bool{"adult": true}
		s.refused(s.crc, "criterion_unanswered", enrol) // who is enrolled now is enrolled by the amendment
		enrol.Criteria["no-opioids"] = true
		requested := s.must(s.crc, enrol).Position
		s.eventually("the patient is enrolled", func() bool { return s.patient(s.crc, of, requested).Status == patient.StatusEnrolled })
		if v := s.patient(s.crc, of, requested); v.ProtocolVersion != 2 || v.Reconsent != nil {
			t.Errorf("the patient is %+v", v)
		}
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-6", On: "2026-04-17"})

		// The older form is typed after the newer one.
		of = s.screened(nil)
		s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "2.0", On: "2026-03-06"})
		late := s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1.0", On: "2026-02-20"}).Position
		var list readmodels.List[patientviews.PatientRow]
		s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/patients?limit=100", s.study), late, &list)
		if !slices.ContainsFunc(list.Items, func(r patientviews.PatientRow) bool {
			return r.Patient == of.Patient && r.ConsentVersion == "2.0" && r.ConsentedOn == "2026-03-06"
		}) {
			t.Errorf("the list has %+v", list.Items)
		}
	})

	t.Run("consent dates", func(t *testing.T) {
		s.t = t
		of := s.screened(nil)
		consent := func(version string, on domain.Date) patient.RecordConsent {
			return patient.RecordConsent{OfPatient: of, ConsentVersion: version, On: on}
		}
		s.refused(s.crc, "consent_before_publication", consent("2.0", "2026-02-28"))
		s.refused(s.crc, "consent_before_approval", consent("2.0", "2026-03-04"))
		s.refused(s.crc, "captured_in_future", consent("2.0", domain.DateOf(time.Now().AddDate(0, 0, 3))))
		s.refused(s.crc, "consent_version_not_in_force", consent("1.0", "2026-03-06"))
		s.refused(s.crc, "consent_version_not_in_force", consent("3.0", "2026-03-06"))
		s.must(s.crc, consent("1.0", "2026-03-05")) // in the morning of the day of the approval
	})

	t.Run("site without approval", func(t *testing.T) {
		s.t = t
		consent := patient.RecordConsent{OfPatient: elsewhere, ConsentVersion: "2.0", On: "2026-03-10"}
		s.refused(s.otherCRC, "consent_before_approval", consent)
		consent.ConsentVersion = "1.0"
		s.must(s.otherCRC, consent)
		requested := s.must(s.otherCRC, patient.EnrollPatient{OfPatient: elsewhere, On: "2026-03-10",
			Criteria: map[string]bool{"adult": true}}).Position
		s.eventually("the patient is enrolled", func() bool {
			return s.patient(s.otherCRC, elsewhere,
				requested).Status == patient.StatusEnrolled
		})
		s.refused(s.otherCRC, "protocol_not_approved", apply(elsewhere, "2026-03-11"))
		s.refused(s.manager, "protocol_not_approved",
			patient.TransferPatient{OfPatient: early, To: "02", On: "2026-04-01", Reasoned: domain.Because("Moved")})
		approve := study.ApproveProtocolAtSite{AtSite: domain.ForSite(s.study, "02"), Version: 2, ApprovedOn: "2026-02-28",
			By: "Ethics committee of Hamburg"}
		s.refused(s.otherCRC, "not_allowed", approve)
		s.refused(s.manager, "approved_before_publication", approve)
		approve.ApprovedOn = "2026-03-12"
		approved := s.must(s.manager, approve).Position
		s.refused(s.manager, "protocol_approved", approve)
		var overview studyviews.StudyOverview
		s.query(s.manager, "/api/v1/studies/"+string(s.study), approved, &overview)
		if got := overview.SiteOf("02").Approvals; len(got) != 1 || got[0].ApprovedOn != "2026-03-12" || got[0].By != approve.By {
			t.Errorf("the approvals are %+v", got)
		}
		s.refused(s.otherCRC, "applied_before_approval", apply(elsewhere, "2026-03-11"))
		s.must(s.otherCRC, apply(elsewhere, "2026-03-12"))
		s.must(s.manager, patient.TransferPatient{OfPatient: early, To: "02", On: "2026-04-01", Reasoned: domain.Because("Moved")})
	})

	t.Run("overdue re-consent of a patient who is transferred", func(t *testing.T) {
		s.t = t
		s.must(s.crc, apply(moving, "2026-03-10"))
		s.overdueAlert(moving, safetyviews.AlertOpen)
		s.must(s.manager, patient.TransferPatient{OfPatient: moving, To: "02", On: "2026-03-26", Reasoned: domain.Because("Moved")})
		s.overdueAt(s.otherCRC, "02", moving)
		s.overdueAlert(moving, safetyviews.AlertClosed)
	})

	t.Run("minor with representative and assent", func(t *testing.T) {
		s.t = t
		of := s.screened(func(c *patient.ScreenPatient) { c.AgeYears = 15 })
		consent := patient.RecordConsent{OfPatient: of, ConsentVersion: "2.0", On: "2026-03-10"}
		s.refused(s.crc, "representative_missing", consent)
		consent.Signers = []patient.Signer{patient.SignedByPatient, patient.SignedByRepresentative, patient.SignedByWitness}
		s.refused(s.crc, "assent_missing", consent)
		consent.Assent, consent.Language = true, "tr"
		s.must(s.crc, consent)
	})

	t.Run("arm dropped", func(t *testing.T) {
		s.t = t
		s.armDropped()
	})
}

// toApply plays what becomes of patients who follow the version before, while the site has approved the amendment.
func (s *site) toApply(behind, leaving, away domain.OfPatient) {
	s.t.Helper()
	version := domain.AtSite{Study: s.study, Site: "01"}
	asOf := func(moment time.Time) string {
		return "state=to_apply&asOf=" + url.QueryEscape(moment.UTC().Format(time.RFC3339Nano))
	}
	named := func(when, narrowed string, position uint64, want bool, all ...domain.OfPatient) {
		s.t.Helper()
		rows := s.reconsents(s.manager, narrowed, position)
		for _, of := range all {
			if row, listed := rows[of.Patient]; listed != want {
				s.t.Errorf("%s, it is %t that %q lists %s: %+v", when, listed, narrowed, of.Patient, row)
			}
		}
	}
	position := s.must(s.crc, patient.RecordVisit{OfPatient: behind, Visit: "week-4", On: "2026-03-03"}).Position
	row := s.reconsents(s.crc, "site=01&state=to_apply", position)[behind.Patient]
	if row.State != patientviews.ReconsentToApply || row.Protocol != 2 || row.ConsentVersion != "2.0" || row.Since != "2026-03-05" ||
		row.By != "2026-03-19" {
		s.t.Errorf("the worklist has %+v", row)
	}
	named("at first", "site=01", position, false, behind) // nothing is to be signed
	named("at first", "state=to_apply&dueBefore=2026-03-19", position, false, behind)
	named("at first", "state=to_apply&dueBefore=2026-03-20", position, true, behind, leaving, away)
	named("at first", "state=to_apply&site=02", position, false, behind, leaving, away)

	moment := time.Now()
	time.Sleep(2 * time.Millisecond) // times are recorded in whole milliseconds
	s.must(s.crc, apply(behind, "2026-03-10"))
	s.must(s.crc, patient.EndParticipation{OfPatient: leaving, On: "2026-03-10", Reason: patient.EndedBySubject})
	position = s.must(s.manager, patient.TransferPatient{OfPatient: away, To: "02", On: "2026-03-10",
		Reasoned: domain.Because("Moved")}).Position
	named("applied, ended and transferred", "state=to_apply", position, false, behind, leaving, away)
	named("applied", "state=due", position, true, behind)
	named("before", asOf(moment), position, true, behind, leaving, away)

	position = s.must(s.manager, patient.UndoPatientStep{OfPatient: leaving, Step: patient.StepParticipationEnd,
		Reasoned: domain.Because("The wrong patient")}).Position
	named("the end is undone", "state=to_apply", position, true, leaving)
	moment = time.Now()
	time.Sleep(2 * time.Millisecond)
	position = s.must(s.manager, study.WithdrawSiteApproval{AtSite: version, Version: 2, Reasoned: domain.Because("The wrong site")}).Position
	named("the approval is withdrawn", "state=to_apply", position, false, leaving)
	named("before the withdrawal", asOf(moment), position, true, leaving)
	position = s.must(s.manager, study.ApproveProtocolAtSite{AtSite: version, Version: 2, ApprovedOn: "2026-03-05",
		By: "Ethics committee of Berlin"}).Position
	named("the approval is recorded again", "state=to_apply", position, true, leaving)
}

// armDropped plays an amendment that drops the arm of a patient who was drawn: the arm stays the patient's.
func (s *site) armDropped() {
	s.t.Helper()
	const id = domain.StudyID("ARMS")
	inStudy := domain.ForStudy(id)
	manager := s.account("arms.manager", user.Grant{Role: user.DataManager, Study: id})
	crc := s.account("arms.crc", user.Grant{Role: user.CRC, Study: id, Site: "01"})
	supplier := s.account("arms.supplier", user.Grant{Role: user.UnblindedSupplyManager, Study: id})
	s.account("arms.statistician", user.Grant{Role: user.Statistician, Study: id})
	s.account("arms.doctor", user.Grant{Role: user.Investigator, Study: id, Site: "01"})
	fresh := func(who domain.UserID) string {
		token, err := s.tokens.SignFor(access.Proof{User: who, AuthenticatedAt: time.Now()}, time.Now(), time.Hour)
		if err != nil {
			s.t.Fatal(err)
		}
		return token
	}
	protocol := study.Protocol{Version: 1, ConsentVersion: "1", Arms: []study.Arm{{ID: "X", Title: "Drug X"}, {ID: "Y", Title: "Drug Y"}},
		Visits: []study.Visit{{ID: "week-4", Day: 28}},
		Treatment: &study.Treatment{Randomised: true, Kits: true, DispensingVisits: []string{"week-4"},
			Factors: []study.Factor{{ID: "age", Levels: []string{"young", "old"}}}}}
	for _, command := range []any{
		study.CreateStudy{InStudy: inStudy, Title: "Two arms", Sponsor: "Nobody"},
		study.PublishProtocolVersion{InStudy: inStudy, Protocol: protocol},
		study.AddSite{AtSite: domain.ForSite(inStudy.Study, "01"), Name: "Site", Country: "DE", Zone: "UTC"},
		study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, "01"), On: "2026-01-01"},
		enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 5, Study: 5}},
	} {
		s.must(manager, command)
	}
	minimise(s.installation, id, fresh("arms.statistician"))
	const count = 24
	supplySite(s.installation, id, supplier, crc, count)
	contents := map[supply.KitNumber]string{} // as supplySite numbers them
	for i, k := range rand.New(rand.NewPCG(1, 1)).Perm(count) {
		contents[supply.KitNumber(fmt.Sprintf("%04d", i))] = []string{"X", "Y"}[k%2]
	}
	of := domain.ForPatient(domain.NewPatientID(id, "1"))
	s.must(crc, patient.ScreenPatient{AtSite: domain.ForSite(id, "01"), ScreeningNumber: "1", On: "2026-02-01"})
	s.must(crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1", On: "2026-02-01"})
	requested := s.must(crc, patient.EnrollPatient{OfPatient: of, On: "2026-02-02", Factors: map[string]string{"age": "old"}}).Position
	s.eventually("the patient is enrolled", func() bool { return s.patient(crc, of, requested).Status == patient.StatusEnrolled })

	unblinded := func() (arm, title string) {
		status, _, text := s.command(fresh("arms.doctor"), "", randomisation.BreakBlind{Patient: of.Patient,
			Reasoned: domain.Because("Overdose")})
		var answer struct{ Revealed struct{ Arm, Title string } }
		if err := json.Unmarshal([]byte(text), &answer); err != nil || status != http.StatusOK {
			s.t.Fatalf("the unblinding is answered %d %s", status, text)
		}
		return answer.Revealed.Arm, answer.Revealed.Title
	}
	arm, title := unblinded()
	if title != "Drug "+arm {
		s.t.Fatalf("the arm is %q, %q", arm, title)
	}
	amendment := protocol
	amendment.Version, amendment.Arms = 2, []study.Arm{{ID: "Z", Title: "Drug Z"}}
	for _, other := range protocol.Arms {
		if other.ID != arm {
			amendment.Arms = append(amendment.Arms, study.Arm{ID: other.ID, Title: "Renamed"})
		}
	}
	s.must(manager, study.PublishProtocolVersion{InStudy: inStudy, Protocol: amendment})
	s.must(crc, patient.ApplyProtocolVersion{OfPatient: of, Version: 2, On: domain.DateOf(time.Now().UTC())})
	if again, title := unblinded(); again != arm || title != "Drug "+arm {
		s.t.Errorf("after the amendment the arm is %q, %q, and was %q", again, title, arm)
	}
	// The patient stays supplied with the drug of the arm, of which new kits may come.
	s.must(crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-02"})
	var allocated []supply.KitNumber
	s.eventually("the patient has the kit of the visit", func() bool {
		allocated = nil
		for r, err := range s.log.ReadStream(s.t.Context(), supply.StockDecider.Stream(supply.StockID(id, "01")), 0) {
			if err != nil {
				s.t.Fatal(err)
			}
			if e, ok := r.Event.(supply.KitAllocated); ok && e.Patient == of.Patient {
				allocated = append(allocated, e.Kit)
			}
		}
		return len(allocated) == 2
	})
	for _, n := range allocated {
		if got := contents[n]; got != arm {
			s.t.Errorf("kit %s is of arm %q, want %q", n, got, arm)
		}
	}
	s.must(supplier, supply.RegisterKits{InStudy: inStudy, Depot: "D", CSV: "kit,arm,lot,expiry\n9001," + arm + ",L2,2099-01-01\n"})
}
