package diary

import (
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/refuse"
)

// maxYears bounds an assignment, and thereby the size of a diary's state.
const maxYears = 10

// Prescription is the facts of Assign: the patient, and the instrument as the patient's version of the protocol
// defines it (nil if the version has no such instrument).
type Prescription struct {
	Patient    patient.Patient
	Definition *instrument.Definition
	// Known are the instruments that the version has.
	Known []instrument.ID
}

// Assign assigns an instrument to a patient for a range of days. The windows follow the time zone in which the patient
// lives.
//
// The same instrument can be assigned again for days after its current assignment. A newer version may also replace an
// older one from a future day on, if no window of that day or later is recorded. The older assignment then ends the day
// before.
//
// Refusals: patient_not_enrolled, patient_not_participating, treatment_ended, unknown_instrument, invalid_instrument, invalid_rule,
// unknown_zone, malformed_date, captured_in_future, invalid_range, assignment_before_enrollment, instrument_assigned.
func Assign(d Diary, facts Prescription, cmd AssignInstrument, call domain.Call) ([]Event, error) {
	if err := mustParticipate(facts.Patient); err != nil {
		return nil, err
	}
	if d := facts.Definition; d != nil && d.Dosing && facts.Patient.Treatment == patient.TreatmentEnded {
		return nil, refuse.WrongState("treatment_ended", "the patient's treatment ended on %s", facts.Patient.TreatmentEndedOn).
			At("instrument").Do("no doses are recorded after the treatment")
	}
	if facts.Definition == nil || facts.Definition.ID != cmd.Instrument {
		return nil, refuse.Because("unknown_instrument", "the version of the protocol that the patient follows has no instrument %q",
			cmd.Instrument).
			At("instrument").Do("use " + domain.Either(facts.Known...) + ", or publish an amendment with it")
	}
	if err := facts.Definition.Validate(); err != nil {
		return nil, err
	}
	zone, err := localtime.Load(facts.Patient.ZoneAt(call.At))
	if err != nil {
		return nil, err
	}
	if err := checkRange(cmd, facts.Patient); err != nil {
		return nil, err
	}
	today := domain.DateOf(zone.In(call.At))
	since, err := countsFrom(cmd, facts.Patient, zone, today, call)
	if err != nil {
		return nil, err
	}
	for i := range d.assignments {
		if err := d.assignments[i].checkNext(cmd, facts.Definition.Version, today); err != nil {
			return nil, err
		}
	}
	assigned := InstrumentAssigned{
		Patient: cmd.Patient, Instrument: *facts.Definition, Zone: zone.Name(), From: cmd.From, Until: cmd.Until, CountsFrom: since,
	}
	return d.rezoned([]Event{assigned}, facts.Patient, today), nil
}

// rezoned returns events that are to be recorded, and behind them the assignments that follow the patient into other zones, from the day
// of each change on and never before tomorrow: the windows of today may be answered. Those in the zone already are left alone.
func (d Diary) rezoned(events []Event, who patient.Patient, today domain.Date) []Event {
	changes := who.ZoneChanges()
	if len(changes) == 0 {
		return events // most patients stay, and to apply an assignment compiles its instrument
	}
	d = d.after(events)
	for _, change := range changes {
		from := max(change, today.AddDays(1))
		zone := who.ZoneOn(from)
		var moved []Event
		for _, a := range d.assignments {
			first := max(a.From, from)
			if a.fault != nil || a.zone.Name() == zone || first > a.Until || who.ZoneOn(first) != zone || a.hasRecordsFrom(first) {
				continue
			}
			moved = append(moved, InstrumentAssigned{Patient: who.ID, Instrument: *a.Instrument.Definition(), Zone: zone, From: first,
				Until: a.Until, CountsFrom: a.CountsFrom, Phase: a.Phase})
		}
		d, events = d.after(moved), append(events, moved...)
	}
	return events
}

// countsFrom returns from when on windows count: from the assignment, or from the day on which the patient was given the
// instrument. It refuses malformed_date, captured_in_future and assignment_before_enrollment.
func countsFrom(cmd AssignInstrument, who patient.Patient, zone *localtime.Zone, today domain.Date, call domain.Call) (time.Time, error) {
	if cmd.On == "" {
		return call.At, nil
	}
	if err := validDate("on", cmd.On); err != nil {
		return time.Time{}, err
	}
	if cmd.On > today {
		return time.Time{}, refuse.Because("captured_in_future", "the instrument was given on %s, which lies in the future", cmd.On).At("on").
			Do("leave the day out, and let the first day lie in the future")
	}
	if who.EnrolledOn != "" && cmd.On < who.EnrolledOn {
		return time.Time{}, refuse.Because("assignment_before_enrollment", "the instrument was given on %s, before the enrolment on %s",
			cmd.On, who.EnrolledOn).At("on").Do("check both days")
	}
	day, err := localtime.DayOf(cmd.On)
	if err != nil {
		return time.Time{}, err
	}
	return zone.Resolve(day, 0, localtime.First).UTC(), nil
}

// mustParticipate refuses patient_not_participating and patient_not_enrolled.
func mustParticipate(who patient.Patient) error {
	if who.Participating() {
		return nil
	}
	if who.EnrolledOn != "" && who.EndedOn != "" {
		return refuse.WrongState("patient_not_participating", "the patient's participation ended on %s", who.EndedOn).
			Do("assign nothing any more; if the end was recorded in error, undo that step first")
	}
	return refuse.WrongState("patient_not_enrolled", "the patient is not enrolled").Do("enrol the patient first")
}

// checkRange refuses malformed_date, invalid_range and assignment_before_enrollment.
func checkRange(cmd AssignInstrument, who patient.Patient) error {
	if err := validDate("from", cmd.From); err != nil {
		return err
	}
	if err := validDate("until", cmd.Until); err != nil {
		return err
	}
	if cmd.Until < cmd.From {
		return refuse.Because("invalid_range", "the last day, %s, lies before the first, %s", cmd.Until, cmd.From).At("until").
			Do("give a last day that is not before the first")
	}
	if first, err := cmd.From.Time(); err != nil || cmd.Until >= domain.DateOf(first.AddDate(maxYears, 0, 0)) {
		return refuse.Because("invalid_range", "an assignment lasts ten years at most").At("until").
			Do("end it earlier, and assign the instrument again when it ends")
	}
	if who.EnrolledOn != "" && cmd.From < who.EnrolledOn {
		return refuse.Because("assignment_before_enrollment", "the first day, %s, lies before the enrolment on %s", cmd.From, who.EnrolledOn).
			At("from").Do("begin on the day of enrolment or later")
	}
	return nil
}

// checkNext refuses a new assignment that conflicts with this one (code instrument_assigned).
func (a *Assignment) checkNext(cmd AssignInstrument, version int, today domain.Date) error {
	if a.ID != cmd.Instrument || a.Until < cmd.From {
		return nil
	}
	refusal := refuse.WrongState("instrument_assigned", "instrument %s is already assigned from %s until %s", a.ID, a.From, a.Until).
		At("instrument")
	switch {
	case a.fault != nil || version <= a.Instrument.Definition().Version:
		return refusal.Do("assign it for days after that")
	case cmd.From <= a.From || cmd.From <= today:
		return refusal.Do("let the newer version begin on a day in the future, after the first day of the older")
	case a.hasRecordsFrom(cmd.From):
		return refusal.Do("let the newer version begin after the last recorded diary")
	}
	return nil
}

// hasRecordsFrom says whether a window that opens on the day or later is answered or missed. One whose diary was voided is neither.
func (a *Assignment) hasRecordsFrom(day domain.Date) bool {
	before := a.endingOn(day.AddDays(-1))
	recorded := a.statuses[min(before.calendar.Len(), len(a.statuses)):]
	return slices.ContainsFunc(recorded, Status.decided) || slices.ContainsFunc(a.others, func(o otherWindow) bool {
		return o.status&(Answered|Missed) != 0 && domain.DateOf(a.zone.In(o.window.Opens)) >= day
	})
}

func validDate(field string, date domain.Date) error {
	err := date.Validate()
	if r, ok := refuse.As(err); ok {
		return r.At(field)
	}
	return err
}
