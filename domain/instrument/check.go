package instrument

import "casebook/domain/refuse"

// Check returns the answers in the form in which they are recorded: numbers as float64, free texts as such, and no entry for an
// empty answer. It does not change the given answers. It refuses, with Field set to answers.<item>: unknown_item, answer_wrong_type,
// answer_out_of_range, not_an_option, answer_too_long, item_required (asked, required and not answered), item_not_asked (answered although
// the skip rule excludes it) and check_holds (a check with a hard stop). It also refuses
// too_few_answers: nobody has filled in a questionnaire without answers. That somebody prefers not to answer is an answer, of an item
// that has it as an option.
func (i *Instrument) Check(answers map[ItemID]any) (map[ItemID]any, error) {
	clean, _, err := i.Examine(answers)
	return clean, err
}

// Examine is Check. queried are the checks of the instrument that hold and let the answers in.
func (i *Instrument) Examine(answers map[ItemID]any) (clean map[ItemID]any, queried []string, err error) {
	if clean, queried, err = i.form.Examine(i.plain(answers)); err != nil {
		return nil, nil, err
	}
	if least := max(1, i.definition.MinAnswers); len(clean) < least {
		return nil, nil, refuse.Because("too_few_answers", "%d of the items of %s are answered, and it takes %d at least", len(clean),
			i.definition.ID, least).At("answers").Do("answer more of it, or do not send it: the window stays open")
	}
	i.withTexts(clean, answers)
	return clean, queried, nil
}
