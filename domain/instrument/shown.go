package instrument

import (
	"casebook/domain"
	"casebook/domain/form"
	"casebook/domain/refuse"
	"casebook/domain/rule"
)

// Asked is an instrument as a patient's app renders it. It has neither scores nor risk rules: these are for the site.
type Asked struct {
	Instrument ID  `json:"instrument" doc:"The instrument"`
	Version    int `json:"version" doc:"Version of the definition, and so of the wording"`
	// SHA256 is that of the definition, by which protocols refer to it.
	SHA256 string `json:"sha256" doc:"SHA-256 of the whole definition (RFC 8785): two versions with the same hash are the same"`
	// Language and Wording are of the texts; Languages are all in which it can be shown.
	Language     string   `json:"language,omitempty" doc:"Language of the texts; left out where the study has not said it. Send it with the diary"`
	Languages    []string `json:"languages,omitempty" doc:"The languages in which it can be shown, its own first"`
	Wording      string   `json:"wording,omitempty" doc:"Version of the wording in this language"`
	Title        string   `json:"title" doc:"What the patient sees as heading"`
	Instructions string   `json:"instructions,omitempty" doc:"What the patient reads before the first question"`
	Licence      string   `json:"licence" doc:"Publication and licence, to be shown as they are"`
	// Items are the questions, in order.
	Items []AskedItem `json:"items" doc:"The questions, in order"`
	// MinAnswers and Checks are what the app can tell the patient before it sends the diary.
	MinAnswers int          `json:"minAnswers" doc:"So many items have to be answered"`
	Checks     []AskedCheck `json:"checks,omitempty" doc:"What may contradict itself: hardStop is refused, query is worth asking the patient about"`
}

// AskedCheck is a check over several answers as an app applies it.
type AskedCheck struct {
	ID      string           `json:"id" doc:"Name of the check within the instrument"`
	Item    ItemID           `json:"item" doc:"The item that the message is about"`
	When    string           `json:"when" doc:"CEL over answers, true when something is wrong"`
	Holds   *rule.Tree       `json:"holds,omitempty" doc:"The same as a tree that a program without CEL can evaluate; left out for a rule that only CEL can"`
	Message string           `json:"message" doc:"What the patient reads"`
	Effect  form.CheckEffect `json:"effect" enum:"query,hardStop" doc:"hardStop: the diary is refused; query: it is taken and marked for the site"`
}

// AskedItem is one question as an app renders it.
type AskedItem struct {
	ID        ItemID        `json:"id" doc:"Name of the item, under which it is answered"`
	Text      string        `json:"text" doc:"The question as the patient reads it"`
	Type      ItemType      `json:"type" enum:"integer,decimal,boolean,text,choice,date" doc:"Type of the answer"`
	Unit      string        `json:"unit,omitempty" doc:"Unit of a number, UCUM where there is one"`
	UnitLabel string        `json:"unitLabel,omitempty" doc:"The unit as the patient reads it; the unit itself when left out"`
	Image     *Image        `json:"image,omitempty" doc:"An image to show with the question; /api/v1/me/images has it"`
	Min       *float64      `json:"min,omitempty" doc:"Smallest number allowed"`
	Max       *float64      `json:"max,omitempty" doc:"Largest number allowed"`
	Options   []AskedOption `json:"options,omitempty" doc:"What a choice can be, in order"`
	MaxChars  int           `json:"maxChars,omitempty" doc:"Longest text allowed, in characters"`
	Required  bool          `json:"required,omitempty" doc:"Whether it must be answered where it is asked"`
	// Rule is the skip rule as it was published, and Asked the same for programs without CEL.
	Rule  string     `json:"askedWhen,omitempty" doc:"Skip rule in CEL, true when the item is asked; always asked without one"`
	Asked *rule.Tree `json:"asked,omitempty" doc:"The skip rule as a tree that a program without CEL can evaluate; left out for a rule that only CEL can"`
}

// AskedOption is one answer of a choice as an app renders it: what it counts in a score is not for the patient.
type AskedOption struct {
	Value string `json:"value" doc:"What is stored"`
	Label string `json:"label" doc:"What the patient reads"`
	Image *Image `json:"image,omitempty" doc:"An image to show for the option"`
}

// Asked returns the instrument as an app renders it, in one of its languages; "" is its own. It refuses language_not_offered.
func (i *Instrument) Asked(language string) (Asked, error) {
	shown, err := i.inOwnLanguage()
	if err != nil || language == i.definition.Language || language == "" {
		return shown, err
	}
	t := i.definition.translation(language)
	if t == nil {
		return Asked{}, NotOffered(&i.definition, language)
	}
	shown.translate(t)
	return shown, nil
}

// NotOffered is the refusal of a language in which an instrument cannot be shown (code language_not_offered).
func NotOffered(d *Definition, language string) error {
	r := refuse.NotFound("language_not_offered", "instrument %s is not there in the language %s", d.ID, refuse.Shortened(language)).
		At("language")
	if len(d.Languages()) == 0 {
		return r.Do("leave the language out: the instrument has one, and does not say which")
	}
	return r.Do("use " + domain.Either(d.Languages()...) + ", or leave it out")
}

// translate puts the texts of a translation, which has all of them, in place of those of the definition.
func (a *Asked) translate(t *Translation) {
	a.Language, a.Wording, a.Title, a.Instructions = t.Language, t.Wording, t.Title, t.Instructions
	for n := range a.Items {
		it := &a.Items[n]
		of := t.Items[it.ID]
		it.Text, it.UnitLabel, it.Image = of.Text, of.UnitLabel, it.Image.saying(of.ImageAlt)
		for m := range it.Options {
			o := &it.Options[m]
			o.Label, o.Image = of.Options[o.Value], o.Image.saying(of.OptionImageAlts[o.Value])
		}
	}
	for n := range a.Checks {
		a.Checks[n].Message = t.Checks[a.Checks[n].ID]
	}
}

// inOwnLanguage returns the instrument as an app renders it in the language of its definition.
func (i *Instrument) inOwnLanguage() (Asked, error) {
	d := &i.definition
	hash, err := d.SHA256()
	if err != nil {
		return Asked{}, err
	}
	shown := Asked{Instrument: d.ID, Version: d.Version, SHA256: hash, Language: d.Language, Languages: d.Languages(), Wording: d.Wording,
		Title: d.Title, Instructions: d.Instructions, Licence: d.Source, Items: make([]AskedItem, len(d.Items))}
	shown.MinAnswers = max(1, d.MinAnswers)
	for n, c := range d.Checks {
		of := AskedCheck{ID: c.ID, Item: c.Item, When: c.When, Message: c.Message, Effect: c.Effect}
		of.Holds, _ = i.form.CheckTree(n)
		shown.Checks = append(shown.Checks, of)
	}
	for n := range d.Items {
		it := &d.Items[n]
		of := AskedItem{ID: it.ID, Text: it.Text, Type: it.Type, Unit: it.Unit, Min: it.Min, Max: it.Max, Required: it.Required,
			Rule: it.AskedWhen, UnitLabel: it.UnitLabel, Image: it.Image}
		of.Asked, _ = i.form.AskedTree(n)
		if it.Type == Text {
			of.MaxChars = i.form.MaxChars(n)
		}
		for _, o := range it.Options {
			of.Options = append(of.Options, AskedOption{Value: o.Value, Label: o.Label, Image: o.Image})
		}
		shown.Items[n] = of
	}
	return shown, nil
}
