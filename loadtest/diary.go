package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/domain/user"

	"golang.org/x/sync/errgroup"
)

// Options of a load test.
type Options struct {
	// BaseURL of the server, such as http://127.0.0.1:8080.
	BaseURL string
	// SignAs returns a token for a user of the installation.
	SignAs func(domain.UserID) (string, error)
	// Admin is an administrator's account; the test creates all others.
	Admin domain.UserID
	// Connections are the numbers of connections to measure with, one after the other.
	Connections []int
	// Duration of each measurement.
	Duration time.Duration
	// Rate is the maximum number of requests per second, in total; 0 for no limit. With a rate, the time of a request
	// counts from when it was due.
	Rate int
	// Rounds is how often each measurement is repeated; the report shows medians.
	Rounds int
	// Patients is the number of patients, who send diaries in turn.
	Patients int
	// Rival is the address of another system with POST /diary that is measured alternately, and RivalKey the HS256 key of
	// its tokens; empty for none.
	Rival, RivalKey string
	// ServerPID is the id of the server's process, whose memory is read; 0 for none.
	ServerPID int
	// Profile takes a profile of the server for some time. It is called once for each number of connections, while the last
	// measurement runs; nil for no profile.
	Profile func(context.Context, time.Duration) ([]byte, error)
	// Say receives messages about the progress; it may be nil.
	Say func(format string, args ...any)
}

// windowsEach is how many daily windows each patient can fill: nine years of evenings.
const windowsEach = 9 * 365

// Diary measures SubmitDiary. The patients submit their diaries of past years, one evening per request, and each
// request is answered when its events are durable.
func Diary(ctx context.Context, o Options) (Report, error) {
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	o.Rounds = max(o.Rounds, 1)
	began := time.Now()
	cohort, err := prepare(ctx, o)
	if err != nil {
		return Report{}, fmt.Errorf("set up the study: %w", err)
	}
	o.Say("%d patients are enrolled and have their diaries, after %s", o.Patients, time.Since(began).Round(time.Millisecond))
	report := Report{Patients: o.Patients, Duration: o.Duration, Rounds: o.Rounds}
	for _, connections := range o.Connections {
		row := Row{Connections: connections}
		for round := range o.Rounds {
			used := ProcessorTimeOf(o.ServerPID)
			profiled := o.profile(ctx, round)
			m, err := measure(ctx, cohort, connections, o.Duration, o.Rate)
			if err != nil {
				return report, err
			}
			if row.Profile, err = profiled(); err != nil {
				return report, err
			}
			if m.Lag50, m.Lag99, err = cohort.lag.result(); err != nil {
				return report, err
			}
			caughtUp, err := cohort.catchUp(ctx)
			if err != nil {
				return report, err
			}
			m.CatchUp = caughtUp
			if now := ProcessorTimeOf(o.ServerPID); now > used {
				m.Processor = float64((now - used).Microseconds()) / float64(m.Requests)
			}
			m.MemoryBytes, m.PeakBytes = MemoryOf(o.ServerPID)
			row.Casebook = append(row.Casebook, m)
			o.Say("%3d connections: %s", connections, m)
			if o.Rival == "" {
				continue
			}
			r, err := newRival(o)
			if err != nil {
				return report, err
			}
			if m, err = measure(ctx, r, connections, o.Duration, o.Rate); err != nil {
				return report, err
			}
			row.Rival = append(row.Rival, m)
			o.Say("%3d connections: %s (rival)", connections, m)
		}
		report.Rows = append(report.Rows, row)
	}
	return report, nil
}

// profile begins a profile beside the last round, and returns what waits for it.
func (o Options) profile(ctx context.Context, round int) (wait func() ([]byte, error)) {
	if o.Profile == nil || round != o.Rounds-1 {
		return func() ([]byte, error) { return nil, nil }
	}
	var taken []byte
	var group errgroup.Group
	group.Go(func() (err error) {
		taken, err = o.Profile(ctx, o.Duration)
		return err
	})
	return func() ([]byte, error) {
		err := group.Wait()
		return taken, err
	}
}

// cohort holds the patients of the study.
type cohort struct {
	api    *client
	study  domain.StudyID
	phones []phone
	first  domain.Date
	// manager is the data manager's token, which reads every patient's view.
	manager string
	lag     *lagSampler
}

// phone is a patient's phone. It is used by one connection at a time.

type phone struct {
	id     domain.PatientID
	bearer string
	// next is the number of the next window to fill, last the position of the last answer.
	next int
	last uint64
}

// prepare creates a study with enrolled patients who have a diary.
func prepare(ctx context.Context, o Options) (*cohort, error) {
	id := domain.StudyID(fmt.Sprintf("LOAD%d", time.Now().UnixMilli()%1_000_000_000))
	c := &cohort{lag: newLagSampler(), api: newClient(o.BaseURL), study: id}
	admin, err := o.SignAs(o.Admin)
	if err != nil {
		return nil, err
	}
	today := domain.DateOf(time.Now().UTC())
	c.first = today.AddDays(-windowsEach - 2)
	as := func(id domain.UserID, g user.Grant) (string, error) {
		if err := errors.Join(c.api.command(ctx, admin, user.RegisterUser{OfUser: domain.ForUser(id), Name: string(id)}),
			c.api.command(ctx, admin, user.GrantRole{OfUser: domain.ForUser(id), Grant: g})); err != nil {
			return "", err
		}
		return o.SignAs(id)
	}
	suffix := "." + string(c.study[4:])
	manager, err := as(domain.UserID("manager"+suffix), user.Grant{Role: user.DataManager, Study: c.study})
	if err != nil {
		return nil, err
	}
	crc, err := as(domain.UserID("crc"+suffix), user.Grant{Role: user.CRC, Study: c.study, Site: "01"})
	if err != nil {
		return nil, err
	}
	c.manager = manager
	definition := instrument.PainDiary()
	protocol := study.Protocol{Version: 1, ConsentVersion: "1", Instruments: []instrument.Definition{*definition}}
	for _, command := range []any{
		study.CreateStudy{InStudy: domain.ForStudy(c.study), Title: "Load", Sponsor: "Load"},
		study.PublishProtocolVersion{InStudy: domain.ForStudy(c.study), Protocol: protocol},
		study.AddSite{AtSite: domain.ForSite(c.study, "01"), Name: "Site", Country: "DE", Zone: "UTC"},
		study.ActivateSite{AtSite: domain.ForSite(c.study, "01"), On: c.first},
		enrollment.OpenEnrollment{InStudy: domain.ForStudy(c.study), Caps: enrollment.Caps{Target: o.Patients, Study: o.Patients}},
	} {
		if err := c.api.command(ctx, manager, command); err != nil {
			return nil, err
		}
	}
	c.phones = make([]phone, o.Patients)
	var group errgroup.Group
	group.SetLimit(32)
	for i := range c.phones {
		group.Go(func() error {
			number := fmt.Sprintf("P%06d", i)
			p := &c.phones[i]
			p.id = domain.NewPatientID(c.study, number)
			grant := user.Grant{Role: user.PatientRole, Study: c.study, Patient: p.id}
			token, err := as(domain.UserID("p"+strconv.Itoa(i)+suffix), grant)
			if err != nil {
				return err
			}
			p.bearer = "Bearer " + token
			return c.enrol(ctx, crc, p.id, number, definition.ID, today)
		})
	}
	return c, group.Wait()
}

// enrol screens and enrols a patient, and assigns the diary as soon as the enrolment is confirmed.
func (c *cohort) enrol(
	ctx context.Context, crc string, id domain.PatientID, number string, definition instrument.ID, today domain.Date,
) error {
	for _, command := range []any{
		patient.ScreenPatient{AtSite: domain.ForSite(c.study, "01"), ScreeningNumber: number, On: c.first, Zone: "UTC"},
		patient.RecordConsent{OfPatient: domain.ForPatient(id), ConsentVersion: "1", On: c.first},
		patient.EnrollPatient{OfPatient: domain.ForPatient(id), On: c.first},
	} {
		if err := c.api.command(ctx, crc, command); err != nil {
			return err
		}
	}
	assign := diary.AssignInstrument{OfPatient: domain.ForPatient(id), Instrument: definition, From: c.first, Until: today}
	for {
		err := c.api.command(ctx, crc, assign)
		var p *problem
		if !errors.As(err, &p) || p.Code != "patient_not_enrolled" && p.Code != "patient_not_participating" {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (c *cohort) connect(i, n int) (connection, error) {
	own := len(c.phones) / n
	if own == 0 {
		return nil, fmt.Errorf("%d patients cannot share %d connections", len(c.phones), n)
	}
	return &diaryConnection{cohort: c, phones: c.phones[i*own : (i+1)*own], client: newClient(c.api.base)}, nil
}

// diaryConnection sends the diaries of its phones, in turn.
type diaryConnection struct {
	cohort *cohort
	phones []phone
	client *client
	turn   int
	body   []byte
}

func (l *diaryConnection) send(ctx context.Context) error {
	p := &l.phones[l.turn%len(l.phones)]
	l.turn++
	if p.next >= windowsEach {
		return errors.New("all windows are filled; take more patients or less time")
	}
	day := l.cohort.first.AddDays(p.next)
	worst := int64((l.turn*7 + p.next) % 8) // never severe pain, whose alerts would be further load
	b := l.body[:0]
	b = append(b, `{"patient":"`...)
	b = append(b, p.id...)
	b = append(b, `","instrument":"pain-diary","capturedAt":"`...)
	b = append(b, day...)
	b = append(b, `T20:30:00Z","answers":{"worst":`...)
	b = strconv.AppendInt(b, worst, 10)
	b = append(b, `,"least":0,"average":`...)
	b = strconv.AppendInt(b, worst/2, 10)
	b = append(b, `,"now":`...)
	b = strconv.AppendInt(b, worst/2, 10)
	b = append(b, `,"rescue":false}}`...)
	l.body = b
	position, err := l.client.post("/api/v1/commands/SubmitDiary", p.bearer, b)
	if err != nil {
		return fmt.Errorf("diary of %s on %s: %w", p.id, day, err)
	}
	p.next++
	p.last = position
	if l.turn%sampleEvery == 0 {
		l.cohort.lag.sample(ctx, l.cohort, p.id, position)
	}
	return nil
}

func (l *diaryConnection) close() { l.client.close() }

// catchUp waits until the views show all diaries, and returns how long this takes.
func (c *cohort) catchUp(ctx context.Context) (time.Duration, error) {
	newest := &c.phones[0]
	for i := range c.phones {
		if c.phones[i].last > newest.last {
			newest = &c.phones[i]
		}
	}
	began := time.Now()
	for _, path := range []string{"/api/v1/patients/" + string(newest.id), "/api/v1/studies/" + string(c.study)} {
		if err := c.waitShown(ctx, path, newest.last); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// problem is a refusal of the server (RFC 9457).
type problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail) }

func problemOf(status int, body []byte) error {
	p := &problem{Status: status}
	if json.Unmarshal(body, p) != nil || p.Code == "" {
		return fmt.Errorf("answered %d: %.200s", status, body)
	}
	return p
}
