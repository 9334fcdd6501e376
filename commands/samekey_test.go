package commands_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/eventlog"

	"github.com/google/go-cmp/cmp"
)

// correctable is a trial with a diary, seen by two processes, and a correction of it.
func correctable(t *testing.T) (one, other trial, correct func(worst int) diary.AskDiaryCorrection) {
	t.Helper()
	one = newTrial(t, run(t))
	one.must(one.self, one.entry(4, 5))
	window := ""
	for _, r := range one.events() {
		if e, ok := r.Event.(diary.Submitted); ok {
			window = e.Window.ID
		}
	}
	other = one
	other.process = run(t)
	return one, other, func(worst int) diary.AskDiaryCorrection {
		return diary.AskDiaryCorrection{OfPatient: domain.ForPatient(one.patient), Instrument: painDiary, Window: window,
			Answers: diary.Answers{"worst": worst}, Reasoned: domain.Because(fmt.Sprintf("misread %d", worst))}
	}
}

// atOnce calls both functions at the same moment, and waits for them.
func atOnce(calls ...func()) {
	begin := make(chan struct{})
	var group sync.WaitGroup
	for _, call := range calls {
		group.Go(func() {
			<-begin
			call()
		})
	}
	close(begin)
	group.Wait()
}

// TestTheSameKeyAtTwoProcessesGetsOneAnswer sends commands with their keys to two processes at once, while others change the same
// stream.
func TestTheSameKeyAtTwoProcessesGetsOneAnswer(t *testing.T) {
	one, other, correct := correctable(t)
	for round := range 100 {
		key := fmt.Sprintf("%s/%d", one.study, round)
		var first, second commands.Answer
		var err1, err2 error
		atOnce(
			func() { first, err1 = one.as(one.crc, key, correct(round%4+6)) },
			func() { second, err2 = other.as(other.crc, key, correct(round%4+6)) },
			func() { _, _ = one.as(one.self, "", one.entry(5+round%20, 5)) },
			func() { _, _ = other.as(other.self, "", other.entry(5+(round+7)%20, 5)) },
		)
		if err1 != nil || err2 != nil {
			t.Fatalf("round %d: %v and %v", round, err1, err2)
		}
		if diff := cmp.Diff(first, second); diff != "" || len(first.Events) == 0 {
			t.Fatalf("round %d: the answers are %+v and, different,\n%s", round, first, diff)
		}
	}
}

// TestARefusalLooksForItsOwnCommand has another process record the same command between the state and the facts of a decision, so
// that the facts show what the command itself has done. The decision before that one met an event of a third command.
func TestARefusalLooksForItsOwnCommand(t *testing.T) {
	one, _, correct := correctable(t)
	key := string(one.study) + "/key"
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: eventStoreURL, Registry: contexts.Registry()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	var first commands.Answer
	attempt := 0
	slow := commands.HandleWithFacts(diary.Decider,
		func(ctx context.Context, reader commands.Reader, c diary.AskDiaryCorrection) (entry *diary.Entry, err error) {
			attempt++
			events, err := commands.ReadEvents(ctx, reader, diary.Decider, string(c.Patient))
			switch attempt {
			case 1:
				one.must(one.self, one.entry(5, 5))
			case 2:
				if first, err = one.as(one.crc, key, correct(7)); err == nil {
					events, err = commands.ReadEvents(ctx, reader, diary.Decider, string(c.Patient))
				}
			}
			return diary.EntryOf(events, c.Instrument, c.Window), err
		}, diary.AskCorrection).AllowedTo(access.SiteStaff)
	h := commands.NewHandler(commands.Options{Log: log, Commands: []commands.Command{slow}, Now: func() time.Time { return now }})
	body, err := json.Marshal(correct(7))
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.Do(t.Context(), commands.Request{Name: "AskDiaryCorrection", Body: body, Key: key, Principal: one.crc})
	if err != nil || attempt != 2 {
		t.Fatalf("after %d attempts: %v", attempt, err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the answers differ:\n%s", diff)
	}
}

func corrections(tr trial) (n int) {
	for _, r := range tr.events() {
		if _, is := r.Event.(diary.CorrectionAsked); is {
			n++
		}
	}
	return n
}

// TestAKeyIsForOneCommandOnAStream sends two bodies with one key to two processes at once.
func TestAKeyIsForOneCommandOnAStream(t *testing.T) {
	one, other, correct := correctable(t)
	for round := range 100 {
		key, before := fmt.Sprintf("%s/two/%d", one.study, round), corrections(one)
		var err1, err2 error
		atOnce(
			func() { _, err1 = one.as(one.crc, key, correct(round%4+6)) },
			func() { _, err2 = other.as(other.crc, key, correct((round+1)%4+6)) },
		)
		codes := []string{code(err1), code(err2)}
		accepted, refused := 0, 0
		for _, c := range codes {
			switch c {
			case "":
				accepted++
			case "idempotency_key_reused", "nothing_changed":
				refused++
			}
		}
		if accepted != 1 || refused != 1 || corrections(one) != before+1 {
			t.Fatalf("round %d: the codes are %q, and %d corrections were recorded", round, codes, corrections(one)-before)
		}
	}
}

// TestAKeyIsForOneStream uses a key for a second stream: at the process that has used it, while it does, and at another one.
func TestAKeyIsForOneStream(t *testing.T) {
	one := newTrial(t, run(t))
	other := one
	other.process = run(t)
	screening := func(n int) patient.ScreenPatient {
		return patient.ScreenPatient{AtSite: domain.ForSite(one.study, "01"), ScreeningNumber: fmt.Sprint("S-", n), On: "2026-02-01"}
	}
	for round := range 50 {
		key, before := fmt.Sprintf("%s/streams/%d", one.study, round), 1000+3*round
		answers, errs := make([]commands.Answer, 3), make([]error, 3)
		atOnce(
			func() { answers[0], errs[0] = one.as(one.crc, key, screening(before)) },
			func() { answers[1], errs[1] = one.as(one.crc, key, screening(before+1)) },
		)
		reader := other.ReaderAfter(max(answers[0].Position, answers[1].Position))
		if _, err := commands.ReadNewest(t.Context(), reader, patient.Decider, string(one.patient)); err != nil { // waits for the events
			t.Fatal(err)
		}
		answers[2], errs[2] = other.as(one.crc, key, screening(before+2))
		accepted := 0
		for _, err := range errs {
			if err == nil {
				accepted++
			} else if code(err) != "idempotency_key_reused" {
				t.Fatal(err)
			}
		}
		if accepted != 1 {
			t.Fatalf("round %d: %v", round, errs)
		}
	}
}
