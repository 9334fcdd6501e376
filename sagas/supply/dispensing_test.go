package supply

import (
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/supply"
	"casebook/sagas"
)

// The kits of a voided visit can be set aside when it was recorded again, and the answer was that the patient has them: they are asked
// for again.
func TestKitsAreSetAsideOfAVisitThatTookPlaceAfterAll(t *testing.T) {
	at := func(position uint64) sagas.Occurrence {
		return sagas.Occurrence{Of: "PAIN1.S-1", Study: "PAIN1", Site: "A", Stage: "kit allocated", Position: position}
	}
	of := domain.ForPatient("PAIN1.S-1")
	asked := supply.AllocateKit{Study: "PAIN1", Site: "A", OfPatient: of, Visit: "week-4"}
	var s dispensing
	take := func(r sagas.Reaction[dispensing], reacted bool) {
		if reacted {
			s = r.State
		}
	}
	recorded := patient.VisitRecorded{Patient: of.Patient, Visit: "week-4", Dispense: true}
	take(s.visitRecorded(recorded, at(1)))
	take(s.kitAllocated(supply.KitAllocated{Patient: of.Patient, Visit: "week-4"}, at(2)))
	take(s.visitVoided(patient.VisitVoided{Patient: of.Patient, Visit: "week-4"}, at(3)))
	take(s.visitRecorded(recorded, at(4)))
	take(s.hasKits(asked, at(4)))
	aside := supply.KitsSetAside{OfStock: supply.OfStock{Study: "PAIN1", Location: "A"}, Patient: of.Patient,
		Affected: []supply.Slot{{Patient: of.Patient, Visit: "week-4"}, {Patient: of.Patient, Visit: "week-8"}}}
	r, reacted := s.kitsSetAside(aside, at(5))
	if !reacted || !slices.Equal(r.Commands, []any{asked}) || !r.Awaits || !slices.Equal(r.State.SetAside, []string{"week-8"}) {
		t.Errorf("what is asked for is %+v, and remembered %+v", r.Commands, r.State)
	}
}
