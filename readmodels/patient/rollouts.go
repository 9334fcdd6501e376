package patient

import (
	"context"
	"errors"
	"time"

	"casebook/domain"
	"casebook/domain/study"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Rollouts is the view of how the versions of a study's protocol reach its sites, with one document per study. Worklists of patients are
// read with it.
var Rollouts = readmodels.View{Name: "rollouts", Version: 1}

// Rollout is how the versions of a study's protocol reach its sites.
type Rollout struct {
	readmodels.Header `bson:",inline"`
	Versions          []RolledOut       `bson:"versions,omitempty"`
	Approvals         []RolloutApproval `bson:"approvals,omitempty"`
}

// RolledOut is what a version of the protocol says about its way to sites and patients.
type RolledOut struct {
	Version        int              `bson:"version"`
	ConsentVersion string           `bson:"consentVersion"`
	PublishedOn    domain.Date      `bson:"publishedOn,omitempty"`
	SiteApproval   bool             `bson:"siteApproval,omitempty"`
	Reconsent      *study.Reconsent `bson:"reconsent,omitempty"`
	ByPatient      bool             `bson:"byPatient,omitempty"`
	// From is when it was recorded.
	From time.Time `bson:"from"`
}

// RolloutApproval is an approval of a version for a site, and the time in which it stood in the record.
type RolloutApproval struct {
	Site       domain.SiteID `bson:"site"`
	Version    int           `bson:"version"`
	ApprovedOn domain.Date   `bson:"approvedOn"`
	From       time.Time     `bson:"from"`
	// Withdrawn is when it was withdrawn; nil as long as it holds.
	Withdrawn *time.Time `bson:"withdrawn,omitempty"`
}

// Withdraw ends the approval of a version for a site.
func (r *Rollout) Withdraw(site domain.SiteID, version int, at time.Time) {
	for i := range r.Approvals {
		if a := &r.Approvals[i]; a.Site == site && a.Version == version && a.Withdrawn == nil {
			a.Withdrawn = &at
		}
	}
}

// At returns the study as it was at a moment, as it is for the zero time. It has nothing but the versions and the approvals, so that the
// rules of the domain say who is to follow what.
func (r Rollout) At(moment time.Time) study.Study {
	known := func(at time.Time) bool { return moment.IsZero() || !at.After(moment) }
	var events []study.Event
	for _, v := range r.Versions {
		if known(v.From) {
			events = append(events, study.ProtocolVersionPublished{ByPatient: v.ByPatient, Protocol: study.Protocol{Version: v.Version,
				ConsentVersion: v.ConsentVersion, PublishedOn: v.PublishedOn, SiteApproval: v.SiteApproval, Reconsent: v.Reconsent}})
		}
	}
	for _, a := range r.Approvals {
		if known(a.From) && (a.Withdrawn == nil || !known(*a.Withdrawn)) {
			events = append(events, study.ProtocolApprovedAtSite{Site: a.Site, Version: a.Version, ApprovedOn: a.ApprovedOn})
		}
	}
	return study.Decider.Fold(events...)
}

// LoadVersions returns the study as Rollout.At does.
func LoadVersions(ctx context.Context, r readmodels.Request, id domain.StudyID, moment time.Time) (study.Study, error) {
	var rollout Rollout
	err := r.Store.Collection(Rollouts).FindOne(ctx, bson.D{{Key: "_id", Value: string(id)}}).Decode(&rollout)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return study.Study{}, err
	}
	return rollout.At(moment), nil
}
