package commands

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
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
	// A user's refusal is recorded in full once in repeatWindow for each action and code, and the others are counted.
	// maxRepeated bounds how many such kinds of refusals are told apart at a time.
	repeatWindow = time.Minute
	maxRepeated  = 4096
	// flushEvery is how often counts are looked at whose minute may be over.
	flushEvery = 5 * time.Second
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

	mu *sync.Mutex
	// repeated counts the refusals that repeat one that was recorded in full.
	repeated map[refusalKind]*repeatedRefusals
}

// refusalKind is what repeated refusals have in common. Of each kind, only the first in a minute is recorded in full.
type refusalKind struct {
	actor        domain.UserID
	action, code string
}

// repeatedRefusals are the refusals of a kind since the one that was recorded in full.
type repeatedRefusals struct {
	// since is when the minute began.
	since time.Time
	// first and last are when the first and the last of the counted refusals happened.
	first, last time.Time
	count       int
}

// add counts refusals that happened between two moments.
func (r *repeatedRefusals) add(count int, first, last time.Time) {
	if r.count == 0 || first.Before(r.first) {
		r.first = first
	}
	if r.count == 0 || last.After(r.last) {
		r.last = last
	}
	r.count += count
}

type queuedRefusal struct {
	event    security.AccessRefused
	at       time.Time
	recorded chan struct{}
}

func (q queuedRefusal) kind() refusalKind {
	return refusalKind{q.event.Actor, q.event.Action, q.event.Code}
}

func newSecurityLog() securityLog {
	return securityLog{queue: make(chan queuedRefusal, maxQueuedRefusals), dropped: new(atomic.Int64),
		anonymous: rate.NewLimiter(anonymousPerSecond, 10*anonymousPerSecond),
		mu:        new(sync.Mutex), repeated: map[refusalKind]*repeatedRefusals{}}
}

// isRepeated says that a refusal of this kind was recorded in full within the last minute, and counts this one, which happened
// at a moment.
func (l securityLog) isRepeated(kind refusalKind, now, at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, found := l.repeated[kind]; found {
		if r.count == 0 && now.Sub(r.since) >= repeatWindow {
			r.since = now
			return false
		}
		r.add(1, at, at) // where the minute is over, the next flush records the count
		return true
	}
	if len(l.repeated) >= maxRepeated {
		l.dropped.Add(1)
		return true
	}
	l.repeated[kind] = &repeatedRefusals{since: now}
	return false
}

// count counts refusals of a kind that could not be recorded now, so that they are recorded later, without their details.
func (l securityLog) count(kind refusalKind, count int, first, last time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, found := l.repeated[kind]
	switch {
	case found:
	case kind.actor == "" || len(l.repeated) >= maxRepeated:
		l.dropped.Add(int64(count))
		return
	default:
		r = &repeatedRefusals{since: time.Now()}
		l.repeated[kind] = r
	}
	r.add(count, first, last)
}

// takeRepeated removes the kinds whose minute is over, or all of them, and returns those that have a count.
func (l securityLog) takeRepeated(now time.Time, all bool) []security.RefusalsRepeated {
	l.mu.Lock()
	defer l.mu.Unlock()
	var counted []security.RefusalsRepeated
	for kind, r := range l.repeated {
		if len(counted) == refusalsPerCommand && !all || !all && now.Sub(r.since) < repeatWindow {
			continue
		}
		if r.count > 0 {
			counted = append(counted, security.RefusalsRepeated{Actor: kind.actor, Action: kind.action, Code: kind.code, Count: r.count,
				First: r.first, Last: r.last})
		}
		delete(l.repeated, kind)
	}
	return counted
}

// RecordRefusal puts a refusal of access into the security log. If the user is proven, it waits up to two seconds until
// the refusal is durable; other refusals are recorded soon after it returns. Refusals that come faster than the log can
// take them are only counted, and the count is recorded; so are those that repeat one of the last minute. The counts of proven
// users say whose they are.
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
	q := queuedRefusal{event: event, at: h.now().UTC(), recorded: make(chan struct{})}
	if r.User != "" && h.security.isRepeated(q.kind(), time.Now(), q.at) {
		return
	}
	select {
	case h.security.queue <- q:
	default:
		h.security.count(q.kind(), 1, q.at, q.at)
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

// recordRefusals records queued and counted refusals until ctx ends, and then those that are still queued.
func (h *Handler) recordRefusals(ctx context.Context) {
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	for {
		select {
		case q := <-h.security.queue:
			h.recordBatch(context.WithoutCancel(ctx), q)
		case <-flush.C:
			h.recordRepeated(context.WithoutCancel(ctx), false)
		case <-ctx.Done():
			for {
				select {
				case q := <-h.security.queue:
					h.recordBatch(context.WithoutCancel(ctx), q)
				default:
					h.recordRepeated(context.WithoutCancel(ctx), true)
					return
				}
			}
		}
	}
}

// recordRepeated records the counts of repeated refusals whose minute is over, or all of them, and of dropped ones.
func (h *Handler) recordRepeated(ctx context.Context, all bool) {
	repeated := h.security.takeRepeated(time.Now(), all)
	dropped := int(h.security.dropped.Swap(0))
	if len(repeated) == 0 && dropped > 0 {
		h.record(ctx, security.RecordAccessRefused{Dropped: dropped})
	}
	for chunk := range slices.Chunk(repeated, refusalsPerCommand) {
		recorded := h.record(ctx, security.RecordAccessRefused{Repeated: chunk, Dropped: dropped})
		dropped = 0
		if recorded {
			continue
		}
		for _, r := range chunk {
			h.security.count(refusalKind{r.Actor, r.Action, r.Code}, r.Count, r.First, r.Last)
		}
	}
}

// recordBatch records a refusal together with those that wait behind it in the queue.
func (h *Handler) recordBatch(ctx context.Context, first queuedRefusal) {
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
	record := security.RecordAccessRefused{Dropped: int(h.security.dropped.Swap(0))}
	for _, q := range batch {
		record.Refusals = append(record.Refusals, q.event)
	}
	recorded := h.record(ctx, record)
	for _, q := range batch {
		if recorded {
			close(q.recorded)
		} else {
			h.security.count(q.kind(), 1, q.at, q.at)
		}
	}
}

// record records refusals in the log of the day. Where it cannot, it counts the dropped ones again; the caller counts the others.
func (h *Handler) record(ctx context.Context, record security.RecordAccessRefused) (recorded bool) {
	record.Day = domain.DateOf(h.now().UTC())
	if record.Refusals == nil {
		record.Refusals = []security.AccessRefused{}
	}
	err := h.recordSecurity(ctx, "RecordAccessRefused", record)
	if err != nil {
		h.security.dropped.Add(int64(record.Dropped))
		h.logger.Error("refusals of access could not be recorded, and are counted", "refusals", len(record.Refusals),
			"counted", len(record.Repeated), "dropped", record.Dropped, "error", err)
	}
	return err == nil
}

// recordSecurity sends a command of the security log, and waits for it for a limited time.
func (h *Handler) recordSecurity(ctx context.Context, name string, command any) error {
	body, err := json.Marshal(command)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	_, err = h.Do(ctx, Request{Name: name, Body: body, Principal: access.Process("security")})
	return err
}
