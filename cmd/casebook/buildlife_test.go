package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/form"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/readmodels"
	buildviews "casebook/readmodels/build"

	"github.com/google/go-cmp/cmp"
)

// drawnUp is a study on a running server whose data managers build it.
type drawnUp struct {
	installation
	study domain.StudyID
	// manager builds the study, and present is the same person just after a sign-in; crc works at site 01.
	manager, present, crc string
}

func beginDrawnUp(t *testing.T) *drawnUp {
	t.Helper()
	const id = domain.StudyID("BUILT")
	in := install(t)
	b := &drawnUp{installation: in, study: id, manager: in.account("builder", user.Grant{Role: user.DataManager, Study: id}),
		crc: in.account("crc.built", user.Grant{Role: user.CRC, Study: id, Site: "01"})}
	var err error
	if b.present, err = in.tokens.SignFor(access.Proof{User: "builder", AuthenticatedAt: time.Now()}, time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	b.must(b.manager, study.CreateStudy{InStudy: domain.ForStudy(id), Title: "A study to build", Sponsor: "Nobody"})
	b.must(b.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(id), Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
		PublishedOn: "2026-01-01", Arms: []study.Arm{{ID: "drug", Title: "Drug"}}}})
	b.must(b.manager, study.AddSite{AtSite: domain.ForSite(id, "01"), Name: "Hospital", Country: "DE", Zone: "Europe/Berlin"})
	return b
}

// refusedAs sends a command that has to be refused with a code.
func (b *drawnUp) refusedAs(token, code string, command any) {
	b.t.Helper()
	if status, _, text := b.command(token, "", command); status == http.StatusOK || !strings.Contains(text, `"code":"`+code+`"`) {
		b.t.Errorf("%T is answered %d %s, want %s", command, status, text, code)
	}
}

// get asks for something below the study.
func (b *drawnUp) get(token, path string) (int, string) {
	b.t.Helper()
	request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/api/v1/studies/%s/%s", b.url, b.study, path), http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// vitalSigns is a form with a code list, a derived item and an item that only the pharmacy may see.
func vitalSigns() build.Form {
	item := func(id form.ItemID, of form.ItemType) build.Item {
		return build.Item{Item: form.Item{ID: id, Text: form.Translation{"en": "The " + string(id), "de": "Das " + string(id)}, Type: of}}
	}
	pulse, position, tablet, gain := item("PULSE", form.Integer), item("POSITION", form.Choice), item("TABLET", form.Text), item("GAIN",
		form.Integer)
	pulse.Required, position.List, tablet.Blinding = true, "position", "pharmacy"
	gain.Derivation = `answers.PULSE - at("SCR").VS.PULSE`
	title := form.Translation{"en": "Vital signs", "de": "Vitalzeichen"}
	return build.Form{ID: "VS", Title: title, Kind: build.VisitForm, Groups: []build.Group{{ID: "VS", Title: title,
		Items: []build.Item{pulse, position, tablet, gain}}}}
}

// TestABuildIsDrawnUpPublishedAndReleased draws up a build through the API, and reads it as those who capture data by it.
func TestABuildIsDrawnUpPublishedAndReleased(t *testing.T) {
	b := beginDrawnUp(t)
	of := build.ForBuild(b.study, 1)
	both := func(en, de string) form.Translation { return form.Translation{"en": en, "de": de} }
	schedule := build.Schedule{Visits: []build.Visit{{ID: "SCR", Title: both("Screening", "Screening"), Kind: build.VisitScheduled,
		Forms: []string{"VS"}}, {ID: "V1", Title: both("Week 1", "Woche 1"), Kind: build.VisitScheduled, Day: 7, Forms: []string{"VS"}}}}
	check := build.Check{ID: "rise", Group: "VS", Item: "PULSE", When: `answers.PULSE - prev().VS.PULSE > 40`, Message: both("Much", "Viel"),
		Effect: form.EffectQuery}

	b.refusedAs(b.manager, "build_not_found", build.PutForm{OfBuild: of, Form: vitalSigns()})
	b.refusedAs(b.crc, "not_allowed", build.CreateBuildDraft{OfBuild: of, Title: "First"})
	b.refusedAs(b.manager, "build_order", build.CreateBuildDraft{OfBuild: build.ForBuild(b.study, 2), Title: "Second"})
	b.must(b.manager, build.CreateBuildDraft{OfBuild: of, Title: "First", Languages: []string{"en", "de"}})
	b.must(b.manager, build.PutForm{OfBuild: of, Form: vitalSigns()})
	b.must(b.manager, build.PutSchedule{OfBuild: of, Schedule: schedule})
	b.refusedAs(b.manager, "invalid_build", build.SealBuild{OfBuild: of}) // the code list is missing
	b.must(b.manager, build.PutCodeList{OfBuild: of, List: form.CodeList{ID: "position",
		Options: []form.Option{{Value: "supine", Label: both("Supine", "Liegend")}}}})
	b.must(b.manager, build.PutCodeList{OfBuild: of, List: form.CodeList{ID: "spare",
		Options: []form.Option{{Value: "a", Label: both("A", "A")}}}})
	b.must(b.manager, build.RemovePart{OfBuild: of, Kind: build.PartList, Part: "spare"})
	wrong := check
	wrong.When = `answers.PULSE - at("V2").VS.PULSE > 40`
	b.must(b.manager, build.PutChecks{OfBuild: of, Checks: build.CheckSet{ID: "vitals", Checks: []build.Check{wrong}}})
	b.refusedAs(b.manager, "invalid_rule", build.SealBuild{OfBuild: of})
	drafted := b.must(b.manager, build.PutChecks{OfBuild: of, Checks: build.CheckSet{ID: "vitals", Checks: []build.Check{check}}})

	if status, text := b.get(b.crc, "builds/1/forms/VS"); status != http.StatusConflict || !strings.Contains(text, "build_not_sealed") {
		t.Errorf("a draft's form is answered %d %s", status, text)
	}
	var draft buildviews.BuildDocument
	b.query(b.manager, "/api/v1/studies/BUILT/builds/1", drafted.Position, &draft)
	if draft.Status != buildviews.BuildDraft || !slices.Equal(draft.Forms, []string{"VS"}) ||
		!slices.Equal(draft.Lists, []string{"position"}) ||
		!slices.Equal(draft.Visits, []string{"SCR", "V1"}) || !slices.Equal(draft.Checks, []string{"vitals"}) {
		t.Errorf("the draft is %+v", draft)
	}

	b.refusedAs(b.present, "build_not_sealed", study.PublishBuild{InStudy: domain.ForStudy(b.study), Build: 1, Protocol: 1,
		SHA256: strings.Repeat("0", 64)})
	sealed := b.must(b.manager, build.SealBuild{OfBuild: of})
	b.refusedAs(b.manager, "build_sealed", build.PutForm{OfBuild: of, Form: vitalSigns()})

	var shown buildviews.FormToFillIn
	b.query(b.crc, "/api/v1/studies/BUILT/builds/1/forms/VS", sealed.Position, &shown)
	if items := shown.Form.Groups[0].Items; len(items) != 3 || items[0].ID != "PULSE" || items[2].Derivation == "" ||
		items[1].Text["de"] != "Das POSITION" || len(shown.Lists) != 1 || shown.Lists[0].Options[0].Label["de"] != "Liegend" {
		t.Errorf("the form is shown as %+v", shown)
	}
	if _, text := b.get(b.crc, "builds/1/forms/VS"); strings.Contains(text, "TABLET") || strings.Contains(text, "pharmacy") {
		t.Errorf("the form tells of a blinded item: %s", text)
	}
	if status, text := b.get(b.crc, "builds/1/parts/form/VS"); status != http.StatusForbidden {
		t.Errorf("a coordinator's question for a part is answered %d %s", status, text)
	}
	if status, text := b.get(b.manager, "builds/1/parts/form/VS"); status != http.StatusOK || !strings.Contains(text, "TABLET") {
		t.Errorf("a data manager's question for a part is answered %d %s", status, text)
	}
	if status, text := b.get(b.manager, "builds/1/parts/schedule/schedule"); status != http.StatusOK || !strings.Contains(text, "Woche 1") {
		t.Errorf("the question for the schedule is answered %d %s", status, text)
	}
	for _, path := range []string{"builds/1/forms/XX", "builds/2/forms/VS", "builds/2", "builds/1/parts/list/spare"} {
		if status, text := b.get(b.manager, path); status != http.StatusNotFound {
			t.Errorf("%s is answered %d %s", path, status, text)
		}
	}

	publish := study.PublishBuild{InStudy: domain.ForStudy(b.study), Build: 1, Protocol: 1, SHA256: shown.SHA256}
	release := study.ReleaseBuild{AtSite: domain.ForSite(b.study, "01"), Build: 1}
	b.refusedAs(b.manager, "reauthentication_required", publish)
	b.refusedAs(b.present, "protocol_version_not_found",
		study.PublishBuild{InStudy: publish.InStudy, Build: 1, Protocol: 2, SHA256: shown.SHA256})
	b.refusedAs(b.present, "build_hash_mismatch", study.PublishBuild{InStudy: publish.InStudy, Build: 1, Protocol: 1,
		SHA256: strings.Repeat("0", 64)})
	b.refusedAs(b.manager, "build_not_published", release)
	b.must(b.present, publish)
	b.refusedAs(b.present, "build_published", publish)
	b.refusedAs(b.manager, "protocol_not_approved", release)
	b.must(b.manager, study.ApproveProtocolAtSite{AtSite: release.AtSite, Version: 1, ApprovedOn: "2026-01-05", By: "Ethics committee"})
	released := b.must(b.manager, release)
	b.refusedAs(b.manager, "build_released", release)

	// An amendment shows what it changes, while it is a draft.
	second, amended := build.ForBuild(b.study, 2), vitalSigns()
	amended.Groups[0].Items[0].Max = new(200.0)
	amended.Groups[0].Items = amended.Groups[0].Items[:3]
	b.must(b.manager, build.CreateBuildDraft{OfBuild: second, Title: "Amendment 1", Languages: []string{"en", "de"}})
	b.must(b.manager, build.PutSchedule{OfBuild: second, Schedule: schedule})
	b.must(b.manager, build.PutCodeList{OfBuild: second, List: shown.Lists[0]})
	put := b.must(b.manager, build.PutForm{OfBuild: second, Form: amended})
	var changes buildviews.ChangesOfBuild
	b.query(b.manager, "/api/v1/studies/BUILT/builds/2/changes", put.Position, &changes)
	if diff := cmp.Diff([]build.Change{
		{Kind: build.Removed, Of: build.ChangedItem, Name: "VS.GAIN", Effect: build.EffectOrphans},
		{Kind: build.Changed, Of: build.ChangedItem, Name: "VS.PULSE", Fields: []string{"max"}, Effect: build.EffectMisfits},
		{Kind: build.Removed, Of: build.ChangedCheck, Name: "rise", Effect: build.EffectQueries},
	}, changes.Changes); diff != "" || changes.From != 1 {
		t.Errorf("the amendment changes (-want +got):\n%s", diff)
	}
	if status, text := b.get(b.crc, "builds/2/changes"); status != http.StatusForbidden {
		t.Errorf("a coordinator's question for the changes is answered %d %s", status, text)
	}

	var list readmodels.List[buildviews.BuildDocument]
	b.query(b.crc, "/api/v1/studies/BUILT/builds", released.Position, &list)
	if len(list.Items) != 2 || list.Items[1].Status != buildviews.BuildDraft || list.Items[0].Status != buildviews.BuildPublished ||
		list.Items[0].SHA256 != shown.SHA256 ||
		list.Items[0].Protocol != 1 || len(list.Items[0].Releases) != 1 || list.Items[0].Releases[0].Site != "01" {
		t.Errorf("the builds are %+v", list.Items)
	}
}
