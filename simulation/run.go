package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"casebook/domain"
	"casebook/domain/user"

	"golang.org/x/sync/errgroup"
)

// Options of a simulation.
type Options struct {
	// BaseURL of the server, such as http://127.0.0.1:8080.
	BaseURL string
	// SignAs returns a token for a user of the installation.
	SignAs func(domain.UserID) (string, error)
	// Admin is an administrator's account; the simulation makes all others, with this password for the staff.
	Admin    domain.UserID
	Password string
	// Patients are screened and live through Days of diaries, which end two days before Today.
	Patients, Days int
	// Seed decides the course of everybody.
	Seed  uint64
	Today domain.Date
	// Workers is how many patients act at a time.
	Workers int
	// Progress is told how far it is, from one goroutine at a time; it may be nil.
	Progress func(Progress)
}

func (o Options) lastDay() domain.Date { return o.Today.AddDays(-2) }

// Progress is how far the simulation is.
type Progress struct {
	Phase       string
	Done, Total int
	Counts
}

// Counts is what the server has recorded.
type Counts struct {
	Screened       int `json:"screened"`
	ScreenFailures int `json:"screenFailures"`
	Enrolled       int `json:"enrolled"`
	// NoKit counts the enrolments that failed because the site had no kits, and were asked for again.
	NoKit         int `json:"noKit"`
	KitsDispensed int `json:"kitsDispensed"`
	// Shipments counts those that have arrived.
	Shipments   int `json:"shipments"`
	EndedEarly  int `json:"endedEarly"`
	Diaries     int `json:"diaries"`
	Late        int `json:"late"`
	AfterMissed int `json:"afterMissed"`
	Missed      int `json:"missed"`
	Corrected   int `json:"corrected"`
	Risks       int `json:"risks"`
}

// Summary says what the simulation did and where to look at it.
type Summary struct {
	Counts
	Title string         `json:"title"`
	Sites int            `json:"sites"`
	Study domain.StudyID `json:"study"`
	Site  domain.SiteID  `json:"site"`
	// SiteStaff works at Site, and Patient is one of its patients.
	SiteStaff domain.UserID    `json:"siteStaff"`
	Patient   domain.PatientID `json:"patient"`
	Accounts  []Account        `json:"accounts"`
	// Position is the log position of the last thing that was recorded.
	Position uint64 `json:"position"`
}

// simulation is a run under way.
type simulation struct {
	Options
	api      *client
	admin    string
	accounts map[domain.UserID]*Account
	courses  []*course
	// phones are the tokens of patients' phones.
	phones map[domain.PatientID]string

	mu       sync.Mutex
	progress Progress
	position uint64
}

// Run builds the study and lets the patients live. It may be run again on the same installation, after an interruption
// too: everything is sent under the key that it had.
func Run(ctx context.Context, o Options) (Summary, error) {
	if o.Patients < 1 || o.Days < 1 || o.Patients > 9999 {
		return Summary{}, fmt.Errorf("%d patients for %d days cannot be simulated; take 1 to 9999 patients and at least a day", o.Patients, o.Days)
	}
	o.Workers = max(1, o.Workers)
	courses, err := plan(o)
	if err != nil {
		return Summary{}, err
	}
	s := &simulation{Options: o, api: newClient(o.BaseURL), accounts: map[domain.UserID]*Account{}, courses: courses, phones: map[domain.PatientID]string{}}
	if err := errors.Join(s.build(ctx), ctx.Err()); err != nil {
		return Summary{}, err
	}
	if err := s.live(ctx); err != nil {
		return Summary{}, err
	}
	summary := Summary{Counts: s.progress.Counts, Title: studyTitle, Sites: len(sites), Study: studyID, Site: sites[0].id,
		SiteStaff: sites[0].crc, Patient: courses[0].id(), Position: s.position}
	for _, a := range staff() {
		summary.Accounts = append(summary.Accounts, *a)
	}
	return summary, nil
}

// build makes accounts and study.
func (s *simulation) build(ctx context.Context) (err error) {
	if s.admin, err = s.SignAs(s.Admin); err != nil {
		return err
	}
	people := staff()
	for i, a := range people {
		s.report("accounts and study", i, len(people)+10, nil)
		if err := s.register(ctx, a, s.Password); err != nil {
			return err
		}
		if a.token, err = s.SignAs(a.User); err != nil {
			return err
		}
		s.accounts[a.User] = a
	}
	opened := s.Today.AddDays(-s.Days - 30)
	for i, command := range buildCommands(s.Options, opened) {
		if err := s.send(ctx, s.accounts[managerID].token, fmt.Sprintf("build/%d", i), command); err != nil {
			return err
		}
		s.report("accounts and study", len(people)+i, len(people)+10, nil)
	}
	s.report("randomisation and drug", 0, 1, nil)
	return s.supplyStudy(ctx, s.Today.AddDays(-s.Days-9))
}

func (s *simulation) register(ctx context.Context, a *Account, password string) error {
	err := s.send(ctx, s.admin, "register/"+string(a.User), user.RegisterUser{OfUser: domain.ForUser(a.User), Name: a.name, Password: password})
	for i, g := range a.grants {
		if err != nil {
			return err
		}
		err = s.send(ctx, s.admin, fmt.Sprintf("grant/%s/%d", a.User, i), user.GrantRole{OfUser: domain.ForUser(a.User), Grant: g})
	}
	return err
}

// live lets day after day pass; within a day patients act side by side.
func (s *simulation) live(ctx context.Context) error {
	first := s.Today.AddDays(-s.Days - 8)
	last := s.lastDay().AddDays(closedAfterDays)
	days := last.DaysSince(first) + 1
	for day := first; day <= last; day = day.AddDays(1) {
		s.report("day "+string(day), day.DaysSince(first), days, nil)
		if err := s.supplyRound(ctx, day, s.Today.AddDays(-s.Days-1+daysBarred)); err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(s.Workers)
		for _, c := range s.courses {
			group.Go(func() error { return s.act(ctx, c, day) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	if err := s.reviewAlerts(ctx); err != nil {
		return err
	}
	if err := s.countShipments(ctx); err != nil {
		return err
	}
	s.report("done", days, days, nil)
	return nil
}

func (s *simulation) report(phase string, done, total int, count func(*Counts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if count != nil {
		count(&s.progress.Counts)
	}
	if phase != "" {
		s.progress.Phase, s.progress.Done, s.progress.Total = phase, done, total
	}
	if s.Progress != nil {
		s.Progress(s.progress)
	}
}
