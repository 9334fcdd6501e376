package api

import (
	"context"
	"reflect"
	"slices"

	"casebook/access"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/readmodels"
	processviews "casebook/readmodels/process"
	safetyviews "casebook/readmodels/safety"
)

var processes = Query{
	Name: "Processes", Path: "/api/v1/studies/{study}/processes", Summary: "Where each process stands", Reach: ReachStudy, OpenTo: access.StudyMembers,
	Doc: "Where each enrolment, dispensing, resupply and alert stands, what it waits for and what went wrong. Supply managers see the processes of supply.",
	Parameters: append([]Parameter{studyParameter, siteParameter,
		{Name: "process", In: inQuery, Doc: "Only runs of this process manager", Example: "enrollment", check: shortText("process", 100)},
		{Name: "outcome", In: inQuery, Doc: "Only those that stand so", Enum: texts(process.Outcomes...)},
		{Name: "stage", In: inQuery, Doc: "Only those that wait for this", Example: "kit", check: shortText("stage", 100)},
		sorting(processviews.ProcessSorts, "The last to take a step in front, or the longest in its stage;")}, paging...),
	Answer: reflect.TypeFor[readmodels.List[processviews.Process]](), view: &processviews.SagaMonitors,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		named, some := shown(ask, ask.values["process"], supplyProcesses)
		if !some {
			return readmodels.List[processviews.Process]{Items: []processviews.Process{}}, nil
		}
		list, err := processviews.ListProcesses(ctx, a.store, ask.study, processviews.ProcessFilter{Site: ask.site(),
			Outcome: process.Outcome(ask.values["outcome"]), Stage: ask.values["stage"], Processes: named}, ask.page())
		for i := range list.Items {
			list.Items[i].Asked, list.Items[i].Timers = orEmpty(list.Items[i].Asked), orEmpty(list.Items[i].Timers)
		}
		return list, err
	},
}

// supplyProcesses and supplyAlerts are those that supply managers see. The others are about patients.
var (
	supplyProcesses = []string{"resupply", "supply-upkeep"}
	supplyAlerts    = slices.DeleteFunc(slices.Clone(safety.Kinds), func(k safety.Kind) bool { return !k.OfSupply() })
)

var parkedMessages = Query{
	Name: "ParkedMessages", Path: "/api/v1/studies/{study}/parked-messages", Summary: "Messages that a process could not deal with", Reach: ReachStudy,
	OpenTo: access.To(access.DataManagers, access.Auditors),
	Doc:    "They are set aside so that they block no others, until somebody has them retried or gives them up.",
	Parameters: append([]Parameter{studyParameter, {Name: "status", In: inQuery, Doc: "Only those that stand so", Enum: texts(
		processviews.ParkedWaiting, processviews.ParkedRetried, processviews.ParkedAbandoned)}, sorting(processviews.ParkedSorts, "By since when they have been parked;")}, paging...),
	Answer: reflect.TypeFor[readmodels.List[processviews.ParkedMessage]](), view: &processviews.ParkedMessages,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		return processviews.ListParkedMessages(ctx, a.store, ask.study, processviews.ParkedStatus(ask.values["status"]), ask.page())
	},
}

var alerts = Query{
	Name: "Alerts", Path: "/api/v1/studies/{study}/alerts", Summary: "What somebody has to look at", Reach: ReachStudy, OpenTo: access.StudyMembers,
	Doc: "In the order of urgency, what nobody has looked at comes first, then what is not closed; of these what is urgent, and the oldest. Alerts about the study as a whole have no site. Supply managers see those about supply. " + patientsLeftOut,
	Parameters: append([]Parameter{studyParameter, siteParameter,
		{Name: "status", In: inQuery, Doc: "Only alerts that stand so", Enum: texts(safetyviews.AlertOpen, safetyviews.AlertReviewed, safetyviews.AlertClosed)},
		{Name: "severity", In: inQuery, Doc: "Only alerts of this severity", Enum: texts(safety.Urgent, safety.Routine)},
		{Name: "kind", In: inQuery, Doc: "Only alerts of this kind", Enum: texts(safety.Kinds...)},
		timeParameter("raisedBefore", "Only alerts that were raised before"),
		sorting(safetyviews.AlertSorts, "By urgency, or by when they were raised;")}, paging...),
	Answer: reflect.TypeFor[readmodels.List[safetyviews.Alert]](), view: &safetyviews.Alerts,
	read: func(ctx context.Context, a *API, ask asked) (any, error) {
		kinds, some := shown(ask, safety.Kind(ask.values["kind"]), supplyAlerts)
		if !some {
			return readmodels.List[safetyviews.Alert]{Items: []safetyviews.Alert{}}, nil
		}
		list, err := safetyviews.ListAlerts(ctx, a.store, ask.study, safetyviews.AlertFilter{Site: ask.site(), Status: safetyviews.AlertStatus(ask.values["status"]),
			Severity: safety.Severity(ask.values["severity"]), Kinds: kinds, RaisedBefore: ask.time("raisedBefore")}, ask.page())
		for i := range list.Items {
			alert := &list.Items[i]
			if !ask.mayKnowPatientsAt(alert.Site) {
				alert.WithoutPatient()
			}
			alert.Notifications = orEmpty(alert.Notifications)
		}
		return list, err
	},
}

// shown are the values that a list is narrowed to: the one that is asked for, and for callers who must not read clinical
// data where they ask none but ofSupply. False where nothing is left.
func shown[T ~string](ask asked, wanted T, ofSupply []T) (values []T, some bool) {
	all := ask.mayKnowPatientsAt(ask.site())
	switch {
	case wanted == "" && all:
		return nil, true
	case wanted == "":
		return ofSupply, true
	}
	return []T{wanted}, all || slices.Contains(ofSupply, wanted)
}
