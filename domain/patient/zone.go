package patient

import (
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/localtime"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// maxDaysAhead is how long before it a change of the zone may be recorded.
const maxDaysAhead = 366

// ChangeZone says that the patient lives by the clock of another time zone from a day on, after a move or for a journey. The diaries
// follow; what was before the day stays as it was.
type ChangeZone struct {
	domain.OfPatient
	Zone            string      `json:"zone" maxLength:"64" doc:"IANA time zone"`
	From            domain.Date `json:"from" doc:"First day in the zone: tomorrow or later, where the patient is now"`
	domain.Reasoned `doc:"Why, such as a move"`
}

// ZoneChanged says by which time zone the patient lives from a day on.
type ZoneChanged struct {
	Patient domain.PatientID `json:"patient"`
	From    string           `json:"from"`
	To      string           `json:"to"`
	// On is the first day in the new zone.
	On     domain.Date   `json:"on"`
	Reason personal.Text `json:"reason"`
}

func (ZoneChanged) patientEvent() {}

// AboutPatient returns the patient that the event is about.
func (e ZoneChanged) AboutPatient() domain.PatientID { return e.Patient }

// zoneSince is a zone that the patient lives by from a day on.
type zoneSince struct {
	zone string
	from domain.Date
}

// Rezone decides about ChangeZone. A later change replaces those that were to come after its day. It refuses reason_required,
// value_too_long, patient_not_found, patient_ended, unknown_zone, malformed_date, value_out_of_range and same_zone.
func Rezone(p Patient, cmd ChangeZone, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), p.mustNotHaveEnded(), domain.At("from", cmd.From.Validate())); err != nil {
		return nil, err
	}
	zone, err := localtime.Load(cmd.Zone)
	if err != nil {
		return nil, domain.At("zone", err)
	}
	today := p.DayOf(call.At)
	if cmd.From <= today || cmd.From > today.AddDays(maxDaysAhead) {
		return nil, refuse.Malformed("value_out_of_range", "the zone changes on %s, and today is %s where the patient is", cmd.From, today).
			At("from").Do("let it change tomorrow, or up to a year later: past days stay in the zone in which they were")
	}
	if before := p.ZoneOn(cmd.From); before == zone.Name() {
		return nil, refuse.WrongState("same_zone", "the patient lives by %s then", before).At("zone").Do("nothing is left to do")
	}
	return []Event{ZoneChanged{Patient: p.ID, From: p.ZoneOn(cmd.From), To: zone.Name(), On: cmd.From, Reason: cmd.Reason}}, nil
}

// ZoneOn returns the IANA time zone that the patient lives by on a day.
func (p Patient) ZoneOn(day domain.Date) string {
	zone := p.Zone
	for _, z := range p.zones {
		if z.from <= day {
			zone = z.zone
		}
	}
	return zone
}

// ZoneAt returns the zone that the patient lives by at a moment.
func (p Patient) ZoneAt(at time.Time) string { return p.ZoneOn(p.DayOf(at)) }

// ZoneChanges are the days on which the zone changes, in ascending order.
func (p Patient) ZoneChanges() (days []domain.Date) {
	for _, z := range p.zones {
		days = append(days, z.from)
	}
	return days
}

// inZone returns the patient with a zone from a day on, and without the changes that were to come on the day or later.
func (p Patient) inZone(zone string, from domain.Date) Patient {
	p.zones = append(slices.DeleteFunc(slices.Clone(p.zones), func(z zoneSince) bool { return z.from >= from }), zoneSince{zone, from})
	return p
}

// DayOf returns the day of a moment where the patient lives.
func (p Patient) DayOf(at time.Time) domain.Date {
	day := dayIn(p.Zone, at)
	for _, z := range p.zones {
		if there := dayIn(z.zone, at); z.from <= day || z.from <= there { // of the two days, the later one has begun
			day = there
		}
	}
	return day
}

// dayIn returns the day of a moment in a zone.
func dayIn(name string, at time.Time) domain.Date {
	zone, err := localtime.Load(name)
	if err != nil { // of a record from before zones were checked
		return domain.DateOf(at.UTC())
	}
	return domain.DateOf(zone.In(at))
}
