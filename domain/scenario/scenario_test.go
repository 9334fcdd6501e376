package scenario_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/scenario"
)

// tally is a state that counts words.
type tally struct {
	sum  int
	seen map[string]bool
}

var decider = domain.Decider[tally, string]{Category: "tally", Evolve: func(s tally, e string) tally {
	next := tally{sum: s.sum + 1, seen: map[string]bool{e: true}}
	for k := range s.seen {
		next.seen[k] = true
	}
	return next
}}

func add(s tally, word string, _ domain.Call) ([]string, error) {
	switch {
	case word == "":
		return nil, refuse.Because("empty", "there is no word")
	case word == "full":
		return nil, refuse.Because("full", "there is no room").At("word").Do("make room")
	case word == "lost":
		return nil, refuse.Because("lost", "it is not there").Do("look for it")
	case word == "mute":
		return nil, refuse.Because("mute", "")
	case word == "both":
		return []string{"x"}, refuse.Because("both", "this and that")
	case word == "break":
		return nil, errors.New("it broke")
	case s.seen[word]:
		return nil, nil
	}
	return []string{word}, nil
}

func adding(word string) func(tally) ([]string, error) {
	return scenario.Sent(add, word, domain.Call{})
}

// recorder is a testing.TB that records a failure instead of failing the test.
type recorder struct {
	testing.TB
	failure string
}

func (*recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failureOf runs a scenario and returns the text of its failure, or "".
func failureOf(run func(testing.TB)) string {
	r, done := &recorder{}, make(chan struct{})
	go func() {
		defer close(done)
		run(r)
	}()
	<-done
	return r.failure
}

func TestScenariosPass(t *testing.T) {
	given := scenario.For(t, decider).Given("a").When(adding("b")).Then("b").When(adding("a")).Then()
	if s := given.State(); s.sum != 2 || !s.seen["b"] {
		t.Errorf("the state is %+v", s)
	}
	if r := given.When(adding("")).ThenRefused("empty"); r.Sentence != "there is no word" {
		t.Errorf("got %+v", r)
	}
	if r := given.Strict().When(adding("full")).ThenRefused("full"); r.Remedy == "" || r.Field == "" {
		t.Errorf("got %+v", r)
	}
	facts := func(s tally, fact int, word string, call domain.Call) ([]string, error) {
		return add(s, strings.Repeat(word, fact), call)
	}
	given.When(scenario.SentWithFacts(facts, 2, "c", domain.Call{})).Then("cc")
}

func TestScenariosFail(t *testing.T) {
	type given = scenario.Given[tally, string]
	for name, x := range map[string]struct {
		run  func(start given)
		want string
	}{
		"other events":      {func(g given) { g.When(adding("a")).Then("b") }, "other events than expected"},
		"no events":         {func(g given) { g.Given("a").When(adding("a")).Then("a") }, "other events than expected"},
		"unexpected events": {func(g given) { g.When(adding("a")).Then() }, "other events than expected"},
		"a refusal":         {func(g given) { g.When(adding("")).Then() }, "refused or failed: empty"},
		"a failure":         {func(g given) { g.When(adding("break")).Then() }, "refused or failed: it broke"},
		"no refusal":        {func(g given) { g.When(adding("a")).ThenRefused("empty") }, "want the refusal empty, got events [a]"},
		"a failure instead": {func(g given) { g.When(adding("break")).ThenRefused("empty") }, "it broke"},
		"another refusal":   {func(g given) { g.When(adding("")).ThenRefused("full") }, "want the refusal full"},
		"refusal and event": {func(g given) { g.When(adding("both")).ThenRefused("both") }, "comes with events"},
		"no remedy":         {func(g given) { g.Strict().When(adding("")).ThenRefused("empty") }, "lacks a remedy"},
		"no field":          {func(g given) { g.Strict().When(adding("lost")).ThenRefused("lost") }, "or a field"},
		"no sentence":       {func(g given) { g.When(adding("mute")).ThenRefused("mute") }, "has no sentence"},
	} {
		if got := failureOf(func(t testing.TB) { x.run(scenario.For(t, decider)) }); !strings.Contains(got, x.want) {
			t.Errorf("%s: the scenario fails with %q, want %q", name, got, x.want)
		}
	}
}

func TestScenariosFailWhenEvolveChangesTheOldState(t *testing.T) {
	careless := domain.Decider[tally, string]{Initial: tally{seen: map[string]bool{}}, Evolve: func(s tally, e string) tally {
		s.seen[e] = true
		return s
	}}
	for name, run := range map[string]func(testing.TB){
		"given": func(t testing.TB) { scenario.For(t, careless).Given("a") },
		"then":  func(t testing.TB) { scenario.For(t, careless).When(adding("b")).Then("b") },
	} {
		if got := failureOf(run); !strings.Contains(got, "changed the state before it") {
			t.Errorf("%s: the scenario fails with %q", name, got)
		}
	}
}

type node struct {
	Name  string
	next  *node
	any   any
	sizes []float64
	at    time.Time
}

func TestPictureShowsEveryChange(t *testing.T) {
	n := &node{Name: "a", next: &node{Name: "b"}, any: map[string]int{"x": 1, "y": 2}, sizes: []float64{1, 2}, at: time.Unix(1, 0)}
	n.next.next = n // a cycle
	seen := map[string]string{scenario.Picture(n): "nothing"}
	for _, x := range []struct {
		what   string
		change func()
	}{
		{"a name", func() { n.Name = "c" }},
		{"behind a pointer", func() { n.next.Name = "d" }},
		{"in an interface", func() { n.any.(map[string]int)["x"] = 3 }},
		{"a new key", func() { n.any.(map[string]int)["z"] = 3 }},
		{"in a slice", func() { n.sizes[1] = 3 }},
		{"a time", func() { n.at = time.Unix(2, 0) }},
		{"a pointer", func() { n.next = nil }},
		{"a value of another type", func() { n.any = true }},
	} {
		x.change()
		picture := scenario.Picture(n)
		if other, same := seen[picture]; same {
			t.Errorf("the pictures after the changes of %s and %s are equal", x.what, other)
		}
		seen[picture] = x.what
		if again := scenario.Picture(n); again != picture {
			t.Errorf("two pictures of the same state differ")
		}
	}
}
