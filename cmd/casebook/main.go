// Command casebook is the backend of a clinical trial: the server, the embedded stores, and the tools for their
// operators. `casebook demo` shows all of it on one machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// cli is the command line. Every flag can also be given as CASEBOOK_... in the environment, or in a JSON file.
type cli struct {
	Config kong.ConfigFlag `help:"JSON file with values for flags, by their names." type:"existingfile"`

	Demo        demoCommand        `cmd:"" help:"Start everything embedded, build a study, simulate its patients, and keep serving."`
	Serve       serveCommand       `cmd:"" help:"Run the server, on embedded stores or on real ones."`
	Node        nodeCommand        `cmd:"" help:"Run the embedded event store alone, for any EventStoreDB client."`
	Users       usersCommand       `cmd:"" help:"Manage accounts and grants, such as the first administrator's."`
	Token       tokenCommand       `cmd:"" help:"Print a bearer token for scripts."`
	Stores      storesCommand      `cmd:"" help:"Print the addresses of the running embedded stores, for people and tools that look in."`
	Key         keyCommand         `cmd:"" help:"Make a new key, for processes on real stores."`
	Projections projectionsCommand `cmd:"" help:"List, rebuild and check the read models."`
	Supply      supplyCommand      `cmd:"" help:"Try out how a study is supplied."`
	Codebreak   codebreakCommand   `cmd:"" help:"Sealed envelopes from which a 24-hour centre reads a patient's arm while the server cannot be reached."`
	Audit       auditCommand       `cmd:"" help:"Prove the record."`
	Bench       benchCommand       `cmd:"" help:"Measure throughput and latency."`
	BenchServer benchServerCommand `cmd:"" hidden:""`
	Openapi     openapiCommand     `cmd:"" help:"Print the OpenAPI description of the HTTP API."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
}

// Exit codes of the command line.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	// exitInterrupted is 128 + SIGINT, as shells have it.
	exitInterrupted = 130
)

// servesUntilStopped is a command that runs until it is interrupted, so an interruption is its normal end.
type servesUntilStopped interface{ servesUntilStopped() }

func main() {
	os.Exit(runUntilSignal())
}

func runUntilSignal() int {
	keepFilesPrivate()
	ctx, stop := untilSignal(endLimit)
	defer stop()
	return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// endLimit is the longest time from a signal to the end of the process.
const endLimit = time.Minute

// untilSignal returns a context that ends with the first signal, which asks for an orderly end. From then on a second
// signal ends the process at once, and so does the limit.
func untilSignal(limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // the next signal has its usual effect
		time.AfterFunc(limit, func() {
			fmt.Fprintf(os.Stderr, "casebook: the process had not ended %s after the signal, so it stopped as it was\n", limit)
			os.Exit(exitFailure)
		})
	})
	return ctx, stop
}

// streams are the outputs of a command: results go to out, everything else to err.
type streams struct{ out, err io.Writer }

// say tells people about the progress.
func (s streams) say(format string, args ...any) { fmt.Fprintf(s.err, format+"\n", args...) }

// run runs a command line, and returns the exit code. The end of ctx is the wished end of a server. Any other command was
// interrupted by it, and may not have done what it should.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c, kong.Name("casebook"),
		kong.Description("The backend on which a clinical trial runs: commands in, an append-only log of events, views out."),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.DefaultEnvars("CASEBOOK"), kong.Configuration(readConfig),
		kong.Writers(out, errOut), kong.Exit(func(code int) { exited = code }))
	if err != nil {
		fmt.Fprintln(errOut, "casebook:", err)
		return exitFailure
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help has printed the help
		return exited
	}
	if err != nil {
		fmt.Fprintln(errOut, "casebook:", err)
		fmt.Fprintln(errOut, "casebook --help lists the commands and their flags")
		return exitUsage
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(streams{out: out, err: errOut})
	interrupted := ctx.Err() != nil && (err == nil || isCancellation(err))
	_, serves := parsed.Selected().Target.Interface().(servesUntilStopped)
	switch {
	case interrupted && !serves:
		fmt.Fprintln(errOut, "casebook: interrupted")
		return exitInterrupted
	case err == nil || interrupted:
		return exitOK
	}
	fmt.Fprintln(errOut, "casebook:", err)
	return exitFailure
}

// isCancellation reports whether err says only that a context was cancelled. An error that joins a cancellation with
// another failure, such as that of a close, is not one.
func isCancellation(err error) bool {
	switch e := err.(type) { //nolint:errorlint // it takes the error apart itself
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(e.Unwrap(), func(part error) bool { return !isCancellation(part) })
	case interface{ Unwrap() error }:
		return isCancellation(e.Unwrap())
	}
	return errors.Is(err, context.Canceled)
}

type versionCommand struct{}

func (versionCommand) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, buildID())
	return err
}

// version is set when a release is built: -ldflags "-X main.version=v1.2.3".
var version = "dev"

// buildID identifies the running program. The metadata of every event that it writes contain it.
func buildID() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return version + "+" + s.Value[:12]
		}
	}
	return version
}

// programID tells this program from others, also from those that were built from the same version with changes.
func programID() string {
	id := buildID()
	if file, err := os.Executable(); err == nil {
		if info, err := os.Stat(file); err == nil {
			id += fmt.Sprintf(" %d %d", info.Size(), info.ModTime().UnixNano())
		}
	}
	return id
}
