package odm

import "testing"

// history is a patient with a corrected value, a derived value, a query, a signature, verification and a freeze: what an
// export with history holds.
func history() (*Document, []Subject) {
	audit := func(at, source, why string) *AuditRecord {
		return &AuditRecord{User: "U.1", Location: "L.1", At: at, Reason: why, Source: source, EditPoint: "DataManagement"}
	}
	weight := func(value, transaction string, a *AuditRecord) ItemData {
		return ItemData{OID: "I.WEIGHT", Values: []Value{{Text: value}}, Trail: Trail{Transaction: transaction, Audit: a}}
	}
	derived := audit("2026-03-02T09:00:00Z", "112", "")
	derived.Derived = "Yes"
	corrected := weight("72.5", "Update", audit("2026-03-02T09:00:00Z", "111", "Typing error"))
	corrected.Verified, corrected.Hold = "2", "frozen"
	corrected.Queries = []Query{{OID: "Q.1", Source: "Site Monitor", Type: "Manual", State: "Closed", UpdatedAt: "2026-03-03T09:00:00Z",
		Text: &Value{Text: "Is this right?"}, Audits: []AuditRecord{*audit("2026-03-01T12:00:00Z", "105", "")}}}
	text := func(s string) []Text { return []Text{{Language: "en", Value: s}} }
	document := &Document{
		File: File{Version: V20, Type: Transactional, OID: "F.1", CreatedAt: "2026-03-04T00:00:00Z", Originator: "Casebook"},
		Studies: []Study{{OID: "S.1", Name: "PAIN1", Protocol: "P-01", Description: text("Pain after surgery"), Versions: []MetaDataVersion{{
			OID: "B.1", Name: "Build 1", Description: text("The first"),
			Protocol: &Protocol{Visits: []Ref{{Kind: VisitRef, OID: "V.1", Mandatory: "Yes"}}},
			Visits: []Visit{{OID: "V.1", Name: "Baseline", Repeating: "No", Type: "Scheduled",
				Forms: []Ref{{Kind: GroupRef, OID: "F.VS", Mandatory: "Yes"}}}},
			Groups: []Group{{OID: "F.VS", Name: "Vital signs", Type: TypeForm, Repeating: "No",
				Members: []Ref{{Kind: GroupRef, OID: "G.VS", Mandatory: "Yes", Exception: "C.1"}}},
				{OID: "G.VS", Name: "Vital signs", Type: TypeSection, Repeating: "Dynamic", Members: []Ref{
					{Kind: ItemRef, OID: "I.WEIGHT", Mandatory: "Yes"}, {Kind: ItemRef, OID: "I.BMI", Mandatory: "No", Method: "M.1"}}}},
			Items: []Item{{OID: "I.WEIGHT", Name: "Weight", DataType: "decimal", Question: text("Weight?"), Checks: []RangeCheck{
				{Comparator: "GE", Strength: "Soft", Values: []string{"30"}, Message: text("Very light.")}}},
				{OID: "I.BMI", Name: "BMI", DataType: "float", List: "L.1"}},
			Lists: []CodeList{{OID: "L.1", Name: "List", DataType: "text",
				Items: []CodeListItem{{Value: "A", Decode: text("a")}, {Value: "B"}}}},
			Conditions: []Condition{{OID: "C.1", Name: "None", Description: text("None"),
				Expressions: []Expression{{Context: ContextCEL, Code: "a < 1"}}}},
			Methods: []Method{{OID: "M.1", Name: "BMI", Type: "Computation", Description: text("BMI"),
				Expressions: []Expression{{Context: ContextCEL, Code: "a / b"}}}},
		}}}},
		Admin: []Admin{{StudyOID: "S.1", Users: []User{{OID: "U.1", Type: "Investigator", FullName: "Ada Berg"}},
			Locations: []Location{{OID: "L.1", Name: "Site 1", Rest: Rest{Elements: []Element{{Name: "MetaDataVersionRef", Attributes: []Attribute{
				{Name: "StudyOID", Value: "S.1"}, {Name: "MetaDataVersionOID", Value: "B.1"}, {Name: "EffectiveDate", Value: "2026-01-01"}}}}}}},
			Signatures: []SignatureDef{{OID: "SD.1", Methodology: "Electronic", Meaning: "Approval",
				LegalReason: "I am responsible for these data."}}}},
		Data: []ClinicalData{{StudyOID: "S.1", VersionOID: "B.1"}},
	}
	form := GroupData{OID: "F.VS", Groups: []GroupData{{OID: "G.VS", Row: "1", Items: []ItemData{
		weight("725", "Insert", audit("2026-03-01T09:00:00Z", "101", "")), corrected,
		{OID: "I.BMI", Null: "Yes", Trail: Trail{Transaction: "Insert", Audit: derived}}}}}}
	form.Signature = &Signature{User: "U.1", Location: "L.1", Definition: "SD.1", At: "2026-03-03T10:00:00Z"}
	return document, []Subject{{Key: "PAIN1.S-0001", Site: "L.1", Trail: Trail{Hold: "locked"},
		Visits: []VisitData{{OID: "V.1", Groups: []GroupData{form}}}}}
}

// An export with history is valid in both versions and comes back as it was: both values of the item, with who and why.
func TestHistoryIsValidAndComesBack(t *testing.T) {
	document, subjects := history()
	for _, version := range []Version{V20, V132} {
		file := sameAgain(t, version, document, subjects, nil)
		_, report, _ := readAll(t, file, Options{})
		if report.Has("admin_unresolved") || report.Has("attribute_missing") || !report.Has("signature_foreign") {
			t.Errorf("%s: %v", version, report.Findings)
		}
		valid(t, version, file)
	}
}
