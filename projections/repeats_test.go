package projections_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	auditprojections "casebook/projections/audit"
	patientprojections "casebook/projections/patient"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"
)

// anything returns one event of every type that any view folds, about a patient and a day.
func anything(who domain.PatientID, site domain.SiteID, day int) []any {
	late, afterMissed, plain := submitted(day, 1), submitted(day, 2), submitted(day, 3)
	late.Late, afterMissed.AfterMissed = true, true
	w, unknown := window(day), blind.Of(map[supply.KitNumber]supply.Content{})
	all := []any{
		plain, late, afterMissed,
		study.Created{Study: "S", Title: "A study"},
		study.ProtocolVersionPublished{Study: "S", Protocol: study.Protocol{Version: day, ConsentVersion: fmt.Sprint(day)}},
		study.SiteAdded{Study: "S", Site: site, Name: fmt.Sprint("site ", site), Country: "DE", Zone: "UTC"},
		study.SiteActivated{Study: "S", Site: site, On: "2026-02-01"},
		study.SiteClosed{Study: "S", Site: site, On: "2026-02-02"},
		enrollment.Opened{Study: "S", Caps: enrollment.Caps{Target: day, Study: 2 * day}},
		enrollment.TargetSet{Study: "S", Caps: enrollment.Caps{Target: 3 * day, Study: 4 * day}},
		enrollment.Closed{Study: "S", Reason: "full"},
		patient.Screened{Patient: who, Study: "S", Site: site, ScreeningNumber: "1", On: "2026-02-10", Zone: "UTC"},
		patient.ConsentRecorded{Patient: who, ConsentVersion: fmt.Sprint(day), On: "2026-02-10"},
		patient.ScreenFailureRecorded{Patient: who, On: "2026-02-11", Reason: "r"},
		patient.EnrollmentRequested{Patient: who, Study: "S", Site: site, On: "2026-02-11"},
		patient.Enrolled{Patient: who, On: "2026-02-11", PatientNumber: fmt.Sprint(day)},
		patient.EnrollmentFailed{Patient: who, Code: "c", Reason: "r"},
		patient.ConsentWithdrawn{Patient: who, On: "2026-02-12", Reason: "r"},
		patient.Discontinued{Patient: who, On: "2026-02-12", Reason: "r"},
		patient.Completed{Patient: who, On: "2026-02-12"},
		diary.InstrumentAssigned{Patient: who, Instrument: instrument.Definition{ID: "pain-diary", Version: day}, Zone: "UTC", From: "2026-03-01", Until: "2026-03-28"},
		diary.WindowMissed{Patient: who, Instrument: "pain-diary", Window: w},
		diary.RiskFlagged{Patient: who, Instrument: "pain-diary", Window: w.ID, Rule: "r"},
		diary.Corrected{Patient: who, Instrument: "pain-diary", Window: w.ID, Reason: "misread",
			Changes: []diary.Change{{Item: "worst", Old: 1.0, New: float64(day)}}, Scores: []diary.ScoreResult{{ID: "intensity", Value: new(float64(day))}}},
		patient.VisitRecorded{Patient: who, Visit: fmt.Sprint("week ", day), On: "2026-02-12"},

		process.StepTaken{Instance: enrolling(who), Study: "S", Site: site, Trigger: fmt.Sprint(day), TriggerType: "PlaceReserved", Stage: fmt.Sprint("stage ", day%3),
			Commands: []process.Command{{Name: "HoldStock"}, {Name: "HoldStock"}}},
		process.TimerSet{Instance: enrolling(who), Name: "answer", At: w.Closes},
		process.TimerFired{Instance: enrolling(who), Name: "answer"},
		process.TimerCancelled{Instance: enrolling(who), Name: "answer"},
		process.MessageParked{Parked: process.Parked{Process: "safety", Event: string(who)}, Study: "S", Stream: "diary-x", Revision: uint64(day), Type: "RiskFlagged", Reason: "r"},
		process.ParkedMessageRetried{Parked: process.Parked{Process: "safety", Event: string(who)}, Study: "S", Reason: fmt.Sprint(day)},
		process.ParkedMessageAbandoned{Parked: process.Parked{Process: "safety", Event: string(who)}, Study: "S", Reason: fmt.Sprint(day)},

		safety.AlertRaised{Alert: about(who), Study: "S", Site: site, Patient: who, Kind: safety.RiskFlagged, Severity: safety.Urgent, Summary: fmt.Sprint(day),
			OccurredAt: w.Opens, ReviewBy: w.Closes},
		safety.AlertReviewed{Alert: about(who), Note: fmt.Sprint(day)},
		safety.AlertEscalated{Alert: about(who), Study: "S", Site: site, Level: day, ReviewBy: w.Closes},
		safety.AlertClosed{Alert: about(who), Outcome: fmt.Sprint(day)},
		safety.NotificationSent{Alert: about(who), Level: day, Channel: "e-mail", Message: "m"},
		safety.NotificationFailed{Alert: about(who), Level: day, Channel: "webhook", Message: "m", Reason: "gone"},

		supply.KitsRegistered{SHA256: blind.Of("feed"), Contents: unknown, Study: "S", Depot: "D", Delivery: 1, Kits: twoKits(who)},
		supply.DeliveryTakenIn{Contents: unknown, Place: depot, Delivery: 1, Kits: twoKits(who)},
		supply.ShipmentCreated{Contents: unknown, Place: depot, Shipment: parcel(who), To: supply.LocationID(site), Kits: twoKits(who), Reason: fmt.Sprint(day)},
		supply.ShipmentCancelled{Place: depot, Shipment: parcel(who), Reason: fmt.Sprint(day)},
		supply.ShipmentDispatched{Place: depot, Shipment: parcel(who), To: supply.LocationID(site), On: "2026-02-12", Carrier: fmt.Sprint(day)},
		supply.ShipmentReceived{Contents: unknown, Place: at(site), Shipment: parcel(who), From: "D", On: "2026-02-13", Available: twoKits(who)[:1], Quarantined: twoKits(who)[1:], Excursion: day > 2},
		supply.ShipmentReceived{Contents: unknown, Place: at(site), Shipment: parcel(who), From: "D", On: "2026-02-13", Damaged: twoKits(who)[:1], Missing: twoKits(who)[1:], Note: "n"},
		supply.ShipmentReceived{Contents: unknown, Place: depot, Shipment: parcel(who), From: supply.LocationID(site), On: "2026-02-13", Returned: twoKits(who)},
		supply.ShipmentLost{Place: at(site), Shipment: parcel(who), From: "D", Kits: twoKits(who), Reason: fmt.Sprint(day)},
		supply.KitsQuarantined{Place: at(site), Kits: twoKits(who), Cause: supply.CauseOther, Reason: fmt.Sprint(day)},
		supply.KitsReleased{Place: at(site), Kits: twoKits(who), Reason: fmt.Sprint(day)},
		supply.KitAllocated{Place: at(site), Patient: who, Kit: twoKits(who)[0]},
		supply.KitAllocated{Place: at(site), Patient: who, Kit: twoKits(who)[1], Visit: fmt.Sprint("week ", day), Replaces: twoKits(who)[0]},
		supply.KitsSetAside{Place: at(site), Patient: who, Kits: twoKits(who), Reason: fmt.Sprint(day)},
		supply.KitDispensed{Place: at(site), Patient: who, Kit: twoKits(who)[0], On: "2026-02-14"},
		supply.KitReturned{Place: at(site), Patient: who, Kit: twoKits(who)[0], On: "2026-02-15"},
		supply.KitReconciled{Place: at(site), Patient: who, Kit: twoKits(who)[0], Returned: day, Used: 2 * day, Lost: 1},
		supply.KitsExpired{Place: at(site), Kits: twoKits(who), Through: "2026-03-01"},
		supply.KitsDestroyed{Place: depot, Kits: twoKits(who), On: "2026-03-02", Certificate: fmt.Sprint(day)},
		supply.KitLost{Place: at(site), Kit: twoKits(who)[0], Reason: fmt.Sprint(day)},

		user.Registered{User: domain.UserID(who), Name: fmt.Sprint("user ", day)},
		user.PasswordSet{},
		user.RoleGranted{User: domain.UserID(who), Grant: user.Grant{Role: user.CRC, Study: "S", Site: domain.SiteID(fmt.Sprint(day))}},
		user.RoleRevoked{User: domain.UserID(who), Grant: user.Grant{Role: user.CRC, Study: "S", Site: domain.SiteID(fmt.Sprint(day))}, Reason: "r"},
		user.SignedIn{}, user.SignInFailed{Code: "c"}, user.Locked{}, user.Unlocked{}, user.Deactivated{User: domain.UserID(who), Reason: "r"},
	}
	return append(all, others(all)...)
}

// others are empty events of the types that are not among some. Only the audit index folds them, and not what they say.
func others(than []any) (all []any) {
	known := map[reflect.Type]bool{}
	for _, event := range than {
		known[reflect.TypeOf(event)] = true
	}
	for _, s := range contexts.Registry().Schemas() {
		if !known[s.Go] && auditprojections.AuditIndex(contexts.Streams()).Folds(s.Go) {
			event := reflect.New(s.Go).Elem()
			for i := range event.NumField() { // what is sealed could not be written down
				if sealed, ok := event.Field(i).Addr().Interface().(blind.Unsealer); ok && sealed.UnsealFrom([]byte("null")) != nil {
					panic(s.Name)
				}
			}
			all = append(all, event.Interface())
		}
	}
	return all
}

var depot = supply.Place{Study: "S", Location: "D"}

func at(site domain.SiteID) supply.Place {
	return supply.Place{Study: "S", Location: supply.LocationID(site)}
}

func enrolling(who domain.PatientID) process.Instance {
	return process.Instance{Process: "enrollment", Of: string(who)}
}

func about(who domain.PatientID) safety.AlertID { return safety.AlertID(who + "-alert") }

// twoKits are those that come for a patient, with a parcel of their own.
func twoKits(who domain.PatientID) []supply.KitNumber {
	return []supply.KitNumber{supply.KitNumber("K1-" + who), supply.KitNumber("K2-" + who)}
}

func parcel(who domain.PatientID) supply.ShipmentID { return supply.ShipmentID("D-" + who) }

// TestEveryFoldChangesItsDocument: an event that a view folds without effect would be one that it does not show.
func TestEveryFoldChangesItsDocument(t *testing.T) {
	folded := map[reflect.Type]bool{}
	for _, event := range anything("S.1", "01", 5) {
		folded[reflect.TypeOf(event)] = true
		for _, p := range contexts.Projections() {
			if !p.Folds(reflect.TypeOf(event)) {
				continue
			}
			changed := false
			for _, past := range pasts() {
				was := fold(t, p, newStory().tell(past...).events)
				for key, doc := range fold(t, p, newStory().tell(append(slices.Clone(past), event)...).events) {
					if was[key] == nil {
						was[key] = p.Blank(key)
					}
					changed = changed || !reflect.DeepEqual(facts(was[key]), facts(doc))
				}
			}
			if !changed {
				t.Errorf("%s folds %T, and shows nothing of it", p.View.Name, event)
			}
		}
	}
	for _, s := range contexts.Registry().Schemas() {
		for _, p := range contexts.Projections() {
			if p.Folds(s.Go) && !folded[s.Go] {
				t.Errorf("%s folds %s, which this test has no sample of", p.View.Name, s.Name)
			}
		}
	}
}

// pasts are those in which the effect of an event shows: none, one event, or one of an instrument that is assigned.
func pasts() [][]any {
	all := [][]any{nil}
	assigned := diary.InstrumentAssigned{Patient: "S.1", Instrument: instrument.Definition{ID: "pain-diary"}}
	for _, day := range []int{4, 5} {
		for _, event := range anything("S.1", "01", day) {
			all = append(all, []any{event}, []any{assigned, event})
		}
	}
	return all
}

// facts are what a document says, but for how new it is.
func facts(doc readmodels.Document) any {
	is := reflect.New(reflect.TypeOf(doc).Elem()).Elem()
	is.Set(reflect.ValueOf(doc).Elem())
	for _, name := range []string{"Header", "UpdatedAt"} {
		if f := is.FieldByName(name); f.IsValid() {
			f.SetZero()
		}
	}
	return is.Interface()
}

// TestR25_AnySequenceFoldsOnce delivers random events, some with one commit position in common, in random batches with
// repeats. Between batches documents may go through the store's encoding, as after a restart. The outcome is always that
// of one delivery.
func TestR25_AnySequenceFoldsOnce(t *testing.T) {
	types := len(anything("", "", 1))
	rapid.Check(t, func(r *rapid.T) {
		s := newStory()
		for range rapid.IntRange(1, 40).Draw(r, "events") {
			s.patient = rapid.SampledFrom([]domain.PatientID{"S.1", "S.2"}).Draw(r, "patient")
			s.site = domain.SiteID("0" + string(s.patient[2:]))
			s.tell(anything(s.patient, s.site, rapid.IntRange(1, 5).Draw(r, "day"))[rapid.IntRange(0, types-1).Draw(r, "type")])
			if at := len(s.events) - 1; at > 0 && rapid.Bool().Draw(r, "in one commit") {
				s.position -= 100
				for i := at - 1; i >= 0 && s.events[i].Position.Commit == s.position; i-- {
					s.events[i].Position.Prepare -= 10
				}
				s.events[at].Position = domain.Position{Commit: s.position, Prepare: s.position}
			}
		}
		for _, p := range contexts.Projections() {
			want, got := fold(t, p, s.events), map[string]readmodels.Document{}
			for done := 0; done < len(s.events); {
				again := rapid.IntRange(0, done).Draw(r, "from")
				done = rapid.IntRange(done+1, len(s.events)).Draw(r, "to")
				apply(t, p, got, s.events[again:done])
				if rapid.Bool().Draw(r, "restart") {
					for key := range got {
						got[key] = stored(t, got[key])
					}
				}
			}
			for key := range want {
				if got[key] == nil || !reflect.DeepEqual(stored(t, want[key]), stored(t, got[key])) {
					r.Fatalf("%s %s differs after repeats:\n%s", p.View.Name, key, cmp.Diff(want[key], got[key]))
				}
			}
			if len(want) != len(got) {
				r.Fatalf("%s has %d documents of %d", p.View.Name, len(got), len(want))
			}
		}
	})
}

// stored is the document as it is read back.
func stored(t testing.TB, doc readmodels.Document) readmodels.Document {
	t.Helper()
	raw, err := bson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	back := reflect.New(reflect.TypeOf(doc).Elem()).Interface().(readmodels.Document)
	if err := bson.Unmarshal(raw, back); err != nil {
		t.Fatal(err)
	}
	return back
}

// TestTheTrendFollowsTheClock: a day's windows are not in the order of their names, and answers come as devices send
// them.
func TestTheTrendFollowsTheClock(t *testing.T) {
	s := aPatient(newStory())
	at := func(day, hour int, name string) diary.Window {
		opens := time.Date(2026, 3, day, hour, 0, 0, 0, time.UTC)
		return diary.Window{ID: opens.Format(time.DateOnly) + "/" + name, Opens: opens, Closes: opens.Add(time.Hour)}
	}
	for _, w := range []diary.Window{at(2, 18, "evening"), at(1, 6, "morning"), at(2, 6, "morning"), at(1, 18, "evening"), at(3, 6, "morning")} {
		s.tell(diary.WindowMissed{Patient: "S.1", Instrument: "pain-diary", Window: w})
	}
	late := submitted(1, 4)
	late.Window, late.AfterMissed = at(2, 6, "morning"), true
	v := fold(t, patientprojections.PatientView, s.tell(late).events)["S.1"].(*patientviews.PatientView)
	var got []string
	for _, p := range v.Instruments[0].Trend {
		got = append(got, fmt.Sprint(p.Window, " ", p.Missed))
	}
	want := []string{"2026-03-01/morning true", "2026-03-01/evening true", "2026-03-02/morning false", "2026-03-02/evening true", "2026-03-03/morning true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
