package casebook

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// MarkItemNotDone says why an item has no value. What it held before stays in the record.
type MarkItemNotDone struct {
	domain.OfPatient
	Key  Key      `json:"key" minLength:"3" maxLength:"300" doc:"The item"`
	Base int      `json:"base,omitempty" minimum:"0" doc:"The version of the item that was seen; 0, or left out, for an empty one"`
	Null NullCode `json:"null" doc:"Why there is none: not done, not applicable, unknown, not asked, refused"`
	domain.Reasoned
}

// ItemMarkedNotDone says why an item has no value.
type ItemMarkedNotDone struct {
	Patient domain.PatientID `json:"patient"`
	Key     Key              `json:"key"`
	Version int              `json:"version"`
	From    Content          `json:"from"`
	To      Content          `json:"to"`
	Reason  personal.Text    `json:"reason"`
}

// MarkFormNotDone says why a form is not filled in. Submitting it afterwards takes that back.
type MarkFormNotDone struct {
	domain.OfPatient
	Form  FormKey  `json:"form" minLength:"3" maxLength:"300" doc:"The form"`
	Build int      `json:"build" minimum:"1" doc:"The build that it is captured by"`
	Null  NullCode `json:"null" doc:"Why it is not filled in: not done, not applicable, unknown, not asked, refused"`
	domain.Reasoned
}

// FormMarkedNotDone says why a form is not filled in.
type FormMarkedNotDone struct {
	Patient domain.PatientID `json:"patient"`
	Form    FormKey          `json:"form"`
	Build   int              `json:"build"`
	Null    NullCode         `json:"null"`
	Reason  personal.Text    `json:"reason"`
}

// Bases implements Based.
func (c MarkItemNotDone) Bases() map[Key]int { return map[Key]int{c.Key: c.Base} }

// MarkItem decides about MarkItemNotDone. It refuses reason_required, unknown_null, no_change, stale_value, and what Submit refuses of an
// item.
func MarkItem(c Casebook, facts Facts, cmd MarkItemNotDone, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), cmd.Null.valid()); err != nil {
		return nil, err
	}
	d, err := c.draftOf(facts, map[FormKey]*draft{}, "key", cmd.Key)
	if err != nil {
		return nil, err
	}
	p, _, _, err := d.find("key", cmd.Key)
	if err := domain.First(err, c.mustBeSeen(facts, p, Entry{Key: cmd.Key, Base: cmd.Base})); err != nil {
		return nil, err
	}
	was := c.item(p.row, p.id)
	if was.null == cmd.Null {
		return nil, noChange("null")
	}
	why := cause{patient: cmd.Patient, rows: []rowPlace{p.row}, items: []Key{cmd.Key}}
	return settle(c, facts, []Event{ItemMarkedNotDone{Patient: cmd.Patient, Key: cmd.Key, Version: was.version + 1, From: was.content(),
		To: Content{Null: cmd.Null}, Reason: cmd.Reason}}, why)
}

// MarkForm decides about MarkFormNotDone. It refuses reason_required, unknown_null, no_change, form_has_values, and what Submit refuses of
// a form.
func MarkForm(c Casebook, facts Facts, cmd MarkFormNotDone, _ domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), cmd.Null.valid()); err != nil {
		return nil, err
	}
	_, of, err := c.capturedBy(facts, cmd.Form, cmd.Build)
	if err != nil {
		return nil, err
	}
	why := cause{patient: cmd.Patient}
	if f := c.form(cmd.Form); f != nil {
		if f.notDone == cmd.Null {
			return nil, noChange("null")
		}
		for name, r := range f.rows {
			place := rowPlace{cmd.Form, name.group, name.row}
			why.rows = append(why.rows, place)
			for id, it := range r.items {
				if !it.isEmpty() && !r.removed && !isDerived(facts, f.build, name.group, id) {
					return nil, refuse.WrongState("form_has_values", "%s has a value", place.key(id)).At("form").
						Do("clear the values first with CorrectItems")
				}
			}
		}
	}
	why.touches(cmd.Form, of)
	return settle(c, facts, []Event{FormMarkedNotDone{Patient: cmd.Patient, Form: cmd.Form, Build: cmd.Build, Null: cmd.Null,
		Reason: cmd.Reason}}, why)
}

func (n NullCode) valid() error {
	if !slices.Contains(NullCodes, n) {
		return refuse.Malformed("unknown_null", "%q says not why there is no value", refuse.Shortened(string(n))).At("null").
			Do("use " + domain.Either(NullCodes...))
	}
	return nil
}
