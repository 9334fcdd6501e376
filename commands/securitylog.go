package commands

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/security"

	"golang.org/x/time/rate"
)

const (
	refusalQueue   = 1024
	refusalsAtOnce = 100
	// strangersPerSecond is how many refusals of unproven callers are recorded one by one; the others are counted.
	strangersPerSecond = 10
	refusalWait        = 2 * time.Second
	refusalLastWords   = 5 * time.Second
)

// securityLog queues refusals, so that a flood of them costs memory and log within bounds.
type securityLog struct {
	queue   chan queuedRefusal
	dropped *atomic.Int64
	// strangers bounds how fast callers without a proven identity can make the log grow.
	strangers *rate.Limiter
}

type queuedRefusal struct {
	event    security.AccessRefused
	recorded chan struct{}
}

func newSecurityLog() securityLog {
	return securityLog{queue: make(chan queuedRefusal, refusalQueue), dropped: new(atomic.Int64),
		strangers: rate.NewLimiter(strangersPerSecond, 10*strangersPerSecond)}
}

// RecordRefusal puts a refusal of access into the security log. For a proven user it waits, for up to two seconds,
// until it is durable; others are recorded soon after. What comes faster than the log takes is counted, and the count
// recorded.
func (h *Handler) RecordRefusal(ctx context.Context, r access.Refused) {
	event := security.AccessRefused{Actor: r.User, Action: r.Action, Study: r.Scope.Study, Site: r.Scope.Site,
		Patient: r.Scope.Patient, Address: r.Address, Code: "failure", Reason: r.Why.Error()}
	if refusal, ok := refuse.As(r.Why); ok {
		event.Code, event.Reason = refusal.Code, refusal.Sentence
	}
	// The program's log is read by people who may not know patients: it names none.
	h.logger.Warn("access refused", "user", r.User, "action", r.Action, "study", r.Scope.Study, "code", event.Code, "traceId", r.TraceID)
	if r.User == "" && !h.security.strangers.Allow() {
		h.security.dropped.Add(1)
		return
	}
	q := queuedRefusal{event: event, recorded: make(chan struct{})}
	select {
	case h.security.queue <- q:
	default:
		h.security.dropped.Add(1)
		return
	}
	if r.User == "" {
		return
	}
	wait, cancel := context.WithTimeout(ctx, refusalWait)
	defer cancel()
	select {
	case <-q.recorded:
	case <-wait.Done():
	}
}

func (h *Handler) recordRefusals(ctx context.Context) {
	for {
		select {
		case q := <-h.security.queue:
			h.recordWith(context.WithoutCancel(ctx), q)
		case <-ctx.Done():
			for {
				select {
				case q := <-h.security.queue:
					h.recordWith(context.WithoutCancel(ctx), q)
				default:
					return
				}
			}
		}
	}
}

// recordWith records a refusal together with those that wait behind it.
func (h *Handler) recordWith(ctx context.Context, first queuedRefusal) {
	ctx, cancel := context.WithTimeout(ctx, refusalLastWords)
	defer cancel()
	waiting := []queuedRefusal{first}
	for len(waiting) < refusalsAtOnce {
		select {
		case q := <-h.security.queue:
			waiting = append(waiting, q)
			continue
		default:
		}
		break
	}
	record := security.RecordAccessRefused{Day: domain.DateOf(h.now().UTC()), Dropped: int(h.security.dropped.Swap(0))}
	for _, q := range waiting {
		record.Refusals = append(record.Refusals, q.event)
	}
	body, err := json.Marshal(record)
	if err == nil {
		_, err = h.Do(ctx, Request{Name: "RecordAccessRefused", Body: body, Principal: access.Process("security")})
	}
	if err != nil {
		h.security.dropped.Add(int64(len(waiting) + record.Dropped))
		h.logger.Error("refusals of access could not be recorded", "count", len(waiting), "error", err)
		return
	}
	for _, q := range waiting {
		close(q.recorded)
	}
}
