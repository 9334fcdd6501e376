package diary

import (
	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/refuse"
)

// StopInstrument ends the assignment of an instrument, before its last day.
type StopInstrument struct {
	domain.OfPatient
	Instrument      instrument.ID `json:"instrument" doc:"The instrument"`
	Until           domain.Date   `json:"until,omitempty" doc:"Last day on which a window opens; today when left out"`
	domain.Reasoned `doc:"Why it is stopped"`
}

// ReplaceInstrument ends the assignment of an instrument, and assigns another one from the next day on.
type ReplaceInstrument struct {
	domain.OfPatient
	Replaced        instrument.ID `json:"replaced" doc:"The instrument that is stopped"`
	Instrument      instrument.ID `json:"instrument" doc:"The instrument that is assigned instead"`
	From            domain.Date   `json:"from" doc:"First day of the new one, local to the patient; the old one ends on the day before"`
	Until           domain.Date   `json:"until" doc:"Last day on which a window of the new one opens"`
	domain.Reasoned `doc:"Why it is replaced"`
}

func (InstrumentStopped) diaryEvent() {}

// Stop decides about StopInstrument. Windows that open after the last day are not asked for, and are not missed. A window that has
// run out already is missed, or the patient's device has yet to send its diary, so that none may lie after the last day. It refuses
// reason_required, value_too_long, malformed_date, unknown_zone, instrument_unusable, nothing_to_stop, diaries_recorded and
// windows_ran_out.
func Stop(d Diary, who patient.Patient, cmd StopInstrument, call domain.Call) ([]Event, error) {
	reason := cmd.Reason.Trimmed()
	if err := domain.Reason(reason); err != nil {
		return nil, err
	}
	until := cmd.Until
	if until == "" {
		zone, err := localtime.Load(who.ZoneAt(call.At))
		if err != nil {
			return nil, err
		}
		until = domain.DateOf(zone.In(call.At))
	}
	if err := validDate("until", until); err != nil {
		return nil, err
	}
	if err := d.mayStop(who, cmd.Instrument, until, call, "instrument", "until"); err != nil {
		return nil, err
	}
	return []Event{InstrumentStopped{Patient: cmd.Patient, Instrument: cmd.Instrument, Until: until, Reason: reason}}, nil
}

// mayStop refuses instrument_unusable, nothing_to_stop, diaries_recorded and windows_ran_out.
func (d Diary) mayStop(who patient.Patient, id instrument.ID, until domain.Date, call domain.Call, field, day string) error {
	if err := d.checkUsable(id); err != nil {
		return err
	}
	goesOn := false
	for i := range d.assignments {
		a := &d.assignments[i]
		if a.ID != id || a.Until <= until {
			continue
		}
		goesOn = true
		if a.hasRecordsFrom(until.AddDays(1)) {
			return refuse.WrongState("diaries_recorded", "instrument %s has diaries after %s", id, until).At(day).
				Do("let it end with the last recorded diary, or void that diary first")
		}
		var last domain.Date
		for w := range a.ranOut(who, call.At) {
			last = max(last, domain.DateOf(a.zone.In(w.Opens)))
		}
		if last > until {
			return refuse.WrongState("windows_ran_out", "instrument %s had windows until %s that nobody has answered yet", id, last).At(day).
				Do("let it end on that day or later; what the patient did not answer is recorded as missed")
		}
	}
	if !goesOn {
		return refuse.WrongState("nothing_to_stop", "instrument %s is not assigned after %s", refuse.Shortened(string(id)), until).
			At(field).Do("nothing is left to stop")
	}
	return nil
}

// Replace decides about ReplaceInstrument. It refuses what Stop and Assign refuse, and nothing_to_correct if both are the same: a
// newer version of an instrument is assigned.
func Replace(d Diary, facts Prescription, cmd ReplaceInstrument, call domain.Call) ([]Event, error) {
	reason := cmd.Reason.Trimmed()
	if err := domain.First(domain.Reason(reason), validDate("from", cmd.From)); err != nil {
		return nil, err
	}
	if cmd.Replaced == cmd.Instrument {
		return nil, refuse.Because("nothing_to_correct", "instrument %s cannot replace itself", refuse.Shortened(string(cmd.Instrument))).
			At("instrument").Do("assign its newer version with AssignInstrument")
	}
	until := cmd.From.AddDays(-1)
	if err := d.mayStop(facts.Patient, cmd.Replaced, until, call, "replaced", "from"); err != nil {
		return nil, err
	}
	assigned, err := Assign(d, facts, AssignInstrument{OfPatient: cmd.OfPatient, Instrument: cmd.Instrument, From: cmd.From, Until: cmd.Until},
		call)
	if err != nil {
		return nil, err
	}
	return append([]Event{InstrumentStopped{Patient: cmd.Patient, Instrument: cmd.Replaced, Until: until, Reason: reason,
		ReplacedBy: cmd.Instrument}}, assigned...), nil
}
