package patient

import (
	"testing"
	"time"

	"casebook/domain/patient"
	"casebook/domain/safety"
	"casebook/sagas"
)

// The alert that a consent is overdue follows the patient: the new site is told, and the former one has nothing left to do.
func TestAnOverdueConsentFollowsThePatient(t *testing.T) {
	o := sagas.Occurrence{ID: "e-1", At: time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC), Study: "PAIN1", Site: "A", Of: "PAIN1.S-1",
		Stage: stageOverdue}
	waiting := awaiting{Study: "PAIN1", Site: "A", Source: "e-0", Due: &patient.Reconsent{ConsentVersion: "2.0", By: "2026-03-24"}}
	late, _ := waiting.overdue(sagas.Fired{}, o)
	first := late.Commands[0].(safety.RaiseAlert)
	moved, reacted := late.State.transferred(patient.Transferred{Patient: "PAIN1.S-1", From: "A", To: "B"}, o)
	if !reacted || len(moved.Commands) != 2 || moved.Stage != stageOverdue {
		t.Fatalf("it reacts with %+v", moved)
	}
	settled, raised := moved.Commands[0].(safety.SettleAlert), moved.Commands[1].(safety.RaiseAlert)
	if settled.Alert != first.Alert || raised.Alert == first.Alert || raised.Site != "B" || raised.Patient != "PAIN1.S-1" ||
		raised.Kind != safety.ReconsentOverdue {
		t.Errorf("it settles %+v and raises %+v", settled, raised)
	}
	signed, _ := moved.State.signed(patient.ConsentRecorded{ConsentVersion: "2.0", Again: true}, o)
	if len(signed.Commands) != 1 || signed.Commands[0].(safety.SettleAlert).Alert != raised.Alert {
		t.Errorf("the signature leads to %+v", signed)
	}
	// Before the day there is no alert to move.
	early, _ := waiting.transferred(patient.Transferred{To: "B"}, o)
	if len(early.Commands) != 0 || early.State.Site != "B" {
		t.Errorf("it reacts with %+v", early)
	}
}
