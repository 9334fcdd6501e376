package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
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
	"RecordVisit":         {"Record that a planned visit took place", patient.RecordVisit{Patient: "PAIN1.S-0001", Visit: "week-4", On: "2026-03-03"}},
	"WithdrawConsent":     {"End participation by the patient's own will", patient.WithdrawConsent{Patient: "PAIN1.S-0001", On: "2026-05-01"}},
	"DiscontinuePatient":  {"End participation early for another reason", patient.DiscontinuePatient{Patient: "PAIN1.S-0001", On: "2026-05-01", Reason: "ADVERSE EVENT"}},
	"CompletePatient":     {"End participation as planned", patient.CompletePatient{Patient: "PAIN1.S-0001", On: "2026-08-01"}},
	"AssignInstrument":    {"Let a patient answer an instrument", diary.AssignInstrument{Patient: "PAIN1.S-0001", Instrument: "pain-diary", From: "2026-02-04", Until: "2026-08-01"}},
	"SubmitDiary": {"Hand in one filled-in instrument", diary.SubmitDiary{Patient: "PAIN1.S-0001", Instrument: "pain-diary", CapturedAt: exampleMoment, Zone: "Europe/Berlin",
		Answers: diary.Answers{"worst": 6, "least": 2, "average": 4, "now": 3, "rescue": false}}},
	"CorrectDiary": {"Change answers of a recorded diary, with the reason", diary.CorrectDiary{Patient: "PAIN1.S-0001", Instrument: "pain-diary", Window: "2026-03-01/evening",
		Answers: map[instrument.ItemID]any{"worst": 5}, Reason: "The patient called: mistyped"}},
	"CloseDiaryWindows": {"Record windows that ran out unanswered as missed", diary.CloseDiaryWindows{Patient: "PAIN1.S-0001", Through: exampleMoment}},
	"OpenDepot":         {"Add a depot to a study", supply.OpenDepot{Study: "PAIN1", Depot: "DEPOT", Name: "Central depot"}},
	"RegisterKits": {"Make the kits of a delivery known", supply.RegisterKits{Study: "PAIN1", Depot: "DEPOT",
		CSV: "kit,arm,lot,expiry,units\nK-10017,walk,L-1,2027-06-30,28\nK-10018,usual,L-1,2027-06-30,28\n"}},
	"ReleaseBatch":     {"Let a lot be shipped and given out", supply.ReleaseBatch{Study: "PAIN1", Lot: "L-1", Certificate: "QP-2026-0017"}},
	"RecallLot":        {"Stop every kit of a lot, wherever it is", supply.RecallLot{Study: "PAIN1", Lot: "L-1", Reason: "Out of specification at 12 months"}},
	"SetResupplyRule":  {"Say when a site is sent kits, and how many", supply.SetResupplyRule{Study: "PAIN1", Rule: supply.ResupplyRule{Site: "DE-01", Depot: "DEPOT", Trigger: 2, Target: 6, OverdueDays: 7}}},
	"CreateShipment":   {"Set kits aside for a way to another place", supply.CreateShipment{Study: "PAIN1", From: "DEPOT", To: "DE-01", Kits: exampleKits, Reason: "Initial supply"}},
	"CancelShipment":   {"Put the kits of a shipment back that has not left", supply.CancelShipment{Study: "PAIN1", From: "DEPOT", Shipment: "DEPOT-0001", Reason: "The site is not open yet"}},
	"DispatchShipment": {"Hand a shipment to the carrier", supply.DispatchShipment{Study: "PAIN1", From: "DEPOT", Shipment: "DEPOT-0001", On: "2026-01-20", Carrier: "Cold Express 4711"}},
	"ReceiveShipment": {"Take a shipment in, each kit as it arrived", supply.ReceiveShipment{Study: "PAIN1", Location: "DE-01", From: "DEPOT", Shipment: "DEPOT-0001", On: "2026-01-21",
		Damaged: exampleKits[1:], Temperature: supply.TemperatureInRange}},
	"ReportShipmentLost": {"End a shipment that never arrived", supply.ReportShipmentLost{Study: "PAIN1", Location: "DE-01", From: "DEPOT", Shipment: "DEPOT-0001", Reason: "The carrier cannot find it"}},
	"QuarantineKits":     {"Set kits aside until somebody decides about them", supply.QuarantineKits{Study: "PAIN1", Location: "DE-01", Kits: exampleKits, Cause: supply.CauseExcursion, Reason: "The refrigerator failed overnight"}},
	"ReleaseKits":        {"Put quarantined kits back to where they stood", supply.ReleaseKits{Study: "PAIN1", Location: "DE-01", Kits: exampleKits, Reason: "Within the stability data, see QA-0042"}},
	"DestroyKits":        {"End kits that are of no more use", supply.DestroyKits{Study: "PAIN1", Location: "DEPOT", Kits: exampleKits, On: "2026-12-01", Certificate: "D-2026-0003"}},
	"ReportKitLost":      {"End a kit that cannot be found", supply.ReportKitLost{Study: "PAIN1", Location: "DE-01", Kit: exampleKits[0], Reason: "Not found at the inventory"}},
	"DispenseKit":        {"Hand a patient the allocated kit", supply.DispenseKit{Site: "DE-01", Patient: "PAIN1.S-0001", Kit: exampleKits[0], On: "2026-02-03"}},
	"ReturnKit":          {"Take a dispensed kit back", supply.ReturnKit{Site: "DE-01", Patient: "PAIN1.S-0001", Kit: exampleKits[0], On: "2026-03-03"}},
	"ReconcileKit":       {"Account for the doses of a returned kit", supply.ReconcileKit{Site: "DE-01", Patient: "PAIN1.S-0001", Kit: exampleKits[0], Returned: 2, Used: 25, Lost: 1, Note: "One dropped"}},
	"ReviewAlert":        {"Record that one has looked at an alert", safety.ReviewAlert{Alert: exampleAlert, Note: "Called the patient"}},
	"CloseAlert":         {"End an alert", safety.CloseAlert{Alert: exampleAlert, Outcome: "The rescue medication was increased"}},
	"RetryParkedMessage": {"Hand a parked message to its process once more", process.RetryParkedMessage{Study: "PAIN1", Process: "enrollment", Event: exampleEvent, Reason: "The depot has been opened"}},
	"AbandonParkedMessage": {"Give a parked message up", process.AbandonParkedMessage{Study: "PAIN1", Process: "enrollment", Event: exampleEvent,
		Reason: "The site has enrolled the patient by hand"}},
	"UploadRandomisationList": {"Bring a randomisation list that was made elsewhere", randomisation.UploadRandomisationList{Study: "PAIN1", Scheme: "list-1",
		CSV: "age,arm\nunder-50,walk\nunder-50,usual\n"}},
	"GenerateRandomisationList": {"Make a randomisation list of permuted blocks", randomisation.GenerateRandomisationList{Study: "PAIN1", Scheme: "list-2",
		Ratio: map[domain.ArmID]int{"walk": 1, "usual": 1}, BlockSizes: []int{2, 4}, PerStratum: 60}},
	"DefineMinimisation": {"Have patients drawn by minimisation", randomisation.DefineMinimisation{Study: "PAIN1", Scheme: "minimisation",
		Ratio: map[domain.ArmID]int{"walk": 2, "usual": 1}, Metric: randomisation.MetricRange, P: 0.8}},
	"ActivateRandomisation": {"Let patients be drawn by a scheme; asks for a fresh sign-in", randomisation.ActivateRandomisation{Study: "PAIN1", Scheme: "list-2",
		SHA256: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}},
	"SetCohortCaps": {"Bound how many patients of an arm or a level are drawn", randomisation.SetCohortCaps{Study: "PAIN1",
		Caps: []randomisation.CohortCap{{Factor: "age", Level: "under-50", Most: 40}}, Reason: "Amendment 2"}},
	"CorrectStratum": {"Correct the levels that a patient was drawn with; the assignment stays", randomisation.CorrectStratum{Study: "PAIN1", Patient: "PAIN1.S-0001",
		Factors: map[string]string{"age": "50-or-more"}, Reason: "The birth year was misread"}},
	"BreakBlind": {"Unblind a patient in an emergency; asks for a fresh sign-in, and shows the arm once", randomisation.BreakBlind{Study: "PAIN1",
		Patient: "PAIN1.S-0001", Reason: "Suspected overdose: treatment depends on it"}},
	"RevealSeed":     {"Show the seed of a scheme when enrolment is over; asks for a fresh sign-in", randomisation.RevealSeed{Study: "PAIN1", Scheme: "list-2", Reason: "Database lock"}},
	"RegisterUser":   {"Open an account", user.RegisterUser{User: "nurse.weber", Name: "Anna Weber", Password: examplePhrase}},
	"ChangePassword": {"Set a new password", user.ChangePassword{User: "nurse.weber", Password: examplePhrase}},
	"GrantRole":      {"Give a user a role", user.GrantRole{User: "nurse.weber", Grant: user.Grant{Role: user.CRC, Study: "PAIN1", Site: "DE-01"}}},
	"RevokeRole":     {"Take a role from a user", user.RevokeRole{User: "nurse.weber", Grant: user.Grant{Role: user.CRC, Study: "PAIN1", Site: "DE-01"}, Reason: "Has left the site"}},
	"DeactivateUser": {"End an account", user.DeactivateUser{User: "nurse.weber", Reason: "Has left the hospital"}},
}

// exampleAlert and exampleEvent are ids as lists show them.
const (
	exampleAlert = "PAIN1.5f0fce4c-2f0b-5d3c-9a52-8d1f2c9f7b11"
	exampleEvent = "0b6e2f5c-5f0f-5d6e-9d42-7f5b1c9d2a10"
)

// examplePhrase stands where a password belongs.
const examplePhrase = "a long pass phrase"

var (
	exampleKits       = []supply.KitNumber{"K-10017", "K-10018"}
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
