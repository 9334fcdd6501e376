package study

import (
	"maps"

	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/refuse"
)

// PublishBuild makes a sealed build one that sites can be given.
type PublishBuild struct {
	domain.InStudy
	Build int `json:"build" minimum:"1" doc:"Number of the build"`
	// SHA256 binds the act to what was looked at.
	SHA256 string `json:"sha256" minLength:"64" maxLength:"64" doc:"The hash of the build, as BuildSealed has it"`
	// Protocol is the version of the protocol whose approval at a site allows the build there.
	Protocol int `json:"protocol" minimum:"1" doc:"The version of the protocol that the build captures the data of"`
}

// ReleaseBuild lets a site capture data by a published build.
type ReleaseBuild struct {
	domain.AtSite
	Build int `json:"build" minimum:"1" doc:"Number of the build"`
}

// BuildPublished says that sites can be given a build.
type BuildPublished struct {
	Study    domain.StudyID `json:"study"`
	Build    int            `json:"build"`
	SHA256   string         `json:"sha256"`
	Protocol int            `json:"protocol"`
}

// BuildReleased says that a site captures data by a build from now on.
type BuildReleased struct {
	Study domain.StudyID `json:"study"`
	Site  domain.SiteID  `json:"site"`
	Build int            `json:"build"`
}

func (BuildPublished) studyEvent() {}
func (BuildReleased) studyEvent()  {}

// AboutBuild returns the build that the event is about.
func (e BuildPublished) AboutBuild() (domain.StudyID, int) { return e.Study, e.Build }

// AboutBuild returns the build that the event is about.
func (e BuildReleased) AboutBuild() (domain.StudyID, int) { return e.Study, e.Build }

// PublishedBuild is a build that sites can be given.
type PublishedBuild struct {
	SHA256   string
	Protocol int
}

// Builds returns the published builds by their numbers. The map is shared: do not change it.
func (s Study) Builds() map[int]PublishedBuild { return s.builds }

// NewestBuild returns the number of the newest published build, 0 for none.
func (s Study) NewestBuild() int {
	newest := 0
	for n := range s.builds {
		newest = max(newest, n)
	}
	return newest
}

// Publishing decides about PublishBuild. Later builds replace earlier ones, so that they are published in the order of their numbers;
// numbers may be left out.
//
// It refuses study_not_found, build_not_found, build_not_sealed, build_hash_mismatch, build_published, build_superseded and
// protocol_version_not_found.
func Publishing(s Study, b build.Build, cmd PublishBuild, _ domain.Call) ([]Event, error) {
	if err := domain.First(s.mustExist(cmd.Study), b.MustExist(cmd.Study, cmd.Build)); err != nil {
		return nil, err
	}
	newest := s.NewestBuild()
	switch {
	case !b.IsSealed():
		return nil, refuse.WrongState("build_not_sealed", "build %d of study %s is a draft", cmd.Build, cmd.Study).At("build").
			Do("seal it with SealBuild first")
	case b.SHA256() != cmd.SHA256:
		return nil, refuse.WrongState("build_hash_mismatch", "build %d has the hash %s", cmd.Build, b.SHA256()).At("sha256").
			Do("look at the build that was sealed, and name its hash")
	case s.Version(cmd.Protocol) == nil:
		return nil, refuse.NotFound("protocol_version_not_found", "study %s has no version %d of the protocol", cmd.Study, cmd.Protocol).
			At("protocol").Do("publish it first")
	case cmd.Build == newest:
		return nil, refuse.WrongState("build_published", "build %d is published already", cmd.Build).At("build").Do("nothing is left to do")
	case cmd.Build < newest:
		return nil, refuse.WrongState("build_superseded", "build %d of study %s is published, and replaces build %d", newest, cmd.Study,
			cmd.Build).
			At("build").Do("begin the next build with the contents of this one")
	}
	return []Event{BuildPublished{Study: cmd.Study, Build: cmd.Build, SHA256: cmd.SHA256, Protocol: cmd.Protocol}}, nil
}

// Release decides about ReleaseBuild. A site needs the recorded approval of the version of the protocol that the build belongs to, also
// where the protocol asks for none (ICH E6(R3) 4.3.5).
//
// It refuses study_not_found, site_not_found, build_not_published, protocol_not_approved, build_released and build_superseded.
func Release(s Study, cmd ReleaseBuild, _ domain.Call) ([]Event, error) {
	site, err := s.site(cmd.Study, cmd.Site)
	if err != nil {
		return nil, err
	}
	published, ok := s.builds[cmd.Build]
	if !ok {
		return nil, refuse.WrongState("build_not_published", "build %d of study %s is not published", cmd.Build, cmd.Study).At("build").
			Do("publish it with PublishBuild first")
	}
	switch _, approved := site.Approved[published.Protocol]; {
	case cmd.Build == site.Build:
		return nil, refuse.WrongState("build_released", "site %s captures by build %d already", cmd.Site, cmd.Build).At("build").
			Do("nothing is left to do")
	case cmd.Build < site.Build:
		return nil, refuse.WrongState("build_superseded", "site %s captures by build %d already, which replaces build %d", cmd.Site, site.Build,
			cmd.Build).At("build").Do("release a later build")
	case !approved:
		return nil, refuse.WrongState("protocol_not_approved", "version %d of the protocol, that of build %d, is not approved for site %s",
			published.Protocol, cmd.Build, cmd.Site).At("site").Do("record the approval of the ethics committee first (ICH E6(R3) 4.3.5)")
	}
	return []Event{BuildReleased{Study: cmd.Study, Site: cmd.Site, Build: cmd.Build}}, nil
}

func withBuild(builds map[int]PublishedBuild, e BuildPublished) map[int]PublishedBuild {
	next := make(map[int]PublishedBuild, len(builds)+1)
	maps.Copy(next, builds)
	next[e.Build] = PublishedBuild{SHA256: e.SHA256, Protocol: e.Protocol}
	return next
}
