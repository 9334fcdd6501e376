package api

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"strconv"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	studyviews "casebook/readmodels/study"
)

// Queries lists every query.
func Queries() []Query {
	return []Query{me, studies, studyOverview, enrollmentBySite, siteDashboard, patients, patientView, patientDiaries, compliance, complianceBySite,
		processes, parkedMessages, alerts, kits, kit, shipments, accountability, accountabilityByPatient,
		studyUsers, users, studyTrail, accountTrail, viewsStanding}
}

var me = Query{
	Name: "Me", Path: "/api/v1/me", Summary: "Who asks, and what they may do", Reach: ReachSelf, Answer: reflect.TypeFor[Me](),
	read: func(_ context.Context, _ *API, ask asked) (any, error) {
		return Me{User: ask.principal.User, Grants: append([]user.Grant{}, ask.principal.Grants...)}, nil
	},
}

var studies = Query{
	Name: "Studies", Path: "/api/v1/studies", Summary: "The studies that the caller has a role in", Reach: ReachSelf,
	Doc:        "What is public about each study, and the caller's roles in it, by the studies' ids.",
	Parameters: paging, Answer: reflect.TypeFor[readmodels.List[StudyRow]](), view: &studyviews.StudyOverviews,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		roles := map[domain.StudyID][]user.Role{}
		var ids []domain.StudyID
		for _, g := range ask.principal.Grants {
			if g.Study == "" {
				continue
			}
			if roles[g.Study] == nil {
				ids = append(ids, g.Study)
			}
			if !slices.Contains(roles[g.Study], g.Role) {
				roles[g.Study] = append(roles[g.Study], g.Role)
			}
		}
		found, err := studyviews.ListStudyOverviews(ctx, a.store, ids, ask.page())
		if err != nil {
			return nil, err
		}
		rows := readmodels.List[StudyRow]{Items: make([]StudyRow, len(found.Items)), Next: found.Next}
		for i, o := range found.Items {
			rows.Items[i] = StudyRow{Study: o.Study, Title: o.Title, Sponsor: o.Sponsor, Phase: o.Phase, ProtocolVersion: o.ProtocolVersion,
				EnrollmentOpen: o.Enrollment.Open, Roles: roles[o.Study]}
		}
		return rows, nil
	},
}

// StudyRow is what is public about a study, and the caller's part in it.
type StudyRow struct {
	Study           domain.StudyID `json:"study" doc:"The study"`
	Title           string         `json:"title" doc:"Full title"`
	Sponsor         string         `json:"sponsor" doc:"Who is responsible"`
	Phase           string         `json:"phase,omitempty" doc:"Clinical phase"`
	ProtocolVersion int            `json:"protocolVersion,omitempty" doc:"Protocol version in force"`
	EnrollmentOpen  bool           `json:"enrollmentOpen" doc:"Whether patients may enter"`
	Roles           []user.Role    `json:"roles" doc:"The caller's roles in it"`
}

var studyOverview = Query{
	Name: "StudyOverview", Path: "/api/v1/studies/{study}", Summary: "How a study stands", Reach: ReachSites, OpenTo: access.StudyMembers,
	Doc:        "The study's facts and figures, as a whole and by site. Callers who see single sites get the facts and those sites' figures, and no totals.",
	Parameters: []Parameter{studyParameter}, Answer: reflect.TypeFor[studyviews.StudyOverview](), view: &studyviews.StudyOverviews,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		o, err := studyviews.LoadStudyOverview(ctx, a.store, ask.study)
		if err != nil {
			return nil, err
		}
		if !ask.whole {
			o.OnlySites(ask.sites)
		}
		o.Sites = orEmpty(o.Sites)
		return o, nil
	},
}

var patients = Query{
	Name: "Patients", Path: "/api/v1/studies/{study}/patients", Summary: "A study's patients", Reach: ReachStudy, OpenTo: access.ClinicalReaders,
	Doc: "A line for each patient, with status and diary compliance. Identity data are held apart.",
	Parameters: append([]Parameter{studyParameter, siteParameter, {Name: "status", In: inQuery, Doc: "Only patients who stand there", Enum: texts(patient.Statuses...)},
		sorting(patientviews.PatientSorts, "By screening number, or by when they or their site recorded something, the last or the first in front;")}, paging...),
	Answer: reflect.TypeFor[readmodels.List[patientviews.PatientRow]](), view: &patientviews.PatientLists,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		return patientviews.ListPatients(ctx, a.store, ask.study, patientviews.PatientFilter{Site: ask.site(), Status: patient.Status(ask.values["status"])}, ask.page())
	},
}

var patientView = Query{
	Name: "Patient", Path: "/api/v1/patients/{patient}", Summary: "All that is known of a patient", Reach: ReachPatient,
	OpenTo: access.To(access.ClinicalReaders, access.ThePatient), Doc: "The patient's way through the study, diaries with their trend, and risks. Identity data are held apart.",
	Parameters: []Parameter{patientParameter, asOfParameter}, Answer: reflect.TypeFor[patientviews.PatientView](), view: &patientviews.PatientViews,
	read: func(ctx context.Context, a *API, ask asked) (any, error) { return a.patientView(ctx, ask) },
}

// patientView reads the view, or makes it as it was, with empty lists where there are none.
func (a *API) patientView(ctx context.Context, ask asked) (v patientviews.PatientView, err error) {
	past, isPast, err := ask.asOf(ctx, a, patientviews.PatientViews)
	switch was, known := past[string(ask.patient)].(*patientviews.PatientView); {
	case err != nil:
	case !isPast:
		v, err = patientviews.LoadPatientView(ctx, a.store, ask.patient)
	case known:
		v = *was
	default:
		err = refuse.NotFound("patient_not_found", "there was no patient %s then", ask.patient).At("asOf").Do("ask for a later moment")
	}
	v.Steps, v.Instruments, v.Risks = orEmpty(v.Steps), orEmpty(v.Instruments), orEmpty(v.Risks)
	for i := range v.Instruments {
		v.Instruments[i].Trend = orEmpty(v.Instruments[i].Trend)
	}
	return v, err
}

var patientDiaries = Query{
	Name: "PatientDiaries", Path: "/api/v1/patients/{patient}/diaries", Summary: "A patient's diaries", Reach: ReachPatient,
	OpenTo: access.To(access.ClinicalReaders, access.ThePatient), Doc: "Every decided window with answers, scores, risks and corrections.",
	Parameters: append([]Parameter{patientParameter, asOfParameter, {Name: "instrument", In: inQuery, Doc: "Only this instrument", Example: "pain-diary", check: shortText("instrument", 100)},
		{Name: "only", In: inQuery, Doc: "Only windows that ended so; those that were answered late are answered too", Enum: texts(diaryviews.DiaryAnswered, diaryviews.DiaryLate, diaryviews.DiaryMissed)},
		timeParameter("from", "Only windows that opened then or later"), timeParameter("to", "Only windows that opened before"),
		sorting(diaryviews.DiarySorts, "By when the windows opened;")}, paging...),
	Answer: reflect.TypeFor[readmodels.List[diaryviews.Diary]](), view: &diaryviews.Diaries,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		filter := diaryviews.DiaryFilter{Instrument: instrument.ID(ask.values["instrument"]), Only: diaryviews.DiaryEnd(ask.values["only"]), From: ask.time("from"), To: ask.time("to")}
		past, isPast, err := ask.asOf(ctx, a, diaryviews.Diaries)
		if err != nil {
			return nil, err
		}
		if isPast {
			return filter.Of(past, ask.page())
		}
		return diaryviews.ListDiaries(ctx, a.store, ask.patient, filter, ask.page())
	},
}

var compliance = Query{
	Name: "Compliance", Path: "/api/v1/studies/{study}/compliance", Summary: "How patients keep their diaries", Reach: ReachStudy,
	OpenTo: access.ClinicalReaders, Doc: "Patients without a decided window come last, or are left out where the best come first.",
	Parameters: append([]Parameter{studyParameter, siteParameter, belowParameter, complianceOrder}, paging...), Answer: reflect.TypeFor[readmodels.List[diaryviews.DiaryCompliance]](), view: &diaryviews.DiaryCompliances,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		return diaryviews.ListPatientsByCompliance(ctx, a.store, ask.study, diaryviews.ComplianceFilter{Site: ask.site(), Below: ask.below()}, ask.page())
	},
}

var complianceBySite = Query{
	Name: "ComplianceBySite", Path: "/api/v1/studies/{study}/compliance/sites", Summary: "How sites keep their diaries", Reach: ReachSites,
	OpenTo: access.ClinicalReaders, Doc: "Callers who see single sites get those, on one page.",
	Parameters: append([]Parameter{studyParameter, belowParameter, complianceOrder}, paging...), Answer: reflect.TypeFor[readmodels.List[diaryviews.DiaryCompliance]](), view: &diaryviews.DiaryCompliances,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		if ask.whole {
			return diaryviews.ListSitesByCompliance(ctx, a.store, ask.study, diaryviews.ComplianceFilter{Below: ask.below()}, ask.page())
		}
		own := readmodels.List[diaryviews.DiaryCompliance]{Items: []diaryviews.DiaryCompliance{}}
		for _, site := range ask.sites {
			found, err := diaryviews.ListSitesByCompliance(ctx, a.store, ask.study, diaryviews.ComplianceFilter{Site: site, Below: ask.below()}, readmodels.Page{Limit: 1, Sort: ask.values["sort"]})
			if err != nil {
				return nil, err
			}
			own.Items = append(own.Items, found.Items...)
		}
		slices.SortStableFunc(own.Items, func(x, y diaryviews.DiaryCompliance) int {
			if ask.values["sort"] == "best" {
				x, y = y, x
			}
			return cmp.Compare(x.Order, y.Order)
		})
		return own, nil
	},
}

var complianceOrder = sorting(diaryviews.ComplianceSorts, "By the rate of windows answered;")

var belowParameter = Parameter{Name: "below", In: inQuery, Doc: "Only rates below this one, of at most 1", Example: "0.8", check: func(value string) error {
	if rate, err := strconv.ParseFloat(value, 64); err != nil || !(rate > 0 && rate <= 1) {
		return refuse.Malformed("malformed_parameter", "below is no rate").At("below").Do("give a number above 0, and at most 1")
	}
	return nil
}}

func (q asked) below() float64 {
	rate, err := strconv.ParseFloat(q.values["below"], 64)
	if err != nil {
		return 0
	}
	return rate
}

var viewsStanding = Query{
	Name: "Projections", Path: "/api/v1/projections", Summary: "Where each view stands", Reach: ReachAnywhere,
	OpenTo: access.To(access.DataManagers, access.Admins, access.Auditors), Doc: "How far each view has folded the log; a build that is made beside the one that is asked comes behind it, with its progress. " +
		"The event at which a view has stopped is shown to those who work in its study, and to administrators; why is in the server's log.",
	Answer: reflect.TypeFor[ProjectionList](),
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		checkpoints, err := a.store.Checkpoints(ctx)
		if err != nil {
			return nil, err
		}
		list := ProjectionList{Items: make([]Projection, len(checkpoints))}
		for i, c := range checkpoints {
			list.Items[i] = standing(c, ask.principal)
		}
		return list, nil
	},
}

func orEmpty[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}
