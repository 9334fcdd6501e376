package diary

import (
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
)

// OwnSubmitted is what patients and caregivers are shown of Submitted: all but the scores, which are for the site.
type OwnSubmitted struct {
	Patient     domain.PatientID `json:"patient"`
	Instrument  instrument.ID    `json:"instrument"`
	Version     int              `json:"version"`
	Window      Window           `json:"window"`
	CapturedAt  time.Time        `json:"capturedAt"`
	Answers     Answers          `json:"answers"`
	Late        bool             `json:"late,omitempty"`
	AfterMissed bool             `json:"afterMissed,omitempty"`
	Entered
	Again        bool          `json:"again,omitempty"`
	MovedFrom    string        `json:"movedFrom,omitempty"`
	EnteredBy    domain.UserID `json:"enteredBy,omitempty"`
	CapturedZone string        `json:"capturedZone,omitempty"`
	Queried      []string      `json:"queried,omitempty"`
	InFuture     bool          `json:"inFuture,omitempty"`
}

// ShownToPatients implements domain.ShownInPart.
func (e Submitted) ShownToPatients() any {
	return OwnSubmitted{Patient: e.Patient, Instrument: e.Instrument, Version: e.Version, Window: e.Window, CapturedAt: e.CapturedAt,
		Answers: e.Answers, Late: e.Late, AfterMissed: e.AfterMissed, Entered: e.Entered, Again: e.Again, MovedFrom: e.MovedFrom,
		EnteredBy: e.EnteredBy, CapturedZone: e.CapturedZone, Queried: e.Queried, InFuture: e.InFuture}
}

// OwnHeld is what patients and caregivers are shown of Held: all but the risks, which are for the site.
type OwnHeld struct {
	Patient    domain.PatientID `json:"patient"`
	Instrument instrument.ID    `json:"instrument"`
	Version    int              `json:"version"`
	Window     Window           `json:"window"`
	CapturedAt time.Time        `json:"capturedAt"`
	Answers    Answers          `json:"answers"`
	Why        Why              `json:"why"`
	Entered
	For      string `json:"for,omitempty"`
	Late     bool   `json:"late,omitempty"`
	InFuture bool   `json:"inFuture,omitempty"`
}

// ShownToPatients implements domain.ShownInPart.
func (e Held) ShownToPatients() any {
	return OwnHeld{Patient: e.Patient, Instrument: e.Instrument, Version: e.Version, Window: e.Window, CapturedAt: e.CapturedAt,
		Answers: e.Answers, Why: e.Why, Entered: e.Entered, For: e.For, Late: e.Late, InFuture: e.InFuture}
}

// ShownToPatients implements domain.ShownInPart.
func (RiskFlagged) ShownToPatients() any { return nil }
