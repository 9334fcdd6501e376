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
	// A user's refusal is recorded in full once in repeatWindow for each action, code, study and kind of subject, and the others are
	// counted.
	// maxKinds bounds how many such kinds of refusals are told apart at a time, and maxKindsOfUser how many of one user. Whoever has
	// more of them takes no room from others: the further ones are counted together, as the user's.
	repeatWindow   = time.Minute
	maxKinds       = 50_000
	maxKindsOfUser = 500
	// maxSubjects bounds how many subjects of counted refusals are told apart at a time, of all users together.
	maxSubjects = 200_000
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
	// kinds is how many of them each user has.
	kinds map[domain.UserID]int
	// subjects is how many subjects all of them tell apart.
	subjects *int
}

// refusalKind is what repeated refusals have in common. Of each kind, only the first in a minute is recorded in full.
type refusalKind struct {
	actor        domain.UserID
	action, code string
	study        domain.StudyID
	about        security.SubjectKind
}

// repeatedRefusals are the refusals of a kind since the one that was recorded in full.
type repeatedRefusals struct {
	// since is when the minute began.
	since time.Time
	// first and last are when the first and the last of the counted refusals happened.
	first, last time.Time
	count       int
	// subjects are what the counted refusals were about, and named the first of them. more says that there were others.
	subjects map[string]struct{}
	named    []string
	more     bool
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

// addSubject notes what a counted refusal was about. It is called with l.mu held.
func (l securityLog) addSubject(r *repeatedRefusals, subject string) {
	if subject == "" {
		return
	}
	if _, known := r.subjects[subject]; known {
		return
	}
	if *l.subjects >= maxSubjects {
		r.more = true
		return
	}
	if r.subjects == nil {
		r.subjects = map[string]struct{}{}
	}
	r.subjects[subject] = struct{}{}
	*l.subjects++
	if len(r.named) < security.MaxNamed {
		r.named = append(r.named, subject)
	}
}

// counted is a kind of refusals with those that were counted.
type counted struct {
	kind refusalKind
	*repeatedRefusals
}

func (c counted) event() security.RefusalsRepeated {
	return security.RefusalsRepeated{Actor: c.kind.actor, Action: c.kind.action, Code: c.kind.code, Count: c.count, First: c.first,
		Last: c.last, Study: c.kind.study, Kind: c.kind.about, Subjects: len(c.subjects), AtLeast: c.more, Named: c.named}
}

type queuedRefusal struct {
	event    security.AccessRefused
	at       time.Time
	recorded chan struct{}
}

// kind returns the kind of the refusal, and what it is about.
func (q queuedRefusal) kind() (kind refusalKind, subject string) {
	about, subject := security.SubjectOf(q.event.Scope())
	return refusalKind{q.event.Actor, q.event.Action, q.event.Code, q.event.Study, about}, subject
}

func newSecurityLog() securityLog {
	return securityLog{queue: make(chan queuedRefusal, maxQueuedRefusals), dropped: new(atomic.Int64),
		anonymous: rate.NewLimiter(anonymousPerSecond, 10*anonymousPerSecond),
		mu:        new(sync.Mutex), repeated: map[refusalKind]*repeatedRefusals{}, kinds: map[domain.UserID]int{}, subjects: new(int)}
}

// isRepeated says that a refusal of this kind was recorded in full within the last minute, and counts this one.
func (l securityLog) isRepeated(q queuedRefusal, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	kind, subject := q.kind()
	if r, found := l.repeated[kind]; found {
		if r.count == 0 && now.Sub(r.since) >= repeatWindow {
			r.since = now
			return false
		}
		r.add(1, q.at, q.at) // where the minute is over, the next flush records the count
		l.addSubject(r, subject)
		return true
	}
	r, single := l.begin(kind, now)
	switch {
	case r == nil:
		l.dropped.Add(1)
	case !single:
		r.add(1, q.at, q.at)
	}
	return !single
}

// begin begins to count a kind of refusals, and returns it; nil if no more kinds are told apart. single is false for further kinds of a
// user who has too many of them, which are counted together. It is called with l.mu held.
func (l securityLog) begin(kind refusalKind, now time.Time) (r *repeatedRefusals, single bool) {
	single = true
	if kind.actor != "" && l.kinds[kind.actor] >= maxKindsOfUser {
		kind, single = refusalKind{actor: kind.actor, action: security.Several, code: security.Several}, false
		if r := l.repeated[kind]; r != nil {
			return r, false
		}
	}
	if len(l.repeated) >= maxKinds {
		return nil, false
	}
	r = &repeatedRefusals{since: now}
	l.repeated[kind] = r
	l.kinds[kind.actor]++
	return r, single
}

// count counts a refusal that could not be recorded now, so that it is recorded later, without its details.
func (l securityLog) count(q queuedRefusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kind, subject := q.kind()
	if r := l.ofKind(kind); r != nil {
		r.add(1, q.at, q.at)
		l.addSubject(r, subject)
		return
	}
	l.dropped.Add(1)
}

// countAgain counts refusals again that were taken out and could not be recorded.
func (l securityLog) countAgain(c counted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.ofKind(c.kind)
	if r == nil {
		l.dropped.Add(int64(c.count))
		return
	}
	r.add(c.count, c.first, c.last)
	r.more = r.more || c.more
	for _, subject := range c.named {
		l.addSubject(r, subject) // these first, so that they are named
	}
	for subject := range c.subjects {
		l.addSubject(r, subject)
	}
}

// ofKind returns the counted refusals of a kind; nil if no more kinds are told apart. It is called with l.mu held.
func (l securityLog) ofKind(kind refusalKind) *repeatedRefusals {
	r, found := l.repeated[kind]
	if !found && kind.actor != "" {
		r, _ = l.begin(kind, time.Now())
	}
	return r
}

// takeRepeated removes the kinds whose minute is over, or all of them, and returns those that have a count.
func (l securityLog) takeRepeated(now time.Time, all bool) []counted {
	l.mu.Lock()
	defer l.mu.Unlock()
	var taken []counted
	for kind, r := range l.repeated {
		if len(taken) == refusalsPerCommand && !all || !all && now.Sub(r.since) < repeatWindow {
			continue
		}
		if r.count > 0 {
			taken = append(taken, counted{kind, r})
		}
		*l.subjects -= len(r.subjects)
		delete(l.repeated, kind)
		if l.kinds[kind.actor]--; l.kinds[kind.actor] == 0 {
			delete(l.kinds, kind.actor)
		}
	}
	return taken
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
	if r.User != "" && h.security.isRepeated(q, time.Now()) {
		return
	}
	select {
	case h.security.queue <- q:
	default:
		h.security.count(q)
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
		events := make([]security.RefusalsRepeated, len(chunk))
		for i, c := range chunk {
			events[i] = c.event()
		}
		recorded := h.record(ctx, security.RecordAccessRefused{Repeated: events, Dropped: dropped})
		dropped = 0
		if recorded {
			continue
		}
		for _, c := range chunk {
			h.security.countAgain(c)
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
			h.security.count(q)
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
