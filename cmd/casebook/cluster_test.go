package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/embedded/node/clustertest"
	"casebook/eventlog"
	"casebook/projections"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
)

// flagsOn are those of a server on a cluster, with the keys that it needs.
func flagsOn(t *testing.T, c *clustertest.Cluster) serverFlags {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{tokenKeyFile, blindingKeyFile} {
		if _, err := access.LoadOrCreateKey(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	f := flagsFor(dir)
	f.Stores.Eventstore = c.URL()
	return f
}

// freePort returns an address that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// probe returns the status of a path, and the checks that have failed.
func probe(t *testing.T, address, path string) (status int, failed []string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Checks []struct {
			Name string `json:"name"`
			OK   bool   `json:"ok"`
		} `json:"checks"`
	}
	body, _ := io.ReadAll(response.Body)
	_ = json.Unmarshal(body, &answer) // other answers have no checks
	for _, c := range answer.Checks {
		if !c.OK {
			failed = append(failed, c.Name)
		}
	}
	return response.StatusCode, failed
}

// TestServeWaitsForALeader: started without a leader, the server answers probes, says what it waits for, and begins when there
// is one. When the leader is lost again, no check that depends on the log says that all is well.
func TestServeWaitsForALeader(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	c.LoseLeader()
	f := flagsOn(t, c)
	f.HTTP = freePort(t)
	type outcome struct {
		s   *server
		err error
	}
	started := make(chan outcome, 1)
	go func() {
		s, err := start(context.Background(), f, slog.New(slog.DiscardHandler))
		started <- outcome{s, err}
	}()
	status := 0
	for begun := time.Now(); status != http.StatusOK && time.Since(begun) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		status, _ = probe(t, f.HTTP, "/healthz")
	}
	if status != http.StatusOK {
		t.Errorf("/healthz answers %d", status)
	}
	if status, failed := probe(t, f.HTTP, "/readyz"); status != http.StatusServiceUnavailable || strings.Join(failed, ",") != waitsForLog {
		t.Errorf("/readyz answers %d, and %v have failed", status, failed)
	}
	if status, _ := probe(t, f.HTTP, "/api/v1/studies/X"); status != http.StatusServiceUnavailable {
		t.Errorf("a query is answered %d", status)
	}
	c.MoveLeader(c.Members()[2])
	o := <-started
	if o.err != nil {
		t.Fatal(o.err)
	}
	defer func() {
		if err := o.s.close(); err != nil {
			t.Error(err)
		}
	}()
	ready := func(want int) (failed []string) {
		t.Helper()
		for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			status, failed := probe(t, f.HTTP, "/readyz")
			if status == want {
				return failed
			}
			if time.Since(begun) > 10*time.Second {
				t.Fatalf("/readyz answers %d, want %d; %v have failed", status, want, failed)
			}
		}
	}
	ready(http.StatusOK)
	for _, m := range c.Members() {
		m.Kill()
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) { // for a while it may be an election
		status, failed := probe(t, f.HTTP, "/readyz")
		if status == http.StatusOK && all("event-log", "commands", "views", "verifier", "projections")(failed) {
			break
		}
		if time.Since(begun) > 5*time.Second {
			t.Fatalf("without the event store, /readyz answers %d, and only %v have failed", status, failed)
		}
	}
	time.Sleep(5 * time.Second)
	if failed := ready(http.StatusServiceUnavailable); !all("event-log", "commands", "views", "verifier", "projections")(failed) {
		t.Errorf("without the event store, only %v have failed", failed)
	}
	for _, m := range c.Members() {
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	back := time.Now()
	ready(http.StatusOK)
	if took := time.Since(back); took > 5*time.Second {
		t.Errorf("it was ready again after %s", took)
	}
	text := string(metricsOf(t, o.s.adminAddress))
	if !strings.Contains(text, "\ncasebook_eventstore_leaderless_seconds 0\n") ||
		!regexp.MustCompile(`\ncasebook_eventstore_leaderless_seconds_total [1-9]`).MatchString(text) {
		t.Errorf("the metrics do not say for how long there was no leader")
	}
}

func metricsOf(t *testing.T, admin string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// serveOn runs a server on the stores of its flags, until the end of the test.
func serveOn(t *testing.T, f serverFlags) installation {
	t.Helper()
	s, err := start(context.Background(), f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return installation{server: s, t: t, url: "http://" + s.httpAddress}
}

// sign returns a token of a user.
func (in installation) sign(u domain.UserID) string {
	in.t.Helper()
	signed, err := in.tokens.Sign(u, time.Now(), time.Hour)
	if err != nil {
		in.t.Fatal(err)
	}
	return signed
}

// windowsShown returns how often a patient's diary of each window is shown, in a view that has seen everything recorded so far.
func (in installation) windowsShown(token string, who domain.PatientID) map[string]int {
	in.t.Helper()
	position := in.must(token, diary.CloseDiaryWindows{
		OfPatient: domain.ForPatient(who), Through: time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)}).Position
	shown := map[string]int{}
	path := fmt.Sprintf("/api/v1/patients/%s/diaries?limit=200", who)
	for next := path; next != ""; {
		var page readmodels.List[diaryviews.Diary]
		in.query(token, next, position, &page)
		for _, d := range page.Items {
			shown[d.Window]++
		}
		if next = ""; page.Next != "" {
			next = path + "&cursor=" + page.Next
		}
	}
	return shown
}

// TestServeNamesAMissingRight: a server whose account lacks a right ends, and names it.
func TestServeNamesAMissingRight(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{})
	for right, named := range map[clustertest.Right]string{
		clustertest.Append: "append to streams", clustertest.ReadAll: "read $all", clustertest.ManageGroups: "$ops",
	} {
		c.Deny(right, true)
		s, err := start(t.Context(), flagsOn(t, c), slog.New(slog.DiscardHandler))
		if err == nil {
			err = s.close()
		}
		if !errors.Is(err, eventlog.ErrMissingRight) || !strings.Contains(err.Error(), named) {
			t.Errorf("without the right to %s: %v", named, err)
		}
		c.Deny(right, false)
	}
}

// TestLostQuorumRefusesNothing: without a quorum nothing is refused or acknowledged, however often it is sent. The same key gets
// 200 when the quorum is back, and the diary is shown once.
func TestLostQuorumRefusesNothing(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{WriteTimeout: 200 * time.Millisecond, Election: time.Minute})
	in := serveOn(t, flagsOn(t, c))
	if err := in.bootstrapAdmins(t.Context(), "a password for a test"); err != nil {
		t.Fatal(err)
	}
	setUp(in, "C2", in.sign, 1)
	who, crc := domain.NewPatientID("C2", "0"), in.sign("crc")
	for _, m := range c.Followers() {
		m.Kill()
	}
	// The second request meets what the first one has written, which no read shows.
	for range 2 {
		impatient, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		status, answer := post(impatient, in.url, in.sign("phones"), who, "2020-01-01")
		cancel()
		if status != 0 && status != http.StatusServiceUnavailable {
			t.Errorf("without a quorum, a diary is answered %d: %s", status, answer)
		}
	}
	for _, m := range c.Members()[1:] {
		if err := m.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	status, answer := post(t.Context(), in.url, in.sign("phones"), who, "2020-01-01")
	var recorded answered
	if err := json.Unmarshal([]byte(answer), &recorded); err != nil || status != http.StatusOK {
		t.Fatalf("with the quorum back, the same diary is answered %d: %s", status, answer)
	}
	var page readmodels.List[diaryviews.Diary]
	in.query(crc, fmt.Sprintf("/api/v1/patients/%s/diaries", who), recorded.Position, &page)
	if len(page.Items) != 1 {
		t.Errorf("%d diaries are shown, want 1", len(page.Items))
	}
}

// accounts notes what was acknowledged, and what was refused although it had to be accepted.
type accounts struct {
	mu           sync.Mutex
	acknowledged map[domain.PatientID]map[string]bool
	refused      []string
	again        int
	last         time.Time
	silence      time.Duration
}

func (a *accounts) note(who domain.PatientID, day domain.Date) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.acknowledged[who] == nil {
		a.acknowledged[who] = map[string]bool{}
	}
	a.acknowledged[who][string(day)+"/evening"] = true
	if !a.last.IsZero() {
		a.silence = max(a.silence, time.Since(a.last))
	}
	a.last = time.Now()
}

// await waits until a diary was acknowledged after a moment, for half a minute at most.
func (a *accounts) await(after time.Time) {
	for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
		a.mu.Lock()
		last := a.last
		a.mu.Unlock()
		if last.After(after) {
			return
		}
	}
}

// clusterRun is how long the leaders are moved; CASEBOOK_TEST_CLUSTER=10m makes it longer.
func clusterRun(t *testing.T) time.Duration {
	t.Helper()
	given := os.Getenv("CASEBOOK_TEST_CLUSTER")
	if given == "" {
		return 8 * time.Second
	}
	d, err := time.ParseDuration(given)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// silenceBeyond is how much longer than elections nobody may be answered, where the machine does not stall. It is a multiple of what
// is seen: a second. What a connection that is believed too long would cost is more: twenty.
const silenceBeyond = 5 * time.Second

// measureStalls measures how late this process gets the processor, until the returned function is called. That returns an allowance
// for what a busy machine adds to a silence.
func measureStalls(t *testing.T) func() time.Duration {
	ctx, stop := context.WithCancel(t.Context())
	measured := make(chan time.Duration, 1)
	go func() {
		const step = 10 * time.Millisecond
		longest := time.Duration(0)
		for last := time.Now(); ctx.Err() == nil; last = time.Now() {
			time.Sleep(step)
			longest = max(longest, time.Since(last)-step)
		}
		measured <- longest
	}()
	return func() time.Duration {
		stop()
		return 10 * <-measured
	}
}

// TestLeadersMoveUnderLoad kills, stops, freezes, cuts off and moves leaders at random while phones submit diaries. Each diary that
// was acknowledged is shown once, none is refused, all views equal a fresh fold, no part of the server ends, and silences are about as
// long as elections.
func TestLeadersMoveUnderLoad(t *testing.T) {
	c := clustertest.Run(t, clustertest.Options{Election: time.Second, WriteTimeout: 500 * time.Millisecond})
	s, err := start(context.Background(), flagsOn(t, c), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	in := installation{server: s, t: t, url: "http://" + s.httpAddress}
	ended := make(chan error, 1)
	go func() { ended <- s.parts.Wait() }()
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := in.bootstrapAdmins(t.Context(), "a password for a test"); err != nil {
		t.Fatal(err)
	}
	const id, phones = domain.StudyID("C1"), 6
	token := map[domain.UserID]string{}
	sign := func(u domain.UserID) string {
		if token[u] == "" {
			signed, err := s.tokens.Sign(u, time.Now(), 12*time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			token[u] = signed
		}
		return token[u]
	}
	setUp(in, id, sign, phones)
	crc, sender := sign("crc"), sign("phones")

	stalls := measureStalls(t)
	noted := accounts{acknowledged: map[domain.PatientID]map[string]bool{}}
	loaded, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for i := range phones {
		wait.Go(func() { noted.load(loaded, in.url, sender, domain.NewPatientID(id, fmt.Sprint(i))) })
	}
	faults := 0
	for over := time.Now().Add(clusterRun(t)); time.Now().Before(over); faults++ {
		time.Sleep(time.Duration(300+rand.IntN(900)) * time.Millisecond)
		fault(t, c, rand.IntN(5), noted.await)
	}
	time.Sleep(time.Second)
	stop()
	wait.Wait()
	select {
	case err := <-ended:
		t.Fatalf("a part of the server ended by itself: %v", err)
	default:
	}
	noted.check(t, in, crc)
	for _, p := range contexts.Projections() {
		builds, err := s.views.BuildsOf(t.Context(), p.View)
		if err != nil {
			t.Fatal(err)
		}
		compared, err := projections.Compare(t.Context(), s.blindLog, s.views, p, builds.Active, 3, nil)
		if err != nil || !compared.Same() {
			t.Errorf("%s differs from a fresh fold (%v): %+v", p.View.Name, err, compared.Differences)
		}
	}
	longest := time.Duration(0)
	for _, e := range c.Elections() {
		longest = max(longest, e)
	}
	if noted.again > 0 {
		t.Errorf("%d requests were answered with an error, where they had to wait", noted.again)
	}
	// Faults follow each other so closely that one silence may hold two elections.
	if most := 2*longest + silenceBeyond + stalls(); noted.silence > most {
		t.Errorf("the longest silence was %s, at most %s is allowed; the longest election took %s", noted.silence, most, longest)
	}
	t.Logf("%d faults; the longest silence was %s, the longest election %s", faults, noted.silence, longest)
}

// fault lets something happen to the leader. It undoes it when there is another one and await has returned, which is called with the
// time of the election: what await waits for must not need the former leader.
func fault(t *testing.T, c *clustertest.Cluster, kind int, await func(elected time.Time)) {
	t.Helper()
	leader, err := c.AwaitLeader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lagging := c.Followers()[rand.IntN(2)]
	lagging.StopReplicating()
	back := func() error { return nil }
	switch kind {
	case 0:
		leader.Kill()
		back = leader.Restart
	case 1:
		leader.Freeze()
		back = leader.Thaw
	case 2:
		leader.CutOff()
		back = leader.Rejoin
	case 3:
		leader.Stop()
		back = leader.Restart
	default:
		c.MoveLeader(c.Followers()[rand.IntN(2)])
	}
	if _, err = c.AwaitLeader(t.Context()); err == nil {
		await(time.Now())
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
		lagging.CatchUp()
		err = back()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// load submits one diary after the other, each until it is acknowledged.
func (a *accounts) load(ctx context.Context, url, token string, who domain.PatientID) {
	day := domain.Date("2020-01-01")
	for ctx.Err() == nil {
		status, body := post(ctx, url, token, who, day)
		switch status {
		case http.StatusOK:
			a.note(who, day)
			day = day.AddDays(1)
			continue
		case 0, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			a.mu.Lock()
			if ctx.Err() == nil {
				a.again++
			}
			a.mu.Unlock()
			time.Sleep(20 * time.Millisecond)
		default:
			a.mu.Lock()
			a.refused = append(a.refused, fmt.Sprintf("%s of %s: %d %s", day, who, status, body))
			a.mu.Unlock()
			return
		}
	}
}

// post submits a diary. It returns the status 0 if there was no answer.
func post(ctx context.Context, url, token string, who domain.PatientID, day domain.Date) (status int, answer string) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	body := fmt.Sprintf(`{"patient":%q,"instrument":"pain-diary","capturedAt":"%sT20:30:00Z",`+
		`"answers":{"worst":5,"least":1,"average":3,"now":2,"rescue":false}}`, who, day)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/commands/SubmitDiary", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Idempotency-Key", string(who)+string(day))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	raw, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(raw)
}

// check compares what was acknowledged with what the views show.
func (a *accounts) check(t *testing.T, in installation, token string) {
	t.Helper()
	for _, refusal := range a.refused {
		t.Errorf("refused: %s", refusal)
	}
	total := 0
	for who, windows := range a.acknowledged {
		shown := in.windowsShown(token, who)
		for window := range windows {
			if shown[window] != 1 {
				t.Errorf("%s of %s was acknowledged and is shown %d times", window, who, shown[window])
			}
		}
		if extra := len(shown) - len(windows); extra > 1 { // the last one may not have been answered
			t.Errorf("%s has %d diaries that were not acknowledged", who, extra)
		}
		total += len(windows)
	}
	if total < 50 {
		t.Errorf("only %d diaries were acknowledged", total)
	}
	t.Logf("%d diaries were acknowledged", total)
}
