package diary

import (
	"casebook/domain"
	"casebook/domain/instrument"
)

// OfWindow is an event about one window of an instrument.
type OfWindow interface {
	// OfWindow returns the instrument and the window's id.
	OfWindow() (instrument.ID, string)
}

// OfRequest is an event about a correction that was asked for.
type OfRequest interface {
	// OfRequest returns the number of the request; 0 for a correction of an older log, which nobody had asked for.
	OfRequest() int
}

// OfRequest implements OfRequest.
func (e CorrectionAsked) OfRequest() int { return e.Request }

// OfRequest implements OfRequest.
func (e CorrectionDeclined) OfRequest() int { return e.Request }

// OfRequest implements OfRequest.
func (e CorrectionLapsed) OfRequest() int { return e.Request }

// OfRequest implements OfRequest.
func (e Corrected) OfRequest() int { return e.Request }

// OfWindow implements OfWindow.
func (e Submitted) OfWindow() (instrument.ID, string) { return e.Instrument, e.Window.ID }

// OfWindow implements OfWindow.
func (e RiskFlagged) OfWindow() (instrument.ID, string) { return e.Instrument, e.Window }

// OfWindow implements OfWindow.
func (e Corrected) OfWindow() (instrument.ID, string) { return e.Instrument, e.Window }

// OfWindow implements OfWindow.
func (e CorrectionAsked) OfWindow() (instrument.ID, string) { return e.Instrument, e.Window }

// OfWindow implements OfWindow.
func (e CorrectionDeclined) OfWindow() (instrument.ID, string) { return e.Instrument, e.Window }

// OfWindow implements OfWindow.
func (e CorrectionLapsed) OfWindow() (instrument.ID, string) { return e.Instrument, e.Window }

// OfWindow implements OfWindow.
func (e WindowMissed) OfWindow() (instrument.ID, string) { return e.Instrument, e.Window.ID }

// OfWindow implements OfWindow.
func (e Voided) OfWindow() (instrument.ID, string) { return e.Instrument, e.Window.ID }

// OfWindow implements OfWindow.
func (e Held) OfWindow() (instrument.ID, string) { return e.Instrument, e.Window.ID }

// OfWindow implements OfWindow.
func (e VisitWindowOpened) OfWindow() (instrument.ID, string) { return e.Instrument, e.Window.ID }

// About implements domain.Described.
func (e VisitWindowOpened) About() string { return about(e) }

// About implements domain.Described.
func (e Voided) About() string { return about(e) }

// About implements domain.Described.
func (e Held) About() string { return about(e) }

// About implements domain.Described.
func (e InstrumentStopped) About() string { return string(e.Instrument) }

// About implements domain.Described.
func (e LanguageSet) About() string { return string(e.Language) }

// About implements domain.Described.
func (e Submitted) About() string { return about(e) }

// About implements domain.Described.
func (e RiskFlagged) About() string { return about(e) }

// About implements domain.Described.
func (e Corrected) About() string { return about(e) }

// About implements domain.Described.
func (e CorrectionAsked) About() string { return about(e) }

// About implements domain.Described.
func (e CorrectionDeclined) About() string { return about(e) }

// About implements domain.Described.
func (e CorrectionLapsed) About() string { return about(e) }

// About implements domain.Described.
func (e WindowMissed) About() string { return about(e) }

func about(e OfWindow) string {
	id, window := e.OfWindow()
	return string(id) + " " + window
}

// Changed implements domain.Changing.
func (e Corrected) Changed() []domain.ChangedValue {
	all := make([]domain.ChangedValue, len(e.Changes))
	for i, change := range e.Changes {
		all[i] = domain.ChangedValue{Field: string(change.Item), Old: change.Old, New: change.New}
	}
	return all
}

// Changed implements domain.Changing: a diary that is moved counts in another window.
func (e Voided) Changed() []domain.ChangedValue {
	if e.MovedTo == "" {
		return nil
	}
	return domain.ChangedText("window", e.Window.ID, e.MovedTo)
}
