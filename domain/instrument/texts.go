package instrument

import (
	"maps"

	"casebook/domain/personal"
)

// The answers to items of the type text are free text, which the log seals. Check makes them a personal.Text. One that was read from the
// log is sealed, and was checked when it was written: it is checked no more, and rules of an entry that is corrected later see that there
// is a text, and not what it says.

// sealedAnswer stands in for a sealed text where answers are checked.
const sealedAnswer = "…" // no item allows less

// Texts returns the items that ask for free text. Do not change them.
func (i *Instrument) Texts() []ItemID { return i.texts }

// plain returns answers as the form knows them: texts as strings.
func (i *Instrument) plain(answers map[ItemID]any) map[ItemID]any {
	var changed map[ItemID]any
	for _, item := range i.texts {
		text, is := answers[item].(personal.Text)
		if !is {
			continue
		}
		if changed == nil {
			changed = maps.Clone(answers)
		}
		changed[item] = string(text)
		if text.Sealed() {
			changed[item] = sealedAnswer
		}
	}
	if changed == nil {
		return answers
	}
	return changed
}

// withTexts makes the texts among checked answers those that the log seals. given are the answers before they were checked.
func (i *Instrument) withTexts(checked, given map[ItemID]any) {
	for _, item := range i.texts {
		text, is := checked[item].(string)
		if !is {
			continue
		}
		if sealed, is := given[item].(personal.Text); is && sealed.Sealed() {
			checked[item] = sealed
		} else {
			checked[item] = personal.Text(text)
		}
	}
}
