package diary_test

import (
	"reflect"
	"slices"
	"testing"

	"casebook/domain"
	"casebook/domain/diary"
)

// TestPatientsAreShownAllButWhatIsForTheSite: whatever an event holds, patients are shown each of its fields but scores and risks.
func TestPatientsAreShownAllButWhatIsForTheSite(t *testing.T) {
	for _, x := range []struct {
		event   any
		forSite []string
	}{
		{diary.Submitted{}, []string{"Scores"}},
		{diary.Held{}, []string{"UrgentRisks", "Risks"}},
	} {
		all := reflect.New(reflect.TypeOf(x.event)).Elem()
		for i := range all.NumField() { // what can be filled in whatever it means
			switch f := all.Field(i); f.Kind() {
			case reflect.String:
				f.SetString(all.Type().Field(i).Name)
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Int:
				f.SetInt(7)
			default:
			}
		}
		shown := reflect.ValueOf(all.Interface().(domain.ShownInPart).ShownToPatients())
		for i := range all.NumField() {
			name := all.Type().Field(i).Name
			own := shown.FieldByName(name)
			if own.IsValid() == slices.Contains(x.forSite, name) {
				t.Errorf("%T: the field %s is shown: %v", x.event, name, own.IsValid())
			} else if own.IsValid() && !reflect.DeepEqual(all.Field(i).Interface(), own.Interface()) {
				t.Errorf("%T: the field %s is shown as %v", x.event, name, own)
			}
		}
	}
	if (diary.RiskFlagged{}).ShownToPatients() != nil {
		t.Error("a risk is shown")
	}
}
