package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/eventlog"
)

type supplyCommand struct {
	Simulate supplySimulateCommand `cmd:"" help:"Replay what patients needed under a resupply rule, and compare it with what happened. Nothing is changed."`
}

type supplySimulateCommand struct {
	Study           domain.StudyID `help:"The study." required:"" placeholder:"STUDY"`
	Rule            string         `help:"The rule, such as site=01,trigger=2,target=6,predictDays=28,enrolments=2,depot=D. What is left out is as in the site's own rule; without a site, it is tried at all sites. Without this flag, the own rule of each site is replayed." placeholder:"RULE"`
	LeadDays        int            `help:"Days from the making of a shipment to its receipt; the median of the site's shipments by default." placeholder:"DAYS"`
	Eventstore      string         `help:"Address of the event store, esdb://... By default that of the data directory, whether a server runs on it or not." placeholder:"URL"`
	Data            string         `help:"Data directory; none of its files is changed." default:"casebook-data" type:"path" placeholder:"DIR"`
	BlindingKeyFile string         `help:"Key that seals kit contents; that of the data directory by default." type:"path" placeholder:"FILE"`
	JSON            bool           `help:"Print JSON, one line per site."`
}

// simulatedSite is the result for one site. It names no arm.
type simulatedSite struct {
	Site      domain.SiteID        `json:"site"`
	Depot     supply.LocationID    `json:"depot"`
	From      domain.Date          `json:"from"`
	Through   domain.Date          `json:"through"`
	Needed    int                  `json:"needed"`
	LeadDays  int                  `json:"leadDays"`
	Rule      *supply.ResupplyRule `json:"rule"`
	Actual    supply.Outcome       `json:"actual"`
	Simulated supply.Outcome       `json:"simulated"`
}

// Run replays the study's demand, and prints one result per site.
func (c supplySimulateCommand) Run(ctx context.Context, s streams) error {
	change, err := readRule(c.Rule)
	if err != nil {
		return err
	}
	stores := toolStores{data: dataDir(c.Data), eventStore: c.Eventstore}
	return stores.use(ctx, reads, unused, func(o opened) error {
		keys, err := blindingKeysIn(c.BlindingKeyFile, dataDir(c.Data), c.Eventstore)
		if err != nil {
			return err
		}
		log, err := toolLog(ctx, eventlog.Options{URL: o.eventStoreURL, BlindingKeys: keys})
		if err != nil {
			return err
		}
		in, past, err := readPast(ctx, log, c.Study)
		if err := domain.First(err, log.Close()); err != nil {
			return err
		}
		results, err := c.simulate(in, past, change)
		if err != nil {
			return err
		}
		return c.print(s, results)
	})
}

// ruleChange is what a rule on the command line changes of a site's own rule.
type ruleChange struct {
	site  domain.SiteID
	apply func(*supply.ResupplyRule)
}

// readRule reads a rule of the form name=value,name=value.
func readRule(text string) (ruleChange, error) {
	var c ruleChange
	var changes []func(*supply.ResupplyRule)
	numbers := map[string]func(*supply.ResupplyRule) *int{
		"trigger": func(r *supply.ResupplyRule) *int { return &r.Trigger }, "target": func(r *supply.ResupplyRule) *int { return &r.Target },
		"overdueDays": func(r *supply.ResupplyRule) *int { return &r.OverdueDays },
		"predictDays": func(r *supply.ResupplyRule) *int { return &r.PredictDays },
		"enrolments":  func(r *supply.ResupplyRule) *int { return &r.Enrolments },
	}
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, value, _ := strings.Cut(part, "=")
		switch field, isNumber := numbers[name]; {
		case name == "site":
			c.site = domain.SiteID(value)
		case name == "depot":
			changes = append(changes, func(r *supply.ResupplyRule) { r.Depot = supply.LocationID(value) })
		case isNumber:
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 || n > 1000 {
				return c, fmt.Errorf("--rule: %s is %q; use a whole number from 0 to 1000", name, value)
			}
			changes = append(changes, func(r *supply.ResupplyRule) { *field(r) = n })
		default:
			return c, fmt.Errorf("--rule: there is no %q; use site, depot, trigger, target, overdueDays, predictDays and enrolments", name)
		}
	}
	c.apply = func(r *supply.ResupplyRule) {
		for _, change := range changes {
			change(r)
		}
	}
	return c, nil
}

// readPast reads what the simulation needs from the log.
func readPast(ctx context.Context, log *eventlog.Log, id domain.StudyID) (in study.Study, past *supply.Past, _ error) {
	past = supply.NewPast()
	patients, levels := map[domain.PatientID]patient.Patient{}, map[domain.PatientID]map[string]string{}
	followed := eventlog.Subscription{Categories: []string{"study", "supply", "stock", "patient", "randomisation"}, KeepUnreadable: true}
	err := log.FollowToEnd(ctx, followed, func(_ context.Context, b eventlog.Batch) error {
		for _, r := range b.Events {
			if r.Metadata.Study != id {
				continue
			}
			on := domain.DateOf(r.Metadata.RecordedAt.UTC())
			switch e := r.Event.(type) {
			case study.Event:
				in = study.Decider.Evolve(in, e)
			case randomisation.PatientRandomised:
				arm, open := e.Arm.Open()
				if !open {
					return supply.ErrKeysMissing
				}
				past.NoteArm(e.Patient, arm)
				levels[e.Patient] = e.Factors
			case randomisation.StratumCorrected:
				levels[e.Patient] = e.Factors
			case patient.Event:
				who := r.Metadata.Patient
				patients[who] = patient.Decider.Evolve(patients[who], e)
			default:
				past.Note(e, on)
			}
		}
		return nil
	})
	if err == nil && (in.Protocol == nil || in.Protocol.Treatment == nil) {
		err = fmt.Errorf("the log has no study %s with kits", id)
	}
	for who, p := range patients {
		past.NoteCourse(who, supply.Course{EnrolledOn: p.EnrolledOn, EndedOn: p.LastDoseOn(), Visits: p.Visits, Skipped: p.Skipped,
			Version: p.ProtocolIn(in), Dosing: p.Dosing(levels[who])})
	}
	return in, past, err
}

// simulate replays the rule at each site that it is for.
func (c supplySimulateCommand) simulate(in study.Study, past *supply.Past, change ruleChange) (all []simulatedSite, _ error) {
	sites := past.Sites()
	if change.site != "" {
		if !slices.Contains(sites, change.site) {
			return nil, fmt.Errorf("site %s of study %s never needed a kit, and has no resupply rule", change.site, c.Study)
		}
		sites = []domain.SiteID{change.site}
	}
	for _, id := range sites {
		var tried supply.ResupplyRule
		change.apply(&tried)
		h, err := past.Of(id, tried.Depot)
		if err != nil {
			return nil, err
		}
		rule := supply.ResupplyRule{Site: id, Depot: h.Depot, OverdueDays: 7}
		if h.Rule != nil {
			rule = *h.Rule
		}
		change.apply(&rule)
		if rule.Site = id; rule.Trigger < 1 || rule.Target < rule.Trigger {
			return nil, fmt.Errorf("site %s has trigger %d and target %d; name both with --rule, with a target from the trigger up", id,
				rule.Trigger, rule.Target)
		}
		if c.LeadDays > 0 {
			h.LeadDays = c.LeadDays
		}
		all = append(all, simulatedSite{Site: id, Depot: h.Depot, From: h.From, Through: h.Through, Needed: h.Needed(), LeadDays: h.LeadDays,
			Rule: &rule, Actual: h.Actual, Simulated: supply.WhatIf(h, in, rule)})
	}
	return all, nil
}

func (c supplySimulateCommand) print(s streams, results []simulatedSite) error {
	if c.JSON {
		lines := json.NewEncoder(s.out)
		for _, r := range results {
			if err := lines.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	for _, r := range results {
		fmt.Fprintf(s.out, "site %s from depot %s, %s to %s: %d kits were needed, shipments take %d days\n", r.Site, r.Depot, r.From, r.Through,
			r.Needed, r.LeadDays)
		fmt.Fprintf(s.out, "  rule       trigger %d, target %d, looks %d days ahead, %d enrolments\n", r.Rule.Trigger, r.Rule.Target,
			r.Rule.PredictDays,
			r.Rule.Enrolments)
		fmt.Fprintf(s.out, "  %-10s %10s %8s %10s %6s %14s\n", "", "stock-outs", "expired", "shipments", "kits", "depot short on")
		for _, line := range []struct {
			name string
			of   supply.Outcome
		}{{"happened", r.Actual}, {"simulated", r.Simulated}} {
			fmt.Fprintf(s.out, "  %-10s %10d %8d %10d %6d %9d days\n", line.name, line.of.StockOuts, line.of.Expired, line.of.Shipments,
				line.of.Kits,
				line.of.Short)
		}
	}
	return nil
}
