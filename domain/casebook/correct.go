package casebook

import (
	"fmt"
	"maps"
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// CorrectItems changes values, all or none of them, each with its reason.
type CorrectItems struct {
	domain.OfPatient
	Changes []Change `json:"changes" minItems:"1" maxItems:"1000" doc:"What is changed"`
}

// Change is another value of an item. Without a value, it clears the item.
type Change struct {
	Entry
	Why    Why           `json:"why" doc:"Why the value is changed"`
	Reason personal.Text `json:"reason,omitempty" maxLength:"500" doc:"Why, in a sentence; needed where why is other"`
}

// Why is the coded reason of a change.
type Why string

// The reasons of changes.
const (
	// EntryError was typed otherwise than in the source.
	EntryError Why = "entry_error"
	// SourceCorrected means that the source document itself was corrected.
	SourceCorrected Why = "source_corrected"
	// SourceAdded means that something became known later.
	SourceAdded Why = "source_added"
	// OtherReason is said in the text.
	OtherReason Why = "other"
)

// Whys are all coded reasons.
var Whys = []Why{EntryError, SourceCorrected, SourceAdded, OtherReason}

// Schema implements domain.HasSchema.
func (Why) Schema() domain.Schema { return domain.OneOf(Whys...) }

// Bases implements Based.
func (c CorrectItems) Bases() map[Key]int {
	bases := make(map[Key]int, len(c.Changes))
	for _, it := range c.Changes {
		bases[it.Key] = it.Base
	}
	return bases
}

// Correct decides about CorrectItems. Each form has one event.
//
// It refuses malformed_key, form_not_submitted, value_not_entered, no_change, reason_required, and what Submit refuses of a value.
func Correct(c Casebook, facts Facts, cmd CorrectItems, _ domain.Call) ([]Event, error) {
	drafts := map[FormKey]*draft{}
	changed := map[FormKey][]Corrected{}
	why := cause{patient: cmd.Patient, entered: map[Key]bool{}}
	for n, entry := range cmd.Changes {
		at := fmt.Sprintf("changes[%d]", n)
		d, err := c.draftOf(facts, drafts, at+".key", entry.Key)
		if err != nil {
			return nil, err
		}
		p, to, err := d.read(at, entry.Entry)
		if err != nil {
			return nil, err
		}
		was := c.item(p.row, p.id)
		switch {
		case was.version == 0:
			return nil, refuse.WrongState("value_not_entered", "%s has no value", entry.Key).At(string(entry.Key)).
				Do("enter the first one with SubmitForm")
		case was.holds(to, facts.Opened):
			return nil, noChange(string(entry.Key))
		}
		if err := reasoned(at, entry.Why, entry.Reason); err != nil {
			return nil, err
		}
		k := d.form
		changed[k] = append(changed[k], Corrected{Key: entry.Key, Version: was.version + 1, From: was.content(), To: to, Why: entry.Why,
			Reason: entry.Reason})
		why.note(p.row, entry.Key)
		if to.IsEmpty() {
			why.entered[entry.Key] = false
		}
	}
	var done []Event
	for _, k := range slices.Sorted(maps.Keys(changed)) {
		done = append(done, ItemsCorrected{Patient: cmd.Patient, Form: k, Changes: changed[k]})
	}
	if len(done) == 0 {
		return nil, noChange("changes")
	}
	return settle(c, facts, done, why)
}

// reasoned refuses a change without a coded reason, or without a text where the code says nothing (code reason_required).
func reasoned(at string, why Why, reason personal.Text) error {
	if why == OtherReason {
		return domain.At(at+".reason", domain.Reason(reason))
	}
	if !slices.Contains(Whys, why) {
		return refuse.Because("reason_required", "the change has no reason").At(at + ".why").Do("say why: " + domain.Either(Whys...))
	}
	return domain.OptionalText(at+".reason", reason, 500)
}

func notSubmitted(at string, of FormKey) error {
	return refuse.WrongState("form_not_submitted", "the form %s is not submitted", of).At(at).Do("submit it with SubmitForm")
}

// draftOf returns the form of an item, which has to be submitted.
func (c Casebook) draftOf(facts Facts, drafts map[FormKey]*draft, at string, k Key) (*draft, error) {
	of := k.Form()
	if d := drafts[of]; d != nil {
		return d, nil
	}
	place, ok := parseForm(of)
	if !ok {
		return nil, malformed(at, k, "visit[n]/form[n]/group[n]/item")
	}
	f := c.form(of)
	if !f.isSubmitted() {
		return nil, notSubmitted(at, of)
	}
	b := facts.Builds[f.build]
	if b == nil || b.Form(place.form) == nil {
		return nil, refuse.WrongState("not_released", "build %d is not there", f.build).At(at).Do(released(facts))
	}
	d := &draft{casebook: c, facts: facts, build: b, of: b.Form(place.form), form: of}
	drafts[of] = d
	return d, nil
}
