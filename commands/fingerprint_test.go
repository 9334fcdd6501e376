package commands_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/eventlog"

	"github.com/google/uuid"
)

func blindingKeys(t *testing.T) *eventlog.BlindingKeys {
	t.Helper()
	keys, err := eventlog.NewBlindingKeys(bytes.Repeat([]byte{7}, eventlog.BlindingKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// send sends a command as JSON that the sender has written.
func (p process) send(name, key, body string, who access.Principal) (commands.Answer, error) {
	p.t.Helper()
	return p.Do(p.t.Context(), commands.Request{Name: name, Body: []byte(body), Key: key, Principal: who})
}

// minimised returns a new study of two arms, and its statistician.
func minimised(p process) (domain.StudyID, access.Principal) {
	trials++
	id := domain.StudyID(fmt.Sprintf("M%d-%d", trials, time.Now().UnixNano()%1_000_000))
	manager := access.Principal{User: "manager", Grants: []user.Grant{{Role: user.DataManager, Study: id}}}
	p.must(manager, study.CreateStudy{InStudy: domain.ForStudy(id), Title: "A trial", Sponsor: "Nobody"})
	p.must(manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(id), Protocol: study.Protocol{Version: 1, ConsentVersion: "1",
		Arms:      []study.Arm{{ID: "walk", Title: "Walking"}, {ID: "usual", Title: "Usual care"}},
		Treatment: &study.Treatment{Randomised: true, Factors: []study.Factor{{ID: "sex", Title: "Sex", Levels: []string{"m", "f"}}}}}})
	return id, access.Principal{User: "statistician", Grants: []user.Grant{{Role: user.Statistician, Study: id}}}
}

// TestR27_BodiesCannotBeTriedOutAgainstTheirHash tries all plausible bodies of a minimisation against the recorded hash, as
// somebody could who reads the log without its keys.
func TestR27_BodiesCannotBeTriedOutAgainstTheirHash(t *testing.T) {
	p := runWith(t, blindingKeys(t))
	id, statistician := minimised(p)
	define := randomisation.DefineMinimisation{InStudy: domain.ForStudy(id), Scheme: "m",
		Ratio: map[domain.ArmID]int{"walk": 2, "usual": 1}, Metric: randomisation.MetricVariance, P: 0.85}
	answer, err := p.as(statistician, "", define)
	if err != nil {
		t.Fatal(err)
	}
	var meta eventlog.Metadata
	for r, err := range p.log.ReadStream(t.Context(), answer.Stream, 0) {
		if err != nil {
			t.Fatal(err)
		}
		meta = r.Metadata
	}
	if meta.CommandHash == "" || meta.CommandHashAlgorithm != "hmac-sha256-canonical" {
		t.Errorf("the metadata hold the hash %q by the algorithm %q", meta.CommandHash, meta.CommandHashAlgorithm)
	}
	tried := 0
	for _, metric := range []randomisation.Metric{randomisation.MetricRange, randomisation.MetricVariance, randomisation.MetricMarginalSum} {
		for percent := 50; percent <= 99; percent++ {
			for _, ratio := range [][2]int{{1, 1}, {2, 1}, {1, 2}, {3, 1}, {1, 3}, {3, 2}, {2, 3}} {
				guess := define
				guess.Metric, guess.P, guess.Ratio = metric, float64(percent)/100, map[domain.ArmID]int{"walk": ratio[0], "usual": ratio[1]}
				body, err := json.Marshal(guess)
				if err != nil {
					t.Fatal(err)
				}
				sum := sha256.Sum256(append([]byte("DefineMinimisation\x00"), body...))
				if base64.StdEncoding.EncodeToString(sum[:]) == meta.CommandHash {
					t.Fatalf("the hash tells the body: %s", body)
				}
				tried++
			}
		}
	}
	if tried < 1000 {
		t.Errorf("only %d bodies were tried", tried)
	}
}

// TestHonestResendsAreTheSameCommand sends a command again as another program would write it.
func TestHonestResendsAreTheSameCommand(t *testing.T) {
	for name, keys := range map[string]*eventlog.BlindingKeys{"with keys": blindingKeys(t), "without keys": nil} {
		t.Run(name, func(t *testing.T) {
			p := runWith(t, keys)
			tr := newTrial(t, p)
			entry := tr.entry(4, 3)
			key := string(tr.study) + "/resend"
			first, err := tr.as(tr.self, key, entry)
			if err != nil {
				t.Fatal(err)
			}
			body, err := json.Marshal(entry)
			if err != nil {
				t.Fatal(err)
			}
			var members map[string]any
			if err := json.Unmarshal(body, &members); err != nil {
				t.Fatal(err)
			}
			sorted, err := json.MarshalIndent(members, " ", "   ")
			if err != nil {
				t.Fatal(err)
			}
			decimal := bytes.Replace(sorted, []byte(`"worst": 3`), []byte(`"worst": 3.0`), 1)
			if bytes.Equal(decimal, sorted) {
				t.Fatalf("%s has no whole number to write as a decimal", sorted)
			}
			for how, again := range map[string][]byte{"as it was": body, "in another order, with blanks": sorted, "with 3.0 for 3": decimal} {
				for where, process := range map[string]process{"the same process": p, "another process": runWith(t, keys)} {
					second, err := process.send("SubmitDiary", key, string(again), tr.self)
					if err != nil || second.CommandID != first.CommandID || *second.Revision != *first.Revision {
						t.Errorf("%s, %s: %+v, %v; want the first answer, %+v", how, where, second, err, first)
					}
				}
			}
			other := bytes.Replace(decimal, []byte(`3.0`), []byte(`4.0`), 1)
			if _, err := p.send("SubmitDiary", key, string(other), tr.self); code(err) != "idempotency_key_reused" {
				t.Errorf("another command with the same key: %v", err)
			}
		})
	}
}

// TestFormerHashesAreCompared repeats a command that an earlier program recorded with the plain SHA-256 of the body as sent.
func TestFormerHashesAreCompared(t *testing.T) {
	p := runWith(t, blindingKeys(t))
	tr := newTrial(t, p)
	key := string(tr.study) + "/former"
	entry := tr.entry(5, 3)
	body, err := json.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(append([]byte("SubmitDiary\x00"), body...))
	events := tr.events()
	last := events[len(events)-1]
	id := uuid.NewSHA1(uuid.MustParse("6f2d1c0a-54e8-4c57-9a0e-0d5f3b8f1c11"), []byte(string(tr.self.User)+"\x00"+key))
	meta := last.Metadata
	meta.Command, meta.CommandID, meta.CommandHashAlgorithm = "SubmitDiary", id.String(), ""
	meta.CommandHash = base64.StdEncoding.EncodeToString(sum[:])
	window := diary.WindowMissed{Patient: tr.patient, Instrument: entry.Instrument}
	appended, err := p.log.Append(t.Context(), last.Stream, eventlog.TailAfter(last), id, meta, window)
	if err != nil {
		t.Fatal(err)
	}
	started := runWith(t, blindingKeys(t))
	again, err := started.send("SubmitDiary", key, string(body), tr.self)
	if err != nil || *again.Revision != appended.Tail.Revision {
		t.Errorf("the same bytes: %+v, %v; want revision %d", again, err, appended.Tail.Revision)
	}
	if _, err := started.as(tr.self, key, tr.entry(5, 4)); code(err) != "idempotency_key_reused" {
		t.Errorf("another command: %v", err)
	}
}

// TestAnotherBlindedCommandWithTheSameKeyIsRefused: answered like the first one, it would be lost without a word.
func TestAnotherBlindedCommandWithTheSameKeyIsRefused(t *testing.T) {
	p := runWith(t, blindingKeys(t))
	id, statistician := minimised(p)
	list := randomisation.GenerateRandomisationList{InStudy: domain.ForStudy(id), Scheme: "l1", PerStratum: 8, BlockSizes: []int{4},
		Ratio: map[domain.ArmID]int{"walk": 1, "usual": 1}}
	first, err := p.as(statistician, "same", list)
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.as(statistician, "same", list)
	if err != nil || again.Position != first.Position {
		t.Errorf("the repeat is answered with %+v, %v", again, err)
	}
	list.Scheme = "l2"
	if _, err := p.as(statistician, "same", list); code(err) != "idempotency_key_reused" {
		t.Errorf("another list with the same key: %v", err)
	}
}

// TestAKeyStandsForOneAccount: bodies with secrets are not hashed, and yet a key that has opened one account opens no other, on the
// process that has used it and on one that starts after it was killed. A repeat is answered as before, with whatever password.
func TestAKeyStandsForOneAccount(t *testing.T) {
	keys := blindingKeys(t)
	p := runWith(t, keys)
	tr := newTrial(t, p)
	operator := access.Process("operator")
	unique := fmt.Sprint(time.Now().UnixNano())
	for name, c := range map[string]struct {
		who access.Principal
		of  func(domain.UserID) any
	}{
		"staff": {operator, func(id domain.UserID) any {
			return user.RegisterUser{OfUser: domain.ForUser(id), Name: "A nurse", Password: "gravel lantern oboe thicket"}
		}},
		"patient": {tr.crc, func(id domain.UserID) any {
			return user.OpenPatientAccount{OfUser: domain.ForUser(id), OfPatient: domain.ForPatient(tr.patient)}
		}},
	} {
		one, other := domain.UserID(name+".one."+unique), domain.UserID(name+".other."+unique)
		key := "open/" + string(one)
		first, err := p.as(c.who, key, c.of(one))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for where, process := range map[string]process{"the same process": p, "one started anew": runWith(t, keys)} {
			again, err := process.as(c.who, key, c.of(one))
			if err != nil || again.CommandID != first.CommandID || *again.Revision != *first.Revision {
				t.Errorf("%s, %s: a repeat is answered with %+v, %v", name, where, again, err)
			}
			if _, err := process.as(c.who, key, c.of(other)); code(err) != "idempotency_key_reused" {
				t.Errorf("%s, %s: another account with the same key: %v", name, where, err)
			}
		}
		for r, err := range p.log.ReadStream(t.Context(), user.Decider.Stream(string(other)), 0) {
			t.Errorf("%s: the other account has %s, %v", name, r.Type, err)
		}
	}
}

// TestFormerKeysOfSecretsStillCount repeats a command with a password that an earlier program recorded with a hash of its name alone.
func TestFormerKeysOfSecretsStillCount(t *testing.T) {
	keys := blindingKeys(t)
	p := runWith(t, keys)
	operator := access.Process("operator")
	id, key := domain.UserID(fmt.Sprintf("former.%d", time.Now().UnixNano())), "former secret"
	sum, err := p.log.HashCommand([]byte("RegisterUser"))
	if err != nil {
		t.Fatal(err)
	}
	command := uuid.NewSHA1(uuid.MustParse("6f2d1c0a-54e8-4c57-9a0e-0d5f3b8f1c11"), []byte(string(operator.User)+"\x00"+key))
	meta := eventlog.Metadata{Actor: operator.User, Command: "RegisterUser", CommandID: command.String(),
		CommandHashAlgorithm: "hmac-sha256-canonical", CommandHash: base64.StdEncoding.EncodeToString(sum), RecordedAt: time.Now().UTC()}
	appended, err := p.log.Append(t.Context(), user.Decider.Stream(string(id)), eventlog.EmptyTail, command, meta,
		user.Registered{User: id, Name: "A nurse"})
	if err != nil {
		t.Fatal(err)
	}
	register := user.RegisterUser{OfUser: domain.ForUser(id), Name: "A nurse", Password: "gravel lantern oboe thicket"}
	again, err := runWith(t, keys).as(operator, key, register)
	if err != nil || *again.Revision != appended.Tail.Revision {
		t.Errorf("it is answered with %+v, %v", again, err)
	}
}
