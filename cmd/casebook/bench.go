package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/loadtest"

	"github.com/google/uuid"
)

type benchCommand struct {
	Diary    benchDiaryCommand    `cmd:"" help:"Measure how fast diaries are stored durably."`
	Evening  benchEveningCommand  `cmd:"" help:"Measure the evening, when all phones refresh their tokens, ask what is due and send their diaries."`
	Fleet    benchFleetCommand    `cmd:"" help:"Have phones that travel, are lost, have wrong clocks and send again send their diaries, and check every entry."`
	Rebuild  benchRebuildCommand  `cmd:"" help:"Measure how fast views are built from logs of several lengths."`
	Replaces benchReplacesCommand `cmd:"" help:"Measure guarded replaces of documents in collections of several sizes."`
	Start    benchStartCommand    `cmd:"" help:"Measure how fast a server starts on logs of several lengths, and what it takes while nothing happens."`
}

type benchDiaryCommand struct {
	Connections []int         `help:"Numbers of connections to measure with." default:"1,8,64"`
	Duration    time.Duration `help:"Length of each run." default:"10s"`
	Rate        int           `help:"Requests per second, in total; by default as many as are answered." placeholder:"N"`
	Rounds      int           `help:"Runs of each kind; medians are reported." default:"3"`
	Patients    int           `help:"Patients who send diaries in turn." default:"2000"`
	Rival       string        `help:"Also measure another system with POST /diary at this address, alternately." placeholder:"URL"`
	RivalKey    string        `help:"HS256 key of the other system's tokens." default:"bench-secret-bench-secret-bench-secret"`
	Profile     string        `help:"Write a CPU profile of the server for each number of connections to FILE.CONNECTIONS." type:"path" placeholder:"FILE"`
	JSON        bool          `help:"Print JSON."`

	On benchServerFlags `embed:""`
}

// benchServerFlags say on which stores the server runs that a benchmark measures.
type benchServerFlags struct {
	Data       string `help:"New directory for the server's data; a temporary one by default." type:"path" env:"CASEBOOK_BENCH_DATA" placeholder:"DIR"`
	Eventstore string `help:"Address of a real event store to measure with, esdb://...; it is filled with events of a study of its own, and must hold nothing but benchmarks." env:"CASEBOOK_BENCH_EVENTSTORE" placeholder:"URL"`
	Mongo      string `help:"Address of a real MongoDB to measure with, mongodb://..." env:"CASEBOOK_BENCH_MONGO" placeholder:"URL"`
}

// benchReady and benchAdmin are what the server's process prints, before its address and that for operators, when it serves.
const (
	benchReady = "bench server at "
	benchAdmin = "bench admin at "
)

// with starts a server in a process of its own, on embedded stores and free ports unless others are given, and ends it when use has
// returned.
func (c benchServerFlags) with(ctx context.Context, s streams, use func(benchedServer) error) (err error) {
	dir := c.Data
	if dir != "" && dataDir(dir).hasEventStore() {
		return fmt.Errorf("%s holds a log, and a benchmark would write into it; name a new directory with --data", dir)
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "casebook-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	tokens, err := loadTokens(storeFlags{Data: dir}.keyFile(), true)
	if err != nil {
		return err
	}
	if c.Eventstore != "" { // with it, a server makes no key by itself
		if err := writeBenchKey(storeFlags{Data: dir}.blindingKeyFile()); err != nil {
			return err
		}
	}
	server, err := c.startServer(ctx, dir, s)
	if err != nil {
		return err
	}
	server.tokens = tokens
	defer func() {
		interrupted := server.process.Process.Signal(os.Interrupt)
		var exit *exec.ExitError
		if ended := server.process.Wait(); interrupted == nil && ended != nil && !errors.As(ended, &exit) {
			err = errors.Join(err, ended)
		}
	}()
	return use(server)
}

// Run measures a server.
func (c benchDiaryCommand) Run(ctx context.Context, s streams) error {
	return c.On.with(ctx, s, func(server benchedServer) error { return c.measure(ctx, s, server) })
}

func (c benchDiaryCommand) measure(ctx context.Context, s streams, server benchedServer) error {
	report, err := loadtest.Diary(ctx, loadtest.Options{
		BaseURL: server.base, Admin: demoAdmin, Connections: c.Connections, Duration: c.Duration, Rate: c.Rate, Rounds: c.Rounds,
		Patients: c.Patients, Rival: c.Rival, RivalKey: c.RivalKey, ServerPID: server.process.Process.Pid, Say: s.say, Profile: server.profile,
		SignAs: func(u domain.UserID) (string, error) { return server.tokens.Sign(u, time.Now(), 24*time.Hour) },
	})
	if err != nil {
		return err
	}
	shares := make([][]share, len(report.Rows))
	for i, row := range report.Rows {
		if shares[i], err = sharesOf(row.Profile); err != nil {
			return err
		}
		if c.Profile != "" {
			if err := os.WriteFile(fmt.Sprint(c.Profile, ".", row.Connections), row.Profile, 0o600); err != nil {
				return err
			}
		}
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(struct {
			loadtest.Report
			Shares [][]share `json:"shares"` // in the order of the rows
		}{report, shares})
	}
	if err := report.WriteTable(s.out); err != nil {
		return err
	}
	for i, row := range report.Rows {
		fmt.Fprintf(s.out, "\nwhere the server's processor time goes, with %d connections\n", row.Connections)
		if err := writeShares(s.out, shares[i], row.Median().Processor); err != nil {
			return err
		}
	}
	return nil
}

// benchKey is the blinding key of the benchmarks on event stores that are given. It is no secret: one benchmark after the other works
// on a store that holds benchmarks alone. The log of an installation records another key, so that the server refuses it.
var benchKey = sha256.Sum256([]byte("the key of casebook bench, which is no secret"))

// errOtherKey means that a directory for a benchmark holds a key of somebody else.
var errOtherKey = errors.New("it holds the blinding key of an installation, and a benchmark would write into its log; " +
	"name a new directory with --data")

// writeBenchKey makes the file of the blinding key for a benchmark.
func writeBenchKey(file string) error {
	own := base64.StdEncoding.EncodeToString(benchKey[:])
	switch found, err := os.ReadFile(file); { // #nosec G304 -- the user names the directory
	case err == nil && string(found) != own:
		return fmt.Errorf("%s: %w", filepath.Dir(file), errOtherKey)
	case err == nil || !errors.Is(err, os.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(own), 0o600)
}

// benchedServer is the server that is measured.
type benchedServer struct {
	base, admin string
	process     *exec.Cmd
	tokens      *access.Tokens
}

// profile takes a CPU profile of the server.
func (b benchedServer) profile(ctx context.Context, d time.Duration) ([]byte, error) {
	address := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", b.admin, max(1, int(d.Seconds())))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", address, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

// startServer starts this program again as the server, so that load and server do not share a heap.
func (c benchServerFlags) startServer(ctx context.Context, dir string, s streams) (b benchedServer, err error) {
	program, err := os.Executable()
	if err != nil {
		return b, err
	}
	flags := []string{"bench-server", "--data", dir, "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--node-listen", "127.0.0.1:0", "--mongo-listen", "127.0.0.1:0", "--log-level", "warn"}
	process := exec.CommandContext(ctx, program, flags...) // #nosec G204 -- this program itself
	// Addresses may hold passwords, which the arguments of a process show to everybody.
	process.Env = withoutSettings(os.Environ())
	if c.Eventstore != "" {
		process.Env = append(process.Env, "CASEBOOK_EVENTSTORE="+c.Eventstore)
	}
	if c.Mongo != "" {
		process.Env = append(process.Env, "CASEBOOK_MONGO="+c.Mongo, "CASEBOOK_MONGO_DATABASE=casebook-bench-"+uuid.NewString()[:8])
	}
	process.Stderr = s.err
	out, err := process.StdoutPipe()
	if err != nil {
		return b, err
	}
	if err := process.Start(); err != nil {
		return b, err
	}
	b.process = process
	lines := bufio.NewReader(out)
	for _, printed := range []struct {
		says    string
		address *string
	}{{benchReady, &b.base}, {benchAdmin, &b.admin}} {
		line, err := lines.ReadString('\n')
		address, ready := strings.CutPrefix(strings.TrimSpace(line), printed.says)
		if err != nil || !ready {
			failure := fmt.Errorf("the server did not start: it printed %q", line)
			return b, errors.Join(failure, err, process.Process.Kill(), process.Wait())
		}
		*printed.address = address
	}
	return b, nil
}

// withoutSettings returns an environment without the settings of the installation that the shell works with: a server that a benchmark
// starts is to have none of them.
func withoutSettings(environment []string) []string {
	return slices.DeleteFunc(environment, func(v string) bool {
		return strings.HasPrefix(v, "CASEBOOK_") && !strings.HasPrefix(v, "CASEBOOK_TEST_")
	})
}

// benchServerCommand runs the server that a benchmark measures. It has an administrator from the start.
type benchServerCommand struct {
	serverFlags
}

// Run serves until it is interrupted, and prints its address.
func (c benchServerCommand) Run(ctx context.Context, s streams) error {
	server, err := start(ctx, c.serverFlags, c.Log.logger(s.err))
	if err != nil {
		return err
	}
	if err := server.bootstrapAdmins(ctx, "only-for-the-benchmark"); err != nil {
		return errors.Join(err, server.close())
	}
	fmt.Fprintf(s.out, "%s%s\n%shttp://%s\n", benchReady, server.url(), benchAdmin, server.adminAddress)
	return server.wait()
}

func (benchServerCommand) servesUntilStopped() {}
