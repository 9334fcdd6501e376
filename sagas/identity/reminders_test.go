package identity

import (
	"errors"
	"fmt"
	"testing"
	"time"

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
		if got := outcome(c.err); sagas.IsPermanent(got) != c.permanent || (got == nil) != (c.err == nil) ||
			sagas.IsTriedOn(got) != (c.err != nil && !c.permanent) {
			t.Errorf("%s: %v, permanent %v", name, got, sagas.IsPermanent(got))
		}
	}
}

// TestMailTakesTheReminderOver: at once where no device can take it, and not before a while where one may take it yet.
func TestMailTakesTheReminderOver(t *testing.T) {
	due := time.Date(2026, 3, 10, 18, 0, 0, 0, time.UTC)
	closes := due.Add(6 * time.Hour)
	down, refused := errors.New("it answered 503"), fmt.Errorf("403: %w", notify.ErrRejected)
	for name, c := range map[string]struct {
		pushed error
		now    time.Time
		want   bool
	}{
		"no device":                   {nil, due, true},
		"refused for good":            {refused, due, true},
		"down":                        {down, due, false},
		"one is down":                 {errors.Join(refused, down), due.Add(mailAfter - time.Second), false},
		"down for long":               {down, due.Add(mailAfter), true},
		"down when the window closes": {down, closes.Add(-mailAfter), true},
	} {
		if got := mayBeMailed(c.pushed, due, c.now, closes); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if !mayBeMailed(down, closes.Add(-time.Minute), closes.Add(-time.Minute), closes) {
		t.Error("a reminder that is due shortly before the window closes is not mailed")
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
