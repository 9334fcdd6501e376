package diary

import (
	"maps"

	"casebook/domain/instrument"
	"casebook/domain/personal"
)

// HoldsTexts says whether there are free texts among the answers.
func (answers Answers) HoldsTexts() bool {
	for _, answer := range answers {
		if _, is := answer.(personal.Text); is {
			return true
		}
	}
	return false
}

// written returns answers with their free texts as such, as the patient's instruments tell which these are. Where there is no such
// instrument (known is false), every text may be one that a person wrote.
func (d Diary) written(id instrument.ID, answers Answers) (written Answers, known bool) {
	var texts []instrument.ItemID
	for i := range d.assignments {
		if a := &d.assignments[i]; a.ID == id && a.fault == nil {
			known, texts = true, append(texts, a.Instrument.Texts()...)
		}
	}
	if !known {
		texts = answers.strings()
	}
	return answers.withTexts(texts), known
}

// strings returns the items that are answered with a text, whether of an option or one that a person wrote.
func (answers Answers) strings() (items []instrument.ItemID) {
	for item, answer := range answers {
		if _, is := answer.(string); is {
			items = append(items, item)
		}
	}
	return items
}

// opening returns the answers with the texts of others in place of those that are sealed.
func (answers Answers) opening(opened Answers) Answers {
	same := true
	for item, text := range opened {
		if sealed, is := answers[item].(personal.Text); !is || !sealed.Sealed() {
			continue
		}
		if same {
			answers, same = maps.Clone(answers), false
		}
		answers[item] = text
	}
	return answers
}

// sealedAs returns the answers with the free texts of others as they are sealed there: a text that is recorded in another window keeps
// its key, so that it is redacted everywhere at once.
func (answers Answers) sealedAs(others Answers) Answers {
	kept := maps.Clone(answers)
	for item := range answers {
		text, is := others[item].(personal.Text)
		if _, free := answers[item].(personal.Text); is && free && text.Sealed() {
			kept[item] = text
		}
	}
	return kept
}

// withTexts returns the answers with those to some items as free texts, as far as they are strings.
func (answers Answers) withTexts(items []instrument.ItemID) Answers {
	same := true
	for _, item := range items {
		text, is := answers[item].(string)
		if !is {
			continue
		}
		if same {
			answers, same = maps.Clone(answers), false
		}
		answers[item] = personal.Text(text)
	}
	return answers
}

// withTextsOf returns the answers with those as free texts that are free texts among other answers of the same instrument.
func (answers Answers) withTextsOf(others Answers) Answers {
	var texts []instrument.ItemID
	for item, other := range others {
		if _, is := other.(personal.Text); is {
			texts = append(texts, item)
		}
	}
	return answers.withTexts(texts)
}

// asWritten returns an answer so that it can be compared with another one: former programs recorded free texts as strings.
func asWritten(answer any) any {
	if text, is := answer.(personal.Text); is {
		return string(text)
	}
	return answer
}
