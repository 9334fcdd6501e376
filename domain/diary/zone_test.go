package diary_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/scenario"
)

// moved is a patient who lives by another zone from a day on.
func moved(who patient.Patient, to string, on domain.Date) patient.Patient {
	return patient.Decider.Evolve(who, patient.ZoneChanged{Patient: who.ID, To: to, On: on})
}

// What is assigned follows the patient into another zone from the day on, once, and past windows stay as they were.
func TestDiariesFollowThePatientIntoAnotherZone(t *testing.T) {
	pain := instrument.PainDiary()
	following := func(who patient.Patient, at time.Time) func(diary.Diary) ([]diary.Event, error) {
		return scenario.SentWithFacts(diary.Follow, diary.Plan{Patient: who}, diary.FollowPhase{OfPatient: domain.ForPatient(anna)}, call(at))
	}
	inZone := func(zone string, from, until domain.Date) diary.InstrumentAssigned {
		e := assigned(pain)
		e.Zone, e.From, e.Until = zone, from, until
		return e
	}
	who, now := enrolled("Asia/Shanghai"), shanghai(t, "2026-03-10 21:00")
	answered := submitted(t, "2026-03-10", shanghai(t, "2026-03-10 20:30"))
	g := march(t).Given(answered)
	g.When(following(who, now)).Then()
	away := moved(who, "Europe/London", "2026-03-15")
	there := g.When(following(away, now)).Then(inZone("Europe/London", "2026-03-15", "2026-03-31"))
	there.When(following(away, now)).Then()
	if there.State().Status(painNRS, "2026-03-10/evening") != diary.Answered {
		t.Error("the window that was answered is not any more")
	}
	windows := map[string]int{}
	for _, a := range there.State().Assignments() {
		for n := range a.Calendar().Len() {
			w := a.Calendar().Window(n)
			windows[w.ID]++
			zone := map[bool]string{true: "Europe/London", false: "Asia/Shanghai"}[w.ID >= "2026-03-15"]
			if !w.Opens.Equal(at(t, zone, w.ID[:10]+" 18:00")) {
				t.Errorf("window %s opens at %s", w.ID, w.Opens)
			}
		}
	}
	if len(windows) != 31 {
		t.Errorf("there are %d windows", len(windows))
	}
	// On the way back, and with the change heard of late: today stays as it is.
	home := moved(away, "Asia/Shanghai", "2026-03-20")
	there.When(following(home, now)).Then(inZone("Asia/Shanghai", "2026-03-20", "2026-03-31"))
	g.When(following(home, now)).Then(inZone("Europe/London", "2026-03-15", "2026-03-31"), inZone("Asia/Shanghai", "2026-03-20", "2026-03-31"))
	g.When(following(away, at(t, "Europe/London", "2026-03-16 12:00"))).Then(inZone("Europe/London", "2026-03-17", "2026-03-31"))
	// What begins later begins in the zone of its days, and what is over stays.
	future := scenario.For(t, diary.Decider).Given(inZone("Asia/Shanghai", "2026-03-18", "2026-03-31"))
	future.When(following(away, now)).Then(inZone("Europe/London", "2026-03-18", "2026-03-31"))
	over := scenario.For(t, diary.Decider).Given(inZone("Asia/Shanghai", "2026-03-01", "2026-03-12"))
	over.When(following(away, now)).Then()
	scenario.For(t, diary.Decider).When(assigning(away, pain, "2026-03-12", "2026-03-31", now)).
		Then(since(inZone("Asia/Shanghai", "2026-03-12", "2026-03-31"), now), since(inZone("Europe/London", "2026-03-15", "2026-03-31"), now))
}
