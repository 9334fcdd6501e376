package patient

import (
	"casebook/domain/study"
	"casebook/projections"
	patientviews "casebook/readmodels/patient"
)

type rollout = patientviews.Rollout

// Rollouts makes one document per study, of how the versions of its protocol reach its sites.
var Rollouts = projections.New(patientviews.Rollouts, projections.ByStudy,
	projections.On(func(r *rollout, e study.ProtocolVersionPublished, at projections.Envelope) {
		p := e.Protocol
		r.Versions = append(r.Versions, patientviews.RolledOut{Version: p.Version, ConsentVersion: p.ConsentVersion,
			PublishedOn: p.PublishedOn, SiteApproval: p.SiteApproval, Reconsent: p.Reconsent, ByPatient: e.ByPatient,
			From: at.Metadata.RecordedAt})
	}),
	projections.On(func(r *rollout, e study.ProtocolApprovedAtSite, at projections.Envelope) {
		r.Approvals = append(r.Approvals, patientviews.RolloutApproval{Site: e.Site, Version: e.Version, ApprovedOn: e.ApprovedOn,
			From: at.Metadata.RecordedAt})
	}),
	projections.On(func(r *rollout, e study.SiteApprovalWithdrawn, at projections.Envelope) {
		r.Withdraw(e.Site, e.Version, at.Metadata.RecordedAt)
	}),
)
