package acceptance

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestJudgeReportsProblems checks that a run of the suite cannot pass for a wrong reason.
func TestJudgeReportsProblems(t *testing.T) {
	names := []string{"TestA", "TestA/one", "TestA/two", "TestB"}
	passed, failed, skipped := outcome{result: "pass"}, outcome{result: "fail", output: "boom"}, outcome{result: "skip"}
	type run = map[string]outcome
	allPassed := run{"TestA": passed, "TestA/one": passed, "TestA/two": passed, "TestB": passed}
	withoutTwo := run{"TestA": passed, "TestA/one": passed, "TestB": passed}
	for name, c := range map[string]struct {
		leftOut  string
		outcomes map[string]run // by mode
		want     string         // text of the only problem; empty if there must be none
	}{
		"all passed":             {outcomes: map[string]run{"tls": allPassed}},
		"left out":               {leftOut: "TestA/two: needs a cluster", outcomes: map[string]run{"tls": withoutTwo}},
		"left out with children": {leftOut: "TestA: needs a cluster", outcomes: map[string]run{"tls": {"TestB": passed}}},
		"skipped in one mode":    {outcomes: map[string]run{"tls": allPassed, "plaintext": {"TestB": skipped}}},
		"skipped in every mode": {
			outcomes: map[string]run{"tls": {"TestA": passed, "TestA/one": passed, "TestA/two": passed, "TestB": skipped}},
			want:     "TestB passed in no mode",
		},
		"never run": {
			outcomes: map[string]run{"tls": withoutTwo},
			want:     "TestA/two passed in no mode",
		},
		"failed in one mode": {
			outcomes: map[string]run{"tls": allPassed, "plaintext": {"TestB": failed}},
			want:     "plaintext: TestB failed:\nboom",
		},
		"interrupted": {
			outcomes: map[string]run{"tls": allPassed, "plaintext": {"TestB": {}}},
			want:     "plaintext: TestB did not end",
		},
		"not in the sources": {
			outcomes: map[string]run{"tls": allPassed, "plaintext": {"TestC": passed}},
			want:     "TestC, which was not found",
		},
		"left out, but unknown": {
			leftOut: "TestC: needs a cluster", outcomes: map[string]run{"tls": allPassed},
			want: "TestC is left out, but the suite has no such test",
		},
		"left out, but passed": {
			leftOut: "TestB: needs a cluster", outcomes: map[string]run{"tls": allPassed},
			want: "TestB is left out, but was run",
		},
	} {
		t.Run(name, func(t *testing.T) {
			leftOut, err := parseLeftOut(c.leftOut)
			if err != nil {
				t.Fatal(err)
			}
			_, problems := judge(names, leftOut, c.outcomes)
			if c.want == "" && len(problems) > 0 || c.want != "" && (len(problems) != 1 || !strings.Contains(problems[0], c.want)) {
				t.Errorf("problems: %q, want one with %q", problems, c.want)
			}
		})
	}

	_, err := parseLeftOut("# a comment\n\nTestA: it fails here")
	if err == nil || !strings.Contains(err.Error(), "line 3 leaves out TestA") {
		t.Errorf("a reason that is not accepted: %v", err)
	}
	const events = `{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"x"}
{"Action":"output","Test":"TestA","Output":"y"}
{"Action":"fail","Test":"TestA"}
{"Action":"run","Test":"TestB"}
{"Action":"fail"}`
	outcomes, err := parseEvents(strings.NewReader(events))
	if err != nil || outcomes["TestA"] != (outcome{"fail", "xy"}) || outcomes["TestB"] != (outcome{}) || outcomes[""].result != "fail" {
		t.Errorf("outcomes %+v, %v", outcomes, err)
	}
}

// TestSuiteTestsAreFound compares the names found in the sources with those that the go command lists.
func TestSuiteTestsAreFound(t *testing.T) {
	slow(t)
	tree := clientTree(t)
	names, err := suiteTests(filepath.Join(tree, "esdb"))
	if err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), "go", "test", "-list", "^Test", "./esdb")
	list.Dir = tree
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(name, "Test") && !slices.Contains(names, name) {
			t.Errorf("%s is not found", name)
		}
	}
	for _, want := range []string{
		"TestStreams/ReadStreamTests/readStreamNotFound",
		"TestPlugins/AuthenticationTests/MissingCertificateFile",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not found", want)
		}
	}
}
