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

// longestOption is up to how many bytes a text is taken as that of an option where no instrument says what it answers.
const longestOption = 60

// written returns answers with their free texts as such, as far as the patient's instruments tell which these are. Where there is no such
// instrument, long texts are.
func (d Diary) written(id instrument.ID, answers Answers) Answers {
	known := false
	var texts []instrument.ItemID
	for i := range d.assignments {
		if a := &d.assignments[i]; a.ID == id && a.fault == nil {
			known, texts = true, append(texts, a.Instrument.Texts()...)
		}
	}
	if !known {
		for item, answer := range answers {
			if text, is := answer.(string); is && len(text) > longestOption {
				texts = append(texts, item)
			}
		}
	}
	return answers.withTexts(texts)
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
