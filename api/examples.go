package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode"

	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/domain/user"

	"github.com/danielgtaylor/huma/v2"
)

// told is what the description says of a command beyond its types: a line, and a body to begin with. A command that is
// not here is described by its name and by a body made of its schema.
var told = map[string]struct {
	summary string
	example any
}{
	"CreateStudy": {"Begin a study", study.CreateStudy{Study: "PAIN1", Title: "Pain relief by daily walking", Sponsor: "University of Example", Phase: "II"}},
	"PublishProtocolVersion": {"Put the first protocol version, or an amendment, in force", study.PublishProtocolVersion{Study: "PAIN1", Protocol: study.Protocol{
		Version: 1, ConsentVersion: "1.0", Arms: []study.Arm{{ID: "walk", Title: "Daily walking"}, {ID: "usual", Title: "Care as usual"}},
		Visits: []study.Visit{{ID: "baseline", Title: "Baseline", Day: 0}}, Instruments: []instrument.Definition{exampleInstrument}}}},
	"AddSite":             {"Let a site take part", study.AddSite{Study: "PAIN1", Site: "DE-01", Name: "City Hospital", Country: "DE", Zone: "Europe/Berlin"}},
	"ActivateSite":        {"Let a site screen and enrol", study.ActivateSite{Study: "PAIN1", Site: "DE-01", On: "2026-01-15"}},
	"CloseSite":           {"End a site's screening and enrolment", study.CloseSite{Study: "PAIN1", Site: "DE-01", On: "2026-11-30", Reason: "The site's contract ends"}},
	"OpenEnrollment":      {"Let patients enter the study", enrollment.OpenEnrollment{Study: "PAIN1", Caps: enrollment.Caps{Target: 100, Study: 120}}},
	"CloseEnrollment":     {"End the entry of patients", enrollment.CloseEnrollment{Study: "PAIN1", Reason: "The target is reached"}},
	"SetEnrollmentTarget": {"Change target and caps", enrollment.SetEnrollmentTarget{Study: "PAIN1", Caps: enrollment.Caps{Target: 150, Study: 180}}},
	"ScreenPatient": {"Record that a person is considered for the study", patient.ScreenPatient{Study: "PAIN1", Site: "DE-01", ScreeningNumber: "S-0001", On: "2026-02-01",
		Sex: patient.Female, AgeYears: 54}},
	"RecordConsent":       {"Record the informed consent that a patient signed", patient.RecordConsent{Patient: "PAIN1.S-0001", ConsentVersion: "1.0", On: "2026-02-01"}},
	"RecordScreenFailure": {"End a patient's way before enrolment", patient.RecordScreenFailure{Patient: "PAIN1.S-0001", On: "2026-02-02", Reason: "Inclusion criterion 3 is not met"}},
	"EnrollPatient":       {"Ask for a patient's enrolment", patient.EnrollPatient{Patient: "PAIN1.S-0001", On: "2026-02-03"}},
	"WithdrawConsent":     {"End participation by the patient's own will", patient.WithdrawConsent{Patient: "PAIN1.S-0001", On: "2026-05-01"}},
	"DiscontinuePatient":  {"End participation early for another reason", patient.DiscontinuePatient{Patient: "PAIN1.S-0001", On: "2026-05-01", Reason: "ADVERSE EVENT"}},
	"CompletePatient":     {"End participation as planned", patient.CompletePatient{Patient: "PAIN1.S-0001", On: "2026-08-01"}},
	"AssignInstrument":    {"Let a patient answer an instrument", diary.AssignInstrument{Patient: "PAIN1.S-0001", Instrument: "pain-diary", From: "2026-02-04", Until: "2026-08-01"}},
	"SubmitDiary": {"Hand in one filled-in instrument", diary.SubmitDiary{Patient: "PAIN1.S-0001", Instrument: "pain-diary", CapturedAt: exampleMoment, Zone: "Europe/Berlin",
		Answers: diary.Answers{"worst": 6, "least": 2, "average": 4, "now": 3, "rescue": false}}},
	"CorrectDiary": {"Change answers of a recorded diary, with the reason", diary.CorrectDiary{Patient: "PAIN1.S-0001", Instrument: "pain-diary", Window: "2026-03-01/evening",
		Answers: map[instrument.ItemID]any{"worst": 5}, Reason: "The patient called: mistyped"}},
	"CloseDiaryWindows": {"Record windows that ran out unanswered as missed", diary.CloseDiaryWindows{Patient: "PAIN1.S-0001", Through: exampleMoment}},
	"RegisterUser":      {"Open an account", user.RegisterUser{User: "nurse.weber", Name: "Anna Weber", Password: examplePhrase}},
	"ChangePassword":    {"Set a new password", user.ChangePassword{User: "nurse.weber", Password: examplePhrase}},
	"GrantRole":         {"Give a user a role", user.GrantRole{User: "nurse.weber", Grant: user.Grant{Role: user.CRC, Study: "PAIN1", Site: "DE-01"}}},
	"RevokeRole":        {"Take a role from a user", user.RevokeRole{User: "nurse.weber", Grant: user.Grant{Role: user.CRC, Study: "PAIN1", Site: "DE-01"}, Reason: "Has left the site"}},
	"DeactivateUser":    {"End an account", user.DeactivateUser{User: "nurse.weber", Reason: "Has left the hospital"}},
}

// examplePhrase stands where a password belongs.
const examplePhrase = "a long pass phrase"

var (
	exampleMoment     = time.Date(2026, 3, 1, 20, 30, 0, 0, time.FixedZone("", 3600))
	exampleInstrument = instrument.Definition{ID: "pain-short", Version: 1, Title: "Pain today", Source: "Own wording",
		Items: []instrument.Item{{ID: "worst", Text: "How strong was your pain today at its worst?", Type: instrument.Integer, Min: new(0.0), Max: new(10.0), Required: true}},
		Schedule: instrument.Schedule{EveryDays: 1, Windows: []instrument.DayWindow{{ID: "evening", Opens: "18:00", Closes: "00:00"}},
			Late: instrument.LatePolicy{AcceptHours: 12, SyncHours: 36}}}
)

// summaryOf is a command's line in the description.
func summaryOf(command string) string {
	if s := told[command].summary; s != "" {
		return s
	}
	return inWords(command)
}

// exampleOf is a body that the strict decoder takes, as the description shows it.
func exampleOf(command string, body reflect.Type, s *schemas) any {
	example := told[command].example
	if example == nil {
		return exampleOfSchema(s.Schema(body, false, ""), s, 0)
	}
	// By way of JSON, so that the description shows what is sent rather than Go's zero values.
	encoded, err := json.Marshal(example)
	if err != nil {
		return nil
	}
	var shown any
	if json.Unmarshal(encoded, &shown) != nil {
		return nil
	}
	return shown
}

// exampleDepth ends the examples of types that hold themselves.
const exampleDepth = 8

// exampleOfSchema makes a value of a schema from the examples in it; optional parts are left out.
func exampleOfSchema(s *huma.Schema, all *schemas, depth int) any {
	if s.Ref != "" {
		s = all.SchemaFromRef(s.Ref)
	}
	switch {
	case depth > exampleDepth:
		return nil
	case len(s.Examples) > 0:
		return s.Examples[0]
	case len(s.Enum) > 0:
		return s.Enum[0]
	}
	switch s.Type {
	case huma.TypeBoolean:
		return false
	case huma.TypeInteger, huma.TypeNumber:
		if s.Minimum != nil {
			return *s.Minimum
		}
		return 1
	case huma.TypeArray:
		return []any{exampleOfSchema(s.Items, all, depth+1)}
	case huma.TypeObject:
		object := map[string]any{}
		for _, name := range s.Required {
			object[name] = exampleOfSchema(s.Properties[name], all, depth+1)
		}
		return object
	case huma.TypeString:
		const word = "text"
		switch {
		case s.MinLength != nil && *s.MinLength > len(word):
			return strings.Repeat("x", *s.MinLength)
		case s.MaxLength != nil && *s.MaxLength < len(word):
			return word[:*s.MaxLength]
		}
		return word
	}
	return nil
}

// inWords splits a name in camel case: SubmitDiary becomes Submit diary.
func inWords(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}
