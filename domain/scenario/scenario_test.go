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

// tally counts what was added; its Evolve can be told to break the rule.
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
	return scenario.Asked(add, word, domain.Call{})
}

// recorder is a testing.TB that notes a failure instead of having it.
type recorder struct {
	testing.TB
	failure string
}

func (*recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failureOf runs a scenario that may fail, and returns how.
func failureOf(run func(testing.TB)) string {
	r, done := &recorder{}, make(chan struct{})
	go func() {
		defer close(done)
		run(r)
	}()
	<-done
	return r.failure
}

func TestScenariosPassWhenTheyShould(t *testing.T) {
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
	given.When(scenario.AskedKnowing(facts, 2, "c", domain.Call{})).Then("cc")
}

func TestScenariosFailWhenTheyShould(t *testing.T) {
	for name, x := range map[string]struct {
		run  func(testing.TB)
		says string
	}{
		"other events":      {func(t testing.TB) { scenario.For(t, decider).When(adding("a")).Then("b") }, "other events than expected"},
		"no events":         {func(t testing.TB) { scenario.For(t, decider).Given("a").When(adding("a")).Then("a") }, "other events than expected"},
		"unexpected events": {func(t testing.TB) { scenario.For(t, decider).When(adding("a")).Then() }, "other events than expected"},
		"a refusal":         {func(t testing.TB) { scenario.For(t, decider).When(adding("")).Then() }, "refused or failed: empty"},
		"a failure":         {func(t testing.TB) { scenario.For(t, decider).When(adding("break")).Then() }, "refused or failed: it broke"},
		"no refusal":        {func(t testing.TB) { scenario.For(t, decider).When(adding("a")).ThenRefused("empty") }, "want the refusal empty, got events [a]"},
		"a failure instead": {func(t testing.TB) { scenario.For(t, decider).When(adding("break")).ThenRefused("empty") }, "it broke"},
		"another refusal":   {func(t testing.TB) { scenario.For(t, decider).When(adding("")).ThenRefused("full") }, "want the refusal full"},
		"refusal and event": {func(t testing.TB) { scenario.For(t, decider).When(adding("both")).ThenRefused("both") }, "and yet it has events"},
		"no remedy":         {func(t testing.TB) { scenario.For(t, decider).Strict().When(adding("")).ThenRefused("empty") }, "does not say what to do"},
		"no field": {func(t testing.TB) {
			scenario.For(t, decider).Strict().Given("a").When(adding("lost")).ThenRefused("lost")
		}, "or where"},
		"no sentence": {func(t testing.TB) { scenario.For(t, decider).When(adding("mute")).ThenRefused("mute") }, "has no sentence"},
	} {
		if got := failureOf(x.run); !strings.Contains(got, x.says) {
			t.Errorf("%s: the scenario says %q, want %q", name, got, x.says)
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
			t.Errorf("%s: the scenario says %q", name, got)
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

func TestPicturesShowEveryChange(t *testing.T) {
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
		{"a pointer gone", func() { n.next = nil }},
		{"a value of another", func() { n.any = true }},
	} {
		x.change()
		picture := scenario.Picture(n)
		if other, same := seen[picture]; same {
			t.Errorf("after a change of %s it looks as after %s", x.what, other)
		}
		seen[picture] = x.what
		if again := scenario.Picture(n); again != picture {
			t.Errorf("the same state has two pictures")
		}
	}
}
