package commands_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/eventlog"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// hotStudy is a new study in which many patients enrol at once: all of them need the one stream of its places.
func hotStudy(t testing.TB, p process, patients int) (domain.StudyID, []domain.PatientID) {
	t.Helper()
	tr := newTrial(t, p)
	p.must(tr.manager, enrollment.SetEnrollmentTarget{InStudy: domain.ForStudy(tr.study), Caps: enrollment.Caps{Target: 1, Study: 100_000}})
	all := make([]domain.PatientID, patients)
	for i := range all {
		number := fmt.Sprint("H-", i)
		all[i] = domain.NewPatientID(tr.study, number)
		p.must(tr.crc, patient.ScreenPatient{AtSite: domain.ForSite(tr.study, "01"), ScreeningNumber: number, On: "2026-02-01"})
	}
	return tr.study, all
}

// faulty is an event store whose answers get lost and whose appends come late.
type faulty struct {
	rate float64
	// late are the appends that are on their way although their sender has given them up.
	late   sync.WaitGroup
	faults atomic.Int64
}

func (f *faulty) between(next commands.Append) commands.Append {
	return func(ctx context.Context, e eventlog.Encoded) (eventlog.Appended, error) {
		if rand.Float64() >= f.rate {
			return next(ctx, e)
		}
		f.faults.Add(1)
		lost := fmt.Errorf("injected: %w", eventlog.ErrUnknownOutcome)
		switch rand.IntN(4) {
		case 0: // it never arrives
			return eventlog.Appended{}, lost
		case 1: // the answer is lost
			_, _ = next(ctx, e)
			return eventlog.Appended{}, lost
		case 2: // it arrives after its sender has given it up
			e.Events = slices.Clone(e.Events)
			f.late.Go(func() {
				time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
				_, _ = next(context.WithoutCancel(ctx), e)
			})
			return eventlog.Appended{}, lost
		}
		return eventlog.Appended{}, &eventlog.ConflictError{Current: e.After.Revision}
	}
}

// place is what one patient does with the places of a study, one command after the other, at whichever process.
type place struct {
	study domain.StudyID
	id    domain.PatientID
	// manager may change the study's target, which is never refused.
	manager access.Principal
	at      []process
	// recorded are the ids of the commands that were accepted, with the events of the answers.
	recorded map[string][]string
}

// send sends a command until its outcome is known: sometimes to two processes at once, and sometimes without the patience to
// wait for it.
func (p *place) send(who access.Principal, key string, command any) (commands.Answer, error) {
	for {
		ctx, cancel := context.WithCancel(context.Background())
		answers, errs := make([]commands.Answer, 2), make([]error, 2)
		at := rand.Perm(len(p.at))
		var group sync.WaitGroup
		n := 1 + rand.IntN(5)/4
		if rand.IntN(10) == 0 {
			time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, cancel)
		}
		for i := range n {
			group.Go(func() { answers[i], errs[i] = p.at[at[i]].within(ctx, who, key, command) })
		}
		group.Wait()
		cancel()
		for i := range n {
			switch refusal, refused := refuse.As(errs[i]); {
			case errs[i] == nil, refused && refusal.Code != "conflict":
				if other := answers[1-i]; n == 2 && errs[1-i] == nil && !slices.EqualFunc(answers[i].Events, other.Events,
					func(a, b commands.AnsweredEvent) bool { return a.ID == b.ID }) {
					return answers[i], fmt.Errorf("the other answer to the same key is %+v", other)
				}
				return answers[i], errs[i]
			}
		}
	}
}

func (p process) within(ctx context.Context, who access.Principal, key string, command any) (commands.Answer, error) {
	body, name := encoded(p.t, command)
	return p.Do(ctx, commands.Request{Name: name, Body: body, Key: key, Principal: who})
}

// do reserves, reserves again, releases and releases again, and sets the target. The second records nothing, and the fourth is
// refused.
func (p *place) do(round int) error {
	key := func(what string) string { return fmt.Sprintf("%s/%d/%s", p.id, round, what) }
	reserve := enrollment.ReservePlace{InStudy: domain.ForStudy(p.study), Site: "01", OfPatient: domain.ForPatient(p.id)}
	release := enrollment.ReleasePlace{InStudy: domain.ForStudy(p.study), OfPatient: domain.ForPatient(p.id), Reasoned: domain.Because("r")}
	target := enrollment.SetEnrollmentTarget{InStudy: domain.ForStudy(p.study), Caps: enrollment.Caps{Target: 1, Study: 100_000}}
	process := access.Process("enrollment")
	for _, c := range []struct {
		who     access.Principal
		key     string
		command any
		events  int
		refusal string
	}{
		{process, key("reserve"), reserve, 1, ""}, {process, key("again"), reserve, 0, ""},
		{process, key("release"), release, 1, ""}, {process, key("over"), release, 0, "place_not_held"},
		{p.manager, key("target"), target, 1, ""},
	} {
		answer, err := p.send(c.who, c.key, c.command)
		if code(err) != c.refusal || c.refusal == "" && err != nil || len(answer.Events) != c.events {
			return fmt.Errorf("%s: got %+v and %w, want %d events and the refusal %q", c.key, answer, err, c.events, c.refusal)
		}
		for _, e := range answer.Events {
			p.recorded[answer.CommandID] = append(p.recorded[answer.CommandID], e.ID)
		}
	}
	return nil
}

// TestOneStreamTakesCommandsOfTwoProcessesWhileAppendsFail has many patients reserve and release places in one stream at two
// processes, while answers of the event store get lost, appends come late, others are refused, and callers lose their patience. Each
// patient knows what each command has to lead to. The log then has to be a history of all accepted commands, each once.
func TestOneStreamTakesCommandsOfTwoProcessesWhileAppendsFail(t *testing.T) {
	const patients, rounds = 24, 12
	one := run(t)
	id, who := hotStudy(t, one, patients)
	manager := access.Principal{User: "manager", Grants: []user.Grant{{Role: user.DataManager, Study: id}}}
	var faults faulty
	faults.rate = 0.08
	at := []process{interrupted(t, &faults), interrupted(t, &faults)}
	places := make([]*place, patients)
	var group errgroup.Group
	for i := range places {
		p := &place{study: id, id: who[i], manager: manager, at: at, recorded: map[string][]string{}}
		places[i] = p
		group.Go(func() error {
			for round := range rounds {
				if err := p.do(round); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	faults.late.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if faults.faults.Load() < 10 {
		t.Errorf("only %d faults were injected", faults.faults.Load())
	}
	recorded, numbers, most := soundHistory(t, one.log, enrollment.Decider.Stream(string(id))), 1, 0 // the trial's own patient has number 1
	for _, p := range places {
		for command, events := range p.recorded {
			if !slices.Equal(recorded[command].events, events) {
				t.Errorf("command %s was answered with %v, and the log has %v", command, events, recorded[command].events)
			}
		}
		if len(p.recorded) != 3*rounds {
			t.Errorf("patient %s has %d accepted commands", p.id, len(p.recorded))
		}
		numbers += rounds
	}
	for _, c := range recorded {
		most = max(most, c.number)
	}
	if want := 3*rounds*patients + 3; len(recorded) != want { // and those that opened it, set its target, and reserved the trial's own place
		t.Errorf("the log has %d commands, want %d", len(recorded), want)
	}
	if most != numbers {
		t.Errorf("the last place has the number %d, want %d", most, numbers)
	}
}

// interrupted is one more process, whose appends fail.
func interrupted(t *testing.T, f *faulty) process {
	t.Helper()
	return runHandler(t, eventStoreURL, nil, func(h *commands.Handler) { h.InterceptAppends(f.between) })
}

// history is what the log holds of one command.
type history struct {
	events []string
	number int
}

// soundHistory reads a stream of places, which has to be sound, and in which every event has to be possible after those before it.
func soundHistory(t *testing.T, log *eventlog.Log, stream string) map[string]history {
	t.Helper()
	all, tail, state := map[string]history{}, eventlog.EmptyTail, enrollment.Decider.Initial
	for r, err := range log.ReadStream(t.Context(), stream, 0) {
		if err != nil {
			t.Fatal(err)
		}
		next, damage := log.Registry().CheckNext(tail, r)
		if damage != nil {
			t.Fatalf("the stream is damaged at %d: %s", r.Revision, damage.Reason)
		}
		tail = next
		h := all[r.Metadata.CommandID]
		h.events = append(h.events, r.ID.String())
		switch e := r.Event.(type) {
		case enrollment.PlaceReserved:
			if _, held := state.PlaceOf(e.Patient); held || e.Number != state.LastNumber+1 {
				t.Errorf("at %d, %+v follows number %d; held before: %v", r.Revision, e, state.LastNumber, held)
			}
			h.number = e.Number
		case enrollment.PlaceReleased:
			if _, held := state.PlaceOf(e.Patient); !held {
				t.Errorf("at %d, a place is released that %s does not hold", r.Revision, e.Patient)
			}
		}
		all[r.Metadata.CommandID] = h
		state = enrollment.Decider.Evolve(state, r.Event.(enrollment.Event))
	}
	return all
}

// TestCommandsOnOneStreamShareAppends holds back an append of a stream: the commands that come meanwhile have one append together.
func TestCommandsOnOneStreamShareAppends(t *testing.T) {
	const n = 40
	one := run(t)
	id, who := hotStudy(t, one, n)
	var appends atomic.Int64
	begun, goOn := make(chan struct{}), make(chan struct{})
	p := runHandler(t, eventStoreURL, nil, func(h *commands.Handler) {
		h.InterceptAppends(func(next commands.Append) commands.Append {
			return func(ctx context.Context, e eventlog.Encoded) (eventlog.Appended, error) {
				if appends.Add(1) == 1 {
					close(begun)
					<-goOn
				}
				return next(ctx, e)
			}
		})
	})
	answers := make([]commands.Answer, n)
	reserve := func(i int) error {
		var err error
		answers[i], err = p.as(access.Process("enrollment"), fmt.Sprint(id, "/", i),
			enrollment.ReservePlace{InStudy: domain.ForStudy(id), Site: "01", OfPatient: domain.ForPatient(who[i])})
		return err
	}
	var group errgroup.Group
	group.Go(func() error { return reserve(0) })
	select {
	case <-begun:
	case <-time.After(time.Minute):
		t.Fatal("nothing is appended")
	}
	for i := 1; i < n; i++ {
		group.Go(func() error { return reserve(i) })
	}
	for begun := time.Now(); p.Waiting(enrollment.Decider.Stream(string(id))) < n-1; time.Sleep(time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("%d commands wait", p.Waiting(enrollment.Decider.Stream(string(id))))
		}
	}
	close(goOn)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if appends.Load() != 2 {
		t.Errorf("%d commands took %d appends, want 2", n, appends.Load())
	}
	recorded := soundHistory(t, one.log, enrollment.Decider.Stream(string(id)))
	for _, a := range answers {
		if h := recorded[a.CommandID]; len(h.events) != 1 || h.events[0] != a.Events[0].ID {
			t.Errorf("%+v is recorded as %+v", a, h)
		}
	}
}

// TestAChainOfRevisionsIsNotSafe shows why a stream has one append under way: an append that expects the revision which another one
// leads to is stored behind an event of somebody else.
func TestAChainOfRevisionsIsNotSafe(t *testing.T) {
	p := run(t)
	id := domain.StudyID(fmt.Sprintf("C%d", time.Now().UnixNano()%1_000_000_000))
	stream := study.Decider.Stream(string(id))
	meta := eventlog.Metadata{Actor: "test", Study: id, RecordedAt: now}
	event := func(title string) study.Created { return study.Created{Study: id, Title: title} }
	first, err := p.log.Encode(stream, eventlog.EmptyTail, uuid.New(), meta, event("first"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.log.Encode(stream, first.Tail, uuid.New(), meta, event("second"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.log.Append(t.Context(), stream, eventlog.EmptyTail, uuid.New(), meta, event("somebody else's")); err != nil {
		t.Fatal(err)
	}
	if _, err := p.log.AppendEncoded(t.Context(), first); !errors.Is(err, eventlog.ErrConflict) {
		t.Fatalf("the first append: %v", err)
	}
	if _, err := p.log.AppendEncoded(t.Context(), second); err != nil {
		t.Fatalf("the second append is refused, so a chain would be safe: %v", err)
	}
	if damages, err := p.log.Damages(t.Context(), stream); err != nil || len(damages) != 1 {
		t.Errorf("the stream has the damages %v, %v", damages, err)
	}
}

// BenchmarkOneStream reserves places in one stream, by as many callers at once.
func BenchmarkOneStream(b *testing.B) {
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			p := run(b)
			id, who := hotStudy(b, p, b.N)
			var next atomic.Int64
			var group errgroup.Group
			b.ResetTimer()
			for range callers {
				group.Go(func() error {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						if _, err := p.as(access.Process("enrollment"), "",
							enrollment.ReservePlace{InStudy: domain.ForStudy(id), Site: "01",
								OfPatient: domain.ForPatient(who[i-1])}); err != nil {
							return err
						}
					}
					return nil
				})
			}
			if err := group.Wait(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
		})
	}
}
