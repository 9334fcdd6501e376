package study

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// StudyOverviews is the view of studies, with one document per study.
var StudyOverviews = readmodels.View{Name: "study-overview", Version: 4}

// StudyOverview holds the facts and figures of a study.
type StudyOverview struct {
	readmodels.Header `bson:",inline"`
	Study             domain.StudyID `bson:"study" json:"study" doc:"The study"`
	Title             string         `bson:"title" json:"title" doc:"Full title"`
	Sponsor           string         `bson:"sponsor" json:"sponsor" doc:"Who is responsible"`
	Phase             string         `bson:"phase,omitempty" json:"phase,omitempty" doc:"Clinical phase"`
	ProtocolVersion   int            `bson:"protocolVersion,omitempty" json:"protocolVersion,omitempty" doc:"Newest version of the protocol"`
	ConsentVersion    string         `bson:"consentVersion,omitempty" json:"consentVersion,omitempty" doc:"Informed consent form in force"`
	Enrollment        EnrollmentView `bson:"enrollment" json:"enrollment" doc:"Whether patients may enter, and how many"`
	Suspended         []Suspension   `bson:"suspended,omitempty" json:"suspended,omitempty" doc:"What is stopped for a time, in the whole study, in a country or for a cohort"`
	Figures           *Figures       `bson:"figures,omitempty" json:"figures,omitempty" doc:"Figures of the whole study; left out for callers who see single sites"`
	Sites             []SiteOverview `bson:"sites" json:"sites" doc:"The sites that the caller may see, by id"`
	UpdatedAt         time.Time      `bson:"updatedAt" json:"updatedAt" doc:"When the newest of these facts was recorded"`
	// PastSuspended is what Suspended was.
	PastSuspended readmodels.History[[]Suspension] `bson:"pastSuspended,omitempty" json:"-"`
}

// EnrollmentView says whether patients may enter.
type EnrollmentView struct {
	Open   bool `bson:"open" json:"open" doc:"Whether enrolment is open"`
	Target int  `bson:"target,omitempty" json:"target,omitempty" doc:"How many patients the study wants"`
	Cap    int  `bson:"cap,omitempty" json:"cap,omitempty" doc:"How many may hold a place"`
}

// SiteOverview holds the facts and figures of a site of a study.
type SiteOverview struct {
	Site        domain.SiteID `bson:"site" json:"site" doc:"The site"`
	Name        string        `bson:"name" json:"name" doc:"Hospital or practice"`
	Country     string        `bson:"country" json:"country" doc:"ISO 3166 code"`
	Zone        string        `bson:"zone" json:"zone" doc:"IANA time zone"`
	Status      string        `bson:"status" json:"status" enum:"added,active,closed" doc:"Whether it may screen and enrol"`
	ActivatedOn domain.Date   `bson:"activatedOn,omitempty" json:"activatedOn,omitempty" doc:"Day of activation"`
	Figures     Figures       `bson:"figures" json:"figures" doc:"The site's figures"`
	// Approvals are the versions of the protocol that are approved for the site, in the order in which they were recorded.
	Approvals []Approval `bson:"approvals,omitempty" json:"approvals,omitempty" doc:"Versions of the protocol that are approved for the site"`
	// Closing is what was open when the site was closed.
	Closing []study.ChecklistItem `bson:"closing,omitempty" json:"closing,omitempty" doc:"What was open at the site when it was closed, as the closer confirmed it"`
	// Paused are the activities that are stopped at this site alone.
	Paused []study.Activity `bson:"paused,omitempty" json:"paused,omitempty" doc:"What is stopped at this site for a time"`
	// Pauses are what Paused was and is, with reasons.
	Pauses readmodels.History[Pause] `bson:"pauses,omitempty" json:"-"`
}

// Pause is what is stopped, and why.
type Pause struct {
	Activities []study.Activity `bson:"activities" json:"activities" doc:"What is stopped"`
	Reason     string           `bson:"reason" json:"reason" doc:"Why, as it was said last"`
	Since      time.Time        `bson:"since" json:"since" doc:"When it was stopped, or more was"`
}

// Approval is the approval of a version of the protocol for a site.
type Approval struct {
	Version    int         `bson:"version" json:"version" doc:"The version"`
	ApprovedOn domain.Date `bson:"approvedOn" json:"approvedOn" doc:"Day of the approval"`
	By         string      `bson:"by" json:"by" doc:"The ethics committee"`
	Reference  string      `bson:"reference,omitempty" json:"reference,omitempty" doc:"Its reference"`
}

// Suspension is what is stopped for a time.
type Suspension struct {
	Country string       `bson:"country,omitempty" json:"country,omitempty" doc:"The country; none for the whole study"`
	Cohort  study.Cohort `bson:"cohort,omitempty" json:"cohort,omitempty" doc:"The cohort, by the levels of its factors; none for all patients"`
	Pause   `bson:",inline"`
}

// SuspensionOf returns the suspension of a country, "" for the whole study, or of a cohort. It adds one if there is none.
func (o *StudyOverview) SuspensionOf(country string, cohort study.Cohort) *Suspension {
	for i := range o.Suspended {
		if o.Suspended[i].Country == country && maps.Equal(o.Suspended[i].Cohort, cohort) {
			return &o.Suspended[i]
		}
	}
	o.Suspended = append(o.Suspended, Suspension{Country: country, Cohort: cohort})
	return &o.Suspended[len(o.Suspended)-1]
}

// DropEndedSuspensions removes suspensions that stop nothing any more.
func (o *StudyOverview) DropEndedSuspensions() {
	o.Suspended = slices.DeleteFunc(o.Suspended, func(s Suspension) bool { return len(s.Activities) == 0 })
}

// RememberSuspensions keeps what is suspended since a moment.
func (o *StudyOverview) RememberSuspensions(at time.Time) {
	o.PastSuspended = o.PastSuspended.Since(at, slices.Clone(o.Suspended))
}

// Pause notes that more is stopped at the site.
func (s *SiteOverview) Pause(at time.Time, activities []study.Activity, reason string) {
	s.Paused = study.Stopped(s.Paused, activities)
	s.Pauses = s.Pauses.Since(at, Pause{Activities: s.Paused, Reason: reason, Since: at})
}

// Resume notes what goes on at the site.
func (s *SiteOverview) Resume(at time.Time, activities []study.Activity) {
	is, _ := s.Pauses.At(time.Time{})
	s.Paused = study.GoneOn(s.Paused, activities)
	is.Activities = s.Paused
	s.Pauses = s.Pauses.Since(at, is)
}

// Figures count everything that has happened.
type Figures struct {
	EnrollmentFigures `bson:",inline"`
	ClinicalFigures   `bson:",inline"`
	// Masked says that an answer leaves the clinical figures out. No document has it.
	Masked bool `bson:"-" json:"-"`
}

// EnrollmentFigures count patients. A patient who withdraws still counts as enrolled, as the intention-to-treat principle
// requires.
type EnrollmentFigures struct {
	Screened          int `bson:"screened" json:"screened" doc:"Patients screened"`
	ScreenFailures    int `bson:"screenFailures" json:"screenFailures" doc:"Patients who failed screening"`
	Enrolled          int `bson:"enrolled" json:"enrolled" doc:"Patients enrolled"`
	EnrollmentsFailed int `bson:"enrollmentsFailed" json:"enrollmentsFailed" doc:"Enrolments that found no place"`
	Withdrawn         int `bson:"withdrawn" json:"withdrawn" doc:"Patients who withdrew their consent"`
	Discontinued      int `bson:"discontinued" json:"discontinued" doc:"Patients who ended early for another reason"`
	Completed         int `bson:"completed" json:"completed" doc:"Patients who completed the study"`
}

// Left counts n patients who left the study with a status. n is negative where that was recorded in error.
func (f *EnrollmentFigures) Left(as patient.Status, n int) {
	switch as {
	case patient.StatusScreenFailed:
		f.ScreenFailures += n
	case patient.StatusWithdrawn:
		f.Withdrawn += n
	case patient.StatusDiscontinued:
		f.Discontinued += n
	case patient.StatusCompleted:
		f.Completed += n
	case patient.StatusRegisteredInError: // is about nobody
		f.Screened -= n
	default: // the others are in the study
	}
}

// ClinicalFigures count what patients report. Callers who may not read clinical data do not see them.
type ClinicalFigures struct {
	Diaries            int `bson:"diaries" json:"diaries" required:"false" doc:"Diaries recorded; left out, as the next five, for callers who may not read clinical data there"`
	LateDiaries        int `bson:"lateDiaries" json:"lateDiaries" required:"false" doc:"Of them captured after their window"`
	TranscribedDiaries int `bson:"transcribedDiaries,omitempty" json:"transcribedDiaries" required:"false" doc:"Of them entered by staff; they are never late, nor on time"`
	VoidedDiaries      int `bson:"voidedDiaries,omitempty" json:"voidedDiaries" required:"false" doc:"Diaries that do not count"`
	MissedWindows      int `bson:"missedWindows" json:"missedWindows" required:"false" doc:"Windows that passed unanswered"`
	Risks              int `bson:"risks" json:"risks" required:"false" doc:"Risks flagged"`
}

// CountDiary counts a diary, or takes it back where n is -1.
func (f *ClinicalFigures) CountDiary(mode diary.Mode, late, afterMissed bool, n int) {
	f.Diaries += n
	switch {
	case mode.ByStaff():
		f.TranscribedDiaries += n
	case late:
		f.LateDiaries += n
	}
	if afterMissed {
		f.MissedWindows -= n
	}
}

// withoutClinicalFigures leaves out what callers may not see who may not read clinical data.
func (f *Figures) withoutClinicalFigures() { f.ClinicalFigures, f.Masked = ClinicalFigures{}, true }

// MarshalJSON implements json.Marshaler: figures that are left out are not written as zeros.
func (f Figures) MarshalJSON() ([]byte, error) {
	if f.Masked {
		return json.Marshal(f.EnrollmentFigures)
	}
	type plain Figures
	return json.Marshal(plain(f))
}

// SiteOf returns the part of the overview about a site. It adds the part if there is none.
func (o *StudyOverview) SiteOf(id domain.SiteID) *SiteOverview {
	at := 0
	for at < len(o.Sites) && o.Sites[at].Site < id {
		at++
	}
	if at == len(o.Sites) || o.Sites[at].Site != id {
		o.Sites = append(o.Sites, SiteOverview{})
		copy(o.Sites[at+1:], o.Sites[at:])
		o.Sites[at] = SiteOverview{Site: id}
	}
	return &o.Sites[at]
}

// OnlySites removes what a caller whose grants are bound to sites may not see: the figures of other sites, and the totals
// from which they could be computed.
func (o *StudyOverview) OnlySites(allowed []domain.SiteID) {
	o.Figures = nil
	kept := o.Sites[:0]
	for _, site := range o.Sites {
		for _, id := range allowed {
			if site.Site == id {
				kept = append(kept, site)
				break
			}
		}
	}
	o.Sites = kept
}

// studies and studyOverview are the queries of the caller's studies and of one of them.
var (
	studies = readmodels.Declare(readmodels.Query{
		Name: "Studies", Path: "/api/v1/studies", Summary: "The studies that the caller has a role in",
		Doc:   "What is public about each study, and the caller's roles in it, by the studies' ids.",
		Reach: readmodels.ReachSelf, Views: []readmodels.View{StudyOverviews},
	}, ListStudies)
	studyOverview = readmodels.Declare(readmodels.Query{
		Name: "StudyOverview", Path: "/api/v1/studies/{study}", Summary: "How a study stands",
		Doc: "The study's facts and figures, as a whole and by site. Callers who see single sites get the facts and those sites' " +
			"figures, and no totals. Figures of diaries and risks are left out for callers who may not read clinical data there.",
		OpenTo: access.StudyMembers, Reach: readmodels.ReachSites, Views: []readmodels.View{StudyOverviews},
	}, LoadStudyOverview)
)

// StudiesQuery asks for the studies that the caller has a role in.
type StudiesQuery struct {
	readmodels.Page
}

// StudyOverviewQuery asks for one study.
type StudyOverviewQuery struct {
	Study domain.StudyID `path:"study" doc:"The study"`
}

// StudyRow is what is public about a study, and the caller's part in it.
type StudyRow struct {
	Study           domain.StudyID `json:"study" doc:"The study"`
	Title           string         `json:"title" doc:"Full title"`
	Sponsor         string         `json:"sponsor" doc:"Who is responsible"`
	Phase           string         `json:"phase,omitempty" doc:"Clinical phase"`
	ProtocolVersion int            `json:"protocolVersion,omitempty" doc:"Newest version of the protocol"`
	EnrollmentOpen  bool           `json:"enrollmentOpen" doc:"Whether patients may enter"`
	Roles           []user.Role    `json:"roles" doc:"The caller's roles in it"`
}

var studyOrders = []readmodels.Order[StudyOverview]{
	readmodels.Ascending("study", func(o StudyOverview) []any { return []any{o.ID} }, "_id"),
}

// ListStudies returns a page of the studies that the caller has a role in.
func ListStudies(ctx context.Context, r readmodels.Request, q StudiesQuery) (list readmodels.List[StudyRow], err error) {
	roles := map[domain.StudyID][]user.Role{}
	ids := bson.A{}
	for _, g := range r.Caller.Grants {
		if g.Study == "" {
			continue
		}
		if roles[g.Study] == nil {
			ids = append(ids, string(g.Study))
		}
		if !slices.Contains(roles[g.Study], g.Role) {
			roles[g.Study] = append(roles[g.Study], g.Role)
		}
	}
	filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}
	found, err := readmodels.Listed(ctx, r.Store.Collection(StudyOverviews), q.Page, filter, studyOrders)
	if err != nil {
		return list, err
	}
	list.Next = found.Next
	for _, o := range found.Items {
		list.Items = append(list.Items, StudyRow{Study: o.Study, Title: o.Title, Sponsor: o.Sponsor, Phase: o.Phase,
			ProtocolVersion: o.ProtocolVersion, EnrollmentOpen: o.Enrollment.Open, Roles: roles[o.Study]})
	}
	return list, nil
}

// LoadStudyOverview returns a study, as far as the caller may see it; it refuses study_not_found.
func LoadStudyOverview(ctx context.Context, r readmodels.Request, q StudyOverviewQuery) (StudyOverview, error) {
	var o StudyOverview
	err := r.Store.Collection(StudyOverviews).FindOne(ctx, bson.D{{Key: "_id", Value: string(q.Study)}}).Decode(&o)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return o, refuse.NotFound("study_not_found", "there is no study %s", q.Study).Do("check the id")
	}
	if !r.WholeStudy {
		o.OnlySites(r.Sites)
	}
	if o.Figures != nil && !r.MayKnowPatients(q.Study, "") {
		o.Figures.withoutClinicalFigures()
	}
	for i := range o.Sites {
		if at := &o.Sites[i]; !r.MayKnowPatients(q.Study, at.Site) {
			at.Figures.withoutClinicalFigures()
		}
	}
	return o, err
}
