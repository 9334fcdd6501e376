package study_test

import (
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/form"
	"casebook/domain/scenario"
	"casebook/domain/study"
)

var hash = strings.Repeat("a", 64)

// sealedBuild is the state of a build that was sealed under hash.
func sealedBuild(number int) build.Build {
	of := build.ForBuild(pain, number)
	return build.Decider.Fold(build.DraftCreated{OfBuild: of, Title: "Build"},
		build.FormPut{OfBuild: of, Form: build.Form{ID: "VS", Title: form.Plain("Vital signs")}}, build.Sealed{OfBuild: of, SHA256: hash})
}

func publishingBuild(b build.Build, number, protocol int, of string) func(study.Study) ([]study.Event, error) {
	return scenario.SentWithFacts(study.Publishing, b,
		study.PublishBuild{InStudy: domain.ForStudy(pain), Build: number, Protocol: protocol, SHA256: of}, domain.Call{})
}

func releasing(site domain.SiteID, number int) func(study.Study) ([]study.Event, error) {
	return scenario.Sent(study.Release, study.ReleaseBuild{AtSite: domain.ForSite(pain, site), Build: number}, domain.Call{})
}

func TestBuildsArePublishedInOrder(t *testing.T) {
	begun := scenario.For(t, study.Decider).Strict()
	begun.When(publishingBuild(sealedBuild(1), 1, 1, hash)).ThenRefused("study_not_found")
	given := begun.Given(study.Created{Study: pain, Title: "Pain"},
		study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0"}})
	given.When(publishingBuild(build.Build{}, 1, 1, hash)).ThenRefused("build_not_found")
	given.When(publishingBuild(build.Decider.Fold(build.DraftCreated{OfBuild: build.ForBuild(pain, 1)}), 1, 1,
		hash)).ThenRefused("build_not_sealed")
	given.When(publishingBuild(sealedBuild(1), 1, 1, strings.Repeat("b", 64))).ThenRefused("build_hash_mismatch")
	given.When(publishingBuild(sealedBuild(1), 1, 2, hash)).ThenRefused("protocol_version_not_found")
	second := study.BuildPublished{Study: pain, Build: 2, SHA256: hash, Protocol: 1}
	published := given.When(publishingBuild(sealedBuild(2), 2, 1, hash)).Then(second)
	published.When(publishingBuild(sealedBuild(2), 2, 1, hash)).ThenRefused("build_published")
	published.When(publishingBuild(sealedBuild(1), 1, 1, hash)).ThenRefused("build_superseded")
	if state := published.State(); state.NewestBuild() != 2 || state.Builds()[2].SHA256 != hash || state.Builds()[2].Protocol != 1 {
		t.Errorf("the published builds are %+v", state.Builds())
	}
}

func TestABuildIsReleasedWhereItsProtocolIsApproved(t *testing.T) {
	begun := scenario.For(t, study.Decider).Strict()
	begun.When(releasing("A", 1)).ThenRefused("study_not_found")
	given := begun.Given(study.Created{Study: pain, Title: "Pain"},
		study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0"}},
		study.ProtocolVersionPublished{Study: pain, Protocol: study.Protocol{Version: 2, ConsentVersion: "2.0"}},
		study.SiteAdded{Study: pain, Site: "A", Name: "A"}, study.SiteAdded{Study: pain, Site: "B", Name: "B"})
	given.When(releasing("C", 1)).ThenRefused("site_not_found")
	given.When(releasing("A", 1)).ThenRefused("build_not_published")
	given = given.Given(study.BuildPublished{Study: pain, Build: 1, SHA256: hash, Protocol: 1},
		study.BuildPublished{Study: pain, Build: 2, SHA256: hash, Protocol: 2})
	given.When(releasing("A", 1)).ThenRefused("protocol_not_approved")
	given = given.Given(approved(1, "2026-03-01"))
	given.When(releasing("A", 2)).ThenRefused("protocol_not_approved") // version 2 is another one
	given.When(releasing("B", 1)).ThenRefused("protocol_not_approved") // B is another site
	first := given.When(releasing("A", 1)).Then(study.BuildReleased{Study: pain, Site: "A", Build: 1})
	first.When(releasing("A", 1)).ThenRefused("build_released")
	both := first.Given(approved(2, "2026-03-02")).When(releasing("A", 2)).Then(study.BuildReleased{Study: pain, Site: "A", Build: 2})
	both.When(releasing("A", 1)).ThenRefused("build_superseded")
	if site := both.State().Sites["A"]; site.Build != 2 || both.State().Sites["B"].Build != 0 {
		t.Errorf("site A captures by build %d", site.Build)
	}
}
