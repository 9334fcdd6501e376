package instrument

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/refuse"
)

// maxTranslations bounds the languages of an instrument, besides its own.
const maxTranslations = 30

// Translation is the wording of an instrument in another language than its own. It has everything that the patient reads, because a
// questionnaire that is translated in part is another questionnaire.
type Translation struct {
	Language string `json:"language" doc:"Language tag (BCP 47), such as de or pt-BR"`
	// Wording is the version that the licensor or translator has given the wording: it changes apart from the other languages.
	Wording      string `json:"wording" doc:"Version of the wording in this language, as its licensor or translator names it"`
	Title        string `json:"title" doc:"What the patient sees as heading"`
	Instructions string `json:"instructions,omitempty" doc:"What the patient reads before the first question; needed where the instrument has instructions"`
	// Items and Checks have what each item and check of the definition has.
	Items  map[ItemID]TranslatedItem `json:"items" doc:"Every item, by its id"`
	Checks map[string]string         `json:"checks,omitempty" doc:"The message of every check, by its id"`
}

// TranslatedItem is the wording of an item in another language.
type TranslatedItem struct {
	Text      string            `json:"text" doc:"The question as the patient reads it"`
	UnitLabel string            `json:"unitLabel,omitempty" doc:"The unit as the patient reads it; needed where the item has a label of its unit"`
	Options   map[string]string `json:"options,omitempty" doc:"The label of every option, by its value"`
	// ImageAlt and OptionImageAlts are the texts of images.
	ImageAlt        string            `json:"imageAlt,omitempty" doc:"What the image of the item shows; needed where it has one"`
	OptionImageAlts map[string]string `json:"optionImageAlts,omitempty" doc:"What the images of options show, by the option's value; needed where they have one"`
}

// Languages returns the languages in which the instrument can be shown, its own first. There are none where the definition does not say
// what its language is.
func (d *Definition) Languages() []string {
	if d.Language == "" {
		return nil
	}
	languages := []string{d.Language}
	for i := range d.Translations {
		languages = append(languages, d.Translations[i].Language)
	}
	return languages
}

// In returns the language of the instrument that suits somebody who reads the wanted one: the same, or else the more general one that is
// there, such as de for de-AT (RFC 4647, 3.4). ok is false if there is none.
func (d *Definition) In(wanted string) (language string, ok bool) {
	languages := d.Languages()
	for tag := wanted; tag != ""; {
		if at := slices.IndexFunc(languages, func(l string) bool { return strings.EqualFold(l, tag) }); at >= 0 {
			return languages[at], true
		}
		end := strings.LastIndexByte(tag, '-')
		if end > 2 && tag[end-2] == '-' { // what follows a single letter or digit makes no sense without it
			end -= 2
		}
		tag = tag[:max(end, 0)]
	}
	return "", false
}

// translation returns the wording in a language; nil for that of the definition itself.
func (d *Definition) translation(language string) *Translation {
	at := slices.IndexFunc(d.Translations, func(t Translation) bool { return t.Language == language })
	if at < 0 {
		return nil
	}
	return &d.Translations[at]
}

// compileTranslations refuses a translation that lacks a text, or has one too many. The field of the refusal names the text.
func (i *Instrument) compileTranslations() error {
	d := &i.definition
	if err := parts.AtMost("instructions", d.Instructions, maxTextChars); err != nil {
		return err
	}
	if err := parts.AtMost("wording", d.Wording, maxTitleChars); err != nil {
		return err
	}
	if d.Language != "" && !domain.IsLanguage(d.Language) {
		return parts.Invalid("language", "%q is not a language; de and en-GB are", refuse.Shortened(d.Language))
	}
	if err := parts.Count("translations", len(d.Translations), 0, maxTranslations); err != nil {
		return err
	}
	if d.Language == "" && len(d.Translations) > 0 {
		return parts.Invalid("language", "an instrument with translations says in which language it is written itself")
	}
	seen := map[string]bool{strings.ToLower(d.Language): true}
	for n := range d.Translations {
		t, at := &d.Translations[n], fmt.Sprintf("translations[%d]", n)
		if !domain.IsLanguage(t.Language) {
			return parts.Invalid(at+".language", "%q is not a language; de and en-GB are", refuse.Shortened(t.Language))
		}
		key := strings.ToLower(t.Language)
		if seen[key] {
			return parts.Invalid(at+".language", "the language %s is there twice", t.Language)
		}
		seen[key] = true
		if err := t.check(d, at); err != nil {
			return err
		}
	}
	return nil
}

// check refuses what is missing, too long, or not in the definition.
func (t *Translation) check(d *Definition, at string) error {
	if err := domain.First(parts.Required(at+".wording", t.Wording, maxTitleChars), parts.Required(at+".title", t.Title, maxTitleChars),
		asInOwn(at+".instructions", t.Instructions, d.Instructions, maxTextChars)); err != nil {
		return err
	}
	items := map[ItemID]bool{}
	for n := range d.Items {
		it := &d.Items[n]
		items[it.ID] = true
		at := at + ".items." + string(it.ID)
		of, ok := t.Items[it.ID]
		if !ok {
			return parts.Invalid(at, "the item %s is missing in the language %s", it.ID, t.Language)
		}
		if err := of.check(it, at); err != nil {
			return err
		}
	}
	messages := map[string]bool{}
	for _, c := range d.Checks {
		messages[c.ID] = true
		if err := parts.Required(at+".checks."+c.ID, t.Checks[c.ID], maxTextChars); err != nil {
			return err
		}
	}
	return domain.First(noOthers(at+".items", t.Items, items), noOthers(at+".checks", t.Checks, messages))
}

func (t *TranslatedItem) check(it *Item, at string) error {
	if err := domain.First(parts.Required(at+".text", t.Text, maxTextChars),
		asInOwn(at+".unitLabel", t.UnitLabel, it.UnitLabel, maxLabelChars),
		asInOwn(at+".imageAlt", t.ImageAlt, it.Image.alt(), maxLabelChars)); err != nil {
		return err
	}
	labels, images := map[string]bool{}, map[string]bool{}
	for n := range it.Options {
		o := &it.Options[n]
		labels[o.Value], images[o.Value] = true, o.Image != nil
		if err := domain.First(parts.Required(at+".options."+o.Value, t.Options[o.Value], maxLabelChars),
			asInOwn(at+".optionImageAlts."+o.Value, t.OptionImageAlts[o.Value], o.Image.alt(), maxLabelChars)); err != nil {
			return err
		}
	}
	return domain.First(noOthers(at+".options", t.Options, labels), noOthers(at+".optionImageAlts", t.OptionImageAlts, images))
}

// asInOwn refuses a text that is missing although the instrument's own language has it, or that is there although it has none.
func asInOwn(at, text, own string, maxChars int) error {
	if own != "" {
		return parts.Required(at, text, maxChars)
	}
	if text != "" {
		return parts.Invalid(at, "it is translated, and the instrument has no such text in its own language")
	}
	return nil
}

// noOthers refuses texts of what the definition does not have.
func noOthers[K ~string, T any](at string, texts map[K]T, known map[K]bool) error {
	for _, key := range slices.Sorted(maps.Keys(texts)) {
		if !known[key] {
			return parts.Invalid(at, "it has a text of %q, which the instrument does not have", refuse.Shortened(string(key)))
		}
	}
	return nil
}
