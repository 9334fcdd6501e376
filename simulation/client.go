package simulation

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
)

// client is a client of the public HTTP API.
type client struct {
	base string
	http *http.Client
}

// answer holds the fields that the simulation needs from the answer to a command.
type answer struct {
	Position uint64 `json:"position"`
	Events   []struct {
		Type string `json:"type"`
		Data struct {
			Late        bool       `json:"late"`
			Mode        diary.Mode `json:"mode"`
			AfterMissed bool       `json:"afterMissed"`
			Again       bool       `json:"again"`
			SHA256      string     `json:"sha256"`
		} `json:"data"`
	} `json:"events"`
}

// refusal is the server's answer to a refused request (RFC 9457).
type refusal struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s: %s", r.Status, r.Code, r.Detail) }

const (
	requestTimeout = 30 * time.Second
	sendAttempts   = 20
)

func newClient(base string, trusted *tls.Config) *client {
	transport := &http.Transport{TLSClientConfig: trusted, MaxIdleConnsPerHost: 64, MaxConnsPerHost: 64}
	return &client{base: base, http: &http.Client{Transport: transport, Timeout: requestTimeout}}
}

func (c *client) command(ctx context.Context, token, key string, command any) (answer, error) {
	var a answer
	path, headers := "/api/v1/commands/"+nameOf(command), map[string]string{"Idempotency-Key": key}
	err := c.exchange(ctx, http.MethodPost, path, token, headers, command, &a)
	return a, err
}

// batch sends commands that were captured offline, and returns an answer for each.
func (c *client) batch(ctx context.Context, token string, commands []keyed) ([]answer, error) {
	type item struct {
		Command string `json:"command"`
		Key     string `json:"idempotencyKey"`
		Body    any    `json:"body"`
	}
	var request struct {
		Commands []item `json:"commands"`
	}
	for _, k := range commands {
		request.Commands = append(request.Commands, item{nameOf(k.command), k.key, k.command})
	}
	var response struct {
		Items []struct {
			Status  int      `json:"status"`
			Answer  *answer  `json:"answer"`
			Problem *refusal `json:"problem"`
		} `json:"items"`
	}
	if err := c.exchange(ctx, http.MethodPost, "/api/v1/commands:batch", token, nil, request, &response); err != nil {
		return nil, err
	}
	if len(response.Items) != len(commands) {
		return nil, fmt.Errorf("%d commands were answered with %d results", len(commands), len(response.Items))
	}
	answers := make([]answer, len(commands))
	for i, r := range response.Items {
		if r.Answer == nil {
			return nil, fmt.Errorf("%s: %w", commands[i].key, r.Problem)
		}
		answers[i] = *r.Answer
	}
	return answers, nil
}

// patientView holds the fields that the simulation needs from a patient's view.
type patientView struct {
	Status patient.Status `json:"status"`
	Steps  []struct {
		What string      `json:"what"`
		On   domain.Date `json:"on"`
	} `json:"steps"`
}

// enrolledOn returns the day of the enrolment; "" for a patient who is not enrolled.
func (v patientView) enrolledOn() domain.Date {
	for _, step := range v.Steps {
		if step.What == "PatientEnrolled" {
			return step.On
		}
	}
	return ""
}

// patient returns a patient's view, when it has reached a position.
func (c *client) patient(ctx context.Context, token string, id domain.PatientID, position uint64) (patientView, error) {
	var view patientView
	err := c.exchange(ctx, http.MethodGet, "/api/v1/patients/"+string(id), token, atPosition(position), nil, &view)
	return view, err
}

// atPosition returns the header that makes a query wait until its view has reached a position.
func atPosition(position uint64) map[string]string {
	return map[string]string{"Casebook-Position": strconv.FormatUint(position, 10)}
}

// exchange sends a request and decodes the answer. While the server cannot be reached or is overloaded, it sends the
// request again after a pause.
func (c *client) exchange(ctx context.Context, method, path, token string, headers map[string]string, body, into any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	for attempt := 1; ; attempt++ {
		wait, err := c.once(ctx, method, path, token, headers, text, into)
		if wait == 0 || attempt == sendAttempts {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// once sends a request once. wait is the pause before it may be sent again; 0 if that does not help.
func (c *client) once(
	ctx context.Context, method, path, token string, headers map[string]string, body []byte, into any,
) (wait time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("User-Agent", "casebook-simulation")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 200 * time.Millisecond, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return 200 * time.Millisecond, err
	}
	if response.StatusCode == http.StatusOK {
		return 0, json.Unmarshal(text, into)
	}
	r := &refusal{Status: response.StatusCode}
	if err := json.Unmarshal(text, r); err != nil {
		return 0, fmt.Errorf("answered %d: %.200s", response.StatusCode, text)
	}
	if r.Status == http.StatusServiceUnavailable || r.Status == http.StatusTooManyRequests {
		seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
		if err != nil || seconds < 1 {
			seconds = 1
		}
		return time.Duration(seconds) * time.Second, r
	}
	return 0, r
}

func nameOf(command any) string { return reflect.TypeOf(command).Name() }

func lower(s string) string { return strings.ToLower(s) }
