package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/user"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
	"casebook/simulation"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// overloading sends requests to a server in a process of its own, and notes how they are answered.
type overloading struct {
	t      *testing.T
	url    string
	client *http.Client
}

// measured is what became of the requests of one kind.
type measured struct {
	mu       sync.Mutex
	took     *hdrhistogram.Histogram // of those that were answered, in microseconds
	answered int
	refused  map[string]int // by code
}

func newMeasured() *measured {
	return &measured{took: hdrhistogram.New(1, time.Minute.Microseconds(), 3), refused: map[string]int{}}
}

// share returns which share of the requests was refused, in per cent.
func (m *measured) share() float64 {
	all := m.answered
	for _, n := range m.refused {
		all += n
	}
	return 100 * float64(all-m.answered) / float64(max(1, all))
}

func (m *measured) percentiles() string {
	if m.answered == 0 {
		return "-"
	}
	at := func(p float64) float64 { return float64(m.took.ValueAtQuantile(p)) / 1000 }
	return fmt.Sprintf("%.1f / %.0f ms", at(50), at(99))
}

// request is one request of a kind; n is different each time.
type request func(ctx context.Context, n int64) (method, path, token, key string, body any)

// send sends a request and notes its answer. It returns how long the client is asked to wait.
func (o *overloading) send(ctx context.Context, m *measured, n int64, of request) (wait time.Duration) {
	method, path, token, key, body := of(ctx, n)
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			o.t.Error(err)
			return 0
		}
		content = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, o.url+path, content)
	if err != nil {
		o.t.Error(err)
		return 0
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", key)
	}
	began := time.Now()
	response, err := o.client.Do(r)
	if ctx.Err() != nil {
		return 0 // the run is over
	}
	code := "no answer"
	if err == nil {
		var p struct {
			Code string `json:"code"`
		}
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
		wait = time.Duration(seconds) * time.Second
		if code = ""; response.StatusCode != http.StatusOK {
			_ = json.Unmarshal(text, &p)
			code = fmt.Sprintf("%d %s", response.StatusCode, p.Code)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if code != "" {
		m.refused[code]++
		return wait
	}
	m.answered++
	_ = m.took.RecordValue(time.Since(began).Microseconds())
	return 0
}

// flood sends requests over a number of connections, each as soon as the one before is answered, until ctx ends. Patient clients wait
// as long as a refusal asks them to.
func (o *overloading) flood(ctx context.Context, connections int, patient bool, of request) *measured {
	m := newMeasured()
	var wait sync.WaitGroup
	var n atomic.Int64
	for range connections {
		wait.Go(func() {
			for ctx.Err() == nil {
				wait := o.send(ctx, m, n.Add(1), of)
				if patient && wait > 0 {
					pause(ctx, wait)
				}
			}
		})
	}
	wait.Wait()
	return m
}

// pace sends a number of requests a second, whether those before are answered or not, until ctx ends.
func (o *overloading) pace(ctx context.Context, perSecond int, first int64, of request) *measured {
	m := newMeasured()
	ticker := time.NewTicker(time.Second / time.Duration(perSecond))
	defer ticker.Stop()
	var wait sync.WaitGroup
	for n := first; ; n++ {
		select {
		case <-ctx.Done():
			wait.Wait()
			return m
		case <-ticker.C:
			wait.Go(func() { _ = o.send(context.WithoutCancel(ctx), m, n, of) })
		}
	}
}

// slowBodies opens connections that send the beginning of a body and then nothing, until ctx ends.
func (o *overloading) slowBodies(ctx context.Context, connections int, head string) {
	var dialer net.Dialer
	var wait sync.WaitGroup
	for range connections {
		wait.Go(func() {
			for ctx.Err() == nil {
				c, err := dialer.DialContext(ctx, "tcp", strings.TrimPrefix(o.url, "http://"))
				if err != nil {
					return
				}
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				if _, err = io.WriteString(c, head); err == nil {
					_, _ = io.Copy(io.Discard, c) // until the server gives up
				}
				stop()
				_ = c.Close()
			}
		})
	}
	wait.Wait()
}

// TestOverloadFigures measures what docs/benchmarks.md says about overload. It runs for as long as CASEBOOK_BENCH_OVERLOAD says for
// each kind of load, and is skipped without it.
func TestOverloadFigures(t *testing.T) {
	given := os.Getenv("CASEBOOK_BENCH_OVERLOAD")
	if given == "" {
		t.Skip("CASEBOOK_BENCH_OVERLOAD is not set; give it the length of each run, such as 10s")
	}
	length, err := time.ParseDuration(given)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	sign := signer(t, dir)
	tokens, err := loadTokens(filepath.Join(dir, tokenKeyFile), false)
	if err != nil {
		t.Fatal(err)
	}
	c := spawn(t, dir)
	in := installation{t: t, url: c.url}
	if _, err := simulation.Run(t.Context(), simulation.Options{BaseURL: c.url, Admin: demoAdmin, Deputy: demoDeputy,
		Password: "casebook-demo-2026", Patients: 40, Days: 14, Seed: 1, Today: domain.DateOf(time.Now().UTC()), Workers: 4,
		SignAs: signedInAs(tokens, time.Hour)}); err != nil {
		t.Fatal(err)
	}
	const id, phones, people = domain.StudyID("O1"), 48, 20
	setUp(in, id, sign, phones)
	var managers, coordinators, devices []string
	for n := range people {
		for role, all := range map[user.Role]*[]string{user.DataManager: &managers, user.CRC: &coordinators} {
			who := domain.UserID(fmt.Sprintf("%s.%d", role, n))
			grant := user.Grant{Role: role, Study: "PAIN1"}
			if role == user.CRC {
				grant.Study, grant.Site = id, "01"
			}
			in.must(sign(demoAdmin), user.RegisterUser{OfUser: domain.ForUser(who), Name: string(who)})
			in.must(sign(demoAdmin), user.GrantRole{OfUser: domain.ForUser(who), Grant: grant})
			*all = append(*all, sign(who))
		}
		device := domain.UserID(fmt.Sprintf("device.%d", n)) // has all diaries
		in.must(sign(demoAdmin), user.RegisterUser{OfUser: domain.ForUser(device), Name: string(device)})
		for i := range phones {
			in.must(sign(demoAdmin), user.GrantRole{OfUser: domain.ForUser(device), Grant: user.Grant{Role: user.PatientRole, Study: id,
				Patient: domain.NewPatientID(id, fmt.Sprint(i))}})
		}
		devices = append(devices, sign(device))
	}
	var enrolled readmodels.List[patientviews.PatientRow]
	in.query(managers[0], "/api/v1/studies/PAIN1/patients?site=01&status=enrolled", 0, &enrolled)
	if len(enrolled.Items) < 2 {
		t.Fatal("too few are enrolled at the site")
	}
	doctors := []string{sign("dr.lindner")}

	o := &overloading{t: t, url: c.url, client: &http.Client{Timeout: 30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 4096}}}
	of := func(all []string, n int64) string { return all[n%int64(len(all))] }
	var windows atomic.Int64
	submitted := func(context.Context, int64) (string, string, string, string, any) {
		n := windows.Add(1)
		who, day := domain.NewPatientID(id, fmt.Sprint(n%phones)), domain.Date("2020-01-01").AddDays(int(n/phones))
		return http.MethodPost, "/api/v1/commands/SubmitDiary", of(devices, n), string(who) + string(day),
			diary.SubmitDiary{OfPatient: domain.ForPatient(who), Instrument: "pain-diary",
				CapturedAt: time.Date(2020, 1, 1, 20, 30, 0, 0, time.UTC).AddDate(0, 0, int(n/phones)),
				Answers:    diary.Answers{"worst": 5, "least": 1, "average": 3, "now": 2, "rescue": false}}
	}
	unblinding := func(who domain.PatientID, n int64) (string, string, string, string, any) {
		return http.MethodPost, "/api/v1/commands/BreakBlind", of(doctors, n), fmt.Sprintf("blind-%d-%d", n, time.Now().UnixNano()),
			randomisation.BreakBlind{Patient: who, Reasoned: domain.Because("overdose")}
	}
	unblinded := func(_ context.Context, n int64) (string, string, string, string, any) {
		return unblinding(enrolled.Items[0].Patient, n)
	}
	var screened atomic.Int64
	loads := []struct {
		name        string
		connections int
		of          request
	}{
		{"queries", 1024, func(_ context.Context, n int64) (string, string, string, string, any) {
			return http.MethodGet, "/api/v1/studies/PAIN1/patients", of(managers, n), "", nil
		}},
		{"exports", 80, func(_ context.Context, n int64) (string, string, string, string, any) {
			return http.MethodGet, "/api/v1/audit/studies/PAIN1/events?limit=200", of(managers, n), "", nil
		}},
		{"commands of people", 1024, func(_ context.Context, n int64) (string, string, string, string, any) {
			number := fmt.Sprint("P", screened.Add(1))
			return http.MethodPost, "/api/v1/commands/ScreenPatient", of(coordinators, n), "screen-" + number,
				patient.ScreenPatient{AtSite: domain.ForSite(id, "01"), ScreeningNumber: number, On: "2020-01-01"}
		}},
		{"diaries", 1024, submitted},
		{"unblinding", 56, func(_ context.Context, n int64) (string, string, string, string, any) {
			others := enrolled.Items[1:]
			return unblinding(others[n%int64(len(others))].Patient, n)
		}},
	}

	run := func(name string, begin ...func(context.Context)) {
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		var wait sync.WaitGroup
		for _, b := range begin {
			wait.Go(func() { b(ctx) })
		}
		var diaries, breaks *measured
		wait.Go(func() { diaries = o.pace(ctx, 20, 0, submitted) })
		wait.Go(func() { breaks = o.pace(ctx, 2, time.Now().UnixNano(), unblinded) })
		wait.Wait()
		t.Logf("%-28s diaries %s, %.1f %% refused %v; unblinding %s, %.1f %% refused %v", name, diaries.percentiles(), diaries.share(),
			diaries.refused, breaks.percentiles(), breaks.share(), breaks.refused)
		time.Sleep(2 * time.Second)
	}
	flooding := func(connections int, patient bool, name string, of request) func(context.Context) {
		return func(ctx context.Context) {
			m := o.flood(ctx, connections, patient, of)
			t.Logf("  %-26s %d connections: %.0f/s answered, %s, %.1f %% refused %v", name, connections,
				float64(m.answered)/length.Seconds(), m.percentiles(), m.share(), m.refused)
		}
	}
	run("nothing else")
	for _, load := range loads {
		run(load.name, flooding(load.connections, true, load.name, load.of))
	}
	var all []func(context.Context)
	for _, load := range loads {
		all = append(all, flooding(load.connections/2, true, load.name, load.of))
	}
	run("all classes together", all...)
	attacker := "POST /api/v1/commands/SubmitDiary HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + coordinators[0] +
		"\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
	nobody := "POST /api/v1/sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
	run("1,030 slow bodies of one user", func(ctx context.Context) { o.slowBodies(ctx, 1030, attacker) })
	run("1,030 slow bodies of nobody", func(ctx context.Context) { o.slowBodies(ctx, 1030, nobody) })
	run("both, and 1,024 queries", func(ctx context.Context) { o.slowBodies(ctx, 1030, attacker) },
		func(ctx context.Context) { o.slowBodies(ctx, 1030, nobody) }, flooding(1024, false, "queries", loads[0].of))
}
