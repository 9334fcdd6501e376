package diary

import (
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
)

// AssignInstrument lets an enrolled patient answer an instrument of the protocol in force.
type AssignInstrument struct {
	Patient    domain.PatientID `json:"patient" doc:"The patient"`
	Instrument instrument.ID    `json:"instrument" doc:"The instrument, as the protocol names it"`
	From       domain.Date      `json:"from" doc:"First day, local to the patient"`
	Until      domain.Date      `json:"until" doc:"Last day on which a window opens; at most ten years after the first"`
}

// SubmitDiary hands in one filled-in instrument.
type SubmitDiary struct {
	Patient    domain.PatientID `json:"patient" doc:"The patient"`
	Instrument instrument.ID    `json:"instrument" doc:"The instrument"`
	CapturedAt time.Time        `json:"capturedAt" doc:"When the patient finished it, by the device's clock, with its offset from UTC"`
	Zone       string           `json:"zone,omitempty" doc:"IANA zone of the device at that time"`
	Answers    Answers          `json:"answers" doc:"Answers by item; leave out what was not answered"`
}

// CorrectDiary changes answers of a recorded diary, with the reason. It needs a role at the patient's site.
type CorrectDiary struct {
	Patient    domain.PatientID `json:"patient" doc:"The patient"`
	Instrument instrument.ID    `json:"instrument" doc:"The instrument"`
	Window     string           `json:"window" doc:"Id of the window, such as 2026-03-01/evening"`
	Answers    Answers          `json:"answers" doc:"New answers for the items that change; null clears one"`
	Reason     string           `json:"reason" minLength:"1" maxLength:"500" doc:"Why the data are changed"`
}

// RemindOfDiaries is sent by the diary follow-up when a window has opened.
type RemindOfDiaries struct {
	Patient domain.PatientID `json:"patient" doc:"The patient"`
}

// CloseDiaryWindows records as missed every window whose last moment for an entry lies before Through and that has no
// entry. The diary follow-up sends it when windows run out.
type CloseDiaryWindows struct {
	Patient domain.PatientID `json:"patient" doc:"The patient"`
	Through time.Time        `json:"through" doc:"Windows whose time had run out at this moment; not in the future"`
}
