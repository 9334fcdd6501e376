package api

import (
	"context"
	"reflect"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/user"
	"casebook/readmodels"
	enrollmentviews "casebook/readmodels/enrollment"
	patientviews "casebook/readmodels/patient"
	studyviews "casebook/readmodels/study"
	userviews "casebook/readmodels/user"
)

var enrollmentBySite = Query{
	Name: "EnrollmentBySite", Path: "/api/v1/studies/{study}/enrollment", Summary: "Enrolment by site over time", Reach: ReachSites, OpenTo: access.StudyMembers,
	Doc: "For each site, how many patients came in and left in each month or on each day, by the days that the site wrote down, and how many there were by then. Callers who see single sites get those.",
	Parameters: append([]Parameter{studyParameter,
		{Name: "step", In: inQuery, Doc: "The length of a period; month where none is named", Enum: texts(enrollmentviews.ByMonth, enrollmentviews.ByDay)},
		dateParameter("from", "The first day that is shown; totals also count what was before"), dateParameter("to", "The last day that is shown and counted")}, paging...),
	Answer: reflect.TypeFor[readmodels.List[enrollmentviews.EnrollmentSeries]](), view: &enrollmentviews.SiteEnrollments,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		var sites []domain.SiteID // none where the caller sees the whole study
		if !ask.whole {
			sites = ask.sites
		}
		step, from, to := enrollmentviews.Period(ask.values["step"]), domain.Date(ask.values["from"]), domain.Date(ask.values["to"])
		if from != "" && to != "" && to < from {
			return nil, refuse.Malformed("malformed_parameter", "to lies before from").At("to").Do("give a day that is not earlier than from")
		}
		found, err := enrollmentviews.ListEnrollmentBySite(ctx, a.store, ask.study, sites, ask.page())
		if err != nil {
			return nil, err
		}
		list := readmodels.List[enrollmentviews.EnrollmentSeries]{Items: make([]enrollmentviews.EnrollmentSeries, len(found.Items)), Next: found.Next}
		for i := range found.Items {
			list.Items[i] = found.Items[i].Series(step, from, to)
		}
		return list, nil
	},
}

var siteDashboard = Query{
	Name: "SiteDashboard", Path: "/api/v1/studies/{study}/sites/{site}/dashboard", Summary: "How a site stands", Reach: ReachStudy, OpenTo: access.ClinicalReaders,
	Doc: "Patients by status, alerts that nobody has looked at, how the diaries are kept, kits by status, shipments that have not arrived, and enrolments that wait, with what for. " +
		"A site that nothing has happened at yet has nothing to say.",
	Parameters: []Parameter{studyParameter, {Name: "site", In: inPath, Doc: "The site", Example: "DE-01", Pattern: namePattern, check: siteParameter.check}},
	Answer:     reflect.TypeFor[studyviews.SiteDashboard](), view: &patientviews.PatientLists, also: studyviews.DashboardViews[1:],
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		d, err := studyviews.LoadSiteDashboard(ctx, a.store, ask.study, ask.site())
		for i := range d.Awaited {
			d.Awaited[i].Kits = orEmpty(d.Awaited[i].Kits)
		}
		d.Awaited = orEmpty(d.Awaited)
		return d, err
	},
}

// userParameters are those of both directories.
func userParameters() []Parameter {
	return append([]Parameter{
		{Name: "status", In: inQuery, Doc: "Only accounts that stand so", Enum: texts(userviews.UserStatuses...)},
		{Name: "role", In: inQuery, Doc: "Only holders of this role", Enum: texts(user.Roles...)},
		sorting(userviews.UserSorts, "By id, or by the last sign-in, the last or the longest ago in front;")}, paging...)
}

func (q asked) users(ctx context.Context, a *API) (readmodels.List[userviews.User], error) {
	return userviews.ListUsers(ctx, a.store, userviews.UserFilter{Study: q.study, Status: userviews.UserStatus(q.values["status"]), Role: user.Role(q.values["role"])}, q.page())
}

var users = Query{
	Name: "Users", Path: "/api/v1/users", Summary: "Accounts and their grants", Reach: ReachAnywhere, OpenTo: access.Admins,
	Doc:        "Every account with the roles that it holds, who gave them and when, and how it stands (21 CFR 11.10(d) and (g)).",
	Parameters: userParameters(), Answer: reflect.TypeFor[readmodels.List[userviews.User]](), view: &userviews.UserDirectory,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		list, err := ask.users(ctx, a)
		for i := range list.Items {
			list.Items[i].Grants = orEmpty(list.Items[i].Grants)
		}
		return list, err
	},
}

var studyUsers = Query{
	Name: "StudyUsers", Path: "/api/v1/studies/{study}/users", Summary: "Who works in a study", Reach: ReachStudy, OpenTo: access.To(access.DataManagers, access.Auditors),
	Doc:        "The accounts that hold a role in the study, with their roles in it alone. Patients are left out.",
	Parameters: append([]Parameter{studyParameter}, userParameters()...), Answer: reflect.TypeFor[readmodels.List[userviews.User]](), view: &userviews.UserDirectory,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		list, err := ask.users(ctx, a)
		for i := range list.Items {
			list.Items[i].OnlyIn(ask.study)
			list.Items[i].Grants = orEmpty(list.Items[i].Grants)
		}
		return list, err
	},
}
