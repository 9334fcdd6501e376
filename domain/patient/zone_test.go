package patient_test

import (
	"slices"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/scenario"
)

func TestZonesChangeFromADayOn(t *testing.T) {
	evening := call
	evening.At = time.Date(2026, 3, 10, 21, 0, 0, 0, time.UTC) // 22:00 in Berlin, and the 11th in Auckland
	moving := func(zone string, from domain.Date) func(patient.Patient) ([]patient.Event, error) {
		return scenario.Sent(patient.Rezone, patient.ChangeZone{OfPatient: domain.ForPatient(anna), Zone: zone, From: from,
			Reasoned: domain.Because("a journey")}, evening)
	}
	changed := func(from, to string, on domain.Date) patient.ZoneChanged {
		return patient.ZoneChanged{Patient: anna, From: from, To: to, On: on, Reason: "a journey"}
	}
	const berlin, auckland, tokyo = "Europe/Berlin", "Pacific/Auckland", "Asia/Tokyo"
	given := onTreatment(t)
	if zone := given.State().Zone; zone != berlin {
		t.Fatalf("the patient lives by %q", zone)
	}
	given.When(moving("Mars/Olympus", "2026-03-11")).ThenRefused("unknown_zone")
	given.When(moving(auckland, "soon")).ThenRefused("malformed_date")
	given.When(moving(auckland, "2026-03-10")).ThenRefused("value_out_of_range") // today
	given.When(moving(auckland, "2028-03-10")).ThenRefused("value_out_of_range")
	given.When(moving(berlin, "2026-03-11")).ThenRefused("same_zone")
	given.Given(discontinued).When(moving(auckland, "2026-03-11")).ThenRefused("patient_ended")
	away := given.When(moving(auckland, "2026-03-11")).Then(changed(berlin, auckland, "2026-03-11"))
	back := away.When(moving(berlin, "2026-03-20")).Then(changed(auckland, berlin, "2026-03-20"))
	on := func(p patient.Patient) (zones []string) {
		for _, day := range []domain.Date{"2026-03-10", "2026-03-11", "2026-03-19", "2026-03-20"} {
			zones = append(zones, p.ZoneOn(day))
		}
		return zones
	}
	if got := on(back.State()); !slices.Equal(got, []string{berlin, auckland, auckland, berlin}) {
		t.Errorf("the zones are %v", got)
	}
	// A later change replaces those that were to come.
	other := back.When(moving(tokyo, "2026-03-15")).Then(changed(auckland, tokyo, "2026-03-15"))
	if got := on(other.State()); !slices.Equal(got, []string{berlin, auckland, tokyo, tokyo}) {
		t.Errorf("the zones are %v", got)
	}
	if day := given.State().DayOf(evening.At); day != "2026-03-10" {
		t.Errorf("in Berlin it is %s", day)
	}
	if day := away.State().DayOf(evening.At); day != "2026-03-11" { // the 11th has begun there
		t.Errorf("in Auckland it is %s", day)
	}
	if day := other.State().DayOf(time.Date(2026, 3, 16, 16, 0, 0, 0, time.UTC)); day != "2026-03-17" {
		t.Errorf("in Tokyo it is %s", day)
	}
}
