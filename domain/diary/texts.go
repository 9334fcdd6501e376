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
	var changed Answers
	as := func(item instrument.ItemID, text string) {
		if changed == nil {
			changed = maps.Clone(answers)
		}
		changed[item] = personal.Text(text)
	}
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.ID != id || a.fault != nil {
			continue
		}
		known = true
		for _, item := range a.Instrument.Texts() {
			if text, is := answers[item].(string); is {
				as(item, text)
			}
		}
	}
	if !known {
		for item, answer := range answers {
			if text, is := answer.(string); is && len(text) > longestOption {
				as(item, text)
			}
		}
	}
	if changed == nil {
		return answers
	}
	return changed
}

// withTextsOf returns the answers with those as free texts that are free texts among other answers of the same instrument.
func (answers Answers) withTextsOf(others Answers) Answers {
	if !others.HoldsTexts() {
		return answers
	}
	answers = maps.Clone(answers)
	for item, other := range others {
		text, given := answers[item].(string)
		if _, is := other.(personal.Text); is && given {
			answers[item] = personal.Text(text)
		}
	}
	return answers
}

// asWritten returns an answer so that it can be compared with another one: former programs recorded free texts as strings.
func asWritten(answer any) any {
	if text, is := answer.(personal.Text); is {
		return string(text)
	}
	return answer
}
