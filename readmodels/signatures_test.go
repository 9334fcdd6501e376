package readmodels_test

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/personal"
	"casebook/domain/user"
	"casebook/keystore"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	"casebook/simulation"
)

// TestR10_AnAuditorVerifiesSignatures of entries with what the answer holds, as long as their texts are there.
func TestR10_AnAuditorVerifiesSignatures(t *testing.T) {
	keys, err := keystore.OpenFile(t.Context(), filepath.Join(t.TempDir(), "keys.db"), bytes.Repeat([]byte{7}, keystore.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := keys.Close(); err != nil {
			t.Error(err)
		}
	})
	phone, other := phoneKey(t), phoneKey(t)
	captured := time.Date(2026, 3, 1, 20, 30, 0, 0, time.FixedZone("", 3600))
	signed := func(k simulation.PhoneKey, worst int, note any) (diary.SubmitDiary, diary.Entered) {
		c, err := k.Sign(diary.SubmitDiary{OfPatient: domain.ForPatient("S.1"), Instrument: "pain", CapturedAt: captured, Zone: "Europe/Berlin",
			Device: "phone-1", Answers: diary.Answers{"worst": worst, "note": note}})
		if err != nil {
			t.Fatal(err)
		}
		return c, diary.Entered{Device: c.Device, Signature: c.Signature}
	}
	var keyOfText personal.KeyID
	seal := func(text string) personal.Text {
		id, sealing, err := keys.Sealer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		plain, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		keyOfText = id
		return personal.SealedText(id, sealing(plain, []byte("place")), []byte("place"))
	}
	entry := func(c diary.SubmitDiary, e diary.Entered) diary.Submitted {
		return diary.Submitted{Patient: c.Patient, Instrument: c.Instrument, Window: diary.Window{ID: "w"}, CapturedAt: c.CapturedAt,
			Answers: c.Answers, Entered: e}
	}
	right := entry(signed(phone, 5, nil))
	forged := entry(signed(phone, 5, nil))
	forged.Answers = diary.Answers{"worst": 6}
	former := entry(signed(other, 4, nil)) // signed with the first key, sent after the second enrolment
	bare := entry(signed(phone, 3, nil))
	bare.Signature = ""
	const said = "I could not sleep <&> \\u0002 at all"
	withText := entry(signed(phone, 2, said))
	withText.Answers = diary.Answers{"worst": 2, "note": seal(said)}
	withText.SealedSignature, withText.Signature = seal(string(withText.Signature)), ""
	erased := withText
	erased.Answers = diary.Answers{"worst": 2, "note": seal(said)}
	if err := keys.Destroy(t.Context(), keyOfText); err != nil {
		t.Fatal(err)
	}
	early := entry(signed(phone, 5, nil))
	moved := right
	moved.MovedFrom = "v"
	staff := right
	staff.Mode = diary.ByTranscription
	at := func(minute int) time.Time { return captured.Add(time.Duration(minute) * time.Minute).UTC() }
	recorded := func(position uint64, event any) readmodels.Recorded {
		moment := at(int(position)) //nolint:gosec // small
		return readmodels.Recorded{Event: event, Position: position, RecordedAt: moment, Actor: "anna", Zone: "Europe/Berlin"}
	}
	streams := map[string][]readmodels.Recorded{
		"S.1": {recorded(1, early), recorded(20, right), recorded(21, forged), recorded(22, former), recorded(23, bare), recorded(24, withText),
			recorded(25, erased), recorded(26, moved), recorded(27, staff), recorded(40, right)},
		"anna": {recorded(10, user.DeviceEnrolled{User: "anna", Device: "phone-1", Key: other.Public}),
			recorded(11, user.DeviceEnrolled{User: "anna", Device: "phone-1", Key: phone.Public}),
			recorded(12, user.DeviceEnrolled{User: "anna", Device: "phone-2", Key: other.Public}),
			recorded(30, user.DeviceRevoked{User: "anna", Device: "phone-1"})},
	}
	engine := readmodels.NewEngine(readmodels.EngineOptions{Queries: contexts.Queries(),
		ScopeOf: func(_ context.Context, id domain.PatientID) (domain.Scope, error) {
			return domain.Scope{Study: "S", Site: "01", Patient: id}, nil
		},
		Record: readmodels.Record{Keys: keys, Events: func(_ context.Context, _ domain.StreamType, id string) ([]readmodels.Recorded, error) {
			return streams[id], nil
		}}})
	auditor := readmodels.Caller{Principal: access.Principal{User: "auditor", Grants: []user.Grant{{Role: user.Auditor, Study: "S"}}}}
	answer, err := engine.Answer(t.Context(), readmodels.Question{Query: "SignedEntries", Caller: auditor,
		Path: map[string]string{"patient": "S.1"}})
	if err != nil {
		t.Fatal(err)
	}
	got := answer.(readmodels.List[diaryviews.SignedEntry]).Items //nolint:forcetypeassert // of this query
	want := []struct {
		position uint64
		verified diaryviews.Verification
		why      diaryviews.WhyUnverified
		enrolled uint64 // the key
	}{
		{1, diaryviews.VerifyingFails, diaryviews.NoKey, 0}, {20, diaryviews.SignatureRight, "", 11}, {21, diaryviews.SignatureWrong, "", 11},
		{22, diaryviews.SignatureRight, "", 10}, {23, diaryviews.SignatureMissing, "", 11}, {24, diaryviews.SignatureRight, "", 11},
		{25, diaryviews.VerifyingFails, diaryviews.TextsErased, 11}, {40, diaryviews.SignatureRight, "", 11},
	}
	if len(got) != len(want) {
		t.Fatalf("got %d entries: %+v", len(got), got)
	}
	for i, w := range want {
		g := got[i]
		if g.Position != w.position || g.Verified != w.verified || g.Why != w.why || (g.Key == nil) != (w.enrolled == 0) {
			t.Errorf("got %+v, want %+v", g, w)
			continue
		}
		if g.Key == nil {
			continue
		}
		if g.Key.Enrolled != w.enrolled || g.Key.Revoked != 30 || g.Key.RevokedAt == nil || !g.Key.RevokedAt.Equal(at(30)) ||
			!g.Key.EnrolledAt.Equal(at(int(w.enrolled))) { //nolint:gosec // small
			t.Errorf("position %d has the key %+v", g.Position, *g.Key)
		}
		// Whoever has the answer verifies it.
		if verified := g.Key.Key.Signed([]byte(g.Content), g.Signature); verified != (w.verified == diaryviews.SignatureRight) {
			t.Errorf("what position %d holds verifies: %v", g.Position, verified)
		}
	}
	if g := got[5]; !strings.Contains(g.Content, "I could not sleep <&>") {
		t.Errorf("the text as it was captured is not in %q", g.Content)
	}
	if g := got[6]; g.Content != "" || g.Signature != "" {
		t.Errorf("of an entry whose text is erased, the answer has %+v", g)
	}
}

func phoneKey(t *testing.T) simulation.PhoneKey {
	t.Helper()
	k, err := simulation.NewPhoneKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}
