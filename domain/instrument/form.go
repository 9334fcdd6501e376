package instrument

import "casebook/domain/form"

// compileForm compiles the items as a form. The form's fields have the names of the definition's fields, so that a
// refusal of the form names the field of the definition.
func (i *Instrument) compileForm() error {
	d := &i.definition
	items := make([]form.Item, len(d.Items))
	for n := range d.Items {
		items[n] = d.Items[n].asForm()
		if d.Items[n].Type == Text {
			i.texts = append(i.texts, d.Items[n].ID)
		}
	}
	checks := make([]form.Check, len(d.Checks))
	for n, c := range d.Checks {
		checks[n] = form.Check{ID: c.ID, Item: c.Item, When: c.When, Message: form.Plain(c.Message), Effect: c.Effect}
	}
	compiled, err := questionnaire.Compile(&form.Definition{ID: string(d.ID), Version: d.Version, Title: form.Plain(d.Title), Items: items,
		Checks: checks})
	i.form = compiled
	return err
}

func (it *Item) asForm() form.Item {
	options := make([]form.Option, len(it.Options))
	for n := range it.Options {
		o := &it.Options[n]
		options[n] = form.Option{Value: o.Value, Label: form.Plain(o.Label), Rank: &o.Score}
	}
	return form.Item{ID: it.ID, Text: form.Plain(it.Text), Type: it.Type, Unit: it.Unit, Min: it.Min, Max: it.Max, Options: options,
		MaxChars: it.MaxChars, Required: it.Required, AskedWhen: it.AskedWhen}
}
