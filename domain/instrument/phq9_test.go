package instrument_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"casebook/domain/instrument"
)

func phq9(t testing.TB) *instrument.Instrument {
	t.Helper()
	i, err := instrument.Compile(instrument.PHQ9())
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// scored returns the total, the band and the risks for the answers to the nine items.
func scored(t testing.TB, items ...string) (float64, string, string) {
	t.Helper()
	i, given := phq9(t), answers{}
	for n, value := range items {
		if value != "" {
			given[instrument.ItemID("phq"+strconv.Itoa(n+1))] = value
		}
	}
	clean, err := i.Check(given)
	if err != nil {
		t.Fatal(err)
	}
	total := i.Scores(clean)[0]
	if total.Value == nil {
		return -1, "", riskIDs(i, clean)
	}
	return *total.Value, total.Band, riskIDs(i, clean)
}

func TestPHQ9(t *testing.T) {
	tests := []struct {
		items []string
		total float64
		band  string
		risks string
	}{
		{[]string{"0", "0", "0", "0", "0", "0", "0", "0", "0"}, 0, "minimal", ""},
		{[]string{"1", "1", "1", "1", "0", "0", "0", "0", "0"}, 4, "minimal", ""},
		{[]string{"1", "1", "1", "1", "1", "0", "0", "0", "0"}, 5, "mild", ""},
		{[]string{"2", "2", "2", "2", "2", "0", "0", "0", "0"}, 10, "moderate", ""},
		{[]string{"3", "3", "3", "3", "3", "0", "0", "0", "0"}, 15, "moderately severe", "depression-moderately-severe"},
		{[]string{"3", "3", "3", "3", "3", "3", "2", "0", "0"}, 20, "severe", "depression-severe"},
		{[]string{"0", "0", "0", "0", "0", "0", "0", "0", "1"}, 1, "minimal", "self-harm"},
		{[]string{"3", "3", "3", "3", "3", "3", "3", "3", "3"}, 27, "severe", "self-harm depression-severe"},
		// With two missing items, a sum of 13 is prorated to 16.71 and rounded to 17.
		{[]string{"2", "2", "2", "2", "2", "2", "1", "", ""}, 17, "moderately severe", "depression-moderately-severe"},
		{[]string{"2", "2", "2", "2", "2", "2", "", "", ""}, -1, "", ""},
		{[]string{"", "", "", "2"}, -1, "", ""},
	}
	for _, tt := range tests {
		total, band, risks := scored(t, tt.items...)
		if total != tt.total || band != tt.band || risks != tt.risks {
			t.Errorf("%q is %v %q %q, want %v %q %q", tt.items, total, band, risks, tt.total, tt.band, tt.risks)
		}
	}
}

func TestPHQ9AsksForDifficultyOnlyAfterAProblem(t *testing.T) {
	i := phq9(t)
	if _, err := i.Check(answers{"phq1": "1", "difficulty": "2"}); err != nil {
		t.Error(err)
	}
	if _, err := i.Check(answers{"phq1": "0", "difficulty": "2"}); err == nil {
		t.Error("difficulty was accepted without a problem")
	}
}

// sharedData reads a published example that is stored next to the project. It skips the test if there is none.
func sharedData(t *testing.T, name string) []byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if data, err := os.ReadFile(filepath.Join(dir, "shared", "data", "fhir", name)); err == nil {
			return data
		}
	}
	t.Skip("the published examples are not here")
	return nil
}

// The PROMs module of the German Medical Informatics Initiative publishes a response of nine times "nearly every day"
// and its score.
func TestPHQ9AgainstThePublishedResponse(t *testing.T) {
	var response struct {
		Item []struct {
			LinkID string `json:"linkId"`
			Answer []struct {
				ValueCoding   struct{ Code string }
				ValueQuantity struct{ Value float64 }
			}
		}
	}
	if err := json.Unmarshal(sharedData(t, "QuestionnaireResponse-mii-exa-pro-phq-9-response.json"), &response); err != nil {
		t.Fatal(err)
	}
	loinc := map[string]string{"LA6568-5": "0", "LA6569-3": "1", "LA6570-1": "2", "LA6571-9": "3"}
	items, published := make([]string, 9), 0.0
	for _, item := range response.Item {
		if n, err := strconv.Atoi(item.LinkID[len("PHQ."):]); err == nil && n <= 9 {
			items[n-1] = loinc[item.Answer[0].ValueCoding.Code]
		}
		if item.LinkID == "PHQ.Score" {
			published = item.Answer[0].ValueQuantity.Value
		}
	}
	if total, band, _ := scored(t, items...); total != 27 || total != published || band != "severe" {
		t.Errorf("%q is %v %s, published %v", items, total, band, published)
	}
}

// The HL7 SDC example stores a total of 13 for items whose sum is 10. This is why a total is always computed, and never
// taken from a document.
func TestPHQ9FindsAWrongPublishedTotal(t *testing.T) {
	published := string(sharedData(t, "questionnaireresponse-sdc-profile-example-PHQ9.fsh"))
	points := map[string]string{"Not at all": "0", "Several days": "1", "More than half the days": "2", "Nearly every day": "3"}
	var items []string
	for _, match := range regexp.MustCompile(`valueCoding = \S+#.* "([^"]+)"\n`).FindAllStringSubmatch(published, -1) {
		items = append(items, points[match[1]])
	}
	stored := regexp.MustCompile(`\* value = (\d+)`).FindStringSubmatch(published)
	if len(items) != 9 || stored == nil {
		t.Fatalf("read the items %q and the total %q", items, stored)
	}
	total, _, _ := scored(t, items...)
	claimed, err := strconv.ParseFloat(stored[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	if total != 10 || claimed-total != 3 {
		t.Errorf("%q is %v, stored %v; want 10, and a difference of 3", items, total, claimed)
	}
}
