package simulation

import (
	"context"
	"crypto/tls"
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
	// TLS says which certificates of the server are trusted; nil for those that the machine trusts.
	TLS *tls.Config
	// SignAs returns a token that proves that a user of the installation has just signed in.
	SignAs func(domain.UserID) (string, error)
	// Admin and Deputy are the accounts of two administrators, because roles that see arms need two people. The simulation
	// creates all others; Password is that of the staff.
	Admin, Deputy domain.UserID
	Password      string
	// Patients is how many patients are screened, and Days how many days of diaries they have. The last of these days is
	// two days before Today.
	Patients, Days int
	// Seed determines the courses of all patients.
	Seed  uint64
	Today domain.Date
	// Workers is how many patients are simulated at the same time.
	Workers int
	// Progress receives the progress, from one goroutine at a time; it may be nil.
	Progress func(Progress)
}

// lastDay returns the last day of diaries. It is over in every time zone.
func (o Options) lastDay() domain.Date { return o.Today.AddDays(-2) }

// Progress says how much of the simulation is done.
type Progress struct {
	Phase       string
	Done, Total int
	Counts
}

// Counts counts what the server has recorded.
type Counts struct {
	Screened       int `json:"screened"`
	ScreenFailures int `json:"screenFailures"`
	Enrolled       int `json:"enrolled"`
	// NoKit counts the enrolments that failed because the site had no kits. They were requested again later.
	NoKit         int `json:"noKit"`
	KitsDispensed int `json:"kitsDispensed"`
	// Shipments counts the shipments that have arrived.
	Shipments  int `json:"shipments"`
	EndedEarly int `json:"endedEarly"`
	// TreatmentStopped counts patients whose treatment has ended, and who are followed up; KitsReplaced the kits that were lost.
	TreatmentStopped int `json:"treatmentStopped"`
	KitsReplaced     int `json:"kitsReplaced"`
	// Reconsented counts the patients who have signed the consent of the amendment, and DosesChanged the changes of a dose.
	Reconsented  int `json:"reconsented"`
	DosesChanged int `json:"dosesChanged"`
	// RecalledAtHome counts the patients who have a recalled kit at home, and ToldOfRecall those of them who were told.
	RecalledAtHome int `json:"recalledAtHome"`
	ToldOfRecall   int `json:"toldOfRecall"`
	// RefusedInPause counts the enrolments that were refused because the site was paused.
	RefusedInPause int `json:"refusedInPause"`
	Diaries        int `json:"diaries"`
	Late           int `json:"late"`
	// Transcribed counts the diaries that staff have entered from paper.
	Transcribed int `json:"transcribed"`
	AfterMissed int `json:"afterMissed"`
	Missed      int `json:"missed"`
	Corrected   int `json:"corrected"`
	Risks       int `json:"risks"`
}

// Summary describes the simulated study, and names accounts and a patient with which to explore it.
type Summary struct {
	Counts
	Title string         `json:"title"`
	Sites int            `json:"sites"`
	Study domain.StudyID `json:"study"`
	Site  domain.SiteID  `json:"site"`
	// SiteStaff is the account of a coordinator at Site, and Patient a patient of Site.
	SiteStaff domain.UserID    `json:"siteStaff"`
	Patient   domain.PatientID `json:"patient"`
	Accounts  []Account        `json:"accounts"`
	// Incidents says what happened to single patients that was not planned.
	Incidents []Incident `json:"incidents"`
	// Position is the log position of the last recorded event.
	Position uint64 `json:"position"`
}

// Incident is what happened to a patient.
type Incident struct {
	Patient domain.PatientID `json:"patient"`
	What    string           `json:"what"`
}

// simulation is the state of a run.
type simulation struct {
	Options
	api *client
	// admin and deputy are the tokens of the administrators.
	admin, deputy string
	accounts      map[domain.UserID]*Account
	courses       []*course
	// phones holds the tokens of the patients' phones.
	phones map[domain.PatientID]string

	mu       sync.Mutex
	progress Progress
	position uint64
}

// Run builds the study and simulates the patients. It can be repeated on the same installation, also after an
// interruption, because every command is sent with the same key again.
func Run(ctx context.Context, o Options) (Summary, error) {
	if o.Patients < 1 || o.Days < 1 || o.Patients > 9999 {
		return Summary{}, fmt.Errorf("%d patients for %d days cannot be simulated; choose 1 to 9999 patients and at least one day",
			o.Patients, o.Days)
	}
	o.Workers = max(1, o.Workers)
	courses, err := plan(o)
	if err != nil {
		return Summary{}, err
	}
	s := &simulation{
		Options: o, api: newClient(o.BaseURL, o.TLS), courses: courses,
		accounts: map[domain.UserID]*Account{}, phones: map[domain.PatientID]string{},
	}
	if err := errors.Join(s.build(ctx), ctx.Err()); err != nil {
		return Summary{}, err
	}
	if err := s.runDays(ctx); err != nil {
		return Summary{}, err
	}
	// Patients are not told what their diaries have flagged, so the study says it.
	var overview struct {
		Figures struct {
			Risks int `json:"risks"`
		} `json:"figures"`
	}
	err = s.api.get(ctx, s.accounts[managerID].token, "/api/v1/studies/"+string(studyID), nil, s.position, &overview)
	if err != nil {
		return Summary{}, err
	}
	s.progress.Risks = overview.Figures.Risks
	summary := Summary{
		Counts: s.progress.Counts, Title: studyTitle, Sites: len(sites), Study: studyID, Site: sites[0].id,
		SiteStaff: sites[0].crc, Patient: courses[0].id(), Position: s.position,
	}
	for _, c := range courses {
		if what := inWords[c.incident]; what != "" {
			summary.Incidents = append(summary.Incidents, Incident{Patient: c.id(), What: what})
		}
	}
	for _, a := range staff() {
		summary.Accounts = append(summary.Accounts, *a)
	}
	return summary, nil
}

// build creates the accounts, the study, the randomisation list and the supply.
func (s *simulation) build(ctx context.Context) (err error) {
	if s.admin, err = s.SignAs(s.Admin); err != nil {
		return err
	}
	if s.deputy, err = s.SignAs(s.Deputy); err != nil {
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

// register creates an account with its grants. The administrator registers it, the person chooses the password, and the
// deputy confirms the account, unless it is that of a phone, and roles that see arms.
func (s *simulation) register(ctx context.Context, a *Account, password string) error {
	of := domain.ForUser(a.User)
	err := s.send(ctx, s.admin, "register/"+string(a.User), user.RegisterUser{OfUser: of, Name: a.name})
	if err != nil {
		return err
	}
	if err := s.choosePassword(ctx, a.User, password); err != nil {
		return err
	}
	if err := s.confirmAccount(ctx, a.User, password); err != nil {
		return err
	}
	for i, g := range a.grants {
		if err := s.send(ctx, s.admin, fmt.Sprintf("grant/%s/%d", a.User, i), user.GrantRole{OfUser: of, Grant: g}); err != nil {
			return err
		}
		if !g.Role.NeedsTwoPeople() {
			continue
		}
		err := s.send(ctx, s.deputy, fmt.Sprintf("confirm/%s/%d", a.User, i), user.ConfirmRole{OfUser: of, Grant: g})
		if err != nil {
			return err
		}
	}
	return nil
}

// choosePassword sets a person's own password, unless an earlier run has set it. Phones have none.
func (s *simulation) choosePassword(ctx context.Context, id domain.UserID, password string) error {
	if password == "" {
		return nil
	}
	token, err := s.SignAs(id)
	if err != nil {
		return err
	}
	err = s.send(ctx, token, "password/"+string(id), user.ChangePassword{OfUser: domain.ForUser(id), Password: password})
	if r, ok := errors.AsType[*refusal](err); ok && r.Code == "current_password_required" {
		return nil
	}
	return err
}

// confirmAccount confirms a person's account, unless an earlier run has done so.
func (s *simulation) confirmAccount(ctx context.Context, id domain.UserID, password string) error {
	if password == "" {
		return nil
	}
	err := s.send(ctx, s.deputy, "confirm-account/"+string(id), user.ConfirmAccount{OfUser: domain.ForUser(id)})
	if r, ok := errors.AsType[*refusal](err); ok && r.Code == "account_confirmed" {
		return nil
	}
	return err
}

// runDays simulates one day after the other. Within a day, several patients are simulated at the same time.
func (s *simulation) runDays(ctx context.Context) error {
	first := s.Today.AddDays(-s.Days - 8)
	last := s.lastDay().AddDays(closedAfterDays)
	days := last.DaysSince(first) + 1
	for day := first; day <= last; day = day.AddDays(1) {
		s.report("day "+string(day), day.DaysSince(first), days, nil)
		if day <= s.lastDay() { // the days after it only do what the days before have left open
			if err := s.supplyRound(ctx, day, s.Today.AddDays(-s.Days-1+quarantineDays)); err != nil {
				return err
			}
			if err := s.happen(ctx, day); err != nil {
				return err
			}
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
	if err := s.recall(ctx); err != nil {
		return err
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

// report changes the counts, if count is given, and the phase, unless it is empty, and reports the progress.
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
