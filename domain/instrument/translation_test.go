package instrument_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"casebook/domain/form"
	"casebook/domain/instrument"
	"casebook/domain/refuse"

	"github.com/google/go-cmp/cmp"
)

// smile is the hash of an image.
var smile = strings.Repeat("5a", 32)

// translated is an instrument in English, with a German translation, an image and a check.
func translated() *instrument.Definition {
	return &instrument.Definition{ID: "sleep", Version: 1, Title: "Sleep", Language: "en", Wording: "2.0",
		Instructions: "Think of last night.",
		Items: []instrument.Item{
			{ID: "hours", Text: "How long did you sleep?", Type: instrument.Decimal, Unit: "h", UnitLabel: "hours", Min: new(0.0), Max: new(24.0)},
			{ID: "mood", Text: "How do you feel?", Type: instrument.Choice, Image: &instrument.Image{SHA256: smile, Alt: "Two faces"},
				Options: []instrument.Option{{Value: "good", Label: "Good", Image: &instrument.Image{SHA256: smile, Alt: "A smile"}},
					{Value: "bad", Label: "Bad"}}}},
		Checks: []instrument.Check{{ID: "long", Item: "hours", When: "answers.hours > 16.0", Message: "Is that right?",
			Effect: form.EffectQuery}},
		Schedule: instrument.Schedule{EveryDays: 1, Windows: []instrument.DayWindow{{ID: "day", Opens: "06:00", Closes: "12:00"}}},
		Translations: []instrument.Translation{{Language: "de", Wording: "2.0-DE", Title: "Schlaf", Instructions: "Denken Sie an letzte Nacht.",
			Items: map[instrument.ItemID]instrument.TranslatedItem{
				"hours": {Text: "Wie lange haben Sie geschlafen?", UnitLabel: "Stunden"},
				"mood": {Text: "Wie geht es Ihnen?", Options: map[string]string{"good": "Gut", "bad": "Schlecht"}, ImageAlt: "Zwei Gesichter",
					OptionImageAlts: map[string]string{"good": "Ein Lachen"}}},
			Checks: map[string]string{"long": "Stimmt das?"}}}}
}

// words are all texts that a patient reads.
func words(a instrument.Asked) (all []string) {
	all = append(all, a.Title, a.Instructions)
	for _, it := range a.Items {
		all = append(all, it.Text)
		if it.UnitLabel != "" {
			all = append(all, it.UnitLabel)
		}
		if it.Image != nil {
			all = append(all, it.Image.Alt)
		}
		for _, o := range it.Options {
			all = append(all, o.Label)
			if o.Image != nil {
				all = append(all, o.Image.Alt)
			}
		}
	}
	for _, c := range a.Checks {
		all = append(all, c.Message)
	}
	return all
}

func TestAnInstrumentIsShownInItsLanguages(t *testing.T) {
	i, err := instrument.Compile(translated())
	if err != nil {
		t.Fatal(err)
	}
	own, err := i.Asked("")
	if err != nil || own.Language != "en" || own.Wording != "2.0" || !slices.Equal(own.Languages, []string{"en", "de"}) {
		t.Fatalf("it is shown %+v, %v", own, err)
	}
	german, err := i.Asked("de")
	want := []string{"Schlaf", "Denken Sie an letzte Nacht.", "Wie lange haben Sie geschlafen?", "Stunden", "Wie geht es Ihnen?",
		"Zwei Gesichter", "Gut", "Ein Lachen", "Schlecht", "Stimmt das?"}
	if diff := cmp.Diff(want, words(german)); err != nil || diff != "" || german.Language != "de" || german.Wording != "2.0-DE" {
		t.Errorf("in German it is %+v, %v:\n%s", german, err, diff)
	}
	if german.SHA256 != own.SHA256 || german.Items[1].Image.SHA256 != smile || german.Items[0].Unit != "h" ||
		german.Items[1].Options[0].Value != "good" {
		t.Errorf("what is no text has changed: %+v", german)
	}
	if again, err := i.Asked("en"); err != nil || cmp.Diff(own, again) != "" {
		t.Errorf("after a translation, its own language has changed: %+v, %v", again, err)
	}
	if _, err := i.Asked("fr"); err == nil {
		t.Error("a language is shown that there is not")
	} else if r, _ := refuse.As(err); r.Code != "language_not_offered" || r.Remedy != "use en or de, or leave it out" {
		t.Errorf("the refusal is %+v", r)
	}
}

func TestTheLanguageThatSuitsAReader(t *testing.T) {
	d := translated()
	d.Translations = append(d.Translations, instrument.Translation{Language: "zh-Hant"}, instrument.Translation{Language: "pt-BR"})
	for wanted, suits := range map[string]string{"de": "de", "de-AT": "de", "DE-at": "de", "en-GB": "en", "zh-Hant-TW": "zh-Hant",
		"de-x-private": "de", "pt": "", "pt-PT": "", "fr": "", "": "", "zh-Hans-CN": ""} {
		if got, ok := d.In(wanted); got != suits || ok != (suits != "") {
			t.Errorf("for %q it is shown in %q, %v, want %q", wanted, got, ok, suits)
		}
	}
	if _, ok := instrument.PainDiary().In("en"); ok {
		t.Error("an instrument that does not say its language has one")
	}
}

// A translation has every text, and no other. Whatever is taken from it is named.
func TestATranslationIsWhole(t *testing.T) {
	for field, change := range map[string]func(*instrument.Definition, *instrument.Translation){
		"language":                              func(d *instrument.Definition, _ *instrument.Translation) { d.Language = "" },
		"translations[0].language":              func(_ *instrument.Definition, t *instrument.Translation) { t.Language = "EN" },
		"translations[0].wording":               func(_ *instrument.Definition, t *instrument.Translation) { t.Wording = "" },
		"translations[0].title":                 func(_ *instrument.Definition, t *instrument.Translation) { t.Title = "" },
		"translations[0].instructions":          func(_ *instrument.Definition, t *instrument.Translation) { t.Instructions = "" },
		"translations[0].items.hours":           func(_ *instrument.Definition, t *instrument.Translation) { delete(t.Items, "hours") },
		"translations[0].items":                 func(_ *instrument.Definition, t *instrument.Translation) { t.Items["more"] = t.Items["hours"] },
		"translations[0].items.hours.unitLabel": item("hours", func(it *instrument.TranslatedItem) { it.UnitLabel = "" }),
		"translations[0].items.hours.text":      item("hours", func(it *instrument.TranslatedItem) { it.Text = "" }),
		"translations[0].items.hours.imageAlt":  item("hours", func(it *instrument.TranslatedItem) { it.ImageAlt = "Eine Uhr" }),
		"translations[0].items.mood.imageAlt":   item("mood", func(it *instrument.TranslatedItem) { it.ImageAlt = "" }),
		"translations[0].items.mood.options.bad": item("mood", func(it *instrument.TranslatedItem) {
			it.Options = map[string]string{"good": "Gut"}
		}),
		"translations[0].items.mood.options": item("mood", func(it *instrument.TranslatedItem) { it.Options["so-so"] = "Na ja" }),
		"translations[0].items.mood.optionImageAlts.good": item("mood", func(it *instrument.TranslatedItem) {
			it.OptionImageAlts = nil
		}),
		"translations[0].items.mood.optionImageAlts.bad": item("mood", func(it *instrument.TranslatedItem) {
			it.OptionImageAlts["bad"] = "Ein Weinen"
		}),
		"translations[0].checks.long": func(_ *instrument.Definition, t *instrument.Translation) { t.Checks = nil },
		"translations[0].checks":      func(_ *instrument.Definition, t *instrument.Translation) { t.Checks["more"] = "Nein" },
		"items[1].image.sha256":       func(d *instrument.Definition, _ *instrument.Translation) { d.Items[1].Image.SHA256 = "5A" },
		"items[1].options[0].image.alt": func(d *instrument.Definition, _ *instrument.Translation) {
			d.Items[1].Options[0].Image.Alt = ""
		},
		"items[0].unitLabel": func(d *instrument.Definition, _ *instrument.Translation) { d.Items[0].Unit = "" },
	} {
		d := translated()
		change(d, &d.Translations[0])
		err := d.Validate()
		if r, _ := refuse.As(err); err == nil || r.Code != "invalid_instrument" || r.Field != field {
			t.Errorf("%s: refused is %+v", field, err)
		}
	}
}

// item changes the translation of an item.
func item(id instrument.ItemID, change func(*instrument.TranslatedItem)) func(*instrument.Definition, *instrument.Translation) {
	return func(_ *instrument.Definition, t *instrument.Translation) {
		it := t.Items[id]
		it.Options, it.OptionImageAlts = maps.Clone(it.Options), maps.Clone(it.OptionImageAlts)
		change(&it)
		t.Items[id] = it
	}
}

// What was published before there were translations and images is referred to by the same hash.
func TestDefinitionsWithoutTranslationsKeepTheirHash(t *testing.T) {
	for id, want := range map[instrument.ID]string{
		"pain-diary": "08fe9b9c6ad6f068056bd55d9027db9d1622cb863b3967183874b9a15738254d",
		"phq-9":      "0419bff5a4883c004d79f40e288fa666c07955e3ee68fd266cc1a788b81094f2",
	} {
		d := instrument.PainDiary()
		if id == "phq-9" {
			d = instrument.PHQ9()
		}
		if got, err := d.SHA256(); err != nil || got != want {
			t.Errorf("the hash of %s is %s, %v", id, got, err)
		}
	}
}
