package enrollment

import (
	"strings"
	"testing"

	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/randomisation"
	"casebook/domain/supply"
	"casebook/sagas"
)

// The answer to an ask that was repeated under another number, as earlier versions of the program did, says nothing: the repeated one
// may have been answered otherwise, and what follows a draw is never undone.
func TestOnlyTheLastAskForADrawIsRefused(t *testing.T) {
	waiting := enrolling{Attempt: 1, Study: "PAIN1", Site: "A", Patient: "PAIN1.S-1", Randomise: true,
		Stage: stageStock, Number: 1, Held: true}
	o := sagas.Occurrence{}
	first, _ := waiting.stockHeld(supply.StockHeld{Patient: "PAIN1.S-1"}, o)
	if ask := first.Commands[0].(randomisation.RandomisePatient); ask.Request != 1 || !first.Awaits {
		t.Errorf("the first ask is %+v", ask)
	}
	again := first
	again.State.Asks = 2
	if r, reacted := again.State.randomisationRefused(randomisation.RandomisationRefused{Code: "no_stock", Request: 1}, o); reacted {
		t.Errorf("a stale answer leads to %+v", r)
	}
	if r, _ := again.State.randomised(randomisation.PatientRandomised{}, o); !r.State.Drawn || r.Stage != stageConfirmation {
		t.Errorf("the draw leads to %+v", r)
	}
	failed, _ := again.State.randomisationRefused(randomisation.RandomisationRefused{Code: "no_stock", Request: 2}, o)
	if failed.Stage != stageFailed || len(failed.Commands) != 3 {
		t.Errorf("the last answer leads to %+v", failed)
	}
	later, _ := failed.State.requested(patient.EnrollmentRequested{Patient: "PAIN1.S-1", Attempt: 2}, o)
	if later.State.Asks != 2 {
		t.Errorf("the next attempt starts with %+v", later.State)
	}
	r, reacted := failed.State.kitAllocated(supply.KitAllocated{}, o)
	if !reacted || r.Commands[0].(supply.SetKitsAside).Patient != "PAIN1.S-1" {
		t.Errorf("a kit that comes too late leads to %+v", r)
	}
}

// TestR27_WantOfStockIsNotTold shows that people at the site hear the same whether stock, cohorts or the list stop a draw.
func TestR27_WantOfStockIsNotTold(t *testing.T) {
	waiting := enrolling{Attempt: 1, Study: "PAIN1", Site: "A", Patient: "PAIN1.S-1", Randomise: true, Stage: stageStock, Number: 1}
	told := func(r reaction) patient.FailEnrollment {
		failed, ok := r.Commands[len(r.Commands)-1].(patient.FailEnrollment)
		if !ok || !strings.Contains(r.Note, failed.Code) {
			t.Fatalf("it reacts with %+v", r)
		}
		return failed
	}
	stock, _ := waiting.stockRefused(supply.StockRefused{Code: "no_stock", Reason: "the site has not enough kits"}, sagas.Occurrence{})
	want := told(stock)
	if want.Code != "randomisation_not_possible" || strings.Contains(string(want.Reason), "kit") {
		t.Errorf("the site is told %+v", want)
	}
	drawing := waiting
	drawing.Stage, drawing.Asks = stageDraw, 1
	for _, code := range []string{"no_stock", "cap_reached", "list_exhausted", "arm_closed", "activity_paused"} {
		refused := randomisation.RandomisationRefused{Code: code, Reason: personal.Text(code), Request: 1}
		r, _ := drawing.randomisationRefused(refused, sagas.Occurrence{})
		if got := told(r); got != want {
			t.Errorf("%s: the site is told %+v, want %+v", code, got, want)
		}
	}
	// What the site can mend is told, and so is want of stock where there are no arms to tell.
	r, _ := drawing.randomisationRefused(randomisation.RandomisationRefused{Code: "invalid_factors", Reason: "sex is missing",
		Request: 1}, sagas.Occurrence{})
	if got := told(r); got.Code != "invalid_factors" {
		t.Errorf("the site is told %+v", got)
	}
	waiting.Randomise = false
	r, _ = waiting.stockRefused(supply.StockRefused{Code: "no_stock", Reason: "no kits"}, sagas.Occurrence{})
	if got := told(r); got.Code != "no_stock" {
		t.Errorf("the site is told %+v", got)
	}
}

// A draw that has its kit already, such as one that an earlier program broke off, goes on where nothing is left to be held or allocated.
func TestADrawWhoseKitIsThereGoesOn(t *testing.T) {
	o := sagas.Occurrence{}
	waiting := enrolling{Study: "PAIN1", Site: "A", Patient: "PAIN1.S-1", Randomise: true, Kits: true, Later: true, DrawStage: "ext",
		Stage: stageStock}
	r, _ := waiting.needsNoHold(supply.HoldStock{}, o)
	if r.Stage != stageDraw || r.State.Held {
		t.Fatalf("without a hold, it is %+v", r)
	}
	r, _ = r.State.randomised(randomisation.PatientRandomised{Stage: "ext"}, o)
	if _, other := r.State.hasKit(supply.AllocateKit{Visit: "week-4"}, o); other || r.Stage != stageKit {
		t.Fatalf("after the draw, it is %+v", r)
	}
	if r, _ = r.State.hasKit(supply.AllocateKit{Visit: "stage:ext"}, o); r.Stage != stageConfirmation || len(r.Commands) != 1 {
		t.Errorf("with the kit, it is %+v", r)
	}
	if _, again := r.State.needsNoHold(supply.HoldStock{}, o); again {
		t.Error("a late answer is heard")
	}
}
