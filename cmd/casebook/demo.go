package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"casebook/domain"
	"casebook/simulation"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

type demoCommand struct {
	serverFlags
	Temp     bool   `help:"Keep the data in a temporary directory that is removed at the end, instead of --data."`
	Patients int    `help:"How many patients are screened." default:"60"`
	Days     int    `help:"How many days of diaries they have." default:"28"`
	Seed     uint64 `help:"Seed of the simulation; the same seed gives the same course." default:"1"`
	Password string `help:"Password of all demo accounts." default:"casebook-demo-2026"`
	Once     bool   `help:"Stop after the simulation, instead of serving."`
}

// Run starts everything, simulates the study, prints addresses and accounts, and serves until ctx ends.
func (c demoCommand) Run(ctx context.Context, s streams) (err error) {
	if c.Temp {
		dir, err := os.MkdirTemp("", "casebook-demo-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		c.Stores.Data = dir
	}
	if err := c.Stores.dir().mayBeFilled(); err != nil {
		return err
	}
	if _, err := os.Stat(c.Stores.dir().file(demoLogFile)); c.Stores.dir().hasEventStore() && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds a log that the demo did not begin; choose another directory with --data", c.Stores.Data)
	}
	if err := os.MkdirAll(c.Stores.Data, 0o700); err != nil {
		return err
	}
	// The log goes to a file, because the terminal shows the demo's own output.
	logFile, err := os.OpenFile(c.Stores.dir().file(demoLogFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
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
	if err := c.simulate(ctx, s, server, logger); err != nil {
		return errors.Join(err, server.close())
	}
	if c.Once {
		return server.close()
	}
	return server.wait()
}

func (demoCommand) servesUntilStopped() {}

// simulate simulates the study on the server, and prints the summary.
func (c demoCommand) simulate(ctx context.Context, s streams, server *server, logger *slog.Logger) error {
	if err := server.bootstrapAdmins(ctx, c.Password); err != nil {
		return fmt.Errorf("create the administrators: %w", err)
	}
	signAs := signedInAs(server.tokens, 24*time.Hour)
	scenario, err := c.scenario()
	if err != nil {
		return err
	}
	report, done := progressOn(s)
	began := time.Now()
	summary, err := simulation.Run(ctx, simulation.Options{
		BaseURL: server.url(), SignAs: signAs, Admin: demoAdmin, Deputy: demoDeputy, Password: c.Password,
		TLS:      &tls.Config{InsecureSkipVerify: c.TLSCert != ""}, // #nosec G402 -- it talks to this process
		Patients: scenario.Patients, Days: scenario.Days, Seed: scenario.Seed, Today: scenario.Today, Workers: 8, Progress: report,
	})
	done()
	if err != nil {
		return fmt.Errorf("simulation: %w", err)
	}
	logger.Info("the simulation has ended", "took", time.Since(began).String())
	return c.explain(s, server, summary, time.Since(began))
}

// scenario holds the options with which the directory's study was begun. It is stored with the data, so that the same
// command continues the same study, also on another day or after a crash.
type scenario struct {
	Patients int         `json:"patients"`
	Days     int         `json:"days"`
	Seed     uint64      `json:"seed"`
	Today    domain.Date `json:"today"`
}

// scenario returns the directory's scenario. If there is none, it stores that of the flags.
func (c demoCommand) scenario() (scenario, error) {
	file := c.Stores.dir().file(scenarioFile)
	chosen := scenario{Patients: c.Patients, Days: c.Days, Seed: c.Seed, Today: domain.DateOf(time.Now().UTC())}
	text, err := os.ReadFile(file) // #nosec G304 -- the operator names the directory
	if err == nil {
		if err := json.Unmarshal(text, &chosen); err != nil {
			return chosen, fmt.Errorf("read %s: %w", file, err)
		}
		return chosen, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return chosen, err
	}
	if text, err = json.Marshal(chosen); err != nil {
		return chosen, err
	}
	return chosen, os.WriteFile(file, text, 0o600)
}

// explain prints what has happened in the study, the addresses, the accounts, and commands to try.
func (c demoCommand) explain(s streams, server *server, summary simulation.Summary, took time.Duration) error {
	base := server.url()
	p := func(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }
	p("\n%s\n", summary.Title)
	p("  %d sites, %d patients screened, %d screen failures, %d enrolled, %d ended early\n",
		summary.Sites, summary.Screened, summary.ScreenFailures, summary.Enrolled, summary.EndedEarly)
	p("  %d enrolments had to wait for kits, %d kits dispensed, %d shipments\n",
		summary.NoKit, summary.KitsDispensed, summary.Shipments)
	p("  %d kit lost and replaced, %d treatment stopped for nausea with follow-up, %d dose raised\n",
		summary.KitsReplaced, summary.TreatmentStopped, summary.DosesChanged)
	p("  %d patients have signed the consent of an amendment, %d enrolment refused while a site was paused\n",
		summary.Reconsented, summary.RefusedInPause)
	p("  %d patients have a recalled kit at home, %d of them told: one site has called its patients, the alerts of the others are open\n",
		summary.RecalledAtHome, summary.ToldOfRecall)
	p("  %d diaries: %d late, %d transcribed from paper, %d corrected, %d windows missed, %d risks flagged; in %s\n\n",
		summary.Diaries, summary.Late, summary.Transcribed, summary.Corrected, summary.Missed, summary.Risks, took.Round(100*time.Millisecond))
	p("What happened to single patients\n")
	for _, i := range summary.Incidents {
		p("  %-24s %s\n", i.Patient, i.What)
	}
	p("\nWhere to look\n")
	p("  %-34s the API, described, to try out\n", base+"/docs")
	p("  %-34s metrics\n", "http://"+server.adminAddress+"/metrics")
	if server.stores.node != nil {
		p("  the log, for any EventStoreDB client that only reads\n    %s\n", server.stores.readerEventStoreURL)
	}
	if server.stores.mongo != nil {
		p("  the views, for mongosh and friends that only read\n    %s\n", server.stores.readerMongoURL)
	}
	p("\n")
	p("Who can sign in, all with the password %s\n", c.Password)
	p("  %-24s %s\n", demoAdmin, "administrator: users and grants, nothing clinical")
	p("  %-24s %s\n", demoDeputy, "a second one, who confirms roles that see arms")
	for _, a := range summary.Accounts {
		p("  %-24s %s\n", a.User, a.Description)
	}
	p("\nTry (a token is good for ten minutes; the first line gets another one)\n")
	p("  TOKEN=$(curl -s %s/api/v1/sign-in -H 'Content-Type: application/json' -d '{\"user\":\"%s\",\"password\":\"%s\"}'"+
		" | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/')\n", base, summary.SiteStaff, c.Password)
	if c.TLSCert != "" {
		p("  # with --cacert FILE, or -k, if this machine does not trust the certificate\n")
	}
	get := "  curl -s -H \"Authorization: Bearer $TOKEN\" "
	p(get+"'%s/api/v1/studies/%s/patients?site=%s'\n", base, summary.Study, summary.Site)
	p(get+"%s/api/v1/patients/%s\n", base, summary.Patient)
	p(get+"'%s/api/v1/studies/%s/processes?process=enrollment&site=%s'   # the status of each enrolment\n",
		base, summary.Study, summary.Site)
	p(get+"'%s/api/v1/studies/%s/kits?location=%s'               # or /shipments, /alerts\n\n", base, summary.Study, summary.Site)
	if !c.Once {
		p("Serving. Ctrl-C stops it; the same command continues from %s.\n", c.Stores.Data)
	}
	return nil
}

// progressOn returns a function that draws the simulation's progress: a bar on a terminal, and lines elsewhere. done
// ends the drawing.
func progressOn(s streams) (report func(simulation.Progress), done func()) {
	out, ok := s.out.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		return linesOn(s), func() {}
	}
	bars := mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
	var latest atomic.Value // another goroutine draws the bars
	latest.Store(simulation.Progress{})
	shown := func() simulation.Progress { return latest.Load().(simulation.Progress) }
	bar := bars.AddBar(1,
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return fmt.Sprintf("%-22s", shown().Phase) })),
		mpb.AppendDecorators(decor.Percentage(), decor.Any(func(decor.Statistics) string { return "  " + counts(shown()) })))
	report = func(p simulation.Progress) {
		latest.Store(p)
		bar.SetTotal(int64(max(p.Total, 1)), false)
		bar.SetCurrent(int64(p.Done))
	}
	return report, func() {
		bar.SetTotal(-1, true)
		bars.Wait()
	}
}

// linesOn returns a function that prints the progress, at most every two seconds within a phase.
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
	return fmt.Sprintf("%d screened, %d enrolled, %d diaries (%d late), %d missed, %d risks",
		p.Screened, p.Enrolled, p.Diaries, p.Late, p.Missed, p.Risks)
}
