// Package casebook declares the commands on a patient's casebook: which decision, which facts, which roles.
package casebook

import (
	"context"
	"slices"

	"casebook/access"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/build"
	"casebook/domain/casebook"
	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/domain/user"
)

// Commands are the commands on a patient's casebook.
var Commands = []commands.Command{
	commands.HandleWithFacts(casebook.Decider, factsOf[casebook.SubmitForm], casebook.Submit).
		AllowedTo(access.SiteStaff).
		Described("Enter values in a case report form, with what is derived from them and asked about them",
			casebook.SubmitForm{OfPatient: domain.ForPatient("PAIN1.S-0001"), Form: "baseline/VS", Build: 1, Complete: true,
				Items: []casebook.Entry{{Key: "baseline/VS/VS/SYSBP", Value: "128"}, {Key: "baseline/VS/VS/POSITION", Value: "sitting"}}}),
	commands.HandleWithFacts(casebook.Decider, factsOf[casebook.CorrectItems], casebook.Correct).
		AllowedTo(access.SiteStaff).
		Described("Change values of case report forms, each with its reason; a value that somebody else has changed meanwhile is refused",
			casebook.CorrectItems{OfPatient: domain.ForPatient("PAIN1.S-0001"), Changes: []casebook.Change{
				{Entry: casebook.Entry{Key: "baseline/VS/VS/SYSBP", Base: 1, Value: "138"}, Why: casebook.EntryError}}}),
	commands.HandleWithFacts(casebook.Decider, factsOf[casebook.MarkItemNotDone], casebook.MarkItem).
		AllowedTo(access.SiteStaff).
		Described("Say why an item has no value",
			casebook.MarkItemNotDone{OfPatient: domain.ForPatient("PAIN1.S-0001"), Key: "baseline/VS/VS/SYSBP", Base: 1, Null: casebook.NotDone,
				Reasoned: domain.Because("The cuff was broken")}),
	commands.HandleWithFacts(casebook.Decider, factsOf[casebook.MarkFormNotDone], casebook.MarkForm).
		AllowedTo(access.SiteStaff).
		Described("Say why a case report form is not filled in",
			casebook.MarkFormNotDone{OfPatient: domain.ForPatient("PAIN1.S-0001"), Form: "week-1/VS", Build: 1, Null: casebook.NotDone,
				Reasoned: domain.Because("The visit was a telephone call")}),
	commands.HandleWithFacts(casebook.Decider, factsOf[casebook.AddRow], casebook.Add).
		AllowedTo(access.SiteStaff).
		Described("Add an empty row to a group of a case report form",
			casebook.AddRow{OfPatient: domain.ForPatient("PAIN1.S-0001"), Form: "log/AE", Build: 1, Group: "AE"}),
	commands.HandleWithFacts(casebook.Decider, factsOf[casebook.RemoveRow], casebook.Remove).
		AllowedTo(access.SiteStaff).
		Described("Take a row out of a case report form; its values stay in the record",
			casebook.RemoveRow{OfPatient: domain.ForPatient("PAIN1.S-0001"), Row: "log/AE/AE[2]",
				Reasoned: domain.Because("The same event as in row 1")}),
	commands.HandleWithFacts(casebook.Decider, factsOf[casebook.RestoreRow], casebook.Restore).
		AllowedTo(access.SiteStaff).
		Described("Bring a removed row back, with its values",
			casebook.RestoreRow{OfPatient: domain.ForPatient("PAIN1.S-0001"), Row: "log/AE/AE[2]", Reasoned: domain.Because("Another event")}),
	commands.HandleWithFacts(casebook.Decider, factsOf[casebook.RaiseQuery], casebook.Raise).
		AllowedTo(access.Monitors, access.DataManagers, access.SafetyOfficers).
		PreparedWith(func(_ context.Context, _ *commands.Handler, r commands.Request, c *casebook.RaiseQuery) error {
			c.Roles = rolesIn(r, c.Patient)
			return nil
		}).
		Described("Ask the site about an item or a form",
			casebook.RaiseQuery{OfPatient: domain.ForPatient("PAIN1.S-0001"), Key: "baseline/VS/VS/SYSBP",
				Text: "The source says 138"}),
	commands.Handle(casebook.Decider, casebook.Answer).
		AllowedTo(access.SiteStaff).
		Described("Answer a query",
			casebook.AnswerQuery{OfPatient: domain.ForPatient("PAIN1.S-0001"), Query: 1, Text: "The value is right"}),
	commands.Handle(casebook.Decider, casebook.Reopen).
		AllowedTo(access.Monitors, access.DataManagers, access.SafetyOfficers).
		PreparedWith(func(_ context.Context, _ *commands.Handler, r commands.Request, c *casebook.ReopenQuery) error {
			c.Roles = rolesIn(r, c.Patient)
			return nil
		}).
		Described("Ask again, because the answer to a query is not enough",
			casebook.ReopenQuery{OfPatient: domain.ForPatient("PAIN1.S-0001"), Query: 1, Text: "Who measured it?"}),
	commands.HandleWithFacts(casebook.Decider, factsOf[casebook.CloseQuery], casebook.Close).
		AllowedTo(access.Monitors, access.DataManagers, access.SafetyOfficers).
		PreparedWith(func(_ context.Context, _ *commands.Handler, r commands.Request, c *casebook.CloseQuery) error {
			c.Roles = rolesIn(r, c.Patient)
			return nil
		}).
		Described("Close a query that is answered; one by the program is raised again only after a change of what it looks at",
			casebook.CloseQuery{OfPatient: domain.ForPatient("PAIN1.S-0001"), Query: 1}),
	commands.HandleWithFacts(casebook.Decider, factsOf[casebook.CancelQuery], casebook.Cancel).
		AllowedTo(access.Monitors, access.DataManagers, access.SafetyOfficers).
		PreparedWith(func(_ context.Context, _ *commands.Handler, r commands.Request, c *casebook.CancelQuery) error {
			c.Roles = rolesIn(r, c.Patient)
			return nil
		}).
		Described("Cancel a query that should not have been there",
			casebook.CancelQuery{OfPatient: domain.ForPatient("PAIN1.S-0001"), Query: 1, Reasoned: domain.Because("Asked twice")}),
}

// rolesIn returns the roles of the sender in the patient's study.
func rolesIn(r commands.Request, of domain.PatientID) (roles []user.Role) {
	for _, g := range r.Principal.Grants {
		if g.Study == of.Study() && !slices.Contains(roles, g.Role) {
			roles = append(roles, g.Role)
		}
	}
	slices.Sort(roles)
	return roles
}

// factsOf reads the facts of a command on a casebook: the patient, the build that the site captures new forms by, those that the casebook
// is captured by, the texts that their rules look at, and who changed what the sender has not seen.
func factsOf[C domain.AboutPatient](ctx context.Context, reader commands.Reader, c C) (facts casebook.Facts, err error) {
	if facts.Patient, err = commands.PatientOf(ctx, reader, c); err != nil {
		return facts, err
	}
	s, err := commands.Read(ctx, reader, study.Decider, string(facts.Patient.Study))
	if err != nil {
		return facts, err
	}
	book, err := commands.Read(ctx, reader, casebook.Decider, string(c.AboutPatient()))
	if err != nil {
		return facts, err
	}
	facts.Released = s.Sites[facts.Patient.Site].Build
	if facts.Builds, err = builds(ctx, reader, facts.Patient, book, facts.Released); err != nil {
		return facts, err
	}
	if facts.Opened, err = opened(ctx, reader, book.TextsToOpen(facts.Builds)); err != nil {
		return facts, err
	}
	if based, is := any(c).(casebook.Based); is {
		if stale := book.Stale(based); len(stale) > 0 {
			facts.Last, err = last(ctx, reader, c.AboutPatient(), stale)
		}
	}
	return facts, err
}

// builds returns the builds that forms of a casebook are captured by, and the released one.
func builds(ctx context.Context, reader commands.Reader, p patient.Patient, book casebook.Casebook, released int) (
	map[int]*build.Compiled, error,
) {
	used := book.Builds()
	if released > 0 {
		used[released] = true
	}
	found := make(map[int]*build.Compiled, len(used))
	for number := range used {
		b, err := commands.Read(ctx, reader, build.Decider, build.StreamID(p.Study, number))
		if err != nil {
			return nil, err
		}
		if !b.IsSealed() {
			continue // its release is read from a newer state; the decision refuses what it needs it for
		}
		if found[number], err = b.Compiled(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// opened returns what sealed texts say, those that are redacted too. It refuses texts_unavailable where there is no store of keys, or it
// does not answer, or lacks a key.
func opened(ctx context.Context, reader commands.Reader, sealed []personal.Text) (map[personal.Text]string, error) {
	texts, err := personal.Opened(ctx, reader.PersonalKeys(), sealed)
	if err != nil {
		return nil, refuse.Overload("texts_unavailable", "the texts of the casebook cannot be opened now, and checks look at them").
			Do("send the command again later; if that does not help, tell those who run the system that the store of personal keys is missing")
	}
	for _, t := range sealed {
		if _, readable := texts[t]; !readable {
			texts[t] = personal.Redacted
		}
	}
	return texts, nil
}

// last returns who changed items last, and when.
func last(ctx context.Context, reader commands.Reader, of domain.PatientID, keys []casebook.Key) (map[casebook.Key]casebook.Last, error) {
	events, recorded, err := commands.ReadRecorded(ctx, reader, casebook.Decider, string(of))
	if err != nil {
		return nil, err
	}
	changes := map[casebook.Key]casebook.Last{}
	for n, e := range events {
		for _, k := range casebook.Changed(e) {
			if slices.Contains(keys, k) {
				changes[k] = casebook.Last{By: recorded[n].Metadata.Actor, At: recorded[n].Metadata.RecordedAt}
			}
		}
	}
	return changes, nil
}
