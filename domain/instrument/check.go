package instrument

// Check returns the answers in the form in which they are recorded: numbers as float64, free texts as such, and no entry for an
// empty answer. It does not change the given answers. It refuses, with Field set to answers.<item>: unknown_item, answer_wrong_type,
// answer_out_of_range, not_an_option, answer_too_long, item_required (asked, required and not answered) and item_not_asked (answered although
// the skip rule excludes it).
func (i *Instrument) Check(answers map[ItemID]any) (map[ItemID]any, error) {
	checked, err := i.form.Check(i.plain(answers))
	if err != nil || len(i.texts) == 0 {
		return checked, err
	}
	i.withTexts(checked, answers)
	return checked, nil
}
