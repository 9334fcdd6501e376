package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/security"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
	studyviews "casebook/readmodels/study"
	supplyviews "casebook/readmodels/supply"
)

// site is a study on a running server, in which all patients get the same drug, as two sites see it.
type site struct {
	installation
	study domain.StudyID
	// manager works across the study, crc at site 01, and otherCRC at site 02.
	manager, crc, otherCRC string
	patients               int
	// hired says that there is an investigator.
	hired bool
	// supplier keeps the depots, and knows what the kits hold.
	supplier string
	// phones are the tokens of patients' own accounts.
	phones map[domain.UserID]string
	// given are the kits that were dispensed.
	given []supply.KitNumber
}

// doses is an instrument about doses of study drug.
func doses() instrument.Definition {
	d := *instrument.PainDiary()
	d.ID, d.Title, d.Dosing = "doses", "Doses taken", true
	return d
}

// openSites starts a server with a study that has a visit of the screening, a visit with a kit, and kits at both sites.
func openSites(t *testing.T) *site {
	t.Helper()
	const id = domain.StudyID("LIFE")
	in, inStudy := install(t), domain.ForStudy(id)
	s := &site{installation: in, study: id, manager: in.account("manager", user.Grant{Role: user.DataManager, Study: id}),
		crc:      in.account("crc.one", user.Grant{Role: user.CRC, Study: id, Site: "01"}),
		otherCRC: in.account("crc.two", user.Grant{Role: user.CRC, Study: id, Site: "02"})}
	in.must(s.manager, study.CreateStudy{InStudy: inStudy, Title: "Daily life of a trial", Sponsor: "Nobody"})
	in.must(s.manager, study.PublishProtocolVersion{InStudy: inStudy, Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
		Arms: []study.Arm{{ID: "drug", Title: "Drug"}}, Instruments: []instrument.Definition{*instrument.PainDiary(), doses()},
		Visits:   []study.Visit{{ID: "screening", Day: -7}, {ID: "week-4", Day: 28, DaysBefore: 3, DaysAfter: 10}, {ID: "week-8", Day: 56}},
		Criteria: []study.Criterion{{ID: "adult"}},
		Treatment: &study.Treatment{Kits: true, DispensingVisits: []string{"week-4", "week-8"},
			Factors: []study.Factor{{ID: "age", Levels: []string{"under-50", "50-or-more"}, DerivedFrom: study.FromAge, Bounds: []int{50}}}}}})
	s.supplier = in.account("supplier", user.Grant{Role: user.UnblindedSupplyManager, Study: id})
	supplier := s.supplier
	in.must(supplier, supply.OpenDepot{InStudy: inStudy, Depot: "D", Name: "Depot"})
	var csv strings.Builder
	csv.WriteString("kit,arm,lot,expiry\n")
	kits := map[domain.SiteID][]supply.KitNumber{}
	for i := range 80 {
		kit := supply.KitNumber(fmt.Sprintf("K-%02d", i))
		fmt.Fprintf(&csv, "%s,drug,L1,2031-12-31\n", kit)
		at := domain.SiteID([]string{"01", "02"}[i%2])
		kits[at] = append(kits[at], kit)
	}
	in.must(supplier, supply.RegisterKits{InStudy: inStudy, Depot: "D", CSV: csv.String()})
	in.must(supplier, supply.ReleaseBatch{InStudy: inStudy, Lot: "L1", Certificate: "C-1"})
	from := supply.FromLocation{Study: id, From: "D"}
	for _, at := range []domain.SiteID{"01", "02"} {
		in.must(s.manager, study.AddSite{AtSite: domain.ForSite(inStudy.Study, at), Name: "Hospital " + string(at),
			Country: "DE", Zone: "Europe/Berlin"})
		in.must(s.manager, study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, at), On: "2026-01-01"})
		create := supply.CreateShipment{FromLocation: from, To: supply.LocationID(at), Kits: kits[at], Reasoned: domain.Because("Initial supply")}
		s.eventually("the depot has the kits", func() bool {
			status, _, _ := in.command(supplier, "", create)
			return status == http.StatusOK
		})
		shipment := supply.ShipmentID("D-" + map[domain.SiteID]string{"01": "0001", "02": "0002"}[at])
		in.must(supplier, supply.DispatchShipment{FromLocation: from, Shipment: shipment, On: "2026-01-05"})
		in.must(map[domain.SiteID]string{"01": s.crc, "02": s.otherCRC}[at], supply.ReceiveShipment{
			AtLocation: supply.AtLocation{Study: id, Location: supply.LocationID(at)}, From: "D",
			Shipment: shipment, On: "2026-01-06", Temperature: supply.TemperatureInRange})
	}
	in.must(s.manager, enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 10, Study: 20}})
	return s
}

func (s *site) eventually(what string, holds func() bool) {
	s.t.Helper()
	for begun := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 30*time.Second {
			s.t.Fatalf("it never came to this: %s", what)
		}
	}
}

// refused sends a command that has to be refused with a code.
func (s *site) refused(token, code string, command any) {
	s.t.Helper()
	status, _, text := s.command(token, "", command)
	var problem struct{ Code string }
	if err := json.Unmarshal([]byte(text), &problem); err != nil || status == http.StatusOK || problem.Code != code {
		s.t.Errorf("%T is answered %d %s, want %s", command, status, text, code)
	}
}

// screened registers a patient at site 01.
func (s *site) screened(change func(*patient.ScreenPatient)) domain.OfPatient {
	s.t.Helper()
	s.patients++
	screen := patient.ScreenPatient{AtSite: domain.ForSite(s.study, "01"), ScreeningNumber: fmt.Sprintf("S-%02d", s.patients),
		On: "2026-02-01", Sex: patient.Female, AgeYears: 54}
	if change != nil {
		change(&screen)
	}
	s.must(s.crc, screen)
	return domain.ForPatient(domain.NewPatientID(s.study, screen.ScreeningNumber))
}

// consented is a patient at site 01 who has signed the consent.
func (s *site) consented() domain.OfPatient {
	s.t.Helper()
	of := s.screened(nil)
	s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1.0", On: "2026-02-02"})
	return of
}

// enrolled is a patient at site 01 who takes part and is treated. The first kit waits for the patient.
func (s *site) enrolled() domain.OfPatient {
	s.t.Helper()
	of := s.consented()
	s.enrol(of)
	return of
}

// enrol enrols a patient at site 01, and waits until it is done.
func (s *site) enrol(of domain.OfPatient) {
	s.t.Helper()
	requested := s.must(s.crc, patient.EnrollPatient{OfPatient: of, On: "2026-02-03", Criteria: map[string]bool{"adult": true}}).Position
	s.eventually("the patient is enrolled", func() bool { return s.patient(s.crc, of, requested).Status == patient.StatusEnrolled })
}

// patient returns the patient's view.
func (s *site) patient(token string, of domain.OfPatient, position uint64) (v patientviews.PatientDocument) {
	s.t.Helper()
	s.query(token, "/api/v1/patients/"+string(of.Patient), position, &v)
	return v
}

// is checks what a patient's view and the list show, once they have seen a position.
func (s *site) is(of domain.OfPatient, position uint64, status patient.Status, treatment patient.Treatment, phase patient.Phase) {
	s.t.Helper()
	if v := s.patient(s.manager, of, position); v.Status != status || v.Treatment != treatment || v.Phase != phase {
		s.t.Errorf("%s is %s, treatment %s, phase %q; want %s, %s, %q", of.Patient, v.Status, v.Treatment, v.Phase, status, treatment, phase)
	}
	query := fmt.Sprintf("/api/v1/studies/%s/patients?status=%s&treatment=%s", s.study, status, treatment)
	if phase != "" {
		query += "&phase=" + string(phase)
	}
	var list readmodels.List[patientviews.PatientRow]
	s.query(s.manager, query, position, &list)
	if !slices.ContainsFunc(list.Items, func(r patientviews.PatientRow) bool { return r.Patient == of.Patient && r.Phase == phase }) {
		s.t.Errorf("%s does not list %s", query, of.Patient)
	}
}

// kitOf returns the kit that waits for a patient at a site, when there is one.
func (s *site) kitOf(token string, of domain.OfPatient, at string) (kit supply.KitNumber) {
	s.t.Helper()
	s.eventually("a kit waits for "+string(of.Patient), func() bool {
		for _, k := range s.kits(token, at) {
			if k.Patient == of.Patient && k.Status == supply.KitIsAllocated && !slices.Contains(s.given, k.Kit) {
				kit = k.Kit
			}
		}
		return kit != ""
	})
	return kit
}

// dispense gives a patient the kit that waits at a site, and returns it.
func (s *site) dispense(token string, of domain.OfPatient, at string, on domain.Date) supply.KitNumber {
	s.t.Helper()
	kit := s.kitOf(token, of, at)
	s.must(token, supply.DispenseKit{Site: domain.SiteID(at), OfPatient: of, Kit: kit, On: on})
	s.given = append(s.given, kit)
	return kit
}

func (s *site) kits(token, at string) []supplyviews.Kit {
	s.t.Helper()
	var list readmodels.List[supplyviews.Kit]
	s.query(token, fmt.Sprintf("/api/v1/studies/%s/kits?location=%s&limit=200", s.study, at), 0, &list)
	return list.Items
}

// setAside says whether site 01 has set a kit aside.
func (s *site) setAside(token string, kit supply.KitNumber) bool {
	s.t.Helper()
	return slices.ContainsFunc(s.kits(token, "01"), func(k supplyviews.Kit) bool {
		return k.Kit == kit && k.Status == supply.KitUnavailable
	})
}

func (s *site) figures(position uint64) studyviews.EnrollmentFigures {
	s.t.Helper()
	var overview studyviews.StudyOverview
	s.query(s.manager, "/api/v1/studies/"+string(s.study), position, &overview)
	return overview.Figures.EnrollmentFigures
}

// phone returns the token of the patient's own account.
func (s *site) phone(of domain.OfPatient) string {
	s.t.Helper()
	id := domain.UserID("phone." + strings.ToLower(string(of.Patient)))
	if s.phones == nil {
		s.phones = map[domain.UserID]string{}
	}
	if s.phones[id] == "" {
		s.phones[id] = s.account(id, user.Grant{Role: user.PatientRole, Study: s.study, Patient: of.Patient})
	}
	return s.phones[id]
}

func (s *site) entry(of domain.OfPatient, id instrument.ID, day int) diary.SubmitDiary {
	return diary.SubmitDiary{OfPatient: of, Instrument: id, Zone: "Europe/Berlin",
		CapturedAt: time.Date(2026, 3, day, 20, 30, 0, 0, time.FixedZone("", 3600)),
		Answers:    diary.Answers{"worst": 6, "least": 2, "average": 4, "now": 3, "rescue": false}}
}

// deviates checks what the worklist of deviations shows of a patient's candidate.
func (s *site) deviates(of domain.OfPatient, position uint64, id patient.CandidateID, want patientviews.DeviationStatus) {
	s.t.Helper()
	var list readmodels.List[patientviews.DeviationRow]
	query := fmt.Sprintf("/api/v1/studies/%s/deviations?site=01&patient=%s&status=%s", s.study, of.Patient, want)
	s.query(s.manager, query, position, &list)
	if len(list.Items) != 1 || list.Items[0].Candidate != id || list.Items[0].Status != want {
		s.t.Errorf("%s lists %+v", query, list.Items)
	}
}

// TestDailyLifeOfATrial plays what happens to patients every day at sites, over HTTP, on a running server. Each scenario has the
// name that the people of a trial give it.
func TestDailyLifeOfATrial(t *testing.T) {
	s := openSites(t)
	because := domain.Because("Recorded for the wrong patient")

	t.Run("screen failure and its undo", func(t *testing.T) {
		s.t = t
		of := s.consented()
		failed := s.must(s.crc, patient.RecordScreenFailure{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("eGFR below 60")}).Position
		s.is(of, failed, patient.StatusScreenFailed, patient.TreatmentNotStarted, "")
		before := s.figures(failed).ScreenFailures
		s.refused(s.crc, "patient_ended", patient.EnrollPatient{OfPatient: of, On: "2026-02-03", Criteria: map[string]bool{"adult": true}})
		s.refused(s.crc, "nothing_to_undo", patient.UndoPatientStep{OfPatient: of, Step: patient.StepWithdrawal, Reasoned: because})
		undone := s.must(s.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepScreenFailure, Reasoned: because}).Position
		s.is(of, undone, patient.StatusConsented, patient.TreatmentNotStarted, patient.PhaseScreening)
		if after := s.figures(undone).ScreenFailures; after != before-1 {
			t.Errorf("%d screen failures are counted after %d and an undoing", after, before)
		}
		// Both are kept.
		steps := s.patient(s.crc, of, undone).Steps
		if n := len(steps); steps[n-2].What != "ScreenFailureRecorded" || steps[n-1].What != "PatientStepUndone" ||
			!strings.Contains(steps[n-1].Note, "wrong patient") {
			t.Errorf("the history is %+v", steps)
		}
		s.enrol(of)
	})

	t.Run("re-screening", func(t *testing.T) {
		s.t = t
		of := s.consented()
		again := patient.ScreenPatient{AtSite: domain.ForSite(s.study, "01"), ScreeningNumber: "R-1", On: "2026-02-10", RescreeningOf: of.Patient}
		s.refused(s.crc, "earlier_record_open", again)
		s.must(s.crc, patient.RecordScreenFailure{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("Too little pain")})
		position := s.must(s.crc, again).Position
		v := s.patient(s.crc, domain.ForPatient(domain.NewPatientID(s.study, "R-1")), position)
		if v.RescreeningOf != of.Patient || v.Status != patient.StatusScreened {
			t.Errorf("the new record is %+v", v)
		}
		// A person takes part once.
		noted := func(times int) {
			t.Helper()
			s.eventually("the earlier record names the later one", func() bool {
				n := 0
				for _, step := range s.patient(s.crc, of, 0).Steps {
					if step.What == "PatientRescreened" {
						n++
					}
				}
				return n == times
			})
		}
		noted(1)
		undo := patient.UndoPatientStep{OfPatient: of, Step: patient.StepScreenFailure, Reasoned: because}
		s.refused(s.crc, "patient_rescreened", undo)
		third := again
		third.ScreeningNumber = "R-2"
		s.refused(s.crc, "patient_rescreened", third)
		s.must(s.crc, patient.VoidRegistration{OfPatient: domain.ForPatient(domain.NewPatientID(s.study, "R-1")), Reasoned: because})
		noted(2)
		s.must(s.crc, undo)
	})

	t.Run("consent dates", func(t *testing.T) {
		s.t = t
		of := s.screened(nil) // who is registered has not consented
		visit := patient.RecordVisit{OfPatient: of, Visit: "screening", On: "2026-02-02"}
		s.refused(s.crc, "consent_missing", visit)
		s.must(s.crc, patient.RecordConsent{OfPatient: of, ConsentVersion: "1.0", On: "2026-02-02"})
		early := visit
		early.On = "2026-02-01"
		s.refused(s.crc, "visit_before_consent", early)
		s.must(s.crc, visit)
		s.refused(s.crc, "patient_status", patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-02-02"})
		s.refused(s.crc, "enrolled_before_consent",
			patient.EnrollPatient{OfPatient: of, On: "2026-02-01", Criteria: map[string]bool{"adult": true}})
	})

	t.Run("treatment stopped with follow-up", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		for _, id := range []instrument.ID{instrument.PainDiary().ID, "doses"} {
			s.must(s.crc, diary.AssignInstrument{OfPatient: of, Instrument: id, From: "2026-03-01", Until: "2026-03-31", On: "2026-03-01"})
		}
		kit := s.kitOf(s.crc, of, "01")
		stopped := s.must(s.crc, patient.DiscontinueTreatment{OfPatient: of, On: "2026-03-05", Reason: patient.EndedByAdverseEvent,
			Detail: "Nausea, grade 3"}).Position
		s.is(of, stopped, patient.StatusEnrolled, patient.TreatmentEnded, patient.PhaseFollowUp)
		// The kit that was waiting is set aside, and is not given out.
		s.eventually("the kit is set aside", func() bool {
			return s.setAside(s.crc, kit)
		})
		s.refused(s.crc, "kit_status", supply.DispenseKit{Site: "01", OfPatient: of, Kit: kit, On: "2026-03-06"})
		// Diaries go on, those about doses do not. Visits go on, without kits.
		s.must(s.phone(of), s.entry(of, instrument.PainDiary().ID, 10))
		s.must(s.phone(of), s.entry(of, "doses", 5))
		if a := s.must(s.phone(of), s.entry(of, "doses", 10)); a.Held.Why != diary.WhyTreatmentEnded {
			t.Errorf("a dose after the treatment is held for %q", a.Held.Why)
		}
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-10"})
		s.refused(s.crc, "treatment_not_under_way", patient.HoldDose{OfPatient: of, On: "2026-03-10", Reasoned: because})
		ended := s.must(s.crc, patient.EndParticipation{OfPatient: of, On: "2026-04-10", Reason: patient.EndedAsPlanned}).Position
		s.is(of, ended, patient.StatusCompleted, patient.TreatmentEnded, "")
		if v := s.patient(s.crc, of, ended); v.EndedOn != "2026-04-10" || v.TreatmentEndedOn != "2026-03-05" {
			t.Errorf("the participation ended on %s, the treatment on %s", v.EndedOn, v.TreatmentEndedOn)
		}
	})

	t.Run("dose held and resumed", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		kit := s.kitOf(s.crc, of, "01")
		held := s.must(s.crc, patient.HoldDose{OfPatient: of, On: "2026-02-10", Reasoned: domain.Because("Neutrophils low")}).Position
		s.is(of, held, patient.StatusEnrolled, patient.TreatmentHeld, patient.PhaseTreatment)
		s.refused(s.crc, "dose_held", supply.DispenseKit{Site: "01", OfPatient: of, Kit: kit, On: "2026-02-11"})
		resumed := s.must(s.crc, patient.ResumeDose{OfPatient: of, On: "2026-02-17", Reasoned: domain.Because("Recovered")}).Position
		s.is(of, resumed, patient.StatusEnrolled, patient.TreatmentOn, patient.PhaseTreatment)
		s.must(s.crc, supply.DispenseKit{Site: "01", OfPatient: of, Kit: kit, On: "2026-02-17"})
	})

	t.Run("death", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		died := s.must(s.crc, patient.EndParticipation{OfPatient: of, On: "2026-02-20", Reason: patient.EndedByDeath}).Position
		s.is(of, died, patient.StatusDiscontinued, patient.TreatmentEnded, "")
		s.refused(s.crc, "patient_died", patient.WithdrawConsent{OfPatient: of, On: "2026-02-21"})
		s.refused(s.crc, "patient_ended", patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"})
		s.endedFor(of, patient.EndedByDeath, died)
	})

	t.Run("lost to follow-up, withdrawal after it", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		lost := s.must(s.crc, patient.EndParticipation{OfPatient: of, On: "2026-03-01", Reason: patient.EndedByLossToFollowUp,
			Detail: "Three calls and a letter unanswered"}).Position
		s.endedFor(of, patient.EndedByLossToFollowUp, lost)
		withdrawn := s.must(s.crc, patient.WithdrawConsent{OfPatient: of, On: "2026-04-01",
			Extent: []patient.Extent{patient.ExtentContact, patient.ExtentFutureUse}}).Position
		s.is(of, withdrawn, patient.StatusDiscontinued, patient.TreatmentEnded, "")
		s.endedFor(of, patient.EndedByLossToFollowUp, withdrawn)
		if v := s.patient(s.crc, of, withdrawn); !slices.Equal(v.Withdrawn, patient.Extents) || v.EndedOn != "2026-03-01" {
			t.Errorf("the patient is %+v", v)
		}
		s.refused(s.crc, "consent_withdrawn", patient.WithdrawConsent{OfPatient: of, On: "2026-04-02"})
		// What took place before the end is typed after it.
		s.refused(s.crc, "patient_ended", patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-02"})
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-01"})
	})

	t.Run("withdrawal from the treatment alone", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		before := s.figures(0).Withdrawn
		position := s.must(s.crc, patient.WithdrawConsent{OfPatient: of, On: "2026-03-01",
			Extent: []patient.Extent{patient.ExtentTreatment}}).Position
		s.is(of, position, patient.StatusEnrolled, patient.TreatmentEnded, patient.PhaseFollowUp)
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"})
		if after := s.figures(position).Withdrawn; after != before {
			t.Errorf("%d patients count as withdrawn after %d", after, before)
		}
		position = s.must(s.crc, patient.WithdrawConsent{OfPatient: of, On: "2026-03-10"}).Position
		s.is(of, position, patient.StatusWithdrawn, patient.TreatmentEnded, "")
	})

	t.Run("leaves with undispensed kit, and the leaving is undone", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		kit := s.kitOf(s.crc, of, "01")
		completed := s.must(s.crc, patient.CompletePatient{OfPatient: of, On: "2026-03-01"}).Position
		s.eventually("the kit is set aside", func() bool {
			return s.setAside(s.crc, kit)
		})
		s.endedFor(of, patient.EndedAsPlanned, completed)
		undone := s.must(s.manager, patient.UndoPatientStep{OfPatient: of, Step: patient.StepCompletion, Reasoned: because}).Position
		s.is(of, undone, patient.StatusEnrolled, patient.TreatmentOn, patient.PhaseTreatment)
		if again := s.dispense(s.crc, of, "01", "2026-03-02"); again != kit {
			t.Errorf("kit %s was given out, and %s had been set aside for the patient", again, kit)
		}
	})

	t.Run("eligibility deviation", func(t *testing.T) {
		s.t = t
		of := s.consented()
		enrol := patient.EnrollPatient{OfPatient: of, On: "2026-02-03", Criteria: map[string]bool{"adult": false}}
		s.refused(s.crc, "not_eligible", enrol)
		s.refusalRecorded(of, "EnrollPatient", "not_eligible")
		override := patient.OverrideEligibility{OfPatient: of, Criteria: []string{"adult"},
			Reasoned: domain.Because("17 years and 11 months; agreed")}
		s.refused(s.crc, "not_allowed", override)
		s.refused(s.investigator(false), "reauthentication_required", override)
		s.must(s.investigator(true), override)
		requested := s.must(s.crc, enrol).Position
		s.eventually("the patient is enrolled", func() bool { return s.patient(s.crc, of, requested).Status == patient.StatusEnrolled })
		if v := s.patient(s.crc, of, requested); len(v.Candidates) != 1 || v.Candidates[0].What != patient.DeviationEligibility ||
			len(v.Deviations) != 0 {
			t.Errorf("proposed are %+v, recorded %+v", v.Candidates, v.Deviations)
		}
		candidate := s.patient(s.crc, of, requested).Candidates[0].ID
		s.deviates(of, requested, candidate, patientviews.DeviationProposed)
		// A person confirms it, and the patient stays.
		confirm := patient.RecordProtocolDeviation{OfPatient: of, What: patient.DeviationEligibility, Important: true, Candidate: candidate,
			FoundOn: "2026-02-10", Reasoned: domain.Because("Enrolled under age")}
		position := s.must(s.crc, confirm).Position
		if v := s.patient(s.crc, of, position); len(v.Deviations) != 1 || !v.Deviations[0].Important || v.Deviations[0].By != "crc.one" ||
			len(v.Candidates) != 0 {
			t.Errorf("recorded are %+v, proposed %+v", v.Deviations, v.Candidates)
		}
		s.deviates(of, position, candidate, patientviews.DeviationConfirmed)
		s.refused(s.crc, "candidate_not_found", confirm)
		s.refused(s.otherCRC, "not_allowed", confirm)
		s.refused(s.crc, "not_allowed",
			patient.DismissDeviationCandidate{OfPatient: of, Candidate: candidate, Reasoned: domain.Because("It was nothing")})
		s.is(of, position, patient.StatusEnrolled, patient.TreatmentOn, patient.PhaseTreatment)
	})

	t.Run("wholly wrong registration", func(t *testing.T) {
		s.t = t
		before := s.figures(0).Screened
		of := s.consented()
		s.refused(s.otherCRC, "not_allowed", patient.VoidRegistration{OfPatient: of, Reasoned: because})
		voided := s.must(s.crc, patient.VoidRegistration{OfPatient: of, Reasoned: because}).Position
		s.is(of, voided, patient.StatusRegisteredInError, patient.TreatmentNotStarted, "")
		if after := s.figures(voided).Screened; after != before {
			t.Errorf("%d patients are counted as screened after one that was none; before there were %d", after, before)
		}
		s.refused(s.crc, "patient_ended", patient.EnrollPatient{OfPatient: of, On: "2026-02-03", Criteria: map[string]bool{"adult": true}})
		s.must(s.crc, patient.UndoPatientStep{OfPatient: of, Step: patient.StepRegistration, Reasoned: because})
		s.enrol(of)
		s.refused(s.crc, "patient_status", patient.VoidRegistration{OfPatient: of, Reasoned: because})
	})

	t.Run("contradicting factor", func(t *testing.T) {
		s.t = t
		of := s.consented()
		s.refused(s.crc, "factor_contradicts_record", patient.EnrollPatient{OfPatient: of, On: "2026-02-03",
			Criteria: map[string]bool{"adult": true}, Factors: map[string]string{"age": "under-50"}})
		s.enrol(of) // 54 years, as recorded at the screening
		position := s.must(s.crc, patient.CorrectAge{OfPatient: of, From: 54, To: 45, Reasoned: domain.Because("Digits transposed")}).Position
		if v := s.patient(s.crc, of, position); v.AgeYears != 45 || len(v.Candidates) != 1 ||
			v.Candidates[0].What != patient.DeviationRandomisation {
			t.Errorf("the patient is %+v", v)
		}
	})

	t.Run("every correction", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		mistyped := domain.Because("Mistyped")
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-20"})
		s.refused(s.crc, "other_value_recorded",
			patient.CorrectVisitDate{OfPatient: of, Visit: "week-4", From: "2026-03-19", To: "2026-03-02", Reasoned: mistyped})
		s.refused(s.crc, "reason_required", patient.CorrectVisitDate{OfPatient: of, Visit: "week-4", From: "2026-03-20", To: "2026-03-02"})
		for _, command := range []any{
			patient.CorrectVisitDate{OfPatient: of, Visit: "week-4", From: "2026-03-20", To: "2026-03-02", Reasoned: mistyped},
			patient.CorrectConsentDate{OfPatient: of, ConsentVersion: "1.0", From: "2026-02-02", To: "2026-02-01", Reasoned: mistyped},
			patient.CorrectEnrollmentDate{OfPatient: of, From: "2026-02-03", To: "2026-02-04", Reasoned: mistyped},
			patient.CorrectAge{OfPatient: of, From: 54, To: 55, Reasoned: mistyped},
			patient.CorrectSex{OfPatient: of, From: patient.Female, To: patient.Male, Reasoned: mistyped},
			patient.VoidVisit{OfPatient: of, Visit: "week-4", Reasoned: because},
		} {
			s.must(s.crc, command)
		}
		position := s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"}).Position
		v := s.patient(s.crc, of, position)
		if v.AgeYears != 55 || v.Sex != patient.Male || len(v.Candidates) != 0 {
			t.Errorf("the patient is %+v", v)
		}
		if n := len(v.Steps); v.Steps[n-4].Note != "54 -> 55: Mistyped" ||
			!strings.HasPrefix(v.Steps[n-2].Note, "week-4: Recorded for the wrong") {
			t.Errorf("the history is %+v", v.Steps)
		}
		var list readmodels.List[patientviews.PatientRow]
		s.query(s.manager, "/api/v1/studies/LIFE/patients?limit=100", position, &list)
		row := slices.IndexFunc(list.Items, func(r patientviews.PatientRow) bool { return r.Patient == of.Patient })
		if row < 0 {
			t.Fatalf("the list lacks %s", of.Patient)
		}
		if r := list.Items[row]; r.EnrolledOn != "2026-02-04" || r.ConsentedOn != "2026-02-01" || r.Candidates != 0 {
			t.Errorf("the list has %+v", r)
		}
		// The mistyped day was a candidate, and is none any more.
		s.deviates(of, position, "visit/week-4", patientviews.DeviationObsolete)

		// A day that others depend on has them judged again, and a consent of the wrong patient is taken back.
		other := s.enrolled()
		s.must(s.crc, patient.RecordVisit{OfPatient: other, Visit: "week-4", On: "2026-03-03"})
		moved := patient.CorrectEnrollmentDate{OfPatient: other, From: "2026-02-03", To: "2026-02-20", Reasoned: mistyped}
		s.deviates(other, s.must(s.crc, moved).Position, "visit/week-4", patientviews.DeviationProposed)
		s.must(s.manager, patient.DismissDeviationCandidate{OfPatient: other, Candidate: "visit/week-4", Reasoned: because})
		void := patient.VoidConsent{OfPatient: other, ConsentVersion: "1.0", Reasoned: because}
		s.deviates(other, s.must(s.crc, void).Position, "consent/1.0", patientviews.DeviationProposed)
		s.refused(s.crc, "consent_missing", patient.RecordVisit{OfPatient: other, Visit: "week-8", On: "2026-04-01"})
		s.must(s.crc, patient.RecordConsent{OfPatient: other, ConsentVersion: "1.0", On: "2026-02-02"})
	})

	t.Run("transfer", func(t *testing.T) {
		s.t = t
		of := s.enrolled()
		s.dispense(s.crc, of, "01", "2026-02-03")
		s.must(s.crc, patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"})
		left := s.kitOf(s.crc, of, "01")
		move := patient.TransferPatient{OfPatient: of, To: "02", On: "2026-03-04", Reasoned: domain.Because("Moved to Hamburg")}
		s.refused(s.crc, "not_allowed", move)
		position := s.must(s.manager, move).Position
		// The rights move, and the history goes with the patient.
		if v := s.patient(s.otherCRC, of, position); v.Site != "02" || len(v.Steps) < 6 {
			t.Errorf("the new site sees %+v", v)
		}
		s.refused(s.crc, "not_allowed", patient.RecordVisit{OfPatient: of, Visit: "week-8", On: "2026-04-01"})
		// The supply moves: the kit of the visit waits at the new site, the other one is set aside.
		s.dispense(s.otherCRC, of, "02", "2026-03-05")
		s.eventually("the kit is set aside", func() bool {
			return s.setAside(s.manager, left)
		})
		s.must(s.otherCRC, patient.RecordVisit{OfPatient: of, Visit: "week-8", On: "2026-04-01"})
		s.kitOf(s.otherCRC, of, "02")
	})
}

// endedFor checks the coded reason of an end in the list that is narrowed by it.
func (s *site) endedFor(of domain.OfPatient, reason patient.EndReason, position uint64) {
	s.t.Helper()
	var list readmodels.List[patientviews.PatientRow]
	query := strings.ReplaceAll(fmt.Sprintf("/api/v1/studies/%s/patients?endCode=%s", s.study, reason), " ", "%20")
	s.query(s.manager, query, position, &list)
	if !slices.ContainsFunc(list.Items, func(r patientviews.PatientRow) bool { return r.Patient == of.Patient && r.EndCode == reason }) {
		s.t.Errorf("%s lists %+v", query, list.Items)
	}
}

// investigator returns the token of an investigator at site 01 who has just signed in, or of one who has not.
func (s *site) investigator(signedIn bool) string {
	s.t.Helper()
	const id = domain.UserID("dr.one")
	if !s.hired {
		s.account(id, user.Grant{Role: user.Investigator, Study: s.study, Site: "01"})
		s.hired = true
	}
	proof := access.Proof{User: id}
	if signedIn {
		proof.AuthenticatedAt = time.Now()
	}
	token, err := s.tokens.SignFor(proof, time.Now(), time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// refusalRecorded checks that the security log has a refused command about a patient.
func (s *site) refusalRecorded(of domain.OfPatient, action, code string) {
	s.t.Helper()
	s.eventually("the refusal is recorded", func() bool {
		for r, err := range s.log.ReadStream(s.t.Context(), security.Decider.Stream(string(domain.DateOf(time.Now().UTC()))), 0) {
			if err != nil {
				return false // nothing is recorded yet
			}
			if e, ok := r.Event.(security.AccessRefused); ok && e.Action == action && e.Code == code && e.Patient == of.Patient {
				return true
			}
		}
		return false
	})
}
