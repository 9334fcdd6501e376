package odm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"casebook/domain/refuse"
)

// small20 is a study with one patient in version 2.0, and small132 in 1.3.2.
const (
	small20 = `<ODM xmlns="http://www.cdisc.org/ns/odm/v2.0" FileType="Snapshot" FileOID="F.1" CreationDateTime="2026-03-01T10:00:00Z">
<Study OID="S.1" StudyName="A" ProtocolName="B"><MetaDataVersion OID="M.1" Name="First">
<StudyEventDef OID="V.1" Name="Visit" Repeating="No" Type="Scheduled"><ItemGroupRef ItemGroupOID="F.VS" Mandatory="Yes"/></StudyEventDef>
<ItemGroupDef OID="F.VS" Name="Vital signs" Repeating="No" Type="Form"><ItemRef ItemOID="I.1" Mandatory="Yes"/></ItemGroupDef>
<ItemDef OID="I.1" Name="Weight" DataType="decimal"/></MetaDataVersion></Study>
<ClinicalData StudyOID="S.1" MetaDataVersionOID="M.1"><SubjectData SubjectKey="001"><StudyEventData StudyEventOID="V.1">
<ItemGroupData ItemGroupOID="F.VS"><ItemData ItemOID="I.1"><Value>72.5</Value></ItemData></ItemGroupData>
</StudyEventData></SubjectData></ClinicalData></ODM>`
	small132 = `<ODM xmlns="http://www.cdisc.org/ns/odm/v1.3" FileType="Snapshot" FileOID="F.1" CreationDateTime="2026-03-01T10:00:00Z">
<Study OID="S.1"><GlobalVariables><StudyName>A</StudyName><StudyDescription/><ProtocolName>B</ProtocolName></GlobalVariables>
<MetaDataVersion OID="M.1" Name="First">
<StudyEventDef OID="V.1" Name="Visit" Repeating="No" Type="Scheduled"><FormRef FormOID="VS" Mandatory="Yes"/></StudyEventDef>
<FormDef OID="VS" Name="Vital signs" Repeating="No"><ItemGroupRef ItemGroupOID="VS" Mandatory="Yes"/></FormDef>
<ItemGroupDef OID="VS" Name="Vital signs" Repeating="Yes"><ItemRef ItemOID="I.1" Mandatory="Yes"/></ItemGroupDef>
<ItemDef OID="I.1" Name="Weight" DataType="float"/></MetaDataVersion></Study>
<ClinicalData StudyOID="S.1" MetaDataVersionOID="M.1"><SubjectData SubjectKey="001"><StudyEventData StudyEventOID="V.1">
<FormData FormOID="VS"><ItemGroupData ItemGroupOID="VS" ItemGroupRepeatKey="1">
<ItemData ItemOID="I.1" Value="72.5"/></ItemGroupData></FormData>
</StudyEventData></SubjectData></ClinicalData></ODM>`
)

func TestRefusedFiles(t *testing.T) {
	replaced := func(file, old, with string) string {
		if !strings.Contains(file, old) {
			t.Fatalf("the file does not have %s", old)
		}
		return strings.Replace(file, old, with, 1)
	}
	deep := func(n int) string {
		return replaced(small20, "<Value>72.5</Value>", strings.Repeat("<v:a xmlns:v='urn:v'>", n)+strings.Repeat("</v:a>", n))
	}
	const version = "/ODM/Study[S.1]/MetaDataVersion[M.1]"
	for name, c := range map[string]struct{ file, code, path string }{
		"empty":                {"", "not_well_formed", ""},
		"no XML":               {"Subject,Visit\n1,2\n", "not_well_formed", ""},
		"an end tag missing":   {replaced(small20, "</SubjectData>", ""), "not_well_formed", "/ODM/ClinicalData[S.1]/SubjectData[001]"},
		"cut off":              {small20[:len(small20)-40], "not_well_formed", "/ODM/ClinicalData[S.1]/SubjectData[001]/StudyEventData[V.1]"},
		"two roots":            {small20 + small20, "not_well_formed", ""},
		"an attribute twice":   {replaced(small20, `Name="Weight"`, `Name="Weight" Name="Height"`), "not_well_formed", version},
		"another encoding":     {`<?xml version="1.0" encoding="ISO-8859-1"?>` + small20, "encoding_unknown", ""},
		"another root":         {strings.NewReplacer("<ODM ", "<Odm ", "</ODM>", "</Odm>").Replace(small20), "root_unknown", "/Odm"},
		"another vocabulary":   {replaced(small20, space20, "urn:other"), "version_unknown", ""},
		"version 1.2":          {replaced(small132, space13, "http://www.cdisc.org/ns/odm/v1.2"), "version_unknown", ""},
		"another version":      {replaced(small20, "<ODM ", `<ODM ODMVersion="1.3.2" `), "version_unknown", "/ODM"},
		"another type of file": {replaced(small20, `"Snapshot"`, `"Archive"`), "file_type_unknown", "/ODM"},
		"a document type":      {`<!DOCTYPE ODM SYSTEM "odm.dtd">` + small20, "doctype", ""},
		"an entity bomb": {`<!DOCTYPE ODM [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>` +
			replaced(small20, "72.5", "&b;"), "doctype", ""},
		"an unknown entity": {replaced(small20, "72.5", "&nbsp;"), "not_well_formed",
			"/ODM/ClinicalData[S.1]/SubjectData[001]/StudyEventData[V.1]/ItemGroupData[F.VS]/ItemData[I.1]/Value"},
		"too deep": {deep(MaxDepth), "too_deep", ""},
		"encrypted": {replaced(small20, "<Value>72.5</Value>", `<x:EncryptedData xmlns:x="http://www.w3.org/2001/04/xmlenc#"/>`),
			"encrypted", "/ODM/ClinicalData[S.1]/SubjectData[001]/StudyEventData[V.1]/ItemGroupData[F.VS]/ItemData[I.1]"},
		"text between elements": {replaced(small20, "<ClinicalData", "lost<ClinicalData"), "text_misplaced", "/ODM"},
		"a form without definition": {replaced(small20, `ItemGroupRef ItemGroupOID="F.VS"`, `ItemGroupRef ItemGroupOID="F.XX"`), "dangling_oid",
			version + "/StudyEventDef[V.1]/ItemGroupRef[F.XX]"},
		"a value of no item": {replaced(small20, `<ItemData ItemOID="I.1"`, `<ItemData ItemOID="I.2"`), "dangling_oid",
			"/ODM/ClinicalData[S.1]/SubjectData[001]/StudyEventData[V.1]/ItemGroupData[F.VS]/ItemData[I.2]"},
		"a row of no group": {replaced(small132, `<ItemGroupData ItemGroupOID="VS"`, `<ItemGroupData ItemGroupOID="LB"`), "dangling_oid",
			"/ODM/ClinicalData[S.1]/SubjectData[001]/StudyEventData[V.1]/FormData[VS]/ItemGroupData[LB:1]"},
		"a definition twice": {replaced(small20, "<ItemDef", `<ItemDef OID="I.1" Name="Height" DataType="decimal"/><ItemDef`), "duplicate_oid",
			version + "/ItemDef[I.1]"},
		"a definition without OID": {replaced(small20, `<ItemDef OID="I.1"`, "<ItemDef"), "attribute_missing", version + "/ItemDef"},
		"a group of no type":       {replaced(small20, ` Type="Form"`, ""), "attribute_missing", version + "/ItemGroupDef[F.VS]"},
		"other words": {replaced(small20, `"No" Type="Form"`, `"Yes" Type="Form"`), "value_unknown",
			version + "/ItemGroupDef[F.VS]"},
		"text in a definition": {replaced(small20, "<ItemDef", "lost<ItemDef"), "text_misplaced", version},
		"an unknown data type": {replaced(small20, `"decimal"`, `"money"`), "data_type_unknown",
			version + "/ItemDef[I.1]"},
		"data of another version": {replaced(small20, `StudyOID="S.1" MetaDataVersionOID="M.1"`, `StudyOID="S.1" MetaDataVersionOID="M.2"`),
			"metadata_missing", "/ODM/ClinicalData[S.1]"},
		"a removal in a snapshot": {replaced(small20, `<ItemData `, `<ItemData TransactionType="Remove" `), "remove_in_snapshot",
			"/ODM/ClinicalData[S.1]/SubjectData[001]/StudyEventData[V.1]/ItemGroupData[F.VS]/ItemData[I.1]"},
		"an include of nothing": {replaced(small20, `Name="First">`, `Name="First"><Include StudyOID="S.1" MetaDataVersionOID="M.0"/>`),
			"include_missing", version},
	} {
		t.Run(name, func(t *testing.T) {
			_, report, _ := readAll(t, []byte(c.file), Options{})
			found := false
			for _, f := range report.Findings {
				found = found || f.Outcome == Refused && f.Code == c.code && (c.path == "" || f.Path == c.path)
			}
			if !found {
				t.Errorf("it finds %v, want %s at %s", report.Findings, c.code, c.path)
			}
			if refusal, is := refuse.As(report.Err()); !is || refusal.Code != "odm_refused" {
				t.Errorf("the refusal is %v", report.Err())
			}
		})
	}
	for name, file := range map[string]string{"2.0": small20, "1.3.2": small132, "deep": deep(MaxDepth - 8)} {
		if _, report, subjects := readAll(t, []byte(file), Options{}); report.Err() != nil || len(subjects) != 1 {
			t.Errorf("the file %s, which is right, has %d patients and is refused: %v", name, len(subjects), report.Err())
		}
	}
	for _, file := range []string{small20, small132} {
		if _, report, _ := readAll(t, []byte(file), Options{Study: "S.2"}); refusals(report)["other_study"] != 2 {
			t.Errorf("the file of another study: %v", report.Findings)
		}
	}
}

// An included version gives what the including one does not define itself.
func TestIncludedVersion(t *testing.T) {
	second := `<MetaDataVersion OID="M.2" Name="Second"><Include StudyOID="S.1" MetaDataVersionOID="M.1"/>
<ItemDef OID="I.2" Name="Height" DataType="decimal"/></MetaDataVersion></Study>`
	file := strings.NewReplacer("</Study>", second, `<ClinicalData StudyOID="S.1" MetaDataVersionOID="M.1">`,
		`<ClinicalData StudyOID="S.1" MetaDataVersionOID="M.2">`).Replace(small20)
	document, report, subjects := readAll(t, []byte(file), Options{})
	if report.Err() != nil || len(subjects) != 1 || document.Studies[0].Versions[1].Include.VersionOID != "M.1" {
		t.Errorf("%v, %d patients", report.Err(), len(subjects))
	}
}

// A form and a group of version 1.3.2 can have the same OID; in the model both are groups.
func TestFormAndGroupOfOneOID(t *testing.T) {
	document, report, subjects := readAll(t, []byte(small132), Options{})
	if !report.Has("oid_renamed") {
		t.Errorf("it finds %v", report.Findings)
	}
	version := document.Studies[0].Versions[0]
	if got := version.Groups[0].OID; got != "VS#form" || version.Visits[0].Forms[0].OID != got || subjects[0].Visits[0].Groups[0].OID != got {
		t.Errorf("the form is %q, at the visit %q, in the data %q", got, version.Visits[0].Forms[0].OID, subjects[0].Visits[0].Groups[0].OID)
	}
	// The data alone have the same names by what is known of the study.
	begin, _, _ := strings.Cut(small132, "<Study")
	_, end, _ := strings.Cut(small132, "</Study>")
	data := begin + end
	_, report, again := readAll(t, []byte(data), Options{Known: document.Studies})
	if report.Err() != nil || again[0].Visits[0].Groups[0].OID != "VS#form" {
		t.Errorf("%v, %v", report.Err(), again)
	}
}

// endless is a file that goes on with patients for a number of bytes.
type endless struct {
	begin, again, end string
	size              int64
	left              string
	read              int64
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left == "" {
		switch {
		case e.read == 0:
			e.left = e.begin
		case e.read < e.size:
			e.left = e.again
		case e.end == "":
			return 0, io.EOF
		default:
			e.left, e.end = e.end, ""
		}
	}
	n := copy(p, e.left)
	e.left = e.left[n:]
	e.read += int64(n)
	return n, nil
}

func patients(size int64) *endless {
	at, end := strings.Index(small20, "<SubjectData"), strings.Index(small20, "</ClinicalData>")
	one := small20[at:end]
	items := one[strings.Index(one, "<ItemData "):strings.Index(one, "</ItemGroupData>")]
	return &endless{begin: small20[:at], again: strings.Replace(one, items, strings.Repeat(items, 100), 1), end: small20[end:], size: size}
}

func TestTooLarge(t *testing.T) {
	for name, c := range map[string]struct {
		file *endless
		code string
	}{
		"300 MB of patients": {&endless{begin: patients(0).begin, size: 300_000_000,
			again: strings.ReplaceAll(patients(0).again, "72.5", strings.Repeat("0", 10_000))}, "too_large"},
		"one patient": {&endless{begin: patients(0).begin + `<SubjectData SubjectKey="1">`, again: `<StudyEventData StudyEventOID="V.1"/>`,
			size: 2 * maxPart}, "part_too_large"},
		"one text":      {&endless{begin: patients(0).begin, again: "     ", size: 2 * maxToken}, "text_too_large"},
		"one attribute": {&endless{begin: `<ODM a="`, again: "aaaaaaaaaaaaaaaa", size: 2 * maxToken}, "text_too_large"},
		// It may be larger than a part, and ends too early here.
		"what is ignored": {&endless{begin: `<ODM xmlns="` + space20 + `" FileType="Snapshot"><ReferenceData>`,
			again: "<a>" + strings.Repeat("b", 1_000) + "</a>", size: 2 * maxPart}, "not_well_formed"},
	} {
		_, report, err := Read(c.file, Options{}, nil)
		if err != nil || refusals(report)[c.code] != 1 {
			t.Errorf("%s: %v, %v", name, err, report.Err())
		}
		if c.file.read > MaxBytes+1<<20 {
			t.Errorf("%s: %d bytes were read", name, c.file.read)
		}
	}
}

// What goes wrong outside of the file is no finding about it.
func TestErrorsOfOthersComeOut(t *testing.T) {
	broken := errors.New("the disk is broken")
	if _, _, err := Read(io.MultiReader(strings.NewReader(small20[:200]), failing{broken}), Options{}, nil); !errors.Is(err, broken) {
		t.Errorf("the error of the file is %v", err)
	}
	if _, _, err := Read(strings.NewReader(small20), Options{}, func(ClinicalData, Subject) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("the error of the receiver is %v", err)
	}
	document, _, _ := readAll(t, []byte(small20), Options{})
	document.File.Originator = "a\x00b"
	if _, err := NewWriter(io.Discard, V20, document); err == nil {
		t.Error("a text that XML has no place for is written")
	} else if refusal, is := refuse.As(err); !is || refusal.Code != "text_unwritable" {
		t.Errorf("the error is %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A report stays small, whatever is in the file.
func TestReportIsBounded(t *testing.T) {
	var file strings.Builder
	at := strings.Index(small20, "<StudyEventDef")
	file.WriteString(small20[:at])
	for n := range 6_000 {
		fmt.Fprintf(&file, `<ItemDef OID="X.%d" Name="x" DataType="money"><w%d xmlns="urn:w"/></ItemDef>`, n, n)
	}
	file.WriteString(small20[at:])
	_, report, _ := readAll(t, []byte(file.String()), Options{})
	if report.Refusals != 6_000 || len(report.Findings) > maxRefusals+maxFindings+10 || !report.Has("findings_full") {
		t.Errorf("%d refusals, %d findings", report.Refusals, len(report.Findings))
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{small20, small132, planned, "", "<ODM", small20[:300],
		`<MetaDataVersion xmlns="` + space20 + `" OID="M" Name="M"/>`,
		strings.Replace(small20, "72.5", "a<b xmlns='urn:b' c:d='e' xmlns:c='urn:c'>f</b>g", 1)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		var subjects []Subject
		document, report, err := Read(bytes.NewReader(file), Options{}, func(_ ClinicalData, s Subject) error {
			subjects = append(subjects, s)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range document.Studies {
			for _, v := range s.Versions {
				Definition(s, v)
			}
		}
		if report.Refused() || document.File.Type == "" || len(document.Data) > 1 {
			return
		}
		for _, version := range []Version{V20, V132} {
			sameAgain(t, version, document, subjects, nil)
		}
	})
}
