package diary

import (
	"context"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/refuse"
	"casebook/readmodels"
)

// MyInstruments are the instruments that a patient's app needs in the coming days.
type MyInstruments struct {
	Patient     domain.PatientID `json:"patient" doc:"The patient"`
	Instruments []MyInstrument   `json:"instruments" doc:"What the patient is asked today and within the next 14 days, by assignment"`
}

// MyInstrument is an assigned instrument.
type MyInstrument struct {
	Instrument instrument.ID `json:"instrument" doc:"The instrument"`
	Version    int           `json:"version" doc:"Version of its definition: that of the wording"`
	Title      string        `json:"title" doc:"What the patient sees as heading"`
	Language   string        `json:"language,omitempty" doc:"Language of the title, and in which the instrument is shown where none is asked for; left out where the study has not said it"`
	Languages  []string      `json:"languages,omitempty" doc:"The languages in which it can be shown, its own first"`
	From       domain.Date   `json:"from" doc:"First day of the assignment, local to the patient"`
	Until      domain.Date   `json:"until" doc:"Last day on which a window opens"`
}

// myInstruments and renderedInstrument are the queries of what a patient's app renders.
var (
	myInstruments = readmodels.Declare(readmodels.Query{
		Name: "MyInstruments", Path: "/api/v1/me/instruments", Summary: "The instruments that the patient's app needs in the coming days",
		Doc:    "What is assigned today and within the next 14 days.",
		OpenTo: access.To(access.ThePatient, access.Caregivers), Reach: readmodels.ReachOwn, OfStates: true,
	}, ListMyInstruments)
	renderedInstrument = readmodels.Declare(readmodels.Query{
		Name: "MyInstrument", Path: "/api/v1/me/instruments/{instrument}", Summary: "An instrument as the patient's app renders it",
		Doc: "A version never changes in a language, and neither does its ETag. Skip rules come in CEL, and as trees for programs without it. " +
			"Without a language, the texts are in the one in which the patient is shown diaries, if the instrument has it, and otherwise in its " +
			"own. A more general language stands in for one that is asked for, such as de for de-AT.",
		OpenTo: access.To(access.ThePatient, access.Caregivers), Reach: readmodels.ReachOwn, OfStates: true,
	}, LoadMyInstrument)
)

// MyInstrumentsQuery asks for the instruments of the caller's own patient.
type MyInstrumentsQuery struct {
	Patient domain.PatientID `query:"patient" doc:"The patient; only for those who answer for several"`
}

// MyInstrumentQuery asks for an instrument that is or was assigned to the caller's own patient.
type MyInstrumentQuery struct {
	Instrument instrument.ID    `path:"instrument" doc:"The instrument"`
	Version    int              `query:"version" minimum:"0" maximum:"1000000" default:"0" doc:"Version of its definition; 0 for the one that is asked now, or next"`
	Language   diary.Language   `query:"language" doc:"Language of the texts; the patient's when left out"`
	Patient    domain.PatientID `query:"patient" doc:"The patient; only for those who answer for several"`
}

// ListMyInstruments returns what the caller's patient is asked in the coming days.
func ListMyInstruments(ctx context.Context, r readmodels.Request, _ MyInstrumentsQuery) (MyInstruments, error) {
	own, err := loadOwn(ctx, r)
	if err != nil {
		return MyInstruments{}, err
	}
	span := own.span(r.Now)
	span.From = r.Now
	shown := MyInstruments{Patient: r.Own}
	for _, a := range own.diary.Schedule(own.patient, span.ScheduleSpan) {
		asked, err := a.Instrument.Asked(own.languageOf(a.Instrument))
		if err != nil {
			return MyInstruments{}, err
		}
		shown.Instruments = append(shown.Instruments, MyInstrument{Instrument: a.ID, Version: a.Version(), Title: asked.Title,
			Language: asked.Language, Languages: asked.Languages, From: a.From, Until: a.Until})
	}
	return shown, nil
}

// languageOf returns the language in which the patient is shown an instrument: the one that was set, or one that suits it, and otherwise
// the instrument's own.
func (o ownDiary) languageOf(i *instrument.Instrument) string {
	language, _ := i.Definition().In(string(o.diary.Language()))
	return language
}

// LoadMyInstrument returns an instrument as an app renders it. It refuses instrument_not_found for one that was never assigned to the
// patient, and language_not_offered.
func LoadMyInstrument(ctx context.Context, r readmodels.Request, q MyInstrumentQuery) (instrument.Asked, error) {
	own, err := loadOwn(ctx, r)
	if err != nil {
		return instrument.Asked{}, err
	}
	var found *instrument.Instrument
	today := own.span(r.Now).today.Date()
	for _, a := range own.diary.Assignments() {
		if a.ID != q.Instrument || a.Instrument == nil || q.Version != 0 && a.Instrument.Definition().Version != q.Version {
			continue
		}
		if found = a.Instrument; q.Version == 0 && a.Until >= today {
			break // assignments of an instrument are in the order of time
		}
	}
	if found == nil {
		return instrument.Asked{}, refuse.NotFound("instrument_not_found", "instrument %s is not assigned to the patient in this version",
			refuse.Shortened(string(q.Instrument))).At("instrument").Do("take an instrument of the schedule, in the version that it names")
	}
	language := own.languageOf(found)
	if q.Language != "" {
		var offered bool
		if language, offered = found.Definition().In(string(q.Language)); !offered {
			return instrument.Asked{}, instrument.NotOffered(found.Definition(), string(q.Language))
		}
	}
	return found.Asked(language)
}
