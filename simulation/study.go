package simulation

import (
	"encoding/json"

	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/study"
	"casebook/domain/user"
)

// studyID is the simulated study.
const studyID domain.StudyID = "PAIN1"

const (
	studyTitle     = "Relievo in chronic low back pain: a randomised, double-blind, placebo-controlled study"
	consentVersion = "2.0"
)

// site is a site and its staff.
type site struct {
	id                domain.SiteID
	name, country     string
	zone              string
	crc, investigator domain.UserID
}

var sites = []site{
	{"01", "Klinikum am Spreeufer, Berlin", "DE", "Europe/Berlin", "crc.berlin", "dr.lindner"},
	{"02", "Hudson Valley Pain Clinic, New York", "US", "America/New_York", "crc.newyork", "dr.alvarez"},
	{"03", "East River Hospital, Shanghai", "CN", "Asia/Shanghai", "crc.shanghai", "dr.shen"},
}

// Account is an account that the simulation has created.
type Account struct {
	User domain.UserID `json:"user"`
	// Description says what the account may do.
	Description string `json:"description"`

	name   string
	grants []user.Grant
	token  string
}

const (
	managerID domain.UserID = "data.manager"
	// patientID is the account of the one patient who can sign in. The phones of the others have tokens.
	patientID domain.UserID = "patient.one"
)

// staff returns the accounts that have a password.
func staff() []*Account {
	across := func(r user.Role) []user.Grant { return []user.Grant{{Role: r, Study: studyID}} }
	firstPatient := domain.NewPatientID(studyID, "S-0001")
	all := []*Account{
		{User: managerID, Description: "data manager: builds the study, reads all sites", name: "Noor Haddad", grants: across(user.DataManager)},
		{User: "monitor", Description: "monitor of sites 01 and 02", name: "Piotr Zielinski",
			grants: []user.Grant{{Role: user.Monitor, Study: studyID, Site: "01"}, {Role: user.Monitor, Study: studyID, Site: "02"}}},
		{User: supplyManagerID, Description: "supply manager: depots, shipments, kits, without knowing what they hold",
			name: "Jonas Wirth", grants: across(user.SupplyManager)},
		{User: unblindedManagerID, Description: "unblinded supply manager: registers kits, releases and recalls lots", name: "Agnes Moreau",
			grants: across(user.UnblindedSupplyManager)},
		{User: statisticianID, Description: "statistician: randomisation list", name: "Kenji Mori", grants: across(user.Statistician)},
		{User: "safety.officer", Description: "safety officer", name: "Ines Carvalho", grants: across(user.SafetyOfficer)},
		{User: "auditor", Description: "auditor: reads everything recorded, changes nothing", name: "Tomas Berg",
			grants: across(user.Auditor)},
		{User: patientID, Description: "patient " + string(firstPatient) + ", who sees nobody else", name: string(patientID),
			grants: []user.Grant{{Role: user.PatientRole, Study: studyID, Patient: firstPatient}}},
	}
	for _, s := range sites {
		all = append(all,
			&Account{User: s.crc, Description: "coordinator at site " + string(s.id) + ", " + s.name, name: "Coordinator of site " + string(s.id),
				grants: []user.Grant{{Role: user.CRC, Study: studyID, Site: s.id}}},
			&Account{User: s.investigator, Description: "investigator at site " + string(s.id), name: "Investigator of site " + string(s.id),
				grants: []user.Grant{{Role: user.Investigator, Study: studyID, Site: s.id}}})
	}
	return all
}

func protocol() study.Protocol {
	form := func(id, title string, items ...string) study.Form {
		definition, err := json.Marshal(map[string]any{"items": items})
		if err != nil {
			panic(err) // strings can always be encoded as JSON
		}
		return study.Form{ID: id, Title: title, Definition: definition}
	}
	return study.Protocol{
		Version: 1, ConsentVersion: consentVersion,
		Arms: []study.Arm{
			{ID: string(verum), Title: "Relievo", Dose: "60 mg twice daily; 120 mg at step 2",
				InEmergency: "There is no antidote. Monitor respiration for 12 hours."},
			{ID: string(placebo), Title: "Placebo", Dose: "One capsule twice daily; two at step 2",
				InEmergency: "No action is needed because of the treatment."},
		},
		Criteria: []study.Criterion{{ID: "pain-4", Title: "Mean pain of 4 or more on the numerical rating scale"},
			{ID: "opioids", Title: "Opioids within the last 30 days", Exclusion: true}},
		Treatment: &study.Treatment{Randomised: true, Kits: true, DoNotDispenseDays: 30, DispensingVisits: []string{secondVisit},
			InEmergency: "Call the Poison Information Centre, +49 30 19240, and the medical monitor.",
			Titration:   &study.Titration{Steps: maxStep},
			Plan:        dispensingPlan(), DosingLimits: &study.DosingLimits{MinPercent: 80, MaxPercent: 120},
			Factors: []study.Factor{{ID: "age", Title: "Age group", Levels: []string{"under-50", "50-or-more"},
				DerivedFrom: study.FromAge, Bounds: []int{50}}}},
		Alerts: &study.AlertPolicy{ReviewMinutes: 120, MissedInARow: 4},
		Forms: []study.Form{
			form("demographics", "Demographics", "birthYear", "sex", "ethnicity"),
			form("vitals", "Vital signs", "pulse", "systolic", "diastolic", "weight"),
			form("exam", "Physical examination", "spine", "reflexes"),
			form("labs", "Laboratory", "creatinine", "alt", "ast"),
		},
		Visits: []study.Visit{
			{ID: "screening", Title: "Screening", Day: -7, DaysBefore: 14, DaysAfter: 6, Forms: []string{"demographics", "vitals", "exam", "labs"}},
			{ID: "baseline", Title: "Baseline", Day: 0, Forms: []string{"vitals", "exam"}},
			{ID: "week-2", Title: "Week 2", Day: 14, DaysBefore: 2, DaysAfter: 2, Forms: []string{"vitals"}},
			{ID: "week-4", Title: "Week 4", Day: 28, DaysBefore: 3, DaysAfter: 3, Forms: []string{"vitals", "labs"}},
			{ID: "week-8", Title: "Week 8", Day: 56, DaysBefore: 3, DaysAfter: 3, Forms: []string{"vitals", "labs"}},
			{ID: "week-12", Title: "End of treatment", Day: 84, DaysBefore: 3, DaysAfter: 3, Forms: []string{"vitals", "exam", "labs"}},
		},
		Instruments: []instrument.Definition{painDiary(), *instrument.PHQ9()},
	}
}

// dispensingPlan gives a kit for two weeks, and two of them at the higher step, which takes two capsules where the first takes one.
// It is the same in both arms.
func dispensingPlan() *study.DispensingPlan {
	plan := &study.DispensingPlan{}
	for _, arm := range []string{string(verum), string(placebo)} {
		plan.Types = append(plan.Types, study.KitType{ID: arm, Arm: arm, Form: "capsule", LabelGroup: "capsules"})
		for step := 1; step <= maxStep; step++ {
			plan.Kits = append(plan.Kits, study.PlannedKits{Arm: arm, Step: step, DosesPerDay: float64(dosesPerDay * step),
				Kits: []study.KitsOf{{Type: arm, Count: step}}})
		}
	}
	return plan
}

// painDiary returns the pain diary, with reminders.
func painDiary() instrument.Definition {
	d := *instrument.PainDiary()
	d.Schedule.Remind = true
	return d
}

// buildCommands returns the commands with which the data manager builds the study.
func buildCommands(o Options, opened domain.Date) []any {
	commands := []any{
		study.CreateStudy{InStudy: domain.ForStudy(studyID), Title: studyTitle, Sponsor: "Meridian Therapeutics", Phase: "II"},
		study.PublishProtocolVersion{InStudy: domain.ForStudy(studyID), Protocol: protocol()},
	}
	for _, s := range sites {
		commands = append(commands,
			study.AddSite{AtSite: domain.ForSite(studyID, s.id), Name: s.name, Country: s.country, Zone: s.zone},
			study.ActivateSite{AtSite: domain.ForSite(studyID, s.id), On: opened})
	}
	caps := enrollment.Caps{Target: o.Patients, Study: o.Patients + 20}
	return append(commands, enrollment.OpenEnrollment{InStudy: domain.ForStudy(studyID), Caps: caps})
}
