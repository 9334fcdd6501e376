package simulation

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/domain/supply"
)

// incident is something that does not go as planned with a patient.
type incident string

// The incidents. Each happens to one patient, if there are enough.
const (
	// losesKit is a patient who loses the first kit, and gets another one.
	losesKit incident = "loses a kit"
	// stopsTreatment is a patient whose treatment ends for an adverse event, and who is followed up.
	stopsTreatment incident = "stops the treatment"
	// writesOnPaper is a patient whose phone is broken on one evening, and whose diary the site transcribes.
	writesOnPaper incident = "writes on paper"
	// changesDose is a patient whose dose is raised by a step of the protocol.
	changesDose incident = "changes the dose"
	// forgetsDoses is a patient who brings too many doses back, which is proposed as a deviation.
	forgetsDoses incident = "forgets doses"
	// comesInPause is a patient of the paused site who comes to be enrolled during the pause, and comes again after it.
	comesInPause incident = "comes in the pause"
)

// paperDay is how many days after the enrolment the patient of writesOnPaper has no phone.
const paperDay = 6

// incidents are all incidents, in the order in which the patients have them.
var incidents = []incident{losesKit, stopsTreatment, writesOnPaper, changesDose, forgetsDoses}

// inWords says what happened to the patient of an incident.
var inWords = map[incident]string{
	losesKit:       "lost a kit and got another one",
	stopsTreatment: "stopped the treatment for nausea, and is followed up",
	writesOnPaper:  "wrote a diary on paper, which the site transcribed",
	changesDose:    "had the dose raised, and gets two kits at a time",
	forgetsDoses:   "brought too many doses back, which is proposed as a deviation",
	comesInPause:   "came to be enrolled while the site was paused, was refused, and came again",
}

const (
	// incidentDay is how many days after the enrolment an incident happens.
	incidentDay = 5
	// shortestWithEvents is how many days a simulation lasts in which something happens to the study as a whole.
	shortestWithEvents = 20
	// pausedSite is the site that is paused, in the middle of the study, for pausedDays.
	pausedSite domain.SiteID = "02"
	pausedDays int           = 3
	// amendedDays is how many days before the last one the protocol is amended, and amendedConsent the new form of the consent.
	amendedDays    = 3
	amendedConsent = "2.1"
	// recalledLot is a small lot, which is recalled on the last day, when some patients have kits of it at home.
	recalledLot = "LOT-73"

	safetyOfficerID domain.UserID = "safety.officer"
)

// planIncidents gives the first patients who stay in the study the incidents. The first patient of all is the example, and has
// none.
func planIncidents(courses []*course) {
	left := incidents
	for _, c := range courses[1:] {
		if len(left) == 0 {
			return
		}
		if c.failure != "" || c.endsOn != "" {
			continue
		}
		c.incident, left = left[0], left[1:]
		if c.incident == writesOnPaper && len(c.evenings) > paperDay {
			e := &c.evenings[paperDay]
			e.onPaper, e.missed, e.late, e.correction = true, false, false, 0
		}
	}
}

// planPause has the last patient of the paused site come in the pause who stays in the study and has no incident yet.
func planPause(courses []*course, o Options) {
	if o.Days < shortestWithEvents {
		return
	}
	for _, c := range slices.Backward(courses) {
		if c.site.id == pausedSite && c.failure == "" && c.endsOn == "" && c.incident == "" {
			c.incident, c.enrolledOn = comesInPause, o.middle()
			return
		}
	}
}

// middle is the first day of the pause.
func (o Options) middle() domain.Date { return o.Today.AddDays(-o.Days - 1 + o.Days/2) }

func (o Options) paused(day domain.Date) bool {
	return day >= o.middle() && day < o.middle().AddDays(pausedDays)
}

// comeInPause has the enrolment refused, and lets the patient come again when the site goes on.
func (s *simulation) comeInPause(ctx context.Context, c *course, enrol patient.EnrollPatient) error {
	c.enrolledOn = s.middle().AddDays(pausedDays)
	err := s.send(ctx, s.accounts[c.site.crc].token, "patient/"+c.number+"/enrol/paused", enrol)
	// In a repeated run, the patient is enrolled already.
	if r, ok := errors.AsType[*refusal](err); ok && (r.Code == "activity_paused" || r.Code == "patient_status") {
		s.report("", 0, 0, func(n *Counts) { n.RefusedInPause++ })
		return nil
	}
	if err == nil {
		return errors.New("a patient was enrolled at a site that is paused")
	}
	return err
}

// meet lets a patient's incident happen, if it is the day.
func (s *simulation) meet(ctx context.Context, c *course, day domain.Date) error {
	if day != c.enrolledOn.AddDays(incidentDay) {
		return nil
	}
	crc, key, of := s.accounts[c.site.crc].token, "patient/"+c.number, domain.ForPatient(c.id())
	switch c.incident {
	case losesKit:
		lost := c.kit
		err := s.sendAll(ctx, crc, key, supply.ReplaceKit{Site: c.site.id, OfPatient: of, Kit: lost, Cause: supply.LostByPatient,
			Reasoned: domain.Because("Left in a train")})
		if err != nil {
			return err
		}
		next, err := s.waitForKits(ctx, c, 1, func(k kitRow) bool { return supply.KitNumber(k.Kit) != lost && k.Visit == "" })
		if err != nil {
			return err
		}
		c.kit = next[0]
		return s.send(ctx, crc, key+"/kit/dispense/replacement", supply.DispenseKit{Site: c.site.id, OfPatient: of, Kit: c.kit, On: day})
	case writesOnPaper, forgetsDoses, comesInPause: // see correctAndClose, dispense and enrol
		return nil
	case changesDose:
		return s.sendAll(ctx, crc, key, patient.RecordDoseChange{OfPatient: of, Direction: patient.DoseUp, On: day,
			Reasoned: domain.Because("Pain still above 6, and the drug is tolerated")})
	case stopsTreatment:
		return s.sendAll(ctx, crc, key, patient.DiscontinueTreatment{OfPatient: of, On: day, Reason: patient.EndedByAdverseEvent,
			Detail: "Nausea, grade 3"})
	}
	return nil
}

// happen lets a day's events of the study as a whole happen: a pause of a site, and a recall.
func (s *simulation) happen(ctx context.Context, day domain.Date) error {
	if s.Days < shortestWithEvents {
		return nil
	}
	if day == s.lastDay().AddDays(-amendedDays) {
		return s.amend(ctx, day)
	}
	middle := s.middle()
	officer, at := s.accounts[safetyOfficerID].token, domain.ForSite(studyID, pausedSite)
	stopped := []study.Activity{study.ActivityScreening, study.ActivityRandomisation}
	switch day {
	case middle:
		return s.sendAll(ctx, officer, "site/"+string(pausedSite), study.PauseSite{AtSite: at, Activities: stopped,
			Reasoned: domain.Because("Consent forms are missing pages; the monitor visits on Thursday")})
	case middle.AddDays(pausedDays):
		return s.sendAll(ctx, officer, "site/"+string(pausedSite), study.ResumeSite{AtSite: at, Activities: stopped,
			Reasoned: domain.Because("All forms are complete; the staff are trained")})
	}
	return nil
}

// amend publishes an amendment of the protocol. Two sites have the approval of their ethics committee at once. At the first site, its
// patients follow the new version, and sign the consent again the next day; the first patient has not signed yet.
func (s *simulation) amend(ctx context.Context, day domain.Date) error {
	next := protocol()
	next.Version, next.ConsentVersion, next.SiteApproval, next.PublishedOn = 2, amendedConsent, true, day
	next.Reconsent = &study.Reconsent{Who: study.ReconsentEverybody, WithinDays: 14, Blocks: []study.Blocked{study.BlocksDispensing}}
	manager, in := s.accounts[managerID].token, domain.ForStudy(studyID)
	if err := s.sendAll(ctx, manager, "amendment", study.PublishProtocolVersion{InStudy: in, Protocol: next}); err != nil {
		return err
	}
	for _, at := range sites[:2] {
		err := s.send(ctx, manager, "amendment/approval/"+string(at.id), study.ApproveProtocolAtSite{
			AtSite: domain.ForSite(in.Study, at.id), Version: 2,
			ApprovedOn: day, By: "Ethics committee of " + at.name})
		if err != nil {
			return err
		}
	}
	for i, c := range s.courses {
		if c.site.id != sites[0].id || c.failure != "" || c.enrolledOn > day || c.endsOn != "" {
			continue
		}
		crc, key, of := s.accounts[c.site.crc].token, "patient/"+c.number+"/amendment", domain.ForPatient(c.id())
		if err := s.sendAll(ctx, crc, key, patient.ApplyProtocolVersion{OfPatient: of, Version: 2, On: day}); err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		err := s.sendAll(ctx, crc, key, patient.RecordConsent{OfPatient: of, ConsentVersion: amendedConsent, On: day.AddDays(1)})
		if err != nil {
			return err
		}
	}
	return nil
}

// recall recalls a lot when the patients' days are over. The first site that has a patient with a kit of it at home tells its
// patients; the alerts of the others stay open.
func (s *simulation) recall(ctx context.Context) error {
	if s.Days < shortestWithEvents {
		return nil
	}
	err := s.send(ctx, s.accounts[unblindedManagerID].token, "supply/recall", supply.RecallLot{InStudy: domain.ForStudy(studyID),
		Lot: recalledLot, Reasoned: domain.Because("Assay below specification at nine months")})
	if err != nil {
		return err
	}
	ofLot := map[string]bool{}
	for line := range strings.Lines(kitsCSV(s.Options)) {
		kit, rest, _ := strings.Cut(line, ",")
		ofLot[kit] = strings.Contains(rest, ","+recalledLot+",")
	}
	given, err := s.kits(ctx, s.accounts[managerID].token, "", string(supply.KitIsDispensed), "")
	if err != nil {
		return err
	}
	given = slices.DeleteFunc(given, func(k kitRow) bool { return !ofLot[k.Kit] })
	var recalled []recalledRow
	err = s.waitUntil(ctx, func() (bool, error) { // the recall reaches the sites by a process
		recalled, err = listed[recalledRow](ctx, s, s.accounts[managerID].token, "recalled-kits",
			url.Values{"status": {string(supply.KitIsDispensed)}})
		return len(recalled) >= len(given), err
	})
	if err != nil {
		return fmt.Errorf("the kits of the recalled lot: %w", err)
	}
	have, told := map[domain.PatientID]bool{}, map[domain.PatientID]bool{}
	for _, at := range sites {
		for _, k := range recalled {
			have[k.Patient] = true
			if k.Location != at.id {
				continue
			}
			err := s.send(ctx, s.accounts[at.crc].token, "kit/"+k.Kit+"/recall", supply.RecordRecallAction{Site: at.id,
				OfPatient: domain.ForPatient(k.Patient), Kit: supply.KitNumber(k.Kit), Action: supply.PatientTold, On: s.lastDay(),
				Note: "Brings it to the next visit"})
			if err != nil {
				return fmt.Errorf("the recall of kit %s: %w", k.Kit, err)
			}
			told[k.Patient] = true
		}
		if len(told) > 0 {
			break
		}
	}
	s.report("", 0, 0, func(c *Counts) { c.RecalledAtHome, c.ToldOfRecall = len(have), len(told) })
	return nil
}
