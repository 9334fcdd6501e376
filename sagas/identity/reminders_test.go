package identity

import (
	"errors"
	"fmt"
	"testing"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/notify"
	"casebook/sagas"
)

// TestWhatMayStillArriveIsNotGivenUp: the refusal of one device does not set aside a reminder that another one may still get.
func TestWhatMayStillArriveIsNotGivenUp(t *testing.T) {
	down, refused := errors.New("it answered 503"), fmt.Errorf("403: %w", notify.ErrRejected)
	for name, c := range map[string]struct {
		err       error
		permanent bool
	}{
		"nothing":             {nil, false},
		"down":                {down, false},
		"refused":             {refused, true},
		"both":                {errors.Join(refused, down), false},
		"both, then by mail":  {errors.Join(errors.Join(nil, refused), down), false},
		"refused everywhere":  {errors.Join(errors.Join(refused, refused), refused), true},
		"a problem of notify": {errors.Join(errors.Join(down), refused), false},
	} {
		if got := outcome(c.err); sagas.IsPermanent(got) != c.permanent || (got == nil) != (c.err == nil) {
			t.Errorf("%s: %v, permanent %v", name, got, sagas.IsPermanent(got))
		}
	}
}

func TestRemindersAreInTheLanguageOfThePatient(t *testing.T) {
	for language, want := range map[diary.Language]string{"": "en", "de": "de", "de-AT": "de", "pt-BR": "pt", "ja": "en", "english": "en",
		"nb": "no", "nn-NO": "no"} {
		if got := reminderIn(language); got.language != want {
			t.Errorf("for %q it is %q, want %q", language, got.language, want)
		}
	}
	seen := map[string]bool{}
	for _, text := range reminderTexts {
		if seen[text.language] || !domain.IsLanguage(text.language) || text.subject == "" || text.body == "" {
			t.Errorf("%+v is no reminder", text)
		}
		seen[text.language] = true
	}
}
