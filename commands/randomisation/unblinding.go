package randomisation

import (
	"context"
	"maps"
	"slices"
	"time"

	"casebook/access"
	"casebook/admission"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// unblinding are the commands by which arms become known.
var unblinding = []commands.Command{
	commands.HandleWithFacts(randomisation.Decider, unblindingFacts, randomisation.Break).
		Scoped(scopeOfUnblinding).
		AllowedTo(access.SiteStaff, access.Monitors, access.DataManagers, access.SafetyOfficers).
		Narrowed(byKind).
		PreparedWith(func(ctx context.Context, h *commands.Handler, _ commands.Request, c *randomisation.BreakBlind) (err error) {
			c.Patient, err = patientToUnblind(ctx, h.Reader(), *c)
			return err
		}).
		Reauthenticated().
		InClass(admission.Unblinding).
		EvenIfDamaged().
		Revealing(commands.Shown(unblind)).
		ShownAgain(showBlindAgainFor, func(c randomisation.BreakBlind) randomisation.BreakBlind {
			c.Again = true
			return c
		}).
		Described("Unblind a patient, in an emergency unless another kind is named; asks for a fresh sign-in, and says what the "+
			"patient takes and what to do",
			randomisation.BreakBlind{Patient: "PAIN1.S-0001", Reasoned: domain.Because("Suspected overdose: treatment depends on it")}),
	commands.HandleWithFacts(randomisation.Decider, openingFacts, randomisation.RecordOpened).
		AllowedTo(access.Investigators, access.SafetyOfficers).
		Reauthenticated().
		InClass(admission.Unblinding).
		EvenIfDamaged().
		Described("Record that a sealed code break envelope was opened while the server could not be reached; asks for a fresh sign-in",
			randomisation.RecordCodeBreakOpened{OfPatient: domain.ForPatient("PAIN1.S-0001"),
				Reasoned: domain.Because("Suspected overdose: treatment depended on it"),
				OpenedAt: time.Date(2026, 3, 1, 2, 40, 0, 0, time.UTC), OpenedBy: "A. Berger, 24-hour centre",
				AskedBy:     "Dr. Roth, emergency department, +49 30 1234",
				Fingerprint: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}),
	commands.Handle(randomisation.Decider, randomisation.RecordExport).
		AllowedTo(access.Processes).
		EvenIfDamaged(),
}

// byKind says who may unblind for which reason. A safety report is made by the sponsor's safety role, from which the site and
// everybody else learns nothing (Regulation (EU) 536/2014, Annex III, 2.4). Whoever notices an accident may report it.
func byKind(_ context.Context, _ commands.Reader, c randomisation.BreakBlind) (access.Permission, error) {
	switch c.KindGiven() {
	case study.UnblindedForSafetyReport:
		return access.SafetyOfficers, nil
	case study.UnblindedByAccident:
		return access.To(access.SiteStaff, access.Monitors, access.DataManagers, access.SafetyOfficers), nil
	default:
		return access.To(access.Investigators, access.SafetyOfficers), nil
	}
}

// unblindingFacts reads the facts of BreakBlind. An emergency reads no other record, which might be damaged. The arms of those who have
// ended tell those of the others, where lists have blocks: nobody is unblinded as planned before everybody has ended.
func unblindingFacts(ctx context.Context, reader commands.Reader, c randomisation.BreakBlind) (f randomisation.UnblindingFacts, err error) {
	if c.KindGiven() != study.UnblindedAsPlanned {
		return f, nil
	}
	places, err := commands.ReadNewest(ctx, reader, enrollment.Decider, string(c.AboutStudy()))
	if err != nil {
		return f, err
	}
	if f.EnrollmentOpen = places.Open; f.EnrollmentOpen {
		return f, nil
	}
	drawn, err := commands.ReadNewest(ctx, reader, randomisation.Decider, string(c.AboutStudy()))
	if err != nil {
		return f, err
	}
	for id := range drawn.Patients() {
		who, err := commands.ReadNewest(ctx, reader, patient.Decider, string(id))
		if err != nil {
			return f, err
		}
		if who.EndedOn == "" {
			f.TakesPart = id
			return f, nil
		}
	}
	return f, nil
}

// openingFacts reads the facts of RecordCodeBreakOpened, as far as the patient's record is sound.
func openingFacts(ctx context.Context, reader commands.Reader, c randomisation.RecordCodeBreakOpened) (randomisation.OpeningFacts, error) {
	who, err := commands.PatientOf(ctx, reader, c)
	return randomisation.OpeningFacts{DrawnOn: who.DrawnOn, OpenedOn: who.DayOf(c.OpenedAt)}, err
}

// scopeOfUnblinding returns the scope of the patient, whom the command names by the id or by a kit.
func scopeOfUnblinding(ctx context.Context, reader commands.Reader, c randomisation.BreakBlind) (domain.Scope, error) {
	who, err := patientToUnblind(ctx, reader, c)
	if err != nil {
		return domain.Scope{Study: c.AboutStudy()}, err
	}
	scope, _, err := commands.PatientScope(ctx, reader, who)
	return scope, err
}

// patientToUnblind returns the patient of a command. It refuses value_missing without a patient and a kit, malformed_id,
// kit_without_patient, and kit_of_another_patient if the kit does not belong to the patient who is named.
func patientToUnblind(ctx context.Context, reader commands.Reader, c randomisation.BreakBlind) (domain.PatientID, error) {
	switch {
	case c.Kit == "" && c.Patient == "":
		return "", refuse.Malformed("value_missing", "the command names no patient").At("patient").
			Do("name the patient, or the study and a kit of the patient")
	case c.Kit == "":
		return c.Patient, nil
	}
	if err := domain.First(domain.At("study", c.AboutStudy().Validate()), c.Kit.Validate()); err != nil {
		return "", err
	}
	has, err := patientOfKit(ctx, reader, c.AboutStudy(), c.Kit)
	switch {
	case err != nil:
		return "", err
	case has == "":
		return "", refuse.NotFound("kit_without_patient", "no patient of study %s has the kit %s", c.AboutStudy(), c.Kit).At("kit").
			Do("check the number on the kit's label, or name the patient")
	case c.Patient != "" && c.Patient != has:
		return "", refuse.Because("kit_of_another_patient", "kit %s is not a kit of patient %s", c.Kit, c.Patient).At("kit").
			Do("check both numbers; do not treat anybody by the arm of another patient")
	}
	return has, nil
}

// patientOfKit returns the patient to whom a kit was allocated; "" if there is none. A kit is in the stock of the site that
// has it, or that has given it out.
func patientOfKit(ctx context.Context, reader commands.Reader, of domain.StudyID, kit supply.KitNumber) (domain.PatientID, error) {
	in, err := commands.ReadNewest(ctx, reader, study.Decider, string(of))
	if err != nil {
		return "", err
	}
	for _, site := range slices.Sorted(maps.Keys(in.Sites)) {
		stock, err := commands.ReadNewest(ctx, reader, supply.StockDecider, supply.StockID(of, supply.LocationID(site)))
		if err != nil {
			return "", err
		}
		if k, here := stock.Kits.Get(kit); here && k.Patient != "" {
			return k.Patient, nil
		}
	}
	return "", nil
}

// showBlindAgainFor is how long a lost answer to BreakBlind is given again.
const showBlindAgainFor = 10 * time.Minute

// Unblinded is what BreakBlind reveals to its sender.
type Unblinded struct {
	Study      domain.StudyID   `json:"study" doc:"The study"`
	StudyTitle string           `json:"studyTitle,omitempty" doc:"Its title"`
	Patient    domain.PatientID `json:"patient" doc:"The patient"`
	Arm        domain.ArmID     `json:"arm" doc:"The arm that the patient is in"`
	study.Emergency
}

// unblind returns what somebody needs to know about a patient who was drawn. A report of an accident shows nothing.
func unblind(ctx context.Context, reader commands.Reader, r randomisation.Randomisation, c randomisation.BreakBlind) (*Unblinded, error) {
	if c.KindGiven() == study.UnblindedByAccident {
		return nil, nil
	}
	drawn, _ := r.ArmOf(c.Patient)
	arm, open := drawn.Open()
	if !open {
		return nil, errSealedArm
	}
	who, err := commands.ReadEvents(ctx, reader, patient.Decider, string(c.Patient))
	if err != nil {
		return nil, err
	}
	events, err := commands.ReadEvents(ctx, reader, study.Decider, string(c.AboutStudy()))
	if err != nil {
		return nil, err
	}
	in := study.Decider.Fold(events...)
	levels, _ := r.FactorsOf(c.Patient)
	return &Unblinded{Study: c.AboutStudy(), StudyTitle: in.Title, Patient: c.Patient, Arm: arm,
		Emergency: patient.Decider.Fold(who...).Emergency(in, arm, levels)}, nil
}
