package odm

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// shared is where public data of others lie. Nothing of them goes into the project.
const shared = "../../shared/data/odm/"

// open opens a file of the public data, or skips the test.
func open(t testing.TB, name string) *os.File {
	t.Helper()
	file, err := os.Open(shared + name)
	if err != nil {
		t.Skip("the public data are not there: " + err.Error())
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// failer is what a test and a property have in common.
type failer interface {
	Helper()
	Log(args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// readAll reads a file with all patients.
func readAll(t failer, file []byte, options Options) (*Document, *Report, []Subject) {
	t.Helper()
	var all []Subject
	document, report, err := Read(bytes.NewReader(file), options, func(_ ClinicalData, s Subject) error {
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return document, report, all
}

// contents reads a file that has to be free of refusals.
func contents(t failer, file []byte, options Options) (*Document, []Subject) {
	t.Helper()
	document, report, subjects := readAll(t, file, options)
	if err := report.Err(); err != nil {
		for _, f := range report.Findings {
			if f.Outcome == Refused {
				t.Log(f)
			}
		}
		t.Fatalf("%v\n%.3000s", err, file)
	}
	return document, subjects
}

// written writes a file. All subjects belong to the first block of data.
func written(t failer, version Version, document *Document, subjects []Subject) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, version, document)
	if err != nil {
		t.Fatal(err)
	}
	for i, data := range document.Data {
		if err := w.Data(data); err != nil {
			t.Fatal(err)
		}
		for _, s := range subjects {
			if i > 0 {
				break
			}
			if err := w.Subject(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// sameAgain fails unless a document and its patients come out of a file of the version as they went in, with the same
// refusals. It returns the file.
func sameAgain(t failer, version Version, document *Document, subjects []Subject, refused map[string]int) []byte {
	t.Helper()
	file := written(t, version, document, subjects)
	again, report, same := readAll(t, file, Options{})
	if diff := cmp.Diff(refused, refusals(report), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("the file of %s is refused: %s\n%v\n%.3000s", version, diff, report.Err(), file)
	}
	again.File.Version = document.File.Version
	if diff := cmp.Diff(document, again); diff != "" {
		t.Fatalf("the document of %s is another one:\n%s\n%.3000s", version, diff, file)
	}
	if diff := cmp.Diff(subjects, same); diff != "" {
		t.Fatalf("the patients of %s are others:\n%s\n%.3000s", version, diff, file)
	}
	return file
}

// valid fails unless a file is valid by the schemas of its version. Where it has something in Casebook's namespace, the
// extension points of the schemas, which are empty on purpose, allow that namespace.
func valid(t testing.TB, version Version, file []byte) {
	t.Helper()
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint is not there; it is in Debian's package libxml2-utils")
	}
	folder, schema := "odm2/schema/", "ODM.xsd"
	if version == V132 {
		folder, schema = "odm132schema/", "ODM1-3-2.xsd"
	}
	open(t, folder+schema)
	at := t.TempDir()
	names, _ := filepath.Glob(shared + folder + "*.xsd")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(file, []byte(spaceCasebook)) {
			text = emptyAttributes.ReplaceAll(text, []byte(`<xs:attributeGroup name="$1">`+
				`<xs:anyAttribute namespace="`+spaceCasebook+`" processContents="skip"/></xs:attributeGroup>`))
			text = emptyElements.ReplaceAllFunc(text, func(group []byte) []byte {
				if bytes.Contains(group, []byte("PreInclude")) {
					return group // a second place in the same element
				}
				return bytes.Replace(group, []byte("<xs:sequence/>"), []byte(`<xs:sequence><xs:any namespace="`+spaceCasebook+
					`" processContents="skip" minOccurs="0"/></xs:sequence>`), 1)
			})
		}
		if err := os.WriteFile(filepath.Join(at, filepath.Base(name)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(at, "file.xml"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	check := exec.CommandContext(t.Context(), xmllint, "--nonet", "--noout", "--schema", schema, "file.xml")
	check.Dir = at
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("the file of %s is not valid: %v\n%.3000s", version, err, out)
	}
}

var (
	emptyAttributes = regexp.MustCompile(`<xs:attributeGroup name="(\w+AttributeExtension)"\s*/>`)
	emptyElements   = regexp.MustCompile(`<xs:group name="\w+ElementExtension">\s*<xs:sequence/>\s*</xs:group>`)
)

// refusals counts what is refused, by code.
func refusals(r *Report) map[string]int {
	counts := map[string]int{}
	for _, f := range r.Findings {
		if f.Outcome == Refused {
			counts[f.Code]++
		}
	}
	return counts
}

// The examples are read as they are, with everything in them; two of them name definitions that they do not have, so an import
// refuses those.
func TestOfficialExamplesRoundTrip(t *testing.T) {
	refused := map[string]map[string]int{
		"Columbia-Suicide_Severity_Scale_ODMv2.xml":                     {"dangling_oid": 6},
		"CDASH_1-1_MH_Example_Stroke_LungDisease_IBD_CancerHistory.xml": {"dangling_oid": 1},
	}
	open(t, "odm2/SimpleTimingConstraints.xml")
	names, _ := filepath.Glob(shared + "odm2/*.xml")
	if len(names) != 7 {
		t.Fatalf("there are %d examples", len(names))
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			file, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			document, report, subjects := readAll(t, file, Options{})
			want := refused[filepath.Base(name)]
			if diff := cmp.Diff(want, refusals(report), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("refused is something else: %s", diff)
			}
			completed(document)
			valid(t, V20, sameAgain(t, V20, document, subjects, want))
			valid(t, V132, sameAgain(t, V132, document, subjects, want))
		})
	}
}

// completed completes a part of a file to a file.
func completed(d *Document) {
	if d.File.OID == "" {
		d.File = File{Version: V20, Type: Snapshot, OID: "F.1", CreatedAt: "2026-03-01T10:00:00Z"}
	}
	if s := &d.Studies[0]; s.OID == "" {
		s.OID, s.Name, s.Protocol = "S.1", "A study", "A protocol"
	}
}

func TestOpenEDCStudyAndPatients(t *testing.T) {
	definition, err := io.ReadAll(open(t, "openedc/metadata.xml"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(open(t, "openedc/clinicaldata.xml"))
	if err != nil {
		t.Fatal(err)
	}
	study, _ := contents(t, definition, Options{})
	options := Options{Known: study.Studies, Study: "S.1"}
	document, report, subjects := readAll(t, data, options)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	counted := map[string]int{"SubjectData": len(subjects)}
	for _, s := range subjects {
		if s.Audit != nil {
			counted["AuditRecord"]++
		}
		for _, v := range s.Visits {
			counted["StudyEventData"]++
			for _, f := range v.Groups {
				counted["FormData"]++
				for _, g := range f.Groups {
					counted["ItemData"] += len(g.Items)
				}
			}
		}
	}
	want := map[string]int{"SubjectData": 90, "StudyEventData": 249, "FormData": 366, "ItemData": 1684, "AuditRecord": 90}
	if diff := cmp.Diff(want, counted); diff != "" {
		t.Error(diff)
	}
	for _, f := range report.Findings {
		if n, counted := want[f.Construct]; counted && f.Outcome == Becomes && f.Count != n {
			t.Errorf("the report counts %d of %s", f.Count, f.Construct)
		}
	}
	document.Studies = study.Studies
	for _, version := range []Version{V132, V20} {
		valid(t, version, sameAgain(t, version, document, subjects, nil))
	}
	// Without its definition, and as that of another study, it is refused.
	if _, report, _ := readAll(t, data, Options{}); refusals(report)["metadata_missing"] != 1 {
		t.Errorf("data without their definition: %v", refusals(report))
	}
	if _, report, _ := readAll(t, data, Options{Known: study.Studies, Study: "S.2"}); refusals(report)["other_study"] != 1 {
		t.Errorf("data of another study: %v", refusals(report))
	}
}
