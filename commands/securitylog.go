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
	// maxQueuedRefusals bounds the queue; refusalsPerCommand bounds how many refusals one command records.
	maxQueuedRefusals  = 1024
	refusalsPerCommand = 100
	// anonymousPerSecond is how many refusals a second of callers without a proven identity are recorded singly; the
	// others are only counted.
	anonymousPerSecond = 10
	// maxRefusalWait bounds how long a caller waits for its refusal to be recorded; recordTimeout bounds the recording.
	maxRefusalWait = 2 * time.Second
	recordTimeout  = 5 * time.Second
)

// securityLog queues refusals, so that even a flood of them takes limited memory and limited space in the log.
type securityLog struct {
	queue chan queuedRefusal
	// dropped counts the refusals that are not recorded singly.
	dropped *atomic.Int64
	// anonymous limits how fast callers without a proven identity can make the log grow.
	anonymous *rate.Limiter
}

type queuedRefusal struct {
	event    security.AccessRefused
	recorded chan struct{}
}

func newSecurityLog() securityLog {
	return securityLog{queue: make(chan queuedRefusal, maxQueuedRefusals), dropped: new(atomic.Int64),
		anonymous: rate.NewLimiter(anonymousPerSecond, 10*anonymousPerSecond)}
}

// RecordRefusal puts a refusal of access into the security log. If the user is proven, it waits up to two seconds until
// the refusal is durable; other refusals are recorded soon after it returns. Refusals that come faster than the log can
// take them are only counted, and the count is recorded.
func (h *Handler) RecordRefusal(ctx context.Context, r access.Refused) {
	event := security.AccessRefused{Actor: r.User, Action: r.Action, Study: r.Scope.Study, Site: r.Scope.Site,
		Patient: r.Scope.Patient, Address: r.Address, Code: "failure", Reason: r.Why.Error()}
	if refusal, ok := refuse.As(r.Why); ok {
		event.Code, event.Reason = refusal.Code, refusal.Sentence
	}
	// People who may not know patients read the program's log, so it does not name the patient.
	h.logger.Warn("access refused", "user", r.User, "action", r.Action, "study", r.Scope.Study, "code", event.Code, "traceId", r.TraceID)
	if r.User == "" && !h.security.anonymous.Allow() {
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
	wait, cancel := context.WithTimeout(ctx, maxRefusalWait)
	defer cancel()
	select {
	case <-q.recorded:
	case <-wait.Done():
	}
}

// recordRefusals records queued refusals until ctx ends, and then those that are still queued.
func (h *Handler) recordRefusals(ctx context.Context) {
	for {
		select {
		case q := <-h.security.queue:
			h.recordBatch(context.WithoutCancel(ctx), q)
		case <-ctx.Done():
			for {
				select {
				case q := <-h.security.queue:
					h.recordBatch(context.WithoutCancel(ctx), q)
				default:
					return
				}
			}
		}
	}
}

// recordBatch records a refusal together with those that wait behind it in the queue.
func (h *Handler) recordBatch(ctx context.Context, first queuedRefusal) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	batch := []queuedRefusal{first}
	for len(batch) < refusalsPerCommand {
		select {
		case q := <-h.security.queue:
			batch = append(batch, q)
			continue
		default:
		}
		break
	}
	record := security.RecordAccessRefused{Day: domain.DateOf(h.now().UTC()), Dropped: int(h.security.dropped.Swap(0))}
	for _, q := range batch {
		record.Refusals = append(record.Refusals, q.event)
	}
	body, err := json.Marshal(record)
	if err == nil {
		_, err = h.Do(ctx, Request{Name: "RecordAccessRefused", Body: body, Principal: access.Process("security")})
	}
	if err != nil {
		h.security.dropped.Add(int64(len(batch) + record.Dropped))
		h.logger.Error("refusals of access could not be recorded", "count", len(batch), "error", err)
		return
	}
	for _, q := range batch {
		close(q.recorded)
	}
}
