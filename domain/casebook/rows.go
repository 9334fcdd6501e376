package casebook

import (
	"casebook/domain"
	"casebook/domain/form"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// AddRow adds an empty row to a group of a form.
type AddRow struct {
	domain.OfPatient
	Form  FormKey `json:"form" minLength:"3" maxLength:"300" doc:"The form"`
	Build int     `json:"build" minimum:"1" doc:"The build that it is captured by"`
	Group string  `json:"group" minLength:"1" maxLength:"40" doc:"The group"`
}

// RemoveRow takes a row out. Its values stay in the record, and checks run without them.
type RemoveRow struct {
	domain.OfPatient
	Row RowKey `json:"row" minLength:"5" maxLength:"300" doc:"The row"`
	domain.Reasoned
}

// RestoreRow brings a row back that was removed, with its values.
type RestoreRow struct {
	domain.OfPatient
	Row RowKey `json:"row" minLength:"5" maxLength:"300" doc:"The row"`
	domain.Reasoned
}

// RowAdded says that a group has another row. Entering values in a row adds it too, without this event.
type RowAdded struct {
	Patient domain.PatientID `json:"patient"`
	Row     RowKey           `json:"row"`
	Build   int              `json:"build"`
}

// RowRemoved says that a row counts for nothing any more.
type RowRemoved struct {
	Patient domain.PatientID `json:"patient"`
	Row     RowKey           `json:"row"`
	Reason  personal.Text    `json:"reason"`
}

// RowRestored says that a row counts again.
type RowRestored struct {
	Patient domain.PatientID `json:"patient"`
	Row     RowKey           `json:"row"`
	Reason  personal.Text    `json:"reason"`
}

// Add decides about AddRow. The number of the row is one that none has had before. It refuses no_rows, max_rows, and what Submit refuses
// of a form.
func Add(c Casebook, facts Facts, cmd AddRow, _ domain.Call) ([]Event, error) {
	b, of, err := c.capturedBy(facts, cmd.Form, cmd.Build)
	if err != nil {
		return nil, err
	}
	g := b.Group(cmd.Group)
	if g == nil || g.Of != of || g.Repeats == nil {
		return nil, refuse.Because("no_rows", "%.80q is not a group with rows of the form %s", cmd.Group, of.ID).At("group").
			Do("use a group of the form that repeats")
	}
	if c.rows(cmd.Form, g.ID) >= g.Repeats.Most() {
		return nil, tooMany("group", g.ID, g.Repeats)
	}
	next := rowPlace{cmd.Form, g.ID, 1}
	if f := c.form(cmd.Form); f != nil {
		for name := range f.rows {
			if name.group == g.ID {
				next.row = max(next.row, name.row+1)
			}
		}
	}
	why := cause{patient: cmd.Patient, rows: []rowPlace{next}}
	why.touches(cmd.Form, of)
	return settle(c, facts, []Event{RowAdded{Patient: cmd.Patient, Row: next.rowKey(), Build: cmd.Build}}, why)
}

// Remove decides about RemoveRow. It refuses reason_required, malformed_key, row_not_found and row_removed.
func Remove(c Casebook, facts Facts, cmd RemoveRow, _ domain.Call) ([]Event, error) {
	place, r, err := c.rowOf(facts, cmd.Row, cmd.Reason)
	if err != nil {
		return nil, err
	}
	if r.removed {
		return nil, refuse.WrongState("row_removed", "the row %s was removed", cmd.Row).At("row").Do("nothing is left to do")
	}
	return settle(c, facts, []Event{RowRemoved{Patient: cmd.Patient, Row: cmd.Row, Reason: cmd.Reason}},
		cause{patient: cmd.Patient, rows: []rowPlace{place}})
}

// Restore decides about RestoreRow. It refuses reason_required, malformed_key, row_not_found, row_not_removed and max_rows.
func Restore(c Casebook, facts Facts, cmd RestoreRow, _ domain.Call) ([]Event, error) {
	place, r, err := c.rowOf(facts, cmd.Row, cmd.Reason)
	if err != nil {
		return nil, err
	}
	if !r.removed {
		return nil, refuse.WrongState("row_not_removed", "the row %s is there", cmd.Row).At("row").Do("nothing is left to do")
	}
	repeats := facts.Builds[c.form(place.form).build].Group(place.group).Repeats
	if c.rows(place.form, place.group) >= repeats.Most() {
		return nil, tooMany("row", place.group, repeats)
	}
	return settle(c, facts, []Event{RowRestored{Patient: cmd.Patient, Row: cmd.Row, Reason: cmd.Reason}},
		cause{patient: cmd.Patient, rows: []rowPlace{place}})
}

// rowOf returns a row of a group that repeats.
func (c Casebook) rowOf(facts Facts, k RowKey, reason personal.Text) (rowPlace, *row, error) {
	if err := domain.Reason(reason); err != nil {
		return rowPlace{}, nil, err
	}
	place, ok := parseRow(k)
	if !ok {
		return place, nil, malformed("row", k, "visit[n]/form[n]/group[n]")
	}
	r := c.row(place)
	if r != nil {
		if b := facts.Builds[c.form(place.form).build]; b == nil || b.Group(place.group) == nil || b.Group(place.group).Repeats == nil {
			r = nil
		}
	}
	if r == nil {
		return place, nil, refuse.NotFound("row_not_found", "there is no row %s", k).At("row").Do("the query PatientForms names the rows")
	}
	return place, r, nil
}

// isDerived says whether a build derives an item.
func isDerived(facts Facts, number int, group string, id form.ItemID) bool {
	b := facts.Builds[number]
	return b != nil && b.Group(group) != nil && b.Group(group).Form.IsDerived(id)
}
