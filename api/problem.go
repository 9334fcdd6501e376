package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"casebook/domain/refuse"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// problemType is the media type of problem details (RFC 9457).
const problemType = "application/problem+json"

// Problem says why a request was not done, in the form of RFC 9457. Code is stable and what programs should look at;
// Detail is for people.
type Problem struct {
	Type     string `json:"type" doc:"Stable name of the kind of problem, as a URN" example:"urn:casebook:problem:captured_in_future"`
	Title    string `json:"title" doc:"The kind of problem in words" example:"Captured in future"`
	Status   int    `json:"status" doc:"The HTTP status" example:"422"`
	Detail   string `json:"detail" doc:"What was refused and why, and what to do about it"`
	Instance string `json:"instance,omitempty" doc:"The request's path; behind #, the command's number in its batch"`
	Code     string `json:"code" doc:"Stable code for programs" example:"captured_in_future"`
	Field    string `json:"field,omitempty" doc:"The part of the request that is at fault, where there is one" example:"capturedAt"`
	Remedy   string `json:"remedy,omitempty" doc:"What to do about it" example:"check the device's clock"`
	TraceID  string `json:"traceId" doc:"The id to find the request by in the server's log" example:"4bf92f3577b34da6a3ce929d0e0e4736"`

	// retryAfter is the header Retry-After in seconds, where it makes sense to come back.
	retryAfter int
	// failed says that something broke, as opposed to a refusal.
	failed bool
}

// statuses maps what sort of no it is to HTTP.
var statuses = map[refuse.Kind]int{
	refuse.KindMalformed:       http.StatusBadRequest,
	refuse.KindUnauthenticated: http.StatusUnauthorized,
	refuse.KindForbidden:       http.StatusForbidden,
	refuse.KindNotFound:        http.StatusNotFound,
	refuse.KindState:           http.StatusConflict,
	refuse.KindRule:            http.StatusUnprocessableEntity,
	refuse.KindOverload:        http.StatusServiceUnavailable,
}

// statusOfCode are the refusals of this package for which HTTP has a status of its own.
var statusOfCode = map[string]int{
	"body_too_large":     http.StatusRequestEntityTooLarge,
	"body_too_slow":      http.StatusRequestTimeout,
	"wrong_content_type": http.StatusUnsupportedMediaType,
	"method_not_allowed": http.StatusMethodNotAllowed,
	"too_many_sign_ins":  http.StatusTooManyRequests,
	"sign_in_delayed":    http.StatusTooManyRequests,
	"too_many_streams":   http.StatusTooManyRequests,
	"too_many_requests":  http.StatusTooManyRequests,
	"overloaded":         http.StatusServiceUnavailable,
}

// statusClientGone is what the access log shows where the client did not wait for the answer; nobody receives it.
const statusClientGone = 499

// errClientGone says that the client ended the connection while it was sending.
var errClientGone = errors.New("the client has gone")

// problemOf returns what the caller learns about an error. A refusal is shown in full. Of a failure the caller only learns
// what to do, because the failure's text can name machines and data.
func problemOf(ctx context.Context, err error) Problem {
	if r, ok := refuse.As(err); ok {
		return problemOfRefusal(r)
	}
	// If we end a request to a store, the store reports that with an error of its own.
	ended := errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled || unreachable(err)
	switch {
	case errors.Is(err, errClientGone), ended && errors.Is(ctx.Err(), context.Canceled):
		return failure(statusClientGone, "client_gone", "the client has gone", 0)
	case ended && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return failure(http.StatusGatewayTimeout, "timeout",
			"the request took too long, and whether it was done is not known; send the same command again with the same Idempotency-Key", 1)
	case status.Code(err) == codes.ResourceExhausted:
		return failure(http.StatusServiceUnavailable, "store_full",
			"the event store takes nothing more at present, and nothing was recorded; keep the entry and send the same command again later, "+
				"with the same Idempotency-Key", 60)
	case unreachable(err):
		return failure(http.StatusServiceUnavailable, "store_unreachable",
			"a store cannot be reached at present; send the same command again in a moment, with the same Idempotency-Key", 1)
	}
	return failure(http.StatusInternalServerError, "failure",
		"something broke on our side; tell the operators the trace id", 0)
}

func problemOfRefusal(r *refuse.Refusal) Problem {
	p := Problem{Type: typeOf(r.Code), Title: titleOf(r.Code), Status: http.StatusInternalServerError,
		Detail: r.Sentence, Code: r.Code, Field: r.Field, Remedy: r.Remedy}
	if r.Remedy != "" {
		p.Detail += "; " + r.Remedy
	}
	if s, ok := statusOfCode[r.Code]; ok {
		p.Status = s
	} else if s, ok := statuses[r.Kind]; ok {
		p.Status = s
	}
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		p.retryAfter = 1
	}
	return p
}

func failure(code int, name, detail string, retryAfter int) Problem {
	return Problem{Type: typeOf(name), Title: titleOf(name), Status: code, Detail: detail, Code: name, retryAfter: retryAfter, failed: true}
}

func typeOf(code string) string { return "urn:casebook:problem:" + code }

// titleOf turns a code into words: not_allowed into "Not allowed".
func titleOf(code string) string {
	if code == "" {
		return ""
	}
	words := strings.ReplaceAll(code, "_", " ")
	return strings.ToUpper(words[:1]) + words[1:]
}

// unreachable says that a store did not answer, rather than that it answered something wrong. The same request may
// succeed a moment later.
func unreachable(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) || mongo.IsNetworkError(err) || mongo.IsTimeout(err) {
		return true
	}
	if s, ok := status.FromError(err); ok && slices.Contains(unreachableCodes, s.Code()) {
		return true
	}
	var e *esdb.Error
	return errors.As(err, &e) && slices.Contains(unreachableErrors, e.Code())
}

// What the event store's protocol and its client call a store that does not answer.
var (
	unreachableCodes  = []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted}
	unreachableErrors = []esdb.ErrorCode{esdb.ErrorCodeConnectionClosed, esdb.ErrorUnavailable, esdb.ErrorCodeDeadlineExceeded,
		esdb.ErrorCodeNotLeader}
)

// write sends the problem. Who is gone receives nothing.
func (p Problem) write(w http.ResponseWriter) error {
	if p.Status == statusClientGone {
		return nil
	}
	header := w.Header()
	header.Set("Content-Type", problemType)
	if p.retryAfter > 0 && header.Get("Retry-After") == "" {
		header.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "Bearer")
	}
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	w.WriteHeader(p.Status)
	_, err = w.Write(body)
	return err
}

// problemStatus returns the status of a refusal, or 0 for a failure.
func problemStatus(err error) int {
	r, ok := refuse.As(err)
	if !ok {
		return 0
	}
	return problemOfRefusal(r).Status
}
