package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"
)

// EveningEntries is how many diaries a phone sends in the evening at most.
const EveningEntries = 3

// EveningPhone is a phone that was activated, and has captured EveningEntries diaries which the server has not got.
type EveningPhone struct {
	// RefreshToken is that of its session.
	RefreshToken string
	// Batch returns the body of a batch of diaries, at most so many, and how many it has.
	Batch func(most int) (body []byte, entries int, err error)
}

// EveningOptions are the options of Evening.
type EveningOptions struct {
	// BaseURL of the server, such as http://127.0.0.1:8080.
	BaseURL string
	Phones  []EveningPhone
	// Within is the time in which all phones begin, evenly.
	Within time.Duration
	// Schedules is how many schedules are asked for afterwards, one after the other, while nothing else happens.
	Schedules int
	// Seed determines how many diaries each phone sends.
	Seed uint64
	// ServerPID is the id of the server's process, whose processor time is read; 0 for none.
	ServerPID int
	// Say receives messages about the progress; it may be nil.
	Say func(format string, args ...any)
}

// EveningReport says how an evening went.
type EveningReport struct {
	Phones  int           `json:"phones"`
	Entries int64         `json:"entries"`
	Within  time.Duration `json:"-"`
	// Steps are what each phone does, in this order, and Alone the schedule while nothing else happens.
	Steps []Step `json:"steps"`
	Alone Step   `json:"alone"`
	// Processor is the processor time of the server, in microseconds, for all steps of a phone; 0 if unknown.
	Processor float64 `json:"processorMicroseconds,omitempty"`
}

// Step is a request that each phone sends.
type Step struct {
	Name     string `json:"name"`
	Requests int64  `json:"requests"`
	// P50, P99 and Max are how long the answers took that were not shed.
	P50, P99, Max time.Duration `json:"-"`
	// Shed counts the answers that asked the phone to come again (429, 503 and 504), of the request or of an item of a batch, and Later the
	// requests that were accepted after such an answer. Longest is how long the slowest of all took until it was accepted.
	Shed    int64         `json:"shed"`
	Later   int64         `json:"acceptedLater"`
	Longest time.Duration `json:"-"`
}

// step measures the requests of one kind.
type step struct {
	mu   sync.Mutex
	took *hdrhistogram.Histogram
	Step
}

func newStep(name string) *step {
	return &step{took: hdrhistogram.New(1, int64(requestTimeout/time.Microsecond), 3), Step: Step{Name: name}}
}

func (s *step) result() Step {
	r := s.Step
	r.Requests = s.took.TotalCount()
	r.P50, r.P99, r.Max = micros(s.took.ValueAtQuantile(50)), micros(s.took.ValueAtQuantile(99)), micros(s.took.Max())
	return r
}

// answeredRequest is the answer to a request. again is after how long it may be sent again if it was shed; 0 if it was not.
type answeredRequest struct {
	status int
	body   []byte
	again  time.Duration
}

// isShed says whether the server asks to be sent the same again.
func isShed(status int) bool {
	return status == fasthttp.StatusTooManyRequests || status == fasthttp.StatusServiceUnavailable || status == fasthttp.StatusGatewayTimeout
}

// maxOpen bounds the connections of a client that plays all phones.
const maxOpen = 4096

// exchange sends a request and returns the answer, whatever it is.
func (c *client) exchange(method, path, bearer string, body []byte) (a answeredRequest, err error) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI(c.base + path)
	request.Header.SetMethod(method)
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	if body != nil {
		request.Header.SetContentType("application/json")
		request.SetBodyRaw(body)
	}
	if err := c.http.DoTimeout(request, response, requestTimeout); err != nil {
		return a, err
	}
	a.status, a.body = response.StatusCode(), append([]byte(nil), response.Body()...)
	if isShed(a.status) {
		a.again = time.Second
		if seconds, err := strconv.Atoi(string(response.Header.Peek("Retry-After"))); err == nil && seconds > 0 {
			a.again = time.Duration(seconds) * time.Second
		}
	}
	return a, nil
}

// do sends a request until it is accepted. shed says of an answer whether some of it has to be sent again.
func (s *step) do(ctx context.Context, c *client, method, path, bearer string, body []byte, shed func([]byte) (bool, error),
) ([]byte, error) {
	began := time.Now()
	for wasShed := false; ; {
		sent := time.Now()
		a, err := c.exchange(method, path, bearer, body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		took := time.Since(sent)
		if a.again == 0 && a.status >= 300 {
			return nil, fmt.Errorf("%s: %w", s.Name, problemOf(a.status, a.body))
		}
		if a.again == 0 && shed != nil {
			again, err := shed(a.body)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name, err)
			}
			if again {
				a.again = time.Second
			}
		}
		if a.again == 0 {
			return a.body, s.accepted(took, time.Since(began), wasShed)
		}
		s.mu.Lock()
		s.Shed++
		s.mu.Unlock()
		wasShed = true
		if !sleepUntil(ctx, time.Now().Add(a.again)) {
			return nil, ctx.Err()
		}
	}
}

func (s *step) accepted(took, sinceBegun time.Duration, wasShed bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wasShed {
		s.Later++
	}
	s.Longest = max(s.Longest, sinceBegun)
	return s.took.RecordValue(max(1, took.Microseconds()))
}

// Evening measures what the phones of a trial do in the evening: each gets another access token, asks what is due, and sends what it has
// captured in one batch. Every request is repeated until it is accepted.
func Evening(ctx context.Context, o EveningOptions) (EveningReport, error) {
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	report := EveningReport{Phones: len(o.Phones), Within: o.Within}
	c := newClient(o.BaseURL)
	c.http.MaxConnsPerHost = maxOpen
	defer c.close()
	refresh, schedule, batch := newStep("token refresh"), newStep("schedule"), newStep("batch")
	random := rand.New(rand.NewPCG(o.Seed, 0)) // #nosec G404 -- a load
	tokens := make([]string, len(o.Phones))
	used := ProcessorTimeOf(o.ServerPID)
	began := time.Now()
	group, running := errgroup.WithContext(ctx)
	for i, p := range o.Phones {
		body, entries, err := p.Batch(1 + random.IntN(EveningEntries))
		if err != nil {
			return report, err
		}
		report.Entries += int64(entries)
		due := began.Add(time.Duration(random.Int64N(int64(max(o.Within, 1)))))
		group.Go(func() error {
			if !sleepUntil(running, due) {
				return running.Err()
			}
			if err := newToken(running, c, refresh, p, &tokens[i]); err != nil {
				return err
			}
			if _, err := schedule.do(running, c, fasthttp.MethodGet, "/api/v1/me/schedule", tokens[i], nil, nil); err != nil {
				return err
			}
			_, err := batch.do(running, c, fasthttp.MethodPost, "/api/v1/commands:batch", tokens[i], body, someShed)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return report, err
	}
	if now := ProcessorTimeOf(o.ServerPID); now > used && len(o.Phones) > 0 {
		report.Processor = float64((now - used).Microseconds()) / float64(len(o.Phones))
	}
	o.Say("the evening took %s", time.Since(began).Round(time.Millisecond))
	alone := newStep("schedule alone")
	for n := range o.Schedules {
		i := n % len(o.Phones)
		if n < len(o.Phones) { // the first tokens may have ended
			if err := newToken(ctx, c, newStep("token refresh"), o.Phones[i], &tokens[i]); err != nil {
				return report, err
			}
		}
		if _, err := alone.do(ctx, c, fasthttp.MethodGet, "/api/v1/me/schedule", tokens[i], nil, nil); err != nil {
			return report, err
		}
	}
	report.Steps, report.Alone = []Step{refresh.result(), schedule.result(), batch.result()}, alone.result()
	return report, nil
}

// newToken gets another access token for a phone.
func newToken(ctx context.Context, c *client, refresh *step, p EveningPhone, into *string) error {
	ask, err := json.Marshal(map[string]string{"refreshToken": p.RefreshToken})
	if err != nil {
		return err
	}
	answer, err := refresh.do(ctx, c, fasthttp.MethodPost, "/api/v1/sign-in/refresh", "", ask, nil)
	if err != nil {
		return err
	}
	var session struct {
		Token string `json:"token"`
	}
	err = json.Unmarshal(answer, &session)
	*into = session.Token
	return err
}

// someShed says whether an item of a batch has to be sent again. It fails if one was refused.
func someShed(body []byte) (again bool, err error) {
	var answered struct {
		Items []struct {
			Status  int             `json:"status"`
			Problem json.RawMessage `json:"problem"`
			Answer  struct {
				Held json.RawMessage `json:"held"`
			} `json:"answer"`
		} `json:"items"`
	}
	if err := json.Unmarshal(body, &answered); err != nil {
		return false, err
	}
	for _, item := range answered.Items {
		switch {
		case isShed(item.Status):
			again = true
		case item.Status >= 300:
			return false, problemOf(item.Status, item.Problem)
		case len(item.Answer.Held) > 0:
			return false, fmt.Errorf("a diary is held: %s", item.Answer.Held)
		}
	}
	return again, nil
}

// WriteTable writes the report as a table.
func (r EveningReport) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "%d phones within %s, %d diaries\n\n", r.Phones, r.Within, r.Entries)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "step\trequests\tp50\tp99\tmax\tshed\taccepted later\tlongest until accepted\t")
	for _, s := range append(append([]Step{}, r.Steps...), r.Alone) {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%d\t%d\t%s\t\n", s.Name, s.Requests, short(s.P50), short(s.P99), short(s.Max), s.Shed, s.Later,
			short(s.Longest))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if r.Processor > 0 {
		_, err := fmt.Fprintf(w, "\n%.1f ms of the server's processor time for each phone, views included\n", r.Processor/1000)
		return err
	}
	return nil
}

// MarshalJSON encodes durations in milliseconds.
func (s Step) MarshalJSON() ([]byte, error) {
	type plain Step
	return json.Marshal(struct {
		plain
		P50     float64 `json:"p50Millis"`
		P99     float64 `json:"p99Millis"`
		Max     float64 `json:"maxMillis"`
		Longest float64 `json:"longestMillis"`
	}{plain(s), millis(s.P50), millis(s.P99), millis(s.Max), millis(s.Longest)})
}
