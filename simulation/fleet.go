package simulation

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
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

// FleetOptions are the options of a fleet of phones.
type FleetOptions struct {
	// BaseURL of the server, and TLS which of its certificates are trusted; nil for those that the machine trusts.
	BaseURL string
	TLS     *tls.Config
	// SignAs returns a token that proves that a user of the installation has just signed in, and Admin is an administrator.
	SignAs func(domain.UserID) (string, error)
	Admin  domain.UserID
	// Study is a new study, whose patients have the phones. Each patient has one, or two.
	Study    domain.StudyID
	Patients int
	// Days is how many evenings each patient has captured. The last of them is two days before Today, so that it is over everywhere.
	Days  int
	Today domain.Date
	// Seed determines what the patients and their phones do.
	Seed uint64
	// Steady has each patient have one phone that captures at home in the evening, and nothing else.
	Steady bool
	// Workers is how many phones are active at the same time.
	Workers int
	// Say receives messages about the progress; it may be nil.
	Say func(format string, args ...any)
	// Answered is called when entries were answered, by many phones at a time, with how many were so far; it may be nil. A phone goes on
	// when it returns.
	Answered func(entries int64)
}

// Fleet is a number of patients' phones that have captured diaries and send them. Begin with NewFleet, Build, Send and Check.
type Fleet struct {
	FleetOptions
	api     atomic.Pointer[client]
	phones  []*Phone
	manager string
	crc     string
	// sent counts the entries that were answered.
	sent atomic.Int64
}

// Phone is a phone of a patient, with its session and what it has captured.
type Phone struct {
	Patient domain.PatientID
	User    domain.UserID
	Device  user.DeviceID
	// Zone is that in which the patient lives.
	Zone string
	Key  PhoneKey
	// Refresh is the refresh token of its session.
	Refresh string

	kind     phoneKind
	password string
	token    string
	random   *rand.Rand
	kept     []*captured
}

// phoneKind is what is special about a phone.
type phoneKind int

const (
	// steady phones send what was captured in the evening of each day.
	steady phoneKind = iota
	// offline phones send all days at once.
	offline
	// travelling phones are in another zone for some days.
	travelling
	// wrongClock phones are weeks ahead, or behind.
	wrongClock
	// wrongZone phones have an offset that is not that of their zone.
	wrongZone
	// twice is one of two phones of a patient, which have both captured each evening.
	twice
	// replaced phones send what their predecessor had captured, which was lost.
	replaced
	phoneKinds
)

// captured is an entry that a phone keeps, and what has to become of it.
type captured struct {
	command diary.SubmitDiary
	key     string
	// window is that in which it counts; "" if it cannot. why is the reason for which it is held, or may be where it has a rival.
	window string
	why    diary.Why
	// rivals says that the other phone has captured an entry of the same window: one of them counts.
	rivals bool
	// refused is the code of the refusal that the server has answered; it has to refuse none.
	refused      string
	acknowledged bool
}

// homes are the zones in which patients live, and abroad where they travel to.
var (
	homes  = []string{"Europe/Berlin", "Asia/Shanghai", "America/New_York", "Australia/Adelaide", "Asia/Kathmandu", "Pacific/Auckland"}
	abroad = []string{"Asia/Tokyo", "America/Los_Angeles", "Europe/Lisbon", "Pacific/Kiritimati", "Pacific/Pago_Pago"}
)

const (
	fleetSite domain.SiteID = "01"
	// fleetPassword is what patients of the fleet choose.
	fleetPassword = "pine harbour lantern seven" // #nosec G101 -- no secret of an installation
)

// NewFleet returns a fleet that has captured nothing yet. It fails if there is nothing to simulate.
func NewFleet(o FleetOptions) (*Fleet, error) {
	if o.Patients < 1 || o.Days < 1 || o.Days > 28 {
		return nil, fmt.Errorf("%d patients for %d days cannot be simulated; choose at least one patient, and 1 to 28 days", o.Patients, o.Days)
	}
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	if o.Answered == nil {
		o.Answered = func(int64) {}
	}
	o.Workers = max(1, o.Workers)
	f := &Fleet{FleetOptions: o}
	f.MoveTo(o.BaseURL)
	return f, nil
}

// MoveTo says where the server is from now on. What is under way is sent again there.
func (f *Fleet) MoveTo(baseURL string) { f.api.Store(newClient(baseURL, f.TLS)) }

// Phones returns the phones, after Build.
func (f *Fleet) Phones() []*Phone { return f.phones }

// Captured returns how many entries the phones have captured.
func (f *Fleet) Captured() (n int) {
	for _, p := range f.phones {
		n += len(p.kept)
	}
	return n
}

// sentAgain are the answers after which a phone sends the same again: the server is overloaded, or does not know what became of it.
var sentAgain = []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// exchange sends a request until it is answered: also to a server that is away for a while, or has moved.
func (f *Fleet) exchange(ctx context.Context, method, path, token string, headers map[string]string, body, into any) error {
	for {
		err := f.api.Load().exchange(ctx, method, path, token, headers, body, into)
		r, refused := errors.AsType[*refusal](err)
		if err == nil || refused && !slices.Contains(sentAgain, r.Status) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (f *Fleet) command(ctx context.Context, token, key string, command, into any) error {
	err := f.exchange(ctx, http.MethodPost, "/api/v1/commands/"+nameOf(command), token,
		map[string]string{"Idempotency-Key": string(f.Study) + "/" + key}, command, into)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// Build makes the study and its patients, has them activate their phones, and has the phones capture the days.
func (f *Fleet) Build(ctx context.Context) error {
	admin, err := f.SignAs(f.Admin)
	if err != nil {
		return err
	}
	suffix := "." + strings.ToLower(string(f.Study))
	account := func(id domain.UserID, g user.Grant) (string, error) {
		var none struct{}
		of := domain.ForUser(id)
		if err := errors.Join(f.command(ctx, admin, "register/"+string(id), user.RegisterUser{OfUser: of, Name: string(id)}, &none),
			f.command(ctx, admin, "grant/"+string(id), user.GrantRole{OfUser: of, Grant: g}, &none)); err != nil {
			return "", err
		}
		return f.SignAs(id)
	}
	if f.manager, err = account(domain.UserID("manager"+suffix), user.Grant{Role: user.DataManager, Study: f.Study}); err != nil {
		return err
	}
	if f.crc, err = account(domain.UserID("crc"+suffix), user.Grant{Role: user.CRC, Study: f.Study, Site: fleetSite}); err != nil {
		return err
	}
	first := f.Today.AddDays(-f.Days - 1)
	for i, command := range []any{
		study.CreateStudy{InStudy: domain.ForStudy(f.Study), Title: "A fleet of phones", Sponsor: "Nobody"},
		study.PublishProtocolVersion{InStudy: domain.ForStudy(f.Study), Protocol: study.Protocol{Version: 1, ConsentVersion: "1",
			Instruments: []instrument.Definition{*instrument.PainDiary()}}},
		study.AddSite{AtSite: domain.ForSite(f.Study, fleetSite), Name: "Site", Country: "DE", Zone: "Europe/Berlin"},
		study.ActivateSite{AtSite: domain.ForSite(f.Study, fleetSite), On: first.AddDays(-1)},
		enrollment.OpenEnrollment{InStudy: domain.ForStudy(f.Study), Caps: enrollment.Caps{Target: f.Patients, Study: f.Patients}},
	} {
		var none struct{}
		if err := f.command(ctx, f.manager, fmt.Sprintf("build/%d", i), command, &none); err != nil {
			return err
		}
	}
	phones := make([][]*Phone, f.Patients)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.Workers)
	var done atomic.Int64
	for n := range f.Patients {
		group.Go(func() (err error) {
			if phones[n], err = f.patient(ctx, n, first); err != nil {
				return err
			}
			if ready := done.Add(1); ready%200 == 0 {
				f.Say("%d patients have their phones", ready)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, own := range phones {
		f.phones = append(f.phones, own...)
	}
	return nil
}

// patient brings a patient into the study and has the patient's phones activated.
func (f *Fleet) patient(ctx context.Context, n int, first domain.Date) ([]*Phone, error) {
	random := rand.New(rand.NewPCG(f.Seed, uint64(n))) // #nosec G404 G115 -- a simulation
	number := fmt.Sprintf("S-%05d", n+1)
	id, zone := domain.NewPatientID(f.Study, number), homes[random.IntN(len(homes))]
	var none struct{}
	of, key := domain.ForPatient(id), "patient/"+number
	for i, command := range []any{
		patient.ScreenPatient{AtSite: domain.ForSite(f.Study, fleetSite), ScreeningNumber: number, On: first.AddDays(-1), AgeYears: 54,
			Zone: zone},
		patient.RecordConsent{OfPatient: of, ConsentVersion: "1", On: first.AddDays(-1)},
		patient.EnrollPatient{OfPatient: of, On: first},
	} {
		if err := f.command(ctx, f.crc, fmt.Sprintf("%s/%d", key, i), command, &none); err != nil {
			return nil, err
		}
	}
	if err := f.assign(ctx, of, key, first); err != nil {
		return nil, err
	}
	account := domain.UserID(strings.ToLower("phone." + string(id)))
	own := func(name string, kind phoneKind) (*Phone, error) {
		k, err := NewPhoneKey()
		return &Phone{Patient: id, User: account, Device: user.DeviceID(name), Zone: zone, Key: k, kind: kind, password: fleetPassword,
			random: rand.New(rand.NewPCG(f.Seed+1, uint64(n)))}, err // #nosec G404 G115 -- a simulation
	}
	kind := phoneKind(n % int(phoneKinds))
	if f.Steady {
		kind = steady
	}
	p, err := own("phone-1", kind)
	if err != nil {
		return nil, err
	}
	code := func(key string, command any) (string, error) {
		var shown struct {
			Revealed struct {
				Code string `json:"code"`
			} `json:"revealed"`
		}
		err := f.command(ctx, f.crc, key, command, &shown)
		return shown.Revealed.Code, err
	}
	opened, err := code(key+"/account", user.OpenPatientAccount{OfUser: domain.ForUser(account), OfPatient: of})
	if err != nil {
		return nil, err
	}
	if err := f.activate(ctx, p, opened); err != nil {
		return nil, err
	}
	switch kind {
	case twice:
		second, err := own("phone-2", kind)
		if err != nil {
			return nil, err
		}
		second.random = rand.New(rand.NewPCG(f.Seed+2, uint64(n))) // #nosec G404 G115 -- a simulation
		if err := f.signIn(ctx, second); err != nil {
			return nil, err
		}
		return []*Phone{p, second}, errors.Join(f.capture(p, first), f.capture(second, first))
	case replaced:
		if err := f.capture(p, first); err != nil {
			return nil, err
		}
		next, err := own("phone-2", kind)
		if err != nil {
			return nil, err
		}
		again, err := code(key+"/lost", user.IssueActivationCode{OfUser: domain.ForUser(account), OfPatient: of, PhoneLost: true,
			Reasoned: domain.Because("The phone is lost")})
		if err != nil {
			return nil, err
		}
		next.kept = p.kept // the patient had a copy
		for _, c := range next.kept {
			c.window, c.why = "", diary.WhyDeviceRevoked
		}
		return []*Phone{next}, f.activate(ctx, next, again)
	default:
		return []*Phone{p}, f.capture(p, first)
	}
}

// assign assigns the diary as soon as the enrolment is confirmed.
func (f *Fleet) assign(ctx context.Context, of domain.OfPatient, key string, first domain.Date) error {
	var none struct{}
	for {
		err := f.exchange(ctx, http.MethodPost, "/api/v1/commands/AssignInstrument", f.crc,
			map[string]string{"Idempotency-Key": string(f.Study) + "/" + key + "/assign"},
			diary.AssignInstrument{OfPatient: of, Instrument: instrument.PainDiary().ID, From: first, Until: f.Today.AddDays(60), On: first}, &none)
		r, refused := errors.AsType[*refusal](err)
		if !refused || r.Code != "patient_not_enrolled" && r.Code != "patient_not_participating" {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// session is the answer to a sign-in.
type session struct {
	Token        string `json:"token"`
	RefreshToken string `json:"refreshToken"`
}

type enrolledDevice struct {
	ID  user.DeviceID  `json:"id"`
	Key user.DeviceKey `json:"key"`
}

func (f *Fleet) activate(ctx context.Context, p *Phone, code string) error {
	err := f.begin(ctx, p, "/api/v1/activate", map[string]any{"user": p.User, "code": code, "password": p.password,
		"device": enrolledDevice{p.Device, p.Key.Public}})
	if r, refused := errors.AsType[*refusal](err); refused && r.Code == "activation_failed" { // it may have been done, and not answered
		return f.signIn(ctx, p)
	}
	return err
}

func (f *Fleet) signIn(ctx context.Context, p *Phone) error {
	return f.begin(ctx, p, "/api/v1/sign-in", map[string]any{"user": p.User, "password": p.password,
		"device": enrolledDevice{p.Device, p.Key.Public}})
}

func (f *Fleet) begin(ctx context.Context, p *Phone, path string, body any) error {
	var s session
	if err := f.exchange(ctx, http.MethodPost, path, "", nil, body, &s); err != nil {
		return fmt.Errorf("%s of %s: %w", path, p.User, err)
	}
	p.token, p.Refresh = s.Token, s.RefreshToken
	return nil
}
