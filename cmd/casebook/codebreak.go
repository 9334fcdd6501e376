package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/codebreak"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/randomisation"
	"casebook/domain/supply"
	"casebook/eventlog"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"
)

// codebreakCommand has the commands on code break envelopes. Only export needs a server or its stores.
type codebreakCommand struct {
	Key    codebreakKeyCommand    `cmd:"" help:"Make the key of a 24-hour centre. Its public part is what envelopes are sealed for."`
	Export codebreakExportCommand `cmd:"" help:"Write a sealed envelope with the arm of each patient. A server keeps them up to date by itself with --codebreak-dir."`
	List   codebreakListCommand   `cmd:"" help:"List for which patients there are envelopes. No envelope is opened."`
	Open   codebreakOpenCommand   `cmd:"" help:"Open the envelope of one patient, without a server. Record the opening with RecordCodeBreakOpened afterwards."`
}

// codebreakFlags say where envelopes are kept, and who can open them.
type codebreakFlags struct {
	Dir       string   `help:"Directory of code break envelopes, which are kept up to date; needs one of the roles api and sagas." type:"path" placeholder:"DIR"`
	Recipient []string `help:"Public keys of those who can open the envelopes, age1..." placeholder:"KEY"`
}

// recipients reads the public keys.
func recipients(keys []string) (all []*age.X25519Recipient, err error) {
	for _, k := range keys {
		r, err := age.ParseX25519Recipient(strings.TrimSpace(k))
		if err != nil {
			return nil, fmt.Errorf("the public key %q of a code break recipient: %w", k, err)
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return nil, errors.New("name the public key of those who open envelopes; casebook codebreak key makes one")
	}
	return all, nil
}

// codeBreaks returns what keeps the envelopes of the server up to date; nil if it keeps none.
func (s *server) codeBreaks(f codebreakFlags, logger *slog.Logger) (*codebreak.Exporter, error) {
	if f.Dir == "" {
		return nil, nil
	}
	to, err := recipients(f.Recipient)
	if err != nil {
		return nil, err
	}
	e, err := codebreak.NewExporter(codebreak.Options{Log: s.log, Verifier: s.verifier, Dir: f.Dir, Recipients: to, Logger: logger,
		Record: recordingExports(s.handler, access.Process("codebreak"), to)})
	if errors.Is(err, eventlog.ErrNoBlindingKeys) {
		return nil, errors.New("--codebreak-dir needs the role api or sagas: other processes do not know the arms")
	}
	return e, err
}

// recordingExports returns the function that records that envelopes are written.
func recordingExports(h *commands.Handler, as access.Principal, to []*age.X25519Recipient) func(context.Context, domain.StudyID,
	[]domain.PatientID) error {
	keys := make([]string, len(to))
	for i, r := range to {
		keys[i] = r.String()
	}
	return func(ctx context.Context, of domain.StudyID, patients []domain.PatientID) error {
		return sendAs(ctx, h, as, randomisation.RecordCodeBreaksExported{InStudy: domain.ForStudy(of), Patients: patients, Recipients: keys}, "")
	}
}

type codebreakKeyCommand struct {
	Out string `arg:"" help:"File of the key, which must not exist yet. Keep it with those who open envelopes, and nowhere else." type:"path"`
}

// Run makes a key, and prints its public part.
func (c codebreakKeyCommand) Run(s streams) error {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(c.Out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "# opens code break envelopes that are sealed for %s\n%s\n", key.Recipient(), key)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.out, key.Recipient())
	return err
}

type codebreakExportCommand struct {
	toolStore
	Dir             string   `help:"Directory of the envelopes." required:"" type:"path" placeholder:"DIR"`
	Recipient       []string `help:"Public keys of those who can open the envelopes, age1..." required:"" placeholder:"KEY"`
	BlindingKeyFile string   `help:"Key that seals arms and kit contents; that of the data directory by default." type:"path" placeholder:"FILE"`
	Follow          bool     `help:"Go on, and write the envelopes of a patient again with each draw, kit and step of the treatment, until interrupted."`
}

// Run writes the envelopes.
func (c codebreakExportCommand) Run(ctx context.Context, s streams) error {
	to, err := recipients(c.Recipient)
	if err != nil {
		return err
	}
	keys, err := blindingKeysIn(c.BlindingKeyFile, dataDir(c.Data), c.Eventstore)
	if err != nil {
		return err
	}
	if keys == nil {
		return fmt.Errorf("%w: only a program with the key of blinded values knows the arms; name its file with --blinding-key-file",
			errKeyMissing)
	}
	stores := toolStores{data: dataDir(c.Data), eventStore: c.Eventstore}
	return stores.use(ctx, writes, unused, func(o opened) (err error) {
		log, err := toolLog(ctx, eventlog.Options{URL: o.eventStoreURL, BlindingKeys: keys})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		return c.export(ctx, s, log, to)
	})
}

func (c codebreakExportCommand) export(ctx context.Context, s streams, log *eventlog.Log, to []*age.X25519Recipient) error {
	logger := logFlags{Level: slog.LevelWarn}.logger(s.err)
	verifier := eventlog.NewVerifier(eventlog.VerifierOptions{Log: log, Logger: logger})
	handler := commands.NewHandler(commands.Options{Log: log, Verifier: verifier, Commands: contexts.Commands(), Build: buildID()})
	e, err := codebreak.NewExporter(codebreak.Options{Log: log, Verifier: verifier, Dir: c.Dir, Recipients: to, Logger: logger,
		Record: recordingExports(handler, operator(), to)})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	verifying, verified := context.WithCancel(ctx)
	group.Go(func() error { return verifier.Run(verifying) })
	group.Go(func() error {
		defer verified()
		n, err := e.Export(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "%d envelopes in %s\nthe installation's key, which whoever opens one gives with --installation: %s\n",
			n, c.Dir, base64.StdEncoding.EncodeToString(e.PublicKey()))
		if !c.Follow {
			return nil
		}
		return e.Run(ctx)
	})
	return group.Wait()
}

// codebreakDir is where envelopes are read, and with what.
type codebreakDir struct {
	Dir      string `help:"Directory of the envelopes, or a copy of it." required:"" type:"path" placeholder:"DIR"`
	Identity string `help:"File of the centre's key." required:"" type:"path" placeholder:"FILE"`
}

func (d codebreakDir) identities() ([]age.Identity, error) {
	f, err := os.Open(d.Identity) // #nosec G304 -- the person at the command line names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	all, err := age.ParseIdentities(f)
	if err != nil {
		return nil, fmt.Errorf("read the key in %s: %w", d.Identity, err)
	}
	return all, nil
}

type codebreakListCommand struct{ codebreakDir }

// Run lists the patients.
func (c codebreakListCommand) Run(s streams) error {
	with, err := c.identities()
	if err != nil {
		return err
	}
	entries, err := codebreak.List(c.Dir, with)
	if err != nil {
		return err
	}
	for _, e := range entries {
		fmt.Fprintf(s.out, "%-30s %-12s site %-10s %s\n", e.Patient, e.PatientNumber, e.Site, e.File)
	}
	return nil
}

type codebreakOpenCommand struct {
	codebreakDir
	Patient      string `help:"The patient's id, or number." placeholder:"ID"`
	Study        string `help:"The study; with a kit, or a number that several studies have." placeholder:"ID"`
	Kit          string `help:"A kit of the patient, where nobody knows the patient's number." placeholder:"NUMBER"`
	File         string `help:"The file of the envelope, where the directory's index cannot be read." type:"path" placeholder:"FILE"`
	Installation string `help:"The installation's key, as export prints it. Without it, nobody checks who has sealed the envelope." placeholder:"KEY"`
	JSON         bool   `help:"Print JSON."`
}

// Run opens an envelope, and prints what it says.
func (c codebreakOpenCommand) Run(s streams) error {
	if c.Patient == "" && c.Kit == "" && c.File == "" {
		return errors.New("name the patient, a kit or the file")
	}
	with, err := c.identities()
	if err != nil {
		return err
	}
	var installation ed25519.PublicKey
	if c.Installation != "" {
		if installation, err = base64.StdEncoding.DecodeString(c.Installation); err != nil || len(installation) != ed25519.PublicKeySize {
			return errors.New("--installation is no key: give it as codebreak export prints it")
		}
	}
	e, err := codebreak.Open(c.Dir, with, codebreak.Wanted{Patient: domain.PatientID(c.Patient), Study: domain.StudyID(c.Study),
		Kit: supply.KitNumber(c.Kit), File: c.File}, installation)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(e)
	}
	printEnvelope(s.out, e)
	if !e.Signed {
		fmt.Fprintln(s.err, "nobody has checked who sealed this envelope: give the installation's key with --installation")
	}
	return nil
}

func printEnvelope(out io.Writer, e codebreak.Envelope) {
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(out, "%-12s %s\n", name, text)
		}
	}
	line("study", strings.TrimSpace(string(e.Study)+"  "+e.StudyTitle))
	line("patient", strings.TrimSpace(string(e.Patient)+"  "+e.PatientNumber))
	line("site", strings.TrimSpace(string(e.Site)+"  "+e.SiteName))
	line("ARM", strings.TrimSpace(string(e.Arm.ID)+"  "+e.Arm.Title))
	line("dose", e.Arm.Dose)
	if e.Arm.DoseStep > 0 {
		line("dose step", strconv.Itoa(e.Arm.DoseStep))
	}
	if e.Arm.Rescue {
		line("rescue", "on rescue medication")
	}
	for _, k := range e.Arm.Kits {
		line("gets", strings.Join(strings.Fields(fmt.Sprintf("%d x %s %s %s", k.Count, k.Type, k.Strength, k.Form)), " "))
	}
	line("treatment", string(e.Treatment))
	for _, todo := range e.Arm.ToDo {
		line("to do", todo)
	}
	for _, k := range e.Kits {
		line("kit", strings.TrimSpace(fmt.Sprintf("%s  %s %s %s", k.Kit, k.Status, k.On, k.Visit)))
	}
	line("drawn at", e.DrawnAt.Format(time.RFC3339))
	line("as of", fmt.Sprintf("log position %d, sealed %s", e.AsOf, e.SealedAt.Format(time.RFC3339)))
	line("fingerprint", e.Fingerprint)
}
