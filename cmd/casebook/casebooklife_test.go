package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/casebook"
	"casebook/domain/form"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/readmodels"
	casebookviews "casebook/readmodels/casebook"
)

// captured is a study whose site captures data by a released build, with a patient who was at the visit SCR.
type captured struct {
	*drawnUp
	of domain.OfPatient
	// investigator is of the same site, elsewhere of another one.
	investigator, elsewhere, monitor, safety string
}

func beginCaptured(t *testing.T) *captured {
	t.Helper()
	b := beginDrawnUp(t)
	c := &captured{drawnUp: b, of: domain.ForPatient(domain.NewPatientID(b.study, "S-01")),
		investigator: b.account("dr.built", user.Grant{Role: user.Investigator, Study: b.study, Site: "01"}),
		monitor:      b.account("cra.built", user.Grant{Role: user.Monitor, Study: b.study}),
		safety:       b.account("safety.built", user.Grant{Role: user.SafetyOfficer, Study: b.study}),
		elsewhere:    b.account("crc.elsewhere", user.Grant{Role: user.CRC, Study: b.study, Site: "02"})}
	second := study.Protocol{Version: 2, ConsentVersion: "1.0", PublishedOn: "2026-01-01", Arms: []study.Arm{{ID: "drug", Title: "Drug"}},
		Visits: []study.Visit{{ID: "SCR", Title: "Screening", Day: -7}, {ID: "V1", Title: "Week 1", Day: -1}}}
	b.must(b.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(b.study), Protocol: second})
	at := domain.ForSite(b.study, "01")
	b.must(b.manager, study.ApproveProtocolAtSite{AtSite: at, Version: 2, ApprovedOn: "2026-01-05", By: "Ethics committee"})
	b.must(b.manager, study.ActivateSite{AtSite: at, On: "2026-01-10"})

	of := build.ForBuild(b.study, 1)
	both := func(text string) form.Translation { return form.Translation{"en": text, "de": text} }
	b.must(b.manager, build.CreateBuildDraft{OfBuild: of, Title: "First", Languages: []string{"en", "de"}})
	b.must(b.manager, build.PutForm{OfBuild: of, Form: vitalSigns()})
	b.must(b.manager, build.PutCodeList{OfBuild: of, List: form.CodeList{ID: "position",
		Options: []form.Option{{Value: "supine", Label: both("Supine")}}}})
	b.must(b.manager, build.PutForm{OfBuild: of, Form: build.Form{ID: "NT", Title: both("Notes"), Kind: build.VisitForm,
		Groups: []build.Group{{ID: "NT", Title: both("Notes"), Items: []build.Item{
			{Item: form.Item{ID: "NOTE", Text: both("Note"), Type: form.Text}}}}}}})
	b.must(b.manager, build.PutSchedule{OfBuild: of, Schedule: build.Schedule{Visits: []build.Visit{
		{ID: "SCR", Title: both("Screening"), Kind: build.VisitScheduled, Forms: []string{"VS", "NT"}},
		{ID: "V1", Title: both("Week 1"), Kind: build.VisitScheduled, Day: 7, Forms: []string{"VS"}}}}})
	b.must(b.manager, build.PutChecks{OfBuild: of, Checks: build.CheckSet{ID: "vitals", Checks: []build.Check{
		{ID: "fast", Group: "VS", Item: "PULSE", When: "answers.PULSE > 150", Message: both("Is it that fast?"), Effect: form.EffectQuery},
		{ID: "wrong", Group: "NT", Item: "NOTE", When: `answers.NOTE == "wrong"`, Message: both("Is it wrong?"), Effect: form.EffectQuery}}}})
	b.must(b.manager, build.SealBuild{OfBuild: of})

	b.must(b.crc, patient.ScreenPatient{AtSite: at, ScreeningNumber: "S-01", On: "2026-02-01", Sex: patient.Female, AgeYears: 54})
	b.must(b.crc, patient.RecordConsent{OfPatient: c.of, ConsentVersion: "1.0", On: "2026-02-02"})
	c.refusedAs(b.crc, "not_released", casebook.SubmitForm{OfPatient: c.of, Form: "SCR/VS", Build: 1})
	var shown struct{ SHA256 string }
	b.query(b.crc, "/api/v1/studies/BUILT/builds/1/forms/VS", 0, &shown)
	b.must(b.present, study.PublishBuild{InStudy: domain.ForStudy(b.study), Build: 1, Protocol: 2, SHA256: shown.SHA256})
	b.must(b.manager, study.ReleaseBuild{AtSite: at, Build: 1})
	return c
}

// form returns a form of the patient as the view has it, after a position.
func (c *captured) form(token string, k casebook.FormKey, position uint64) casebookviews.FormDocument {
	c.t.Helper()
	var list readmodels.List[casebookviews.FormDocument]
	c.query(token, "/api/v1/patients/"+string(c.of.Patient)+"/forms?form="+string(k), position, &list)
	if len(list.Items) != 1 {
		c.t.Fatalf("there are %d forms %s", len(list.Items), k)
	}
	return list.Items[0]
}

func entry(k casebook.Key, base int, value string) casebook.Entry {
	return casebook.Entry{Key: k, Base: base, Value: value}
}

// TestAFormIsFilledInQueriedAndCorrected lives the life of a case report form through the API.
func TestAFormIsFilledInQueriedAndCorrected(t *testing.T) {
	c := beginCaptured(t)
	const pulse = casebook.Key("SCR/VS/VS/PULSE")
	submit := casebook.SubmitForm{OfPatient: c.of, Form: "SCR/VS", Build: 1, Items: []casebook.Entry{entry(pulse, 0, "160"),
		entry("SCR/VS/VS/POSITION", 0, "supine")}}
	c.refusedAs(c.crc, "visit_not_recorded", submit)
	c.must(c.crc, patient.RecordVisit{OfPatient: c.of, Visit: "SCR", On: "2026-02-03"})
	c.refusedAs(c.elsewhere, "not_allowed", submit)
	c.refusedAs(c.manager, "not_allowed", submit)
	c.refusedAs(c.crc, "unknown_item", casebook.SubmitForm{OfPatient: c.of, Form: "SCR/VS", Build: 1,
		Items: []casebook.Entry{entry("SCR/VS/VS/TABLET", 0, "blue")}})
	submitted := c.must(c.crc, submit)
	first := c.form(c.crc, "SCR/VS", submitted.Position)
	if first.OpenQueries != 1 || first.Queries[0].Check != "fast" || first.Queries[0].Key != pulse ||
		!slices.Contains(first.Queries[0].Message, casebookviews.Said{Language: "en", Text: "Is it that fast?"}) {
		t.Errorf("the queries are %+v", first.Queries)
	}
	if len(first.Items) != 3 || first.Items[0].Key != "SCR/VS/VS/GAIN" || !first.Items[0].Derived || first.Items[0].Value != "0" ||
		first.Items[2].Key != pulse || first.Items[2].Raw != "160" || first.Items[2].Version != 1 || first.Items[2].By != "crc.built" {
		t.Errorf("the items are %+v", first.Items)
	}

	// The investigator corrects the value; the coordinator has still the old one on the screen.
	change := func(base int, value string) casebook.CorrectItems {
		return casebook.CorrectItems{OfPatient: c.of, Changes: []casebook.Change{{Entry: entry(pulse, base, value), Why: casebook.OtherReason,
			Reason: "Read from the wrong line of Anna Weber"}}}
	}
	corrected := c.must(c.investigator, change(1, "60"))
	status, _, text := c.command(c.crc, "", change(1, "61"))
	for _, part := range []string{`"code":"stale_value"`, `\"60\"`, `\"61\"`, "dr.built", "version 2", "version 1"} {
		if status != http.StatusConflict || !strings.Contains(text, part) {
			t.Errorf("a stale write is answered %d %s, without %s", status, text, part)
		}
	}
	mended := c.form(c.crc, "SCR/VS", corrected.Position)
	if v := mended.Items[2]; mended.OpenQueries != 0 || mended.Queries[0].Status != casebookviews.QueryResolved || v.Value != "60" ||
		v.Version != 2 || v.By != "dr.built" || v.Why != casebook.OtherReason || v.Reason != "Read from the wrong line of Anna Weber" {
		t.Errorf("the form is %+v", mended)
	}
	// As it was before.
	var past readmodels.List[casebookviews.FormDocument]
	c.query(c.crc, "/api/v1/patients/"+string(c.of.Patient)+fmt.Sprintf("/forms?asOf=%d", submitted.Position), corrected.Position, &past)
	if len(past.Items) != 1 || past.Items[0].Items[2].Value != "160" || past.Items[0].OpenQueries != 1 {
		t.Errorf("the past is %+v", past.Items)
	}

	// A monitor asks; the site answers, and another role cannot close it.
	asked := casebook.RaiseQuery{OfPatient: c.of, Key: pulse, Text: "Who has counted?"}
	c.refusedAs(c.crc, "not_allowed", asked)
	c.must(c.monitor, asked)
	c.refusedAs(c.monitor, "query_not_answered", casebook.CloseQuery{OfPatient: c.of, Query: 2})
	answered := c.must(c.crc, casebook.AnswerQuery{OfPatient: c.of, Query: 2, Text: "Boris"})
	if d := c.form(c.crc, "SCR/VS", answered.Position); d.OpenQueries != 1 || d.Queries[1].Status != casebookviews.QueryAnswered ||
		d.Queries[1].RaisedBy != "cra.built" || d.Queries[1].Thread[0].Text != "Who has counted?" || d.Queries[1].Thread[1].Text != "Boris" {
		t.Errorf("the query is %+v", d.Queries)
	}
	c.refusedAs(c.safety, "query_of_others", casebook.CloseQuery{OfPatient: c.of, Query: 2})
	ended := c.must(c.monitor, casebook.CloseQuery{OfPatient: c.of, Query: 2})
	if d := c.form(c.crc, "SCR/VS", ended.Position); d.OpenQueries != 0 || d.Queries[1].Status != casebookviews.QueryClosed {
		t.Errorf("the query is %+v", d.Queries)
	}
	// What was not done.
	because := domain.Because("The room was locked")
	notDone := c.must(c.crc, casebook.MarkItemNotDone{OfPatient: c.of, Key: "SCR/VS/VS/POSITION", Base: 1, Null: casebook.NotDone,
		Reasoned: because})
	if v := c.form(c.crc, "SCR/VS", notDone.Position).Items[1]; v.Null != casebook.NotDone || v.Value != "" || v.Version != 2 {
		t.Errorf("the position is %+v", v)
	}
	notDone = c.must(c.crc, casebook.MarkFormNotDone{OfPatient: c.of, Form: "SCR/NT", Build: 1, Null: casebook.NotDone, Reasoned: because})
	if d := c.form(c.crc, "SCR/NT", notDone.Position); d.NotDone != casebook.NotDone || d.SubmittedAt != nil {
		t.Errorf("the notes are %+v", d)
	}

	// A free text is sealed in the log. The check that looks at it finds what was written, also when another item is entered later.
	note := casebook.Key("SCR/NT/NT/NOTE")
	c.must(c.crc, casebook.SubmitForm{OfPatient: c.of, Form: "SCR/NT", Build: 1, Items: []casebook.Entry{entry(note, 0, "wrong")}})
	again := casebook.CorrectItems{OfPatient: c.of, Changes: []casebook.Change{{Entry: entry(note, 1, "wrong"), Why: casebook.EntryError}}}
	c.refusedAs(c.crc, "no_change", again)
	again.Changes[0].Value = "right"
	noted := c.must(c.crc, again)
	if d := c.form(c.crc, "SCR/NT", noted.Position); d.Items[0].Text != "right" || d.OpenQueries != 0 || len(d.Queries) != 1 {
		t.Errorf("the note is %+v", d)
	}
	request, err := http.NewRequest(http.MethodGet, c.url+"/api/v1/patients/"+string(c.of.Patient)+"/forms", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if status, text := c.do(request, c.elsewhere); status != http.StatusForbidden {
		t.Errorf("another site is answered %d %s", status, text)
	}
}
