package casebook

import (
	"strings"

	"casebook/domain"
)

// Changed implements domain.Changing.
func (e ItemsCorrected) Changed() (changed []domain.ChangedValue) {
	for _, it := range e.Changes {
		changed = append(changed, domain.ChangedText(string(it.Key), it.From.text(), it.To.text())...)
	}
	return changed
}

// Changed implements domain.Changing. What was computed for the first time replaces nothing.
func (e ItemsDerived) Changed() (changed []domain.ChangedValue) {
	for _, it := range e.Items {
		if it.Version > 1 {
			changed = append(changed, domain.ChangedText(string(it.Key), it.From.text(), it.To.text())...)
		}
	}
	return changed
}

// Changed implements domain.Changing.
func (e ItemMarkedNotDone) Changed() []domain.ChangedValue {
	return domain.ChangedText(string(e.Key), e.From.text(), e.To.text())
}

// text returns the content in one text, with the unit of a number; "" for nothing.
func (c Content) text() string {
	switch {
	case c.Null != "":
		return string(c.Null)
	case c.Text != "":
		return string(c.Text)
	case len(c.Values) > 0:
		return strings.Join(c.Values, ", ")
	default:
		return strings.TrimSpace(c.Value + " " + c.Unit)
	}
}
