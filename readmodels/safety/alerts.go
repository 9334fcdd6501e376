// Package safety holds the views of alerts.
package safety

import (
	"context"
	"slices"
	"strings"
	"time"

	"casebook/access"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/safety"
	"casebook/domain/user"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Alerts is the worklist of alerts, with one document per alert. The field Order combines status, severity and who may see the
// alert in twelve values.
// Every filter but that of the patient selects some of these values, so that two indexes serve all filters in the order of urgency
// and, merged by the store, in the order of time. No index has the kind: it would cost every alert more than it saves a reader.
var Alerts = readmodels.View{Name: "alerts", Version: 4, Indexes: []mongo.IndexModel{
	readmodels.IndexOn("study", "order", "raisedAt", "_id"),
	readmodels.IndexOn("study", "place", "order", "raisedAt", "_id"),
	readmodels.IndexOn("study", "patient", "_id"),
}}

// maxNotifications bounds the newest notifications that a document holds. There is one for each level and channel.
const maxNotifications = 100

// AlertStatus says whether an alert was reviewed or closed.
type AlertStatus string

// The statuses of an alert: nobody has reviewed it, somebody has, it is closed.
const (
	AlertOpen     AlertStatus = "open"
	AlertReviewed AlertStatus = "reviewed"
	AlertClosed   AlertStatus = "closed"
)

// Schema implements domain.HasSchema.
func (AlertStatus) Schema() domain.Schema { return domain.OneOf(AlertOpen, AlertReviewed, AlertClosed) }

// Alert is an alert as people see it.
type Alert struct {
	readmodels.Header `bson:",inline"`
	Alert             safety.AlertID   `bson:"alert" json:"alert" doc:"The alert"`
	Study             domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	Site              domain.SiteID    `bson:"site,omitempty" json:"site,omitempty" doc:"The site; none where it is about the study as a whole"`
	Patient           domain.PatientID `bson:"patient,omitempty" json:"patient,omitempty" doc:"The patient, for callers who may read clinical data"`
	Kind              safety.Kind      `bson:"kind" json:"kind" doc:"What it is about"`
	Severity          safety.Severity  `bson:"severity" json:"severity" enum:"urgent,routine" doc:"How urgent a review is"`
	Summary           string           `bson:"summary" json:"summary" doc:"What happened"`
	Cause             `bson:",inline"`
	OccurredAt        time.Time   `bson:"occurredAt" json:"occurredAt" doc:"When it happened"`
	RaisedAt          time.Time   `bson:"raisedAt" json:"raisedAt" doc:"When it was raised"`
	Status            AlertStatus `bson:"status" json:"status" doc:"Whether somebody has looked at it, and whether it is dealt with"`
	Level             int         `bson:"level" json:"level" doc:"How often it was escalated"`
	// ReviewBy is nil after the last level.
	ReviewBy      *time.Time     `bson:"reviewBy,omitempty" json:"reviewBy,omitempty" doc:"When it is escalated unless it is reviewed before"`
	ReviewedBy    domain.UserID  `bson:"reviewedBy,omitempty" json:"reviewedBy,omitempty" doc:"Who has looked"`
	ReviewedAt    *time.Time     `bson:"reviewedAt,omitempty" json:"reviewedAt,omitempty" doc:"When"`
	Note          string         `bson:"note,omitempty" json:"note,omitempty" doc:"What was found or done"`
	ClosedBy      domain.UserID  `bson:"closedBy,omitempty" json:"closedBy,omitempty" doc:"Who has closed it"`
	ClosedAt      *time.Time     `bson:"closedAt,omitempty" json:"closedAt,omitempty" doc:"When"`
	Outcome       string         `bson:"outcome,omitempty" json:"outcome,omitempty" doc:"How it ended"`
	Notifications []Notification `bson:"notifications" json:"notifications" doc:"Which channel took which notification, the newest last, at most 100"`
	// Sites are those that an alert without a site concerns; none for all of them. Place is the site, or manySites.
	Sites []domain.SiteID `bson:"sites,omitempty" json:"sites,omitempty" doc:"The sites that it concerns, where these are the sites of a country"`
	Place string          `bson:"place,omitempty" json:"-"`
	// Order is the rank of the alert (see Ranks).
	Order int `bson:"order" json:"-"`
}

// Cause is what in a diary has caused an alert, for callers who may read clinical data. Alerts of earlier programs do not say it.
type Cause struct {
	Instrument instrument.ID `bson:"instrument,omitempty" json:"instrument,omitempty" doc:"The instrument, if a diary has caused it"`
	Window     string        `bson:"window,omitempty" json:"window,omitempty" doc:"The window of the diary, or the last one that was missed"`
	Rule       string        `bson:"rule,omitempty" json:"rule,omitempty" doc:"The risk rule that holds"`
	Message    string        `bson:"message,omitempty" json:"message,omitempty" doc:"What the rule says to the site"`
	// Diary is read with the line, because messages about the alert leave the system.
	Diary *CauseDiary `bson:"-" json:"diary,omitempty" doc:"The diary as it was when the rule found a risk in it; left out if nothing was answered"`
}

// CauseDiary is the diary that has caused an alert, as it was then.
type CauseDiary struct {
	CapturedAt time.Time           `json:"capturedAt" doc:"When it was answered, by the device's clock"`
	Answers    diaryviews.Answers  `json:"answers" doc:"The answers, with the corrections from before the alert"`
	Scores     []diary.ScoreResult `json:"scores,omitempty" doc:"The scores of these answers"`
	By         domain.UserID       `json:"by,omitempty" doc:"The account that entered it"`
	Mode       diary.Mode          `json:"mode,omitempty" doc:"How it came in; left out for the patient's own entry"`
	Device     user.DeviceID       `json:"device,omitempty" doc:"The device on which it was captured"`
	Zone       string              `json:"zone,omitempty" doc:"Time zone of the device at that time"`
	Since      CauseSince          `json:"since,omitempty" doc:"What has become of it since; left out if it is as it was"`
	MovedTo    string              `json:"movedTo,omitempty" doc:"The window in which it counts now, if it was moved, or was held and taken"`
	Now        diaryviews.Answers  `json:"now,omitempty" doc:"The answers that the window has now, if they are others"`
}

// CauseSince is what has become of a diary since it has caused an alert.
type CauseSince string

// A diary was corrected since; moved to another window, or taken if it was held; or voided. Then its window has no diary, or another one.
const (
	CauseCorrected CauseSince = "corrected"
	CauseMoved     CauseSince = "moved"
	CauseVoided    CauseSince = "voided"
)

// Schema implements domain.HasSchema.
func (CauseSince) Schema() domain.Schema {
	return domain.OneOf(CauseCorrected, CauseMoved, CauseVoided)
}

// Notification is the result of notifying a channel of a level of the alert.
type Notification struct {
	Channel string    `bson:"channel" json:"channel" doc:"The channel"`
	Level   int       `bson:"level" json:"level" doc:"The escalation level of the message; 0 is the alert itself"`
	Sent    bool      `bson:"sent" json:"sent" doc:"Whether the channel took it; otherwise it has refused it for good"`
	Reason  string    `bson:"reason,omitempty" json:"reason,omitempty" doc:"Why it was refused"`
	At      time.Time `bson:"at" json:"at" doc:"When this was recorded"`
}

// manySites is the place of alerts that concern several sites. It is no id of a site.
const manySites = "*"

// At sets where the alert is shown: at its site, or at all that it concerns.
func (a *Alert) At(site domain.SiteID, sites []domain.SiteID) {
	a.Site, a.Sites, a.Place = site, sites, string(site)
	if site == "" && a.Kind.OfManySites() {
		a.Place = manySites
	}
}

// shownAt narrows a filter to what is shown at a site.
func shownAt(filter bson.D, site domain.SiteID) bson.D {
	if site == "" {
		return filter
	}
	return append(filter, bson.E{Key: "place", Value: bson.D{{Key: "$in", Value: bson.A{manySites, string(site)}}}},
		bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "sites", Value: string(site)}},
			bson.D{{Key: "sites", Value: bson.D{{Key: "$exists", Value: false}}}},
		}})
}

// Become changes the status of the alert, and with it the rank.
func (a *Alert) Become(status AlertStatus) {
	a.Status, a.Order = status, 0
	for order, rank := range Ranks() {
		if rank.Status == status && (rank.Severity == safety.Urgent) == (a.Severity == safety.Urgent) &&
			rank.OfArms == a.Kind.OfArms() {
			a.Order = order
		}
	}
}

// Rank is a combination of status and severity. OfArms says that only roles that know arms see the alert.
type Rank struct {
	Status   AlertStatus
	Severity safety.Severity
	OfArms   bool
}

// Ranks returns all ranks in the order of urgency. The index of a rank is the value of an alert's Order.
func Ranks() (all []Rank) {
	for _, status := range []AlertStatus{AlertOpen, AlertReviewed, AlertClosed} {
		for _, severity := range []safety.Severity{safety.Urgent, safety.Routine} {
			all = append(all, Rank{Status: status, Severity: severity}, Rank{Status: status, Severity: severity, OfArms: true})
		}
	}
	return all
}

// Orders returns the values of an alert's Order for ranks of a kind.
func Orders(want func(Rank) bool) (orders bson.A) {
	for order, rank := range Ranks() {
		if want(rank) {
			orders = append(orders, order)
		}
	}
	return orders
}

// Notified adds a notification.
func (a *Alert) Notified(n Notification) {
	a.Notifications = readmodels.LatestOf(append(a.Notifications, n), maxNotifications)
}

// WithoutPatient removes the patient from the alert, for callers who must not read clinical data. It also removes what people
// wrote, because that may identify the patient.
func (a *Alert) WithoutPatient() {
	if a.Patient == "" {
		return
	}
	a.Summary = strings.ReplaceAll(a.Summary, string(a.Patient), "(left out)")
	a.Patient, a.Note, a.Outcome, a.Cause = "", "", "", Cause{}
}

// alertOrders begin with the order of urgency: first the open alerts, then the reviewed and the closed ones; among those of
// one status the urgent ones first, and of these the oldest.
var alertOrders = []readmodels.Order[Alert]{
	readmodels.Ascending("urgent", func(a Alert) []any { return []any{a.Order, a.RaisedAt.UTC(), a.ID} }, "order", "raisedAt", "_id"),
	readmodels.Ascending("oldest", func(a Alert) []any { return []any{a.RaisedAt.UTC(), a.ID} }, "raisedAt", "_id"),
	readmodels.Descending("newest", func(a Alert) []any { return []any{a.RaisedAt.UTC(), a.ID} }, "raisedAt", "_id"),
}

// ofSupply are the kinds of alerts that supply managers see. The others are about patients.
var ofSupply = slices.DeleteFunc(slices.Clone(safety.Kinds), func(k safety.Kind) bool { return !k.OfSupply() })

// ofSponsor are the kinds of alerts that study managers see, ofSupplyAndArms those that unblinded supply managers see.
var (
	ofSponsor       = slices.DeleteFunc(slices.Clone(safety.Kinds), func(k safety.Kind) bool { return !k.OfSponsor() })
	ofSupplyAndArms = slices.DeleteFunc(slices.Clone(safety.Kinds), func(k safety.Kind) bool {
		return !k.OfSupply() && !k.OfArms() && !k.OfRecall()
	})
)

// shownKinds are the kinds that a caller who may not read clinical data sees.
func shownKinds(r readmodels.Request, study domain.StudyID) []safety.Kind {
	switch {
	case r.MayKnowArms(study):
		return ofSupplyAndArms
	case r.Holds(access.StudyManagers, study):
		return ofSponsor
	}
	return ofSupply
}

// Queries are those of this context.
var Queries = []readmodels.Query{
	readmodels.Declare(readmodels.Query{
		Name: "Alerts", Path: "/api/v1/studies/{study}/alerts", Summary: "What somebody has to look at",
		Doc: "In the order of urgency, what nobody has looked at comes first, then what is not closed; of these what is urgent, and the " +
			"oldest. Alerts about the study as a whole have no site; those that its activities were stopped, or go on, " +
			"are listed with each site that they concern. Supply managers see those about supply, unblinded ones also those about " +
			"recalled kits at home, " +
			"study managers also those about pauses, and those about lists and forced allocations are for roles that know arms. " +
			readmodels.PatientsLeftOut,
		OpenTo: access.StudyMembers, Reach: readmodels.ReachStudy, Views: []readmodels.View{Alerts, diaryviews.Diaries},
		Sort: readmodels.SortBy(alertOrders, "By urgency, or by when they were raised;"),
	}, ListAlerts),
	withoutKit,
}

// AlertsQuery asks for a study's alerts; empty fields do not narrow the list.
type AlertsQuery struct {
	Study        domain.StudyID   `path:"study" doc:"The study"`
	Site         domain.SiteID    `query:"site" doc:"Only this site, with what concerns all sites or those of its country"`
	Status       AlertStatus      `query:"status" doc:"Only alerts with this status"`
	Severity     safety.Severity  `query:"severity" enum:"urgent,routine" doc:"Only alerts of this severity"`
	Kind         safety.Kind      `query:"kind" doc:"Only alerts of this kind"`
	Patient      domain.PatientID `query:"patient" doc:"Only alerts about this patient; none for callers who may not read clinical data"`
	RaisedBefore time.Time        `query:"raisedBefore" doc:"Only alerts that were raised before"`
	readmodels.Page
}

// ListAlerts returns a page of a study's alerts.
func ListAlerts(ctx context.Context, r readmodels.Request, q AlertsQuery) (list readmodels.List[Alert], err error) {
	kinds, some := readmodels.ShownTo(r, q.Study, q.Site, q.Kind, shownKinds(r, q.Study))
	if !some || q.Patient != "" && !r.MayKnowPatients(q.Study, q.Site) { // it would be known by asking for one after another
		return list, nil
	}
	filter := shownAt(bson.D{{Key: "study", Value: string(q.Study)}}, q.Site)
	arms := r.MayKnowArms(q.Study)
	ranks := Orders(func(k Rank) bool {
		return (arms || !k.OfArms) && (q.Status == "" || q.Status == k.Status) && (q.Severity == "" || q.Severity == k.Severity)
	})
	filter = append(filter, bson.E{Key: "order", Value: bson.D{{Key: "$in", Value: ranks}}})
	filter = readmodels.Between(filter, "raisedAt", time.Time{}, q.RaisedBefore)
	if len(kinds) > 0 {
		filter = append(filter, readmodels.OneOf("kind", kinds))
	}
	if q.Patient != "" {
		list, err = readmodels.ListedFew(ctx, r.Store.Collection(Alerts), q.Page, readmodels.Equal(filter, "patient", q.Patient), alertOrders)
	} else {
		list, err = readmodels.Listed(ctx, r.Store.Collection(Alerts), q.Page, filter, alertOrders)
	}
	if err != nil {
		return list, err
	}
	for i := range list.Items {
		if alert := &list.Items[i]; !r.MayKnowPatients(q.Study, alert.Site) {
			alert.WithoutPatient()
		}
	}
	return list, withDiaries(ctx, r, list.Items)
}

// withDiaries adds to alerts the diaries that caused them.
func withDiaries(ctx context.Context, r readmodels.Request, all []Alert) error {
	var keys []string
	for _, a := range all {
		if a.Window != "" {
			keys = append(keys, diaryviews.DiaryKey(a.Patient, a.Instrument, a.Window))
		}
	}
	windows, err := diaryviews.DiariesOf(ctx, r, keys)
	for i := range all {
		a := &all[i]
		if d := windows[diaryviews.DiaryKey(a.Patient, a.Instrument, a.Window)]; d != nil {
			a.Diary = causeIn(d, a.Rule, a.RaisedAt)
		}
	}
	return err
}

// causeIn returns the diary that has caused an alert, and what the window has now.
func causeIn(d *diaryviews.Diary, rule string, raisedAt time.Time) *CauseDiary {
	was := d.RaisedBy(rule, raisedAt)
	if was == nil {
		return nil
	}
	cause := &CauseDiary{CapturedAt: was.CapturedAt, Answers: was.Answers, Scores: was.Scores, By: was.By, Mode: was.Mode, Device: was.Device,
		Zone: was.Zone}
	ended := slices.IndexFunc(d.Voided, func(v diaryviews.VoidedDiary) bool { return !v.RecordedAt.Before(was.At) })
	switch {
	case ended >= 0 && d.Voided[ended].MovedTo != "":
		cause.Since, cause.MovedTo, cause.Now = CauseMoved, d.Voided[ended].MovedTo, d.Answers
	case ended >= 0:
		cause.Since, cause.Now = CauseVoided, d.Answers
	case slices.ContainsFunc(d.Corrections, func(c diaryviews.Correction) bool { return c.RecordedAt.After(was.At) }):
		cause.Since, cause.Now = CauseCorrected, d.Answers
	}
	return cause
}
