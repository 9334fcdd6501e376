package patient_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
	"casebook/domain/study"

	"pgregory.net/rapid"
)

const (
	pain = domain.StudyID("PAIN1")
	anna = domain.PatientID("PAIN1.S-1")
)

var (
	call   = domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: "crc"}
	ofAnna = domain.ForPatient(anna)
)

// theStudy has the active site A, the site B, which is not active, and consent version 1.0 in force.
func theStudy() study.Study {
	return study.Decider.Fold(
		study.Created{Study: pain, Title: "Pain", Sponsor: "Nobody"},
		study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0"}},
		study.SiteAdded{Study: pain, Site: "A", Zone: "Europe/Berlin"}, study.SiteActivated{Study: pain, Site: "A"},
		study.SiteAdded{Study: pain, Site: "B", Zone: "Europe/Berlin"},
	)
}

func amended() study.Study {
	return study.Decider.Evolve(theStudy(),
		study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 2, ConsentVersion: "2.0"}})
}

// withTwoSites is theStudy with an active site B.
func withTwoSites() study.Study {
	return study.Decider.Evolve(theStudy(), study.SiteActivated{Study: pain, Site: "B"})
}

func siteClosed() study.Study {
	return study.Decider.Evolve(theStudy(), study.SiteClosed{Study: pain, Site: "A"})
}

type decision = func(patient.Patient) ([]patient.Event, error)

func screening(s study.Study, change func(*patient.ScreenPatient)) decision {
	cmd := patient.ScreenPatient{AtSite: domain.ForSite(pain, "A"), ScreeningNumber: "S-1", On: "2026-02-01",
		Sex: patient.Female, AgeYears: 44}
	change(&cmd)
	return scenario.SentWithFacts(patient.Screen, patient.Screening{Study: s}, cmd, call)
}

func consenting(s study.Study, version string, on domain.Date) decision {
	cmd := patient.RecordConsent{OfPatient: ofAnna, ConsentVersion: version, On: on}
	return scenario.SentWithFacts(patient.Consent, s, cmd, call)
}

func failingScreening(on domain.Date, reason string) decision {
	cmd := patient.RecordScreenFailure{OfPatient: ofAnna, On: on, Reasoned: domain.Because(reason)}
	return scenario.Sent(patient.FailScreening, cmd, call)
}

func enrolling(s study.Study, on domain.Date) decision {
	return scenario.SentWithFacts(patient.RequestEnrollment, s, patient.EnrollPatient{OfPatient: ofAnna, On: on}, call)
}

func confirming(number string) decision {
	return scenario.Sent(patient.Confirm, patient.ConfirmEnrollment{OfPatient: ofAnna, PatientNumber: number}, call)
}

func failingEnrolment() decision {
	cmd := patient.FailEnrollment{OfPatient: ofAnna, Code: "study_cap_reached", Reasoned: domain.Because("full")}
	return scenario.Sent(patient.Fail, cmd, call)
}

func withdrawing(on domain.Date, reason string) decision {
	return scenario.Sent(patient.Withdraw, patient.WithdrawConsent{OfPatient: ofAnna, On: on, Reason: personal.Text(reason)}, call)
}

func withdrawingFrom(on domain.Date, extent ...patient.Extent) decision {
	return scenario.Sent(patient.Withdraw, patient.WithdrawConsent{OfPatient: ofAnna, On: on, Extent: extent}, call)
}

func stopping(on domain.Date, reason patient.EndReason, detail string) decision {
	cmd := patient.DiscontinueTreatment{OfPatient: ofAnna, On: on, Reason: reason, Detail: personal.Text(detail)}
	return scenario.Sent(patient.StopTreatment, cmd, call)
}

func holding(on domain.Date, reason string) decision {
	return scenario.Sent(patient.Hold, patient.HoldDose{OfPatient: ofAnna, On: on, Reasoned: domain.Because(reason)}, call)
}

func resuming(on domain.Date, reason string) decision {
	return scenario.Sent(patient.Resume, patient.ResumeDose{OfPatient: ofAnna, On: on, Reasoned: domain.Because(reason)}, call)
}

func ending(on domain.Date, reason patient.EndReason, detail string) decision {
	cmd := patient.EndParticipation{OfPatient: ofAnna, On: on, Reason: reason, Detail: personal.Text(detail)}
	return scenario.Sent(patient.End, cmd, call)
}

func undoing(step patient.Step, reason string) decision {
	cmd := patient.UndoPatientStep{OfPatient: ofAnna, Step: step, Reasoned: domain.Because(reason)}
	return scenario.SentWithFacts(patient.Undo, patient.Undoing{}, cmd, call)
}

func transferring(s study.Study, to domain.SiteID, on domain.Date) decision {
	cmd := patient.TransferPatient{OfPatient: ofAnna, To: to, On: on, Reasoned: domain.Because("moved to Hamburg")}
	return scenario.SentWithFacts(patient.Transfer, s, cmd, call)
}

func discontinuing(on domain.Date, reason string) decision {
	cmd := patient.DiscontinuePatient{OfPatient: ofAnna, On: on, Reasoned: domain.Because(reason)}
	return scenario.Sent(patient.Discontinue, cmd, call)
}

func completing(on domain.Date) decision {
	return scenario.Sent(patient.Complete, patient.CompletePatient{OfPatient: ofAnna, On: on}, call)
}

var (
	screened = patient.Screened{Patient: anna, Study: pain, Site: "A", ScreeningNumber: "S-1", On: "2026-02-01",
		Zone: "Europe/Berlin", Sex: patient.Female, AgeYears: 44}
	consented    = patient.ConsentRecorded{Patient: anna, ConsentVersion: "1.0", On: "2026-02-02", Protocol: 1}
	screenFailed = patient.ScreenFailureRecorded{Patient: anna, On: "2026-03-01", Reason: "criterion 3"}
	requested    = requestedOn("2026-02-03", 1, "1.0")
	enrolled     = patient.Enrolled{Patient: anna, On: "2026-02-03", PatientNumber: "PAIN1-00001"}
	failed       = patient.EnrollmentFailed{Patient: anna, Code: "study_cap_reached", Reason: "full"}
	withdrawn    = withdrawnOn("2026-03-01")
	discontinued = patient.Discontinued{Patient: anna, On: "2026-03-01", Reason: "ADVERSE EVENT", Code: patient.EndedByAdverseEvent}
	completed    = patient.Completed{Patient: anna, On: "2026-03-01"}
	died         = patient.ParticipationEnded{Patient: anna, On: "2026-03-01", Reason: patient.EndedByDeath}
	stopped      = patient.TreatmentDiscontinued{Patient: anna, On: "2026-03-01", Reason: patient.EndedByAdverseEvent, Detail: "nausea"}
	transferred  = patient.Transferred{Patient: anna, From: "A", To: "B", On: "2026-03-01", Reason: "moved to Hamburg"}
)

// everything is what a patient withdraws from who leaves the study.
var everything = []patient.Extent{patient.ExtentTreatment, patient.ExtentProcedures, patient.ExtentContact}

func withdrawnOn(on domain.Date) patient.ConsentWithdrawn {
	return patient.ConsentWithdrawn{Patient: anna, On: on, Extent: everything, EndsParticipation: true, EndsTreatment: true}
}

// histories has, for every status, events that lead to it.
var histories = map[patient.Status][]patient.Event{
	"":                             nil,
	patient.StatusScreened:         {screened},
	patient.StatusConsented:        {screened, consented},
	patient.StatusScreenFailed:     {screened, screenFailed},
	patient.StatusEnrolling:        {screened, consented, requested},
	patient.StatusEnrolled:         {screened, consented, requested, enrolled},
	patient.StatusEnrollmentFailed: {screened, consented, requested, failed},
	patient.StatusWithdrawn:        {screened, consented, requested, enrolled, withdrawn},
	patient.StatusDiscontinued:     {screened, consented, requested, enrolled, discontinued},
	patient.StatusCompleted:        {screened, consented, requested, enrolled, completed},
}

func in(t testing.TB, status patient.Status) scenario.Given[patient.Patient, patient.Event] {
	t.Helper()
	given := scenario.For(t, patient.Decider).Strict().Given(histories[status]...)
	if got := given.State().Status; got != status {
		t.Fatalf("the history of %q leads to %q", status, got)
	}
	return given
}

// TestR8_EveryCommandInEveryStatus has a row for every status and a column for every command. A cell says whether the
// command is accepted, records nothing, or is refused with a code.
func TestR8_EveryCommandInEveryStatus(t *testing.T) {
	signedAmendment := patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-02", Protocol: 2}
	anotherNumber := patient.Enrolled{Patient: anna, On: "2026-02-03", PatientNumber: "PAIN1-00002"}
	commands := []struct {
		name   string
		decide decision
		event  patient.Event
	}{
		{"ScreenPatient", screening(theStudy(), func(*patient.ScreenPatient) {}), screened},
		{"RecordConsent", consenting(theStudy(), "1.0", "2026-02-02"), consented},
		{"RecordConsent of the amendment", consenting(amended(), "2.0", "2026-03-02"), signedAmendment},
		{"RecordScreenFailure", failingScreening("2026-03-01", "criterion 3"), screenFailed},
		{"EnrollPatient", enrolling(theStudy(), "2026-02-03"), requested},
		{"ConfirmEnrollment", confirming("PAIN1-00001"), enrolled},
		{"ConfirmEnrollment of another", confirming("PAIN1-00002"), anotherNumber},
		{"FailEnrollment", failingEnrolment(), failed},
		{"WithdrawConsent", withdrawing("2026-03-01", ""), withdrawn},
		{"DiscontinuePatient", discontinuing("2026-03-01", "ADVERSE EVENT"), discontinued},
		{"CompletePatient", completing("2026-03-01"), completed},
		{"EndParticipation", ending("2026-03-01", patient.EndedByDeath, ""), died},
		{"DiscontinueTreatment", stopping("2026-03-01", patient.EndedByAdverseEvent, "nausea"), stopped},
		{"TransferPatient", transferring(withTwoSites(), "B", "2026-03-01"), transferred},
	}
	const (
		yes       = "accepted"
		same      = "" // there is nothing to record
		nobody    = "patient_not_found"
		ended     = "patient_ended"
		after     = "accepted after the end"
		wrong     = "patient_status"
		twice     = "consent_recorded"
		gone      = "consent_withdrawn"
		untreated = "treatment_not_under_way"
		busy      = "enrollment_in_progress"
		exists    = "patient_exists"
		none      = "consent_missing"
	)
	for status, want := range map[patient.Status][14]string{
		//                               Screen, Consent, again, ScreenFail, Enrol, Confirm, other, Fail, Withdraw,
		//                               Discontinue, Complete, End, StopTreatment, Transfer
		"": {yes, nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody, nobody,
			nobody},
		patient.StatusScreened:         {exists, yes, yes, yes, none, wrong, wrong, same, none, wrong, wrong, wrong, untreated, yes},
		patient.StatusConsented:        {exists, twice, yes, yes, yes, wrong, wrong, same, yes, wrong, wrong, wrong, untreated, yes},
		patient.StatusScreenFailed:     {exists, yes, ended, ended, ended, ended, ended, same, none, ended, ended, ended, ended, ended},
		patient.StatusEnrolling:        {exists, twice, yes, wrong, wrong, yes, yes, yes, yes, yes, wrong, yes, untreated, busy},
		patient.StatusEnrolled:         {exists, twice, yes, wrong, wrong, same, wrong, same, yes, yes, yes, yes, yes, yes},
		patient.StatusEnrollmentFailed: {exists, twice, yes, yes, yes, wrong, wrong, same, yes, wrong, wrong, wrong, untreated, yes},
		patient.StatusWithdrawn:        {exists, twice, ended, ended, ended, ended, ended, same, gone, ended, ended, ended, ended, ended},
		patient.StatusDiscontinued:     {exists, twice, ended, ended, ended, ended, ended, same, after, ended, ended, ended, ended, ended},
		patient.StatusCompleted:        {exists, twice, ended, ended, ended, ended, ended, same, after, ended, ended, ended, ended, ended},
	} {
		for i, command := range commands {
			t.Run(string(status)+"/"+command.name, func(t *testing.T) {
				decided := in(t, status).When(command.decide)
				switch want[i] {
				case yes:
					if again, ok := command.event.(patient.EnrollmentRequested); ok && status == patient.StatusEnrollmentFailed {
						again.Attempt = 2
						command.event = again
					}
					decided.Then(command.event)
				case after:
					later := withdrawn
					later.EndsParticipation = false
					decided.Then(later)
				case same:
					decided.Then()
				default:
					decided.ThenRefused(want[i])
				}
			})
		}
	}
}

func TestScreen(t *testing.T) {
	nothing := in(t, "")
	for name, x := range map[string]struct {
		code   string
		change func(*patient.ScreenPatient)
	}{
		"number":       {"malformed_id", func(c *patient.ScreenPatient) { c.ScreeningNumber = "S 1" }},
		"a dot":        {"malformed_id", func(c *patient.ScreenPatient) { c.ScreeningNumber = "S.1" }},
		"date":         {"malformed_date", func(c *patient.ScreenPatient) { c.On = "" }},
		"future":       {"captured_in_future", func(c *patient.ScreenPatient) { c.On = "2026-03-12" }},
		"age":          {"value_out_of_range", func(c *patient.ScreenPatient) { c.AgeYears = 131 }},
		"negative age": {"value_out_of_range", func(c *patient.ScreenPatient) { c.AgeYears = -1 }},
		"sex":          {"unknown_code", func(c *patient.ScreenPatient) { c.Sex = patient.Sex(strings.Repeat("f", 100)) }},
		"zone":         {"unknown_zone", func(c *patient.ScreenPatient) { c.Zone = "Mars/Olympus" }},
		"site":         {"site_not_found", func(c *patient.ScreenPatient) { c.Site = "X" }},
		"idle site":    {"site_not_active", func(c *patient.ScreenPatient) { c.Site = "B" }},
	} {
		t.Run(name, func(t *testing.T) { nothing.When(screening(theStudy(), x.change)).ThenRefused(x.code) })
	}
	same := func(*patient.ScreenPatient) {}
	nothing.When(screening(study.Study{}, same)).ThenRefused("study_not_found")
	nothing.When(screening(siteClosed(), same)).ThenRefused("site_not_active")

	// The patient may live in another zone, and sex and age may be unknown.
	elsewhere := screened
	elsewhere.Zone, elsewhere.Sex, elsewhere.AgeYears = "Asia/Shanghai", "", 0
	nothing.When(screening(theStudy(), func(c *patient.ScreenPatient) {
		c.Zone, c.Sex, c.AgeYears = "Asia/Shanghai", "", 0
	})).Then(elsewhere)
	for _, sex := range []patient.Sex{patient.Female, patient.Male, patient.Undifferentiated, patient.SexUnknown} {
		want := screened
		want.Sex = sex
		nothing.When(screening(theStudy(), func(c *patient.ScreenPatient) { c.Sex = sex })).Then(want)
	}
}

func TestConsent(t *testing.T) {
	given := in(t, patient.StatusScreened)
	given.When(consenting(theStudy(), "0.9", "2026-02-02")).ThenRefused("consent_version_not_in_force")
	given.When(consenting(amended(), "1.0", "2026-02-02")).ThenRefused("consent_version_not_in_force")
	given.When(consenting(study.Study{}, "", "2026-02-02")).ThenRefused("consent_version_not_in_force")
	given.When(consenting(theStudy(), "1.0", "2026-03-12")).ThenRefused("captured_in_future")
	given.When(consenting(theStudy(), "1.0", "x")).ThenRefused("malformed_date")
	// The consent may be signed before the screening.
	given.When(consenting(theStudy(), "1.0", "2026-01-15")).
		Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "1.0", On: "2026-01-15", Protocol: 1})
	// The signature of a later version does not change the patient's status.
	again := in(t, patient.StatusEnrolled).When(consenting(amended(), "2.0", "2026-03-02")).
		Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-02", Protocol: 2}).State()
	if again.Status != patient.StatusEnrolled || again.ConsentVersion != "2.0" || again.ConsentedOn != "2026-03-02" {
		t.Errorf("the patient is %+v", again)
	}
}

func TestR8_NobodyIsEnrolledBeforeTheConsent(t *testing.T) {
	given := in(t, patient.StatusConsented)
	given.When(enrolling(theStudy(), "2026-02-01")).ThenRefused("enrolled_before_consent")
	given.When(enrolling(theStudy(), "2026-02-02")).Then(requestedOn("2026-02-02", 1, "1.0"))
	given.When(enrolling(theStudy(), "2026-03-12")).ThenRefused("captured_in_future")
	given.When(enrolling(theStudy(), "2026-02-30")).ThenRefused("malformed_date")
	given.When(enrolling(siteClosed(), "2026-02-03")).ThenRefused("site_not_active")
	given.When(enrolling(study.Study{}, "2026-02-03")).ThenRefused("study_not_found")
	in(t, patient.StatusScreened).Given(patient.ConsentRecorded{Patient: anna, ConsentVersion: "1.0", On: "2026-01-15", Protocol: 1}).
		When(enrolling(theStudy(), "2026-01-31")).ThenRefused("enrolled_before_screening")
	in(t, patient.StatusEnrolling).When(confirming("")).ThenRefused("value_missing")
	in(t, patient.StatusEnrolling).When(confirming(strings.Repeat("1", 51))).ThenRefused("value_too_long")
}

func TestR18_ChangesOfStatusHaveAReason(t *testing.T) {
	in(t, patient.StatusScreened).When(failingScreening("2026-03-01", " ")).ThenRefused("reason_required")
	in(t, patient.StatusEnrolled).When(discontinuing("2026-03-01", "")).ThenRefused("reason_required")
	in(t, patient.StatusEnrolled).When(discontinuing("2026-03-01", strings.Repeat("x", 501))).ThenRefused("value_too_long")
	// Patients may withdraw their consent with or without a reason.
	in(t, patient.StatusEnrolled).When(withdrawing("2026-03-01", "")).Then(withdrawn)
	why := withdrawn
	why.Reason = "too far to travel"
	in(t, patient.StatusEnrolled).When(withdrawing("2026-03-01", string(why.Reason))).Then(why)
	in(t, patient.StatusEnrolled).When(withdrawing("2026-03-01", strings.Repeat("x", 501))).ThenRefused("value_too_long")
}

func TestEndIsBetweenEnrolmentAndToday(t *testing.T) {
	for name, end := range map[string]func(domain.Date) decision{
		"withdrawn":    func(on domain.Date) decision { return withdrawing(on, "") },
		"discontinued": func(on domain.Date) decision { return discontinuing(on, "ADVERSE EVENT") },
		"completed":    completing,
	} {
		t.Run(name, func(t *testing.T) {
			given := in(t, patient.StatusEnrolled)
			given.When(end("2026-02-02")).ThenRefused("ended_before_enrollment")
			given.When(end("2026-03-12")).ThenRefused("captured_in_future")
			given.When(end("soon")).ThenRefused("malformed_date")
			events, err := end("2026-02-03")(given.State())
			if err != nil || len(events) != 1 {
				t.Fatalf("got %v, %v", events, err)
			}
			if p := given.Given(events...).State(); p.EndedOn != "2026-02-03" || p.Participating() || string(p.Status) != name {
				t.Errorf("the patient is %+v", p)
			}
		})
	}
	in(t, patient.StatusScreened).When(failingScreening("2026-03-12", "criterion 3")).ThenRefused("captured_in_future")
	in(t, patient.StatusScreened).When(failingScreening("2026-01-31", "criterion 3")).ThenRefused("ended_before_screening")
	onTheDay := screenFailed
	onTheDay.On = screened.On
	in(t, patient.StatusScreened).When(failingScreening(screened.On, "criterion 3")).Then(onTheDay)
}

func TestConsentIsNotWithdrawnBeforeItsSignature(t *testing.T) {
	for _, status := range []patient.Status{patient.StatusConsented, patient.StatusEnrolling, patient.StatusEnrollmentFailed} {
		in(t, status).When(withdrawing("2026-02-01", "")).ThenRefused("withdrawn_before_consent")
		in(t, status).When(withdrawing(consented.On, "")).Then(withdrawnOn(consented.On))
	}
	// The day of the latest signature counts.
	again := in(t, patient.StatusEnrolled).Given(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-02", Protocol: 2})
	again.When(withdrawing("2026-03-01", "")).ThenRefused("withdrawn_before_consent")
	again.When(withdrawing("2026-03-02", "")).Then(withdrawnOn("2026-03-02"))
}

// After a failed enrolment, a second request has its own day and number of attempts.
func TestEnrolmentMayBeRequestedAgain(t *testing.T) {
	again := requestedOn("2026-03-05", 2, "1.0")
	confirmed := enrolled
	confirmed.On, confirmed.PatientNumber = "2026-03-05", "PAIN1-00007"
	p := in(t, patient.StatusEnrollmentFailed).When(enrolling(theStudy(), "2026-03-05")).Then(again).
		When(confirming("PAIN1-00007")).Then(confirmed).State()
	if !p.Participating() || p.EnrolledOn != "2026-03-05" || p.PatientNumber != "PAIN1-00007" {
		t.Errorf("the patient is %+v", p)
	}
}

func requestedOn(on domain.Date, attempt int, consent string) patient.EnrollmentRequested {
	return patient.EnrollmentRequested{Patient: anna, Study: pain, Site: "A", On: on, Attempt: attempt, Protocol: 1, ConsentVersion: consent}
}

// A patient is enrolled only if every criterion is met and every factor has one of its levels. The event has the
// answers.
func TestR8_OnlyEligiblePatientsAreEnrolled(t *testing.T) {
	severity := study.Factor{ID: "severity", Levels: []string{"mild", "severe"}}
	s := study.Decider.Evolve(theStudy(), study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{
		Version: 1, ConsentVersion: "1.0",
		Arms:      []study.Arm{{ID: "x"}, {ID: "y"}},
		Criteria:  []study.Criterion{{ID: "adult"}, {ID: "pregnant", Exclusion: true}},
		Treatment: &study.Treatment{Randomised: true, Kits: true, Factors: []study.Factor{severity}},
	}})
	given := in(t, patient.StatusConsented)
	with := func(criteria map[string]bool, factors map[string]string) decision {
		cmd := patient.EnrollPatient{OfPatient: ofAnna, On: "2026-02-03", Criteria: criteria, Factors: factors}
		return scenario.SentWithFacts(patient.RequestEnrollment, s, cmd, call)
	}
	good, mild := map[string]bool{"adult": true, "pregnant": false}, map[string]string{"severity": "mild"}
	want := requestedOn("2026-02-03", 1, "1.0")
	want.Criteria, want.Factors, want.Randomise, want.Kits = good, mild, true, true
	given.When(with(good, mild)).Then(want)
	for code, x := range map[string]struct {
		criteria map[string]bool
		factors  map[string]string
	}{
		"criterion_unanswered": {map[string]bool{"adult": true}, mild},
		"not_eligible":         {map[string]bool{"adult": true, "pregnant": true}, mild},
		"unknown_criterion":    {map[string]bool{"adult": true, "pregnant": false, "tall": true}, mild},
		"unknown_factor_level": {good, map[string]string{"severity": "none"}},
		"unknown_factor":       {good, map[string]string{"severity": "mild", "colour": "red"}},
	} {
		given.When(with(x.criteria, x.factors)).ThenRefused(code)
	}
	given.When(with(map[string]bool{"adult": false, "pregnant": false}, mild)).ThenRefused("not_eligible")
}

// graph has, for every status, the statuses that can follow it.
var graph = map[patient.Status][]patient.Status{
	"":                      {patient.StatusScreened},
	patient.StatusScreened:  {patient.StatusConsented, patient.StatusScreenFailed},
	patient.StatusConsented: {patient.StatusEnrolling, patient.StatusScreenFailed, patient.StatusWithdrawn},
	patient.StatusEnrolling: {patient.StatusEnrolled, patient.StatusEnrollmentFailed, patient.StatusWithdrawn,
		patient.StatusDiscontinued},
	patient.StatusEnrollmentFailed: {patient.StatusEnrolling, patient.StatusScreenFailed, patient.StatusWithdrawn},
	patient.StatusEnrolled:         {patient.StatusWithdrawn, patient.StatusDiscontinued, patient.StatusCompleted},
	// An end that was recorded in error is undone.
	patient.StatusScreenFailed: {patient.StatusScreened, patient.StatusConsented, patient.StatusEnrollmentFailed},
	patient.StatusWithdrawn:    {patient.StatusConsented, patient.StatusEnrolling, patient.StatusEnrolled, patient.StatusEnrollmentFailed},
	patient.StatusDiscontinued: {patient.StatusEnrolled, patient.StatusEnrollmentFailed},
	patient.StatusCompleted:    {patient.StatusEnrolled},
}

// ends are the statuses of patients whose participation has ended.
var ends = []patient.Status{patient.StatusScreenFailed, patient.StatusWithdrawn, patient.StatusDiscontinued, patient.StatusCompleted}

// In every order of commands: statuses follow the graph, no patient participates without consent or after the end, days
// never contradict one another, and Evolve does not change old states.
func TestR8_PatientsStayOnTheGraph(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := patient.Patient{}
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			events, err := drawn(t)(p)
			if _, refused := refuse.As(err); err != nil && !refused {
				t.Fatalf("an error that is not a refusal: %v", err)
			}
			for _, e := range events {
				next := scenario.Evolve(t, patient.Decider, p, e)
				if next.Status != p.Status && !slices.Contains(graph[p.Status], next.Status) {
					t.Fatalf("%T leads from %q to %q", e, p.Status, next.Status)
				}
				p = next
			}
			hasEnded := slices.Contains(ends, p.Status)
			switch {
			case hasEnded != (p.EndedOn != ""):
				t.Fatalf("the status is %s, and the end is %q", p.Status, p.EndedOn)
			case p.Participating() && (p.ConsentVersion == "" || p.PatientNumber == ""):
				t.Fatalf("participates without consent or number: %+v", p)
			case p.EnrolledOn != "" && p.EnrolledOn < p.ScreenedOn:
				t.Fatalf("enrolled on %s before the screening on %s", p.EnrolledOn, p.ScreenedOn)
			case hasEnded && p.EndedOn < p.EnrolledOn:
				t.Fatalf("ended on %s before the enrolment on %s", p.EndedOn, p.EnrolledOn)
			case p.Status == patient.StatusScreenFailed && p.EndedOn < p.ScreenedOn:
				t.Fatalf("failed on %s before the screening on %s", p.EndedOn, p.ScreenedOn)
			case p.MayGetKits() && p.Status != patient.StatusEnrolling && (!p.Participating() || p.Treatment != patient.TreatmentOn):
				t.Fatalf("gets kits without treatment: %+v", p)
			case hasEnded && (p.Treatment == patient.TreatmentOn || p.Treatment == patient.TreatmentHeld):
				t.Fatalf("is treated after the end: %+v", p)
			case (p.Treatment == patient.TreatmentEnded) != (p.TreatmentEndedOn != ""):
				t.Fatalf("the treatment is %s, and its end is %q", p.Treatment, p.TreatmentEndedOn)
			case p.TreatmentEndedOn != "" && p.EndedOn != "" && p.TreatmentEndedOn > p.EndedOn:
				t.Fatalf("was treated until %s, and took part until %s", p.TreatmentEndedOn, p.EndedOn)
			case p.Status == patient.StatusWithdrawn && p.EndedOn < p.ConsentedOn:
				t.Fatalf("withdrew on %s before the consent on %s", p.EndedOn, p.ConsentedOn)
			}
		}
	})
}

func drawn(t *rapid.T) decision {
	on := domain.Date("2026-02-01").AddDays(rapid.IntRange(-3, 45).Draw(t, "day"))
	s := theStudy()
	if rapid.IntRange(0, 4).Draw(t, "amended") == 0 {
		s = amended()
	}
	return []decision{
		screening(s, func(c *patient.ScreenPatient) { c.On = on }),
		consenting(s, s.Protocol.ConsentVersion, on),
		failingScreening(on, "criterion 3"),
		enrolling(s, on), enrolling(s, on),
		confirming(rapid.SampledFrom([]string{"1", "2", ""}).Draw(t, "number")),
		failingEnrolment(),
		withdrawing(on, ""),
		discontinuing(on, "ADVERSE EVENT"),
		completing(on),
		withdrawingFrom(on, rapid.SampledFrom(patient.Extents).Draw(t, "extent")),
		stopping(on, rapid.SampledFrom(patient.EndReasons).Draw(t, "why"), "detail"),
		holding(on, "nausea"),
		resuming(on, "better"),
		ending(on, rapid.SampledFrom(patient.EndReasons).Draw(t, "why"), "detail"),
		undoing(rapid.SampledFrom(patient.UndoableSteps).Draw(t, "step"), "wrong patient"),
		transferring(withTwoSites(), rapid.SampledFrom([]domain.SiteID{"A", "B"}).Draw(t, "site"), on),
	}[rapid.SampledFrom([]int{0, 0, 1, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 15, 16}).Draw(t, "command")]
}

// Between the signature and the enrolment, an amendment may bring a new consent version, which must be signed first.
func TestNoEnrolmentWithSupersededConsent(t *testing.T) {
	screened := patient.Screened{Patient: anna, Study: pain, Site: "A", ScreeningNumber: "S-1", On: "2026-02-01", Zone: "Europe/Berlin"}
	consented := patient.ConsentRecorded{Patient: anna, ConsentVersion: "1.0", On: "2026-02-01", Protocol: 1}
	signed := scenario.For(t, patient.Decider).Given(screened, consented)
	want := requestedOn("2026-02-03", 1, "2.0")
	want.Protocol = 2
	signed.When(enrolling(amended(), "2026-02-03")).ThenRefused("consent_version_not_in_force")
	signed.When(consenting(amended(), "2.0", "2026-02-02")).
		Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-02-02", Protocol: 2}).
		When(enrolling(amended(), "2026-02-03")).
		Then(want)
}
