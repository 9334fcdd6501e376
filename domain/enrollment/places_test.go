package enrollment_test

import (
	"fmt"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/personal"
	"casebook/domain/scenario"
	"casebook/domain/study"

	"pgregory.net/rapid"
)

const pain = domain.StudyID("PAIN1")

var call = domain.Call{At: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), Actor: "manager"}

// theStudy has the active sites A and B, the site C that is not active yet, and the closed site D.
func theStudy() study.Study {
	return study.Decider.Fold(
		study.Created{Study: pain, Title: "Pain", Sponsor: "Nobody"},
		study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0"}},
		study.SiteAdded{Study: pain, Site: "A"}, study.SiteActivated{Study: pain, Site: "A"},
		study.SiteAdded{Study: pain, Site: "B"}, study.SiteActivated{Study: pain, Site: "B"},
		study.SiteAdded{Study: pain, Site: "C"},
		study.SiteAdded{Study: pain, Site: "D"}, study.SiteActivated{Study: pain, Site: "D"}, study.SiteClosed{Study: pain, Site: "D"},
	)
}

func caps(most int, sites map[domain.SiteID]int) enrollment.Caps {
	return enrollment.Caps{Target: 1, Study: most, Sites: sites}
}

type decision = func(enrollment.Enrollment) ([]enrollment.Event, error)

func opening(s study.Study, c enrollment.Caps) decision {
	return scenario.SentWithFacts(enrollment.Open, s, enrollment.OpenEnrollment{InStudy: domain.ForStudy(pain), Caps: c}, call)
}

func settingTarget(s study.Study, c enrollment.Caps) decision {
	return scenario.SentWithFacts(enrollment.SetTarget, s, enrollment.SetEnrollmentTarget{InStudy: domain.ForStudy(pain), Caps: c}, call)
}

func closing(reason string) decision {
	return scenario.Sent(enrollment.Close, enrollment.CloseEnrollment{InStudy: domain.ForStudy(pain), Reasoned: domain.Because(reason)}, call)
}

func reserving(site domain.SiteID, who domain.PatientID) decision {
	cmd := enrollment.ReservePlace{InStudy: domain.ForStudy(pain), Site: site, OfPatient: domain.ForPatient(who)}
	return scenario.SentWithFacts(enrollment.Reserve, enrollment.Facts{Study: theStudy()}, cmd, call)
}

func releasing(who domain.PatientID, reason string) decision {
	cmd := enrollment.ReleasePlace{InStudy: domain.ForStudy(pain), OfPatient: domain.ForPatient(who), Reasoned: domain.Because(reason)}
	return scenario.Sent(enrollment.Release, cmd, call)
}

func reserved(site domain.SiteID, who domain.PatientID, number int) enrollment.PlaceReserved {
	return enrollment.PlaceReserved{Study: pain, Site: site, Patient: who, Number: number}
}

func released(site domain.SiteID, who domain.PatientID) enrollment.PlaceReleased {
	return enrollment.PlaceReleased{Study: pain, Site: site, Patient: who, Reason: "withdrew"}
}

func opened(most int, sites map[domain.SiteID]int) enrollment.Opened {
	return enrollment.Opened{Study: pain, Caps: caps(most, sites)}
}

func TestOpen(t *testing.T) {
	start := scenario.For(t, enrollment.Decider).Strict()
	start.When(opening(theStudy(), caps(10, map[domain.SiteID]int{"A": 0, "B": 10}))).
		Then(opened(10, map[domain.SiteID]int{"A": 0, "B": 10})).
		When(opening(theStudy(), caps(10, nil))).ThenRefused("enrollment_open")
	start.When(opening(study.Study{}, caps(10, nil))).ThenRefused("study_not_found")
	created := study.Created{Study: pain, Title: "Pain", Sponsor: "Nobody"}
	start.When(opening(study.Decider.Fold(created), caps(10, nil))).ThenRefused("no_protocol")
	inactive := study.Decider.Fold(created, study.ProtocolVersionPublished{Study: pain}, study.SiteAdded{Study: pain, Site: "A"})
	start.When(opening(inactive, caps(10, nil))).ThenRefused("no_active_site")
	// Closed enrolment may be opened again, with other caps.
	start.Given(opened(10, nil), enrollment.Closed{Study: pain, Reason: "full"}).When(opening(theStudy(), caps(20, nil))).Then(opened(20, nil))
}

func TestCapsAreChecked(t *testing.T) {
	start := scenario.For(t, enrollment.Decider).Strict()
	open := start.Given(opened(5, nil))
	for field, list := range map[string][]enrollment.Caps{
		"caps.study":  {{Target: 1}, {Target: 1, Study: -1}, {Target: 1, Study: 1_000_001}},
		"caps.target": {{Study: 5}, {Target: -1, Study: 5}, {Target: 6, Study: 5}},
		"caps.sites":  {caps(5, map[domain.SiteID]int{"X": 1}), caps(5, map[domain.SiteID]int{"A": -1}), caps(5, map[domain.SiteID]int{"A": 6})},
	} {
		for _, c := range list {
			for _, r := range []string{start.When(opening(theStudy(), c)).ThenRefused("invalid_caps").Field,
				open.When(settingTarget(theStudy(), c)).ThenRefused("invalid_caps").Field} {
				if r != field {
					t.Errorf("%+v: the refusal names the field %s, want %s", c, r, field)
				}
			}
		}
	}
}

func TestSetTarget(t *testing.T) {
	start := scenario.For(t, enrollment.Decider).Strict()
	was := caps(5, nil)
	start.Given(opened(5, nil)).When(settingTarget(theStudy(), caps(6, nil))).
		Then(enrollment.TargetSet{Study: pain, Caps: caps(6, nil), Was: &was})
	start.Given(opened(5, nil)).When(settingTarget(study.Study{}, caps(6, nil))).ThenRefused("study_not_found")
	start.When(settingTarget(theStudy(), caps(6, nil))).ThenRefused("enrollment_closed")
	start.Given(opened(5, nil), enrollment.Closed{Study: pain}).When(settingTarget(theStudy(), caps(6, nil))).ThenRefused("enrollment_closed")
	// A cap below the number of places taken takes no place away, and stops new reservations.
	lowered := start.Given(opened(5, nil), reserved("A", "PAIN1.1", 1), reserved("A", "PAIN1.2", 2)).
		When(settingTarget(theStudy(), caps(1, nil))).Then(enrollment.TargetSet{Study: pain, Caps: caps(1, nil), Was: &was})
	if _, held := lowered.State().PlaceOf("PAIN1.2"); !held {
		t.Error("a place was taken away")
	}
	lowered.When(reserving("A", "PAIN1.3")).Then(refusedPlace("A", "PAIN1.3", "study_cap_reached"))
}

func TestClose(t *testing.T) {
	start := scenario.For(t, enrollment.Decider).Strict()
	start.When(closing("full")).ThenRefused("enrollment_closed")
	open := start.Given(opened(5, nil), reserved("A", "PAIN1.1", 1))
	open.When(closing("")).ThenRefused("reason_required")
	closed := open.When(closing("full")).Then(enrollment.Closed{Study: pain, Reason: "full"})
	closed.When(closing("full")).ThenRefused("enrollment_closed")
	closed.When(reserving("A", "PAIN1.2")).Then(refusedPlace("A", "PAIN1.2", "enrollment_closed"))
	if site, held := closed.State().PlaceOf("PAIN1.1"); !held || site != "A" {
		t.Errorf("the patient's place changed: got %s, %v", site, held)
	}
}

// refusedPlace is the event of a reservation that is refused with this code; each code has its own sentence.
func refusedPlace(site domain.SiteID, who domain.PatientID, code string) enrollment.PlaceRefused {
	return enrollment.PlaceRefused{Study: pain, Site: site, Patient: who, Code: code, Reason: map[string]personal.Text{
		"enrollment_closed":   "enrolment of the study is not open",
		"site_not_active":     "the site is not active",
		"study_cap_reached":   "all places of the study are taken",
		"site_cap_reached":    "all places of the site are taken",
		"country_cap_reached": "all places of the country are taken",
		"activity_paused":     "randomisation is paused for the time being",
	}[code]}
}

func TestReserve(t *testing.T) {
	start := scenario.For(t, enrollment.Decider).Strict()
	start.When(reserving("A", "PAIN1.1")).Then(refusedPlace("A", "PAIN1.1", "enrollment_closed"))

	open := start.Given(opened(3, map[domain.SiteID]int{"A": 1, "B": 0}))
	for _, site := range []domain.SiteID{"C", "D", "X"} {
		open.When(reserving(site, "PAIN1.1")).Then(refusedPlace(site, "PAIN1.1", "site_not_active"))
	}
	one := open.When(reserving("A", "PAIN1.1")).Then(reserved("A", "PAIN1.1", 1))
	one.When(reserving("A", "PAIN1.1")).Then() // a second request
	one.When(reserving("B", "PAIN1.1")).Then() // a second request from another site
	full := one.When(reserving("A", "PAIN1.2")).Then(refusedPlace("A", "PAIN1.2", "site_cap_reached")).
		When(reserving("B", "PAIN1.2")).Then(reserved("B", "PAIN1.2", 2)). // no cap of its own
		When(reserving("B", "PAIN1.3")).Then(reserved("B", "PAIN1.3", 3)).
		When(reserving("B", "PAIN1.4")).Then(refusedPlace("B", "PAIN1.4", "study_cap_reached"))
	// A refused patient may request again, and gets an answer again.
	full.When(reserving("B", "PAIN1.4")).Then(refusedPlace("B", "PAIN1.4", "study_cap_reached"))
}

// A country's cap counts the places of all of its sites, and of no other.
func TestCapsOfCountries(t *testing.T) {
	s := study.Decider.Fold(study.Created{Study: pain}, study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1}},
		study.SiteAdded{Study: pain, Site: "A", Country: "DE"}, study.SiteActivated{Study: pain, Site: "A"},
		study.SiteAdded{Study: pain, Site: "B", Country: "DE"}, study.SiteActivated{Study: pain, Site: "B"},
		study.SiteAdded{Study: pain, Site: "C", Country: "FR"}, study.SiteActivated{Study: pain, Site: "C"})
	reserve := func(site domain.SiteID, who domain.PatientID) decision {
		return scenario.SentWithFacts(enrollment.Reserve, enrollment.Facts{Study: s},
			enrollment.ReservePlace{InStudy: domain.ForStudy(pain), Site: site, OfPatient: domain.ForPatient(who)}, call)
	}
	start := scenario.For(t, enrollment.Decider).Strict()
	for _, wrong := range []map[string]int{{"IT": 1}, {"DE": -1}, {"DE": 11}} {
		start.When(opening(s, enrollment.Caps{Target: 1, Study: 10, Countries: wrong})).ThenRefused("invalid_caps")
	}
	c := enrollment.Caps{Target: 1, Study: 10, Countries: map[string]int{"DE": 2}}
	open := start.When(opening(s, c)).Then(enrollment.Opened{Study: pain, Caps: c})
	full := open.When(reserve("A", "PAIN1.1")).Then(reserved("A", "PAIN1.1", 1)).
		When(reserve("B", "PAIN1.2")).Then(reserved("B", "PAIN1.2", 2))
	full.When(reserve("A", "PAIN1.3")).Then(refusedPlace("A", "PAIN1.3", "country_cap_reached"))
	full.When(reserve("C", "PAIN1.3")).Then(reserved("C", "PAIN1.3", 3))
}

// A pause of the site and a suspension of the patient's cohort stop enrolments that were requested before it.
func TestNobodyGetsAPlaceWhileRandomisationIsPaused(t *testing.T) {
	stop := []study.Activity{study.ActivityRandomisation}
	reserve := func(paused study.Event, sex string) decision {
		return scenario.SentWithFacts(enrollment.Reserve,
			enrollment.Facts{Study: study.Decider.Evolve(theStudy(), paused), Factors: map[string]string{"sex": sex}},
			enrollment.ReservePlace{InStudy: domain.ForStudy(pain), Site: "A", OfPatient: domain.ForPatient("PAIN1.1")}, call)
	}
	open := scenario.For(t, enrollment.Decider).Strict().Given(opened(5, nil))
	site, cohort := study.SitePaused{Study: pain, Site: "A", Activities: stop},
		study.Suspended{Study: pain, Cohort: study.Cohort{"sex": "f"}, Activities: stop}
	open.When(reserve(site, "m")).Then(refusedPlace("A", "PAIN1.1", "activity_paused"))
	open.When(reserve(cohort, "f")).Then(refusedPlace("A", "PAIN1.1", "activity_paused"))
	open.When(reserve(cohort, "m")).Then(reserved("A", "PAIN1.1", 1))
}

func TestRelease(t *testing.T) {
	given := scenario.For(t, enrollment.Decider).Strict().Given(opened(1, nil), reserved("A", "PAIN1.1", 1))
	given.When(releasing("PAIN1.1", "")).ThenRefused("reason_required")
	given.When(releasing("PAIN1.2", "withdrew")).ThenRefused("place_not_held")
	free := given.When(releasing("PAIN1.1", "withdrew")).Then(released("A", "PAIN1.1"))
	free.When(releasing("PAIN1.1", "withdrew")).ThenRefused("place_not_held")
	if s := free.State(); s.Taken != 0 || s.AtSite["A"] != 0 {
		t.Errorf("%d places are taken, %d of them at A", s.Taken, s.AtSite["A"])
	}
	// The place is free again, but its number is not used again.
	free.When(reserving("B", "PAIN1.2")).Then(reserved("B", "PAIN1.2", 2)).
		When(releasing("PAIN1.2", "withdrew")).Then(released("B", "PAIN1.2")).
		When(reserving("A", "PAIN1.1")).Then(reserved("A", "PAIN1.1", 3))
	// A place can also be released after enrolment is closed.
	given.Given(enrollment.Closed{Study: pain}).When(releasing("PAIN1.1", "withdrew")).Then(released("A", "PAIN1.1"))
}

// model is the simplest data that the state must agree with.
type model struct {
	held    map[domain.PatientID]domain.SiteID
	numbers map[int]bool
}

func (m model) at(site domain.SiteID) (n int) {
	for _, s := range m.held {
		if s == site {
			n++
		}
	}
	return n
}

// For any order of reservations, releases, closings and changes of caps: no reservation exceeds a cap, no patient holds
// two places, no number is used twice, every request is answered, and the state agrees with a plain map. Some runs
// begin at the sizes at which the persistent map copies itself.
func TestPlacesAgreeWithAPlainMap(t *testing.T) {
	copies := 0
	rapid.Check(t, func(t *rapid.T) {
		m := model{held: map[domain.PatientID]domain.SiteID{}, numbers: map[int]bool{}}
		s := enrollment.Decider.Fold(opened(40, map[domain.SiteID]int{"A": 25}))
		patients := rapid.IntRange(1, 60).Draw(t, "patients")
		who := rapid.Custom(func(t *rapid.T) domain.PatientID {
			return domain.NewPatientID(pain, fmt.Sprint(rapid.IntRange(1, patients).Draw(t, "patient")))
		})
		sites := rapid.SampledFrom([]domain.SiteID{"A", "A", "B", "B", "C", "D"})
		changes := 0
		// The persistent map copies itself after 64 changes: begin at, just before and just after the copies.
		for i := range rapid.SampledFrom([]int{0, 62, 63, 64, 65, 127, 128, 130}).Draw(t, "changes before") {
			e := enrollment.Event(reserved("B", domain.NewPatientID(pain, "1"), i/2+1))
			if i%2 == 1 {
				e = released("B", domain.NewPatientID(pain, "1"))
			}
			changes += m.apply(t, s, e)
			s = enrollment.Decider.Evolve(s, e) // scenario.Evolve, which is slow, is used from here on
		}
		m.compare(t, s, patients)
		for range rapid.SampledFrom([]int{20, 60, 120}).Draw(t, "steps") {
			var decide decision
			requester := domain.PatientID("")
			switch step := rapid.IntRange(0, 19).Draw(t, "step"); {
			case step < 11:
				requester = who.Draw(t, "who")
				decide = reserving(sites.Draw(t, "site"), requester)
			case step < 17:
				decide = releasing(who.Draw(t, "who"), "withdrew")
			case step == 17 && s.Open:
				most := rapid.IntRange(1, 50).Draw(t, "cap")
				siteCaps := map[domain.SiteID]int{"A": rapid.IntRange(0, most).Draw(t, "cap of A")}
				decide = settingTarget(theStudy(), caps(most, siteCaps))
			case !s.Open:
				decide = opening(theStudy(), caps(rapid.IntRange(1, 50).Draw(t, "cap"), nil))
			default:
				decide = closing("pause")
			}
			events, err := decide(s)
			if requester != "" {
				if _, holds := m.held[requester]; err != nil || holds != (len(events) == 0) {
					t.Fatalf("%s (holds a place: %v) got the answer %v, %v", requester, holds, events, err)
				}
			}
			for _, e := range events {
				changes += m.apply(t, s, e)
				s = scenario.Evolve(t, enrollment.Decider, s, e)
			}
			m.compare(t, s, patients)
		}
		if changes > 64 {
			copies++
		}
	})
	t.Logf("the map of places was copied in %d runs", copies)
}

// apply checks an event against the rules, applies it to the model, and returns how many places it changed.
func (m model) apply(t *rapid.T, s enrollment.Enrollment, e enrollment.Event) int {
	switch e := e.(type) {
	case enrollment.PlaceReserved:
		if _, held := m.held[e.Patient]; held {
			t.Fatalf("%s gets a second place", e.Patient)
		}
		if m.numbers[e.Number] {
			t.Fatalf("the number %d is used twice", e.Number)
		}
		m.held[e.Patient], m.numbers[e.Number] = e.Site, true
		if siteCap := s.Caps.Sites[e.Site]; !s.Open || len(m.held) > s.Caps.Study || siteCap > 0 && m.at(e.Site) > siteCap {
			t.Fatalf("%+v exceeds a cap: %d places, %d at the site, caps %+v", e, len(m.held), m.at(e.Site), s.Caps)
		}
		return 1
	case enrollment.PlaceReleased:
		if m.held[e.Patient] != e.Site {
			t.Fatalf("%s releases a place at %s but holds one at %q", e.Patient, e.Site, m.held[e.Patient])
		}
		delete(m.held, e.Patient)
		return 1
	}
	return 0
}

// compare checks that the state agrees with the model.
func (m model) compare(t *rapid.T, s enrollment.Enrollment, patients int) {
	for i := range patients + 1 {
		id := domain.NewPatientID(pain, fmt.Sprint(i))
		want, held := m.held[id]
		if site, ok := s.PlaceOf(id); site != want || ok != held {
			t.Fatalf("%s holds a place at %q (%v), the state says %q (%v)", id, want, held, site, ok)
		}
	}
	if s.Taken != len(m.held) {
		t.Fatalf("%d places are held, the state says %d", len(m.held), s.Taken)
	}
	for _, site := range []domain.SiteID{"A", "B", "C", "D"} {
		if s.AtSite[site] != m.at(site) {
			t.Fatalf("%d places are held at %s, the state says %d", m.at(site), site, s.AtSite[site])
		}
	}
}

// Two states that evolve from the same state share memory, but neither sees the events of the other.
func TestStatesFromOneStateAreIndependent(t *testing.T) {
	s := enrollment.Decider.Fold(opened(1000, nil))
	patient := func(i int) domain.PatientID { return domain.NewPatientID(pain, fmt.Sprint(i)) }
	for i := 1; i <= 200; i++ {
		left := enrollment.Decider.Evolve(s, released("A", patient(i-1)))
		if i == 1 {
			left = s
		}
		right := enrollment.Decider.Evolve(s, reserved("B", patient(i), i))
		if _, held := left.PlaceOf(patient(i)); held {
			t.Fatalf("after %d places, the reservation of the other state is seen", i)
		}
		if _, held := left.PlaceOf(patient(i - 1)); held {
			t.Fatalf("after %d places, a released place is still held", i)
		}
		if _, held := right.PlaceOf(patient(i - 1)); i > 1 && !held {
			t.Fatalf("after %d places, the release of the other state is seen", i)
		}
		s = right
	}
	if s.Taken != 200 {
		t.Errorf("%d places are taken", s.Taken)
	}
}

func BenchmarkFoldTenThousandPlaces(b *testing.B) {
	events := []enrollment.Event{opened(20_000, nil)}
	for i := range 10_000 {
		events = append(events, reserved("A", domain.NewPatientID(pain, fmt.Sprint(i)), i+1))
	}
	b.ReportAllocs()
	for b.Loop() {
		enrollment.Decider.Fold(events...)
	}
}
