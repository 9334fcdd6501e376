package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/simulation"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

type demoCommand struct {
	serverFlags
	Temp     bool   `help:"Keep the data in a temporary directory that is removed at the end, instead of --data."`
	Patients int    `help:"How many patients are screened." default:"60"`
	Days     int    `help:"How many days of diaries they live through." default:"28"`
	Seed     uint64 `help:"Seed of the simulation; the same seed gives the same course." default:"1"`
	Password string `help:"Password of all demo accounts." default:"casebook-demo-2026"`
	Once     bool   `help:"Stop when the simulation is through, instead of serving on."`
}

// demoAdmin is the administrator that the demo begins with.
const demoAdmin domain.UserID = "admin"

// Run starts everything, lets the study happen, prints where to look, and serves until ctx ends.
func (c demoCommand) Run(ctx context.Context, s streams) (err error) {
	if c.Temp {
		dir, err := os.MkdirTemp("", "casebook-demo-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		c.Stores.Data = dir
	}
	if err := os.MkdirAll(c.Stores.Data, 0o700); err != nil {
		return err
	}
	// The log goes to a file: the terminal is for the demo.
	logFile, err := os.OpenFile(filepath.Join(c.Stores.Data, "casebook.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	logger := c.Log.logger(logFile)

	fmt.Fprintln(s.out, "starting the embedded stores and the server in", c.Stores.Data)
	server, err := start(ctx, c.serverFlags, logger)
	if err != nil {
		return err
	}
	if err := c.live(ctx, s, server, logger); err != nil {
		return errors.Join(err, server.close())
	}
	if c.Once {
		return server.close()
	}
	return server.wait()
}

func (c demoCommand) live(ctx context.Context, s streams, server *server, logger *slog.Logger) error {
	if err := server.bootstrapAdmin(ctx, demoAdmin, c.Password); err != nil {
		return fmt.Errorf("make the first administrator: %w", err)
	}
	signAs := func(u domain.UserID) (string, error) { return server.tokens.Sign(u, time.Now(), 24*time.Hour) }
	report, done := progressOn(s)
	began := time.Now()
	summary, err := simulation.Run(ctx, simulation.Options{
		BaseURL: "http://" + server.httpAddress, SignAs: signAs, Admin: demoAdmin, Password: c.Password,
		Patients: c.Patients, Days: c.Days, Seed: c.Seed, Today: domain.DateOf(time.Now().UTC()), Workers: 8, Progress: report,
	})
	done()
	if err != nil {
		return fmt.Errorf("simulation: %w", err)
	}
	logger.Info("simulation is through", "took", time.Since(began).String())
	return c.explain(s, server, summary, time.Since(began))
}

// bootstrapAdmin makes the first administrator, unless the directory already has one.
func (s *server) bootstrapAdmin(ctx context.Context, id domain.UserID, password string) error {
	exists := func(err error, code string) bool {
		r, ok := refuse.As(err)
		return ok && r.Code == code
	}
	err := sendAs(ctx, s.handler, operator(), user.RegisterUser{User: id, Name: "First administrator", Password: password}, "bootstrap/"+string(id))
	if err != nil && !exists(err, "user_exists") {
		return err
	}
	err = sendAs(ctx, s.handler, operator(), user.GrantRole{User: id, Grant: user.Grant{Role: user.Admin}}, "bootstrap/"+string(id)+"/admin")
	if err != nil && !exists(err, "role_already_granted") {
		return err
	}
	return nil
}

func (c demoCommand) explain(s streams, server *server, summary simulation.Summary, took time.Duration) error {
	base := "http://" + server.httpAddress
	p := func(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }
	p("\n%s\n", summary.Title)
	p("  %d sites, %d patients screened, %d screen failures, %d enrolled, %d ended early\n", summary.Sites, summary.Screened, summary.ScreenFailures, summary.Enrolled, summary.EndedEarly)
	p("  %d diaries: %d late, %d corrected, %d windows missed, %d risks flagged; in %s\n\n", summary.Diaries, summary.Late, summary.Corrected, summary.Missed, summary.Risks, took.Round(100*time.Millisecond))
	p("Where to look\n")
	p("  %-34s the API, described and to be tried\n", base+"/docs")
	p("  %-34s metrics\n", "http://"+server.adminAddress+"/metrics")
	p("  %-34s the log, for any EventStoreDB client\n", server.stores.eventStoreURL)
	p("  %-34s the views, for mongosh and friends\n\n", server.stores.mongoURL)
	p("Who can sign in, all with the password %s\n", c.Password)
	for _, a := range summary.Accounts {
		p("  %-24s %s\n", a.User, a.Description)
	}
	p("\nTry\n")
	p("  TOKEN=$(curl -s %s/api/v1/sign-in -H 'Content-Type: application/json' -d '{\"user\":\"%s\",\"password\":\"%s\"}' | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/')\n", base, summary.SiteStaff, c.Password)
	p("  curl -s -H \"Authorization: Bearer $TOKEN\" '%s/api/v1/studies/%s/patients?site=%s'\n", base, summary.Study, summary.Site)
	p("  curl -s -H \"Authorization: Bearer $TOKEN\" %s/api/v1/patients/%s\n\n", base, summary.Patient)
	if !c.Once {
		p("Serving. Ctrl-C stops it; the same command carries on from %s.\n", c.Stores.Data)
	}
	return nil
}

// progressOn draws the simulation's progress: a bar on a terminal, a line now and then elsewhere.
func progressOn(s streams) (report func(simulation.Progress), done func()) {
	out, ok := s.out.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		return linesOn(s), func() {}
	}
	bars := mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
	now := simulation.Progress{}
	bar := bars.AddBar(1,
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return fmt.Sprintf("%-22s", now.Phase) })),
		mpb.AppendDecorators(decor.Percentage(), decor.Any(func(decor.Statistics) string { return "  " + counts(now) })))
	report = func(p simulation.Progress) {
		now = p
		bar.SetTotal(int64(max(p.Total, 1)), false)
		bar.SetCurrent(int64(p.Done))
	}
	return report, func() {
		bar.SetTotal(-1, true)
		bars.Wait()
	}
}

func linesOn(s streams) func(simulation.Progress) {
	last, phase := time.Time{}, ""
	return func(p simulation.Progress) {
		if p.Phase == phase && time.Since(last) < 2*time.Second {
			return
		}
		last, phase = time.Now(), p.Phase
		fmt.Fprintf(s.out, "%-22s %3d%%  %s\n", p.Phase, 100*p.Done/max(p.Total, 1), counts(p))
	}
}

func counts(p simulation.Progress) string {
	return fmt.Sprintf("%d screened, %d enrolled, %d diaries (%d late), %d missed, %d risks", p.Screened, p.Enrolled, p.Diaries, p.Late, p.Missed, p.Risks)
}
