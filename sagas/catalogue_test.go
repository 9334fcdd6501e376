package sagas_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/process"
	"casebook/domain/refuse"
	"casebook/domain/safety"
	"casebook/domain/scenario"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/sagas"
	identityprocesses "casebook/sagas/identity"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the catalogue of processes anew, and golden files for what has none for its present version")

// processes are those of the program, with one notifier, and by e-mail to patients.
var processes = slices.Concat(contexts.Processes(&recorder{name: "broker"}),
	contexts.Reminders(identityprocesses.Senders{Mail: &recorder{name: "email"}}))

// TestCatalogueOfProcesses holds every process to its page in testdata/catalogue: which events its consumer group is
// delivered, which commands it may send, and how it reacts to every event, timer and refusal at every stage. The pages are
// made from the processes themselves, so a changed page means that a process has changed.
func TestCatalogueOfProcesses(t *testing.T) {
	registry := contexts.Registry()
	pages := map[string]bool{}
	for _, p := range processes {
		file := filepath.Join("testdata/catalogue", p.Name+".txt")
		pages[file] = true
		t.Run(p.Name, func(t *testing.T) {
			page := catalogue(t, registry, p)
			if *update {
				if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("the process %s has no page in the catalogue; make it with go test ./sagas -run Catalogue -update: %v", p.Name, err)
			}
			for _, line := range strings.Split(string(want), "\n") {
				if strings.HasPrefix(line, "listens to ") && !strings.Contains(page, line+"\n") {
					t.Errorf("the process %s no longer %s, so what follows from that event does not happen any more", p.Name, line)
				}
			}
			for _, line := range strings.Split(page, "\n") {
				if strings.HasPrefix(line, "listens to ") && !strings.Contains(string(want), line+"\n") {
					t.Errorf("the process %s now %s, but a consumer group that exists keeps its filter (see ADR 0015): "+
						"an installation that runs already does not deliver the event. Give the process a new group with InGroup", p.Name, line)
				}
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(page, "\n")); diff != "" {
				t.Errorf("the process %s is not what the catalogue says; where that is meant, write it with go test ./sagas -run Catalogue -update "+
					"(-catalogue +process):\n%s", p.Name, diff)
			}
		})
	}
	files, err := filepath.Glob("testdata/catalogue/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !pages[file] {
			t.Errorf("%s is the page of a process that the program does not run any more; its streams and its consumer group are still there", file)
		}
	}
}

// catalogue writes the page of a process. It fails the test where the process listens to something, or may send something,
// that never matters.
func catalogue(t *testing.T, registry *eventlog.Registry, p sagas.Process) string {
	t.Helper()
	var page strings.Builder
	fmt.Fprintf(&page, "process %s\n", p.Name)
	var names []string
	for _, e := range p.Events() {
		name, ok := registry.NameOfType(e)
		if !ok {
			t.Fatalf("%v is not an event of the log", e)
		}
		names = append(names, name)
		fmt.Fprintf(&page, "listens to %s\n", name)
	}
	for _, c := range p.Commands() {
		reacts := ""
		if slices.Contains(p.Refusals(), c) {
			reacts += ", and reacts to a refusal"
		}
		if slices.Contains(p.Unchanged(), c) {
			reacts += ", and reacts where nothing is recorded"
		}
		fmt.Fprintf(&page, "may send %s%s\n", c.Name(), reacts)
	}
	state, _ := p.State()
	switch {
	case p.ByClock():
		fmt.Fprintf(&page, "works by the clock\n")
		return page.String()
	case state == nil:
		fmt.Fprintf(&page, "keeps no state\n")
	}
	filter, err := sagas.GroupFilter(registry, p)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&page, "consumer group %s: %s\n", p.Group(), strings.Join(filter, ", "))
	if p.BeginsAtEnd() {
		fmt.Fprintf(&page, "a new group begins at the end of the log\n")
	}
	if state == nil {
		return page.String()
	}
	reactions := explore(t, registry, p)
	for _, r := range reactions {
		page.WriteString("\n" + r.text)
	}
	reacted := func(to string) bool {
		return slices.ContainsFunc(reactions, func(r observed) bool { return r.trigger == to })
	}
	for i, e := range p.Events() {
		if reacts := reacted(names[i]); reacts == p.OnlyDelivered(e) {
			t.Errorf("the process %s listens to %s; reactions to it were found: %v", p.Name, names[i], reacts)
		}
	}
	for _, c := range p.Commands() {
		if !slices.ContainsFunc(reactions, func(r observed) bool { return slices.Contains(r.sent, c.Name()) }) {
			t.Errorf("the process %s may send %s, and never does", p.Name, c.Name())
		}
	}
	for _, c := range p.Refusals() {
		if !reacted("refused:" + c.Name()) {
			t.Errorf("the process %s listens to refusals of %s, and never reacts to one", p.Name, c.Name())
		}
	}
	for _, c := range p.Unchanged() {
		if !reacted("unchanged:" + c.Name()) {
			t.Errorf("the process %s listens to %s where it records nothing, and never reacts to that", p.Name, c.Name())
		}
	}
	return page.String()
}

// observed is a reaction that was found.
type observed struct {
	trigger string
	sent    []string
	text    string
}

// situation is a stage that an instance can reach, with its state and timers.
type situation struct {
	stage   string
	outcome process.Outcome
	state   json.RawMessage
	timers  map[string]bool
	// sent are the commands of the last step; they may be refused, or record nothing.
	sent []process.Command
}

func (s situation) sentNames() (names []string) {
	for _, c := range s.sent {
		names = append(names, c.Name)
	}
	return names
}

// shape tells situations apart that matter: numbers, and the lengths of lists and of what is listed by ids beyond 1 do not.
func (s situation) shape() string {
	var state any
	if len(s.state) > 0 {
		if err := json.Unmarshal(s.state, &state); err != nil {
			panic(err)
		}
	}
	return fmt.Sprint(s.stage, s.outcome, shapeOf(state), s.timers)
}

// someID is an id that a process has made.
var someID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

func shapeOf(v any) any {
	switch v := v.(type) {
	case float64:
		return v != 0
	case string:
		return someID.ReplaceAllString(v, "ID")
	case []any:
		return []any{len(v) > 0}
	case map[string]any:
		all := map[string]any{}
		for k, x := range v {
			all[someID.ReplaceAllString(k, "ID")] = shapeOf(x)
		}
		return all
	}
	return v
}

// explore finds how a process reacts: it has every event, with and without what it may leave out, every timer that is set
// and every refusal that can come happen in every situation that this leads to.
func explore(t *testing.T, registry *eventlog.Registry, p sagas.Process) []observed {
	t.Helper()
	const most = 2000
	var found []observed
	_, upcasts := p.State()
	known, shown := map[string]bool{}, map[string]bool{}
	next := []situation{{stage: "(new)"}}
	for tried := 0; len(next) > 0; tried++ {
		if tried == most {
			t.Fatalf("the process %s can stand in more than %d ways", p.Name, most)
		}
		from := next[0]
		next = next[1:]
		for _, o := range occurrences(registry, p, from) {
			step, reacts, err := p.React(from.state, upcasts.Version(), o)
			if err != nil {
				t.Fatalf("%s, %s: %v", from.stage, o.Type, err)
			}
			if !reacts {
				continue
			}
			to := situation{stage: number.ReplaceAllString(step.Stage, "N"), outcome: step.Outcome, state: step.State, timers: map[string]bool{}}
			if len(step.State) == 0 {
				to.state = from.state
			}
			maps.Copy(to.timers, from.timers)
			if _, fired := o.Event.(sagas.Fired); fired {
				delete(to.timers, strings.TrimPrefix(o.Type, "timer:"))
			}
			for _, name := range step.Cancel {
				delete(to.timers, name)
			}
			for _, timer := range step.Set {
				to.timers[timer.Name] = true
			}
			to.sent = step.Commands
			// Of reactions that differ only in what their commands say, the first is shown.
			alike := fmt.Sprint(from.stage, o.Type, to.stage, step.Outcome, to.sentNames(), step.Set, step.Cancel)
			if !shown[alike] {
				shown[alike] = true
				found = append(found, observed{trigger: o.Type, sent: to.sentNames(), text: describe(from, o, to, step)})
			}
			if shape := to.shape(); !known[shape] {
				known[shape] = true
				next = append(next, to)
			}
		}
	}
	return found
}

// number is a number in a stage, such as of the patients who wait.
var number = regexp.MustCompile(`\d+`)

// describe writes out one reaction.
func describe(from situation, o sagas.Occurrence, to situation, step sagas.Step) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %s -> %s", from.stage, o.Type, to.stage)
	if step.Outcome != "" {
		fmt.Fprintf(&text, " (%s)", step.Outcome)
	}
	text.WriteString("\n")
	for _, c := range step.Commands {
		fmt.Fprintf(&text, "  sends %s %s\n", c.Name, c.Body)
	}
	for _, timer := range step.Set {
		fmt.Fprintf(&text, "  sets %s to %s later\n", timer.Name, timer.At.Sub(o.At))
	}
	for _, timer := range step.Cancel {
		fmt.Fprintf(&text, "  cancels %s\n", timer)
	}
	return text.String()
}

// occurrences are what can happen to an instance.
func occurrences(registry *eventlog.Registry, p sagas.Process, in situation) []sagas.Occurrence {
	base := sagas.Occurrence{ID: "7b3f1a52-9a0c-4c53-b0f9-0d8f6f0f1f11", At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Study: "PAIN1", Site: "A", Of: "PAIN1.S-1", Stage: in.stage, Outcome: in.outcome,
		Awaits: in.timers["answer"] || in.timers["asked again"] || in.timers["stuck"]}
	var all []sagas.Occurrence
	for _, goType := range p.Events() {
		o := base
		o.Type, _ = registry.NameOfType(goType)
		for _, event := range append(samples(goType), lateAlerts(goType, in)...) {
			o.Event = event
			if len(p.About(eventlog.Recorded{Event: event, Metadata: eventlog.Metadata{Study: base.Study, Site: base.Site,
				Patient: "PAIN1.S-1"}})) > 0 {
				all = append(all, o)
			}
		}
	}
	for _, timer := range slices.Sorted(maps.Keys(in.timers)) {
		o := base
		o.Type, o.Event = "timer:"+timer, sagas.Fired{Timer: timer}
		all = append(all, o)
	}
	for _, c := range p.Refusals() {
		if slices.Contains(in.sentNames(), c.Name()) {
			o := base
			o.Type, o.Event = "refused:"+c.Name(), sagas.Refused{Command: c.Name(), Refusal: refuse.Because("some_code", "a sentence")}
			all = append(all, o)
		}
	}
	for _, goType := range p.Unchanged() {
		for _, c := range in.sent {
			if c.Name != goType.Name() {
				continue
			}
			command := reflect.New(goType)
			if err := json.Unmarshal(c.Body, command.Interface()); err != nil {
				panic(err)
			}
			o := base
			o.Type, o.Event = "unchanged:"+c.Name, sagas.Unchanged{Command: c.Name, Body: command.Elem().Interface()}
			all = append(all, o)
		}
	}
	return all
}

// lateAlerts are those that the instance has settled already, and that are raised only now.
func lateAlerts(goType reflect.Type, in situation) (all []any) {
	if goType != reflect.TypeFor[safety.AlertRaised]() {
		return nil
	}
	var state struct {
		Settled sagas.Settled `json:"settled"`
	}
	_ = json.Unmarshal(in.state, &state) // an instance may remember nothing, or something else
	for _, alert := range state.Settled {
		for _, kind := range safety.Kinds {
			all = append(all, safety.AlertRaised{Alert: alert, Study: "PAIN1", Site: "A", Patient: "PAIN1.S-1", Kind: kind})
		}
	}
	return all
}

// samples are an event with all fields filled, numbers with 1; the same event without each of the things that it may leave
// out; and without all of them.
func samples(goType reflect.Type) []any {
	full, sparse := reflect.New(goType).Elem(), reflect.New(goType).Elem()
	scenario.Fill(full, "")
	var optional []int
	for i := range full.NumField() {
		if full.Field(i).Kind() == reflect.Int {
			full.Field(i).SetInt(1)
		}
		if strings.Contains(goType.Field(i).Tag.Get("json"), ",omitempty") {
			optional = append(optional, i)
		} else {
			sparse.Field(i).Set(full.Field(i))
		}
	}
	all := []any{full.Interface()}
	for i := range full.NumField() { // what is about kits of patients may be about the first kit of the one who reacts
		if full.Field(i).Type() == reflect.TypeFor[[]supply.Slot]() {
			of := reflect.New(goType).Elem()
			of.Set(full)
			of.Field(i).Set(reflect.ValueOf([]supply.Slot{{Patient: "PAIN1.S-1"}}))
			all = append(all, of.Interface())
		}
	}
	for _, i := range optional {
		without := reflect.New(goType).Elem()
		without.Set(full)
		without.Field(i).SetZero()
		all = append(all, without.Interface())
	}
	all = append(all, sparse.Interface())
	// Rules, sites and stocks are of one site and its depot, so that what is remembered of a rule meets what happens there.
	here, met := reflect.New(goType).Elem(), false
	here.Set(full)
	for i := range here.NumField() {
		if same, is := ofOneSite[here.Field(i).Type()]; is {
			here.Field(i).Set(reflect.ValueOf(same))
			met = true
		}
	}
	if met {
		all = append(all, here.Interface())
	}
	return all
}

// ofOneSite are the values of a site with a rule, and of its depot.
var ofOneSite = map[reflect.Type]any{
	reflect.TypeFor[supply.ResupplyRule](): supply.ResupplyRule{Site: "A", Depot: "D", Trigger: 1, Target: 3, OverdueDays: 1},
	reflect.TypeFor[supply.OfStock]():      supply.OfStock{Study: "PAIN1", Location: "D"},
	reflect.TypeFor[domain.SiteID]():       domain.SiteID("A"),
	reflect.TypeFor[[]domain.SiteID]():     []domain.SiteID{"A"},
	reflect.TypeFor[[]study.Activity]():    study.Activities,
}

// TestProcessesSendCommandsThatExist: each is declared, and open to processes.
func TestProcessesSendCommandsThatExist(t *testing.T) {
	all := contexts.Commands()
	for _, p := range processes {
		for _, c := range p.Commands() {
			i := slices.IndexFunc(all, func(declared commands.Command) bool { return declared.Body() == c })
			if i < 0 || all[i].Name() != c.Name() {
				t.Errorf("the process %s sends %v, which is no declared command", p.Name, c)
				continue
			}
			if _, err := access.Process(p.Name).Authorize(c.Name(), all[i].OpenTo(), domain.Scope{Study: "PAIN1"}); err != nil {
				t.Errorf("the process %s sends %s: %v", p.Name, c.Name(), err)
			}
		}
	}
}

// TestEveryProcessIsListed finds processes that a context defines and the program does not run.
func TestEveryProcessIsListed(t *testing.T) {
	files, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	defined := regexp.MustCompile(`sagas\.Define\w*\(\s*"([^"]+)"`)
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range defined.FindAllStringSubmatch(string(text), -1) {
			found++
			runs := slices.ContainsFunc(processes, func(p sagas.Process) bool { return strings.HasPrefix(p.Name, match[1]) })
			if !runs {
				t.Errorf("sagas/%s defines the process %s, which the program does not run: list it in Processes there, "+
					"and that in cmd/casebook/contexts", file, match[1])
			}
		}
	}
	if found != len(processes) {
		t.Errorf("the contexts define %d processes, and the program runs %d", found, len(processes))
	}
}
