package projections_test

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/scenario"
	"casebook/domain/security"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/projections"
	auditprojections "casebook/projections/audit"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// indexed is the document that an event makes.
func indexed(t *testing.T, at projections.Envelope) *auditviews.AuditEvent {
	t.Helper()
	documents := fold(t, auditprojections.AuditIndex(contexts.Streams(), "dispensing"), []projections.Envelope{at})
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
		RecordedAt: recordedAt, CapturedAt: &utc, Changes: []auditviews.ValueChange{{Field: "worst", Old: 4.0, New: 3.0}},
		Hash:         eventlog.Hash(uuid.Nil, "DiaryCorrected", nil, nil),
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

// withoutValues are events whose names say that they change a value, and that do not say which.
var withoutValues = map[string]string{
	"PasswordSet":            "it is secret",
	"LevelCapsSet":           "the former caps are not in the event",
	"CohortCapsSet":          "the caps of arms are blinded",
	"DoNotShipDaysSet":       "a lot may reveal an arm",
	"DoNotShipDaysOfTypeSet": "a type of kits may reveal an arm",
	"LotExpiryExtended":      "an expiry date may reveal an arm",
	"ListExtended":           "lists are blinded",
	"KitRecounted":           "doses may reveal an arm",
	"IdentityCorrected":      "it is about a person",
}

// TestR6_EventsThatReplaceValuesSayWhich walks all types of events: whichever replaces a recorded value by its name says so to the
// audit trail, with the value before.
func TestR6_EventsThatReplaceValuesSayWhich(t *testing.T) {
	said := 0
	for _, stream := range contexts.Streams() {
		for _, event := range stream.Events {
			changes := slices.ContainsFunc([]string{"Corrected", "Changed", "Set", "Recounted", "Extended", "Transferred", "Undone"},
				func(end string) bool { return strings.HasSuffix(event.Name, end) })
			value := reflect.New(event.Go).Elem()
			scenario.Fill(value, event.Name)
			e, says := value.Interface().(domain.Changing)
			if changes && !strings.HasPrefix(event.Name, "Process") && says == (withoutValues[event.Name] != "") {
				t.Errorf("%s says which value it replaces: %v; let it be domain.Changing, or say in withoutValues why not", event.Name, says)
			}
			if !says {
				continue
			}
			got := indexed(t, projections.Envelope{Stream: stream.Category + "-S.1", Type: event.Name, Event: value.Interface(),
				Position: domain.Position{Commit: 77, Prepare: 77}}).Changes
			if said++; len(got) == 0 || got[0].Field == "" || got[0].Old == got[0].New {
				t.Errorf("%s: %+v", event.Name, e)
			}
		}
	}
	if said < 15 {
		t.Errorf("only %d types of events say what they replace", said)
	}
}

// TestR40_NoBlindedOrPersonalValueIsInTheTrail: the adversary sees every document of the index, made of events in which all is open.
func TestR40_NoBlindedOrPersonalValueIsInTheTrail(t *testing.T) {
	hidden := 0
	for _, stream := range contexts.Streams() {
		for _, event := range stream.Events {
			if event.Unlisted {
				continue
			}
			value := reflect.New(event.Go).Elem()
			scenario.Fill(value, event.Name)
			raw, err := bson.Marshal(indexed(t, projections.Envelope{Stream: stream.Category + "-S.1", Type: event.Name,
				Event: value.Interface(), Position: domain.Position{Commit: 77, Prepare: 77}}))
			if err != nil {
				t.Fatal(err)
			}
			for _, field := range reflect.VisibleFields(event.Go) {
				_, blinded := reflect.New(field.Type).Interface().(blind.Unsealer)
				personal := strings.HasPrefix(field.Type.String(), "personal.Value")
				if blinded || personal {
					if hidden++; bytes.Contains(raw, []byte(event.Name+"."+field.Name)) {
						t.Errorf("the trail shows what is sealed in %s of %s: %s", field.Name, event.Name, raw)
					}
				}
			}
		}
	}
	for _, counted := range []any{supply.KitRecounted{From: supply.Doses{Returned: 7}, To: supply.Doses{Returned: 9}}} {
		if got := indexed(t, envelope("stock-S.01", counted, eventlog.Metadata{Study: "S"})); len(got.Changes) > 0 || got.About != "" {
			t.Errorf("the doses that a patient took may reveal the arm: %+v", got)
		}
	}
	if hidden < 20 {
		t.Errorf("only %d sealed fields were looked for", hidden)
	}
}

// TestAPatientsTrailHasThePatientsProcesses, and not those of sites.
func TestAPatientsTrailHasThePatientsProcesses(t *testing.T) {
	m := eventlog.Metadata{Study: "S", Site: "01", Actor: "process:dispensing"}
	of := func(name string) process.Instance { return process.Instance{Process: name, Of: "S.1"} }
	for _, c := range []struct {
		event any
		want  domain.PatientID
	}{
		{process.StepTaken{Instance: of("dispensing")}, "S.1"}, {process.TimerSet{Instance: of("dispensing")}, "S.1"},
		{process.Retried{Instance: of("dispensing")}, "S.1"}, {process.StepTaken{Instance: of("resupply")}, ""},
	} {
		if got := indexed(t, envelope("saga-S.1", c.event, m)).Patient; got != c.want {
			t.Errorf("%+v is in the trail of the patient %q", c.event, got)
		}
	}
}
