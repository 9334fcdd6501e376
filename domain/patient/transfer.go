package patient

import (
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// TransferPatient moves a patient to another site of the study.
type TransferPatient struct {
	domain.OfPatient
	To              domain.SiteID `json:"to" doc:"The site that takes the patient over"`
	On              domain.Date   `json:"on" doc:"First day at the new site"`
	domain.Reasoned `doc:"Why, such as a move"`
}

// Transfer decides about TransferPatient. From then on the new site has the rights, and supplies and follows up the patient.
// What the former site has recorded stays its own. It refuses reason_required, value_too_long, malformed_date,
// captured_in_future, patient_not_found, patient_ended, enrollment_in_progress, randomisation_requested, same_site, site_not_found,
// site_not_active, protocol_not_approved and transferred_before_screening.
func Transfer(p Patient, s study.Study, cmd TransferPatient, call domain.Call) ([]Event, error) {
	if err := domain.First(domain.Reason(cmd.Reason), cmd.On.NotAfterToday("on", call), p.mustNotHaveEnded()); err != nil {
		return nil, err
	}
	switch {
	case p.Status == StatusEnrolling: // the process holds a place and kits at the site
		return nil, refuse.WrongState("enrollment_in_progress", "the patient is being enrolled at site %s", p.Site).At("patient").
			Do("wait until the enrolment has ended")
	case p.Drawing && (len(p.Consents) == 0 || p.Blocked(study.BlocksDispensing)):
		return nil, refuse.WrongState("randomisation_requested", "the draw of the patient at site %s waits for the signature of the consent",
			p.Site).At("patient").
			Do("record the signature, here or typed from the paper; the patient can be transferred as soon as the draw is confirmed")
	case p.Drawing:
		return nil, refuse.WrongState("randomisation_requested", "the patient is being drawn at site %s", p.Site).At("patient").
			Do("wait until the draw is confirmed; where the patient lacks its kit, send the site one, or have the draw answered first")
	case cmd.To == p.Site:
		return nil, refuse.WrongState("same_site", "the patient is at site %s already", p.Site).At("to").Do("nothing is left to do")
	}
	if err := domain.At("to", siteMustBeActive(s, p.Study, cmd.To)); err != nil {
		return nil, err
	}
	if follows := p.ProtocolIn(s); s.InForceAt(cmd.To, "") < follows { // the site may not treat the patient by it
		return nil, refuse.WrongState("protocol_not_approved",
			"version %d of the protocol, which the patient follows, is not approved for site %s",
			follows, cmd.To).At("to").Do("record the approval of the ethics committee first (ICH E6(R3) 4.3.5)")
	}
	if err := cmd.On.NotBefore(p.ScreenedOn, "transferred_before_screening", "on", "the transfer", "the screening"); err != nil {
		return nil, err
	}
	return []Event{Transferred{Patient: cmd.Patient, From: p.Site, To: cmd.To, On: cmd.On, Reason: cmd.Reason}}, nil
}
