package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
	randomisationviews "casebook/readmodels/randomisation"
	safetyviews "casebook/readmodels/safety"
	studyviews "casebook/readmodels/study"
	supplyviews "casebook/readmodels/supply"
)

// drawn is a study of its own on a running server, in which patients are drawn. site.manager builds it, and site.crc works at
// site 01 in Germany; site 02 is in France.
type drawn struct {
	*site
	protocol study.Protocol
	// sponsor is a study manager, who knows no arm.
	sponsor string
	shipped int
	// holds are the arms of the kits.
	holds map[supply.KitNumber]string
}

var bySex = study.Factor{ID: "sex", Levels: []string{"F", "M"}, DerivedFrom: study.FromSex}

// trial begins a study with these arms and this treatment on a running server.
func (in installation) trial(t *testing.T, id domain.StudyID, treatment *study.Treatment, arms ...string) *drawn {
	t.Helper()
	in.t = t
	name := func(role string) domain.UserID { return domain.UserID(role + "." + strings.ToLower(string(id))) }
	s := &drawn{site: &site{installation: in, study: id,
		manager:  in.account(name("manager"), user.Grant{Role: user.DataManager, Study: id}),
		crc:      in.account(name("crc"), user.Grant{Role: user.CRC, Study: id, Site: "01"}),
		otherCRC: in.account(name("other"), user.Grant{Role: user.CRC, Study: id, Site: "02"})},
		sponsor: in.account(name("sponsor"), user.Grant{Role: user.StudyManager, Study: id})}
	in.account(name("statistician"), user.Grant{Role: user.Statistician, Study: id})
	inStudy := domain.ForStudy(id)
	in.must(s.manager, study.CreateStudy{InStudy: inStudy, Title: "Daily life of draws", Sponsor: "Nobody"})
	s.protocol = study.Protocol{ConsentVersion: "1.0", Treatment: treatment, Visits: []study.Visit{{ID: "week-4", Day: 28}},
		Criteria: []study.Criterion{{ID: "adult"}}}
	s.amend(arms...)
	for at, country := range map[domain.SiteID]string{"01": "DE", "02": "FR"} {
		in.must(s.manager, study.AddSite{AtSite: domain.ForSite(inStudy.Study, at), Name: "Hospital " + string(at),
			Country: country, Zone: "Europe/Berlin"})
		in.must(s.manager, study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, at), On: "2026-01-01"})
	}
	in.must(s.sponsor, enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 10, Study: 20}})
	return s
}

// amend publishes the next version of the protocol.
func (s *drawn) amend(arms ...string) {
	s.t.Helper()
	s.protocol.Version++
	s.protocol.Arms = nil
	for _, a := range arms {
		s.protocol.Arms = append(s.protocol.Arms, study.Arm{ID: a, Title: "Arm " + a})
	}
	s.must(s.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(s.study), Protocol: s.protocol})
}

// statistician returns the token of a statistician who has just signed in.
func (s *drawn) statistician() string {
	s.t.Helper()
	token, err := s.tokens.SignFor(access.Proof{User: domain.UserID("statistician." + strings.ToLower(string(s.study))),
		AuthenticatedAt: time.Now()}, time.Now(), time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// list uploads a list for a stage, and returns the hash that an activation names.
func (s *drawn) list(stage, scheme string, lines ...string) (hash string) {
	s.t.Helper()
	csv := strings.Join(lines, "\n") + "\n"
	s.must(s.statistician(), randomisation.UploadRandomisationList{InStudy: domain.ForStudy(s.study), Stage: stage, Scheme: scheme, CSV: csv})
	sum := sha256.Sum256([]byte(csv))
	return hex.EncodeToString(sum[:])
}

// active uploads a list and activates it.
func (s *drawn) active(stage, scheme string, lines ...string) {
	s.t.Helper()
	s.must(s.statistician(), randomisation.ActivateRandomisation{InStudy: domain.ForStudy(s.study), Stage: stage, Scheme: scheme,
		SHA256: s.list(stage, scheme, lines...)})
}

// ask requests the enrolment of a patient with a sex, and waits for the answer.
func (s *drawn) ask(sex patient.Sex) (of domain.OfPatient, v patientviews.PatientDocument) {
	s.t.Helper()
	of = s.screened(func(c *patient.ScreenPatient) { c.Sex = sex })
	s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1.0", On: "2026-02-02"})
	return of, s.askAgain(of)
}

// askAgain requests the enrolment of a patient, and waits for the answer.
func (s *drawn) askAgain(of domain.OfPatient) (v patientviews.PatientDocument) {
	s.t.Helper()
	requested := s.must(s.crc, patient.EnrollPatient{OfPatient: of, On: "2026-02-03", Criteria: map[string]bool{"adult": true}}).Position
	s.eventually("the enrolment is answered", func() bool {
		v = s.patient(s.crc, of, requested)
		return v.Status == patient.StatusEnrolled || v.Status == patient.StatusEnrollmentFailed
	})
	return v
}

// enrolledAs is a patient with a sex who is enrolled.
func (s *drawn) enrolledAs(sex patient.Sex) domain.OfPatient {
	s.t.Helper()
	of, v := s.ask(sex)
	if v.Status != patient.StatusEnrolled {
		s.t.Fatalf("the patient is %s: %s", v.Status, lastNote(v))
	}
	return of
}

// notPossible asks for the enrolment of a patient, which has to fail with a text. The patient can be enrolled later.
func (s *drawn) notPossible(sex patient.Sex, why string) domain.OfPatient {
	s.t.Helper()
	of, v := s.ask(sex)
	if v.Status != patient.StatusEnrollmentFailed || !strings.Contains(lastNote(v), why) {
		s.t.Fatalf("the patient is %s: %s; want %s", v.Status, lastNote(v), why)
	}
	return of
}

// drawNow requests the draw of an enrolled patient for a stage, and returns what the last step says when it is answered.
func (s *drawn) drawNow(of domain.OfPatient, stage string) (v patientviews.PatientDocument) {
	s.t.Helper()
	requested := s.must(s.crc, patient.RequestRandomisation{OfPatient: of, Stage: stage}).Position
	s.eventually("the draw is answered", func() bool {
		v = s.patient(s.crc, of, requested)
		what := v.Steps[len(v.Steps)-1].What
		return what == "RandomisationConfirmed" || what == "RandomisationNotPossible"
	})
	return v
}

func lastNote(v patientviews.PatientDocument) string { return v.Steps[len(v.Steps)-1].Note }

// arm returns the arm of a patient's last draw, as the log has it.
func (s *drawn) arm(of domain.OfPatient) (arm domain.ArmID) {
	s.t.Helper()
	for r, err := range s.log.ReadStream(s.t.Context(), randomisation.Decider.Stream(string(s.study)), 0) {
		if err != nil {
			s.t.Fatal(err)
		}
		if e, ok := r.Event.(randomisation.PatientRandomised); ok && e.Patient == of.Patient {
			arm, _ = e.Arm.Open()
		}
	}
	return arm
}

// alerts are a user's alerts of a kind.
func (s *drawn) alerts(token string, kind safety.Kind) []safetyviews.Alert {
	s.t.Helper()
	var list readmodels.List[safetyviews.Alert]
	query := fmt.Sprintf("/api/v1/studies/%s/alerts?kind=%s&limit=100", s.study, kind)
	if token == s.crc {
		query += "&site=01"
	}
	s.query(token, query, 0, &list)
	return list.Items
}

// ship brings one kit of each of the arms to site 01.
func (s *drawn) ship(arms ...string) {
	s.t.Helper()
	s.send(s.supplier, "D", "01", s.crc, s.stock(arms...)...)
}

// stock brings one kit of each of the arms to the depot, and opens it before the first ones.
func (s *drawn) stock(arms ...string) []supply.KitNumber {
	s.t.Helper()
	s.shipped++
	if s.holds == nil {
		s.holds = map[supply.KitNumber]string{}
	}
	csv, kits := "kit,arm,lot,expiry\n", []supply.KitNumber{}
	for i, a := range arms {
		kit := supply.KitNumber(fmt.Sprintf("%s-%d-%d", s.study, s.shipped, i))
		csv += fmt.Sprintf("%s,%s,L%d,2031-12-31\n", kit, a, s.shipped)
		kits = append(kits, kit)
		s.holds[kit] = a
	}
	inStudy := domain.ForStudy(s.study)
	if s.supplier == "" {
		id := domain.UserID("supplier." + strings.ToLower(string(s.study)))
		s.supplier = s.account(id, user.Grant{Role: user.UnblindedSupplyManager, Study: s.study})
		s.must(s.supplier, supply.OpenDepot{InStudy: inStudy, Depot: "D", Name: "Depot"})
	}
	s.must(s.supplier, supply.RegisterKits{InStudy: inStudy, Depot: "D", CSV: csv})
	s.must(s.supplier, supply.ReleaseBatch{InStudy: inStudy, Lot: fmt.Sprintf("L%d", s.shipped), Certificate: "C"})
	s.stands(kits[len(kits)-1], supply.KitAvailable)
	return kits
}

// resupplied sends the shipment that the rule of site 01 demands, and returns the kits when they are there.
func (s *drawn) resupplied() (kits []supply.KitNumber) {
	s.t.Helper()
	var list readmodels.List[supplyviews.Shipment]
	s.eventually("the rule demands a shipment", func() bool {
		s.query(s.manager, fmt.Sprintf("/api/v1/studies/%s/shipments?from=D&status=packed", s.study), 0, &list)
		return len(list.Items) > 0 && list.Items[0].Resupply
	})
	shipment := list.Items[0]
	s.must(s.supplier, supply.DispatchShipment{FromLocation: supply.FromLocation{Study: s.study, From: "D"}, Shipment: shipment.Shipment,
		On: "2026-03-04"})
	s.must(s.crc, supply.ReceiveShipment{AtLocation: s.at("01"), From: "D", Shipment: shipment.Shipment, On: "2026-03-04",
		Temperature: supply.TemperatureInRange})
	return shipment.Kits
}

// gets gives a patient the kit that waits, which has to be of an arm.
func (s *drawn) gets(of domain.OfPatient, arm string, on domain.Date) {
	s.t.Helper()
	if kit := s.dispense(s.crc, of, "01", on); s.holds[kit] != arm {
		s.t.Errorf("the patient gets %s of arm %q, want arm %s", kit, s.holds[kit], arm)
	}
}

// TestDailyLifeOfDraws plays what happens every day to enrolments and draws, over HTTP, on a running server. Each scenario has
// the name that the people of a trial give it.
func TestDailyLifeOfDraws(t *testing.T) {
	in := install(t)
	because := domain.Because("The scenario needs it")

	t.Run("screening while enrolment is closed", func(t *testing.T) {
		s := in.trial(t, "DRAW-A", nil, "only")
		var shown studyviews.StudyArms
		in.query(s.statistician(), "/api/v1/studies/DRAW-A/arms", 0, &shown)
		if len(shown.Arms) != 1 || shown.Arms[0] != (studyviews.StudyArm{Arm: "only", Title: "Arm only"}) {
			t.Errorf("the arms are %+v", shown)
		}
		inStudy := domain.ForStudy(s.study)
		s.must(s.sponsor, enrollment.CloseEnrollment{InStudy: inStudy, Reasoned: because})
		of := s.notPossible(patient.Female, "not open")
		s.must(s.sponsor, enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 10, Study: 20}})
		// The study neither draws nor has kits.
		if v := s.askAgain(of); v.Status != patient.StatusEnrolled || v.Treatment != patient.TreatmentOn || v.RandomisedOn != "" {
			t.Errorf("the patient is %+v", v)
		}
		s.refused(s.crc, "study_not_randomised", patient.RequestRandomisation{OfPatient: of})
	})

	t.Run("single arm", func(t *testing.T) {
		s := in.trial(t, "DRAW-B", &study.Treatment{Kits: true}, "drug")
		s.ship("drug")
		of := s.enrolledAs(patient.Female)
		s.gets(of, "drug", "2026-02-03")
		if v := s.patient(s.crc, of, 0); v.RandomisedOn != "" || v.Treatment != patient.TreatmentOn || s.arm(of) != "" {
			t.Errorf("the patient is drawn on %q into %q, and the treatment is %s", v.RandomisedOn, s.arm(of), v.Treatment)
		}
		s.refused(s.crc, "study_not_randomised", patient.RequestRandomisation{OfPatient: of})
	})

	t.Run("second-stage draw, with kits", func(t *testing.T) {
		s := in.trial(t, "DRAW-M", &study.Treatment{Randomised: true, Kits: true, DispensingVisits: []string{"week-4"},
			FirstArms: []string{"drug", "placebo"}, Stages: []study.Stage{{ID: "second", Arms: []string{"low", "high"}}}},
			"drug", "placebo", "low", "high")
		s.active("", "one", "arm", "placebo", "drug")
		s.active("second", "two", "arm", "high", "low")
		s.ship("drug", "placebo")
		of := s.enrolledAs(patient.Female)
		s.gets(of, "placebo", "2026-02-03")
		if v := s.drawNow(of, "second"); v.Stage != "" || !strings.Contains(lastNote(v), "not possible") {
			t.Errorf("without kits of the stage, the patient is in stage %q: %s", v.Stage, lastNote(v))
		}
		s.ship("low", "high", "low", "high", "drug", "placebo")
		if v := s.drawNow(of, "second"); v.Stage != "second" || s.arm(of) != "high" {
			t.Errorf("in stage %q the patient is in %s: %s", v.Stage, s.arm(of), lastNote(v))
		}
		s.gets(of, "high", "2026-02-20") // with the draw
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"})
		s.gets(of, "high", "2026-03-03")
	})

	t.Run("run-in then draw, second-stage draw, open extension", func(t *testing.T) {
		s := in.trial(t, "DRAW-C", &study.Treatment{Randomised: true, DrawnLater: true, Factors: []study.Factor{bySex},
			FirstArms: []string{"drug", "placebo"}, Stages: []study.Stage{{ID: "second", Arms: []string{"low", "high"}},
				{ID: "open", Title: "Open extension", Arms: []string{"drug"}, OpenExtension: true}}}, "drug", "placebo", "low", "high")
		s.protocol.Instruments = []instrument.Definition{*instrument.PainDiary(), *instrument.PHQ9()}
		s.protocol.PhaseInstruments = []study.PhaseInstrument{{Instrument: "pain-diary", Phase: study.PhaseRunIn},
			{Instrument: "phq-9", Phase: study.PhaseTreatment}, {Instrument: "pain-diary", Phase: study.PhaseOpenExtension}}
		s.amend("drug", "placebo", "low", "high")
		of := s.enrolledAs(patient.Female)
		goesOn := func(id instrument.ID, phase patient.Phase) func() bool {
			return func() bool {
				return slices.ContainsFunc(s.patient(s.crc, of, 0).Instruments, func(a patientviews.AnsweredBy) bool {
					all := append([]patientviews.Assignment{a.Assignment}, a.Later...) // one of a phase that begins today begins tomorrow
					return a.Instrument == id && slices.ContainsFunc(all, func(a patientviews.Assignment) bool {
						return a.Phase == phase && a.Stopped == ""
					})
				})
			}
		}
		s.eventually("the instrument of the run-in is assigned", goesOn("pain-diary", patient.PhaseRunIn))
		s.is(of, 0, patient.StatusEnrolled, patient.TreatmentNotStarted, patient.PhaseRunIn)
		// A patient who cannot be drawn has not failed.
		if v := s.drawNow(of, ""); v.Status != patient.StatusEnrolled || v.Phase != patient.PhaseRunIn {
			t.Errorf("without a scheme, the patient is %s in phase %s", v.Status, v.Phase)
		}
		s.active("", "one", "sex,arm", "F,placebo", "M,drug")
		v := s.drawNow(of, "")
		berlin, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		today := domain.DateOf(time.Now().In(berlin))
		if v.Phase != patient.PhaseTreatment || v.RandomisedOn.DaysSince(today) < -1 || v.RandomisedOn > today || v.EnrolledOn != "2026-02-03" {
			t.Errorf("enrolled on %s and drawn on %s, the patient is in phase %s", v.EnrolledOn, v.RandomisedOn, v.Phase)
		}
		s.eventually("the instrument of the treatment is assigned", goesOn("phq-9", patient.PhaseTreatment))
		if goesOn("pain-diary", patient.PhaseRunIn)() {
			t.Error("the instrument of the run-in goes on after the draw")
		}
		s.refused(s.crc, "already_randomised", patient.RequestRandomisation{OfPatient: of})
		s.refused(s.crc, "stage_not_found", patient.RequestRandomisation{OfPatient: of, Stage: "third"})
		s.refused(s.otherCRC, "not_allowed", patient.RequestRandomisation{OfPatient: of, Stage: "second"})
		if arm := s.arm(of); arm != "placebo" {
			t.Errorf("the first draw is %s", arm)
		}

		s.active("second", "two", "sex,arm", "F,high", "M,low")
		if v := s.drawNow(of, "second"); v.Stage != "second" || s.arm(of) != "high" {
			t.Errorf("the second draw is %s, stage %q", s.arm(of), v.Stage)
		}
		other := s.enrolledAs(patient.Male)
		s.refused(s.crc, "not_randomised", patient.RequestRandomisation{OfPatient: other, Stage: "second"})
		if v := s.drawNow(of, "open"); v.Stage != "open" || s.arm(of) != "drug" || v.Treatment != patient.TreatmentOn ||
			v.Phase != patient.PhaseOpenExtension {
			t.Errorf("in the open extension the patient is %+v", v)
		}
		s.eventually("the instrument of the extension is assigned", goesOn("pain-diary", patient.PhaseOpenExtension))
		if goesOn("phq-9", patient.PhaseTreatment)() {
			t.Error("the instrument of the treatment goes on in the extension")
		}
	})

	t.Run("back-dated draw", func(t *testing.T) {
		s := in.trial(t, "DRAW-D", &study.Treatment{Randomised: true, DrawnLater: true}, "drug", "placebo")
		of := s.enrolledAs(patient.Female)
		type RequestRandomisation struct {
			domain.OfPatient
			On domain.Date `json:"on"`
		}
		s.refused(s.crc, "unknown_field", RequestRandomisation{of, "2026-01-15"})
	})

	t.Run("no drug", func(t *testing.T) {
		s := in.trial(t, "DRAW-E", &study.Treatment{Randomised: true, Kits: true, DrawnLater: true}, "drug", "placebo")
		s.active("", "one", "arm", "placebo", "drug", "drug")
		of := s.enrolledAs(patient.Female)
		s.ship("drug") // one arm is not enough: nobody may learn which one is missing
		v := s.drawNow(of, "")
		if v.Status != patient.StatusEnrolled || v.Phase != patient.PhaseRunIn || !strings.Contains(lastNote(v), "not possible") ||
			strings.Contains(lastNote(v), "stock") {
			t.Errorf("the patient is %s in phase %s: %s", v.Status, v.Phase, lastNote(v))
		}
		s.ship("placebo")
		if v := s.drawNow(of, ""); v.Phase != patient.PhaseTreatment {
			t.Errorf("with drug, the patient is in phase %s", v.Phase)
		}
		s.kitOf(s.crc, of, "01")

		// A site that is closed to enrolment keeps its patients: an enrolled one is drawn, and gets a kit.
		late := s.enrolledAs(patient.Female)
		s.ship("drug", "placebo")
		var closing studyviews.SiteClosing
		s.query(s.sponsor, fmt.Sprintf("/api/v1/studies/%s/sites/01/closing", s.study), 0, &closing)
		if i := slices.IndexFunc(closing.Checklist, func(c study.ChecklistItem) bool { return c.Item == study.OpenParticipants }); i < 0 ||
			closing.Checklist[i].Open != 2 || closing.Kits[supply.KitIsAllocated] != 1 {
			t.Errorf("the checklist is %+v", closing)
		}
		close := study.CloseSite{AtSite: domain.ForSite(s.study, "01"), On: "2026-04-01", Reasoned: because}
		incomplete := close
		incomplete.Checklist = closing.Checklist[:1]
		s.refused(s.sponsor, "checklist_incomplete", incomplete)
		close.Checklist = closing.Checklist
		closed := s.must(s.sponsor, close).Position
		var overview studyviews.StudyOverview
		s.query(s.sponsor, "/api/v1/studies/"+string(s.study), closed, &overview)
		if !slices.Equal(overview.SiteOf("01").Closing, closing.Checklist) {
			t.Errorf("the closed site is %+v", overview.SiteOf("01"))
		}
		if v := s.drawNow(late, ""); v.Phase != patient.PhaseTreatment {
			t.Errorf("at the closed site, the patient is in phase %s: %s", v.Phase, lastNote(v))
		}
		s.dispense(s.crc, late, "01", "2026-04-02")
		screen := patient.ScreenPatient{AtSite: close.AtSite, ScreeningNumber: "RE-1", On: "2026-04-02"}
		s.refused(s.crc, "site_not_active", screen)
		s.must(s.sponsor, study.ReopenSite{AtSite: close.AtSite, On: "2026-04-02", Reasoned: because})
		s.must(s.crc, screen)
	})

	t.Run("arm dropped, arm added, new level, list exhausted", func(t *testing.T) {
		s := in.trial(t, "DRAW-F", &study.Treatment{Randomised: true, Factors: []study.Factor{bySex}}, "drug", "placebo", "high")
		inStudy := domain.ForStudy(s.study)
		s.active("", "one", "sex,arm", "F,high", "F,high", "F,drug", "M,placebo")
		first := s.enrolledAs(patient.Female)
		if v := s.patient(s.crc, first, 0); v.RandomisedOn == "" {
			t.Error("the day of the draw is not shown")
		}
		drop := randomisation.CloseArm{InStudy: inStudy, Arm: "high", Reasoned: domain.Because("Decision of the board")}
		s.refused(s.sponsor, "not_allowed", drop)
		s.refused(s.manager, "not_allowed", drop)
		s.must(s.statistician(), drop)
		if second := s.enrolledAs(patient.Female); s.arm(second) != "drug" {
			t.Errorf("the next patient is in %s", s.arm(second))
		}

		waiting := s.notPossible(patient.Female, "randomisation is not possible")
		s.eventually("the end of the list is told", func() bool { return len(s.alerts(s.statistician(), safety.ListRunsLow)) > 0 })
		for who, token := range map[string]string{"crc": s.crc, "manager": s.manager, "sponsor": s.sponsor} {
			if told := s.alerts(token, safety.ListRunsLow); len(told) > 0 {
				t.Errorf("the %s is told: %+v", who, told)
			}
		}
		var ending readmodels.List[randomisationviews.EndingList]
		s.eventually("the worklist has the stratum", func() bool {
			s.query(s.statistician(), fmt.Sprintf("/api/v1/studies/%s/ending-lists", s.study), 0, &ending)
			return len(ending.Items) == 1 && ending.Items[0].Exhausted && ending.Items[0].Factors["sex"] == "F"
		})
		var ofStage readmodels.List[randomisationviews.EndingList]
		s.query(s.statistician(), fmt.Sprintf("/api/v1/studies/%s/ending-lists?stage=extension", s.study), 0, &ofStage)
		if len(ofStage.Items) > 0 {
			t.Errorf("of another stage, the worklist has %+v", ofStage.Items)
		}
		extended := s.must(s.statistician(), randomisation.ExtendRandomisationList{InStudy: inStudy, Scheme: "one",
			CSV: "sex,arm\nF,placebo\nF,drug\nM,drug\n", Reasoned: because}).Position
		if v := s.askAgain(waiting); v.Status != patient.StatusEnrolled || s.arm(waiting) != "placebo" {
			t.Errorf("after the extension, the patient is %s in %s", v.Status, s.arm(waiting))
		}
		s.query(s.statistician(), fmt.Sprintf("/api/v1/studies/%s/ending-lists", s.study), extended, &ending)
		if len(ending.Items) > 0 {
			t.Errorf("the worklist still has %+v", ending.Items)
		}

		// The amendment adds an arm, and a level of a factor.
		s.protocol.Treatment.Factors = []study.Factor{{ID: "sex", Levels: []string{"F", "M", "U"}, DerivedFrom: study.FromSex}}
		s.amend("drug", "placebo", "new")
		hash := s.list("", "two", "sex,arm", "F,new", "M,drug", "U,placebo")
		supersede := randomisation.SupersedeScheme{InStudy: inStudy, Scheme: "two", SHA256: hash, Counting: randomisation.CountFresh,
			Reasoned: domain.Because("Amendment 2")}
		s.refused(s.statistician(), "scheme_in_use", randomisation.ActivateRandomisation{InStudy: inStudy, Scheme: "two", SHA256: hash})
		s.refused(s.sponsor, "not_allowed", supersede)
		stale, err := s.tokens.Sign(domain.UserID("statistician."+strings.ToLower(string(s.study))), time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		s.refused(stale, "reauthentication_required", supersede)
		s.must(s.statistician(), supersede)
		if added, unknown := s.enrolledAs(patient.Female), s.enrolledAs(patient.SexUnknown); s.arm(added) != "new" ||
			s.arm(unknown) != "placebo" {
			t.Errorf("the patients are in %s and %s", s.arm(added), s.arm(unknown))
		}

		// A wrong stratum is corrected: from then on the patient counts as a man, and a cap of men is reached.
		corrected := s.must(s.crc, patient.CorrectSex{OfPatient: first, From: patient.Female, To: patient.Male, Reasoned: because}).Position
		if v := s.patient(s.crc, first, corrected); len(v.Candidates) != 1 || v.Candidates[0].What != patient.DeviationRandomisation {
			t.Errorf("proposed are %+v", v.Candidates)
		}
		men := randomisation.SetLevelCaps{InStudy: inStudy, Reasoned: because,
			Caps: []randomisation.LevelCap{{Levels: map[string]string{"sex": "M"}, Most: 1}}}
		s.must(s.sponsor, men)
		s.must(s.manager, randomisation.CorrectStratum{InStudy: inStudy, OfPatient: first, Factors: map[string]string{"sex": "M"},
			Reasoned: because})
		man := s.notPossible(patient.Male, "randomisation is not possible")
		men.Caps[0].Most = 2
		s.must(s.sponsor, men)
		if v := s.askAgain(man); v.Status != patient.StatusEnrolled || s.arm(man) != "drug" {
			t.Errorf("below the cap, the man is %s in %s", v.Status, s.arm(man))
		}
	})

	t.Run("arm dropped: its patients stay supplied", func(t *testing.T) {
		s := in.trial(t, "DRAW-K", &study.Treatment{Randomised: true, Kits: true, DispensingVisits: []string{"week-4"}},
			"drug", "placebo", "high")
		inStudy := domain.ForStudy(s.study)
		s.active("", "one", "arm", "high", "high", "drug", "placebo")
		s.ship("drug", "placebo", "high")
		first := s.enrolledAs(patient.Female)
		s.gets(first, "high", "2026-02-03")
		s.must(s.statistician(), randomisation.CloseArm{InStudy: inStudy, Arm: "high", Reasoned: domain.Because("Decision of the board")})
		// Nobody else is drawn into it, and no kit of it is needed for a draw.
		next := s.enrolledAs(patient.Female)
		s.gets(next, "drug", "2026-02-03")
		s.must(s.crc, patient.RecordVisit{OfPatient: first, Visit: "week-4", On: "2026-03-03"})
		s.eventually("the patient of the dropped arm waits for a kit", func() bool { return s.waits(first) })
		s.stock("drug", "placebo", "high", "drug", "placebo", "high", "drug", "placebo", "high")
		s.must(s.supplier, supply.SetResupplyRule{InStudy: inStudy,
			Rule: supply.ResupplyRule{Site: "01", Depot: "D", Trigger: 1, Target: 3, OverdueDays: 7}})
		sent := s.resupplied()
		if !slices.ContainsFunc(sent, func(n supply.KitNumber) bool { return s.holds[n] == "high" }) {
			t.Errorf("the site is sent %v, and none is of the dropped arm", sent)
		}
		s.gets(first, "high", "2026-03-04")
	})

	t.Run("arm added, and a site without its approval", func(t *testing.T) {
		s := in.trial(t, "DRAW-J", &study.Treatment{Randomised: true}, "drug", "placebo")
		s.active("", "one", "arm", "drug", "placebo", "drug")
		s.protocol.SiteApproval = true
		s.amend("drug", "placebo", "new")
		s.enrolledAs(patient.Female) // by the version before, whose scheme is still there
		s.must(s.statistician(), randomisation.SupersedeScheme{InStudy: domain.ForStudy(s.study), Scheme: "two",
			SHA256: s.list("", "two", "arm", "new", "drug", "placebo"), Counting: randomisation.CountFresh, Reasoned: because})
		waiting := s.notPossible(patient.Female, "version of the protocol")
		s.must(s.manager, study.ApproveProtocolAtSite{AtSite: domain.ForSite(s.study, "01"), Version: 2,
			ApprovedOn: domain.DateOf(time.Now().UTC()), By: "Ethics committee"})
		if v := s.askAgain(waiting); v.Status != patient.StatusEnrolled || s.arm(waiting) != "new" {
			t.Errorf("after the approval, the patient is %s: %s", v.Status, lastNote(v))
		}
	})

	t.Run("caps of each kind", func(t *testing.T) {
		grade := study.Factor{ID: "country", Levels: []string{"DE", "FR"}, DerivedFrom: study.FromCountry}
		s := in.trial(t, "DRAW-G", &study.Treatment{Randomised: true, Factors: []study.Factor{bySex, grade}}, "drug", "placebo")
		inStudy := domain.ForStudy(s.study)
		lines := []string{"sex,country,arm"}
		for range 6 {
			lines = append(lines, "F,DE,drug", "M,DE,placebo", "F,DE,placebo", "M,DE,drug")
		}
		s.active("", "one", lines...)
		levels := randomisation.SetLevelCaps{InStudy: inStudy, Reasoned: because,
			Caps: []randomisation.LevelCap{{Levels: map[string]string{"sex": "F"}, Most: 1}}}
		s.refused(s.crc, "not_allowed", levels)
		s.refused(s.sponsor, "not_allowed", randomisation.SetCohortCaps{InStudy: inStudy, Reasoned: because,
			Caps: []randomisation.CohortCap{{Arm: "drug", Most: 1}}}) // a cap of an arm is for who knows arms
		s.must(s.sponsor, levels)
		s.enrolledAs(patient.Female)
		full := s.notPossible(patient.Female, "randomisation is not possible")
		// The cohort of women in Germany.
		levels.Caps = []randomisation.LevelCap{{Levels: map[string]string{"sex": "F", "country": "DE"}, Most: 2}}
		s.must(s.sponsor, levels)
		if v := s.askAgain(full); v.Status != patient.StatusEnrolled {
			t.Errorf("below the cap, the patient is %s", v.Status)
		}
		s.notPossible(patient.Female, "randomisation is not possible")
		s.enrolledAs(patient.Male)
		for cap, caps := range map[string]enrollment.Caps{
			"places of the country": {Target: 3, Study: 20, Countries: map[string]int{"DE": 3}},
			"places of the site":    {Target: 3, Study: 20, Sites: map[domain.SiteID]int{"01": 3}},
			"places of the study":   {Target: 3, Study: 3},
		} {
			s.must(s.sponsor, enrollment.SetEnrollmentTarget{InStudy: inStudy, Caps: caps})
			s.notPossible(patient.Male, cap)
		}
		s.refused(s.sponsor, "invalid_caps", enrollment.SetEnrollmentTarget{InStudy: inStudy,
			Caps: enrollment.Caps{Target: 3, Study: 20, Countries: map[string]int{"IT": 3}}})
	})

	t.Run("caps of arms", func(t *testing.T) {
		s := in.trial(t, "DRAW-L", &study.Treatment{Randomised: true}, "drug", "placebo")
		s.active("", "one", "arm", "drug", "drug", "placebo", "placebo", "drug")
		s.enrolledAs(patient.Female)
		caps := randomisation.SetCohortCaps{InStudy: domain.ForStudy(s.study), Reasoned: because,
			Caps: []randomisation.CohortCap{{Arm: "drug", Most: 1}, {Arm: "placebo", Most: 1}}}
		s.must(s.statistician(), caps)
		// The next entry is of the arm that is full: it waits, and the patient is drawn into the other one.
		if second := s.enrolledAs(patient.Female); s.arm(second) != "placebo" {
			t.Errorf("beside a full arm, the patient is in %s", s.arm(second))
		}
		full := s.notPossible(patient.Female, "randomisation is not possible")
		caps.Caps[0].Most = 2
		s.must(s.statistician(), caps)
		if v := s.askAgain(full); v.Status != patient.StatusEnrolled || s.arm(full) != "drug" {
			t.Errorf("below the cap, the patient is %s in %s", v.Status, s.arm(full))
		}
		s.notPossible(patient.Female, "randomisation is not possible")
	})

	t.Run("dropout replaced at a full cap", func(t *testing.T) {
		s := in.trial(t, "DRAW-N", nil, "only")
		caps := enrollment.SetEnrollmentTarget{InStudy: domain.ForStudy(s.study),
			Caps: enrollment.Caps{Target: 1, Study: 1, Sites: map[domain.SiteID]int{"01": 1}}}
		s.must(s.sponsor, caps)
		dropout := s.enrolledAs(patient.Female)
		s.must(s.crc, patient.EndParticipation{OfPatient: dropout, On: "2026-02-10", Reason: patient.EndedBySubject})
		// Caps count who has left, so the sponsor decides that another patient takes the place.
		next := s.notPossible(patient.Female, "places of the study")
		caps.Caps = enrollment.Caps{Target: 2, Study: 2, Sites: map[domain.SiteID]int{"01": 2}}
		s.refused(s.crc, "not_allowed", caps)
		s.must(s.sponsor, caps)
		if v := s.askAgain(next); v.Status != patient.StatusEnrolled {
			t.Errorf("with the cap raised, the patient is %s: %s", v.Status, lastNote(v))
		}
		s.notPossible(patient.Female, "places of the study")
	})

	t.Run("country stopped and resumed", func(t *testing.T) {
		s := in.trial(t, "DRAW-O", &study.Treatment{Randomised: true, Kits: true, DrawnLater: true}, "drug", "placebo")
		s.active("", "one", "arm", "drug", "placebo")
		s.ship("drug", "placebo")
		packed := s.stock("drug", "placebo")
		here := s.enrolledAs(patient.Female)
		french := func(number string) domain.OfPatient { return domain.ForPatient(domain.NewPatientID(s.study, number)) }
		screen := func(number string) patient.ScreenPatient {
			return patient.ScreenPatient{AtSite: domain.ForSite(s.study, "02"), ScreeningNumber: number, On: "2026-02-01", Sex: patient.Female}
		}
		enrol := func(of domain.OfPatient) patient.EnrollPatient {
			return patient.EnrollPatient{OfPatient: of, On: "2026-02-03", Criteria: map[string]bool{"adult": true}}
		}
		for _, number := range []string{"FR-1", "FR-2"} {
			s.must(s.otherCRC, screen(number))
			s.must(s.otherCRC, patient.RecordConsent{OfPatient: french(number), ConsentVersion: "1.0", On: "2026-02-02"})
		}
		requested := s.must(s.otherCRC, enrol(french("FR-1"))).Position
		s.eventually("the French patient is enrolled", func() bool {
			return s.patient(s.otherCRC, french("FR-1"), requested).Status == patient.StatusEnrolled
		})

		stop := study.SuspendStudy{InStudy: domain.ForStudy(s.study), Country: "FR", Activities: study.Activities,
			Reasoned: domain.Because("The authority has not answered yet")}
		s.refused(s.otherCRC, "not_allowed", stop)
		wrong := stop
		wrong.Country = "IT"
		s.refused(s.sponsor, "country_not_found", wrong)
		stopped := s.must(s.sponsor, stop).Position
		s.refused(s.otherCRC, "activity_paused", screen("FR-3"))
		s.refused(s.otherCRC, "activity_paused", enrol(french("FR-2")))
		s.refused(s.otherCRC, "activity_paused", patient.RequestRandomisation{OfPatient: french("FR-1")})
		ship := supply.CreateShipment{FromLocation: supply.FromLocation{Study: s.study, From: "D"}, To: "02", Kits: packed, Reasoned: because}
		s.refused(s.supplier, "activity_paused", ship)
		var overview studyviews.StudyOverview
		s.query(s.sponsor, "/api/v1/studies/"+string(s.study), stopped, &overview)
		if len(overview.Suspended) != 1 || overview.Suspended[0].Country != "FR" || len(overview.Suspended[0].Activities) != 4 {
			t.Errorf("the overview shows %+v", overview.Suspended)
		}
		// The sites of the country are told, and those of others go on.
		told := func(token, site string, kind safety.Kind) bool {
			var list readmodels.List[safetyviews.Alert]
			s.query(token, fmt.Sprintf("/api/v1/studies/%s/alerts?kind=%s&site=%s", s.study, kind, site), 0, &list)
			return slices.ContainsFunc(list.Items, func(a safetyviews.Alert) bool { return strings.Contains(a.Summary, "FR") })
		}
		for _, kind := range []safety.Kind{safety.ActivityPaused, safety.ShippingPaused} {
			s.eventually("the French site is told", func() bool { return told(s.otherCRC, "02", kind) })
			if told(s.crc, "01", kind) {
				t.Errorf("the German site is told of %s", kind)
			}
		}
		s.screened(nil)
		if v := s.drawNow(here, ""); v.Phase != patient.PhaseTreatment {
			t.Errorf("in the other country, the patient is in phase %s: %s", v.Phase, lastNote(v))
		}
		s.dispense(s.crc, here, "01", "2026-02-10")

		s.must(s.sponsor, study.ResumeStudy{InStudy: stop.InStudy, Country: "FR", Activities: study.Activities, Reasoned: because})
		s.must(s.otherCRC, screen("FR-3"))
		s.must(s.otherCRC, enrol(french("FR-2")))
		s.send(s.supplier, "D", "02", s.otherCRC, packed...)
		s.must(s.otherCRC, patient.RequestRandomisation{OfPatient: french("FR-1")})
		s.eventually("the French patient is drawn", func() bool {
			return s.patient(s.otherCRC, french("FR-1"), 0).Phase == patient.PhaseTreatment
		})
		s.dispense(s.otherCRC, french("FR-1"), "02", "2026-02-11")
	})

	t.Run("cohort stopped and resumed", func(t *testing.T) {
		s := in.trial(t, "DRAW-H", &study.Treatment{Randomised: true, Kits: true, Factors: []study.Factor{bySex}}, "drug", "placebo")
		s.active("", "one", "sex,arm", "F,drug", "M,placebo", "M,drug", "F,placebo")
		s.ship("drug", "placebo", "drug", "placebo")
		woman := s.enrolledAs(patient.Female)
		kit := s.kitOf(s.crc, woman, "01")
		stop := study.SuspendStudy{InStudy: domain.ForStudy(s.study), Cohort: study.Cohort{"sex": "F"},
			Activities: []study.Activity{study.ActivityRandomisation, study.ActivityDispensing},
			Reasoned:   domain.Because("A safety signal in women")}
		s.refused(s.crc, "not_allowed", stop)
		wrong := stop
		wrong.Activities = []study.Activity{study.ActivityScreening}
		s.refused(s.sponsor, "activity_not_of_cohort", wrong)
		wrong.Cohort = study.Cohort{"sex": "X"}
		s.refused(s.sponsor, "unknown_cohort", wrong)
		stopped := s.must(s.sponsor, stop).Position
		s.refused(s.crc, "activity_paused", supply.DispenseKit{Site: "01", OfPatient: woman, Kit: kit, On: "2026-03-01"})
		other := s.consented()
		s.refused(s.crc, "activity_paused", patient.EnrollPatient{OfPatient: other, On: "2026-02-03", Criteria: map[string]bool{"adult": true}})
		// A patient belongs to the cohort of the stratum as it was corrected.
		man := s.enrolledAs(patient.Male)
		correct := randomisation.CorrectStratum{InStudy: stop.InStudy, OfPatient: man, Factors: map[string]string{"sex": "F"},
			Reasoned: because}
		s.must(s.manager, correct)
		s.refused(s.crc, "activity_paused", supply.DispenseKit{Site: "01", OfPatient: man, Kit: s.kitOf(s.crc, man, "01"), On: "2026-03-01"})
		correct.Factors = map[string]string{"sex": "M"}
		s.must(s.manager, correct)
		s.dispense(s.crc, man, "01", "2026-03-01")
		var overview studyviews.StudyOverview
		s.query(s.sponsor, "/api/v1/studies/"+string(s.study), stopped, &overview)
		if len(overview.Suspended) != 1 || overview.Suspended[0].Cohort["sex"] != "F" {
			t.Errorf("the overview shows %+v", overview.Suspended)
		}
		s.eventually("the sponsor is told", func() bool { return len(s.alerts(s.sponsor, safety.ActivityPaused)) > 0 })
		s.must(s.sponsor, study.ResumeStudy{InStudy: stop.InStudy, Cohort: stop.Cohort, Activities: stop.Activities, Reasoned: because})
		s.must(s.crc, supply.DispenseKit{Site: "01", OfPatient: woman, Kit: kit, On: "2026-03-02"})
	})

	t.Run("forced allocation told", func(t *testing.T) {
		s := in.trial(t, "DRAW-I", &study.Treatment{Randomised: true, Kits: true, ForcedAllocation: true}, "drug", "placebo")
		s.active("", "one", "arm", "placebo", "drug")
		s.ship("drug")
		of := s.enrolledAs(patient.Female)
		if arm := s.arm(of); arm != "drug" {
			t.Fatalf("with one arm in stock, the patient is in %s", arm)
		}
		for _, token := range []string{s.statistician(), s.supplier} {
			s.eventually("who knows arms is told", func() bool { return len(s.alerts(token, safety.AllocationForced)) == 1 })
		}
		told := s.alerts(s.statistician(), safety.AllocationForced)[0]
		if told.Site != "" || told.Patient != "" || strings.Contains(told.Summary, "drug") || strings.Contains(told.Summary, string(of.Patient)) {
			t.Errorf("the alert tells %+v", told)
		}
		for who, token := range map[string]string{"crc": s.crc, "manager": s.manager, "sponsor": s.sponsor} {
			if len(s.alerts(token, safety.AllocationForced)) > 0 {
				t.Errorf("the %s is told", who)
			}
		}
		s.must(s.supplier, safety.CloseAlert{OfAlert: safety.OfAlert{Alert: told.Alert}, Outcome: "More kits are sent"})
	})
}
