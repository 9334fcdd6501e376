package projections_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/security"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/projections"
	auditprojections "casebook/projections/audit"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// indexed is the document that an event makes.
func indexed(t *testing.T, at projections.Envelope) *auditviews.AuditEvent {
	t.Helper()
	documents := fold(t, auditprojections.AuditIndex(contexts.Streams()), []projections.Envelope{at})
	if len(documents) != 1 {
		t.Fatalf("%s makes %d documents", at.Type, len(documents))
	}
	return documents[auditviews.AuditKey(at.Position)].(*auditviews.AuditEvent)
}

func envelope(stream string, event any, m eventlog.Metadata) projections.Envelope {
	name, _ := registry.NameOf(event)
	return projections.Envelope{Stream: stream, Revision: 4, Type: name, Event: event, Metadata: m,
		Position: domain.Position{Commit: 77, Prepare: 77}}
}

func TestTheAuditIndexSaysWhoDidWhatWhenAndWhy(t *testing.T) {
	captured := time.Date(2026, 3, 1, 20, 0, 0, 0, time.FixedZone("", 3600))
	utc := captured.UTC()
	m := eventlog.Metadata{Actor: "crc", Role: "crc", Study: "S", Site: "01", Patient: "S.1", RecordedAt: recordedAt,
		CapturedAt: &captured, CapturedZone: "Europe/Berlin",
		Command: "CorrectDiary", CommandID: "c1", CorrelationID: "c1", CausationID: "e1", Reason: "misread", Address: "10.0.0.7",
		App: "site/1.0"}
	event := diary.Corrected{Patient: "S.1", Instrument: "pain-diary", Window: window(3).ID, Reason: "misread",
		Changes: []diary.Change{{Item: "worst", Old: 4.0, New: 3.0}}}
	revision := int64(4)
	want := &auditviews.AuditEvent{Header: readmodels.Header{ID: auditviews.AuditKey(domain.Position{Commit: 77, Prepare: 77}),
		Position: 77}, Type: "DiaryCorrected", Stream: "diary-S.1",
		Revision: &revision, Actor: "crc", Role: "crc", Study: "S", Site: "01", Patient: "S.1", About: "pain-diary " + window(3).ID,
		RecordedAt: recordedAt, CapturedAt: &utc,
		CapturedZone: "Europe/Berlin", Command: "CorrectDiary", CommandID: "c1", CausationID: "e1", Reason: "misread",
		Address: "10.0.0.7", App: "site/1.0",
		Trails: []domain.StudyID{"S"}, Users: []domain.UserID{"crc"}}
	if diff := cmp.Diff(want, indexed(t, envelope("diary-S.1", event, m))); diff != "" {
		t.Error(diff)
	}
}

// TestAccountsHaveATrailOfTheirOwn, and studies see who got a role in them, or was kept out.
func TestAccountsHaveATrailOfTheirOwn(t *testing.T) {
	grant := user.Grant{Role: user.CRC, Study: "S", Site: "01"}
	for _, c := range []struct {
		event  any
		trails []domain.StudyID
		users  []domain.UserID
		about  string
	}{
		{user.SignedIn{User: "nurse"}, []domain.StudyID{auditviews.AccountTrail}, []domain.UserID{"admin", "nurse"}, ""},
		{user.RoleGranted{User: "nurse", Grant: grant}, []domain.StudyID{auditviews.AccountTrail, "S"}, []domain.UserID{"admin", "nurse"},
			"crc"},
		{user.RoleRevoked{User: "nurse", Grant: user.Grant{Role: user.Admin}}, []domain.StudyID{auditviews.AccountTrail},
			[]domain.UserID{"admin", "nurse"}, "admin"},
		{security.AccessRefused{Actor: "mallory", Action: "Patient", Code: "not_allowed", Study: "S"}, []domain.StudyID{"S"},
			[]domain.UserID{"mallory"}, "Patient: not_allowed"},
		{security.AccessRefused{Action: "SignIn", Code: "token_missing"}, []domain.StudyID{auditviews.AccountTrail}, nil,
			"SignIn: token_missing"},
	} {
		got := indexed(t, envelope("user-nurse", c.event, eventlog.Metadata{Actor: "admin", RecordedAt: recordedAt}))
		if diff := cmp.Diff([]any{c.trails, c.users, c.about}, []any{got.Trails, got.Users, got.About}); diff != "" {
			t.Errorf("%T: %s", c.event, diff)
		}
	}
}

// TestTheAuditIndexTellsNothingOfAnArm: neither by what an event says, nor by reasons of those who know arms, nor by gaps.
func TestTheAuditIndexTellsNothingOfAnArm(t *testing.T) {
	because := func(role user.Role) eventlog.Metadata {
		return eventlog.Metadata{Actor: "somebody", Role: string(role), Study: "S", RecordedAt: recordedAt, Reason: "verum ran out"}
	}
	for _, c := range []struct {
		at    projections.Envelope
		shown bool
	}{
		{envelope("kits-S", supply.KitsQuarantined{Cause: supply.CauseOther}, because(user.CRC)), true},
		{envelope("kits-S", supply.KitsQuarantined{Cause: supply.CauseRecall}, because(user.SupplyManager)), false},
		{envelope("kits-S", supply.LotRecalled{}, because(user.SupplyManager)), false},
		{envelope("kits-S", supply.KitLost{}, because(user.UnblindedSupplyManager)), false},
		{envelope("study-S", patient.ConsentRecorded{}, because(user.Statistician)), false},
	} {
		raw, err := bson.Marshal(indexed(t, c.at))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte("verum")) != c.shown {
			t.Errorf("%s by %s shows its reason: %v", c.at.Type, c.at.Metadata.Role, !c.shown)
		}
	}
	drawn := indexed(t, envelope(randomisation.Decider.Stream("S"), randomisation.PatientRandomised{}, because(user.System)))
	if drawn.Revision != nil {
		t.Error("the revision of a draw is shown")
	}
	if auditprojections.AuditIndex(contexts.Streams()).Folds(typeNamed(t, "EntrySkipped")) {
		t.Error("it is shown that a draw passed over an entry")
	}
}

// TestEventsOfASiteAreFoundByIt walks all types of events: one that says by itself which site it is about is found by it, even
// where its metadata name none, as those of commands about the whole study do not.
func TestEventsOfASiteAreFoundByIt(t *testing.T) {
	found := map[string]bool{}
	for _, stream := range contexts.Streams() {
		for _, event := range stream.Events {
			if event.Unlisted || stream.Accounts { // a role that is only proposed is not yet one of a study
				continue
			}
			value := reflect.New(event.Go).Elem()
			if !setSite(value, "07") {
				continue
			}
			found[event.Name] = true
			at := projections.Envelope{Stream: stream.Category + "-S", Type: event.Name, Event: value.Interface(),
				Metadata: eventlog.Metadata{Study: "S"}, Position: domain.Position{Commit: 77, Prepare: 77}}
			if got := indexed(t, at).Site; got != "07" {
				t.Errorf("%s is about site 07, and found by site %q: give its field the name site, or let it be domain.Scoped", event.Name, got)
			}
		}
	}
	for _, name := range []string{"SiteAdded", "SiteActivated", "ProtocolApprovedAtSite", "SiteApprovalWithdrawn", "ResupplyRuleSet"} {
		if !found[name] {
			t.Errorf("%s was not tried", name)
		}
	}
}

// setSite sets the site of an event, or of what the event holds, and says whether it has one.
func setSite(v reflect.Value, site domain.SiteID) bool {
	for i := range v.NumField() {
		field, f := v.Field(i), v.Type().Field(i)
		switch {
		case !f.IsExported():
		case field.Type() == reflect.TypeFor[domain.SiteID]() && f.Name == "Site":
			field.SetString(string(site))
			return true
		case field.Kind() == reflect.Struct && field.Type() != reflect.TypeFor[time.Time]() && setSite(field, site):
			return true
		}
	}
	return false
}
