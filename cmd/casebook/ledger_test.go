package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"casebook/domain"
	"casebook/eventlog"
)

// receipt is the answer to a command that was accepted.
type receipt struct {
	CommandID string `json:"commandId"`
	Stream    string `json:"stream"`
	Revision  int64  `json:"revision"`
	Position  uint64 `json:"position"`
	Events    []struct {
		ID       string `json:"id"`
		Type     string `json:"type"`
		Revision uint64 `json:"revision"`
	} `json:"events"`
}

// ledger sends commands to the processes of a fleet until they are answered, and keeps the answers, to compare them with the
// log afterwards.
type ledger struct {
	fleet  *fleet
	client *http.Client

	mu sync.Mutex
	// receipts are the acknowledged commands by their ids, commands their names.
	receipts map[string]receipt
	commands map[string]int
	// wrong are the answers that nobody should get: refusals of what is allowed, and two answers that contradict each other.
	wrong []string
	// errors counts the answers after which the same command was sent again.
	errors map[string]int
	// acknowledged holds the time of each answer.
	acknowledged []time.Time
	again, twins int
}

func newLedger(f *fleet) *ledger {
	return &ledger{fleet: f, receipts: map[string]receipt{}, commands: map[string]int{}, errors: map[string]int{},
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// twinsIn is one in how many commands is sent to two processes at once.
const twinsIn = 20

// send sends a command with its key until it is acknowledged, to another process each time. It goes on for as long as patience
// lasts, so that nothing is left unknown. It reports whether the command was acknowledged.
func (l *ledger) send(patience context.Context, token, key string, command any) (receipt, bool) {
	body, err := json.Marshal(command)
	if err != nil {
		l.fleet.t.Error(err)
		return receipt{}, false
	}
	name := commandName(command)
	for tries := 0; patience.Err() == nil; tries++ {
		answers := []answer{{}}
		if urls := l.fleet.urls(); len(urls) > 1 && rand.IntN(twinsIn) == 0 {
			rand.Shuffle(len(urls), func(i, j int) { urls[i], urls[j] = urls[j], urls[i] })
			answers = l.postTwice(patience, urls[:2], name, token, key, body)
		} else {
			answers[0] = l.post(patience, l.fleet.url(), name, token, key, body)
		}
		if r, done := l.note(name, key, answers, tries); done {
			return r, r.CommandID != ""
		}
		time.Sleep(time.Duration(20+rand.IntN(80)) * time.Millisecond)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf("%s %s was never answered", name, key))
	return receipt{}, false
}

// answer is what one process has answered; its status is 0 if it has not.
type answer struct {
	status  int
	text    string
	receipt receipt
}

func (l *ledger) postTwice(ctx context.Context, urls []string, name, token, key string, body []byte) []answer {
	answers := make([]answer, len(urls))
	var wait sync.WaitGroup
	for i, url := range urls {
		wait.Go(func() { answers[i] = l.post(ctx, url, name, token, key, body) })
	}
	wait.Wait()
	return answers
}

func (l *ledger) post(ctx context.Context, url, name, token, key string, body []byte) (a answer) {
	if url == "" {
		return answer{text: "no process serves the API"}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/commands/"+name, bytes.NewReader(body))
	if err != nil {
		return answer{text: err.Error()}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := l.client.Do(request)
	if err != nil {
		return answer{text: err.Error()}
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{text: err.Error()} // the process was killed while it answered
	}
	a = answer{status: response.StatusCode, text: string(text)}
	if a.status == http.StatusOK {
		err = json.Unmarshal(text, &a.receipt)
	}
	if err != nil {
		return answer{text: err.Error()}
	}
	return a
}

// note notes the answers to a command, and reports whether it was answered for good.
func (l *ledger) note(name, key string, answers []answer, tries int) (r receipt, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(answers) > 1 {
		l.twins++
	}
	for _, a := range answers {
		switch a.status {
		case http.StatusOK:
			if other, has := l.receipts[a.receipt.CommandID]; has && (other.Stream != a.receipt.Stream || other.Revision != a.receipt.Revision) &&
				len(other.Events)+len(a.receipt.Events) > 0 {
				l.wrong = append(l.wrong, fmt.Sprintf("%s %s has two answers: %+v and %+v", name, key, other, a.receipt))
			}
			if !done {
				l.acknowledged = append(l.acknowledged, time.Now())
				l.commands[name]++
			}
			r, done = a.receipt, true
			l.receipts[r.CommandID] = r
		case 0, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			l.errors[problem(a)]++
		default:
			l.wrong = append(l.wrong, fmt.Sprintf("%s %s, try %d of %d answers: %d %s", name, key, tries, len(answers), a.status, a.text))
			done = true
		}
	}
	if done && tries > 0 {
		l.again++
	}
	return r, done
}

// problem names the kind of an answer after which the command is sent again.
func problem(a answer) string {
	var p struct {
		Code string `json:"code"`
	}
	if a.status == 0 || json.Unmarshal([]byte(a.text), &p) != nil {
		return "no answer"
	}
	return strconv.Itoa(a.status) + " " + p.Code
}

// get asks a query of any process, and returns the status. After another status than 200, nothing was decoded.
func (l *ledger) get(ctx context.Context, token, path string, position uint64, into any) int {
	url := l.fleet.url()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, nil)
	if err != nil || url == "" {
		return 0
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Casebook-Position", strconv.FormatUint(position, 10))
	response, err := l.client.Do(request)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK && json.NewDecoder(response.Body).Decode(into) != nil {
		return 0
	}
	return response.StatusCode
}

// ask is get until the query is answered, for as long as patience lasts.
func (l *ledger) ask(patience context.Context, token, path string, position uint64, into any) error {
	status := 0
	for patience.Err() == nil {
		switch status = l.get(patience, token, path, position, into); status {
		case http.StatusOK:
			return nil
		case 0, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			time.Sleep(100 * time.Millisecond)
		default:
			return fmt.Errorf("%s: %d", path, status)
		}
	}
	return fmt.Errorf("%s: %d, %w", path, status, patience.Err())
}

// check compares the acknowledged commands with the log: the events of each are there, once, where the answer says, and no
// command of a person has recorded its events twice.
func (l *ledger) check(t *testing.T, events []eventlog.Recorded) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.wrong {
		t.Errorf("wrong: %s", w)
	}
	recorded := map[string][]eventlog.Recorded{}
	ids := map[string]bool{}
	for _, e := range events {
		recorded[e.Metadata.CommandID] = append(recorded[e.Metadata.CommandID], e)
		if ids[e.ID.String()] {
			t.Errorf("event %s is recorded twice, the second time as %s@%d", e.ID, e.Stream, e.Revision)
		}
		ids[e.ID.String()] = true
	}
	for id, r := range l.receipts {
		shown := slices.DeleteFunc(slices.Clone(recorded[id]), func(e eventlog.Recorded) bool {
			part, is := e.Event.(domain.ShownInPart)
			return is && part.ShownToPatients() == nil
		})
		got := recorded[id]
		if len(r.Events) == len(shown) {
			got = shown // the sender may have been a patient
		}
		if len(got) != len(r.Events) {
			t.Errorf("command %s at %s was acknowledged with %d events, and recorded with %d", id, r.Stream, len(r.Events), len(got))
		}
		for i, e := range got {
			if i < len(r.Events) && (e.Stream != r.Stream || e.Revision != r.Events[i].Revision || e.ID.String() != r.Events[i].ID) {
				t.Errorf("event %d of command %s is %s@%d, and was acknowledged as %s@%d", i, id, e.Stream, e.Revision, r.Stream,
					r.Events[i].Revision)
			}
		}
	}
	for id, of := range recorded {
		for i, e := range of[1:] {
			if e.Stream != of[0].Stream || e.Revision != of[i].Revision+1 {
				t.Errorf("command %s has recorded %s@%d and %s@%d", id, of[0].Stream, of[0].Revision, e.Stream, e.Revision)
			}
		}
	}
}

// acknowledgedAfter says whether a command was acknowledged after a moment.
func (l *ledger) acknowledgedAfter(at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acknowledged) > 0 && l.acknowledged[len(l.acknowledged)-1].After(at)
}

// silence returns the longest time between two answers that overlaps the time from begin to end.
func (l *ledger) silence(begin, end time.Time) (longest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := 1; i < len(l.acknowledged); i++ {
		from, until := l.acknowledged[i-1], l.acknowledged[i]
		if until.After(begin) && from.Before(end) {
			longest = max(longest, until.Sub(from))
		}
	}
	return longest
}

// counted returns the counters as lines, in the order of their names.
func counted(of map[string]int) (text string) {
	for _, name := range slices.Sorted(maps.Keys(of)) {
		text += fmt.Sprintf("\n    %-34s %d", name, of[name])
	}
	return text
}
