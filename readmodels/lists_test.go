package readmodels_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	userviews "casebook/readmodels/user"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPatientsAreSortedByTheirActivity(t *testing.T) {
	s := connect(t, newDatabase())
	statuses := []patient.Status{patient.StatusEnrolled, patient.StatusScreened, patient.StatusWithdrawn}
	var all []patientviews.PatientRow
	for n := range documents {
		p := patientviews.PatientRow{Header: key(n), Study: "S", Site: domain.SiteID(fmt.Sprint(n % 3)), Status: statuses[n%5%3],
			LastActivityAt: moment(n * 7)}
		all = append(all, p)
		put(t, s, patientviews.PatientLists, p)
	}
	id := func(p patientviews.PatientRow) string { return p.ID }
	rapid.Check(t, func(r *rapid.T) {
		f := patientviews.PatientsQuery{Study: "S", Site: rapid.SampledFrom([]domain.SiteID{"", "1", "9"}).Draw(r, "site"),
			Status: rapid.SampledFrom(append(statuses, "")).Draw(r, "status")}
		order := rapid.SampledFrom(ordersOf("Patients")).Draw(r, "order")
		got := listed(t, rapid.IntRange(1, 100).Draw(r, "limit"), id, func(p readmodels.Page) (readmodels.List[patientviews.PatientRow], error) {
			f.Page, f.Sort = p, order
			return patientviews.ListPatients(t.Context(), everything(s), f)
		})
		want := expected(all, id, func(p patientviews.PatientRow) bool { return wanted(f.Site, p.Site) && wanted(f.Status, p.Status) },
			func(a, b patientviews.PatientRow) int {
				switch active := cmp.Or(a.LastActivityAt.Compare(b.LastActivityAt), cmp.Compare(a.ID, b.ID)); order {
				case "active":
					return -active
				case "inactive":
					return active
				}
				return cmp.Compare(a.ID, b.ID)
			})
		if diff := gocmp.Diff(want, got); diff != "" {
			r.Fatal(diff)
		}
	})
}

// TestDiariesOfThePastAreListedLikeThoseOfThePresent: one list is read from the store, the other made of the same documents.
func TestDiariesOfThePastAreListedLikeThoseOfThePresent(t *testing.T) {
	s := connect(t, newDatabase())
	folded := map[string]readmodels.Document{}
	for n := range documents {
		d := diaryviews.Diary{Header: key(n), OwnDiary: diaryviews.OwnDiary{Patient: "S.1", Instrument: "a", Opens: moment(n * 3),
			Late: n%3 == 0, Missed: n%3 == 1}}
		if !d.Missed {
			at := d.Opens
			d.CapturedAt = &at
		}
		if n%2 == 0 {
			d.Instrument = "b"
		}
		folded[d.ID] = &d
		put(t, s, diaryviews.Diaries, d)
	}
	request := everything(s)
	request.Past = func(context.Context, string, domain.PatientID, readmodels.Moment) (map[string]readmodels.Document, error) {
		return folded, nil
	}
	times := []time.Time{{}, moment(1), moment(2), moment(3)}
	id := func(d diaryviews.Diary) string { return d.ID }
	rapid.Check(t, func(r *rapid.T) {
		f := diaryviews.DiariesQuery{Patient: "S.1"}
		f.DiariesFilter = diaryviews.DiariesFilter{From: rapid.SampledFrom(times).Draw(r, "from"), To: rapid.SampledFrom(times).Draw(r, "to"),
			Only: rapid.SampledFrom([]diaryviews.DiaryEnd{"", diaryviews.DiaryAnswered, diaryviews.DiaryLate, diaryviews.DiaryMissed}).Draw(r,
				"only")}
		if rapid.Bool().Draw(r, "of one instrument") {
			f.Instrument = "a"
		}
		order, limit := rapid.SampledFrom(ordersOf("PatientDiaries")).Draw(r, "order"), rapid.IntRange(1, 100).Draw(r, "limit")
		at := func(moment readmodels.Moment) []string {
			f.AsOf = moment
			return listed(t, limit, id, func(p readmodels.Page) (readmodels.List[diaryviews.Diary], error) {
				f.Page, f.Sort = p, order
				return diaryviews.ListDiaries(t.Context(), request, f)
			})
		}
		present, past := at(readmodels.Moment{}), at(readmodels.Moment{Position: 7})
		if diff := gocmp.Diff(present, past); diff != "" {
			r.Fatal(diff)
		}
		for _, key := range past {
			d := folded[key].(*diaryviews.Diary)
			if f.Only == diaryviews.DiaryMissed && !d.Missed || f.Only == diaryviews.DiaryLate && !d.Late || f.Only == diaryviews.DiaryAnswered &&
				d.Missed ||
				d.Opens.Before(f.From) || !f.To.IsZero() && !d.Opens.Before(f.To) {
				r.Fatalf("%+v is in the list %+v", d, f)
			}
		}
	})
	if l := listed(t, 100, id, func(p readmodels.Page) (readmodels.List[diaryviews.Diary], error) {
		return diaryviews.ListDiaries(t.Context(), request, diaryviews.DiariesQuery{Patient: "S.1",
			DiariesFilter: diaryviews.DiariesFilter{Only: diaryviews.DiaryAnswered, Page: p}})
	}); len(l) != documents/3*2 {
		t.Errorf("%d diaries are answered", len(l))
	}
}

// TestTheAuditIndexIsFoundByPatientUserTimeAndKind compares it with a search by hand, and holds studies apart.
func TestTheAuditIndexIsFoundByPatientUserTimeAndKind(t *testing.T) {
	s := connect(t, newDatabase())
	types, users := []string{"DiarySubmitted", "DiaryCorrected", "PatientScreened"}, []domain.UserID{"u1", "u2"}
	var all []auditviews.AuditEvent
	for n := range documents {
		at := domain.Position{Commit: uint64(1000 + n/2*10), Prepare: uint64(1000 + n/2*10 - (1-n%2)*3)}
		e := auditviews.AuditEvent{Header: readmodels.Header{ID: auditviews.AuditKey(at)}, Type: types[n%5%3],
			Patient: domain.PatientID(fmt.Sprint("S.", n%4)),
			Site:    domain.SiteID(fmt.Sprint(n % 3)), RecordedAt: moment(n * 3), Users: users[:1+n%2], Trails: []domain.StudyID{"S"}}
		if n%7 == 0 {
			e.Trails = []domain.StudyID{auditviews.AccountTrail, "S"}
		}
		if n%11 == 0 {
			e.Trails = []domain.StudyID{"T"}
		}
		all = append(all, e)
		put(t, s, auditviews.AuditIndex, e)
	}
	times := []time.Time{{}, moment(1), moment(2), moment(3)}
	id := func(e auditviews.AuditEvent) string { return e.ID }
	rapid.Check(t, func(r *rapid.T) {
		trail := rapid.SampledFrom([]domain.StudyID{"S", "T", auditviews.AccountTrail}).Draw(r, "trail")
		f := auditviews.StudyTrailQuery{Study: trail, TrailQuery: auditviews.TrailQuery{
			User: rapid.SampledFrom(append(users, "")).Draw(r, "user"), Types: rapid.SampledFrom([][]string{nil, types[:1], types[1:]}).Draw(r,
				"types"),
			From: rapid.SampledFrom(times).Draw(r, "from"), To: rapid.SampledFrom(times).Draw(r, "to")}}
		if trail != auditviews.AccountTrail {
			f.Patient = rapid.SampledFrom([]domain.PatientID{"", "S.1", "S.9"}).Draw(r, "patient")
			f.Site = rapid.SampledFrom([]domain.SiteID{"", "1"}).Draw(r, "site")
		}
		order := rapid.SampledFrom(ordersOf("StudyTrail")).Draw(r, "order")
		if order == auditviews.AuditByPosition {
			f.First, f.Last = rapid.SampledFrom([]uint64{0, 1100}).Draw(r, "first"), rapid.SampledFrom([]uint64{0, 1200}).Draw(r, "last")
		}
		got := listed(t, rapid.IntRange(1, 100).Draw(r, "limit"), id, func(p readmodels.Page) (readmodels.List[auditviews.AuditEvent], error) {
			f.Page, f.Sort = p, order
			if trail == auditviews.AccountTrail {
				return auditviews.ListAccountTrail(t.Context(), everything(s), f.TrailQuery)
			}
			return auditviews.ListStudyTrail(t.Context(), everything(s), f)
		})
		want := expected(all, id, func(e auditviews.AuditEvent) bool {
			var commit uint64
			if _, err := fmt.Sscanf(e.ID, "%16x", &commit); err != nil {
				r.Fatal(err)
			}
			return slices.Contains(e.Trails, trail) && wanted(f.Patient, e.Patient) && (f.User == "" || slices.Contains(e.Users, f.User)) &&
				wanted(f.Site, e.Site) &&
				(f.Types == nil || slices.Contains(f.Types, e.Type)) && !e.RecordedAt.Before(f.From) && (f.To.IsZero() || e.RecordedAt.Before(f.To)) &&
				commit >= f.First && (f.Last == 0 || commit <= f.Last)
		}, func(a, b auditviews.AuditEvent) int {
			switch old := cmp.Or(a.RecordedAt.Compare(b.RecordedAt), cmp.Compare(a.ID, b.ID)); order {
			case auditviews.AuditOldest:
				return old
			case auditviews.AuditByPosition:
				return cmp.Compare(a.ID, b.ID)
			default:
				return -old
			}
		})
		if diff := gocmp.Diff(want, got); diff != "" {
			r.Fatal(diff)
		}
	})
	_, err := auditviews.ListAccountTrail(t.Context(), everything(s), auditviews.TrailQuery{First: 7})
	if r, ok := refuse.As(err); !ok || r.Code != "positions_out_of_order" {
		t.Errorf("positions in the order of time: %v", err)
	}
}

func TestUsersAreFoundByStudyRoleAndStatus(t *testing.T) {
	s := connect(t, newDatabase())
	var all []userviews.User
	for n := range documents {
		u := userviews.User{Header: key(n), Status: userviews.UserStatuses[n%5%3], LastSignInAt: moment(n * 3)}
		for k, role := range []user.Role{user.CRC, user.Monitor, user.PatientRole} {
			if (n+k)%4 < 2 {
				u.Give(userviews.Granted{Grant: user.Grant{Role: role, Study: domain.StudyID(fmt.Sprint("S", (n+k)%3))}})
			}
		}
		all = append(all, u)
		put(t, s, userviews.UserDirectory, u)
	}
	id := func(u userviews.User) string { return u.ID }
	rapid.Check(t, func(r *rapid.T) {
		f := userviews.StudyUsersQuery{Study: rapid.SampledFrom([]domain.StudyID{"", "S1", "S9"}).Draw(r, "study"),
			UsersQuery: userviews.UsersQuery{
				Status: rapid.SampledFrom(append(userviews.UserStatuses, "")).Draw(r, "status"),
				Role:   rapid.SampledFrom([]user.Role{"", user.CRC, user.Auditor}).Draw(r, "role")}}
		order := rapid.SampledFrom(ordersOf("Users")).Draw(r, "order")
		got := listed(t, rapid.IntRange(1, 100).Draw(r, "limit"), id, func(p readmodels.Page) (readmodels.List[userviews.User], error) {
			f.Page, f.Sort = p, order
			if f.Study == "" {
				return userviews.ListUsers(t.Context(), everything(s), f.UsersQuery)
			}
			return userviews.ListStudyUsers(t.Context(), everything(s), f)
		})
		want := expected(all, id, func(u userviews.User) bool {
			return wanted(f.Status, u.Status) && (f.Study == "" && f.Role == "" || slices.ContainsFunc(u.Grants, func(g userviews.Granted) bool {
				return wanted(f.Role, g.Grant.Role) && wanted(f.Study, g.Grant.Study) && (f.Study == "" || g.Grant.Role != user.PatientRole)
			}))
		}, func(a, b userviews.User) int {
			switch away := cmp.Or(a.LastSignInAt.Compare(b.LastSignInAt), cmp.Compare(a.ID, b.ID)); order {
			case "last-sign-in":
				return -away
			case "longest-away":
				return away
			}
			return cmp.Compare(a.ID, b.ID)
		})
		if diff := gocmp.Diff(want, got); diff != "" {
			r.Fatal(diff)
		}
	})
}

func TestAnOrderThatAListDoesNotHaveIsRefused(t *testing.T) {
	s := connect(t, newDatabase())
	_, err := patientviews.ListPatients(t.Context(), everything(s), patientviews.PatientsQuery{Study: "S",
		Page: readmodels.Page{Sort: "name"}})
	if r, ok := refuse.As(err); !ok || r.Code != "unknown_order" {
		t.Errorf("got %v", err)
	}
}

// TestAnAssignmentThatWasToComeIsInForceOnItsFirstDay where the patient lives, without an event of that day.
func TestAnAssignmentThatWasToComeIsInForceOnItsFirstDay(t *testing.T) {
	s := connect(t, newDatabase())
	v := patientviews.PatientDocument{Header: readmodels.Header{ID: "S.1"}, Patient: "S.1", Study: "S"}
	v.Assigned("diary", patientviews.Assignment{Version: 1, Zone: "Asia/Tokyo", From: "2026-03-01", Until: "2026-04-30"}, "2026-03-01")
	v.Assigned("diary", patientviews.Assignment{Version: 2, Zone: "Asia/Tokyo", From: "2026-04-01", Until: "2026-05-30"}, "2026-03-02")
	v.Assigned("diary", patientviews.Assignment{Version: 3, Zone: "Asia/Tokyo", From: "2026-06-01", Until: "2026-06-30"}, "2026-03-02")
	put(t, s, patientviews.PatientViews, v)
	r := everything(s)
	for _, c := range []struct {
		now            string
		version, later int
		until          domain.Date
	}{
		{"2026-03-31T14:59:00Z", 1, 2, "2026-03-31"}, {"2026-03-31T15:00:00Z", 2, 1, "2026-05-30"}, {"2026-06-02T00:00:00Z", 3, 0, "2026-06-30"},
	} {
		at, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		r.Now = at
		got, err := patientviews.LoadPatient(t.Context(), r, patientviews.PatientQuery{Patient: "S.1"})
		if err != nil {
			t.Fatal(err)
		}
		if a := got.Instruments[0]; a.Version != c.version || len(a.Later) != c.later || a.Until != c.until {
			t.Errorf("at %s is shown %+v", c.now, a)
		}
	}
	v.Assigned("diary", patientviews.Assignment{Version: 4, Zone: "Asia/Tokyo", From: "2026-06-10", Until: "2026-06-30"}, "2026-06-10")
	if a := v.Instruments[0]; a.Version != 4 || len(a.Later) != 0 {
		t.Errorf("an assignment from today on leaves %+v", a)
	}
}
