package diary

import (
	"context"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/localtime"
	"casebook/domain/patient"
	"casebook/domain/user"
	"casebook/readmodels"
)

// scheduleDays is how many days of the past, and of the future besides today, a schedule shows.
const scheduleDays = 14

// Schedule is what a patient's app has to know to ask for diaries, also after days without a network. It holds no moment of the request,
// so that it only changes when something is recorded about the patient, when a window opens, closes or passes, and with the day.
type Schedule struct {
	Patient domain.PatientID `json:"patient" doc:"The patient"`
	Zone    string           `json:"zone" doc:"Time zone in which the patient lives; all times are written in it"`
	From    domain.Date      `json:"from" doc:"First local day of the windows that are shown; older ones are shown while they take entries"`
	Through domain.Date      `json:"through" doc:"Last local day of the windows that are shown"`
	// Position is that of the diary's last event, not of the log, so that the answer stays the same while others record.
	Position uint64         `json:"position" doc:"Log position of the last event of the diary in the answer: an entry that was acknowledged with this position or a lower one is in it"`
	Asked    bool           `json:"asked" doc:"Whether the patient takes part; without it nothing new is asked"`
	Language diary.Language `json:"language,omitempty" doc:"Language in which the patient is shown diaries, if somebody has set one"`
	// Reminders are shown as they are in force: to remind at other times than the server does helps nobody.
	Reminders   Reminders        `json:"reminders" doc:"How the patient is reminded"`
	ChangesAt   *time.Time       `json:"changesAt,omitempty" doc:"When the answer changes next although nothing is recorded: a window opens, closes or passes, or the day is over"`
	Instruments []ScheduledDiary `json:"instruments" doc:"What the patient is asked, by assignment"`
	Devices     []SentDevice     `json:"devices" doc:"The devices that have sent entries, at most 20, the one whose entry was recorded last at the end"`
}

// Reminders are how a patient is reminded.
type Reminders struct {
	Email bool                   `json:"email,omitempty" doc:"By e-mail when no device has taken the reminder"`
	Quiet *instrument.QuietHours `json:"quiet,omitempty" doc:"When the patient has chosen not to be reminded; without it, the quiet hours of each instrument hold"`
}

// ScheduledDiary is an assignment of an instrument in a schedule.
type ScheduledDiary struct {
	Instrument instrument.ID           `json:"instrument" doc:"The instrument"`
	Version    int                     `json:"version" doc:"Version of its definition: that of the wording"`
	Kind       instrument.ScheduleKind `json:"kind,omitempty" doc:"What asks for an entry: visit for windows around visits, event for entries whenever something happens; left out for windows of the day"`
	From       domain.Date             `json:"from" doc:"First day of the assignment"`
	Until      domain.Date             `json:"until" doc:"Last day on which a window opens"`
	Remind     bool                    `json:"remind,omitempty" doc:"Whether the patient is reminded when a window opens"`
	Quiet      *instrument.QuietHours  `json:"quiet,omitempty" doc:"When patients are not reminded who have not chosen for themselves"`
	Windows    []ScheduledWindow       `json:"windows" doc:"The windows, and entries without a window, in the order in which they open"`
}

// ScheduledWindow is a window in a schedule, or an entry that was captured outside of all windows.
type ScheduledWindow struct {
	Window        string         `json:"window" doc:"Local day and name of the window"`
	Opens         time.Time      `json:"opens" doc:"When it opens"`
	Closes        time.Time      `json:"closes" doc:"When it closes"`
	AcceptedUntil time.Time      `json:"acceptedUntil" doc:"Until when an entry may be captured, late ones included"`
	Status        diary.Standing `json:"status" doc:"How it stands: upcoming, open, late (closed, and still takes a late entry), passed (takes no more), sent, missed, or held for the site. Of a passed or missed window, what was captured in time still counts when it arrives"`
}

// shownDevices is how many devices a schedule shows: a device that is not shown sends again what it has kept, which changes nothing.
const shownDevices = 20

// SentDevice says in a schedule what the record has of a device.
type SentDevice struct {
	Device      user.DeviceID `json:"device" doc:"The device, as the app names it"`
	HeldThrough int64         `json:"heldThrough" doc:"The record has every entry of the device up to this number; it sends again what lies above"`
	Highest     int64         `json:"highest" doc:"The highest number that the record has; 0 of a device that does not number its entries"`
	Gaps        []diary.Span  `json:"gaps,omitempty" doc:"The numbers below the highest that are missing"`
}

// devicesOf returns what the record has of the patient's devices.
func devicesOf(d diary.Diary) []SentDevice {
	all := d.Devices()
	all = all[max(0, len(all)-shownDevices):]
	shown := make([]SentDevice, len(all))
	for i, of := range all {
		shown[i] = SentDevice{Device: of.Device, HeldThrough: of.HeldThrough(), Highest: of.Highest(), Gaps: of.Gaps()}
	}
	return shown
}

// schedule is the query of the caller's own schedule.
var schedule = readmodels.Declare(readmodels.Query{
	Name: "MySchedule", Path: "/api/v1/me/schedule", Summary: "What the patient's app asks for, and what it has sent",
	Doc: "The windows of the last and the next 14 days, in the patient's time zone. It shows every entry that this server has acknowledged, " +
		"and with the header Casebook-Position those that others have. The header Date has the server's time.",
	OpenTo: access.To(access.ThePatient, access.Caregivers), Reach: readmodels.ReachOwn, OfStates: true,
}, LoadSchedule)

// ScheduleQuery asks for the caller's own schedule.
type ScheduleQuery struct {
	Patient domain.PatientID `query:"patient" doc:"The patient; only for those who answer for several"`
}

// LoadSchedule returns the schedule of the caller's patient.
func LoadSchedule(ctx context.Context, r readmodels.Request, _ ScheduleQuery) (Schedule, error) {
	own, err := loadOwn(ctx, r)
	if err != nil {
		return Schedule{}, err
	}
	span := own.span(r.Now)
	shown := Schedule{Patient: r.Own, Zone: own.zone.Name(), From: span.First, Through: span.Last, Position: own.position,
		Asked: own.patient.Participating(), Language: own.diary.Language(), Devices: devicesOf(own.diary),
		Reminders: Reminders{Email: own.diary.RemindsByEmail(), Quiet: own.diary.QuietHours()}}
	next := own.zone.Resolve(span.today+1, 0, localtime.First)
	for _, a := range own.diary.Schedule(own.patient, span.ScheduleSpan) {
		of := ScheduledDiary{Instrument: a.ID, Version: a.Version(), Kind: a.Kind(), From: a.From, Until: a.Until, Remind: a.Reminds(),
			Quiet:   a.Quiet(),
			Windows: make([]ScheduledWindow, len(a.Windows))}
		for i, w := range a.Windows {
			of.Windows[i] = ScheduledWindow{Window: w.ID, Opens: own.zone.In(w.Opens), Closes: own.zone.In(w.Closes),
				AcceptedUntil: own.zone.In(w.AcceptedUntil), Status: w.Standing}
			if at := w.ChangesAt(r.Now); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		shown.Instruments = append(shown.Instruments, of)
	}
	at := own.zone.In(next)
	shown.ChangesAt = &at
	return shown, nil
}

// ownDiary is what the app of a patient is answered from: the states on which its commands are decided, so that it sees at once what
// was acknowledged.
type ownDiary struct {
	diary   diary.Diary
	patient patient.Patient
	zone    *localtime.Zone
	// position is that of the last event of the diary.
	position uint64
}

func loadOwn(ctx context.Context, r readmodels.Request) (own ownDiary, err error) {
	if own.diary, own.position, err = readmodels.StateOf(ctx, r, diary.Decider, string(r.Own)); err != nil {
		return own, err
	}
	if own.patient, _, err = readmodels.StateOf(ctx, r, patient.Decider, string(r.Own)); err != nil {
		return own, err
	}
	own.zone, err = localtime.Load(own.patient.ZoneAt(r.Now))
	return own, err
}

// shownSpan is the span of a schedule.
type shownSpan struct {
	diary.ScheduleSpan
	today localtime.Day
}

// span returns the last and the next days, as the patient's clocks show them.
func (o ownDiary) span(now time.Time) shownSpan {
	today := o.zone.DayAt(now)
	first, last := today-scheduleDays, today+scheduleDays
	return shownSpan{today: today, ScheduleSpan: diary.ScheduleSpan{At: now, First: first.Date(), Last: last.Date(),
		From: o.zone.Resolve(first, 0, localtime.First), Until: o.zone.Resolve(last+1, 0, localtime.First)}}
}
