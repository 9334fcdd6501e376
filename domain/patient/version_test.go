package patient_test

import (
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

// amendedAt is theStudy with an amendment that needs the site's approval, and asks patients to sign again. approvedOn is "" for none.
func amendedAt(approvedOn domain.Date, change func(*study.Protocol)) study.Study {
	p := study.Protocol{Version: 2, ConsentVersion: "2.0", PublishedOn: "2026-03-01", SiteApproval: true,
		Visits: []study.Visit{{ID: "week-6", Day: 42}},
		Reconsent: &study.Reconsent{Who: study.ReconsentEverybody, WithinDays: 14,
			Blocks: []study.Blocked{study.BlocksVisits, study.BlocksDispensing}}}
	if change != nil {
		change(&p)
	}
	first := study.Protocol{Version: 1, ConsentVersion: "1.0", Visits: []study.Visit{{ID: "week-4", Day: 28}}}
	s := study.Decider.Evolve(theStudy(), study.ProtocolVersionPublished{Study: pain, Protocol: first, ByPatient: true})
	s = study.Decider.Evolve(s, study.ProtocolVersionPublished{Study: pain, Protocol: p, ByPatient: true})
	if approvedOn != "" {
		s = study.Decider.Evolve(s, study.ProtocolApprovedAtSite{Study: pain, Site: "A", Version: 2, ApprovedOn: approvedOn})
	}
	return s
}

func applying(s study.Study, version int, on domain.Date) decision {
	return scenario.SentWithFacts(patient.Apply, s, patient.ApplyProtocolVersion{OfPatient: ofAnna, Version: version, On: on}, call)
}

func refusing(on domain.Date) decision {
	return scenario.Sent(patient.RefuseReconsent, patient.RecordReconsentRefusal{OfPatient: ofAnna, On: on}, call)
}

// applied is the change to version 2, with what has to be signed again.
func applied(on domain.Date) patient.ProtocolVersionApplied {
	return patient.ProtocolVersionApplied{Patient: anna, From: 1, To: 2, On: on, Reconsent: &patient.Reconsent{Protocol: 2,
		ConsentVersion: "2.0", Since: on, By: on.AddDays(14), Blocks: []study.Blocked{study.BlocksVisits, study.BlocksDispensing}}}
}

func TestAnAmendmentReachesAPatientWhenItIsApplied(t *testing.T) {
	in(t, patient.StatusConsented).When(applying(amendedAt("2026-03-02", nil), 2, "2026-03-05")).ThenRefused("patient_status")
	given := in(t, patient.StatusEnrolled)
	given.When(visiting(amendedAt("2026-03-02", nil), "week-4", "2026-03-03")).
		Then(patient.VisitRecorded{Patient: anna, Visit: "week-4", On: "2026-03-03"})
	given.When(visiting(amendedAt("2026-03-02", nil), "week-6", "2026-03-05")).ThenRefused("unknown_visit")
	given.When(applying(amendedAt("", nil), 2, "2026-03-05")).ThenRefused("protocol_not_approved")
	s := amendedAt("2026-03-02", nil)
	given.When(applying(s, 3, "2026-03-05")).ThenRefused("protocol_version_not_found")
	given.When(applying(s, 1, "2026-03-05")).ThenRefused("protocol_version_followed")
	given.When(applying(s, 2, "2026-03-01")).ThenRefused("applied_before_approval")
	given.When(applying(s, 2, "2027-03-01")).ThenRefused("captured_in_future")
	given = given.When(applying(s, 2, "2026-03-05")).Then(applied("2026-03-05"))
	given.When(applying(s, 2, "2026-03-06")).ThenRefused("protocol_version_followed")
	if got := given.State().ProtocolIn(s); got != 2 {
		t.Errorf("the patient follows version %d", got)
	}
	given.When(visiting(s, "week-4", "2026-03-03")).ThenRefused("unknown_visit")
}

// Until the patient signs, what the amendment blocks is blocked. A visit that took place all the same may be a deviation.
func TestReconsentLiftsTheBlock(t *testing.T) {
	s := amendedAt("2026-03-02", nil)
	given := in(t, patient.StatusEnrolled).Given(applied("2026-03-05"))
	if p := given.State(); !p.Blocked(study.BlocksDispensing) {
		t.Errorf("the patient is %+v", p)
	}
	given.When(visiting(s, "week-6", "2026-03-07")).ThenRefused("reconsent_required")
	given.When(visiting(s, "week-6", "2026-03-04")).Then(patient.VisitRecorded{Patient: anna, Visit: "week-6", On: "2026-03-04"})
	signed := given.When(consenting(s, "2.0", "2026-03-08")).
		Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-08", Protocol: 2, Again: true})
	if p := signed.State(); p.Blocked(study.BlocksDispensing) || p.Reconsent != nil || p.ConsentVersion != "2.0" {
		t.Errorf("the patient is %+v", p)
	}
	signed.When(visiting(s, "week-6", "2026-03-08")).Then(patient.VisitRecorded{Patient: anna, Visit: "week-6", On: "2026-03-08"})
	signed.When(visiting(s, "week-6", "2026-03-07")).
		Then(patient.VisitRecorded{Patient: anna, Visit: "week-6", On: "2026-03-07", Candidate: patient.DeviationConsent})
}

func TestWhoHasToSignAgain(t *testing.T) {
	bare := patient.ProtocolVersionApplied{Patient: anna, From: 1, To: 2, On: "2026-03-05"}
	s := amendedAt("2026-03-02", nil)
	in(t, patient.StatusEnrolled).Given(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-03", Protocol: 2}).
		When(applying(s, 2, "2026-03-05")).Then(bare) // who has signed the new form already
	nobody := amendedAt("2026-03-02", func(p *study.Protocol) { p.Reconsent = nil })
	in(t, patient.StatusEnrolled).When(applying(nobody, 2, "2026-03-05")).Then(bare)
	treated := amendedAt("2026-03-02", func(p *study.Protocol) { p.Reconsent.Who = study.ReconsentTreated })
	in(t, patient.StatusEnrolled).When(applying(treated, 2, "2026-03-05")).Then(applied("2026-03-05"))
	in(t, patient.StatusEnrolled).Given(stopped).When(applying(treated, 2, "2026-03-05")).Then(bare)
	// A version on the way that asks for it counts, although the last one does not.
	third := study.Decider.Evolve(s, study.ProtocolVersionPublished{Study: pain, ByPatient: true,
		Protocol: study.Protocol{Version: 3, ConsentVersion: "3.0", PublishedOn: "2026-03-04"}})
	want := applied("2026-03-05")
	want.To, want.Reconsent.ConsentVersion = 3, "3.0"
	given := in(t, patient.StatusEnrolled).When(applying(third, 3, "2026-03-05")).Then(want)
	given.When(consenting(third, "3.0", "2026-03-06")).
		Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "3.0", On: "2026-03-06", Protocol: 3, Again: true})
	// What is awaited stays awaited when a version follows that asks for nothing.
	p := in(t, patient.StatusEnrolled).Given(applied("2026-03-05"),
		patient.ProtocolVersionApplied{Patient: anna, From: 2, To: 3, On: "2026-03-06"}).State()
	if p.Reconsent == nil || p.Reconsent.Protocol != 2 || p.ProtocolIn(third) != 3 {
		t.Errorf("the patient is %+v", p)
	}
}

func TestRefusingToSignAgain(t *testing.T) {
	in(t, patient.StatusEnrolled).When(refusing("2026-03-06")).ThenRefused("no_reconsent_due")
	given := in(t, patient.StatusEnrolled).Given(applied("2026-03-05"))
	given.When(refusing("2026-03-04")).ThenRefused("refused_before_application")
	given = given.When(refusing("2026-03-06")).
		Then(patient.ReconsentRefused{Patient: anna, Protocol: 2, ConsentVersion: "2.0", On: "2026-03-06"})
	given.When(refusing("2026-03-07")).ThenRefused("reconsent_refused")
	if !given.State().Blocked(study.BlocksVisits) {
		t.Error("a refusal lifts the block")
	}
	p := given.When(consenting(amendedAt("2026-03-02", nil), "2.0", "2026-03-08")).
		Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-08", Protocol: 2, Again: true}).State()
	if p.Reconsent != nil || p.ReconsentRefusedOn != "" {
		t.Errorf("the patient is %+v", p)
	}
}

// A consent is valid by the day of the signature, whenever it is typed.
func TestConsentTypedLate(t *testing.T) {
	s := amendedAt("2026-03-02", nil)
	given := in(t, patient.StatusScreened).When(consenting(s, "2.0", "2026-03-03")).
		Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-03", Protocol: 2})
	p := given.When(consenting(s, "1.0", "2026-02-02")).
		Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "1.0", On: "2026-02-02", Protocol: 1, Superseded: true}).State()
	if p.ConsentVersion != "2.0" || p.ConsentedOn != "2026-03-03" || p.FirstConsentOn != "2026-02-02" {
		t.Errorf("the patient is %+v", p)
	}
	in(t, patient.StatusScreened).When(consenting(s, "1.0", "2026-03-03")).ThenRefused("consent_version_not_in_force")
	in(t, patient.StatusScreened).When(consenting(s, "2.0", "2026-02-28")).ThenRefused("consent_before_publication")
	in(t, patient.StatusScreened).When(consenting(s, "2.0", "2026-03-01")).ThenRefused("consent_before_approval")
	// The site at which the patient was then counts.
	moved := in(t, patient.StatusScreened).Given(patient.Transferred{Patient: anna, From: "A", To: "B", On: "2026-03-05"})
	moved.When(consenting(s, "2.0", "2026-03-04")).
		Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-04", Protocol: 2})
	moved.When(consenting(s, "2.0", "2026-03-06")).ThenRefused("consent_before_approval")
}

func TestMinorsAndRepresentatives(t *testing.T) {
	rule := func(p *study.Protocol) { p.Minors = &study.Minors{AgeOfMajority: 18, AssentFrom: 7} }
	aged := func(years int, s study.Study, change func(*patient.RecordConsent)) scenario.Outcome[patient.Patient, patient.Event] {
		minor := screened
		minor.AgeYears = years
		cmd := patient.RecordConsent{OfPatient: ofAnna, ConsentVersion: "2.0", On: "2026-03-03"}
		change(&cmd)
		return scenario.For(t, patient.Decider).Strict().Given(minor).When(scenario.SentWithFacts(patient.Consent, s, cmd, call))
	}
	both := []patient.Signer{patient.SignedByPatient, patient.SignedByRepresentative}
	alone := func(*patient.RecordConsent) {}
	represented := func(c *patient.RecordConsent) { c.Signers = both }
	assenting := func(c *patient.RecordConsent) { c.Signers, c.Assent, c.Language = both, true, "de-AT" }
	s := amendedAt("2026-03-02", rule)
	aged(17, s, alone).ThenRefused("representative_missing")
	aged(17, s, represented).ThenRefused("assent_missing")
	aged(17, s, assenting).Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-03", Protocol: 2, Signers: both,
		Assent: true, Language: "de-AT"})
	aged(6, s, represented).Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-03", Protocol: 2, Signers: both})
	aged(18, s, alone).Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-03", Protocol: 2})
	aged(0, s, alone).ThenRefused("age_not_recorded")
	aged(0, s, represented).Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-03", Protocol: 2, Signers: both})
	aged(17, amendedAt("2026-03-02", nil), alone).
		Then(patient.ConsentRecorded{Patient: anna, ConsentVersion: "2.0", On: "2026-03-03", Protocol: 2})

	aged(44, s, func(c *patient.RecordConsent) { c.Signers = []patient.Signer{patient.SignedByWitness} }).ThenRefused("signer_missing")
	aged(44, s, func(c *patient.RecordConsent) { c.Signers = []patient.Signer{"nurse"} }).ThenRefused("unknown_code")
	aged(44, s, func(c *patient.RecordConsent) { c.Signers = slices.Concat(both, both) }).ThenRefused("unknown_code")
	aged(44, s, func(c *patient.RecordConsent) { c.Language = "German!" }).ThenRefused("malformed_language")
}

// The site that takes a patient over works by the patient's version, or a later one.
func TestTransferNeedsTheApprovalOfTheVersion(t *testing.T) {
	s := study.Decider.Evolve(amendedAt("2026-03-02", nil), study.SiteActivated{Study: pain, Site: "B"})
	given := in(t, patient.StatusEnrolled).Given(applied("2026-03-05"))
	given.When(transferring(s, "B", "2026-03-06")).ThenRefused("protocol_not_approved")
	s = study.Decider.Evolve(s, study.ProtocolApprovedAtSite{Study: pain, Site: "B", Version: 2, ApprovedOn: "2026-03-03"})
	given.When(transferring(s, "B", "2026-03-06")).
		Then(patient.Transferred{Patient: anna, From: "A", To: "B", On: "2026-03-06", Reason: "moved to Hamburg"})
}

// Logs from before patients had versions of their own have no number in a request, and amendments that were for everybody.
func TestOlderLogsFollowTheAmendmentForEverybody(t *testing.T) {
	s := study.Decider.Evolve(theStudy(), study.ProtocolVersionPublished{Study: pain,
		Protocol: study.Protocol{Version: 2, ConsentVersion: "2.0", Visits: []study.Visit{{ID: "week-6", Day: 42}}}})
	given := in(t, patient.StatusEnrolled)
	if got := given.State().ProtocolIn(s); got != 2 {
		t.Errorf("the patient follows version %d", got)
	}
	given.When(visiting(s, "week-6", "2026-03-07")).Then(patient.VisitRecorded{Patient: anna, Visit: "week-6", On: "2026-03-07"})
}
