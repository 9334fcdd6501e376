package diary_test

import (
	"reflect"
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/diary"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestPatientsAreShownAllButWhatIsForTheSite: whatever an event holds, patients are shown each of its fields but scores and risks.
func TestPatientsAreShownAllButWhatIsForTheSite(t *testing.T) {
	for _, x := range []struct {
		of      *rapid.Generator[any]
		forSite []string
	}{
		{rapid.Map(rapid.Make[diary.Submitted](), func(e diary.Submitted) any { return e }), []string{"Scores"}},
		{rapid.Map(rapid.Make[diary.Held](), func(e diary.Held) any { return e }), []string{"UrgentRisks", "Risks"}},
	} {
		rapid.Check(t, func(r *rapid.T) {
			e := x.of.Draw(r, "event")
			all := reflect.ValueOf(e)
			shown := reflect.ValueOf(e.(domain.ShownInPart).ShownToPatients())
			for i := range all.NumField() {
				name := all.Type().Field(i).Name
				own := shown.FieldByName(name)
				if own.IsValid() == slices.Contains(x.forSite, name) {
					r.Fatalf("%T: the field %s is shown: %v", e, name, own.IsValid())
				}
				if own.IsValid() {
					if diff := cmp.Diff(all.Field(i).Interface(), own.Interface()); diff != "" {
						r.Fatalf("%T: the field %s (-event +shown):\n%s", e, name, diff)
					}
				}
			}
			if shown.NumField()+len(x.forSite) != all.NumField() {
				r.Fatalf("%T is shown with other fields", e)
			}
		})
	}
	if (diary.RiskFlagged{}).ShownToPatients() != nil {
		t.Error("a risk is shown")
	}
}
