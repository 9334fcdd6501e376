package randomisation_test

import (
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/randomisation"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

// One command has four kinds. Only an accident shows nothing, and only a planned unblinding waits for the end.
func TestKindsOfUnblinding(t *testing.T) {
	s := studyWith(two)
	past := activated(t, s, uploading(s, "one", "arm", "verum", "placebo"))
	drawn := start(t).Given(past...).Given(must(t, randomisation.Decider.Fold(past...), drawing(s, two, 1))...)
	none := randomisation.UnblindingFacts{}
	cmd := func(kind study.Unblinding) randomisation.BreakBlind {
		return randomisation.BreakBlind{Patient: patient(1), Kind: kind, Reasoned: domain.Because("why")}
	}
	broken := func(kind study.Unblinding, knownTo ...domain.UserID) randomisation.BlindBroken {
		return randomisation.BlindBroken{Study: pain, Patient: patient(1), Kind: kind, Reason: "why", KnownTo: knownTo}
	}
	drawn.When(breakingAs(cmd("curiosity"), none)).ThenRefused("unknown_code")
	called := cmd("")
	called.AskedBy, called.Kit = "Dr. Roth, +49 30 1234", "K-1"
	want := broken(study.UnblindedInEmergency, call.Actor)
	want.AskedBy, want.Kit = called.AskedBy, called.Kit
	drawn.When(breakingAs(called, none)).Then(want)
	drawn.When(breakingAs(cmd(study.UnblindedForSafetyReport), none)).Then(broken(study.UnblindedForSafetyReport, call.Actor))

	accident := cmd(study.UnblindedByAccident)
	accident.KnownTo = []domain.UserID{"crc.one"}
	drawn.When(breakingAs(accident, none)).Then(broken(study.UnblindedByAccident, "crc.one"))
	accident.Again = true
	drawn.When(breakingAs(accident, none)).Then()
	accident.KnownTo = make([]domain.UserID, 51)
	drawn.When(breakingAs(accident, none)).ThenRefused("value_too_long")

	planned := cmd(study.UnblindedAsPlanned)
	drawn.When(breakingAs(planned, randomisation.UnblindingFacts{EnrollmentOpen: true})).ThenRefused("enrollment_open")
	drawn.When(breakingAs(planned, randomisation.UnblindingFacts{TakesPart: patient(2)})).ThenRefused("participation_not_ended")
	drawn.When(breakingAs(planned, none)).Then(broken(study.UnblindedAsPlanned, call.Actor))

	for kind, reveals := range map[study.Unblinding]bool{study.UnblindedInEmergency: false, study.UnblindedAsPlanned: false,
		study.UnblindedByAccident: true, study.UnblindedForSafetyReport: true} {
		if e := broken(kind); e.ReasonRevealsArm() != reveals || e.About() != string(kind) {
			t.Errorf("%s is described as %q, its reason may reveal the arm: %v", kind, e.About(), e.ReasonRevealsArm())
		}
	}
}

func TestOpenedEnvelopesAreRecordedAfterwards(t *testing.T) {
	s := studyWith(two)
	past := activated(t, s, uploading(s, "one", "arm", "verum", "placebo"))
	drawn := start(t).Given(past...).Given(must(t, randomisation.Decider.Fold(past...), drawing(s, two, 1))...)
	fingerprint := "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	opened := randomisation.RecordCodeBreakOpened{OfPatient: domain.ForPatient(patient(1)), Reasoned: domain.Because("overdose"),
		OpenedAt: call.At.Add(-3 * time.Hour), OpenedBy: "A. Berger", AskedBy: "Dr. Roth", Fingerprint: fingerprint}
	opening := randomisation.OpeningFacts{DrawnOn: "2026-03-10", OpenedOn: "2026-03-10"}
	recording := func(change func(*randomisation.RecordCodeBreakOpened)) decision {
		cmd := opened
		if change != nil {
			change(&cmd)
		}
		return scenario.SentWithFacts(randomisation.RecordOpened, opening, cmd, call)
	}
	e := randomisation.BlindBroken{Study: pain, Patient: patient(1), Kind: study.UnblindedInEmergency, Reason: "overdose", AskedBy: "Dr. Roth",
		Envelope: &randomisation.OpenedEnvelope{OpenedAt: call.At.Add(-3 * time.Hour).UTC(), OpenedBy: "A. Berger", Fingerprint: fingerprint}}
	drawn.When(recording(nil)).Then(e)
	if e.About() != "emergency, from a sealed envelope" {
		t.Errorf("it is described as %q", e.About())
	}
	for code, change := range map[string]func(*randomisation.RecordCodeBreakOpened){
		"reason_required":        func(c *randomisation.RecordCodeBreakOpened) { c.Reason = "" },
		"value_missing":          func(c *randomisation.RecordCodeBreakOpened) { c.OpenedAt = time.Time{} },
		"captured_in_future":     func(c *randomisation.RecordCodeBreakOpened) { c.OpenedAt = call.At.Add(time.Hour) },
		"value_too_long":         func(c *randomisation.RecordCodeBreakOpened) { c.Fingerprint += "0" },
		"patient_not_randomised": func(c *randomisation.RecordCodeBreakOpened) { c.Patient = patient(2) },
		"malformed_fingerprint":  func(c *randomisation.RecordCodeBreakOpened) { c.Fingerprint = strings.Repeat("x", 64) },
	} {
		drawn.When(recording(change)).ThenRefused(code)
	}
	drawn.When(recording(func(c *randomisation.RecordCodeBreakOpened) { c.Fingerprint = fingerprint[2:] })).
		ThenRefused("malformed_fingerprint")
	// There is no envelope before the draw. Where its day is not recorded, nothing is compared.
	opening.OpenedOn = "2026-03-09"
	drawn.When(recording(nil)).ThenRefused("opened_before_draw")
	opening.DrawnOn = ""
	drawn.When(recording(nil)).Then(e)
	drawn.When(scenario.Sent(randomisation.RecordExport, randomisation.RecordCodeBreaksExported{InStudy: domain.ForStudy(pain)}, call)).
		ThenRefused("value_missing")
	export := randomisation.CodeBreaksExported{Study: pain, Patients: []domain.PatientID{patient(1)}, Recipients: []string{"age1"}}
	drawn.When(scenario.Sent(randomisation.RecordExport, randomisation.RecordCodeBreaksExported{InStudy: domain.ForStudy(pain),
		Patients: export.Patients, Recipients: export.Recipients}, call)).Then(export)
	if all := (randomisation.CodeBreaksExported{Recipients: []string{"a", "b"}}); all.About() != "all patients, for 2 keys" ||
		export.About() != "1 patients, for 1 keys" {
		t.Errorf("they are described as %q and %q", all.About(), export.About())
	}
}
