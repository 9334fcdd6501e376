package odm

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casebook/domain/build"
	"casebook/domain/form"

	"github.com/google/go-cmp/cmp"
)

// rulesOf are the skip rules, derivations and checks of a definition by item.
func rulesOf(d *build.Definition) map[string]string {
	rules := map[string]string{}
	for _, f := range d.Forms {
		for _, g := range f.Groups {
			for _, i := range g.Items {
				if i.AskedWhen != "" {
					rules[i.OID+" asked"] = i.AskedWhen
				}
				if i.Derivation != "" {
					rules[i.OID+" derived"] = i.Derivation
				}
			}
		}
	}
	for _, s := range d.Checks {
		for _, c := range s.Checks {
			rules[c.ID] = string(c.Effect) + " " + c.When
		}
	}
	return rules
}

// itemOf is an item of a definition.
func itemOf(t *testing.T, d *build.Definition, oid string) build.Item {
	t.Helper()
	for _, f := range d.Forms {
		for _, g := range f.Groups {
			for _, i := range g.Items {
				if i.OID == oid {
					return i
				}
			}
		}
	}
	t.Fatalf("the build has no item %s", oid)
	return build.Item{}
}

// OpenEDC's study becomes a build that can be sealed, in which every skip rule, score and range is executed.
func TestOpenEDCStudyBecomesABuild(t *testing.T) {
	file, err := io.ReadAll(open(t, "openedc/metadata.xml"))
	if err != nil {
		t.Fatal(err)
	}
	document, _ := contents(t, file, Options{})
	definition, report := Definition(document.Studies[0], document.Studies[0].Versions[0])
	if _, err := definition.Compile(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"BMI derived":         "(answers.Weight / (answers.Height * answers.Height))",
		"I.2 derived":         "(((((int(WHO_Q.WHO_1) + int(WHO_Q.WHO_2)) + int(WHO_Q.WHO_3)) + int(WHO_Q.WHO_4)) + int(WHO_Q.WHO_5)) * 4)",
		"Pregnant asked":      `answers.Gender == "Female"`,
		"WeeksPregnant asked": "answers.Pregnant",
		"I.6 asked":           `answers.CountryOfBirth == "Other"`,
		"I.8 asked":           "answers.CardiovascularDiseases", "I.9 asked": "answers.CardiovascularDiseases",
		"I.10 asked": "answers.TumorDiseases", "I.11 asked": "answers.TumorDiseases",
		"I.12 asked": "answers.SideEffect", "I.5 asked": "answers.SymptomsChanged",
		"IG_1-Age-2":    "hardStop !(answers.Age < 120)",
		"IG_1-Height-1": "hardStop !(answers.Height > 1.0)", "IG_1-Height-2": "hardStop !(answers.Height < 3.0)",
	}
	if diff := cmp.Diff(want, rulesOf(definition)); diff != "" {
		t.Error(diff)
	}
	for _, f := range report.Findings {
		if f.Outcome != Becomes || f.Code != "visit_kind" {
			t.Errorf("something has no effect: %v", f)
		}
	}
	if len(definition.Forms) != 5 || len(definition.Lists) != 4 || len(definition.Schedule.Visits) != 3 || len(definition.Languages) != 2 {
		t.Errorf("%d forms, %d lists, %d visits, languages %v", len(definition.Forms), len(definition.Lists), len(definition.Schedule.Visits),
			definition.Languages)
	}
	if weight := itemOf(t, definition, "Weight"); weight.Unit != "kg" || *weight.Min <= 0 || weight.Type != form.Decimal {
		t.Errorf("the weight is %+v", weight)
	}
}

// planned is a study with what OpenEDC's has not: windows, rows, soft ranges, lists in checks, CEL, and what has no effect.
const planned = `<ODM xmlns="http://www.cdisc.org/ns/odm/v2.0" FileType="Snapshot" FileOID="F.1" CreationDateTime="2026-03-01T10:00:00Z">
<Study OID="S.1" StudyName="A" ProtocolName="B"><MetaDataVersion OID="M.1" Name="First"><Protocol><StudyTimings>
<StudyTiming OID="T" Name="T">
<AbsoluteTimingConstraint OID="T.0" Name="Begin" StudyEventOID="V.1" TimepointTarget="2026-01-01"/>
<RelativeTimingConstraint OID="T.1" Name="Week 2" PredecessorOID="V.1" SuccessorOID="V.2" TimepointRelativeTarget="P2W"
 TimepointPreWindow="P1D" TimepointPostWindow="P3D"/>
<RelativeTimingConstraint OID="T.2" Name="Month 1" PredecessorOID="V.1" SuccessorOID="V.3" TimepointRelativeTarget="P1M"/>
</StudyTiming></StudyTimings></Protocol>
<StudyEventDef OID="V.1" Name="Baseline" Repeating="No" Type="Scheduled"><ItemGroupRef ItemGroupOID="F.1" Mandatory="Yes"/></StudyEventDef>
<StudyEventDef OID="V.2" Name="Week 2" Repeating="No" Type="Scheduled"><ItemGroupRef ItemGroupOID="F.1" Mandatory="Yes"/></StudyEventDef>
<StudyEventDef OID="V.3" Name="Month 1" Repeating="No" Type="Scheduled"><ItemGroupRef ItemGroupOID="F.1" Mandatory="Yes"/></StudyEventDef>
<StudyEventDef OID="V.4" Name="Extra" Repeating="Yes" Type="Unscheduled"><ItemGroupRef ItemGroupOID="F.1" Mandatory="Yes"/></StudyEventDef>
<ItemGroupDef OID="F.1" Name="Vital signs" Repeating="No" Type="Form"><ItemRef ItemOID="1-DAY" Mandatory="Yes"/>
<ItemRef ItemOID="SEX" Mandatory="Yes"/>
<ItemRef ItemOID="TEST" Mandatory="No" CollectionExceptionConditionOID="C.1"/>
<ItemRef ItemOID="NOTE" Mandatory="No" CollectionExceptionConditionOID="C.2"/>
<ItemGroupRef ItemGroupOID="BP" Mandatory="No"/></ItemGroupDef>
<ItemGroupDef OID="BP" Name="Blood pressure" Repeating="Simple" RepeatingLimit="3" Type="Section">
<ItemRef ItemOID="SYS" Mandatory="Yes"/></ItemGroupDef>
<ItemDef OID="1-DAY" Name="Day" DataType="partialDate"/>
<ItemDef OID="SEX" Name="Sex" DataType="text"><CodeListRef CodeListOID="L.1"/></ItemDef>
<ItemDef OID="TEST" Name="Test" DataType="boolean"/>
<ItemDef OID="NOTE" Name="Note" DataType="hexBinary" Length="20"/>
<ItemDef OID="SYS" Name="Systolic" DataType="integer">
<RangeCheck Comparator="GE" SoftHard="Soft"><CheckValue>80</CheckValue></RangeCheck>
<RangeCheck Comparator="LE" SoftHard="Hard"><CheckValue>300</CheckValue></RangeCheck>
<RangeCheck Comparator="NOTIN" SoftHard="Soft"><CheckValue>111</CheckValue><CheckValue>222</CheckValue><ErrorMessage>
<TranslatedText Type="text/plain">Really?</TranslatedText></ErrorMessage></RangeCheck></ItemDef>
<CodeList OID="L.1" Name="Sex" DataType="text"><CodeListItem CodedValue="f"/><CodeListItem CodedValue="m"/></CodeList>
<ConditionDef OID="C.1" Name="Male"><Description><TranslatedText Type="text/plain">Male</TranslatedText></Description><MethodSignature/>
<FormalExpression Context="XPath"><Code>../SEX = 'm'</Code></FormalExpression>
<FormalExpression Context="casebook-cel"><Code>answers.SEX == "m"</Code></FormalExpression></ConditionDef>
<ConditionDef OID="C.2" Name="Odd"><Description><TranslatedText Type="text/plain">Odd</TranslatedText></Description><MethodSignature/>
<FormalExpression Context="XPath"><Code>true()</Code></FormalExpression></ConditionDef>
</MetaDataVersion></Study></ODM>`

func TestPlannedStudyBecomesABuild(t *testing.T) {
	document, _ := contents(t, []byte(planned), Options{})
	d, report := Definition(document.Studies[0], document.Studies[0].Versions[0])
	if _, err := d.Compile(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"TEST asked": `!(answers.SEX == "m")`, "BP-SYS-3": "query !(answers.SYS != 111 && answers.SYS != 222)"}
	if diff := cmp.Diff(want, rulesOf(d)); diff != "" {
		t.Error(diff)
	}
	if sys := itemOf(t, d, "SYS"); *sys.SoftMin != 80 || *sys.Max != 300 || sys.SoftMax != nil || sys.Min != nil {
		t.Errorf("the range is %+v", sys)
	}
	if day := itemOf(t, d, "1-DAY"); day.Type != form.PartialDate || day.ID != "X_1_DAY" || !day.Required {
		t.Errorf("the day is %+v", day)
	}
	visits := d.Schedule.Visits
	if diff := cmp.Diff(&build.Anchor{Visit: visits[0].ID}, visits[1].Anchor); diff != "" || visits[1].Day != 14 || visits[1].Before != 1 ||
		visits[1].After != 3 || visits[2].Anchor != nil || visits[3].Kind != build.VisitUnscheduled {
		t.Errorf("the visits are %+v", visits)
	}
	if groups := d.Forms[0].Groups; len(groups) != 2 || groups[0].ID != "F_1" || groups[1].Repeats == nil || groups[1].Repeats.Max != 3 {
		t.Errorf("the groups are %+v", groups)
	}
	found := map[string]string{}
	for _, f := range report.Findings {
		found[f.Code] += strings.TrimSuffix(f.Path[strings.LastIndex(f.Path, "[")+1:], "]") + " "
	}
	inert := map[string]string{"timing_kept": "T.2 T.0 ", "type_narrowed": "NOTE ", "expression_inert": "C.2 "}
	if diff := cmp.Diff(inert, found); diff != "" {
		t.Error(diff)
	}
}

// A version that includes another one has what that one defines, except what it defines itself.
func TestIncludedVersionGivesItsParts(t *testing.T) {
	second := `<MetaDataVersion OID="M.2" Name="Second"><Include StudyOID="S.1" MetaDataVersionOID="M.1"/>
<ItemDef OID="SYS" Name="Systolic" DataType="decimal"/></MetaDataVersion></Study>`
	document, _ := contents(t, []byte(strings.Replace(planned, "</Study>", second, 1)), Options{})
	d, _ := Definition(document.Studies[0], document.Studies[0].Versions[1])
	if got := itemOf(t, d, "SYS"); got.Type != form.Decimal || len(d.Forms) != 1 || len(d.Schedule.Visits) != 4 {
		t.Errorf("%+v in %d forms", got, len(d.Forms))
	}
}

func TestExpressionsOfOpenEDC(t *testing.T) {
	names := func(name string) (operand, bool) {
		of, known := map[string]string{"a": "int", "b": "double", "c": "bool", "d": "string", "e": "digits", "f": "other", "G-H.1": "int"}[name]
		return operand{cel: name, of: of}, known
	}
	for expression, want := range map[string]string{
		`a + b`: "(double(a) + b)", `a / 2`: "(double(a) / 2.0)", `b ^ 3`: "(b * b * b)", `a - 1 < 3`: "(a - 1) < 3",
		`e * 2`: "(int(e) * 2)", `e == "3"`: `e == "3"`, `e >= "3"`: "int(e) >= 3", `"5" < a`: "a > 5", `b > 1`: "b > 1.0",
		`c == "0"`: "!c", `c != 1`: "!c", `c == "1" AND d != 'x"y'`: `(c && d != "x\"y")`, `!(c == "1") or a == 2`: "(!(c) || a == 2)",
		`G-H.1 * 2`: "(G-H.1 * 2)",
		// What is not in the subset.
		`x + 1`: "", `a +`: "", `sqrt(a)`: "", `d + 1`: "", `f == "x"`: "", `a == 1 && a`: "", `b ^ 0.5`: "",
		`(a`: "", `a b`: "", ``: "", `c < 1`: "",
		`c == "yes"`: "", strings.Repeat("(", 100) + "a" + strings.Repeat(")", 99): "",
	} {
		if x, ok := translate(expression, names); ok != (want != "") || ok && x.cel != want {
			t.Errorf("%q becomes %q (%v), want %q", expression, x.cel, ok, want)
		}
	}
}

// The examples of the standard can be looked at as builds, whatever a build then refuses of them.
func TestOfficialExamplesBecomeDefinitions(t *testing.T) {
	open(t, "odm2/SimpleTimingConstraints.xml")
	names, _ := filepath.Glob(shared + "odm2/*.xml")
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		document, _, _ := readAll(t, file, Options{})
		for _, v := range document.Studies[0].Versions {
			d, _ := Definition(document.Studies[0], v)
			_, err := d.Compile()
			t.Logf("%s: %d forms, %d visits, %v", filepath.Base(name), len(d.Forms), len(d.Schedule.Visits), err)
			if strings.HasPrefix(filepath.Base(name), "Demographics") && (err != nil || len(d.Forms) != 1) {
				t.Errorf("the demographics: %v", err)
			}
		}
	}
}

// Groups that hold each other end, however they branch.
func TestGroupsInCircles(t *testing.T) {
	again := strings.Repeat(`<ItemGroupRef ItemGroupOID="F.1" Mandatory="No"/>`, 3)
	document, _ := contents(t, []byte(strings.Replace(planned, `<ItemRef ItemOID="SYS" Mandatory="Yes"/>`, again, 1)), Options{})
	if _, report := Definition(document.Studies[0], document.Studies[0].Versions[0]); !report.Has("groups_in_circle") || report.Err() == nil {
		t.Errorf("it finds %v", report.Findings)
	}
}
