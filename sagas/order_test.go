package sagas_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/eventlog"
	"casebook/sagas"
)

// postman brings every event to every process that listens to it: at once and in order, or late, in any order, again, by one of two
// programs, and with a program that is killed now and then.
type postman struct {
	*courier
	t       *testing.T
	runners []*sagas.Runner
	random  *rand.Rand // nil for at once and in order
	held    []letter
}

// letter is an event that is on its way to a process.
type letter struct {
	to    sagas.Process
	event eventlog.Recorded
}

// round brings what has come. hold says whether some of it is held back; else everything is brought, until nothing comes of it any more.
func (p *postman) round(hold bool) {
	p.t.Helper()
	for {
		events := p.fresh()
		p.past = append(p.past, events...)
		for _, e := range events {
			for _, to := range contexts.Processes() {
				if !to.ByClock() && to.ListensTo(e.Event) {
					p.held = append(p.held, letter{to, e})
				}
			}
		}
		if len(events) == 0 && (hold || len(p.held) == 0) {
			return
		}
		letters := p.held
		p.held = nil
		if p.random != nil {
			p.random.Shuffle(len(letters), func(i, j int) { letters[i], letters[j] = letters[j], letters[i] })
		}
		for _, l := range letters {
			if p.random != nil && hold && p.random.IntN(2) == 0 {
				p.held = append(p.held, l)
				continue
			}
			switch err := p.runner().Deal(p.t.Context(), l.to, l.event); {
			case errors.Is(err, errKilled):
				p.held = append(p.held, l)
			case err != nil:
				p.t.Fatalf("%s is told of %s: %v", l.to.Name, l.event.Type, err)
			case p.random != nil && p.random.IntN(8) == 0:
				p.held = append(p.held, l) // and once more
			}
		}
	}
}

func (p *postman) runner() *sagas.Runner {
	if p.random == nil {
		return p.runners[0]
	}
	return p.runners[p.random.IntN(len(p.runners))]
}

// longCourse is what becomes of a patient who has the kit of the enrolment: what people do, one after another. A step says whether it
// was possible; one that was not waits for what processes have to do first.
type longCourse struct {
	name  string
	steps []func(*traveller) error
}

// traveller is a patient on a course.
type traveller struct {
	*world
	*postman
	who domain.PatientID
}

func (tr *traveller) of() domain.OfPatient { return domain.ForPatient(tr.who) }

// by is somebody who works at a site.
func (tr *traveller) by(site domain.SiteID) access.Principal {
	return access.Principal{User: "crc", Grants: []user.Grant{{Role: user.CRC, Study: tr.study, Site: site}}}
}

func (tr *traveller) send(who access.Principal, command any) error {
	_, err := tr.world.do(who, command)
	return err
}

var errNotYet = errors.New("not yet")

// allocatedKit is the kit that waits for the patient at a site.
func (tr *traveller) allocatedKit(at supply.LocationID, visit string) (supply.KitNumber, error) {
	for n, k := range supply.StockDecider.Fold(stockOf(tr.world, at)...).Kits.All() {
		if k.Patient == tr.who && k.Visit == visit && k.Status == supply.KitIsAllocated {
			return n, nil
		}
	}
	return "", errNotYet
}

func dispenseAt(site domain.SiteID, visit string) func(*traveller) error {
	return func(tr *traveller) error {
		kit, err := tr.allocatedKit(supply.LocationID(site), visit)
		if err != nil {
			return err
		}
		return tr.send(tr.by(site), supply.DispenseKit{Site: site, OfPatient: tr.of(), Kit: kit, On: "2026-02-03"})
	}
}

func loseAt(site domain.SiteID, visit string) func(*traveller) error {
	return func(tr *traveller) error {
		kit, err := tr.allocatedKit(supply.LocationID(site), visit)
		if err != nil {
			return err
		}
		return tr.send(tr.by(site), supply.ReportKitLost{AtLocation: supply.AtLocation{Study: tr.study, Location: supply.LocationID(site)},
			Kit: kit, Reasoned: domain.Because("gone")})
	}
}

// sends is a step of the site's staff.
func sends(site domain.SiteID, command func(domain.OfPatient) any) func(*traveller) error {
	return func(tr *traveller) error { return tr.send(tr.by(site), command(tr.of())) }
}

func visitAt(site domain.SiteID) func(*traveller) error {
	return sends(site, func(of domain.OfPatient) any {
		return patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-02-03"}
	})
}

func transferTo(site domain.SiteID) func(*traveller) error {
	return func(tr *traveller) error {
		return tr.send(tr.manager, patient.TransferPatient{OfPatient: tr.of(), To: site, On: "2026-02-03", Reasoned: domain.Because("Moved")})
	}
}

func stopTreatment(of domain.OfPatient) any {
	return patient.DiscontinueTreatment{OfPatient: of, On: "2026-02-03", Reason: patient.EndedByAdverseEvent}
}

func treatOn(of domain.OfPatient) any {
	return patient.UndoPatientStep{OfPatient: of, Step: patient.StepTreatmentEnd, Reasoned: domain.Because("The wrong patient")}
}

// shipTo sends kits from the depot, which arrive.
func shipTo(site supply.LocationID, kits ...supply.KitNumber) func(*traveller) error {
	return func(tr *traveller) error {
		answer, err := tr.world.do(tr.supplier(), supply.CreateShipment{FromLocation: supply.FromLocation{Study: tr.study, From: "D"}, To: site,
			Kits: kits, Reasoned: domain.Because("supply")})
		if err != nil {
			return err
		}
		id := answer.Events[0].Data.(supply.ShipmentCreated).Shipment
		tr.must(tr.supplier(), supply.DispatchShipment{FromLocation: supply.FromLocation{Study: tr.study, From: "D"}, Shipment: id,
			On: "2026-02-03"})
		tr.must(tr.by(domain.SiteID(site)), supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: tr.study, Location: site}, From: "D",
			Shipment: id, On: "2026-02-03", Temperature: supply.TemperatureInRange})
		return nil
	}
}

func suspend(on bool) func(*traveller) error {
	return func(tr *traveller) error {
		if on {
			return tr.send(tr.manager, study.SuspendStudy{InStudy: domain.ForStudy(tr.study), Activities: []study.Activity{study.ActivityDispensing},
				Reasoned: domain.Because("A signal")})
		}
		return tr.send(tr.manager, study.ResumeStudy{InStudy: domain.ForStudy(tr.study), Activities: []study.Activity{study.ActivityDispensing},
			Reasoned: domain.Because("None after all")})
	}
}

func recall(tr *traveller) error {
	return tr.send(tr.supplier(), supply.RecallLot{InStudy: domain.ForStudy(tr.study), Lot: "L1", Reasoned: domain.Because("impurity")})
}

func withdrawRecall(tr *traveller) error {
	return tr.send(tr.supplier(), supply.WithdrawLotRecall{InStudy: domain.ForStudy(tr.study), Lot: "L1", Reasoned: domain.Because("a typo")})
}

// toldOfRecall waits until the recall has come to the site.
func toldOfRecall(tr *traveller) error {
	if len(ofType[supply.KitsQuarantined](tr.events("stock-"+string(tr.study)+".A"))) == 0 {
		return errNotYet
	}
	return nil
}

// amended asks who is treated to sign again.
func amended(tr *traveller) error {
	if err := tr.send(tr.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(tr.study), Protocol: study.Protocol{Version: 3,
		ConsentVersion: "2.0", PublishedOn: "2026-02-02", Arms: []study.Arm{{ID: string(blue)}}, Visits: []study.Visit{{ID: "week-4", Day: 28}},
		Reconsent: &study.Reconsent{Who: study.ReconsentEverybody, WithinDays: 1, Blocks: []study.Blocked{study.BlocksDispensing}},
		Treatment: &study.Treatment{Kits: true, DispensingVisits: []string{"week-4"}}}}); err != nil {
		return err
	}
	return tr.send(tr.crc, patient.ApplyProtocolVersion{OfPatient: tr.of(), Version: 3, On: "2026-02-03"})
}

// late lets the day pass until which the consent was to be signed.
func late(tr *traveller) error {
	tr.clock.set(tr.clock.Now().AddDate(0, 0, 5))
	tr.fireAll()
	return nil
}

func signs(of domain.OfPatient) any {
	return patient.RecordConsent{OfPatient: of, ConsentVersion: "2.0", On: "2026-02-03"}
}

// fireAll fires the timers that are due. A program that is killed meanwhile fires them when it is back.
func (tr *traveller) fireAll() {
	tr.t().Helper()
	for _, e := range tr.past {
		of, timer, is := sagas.TimerOf(e.Event)
		if !is || timer.At.After(tr.clock.Now()) || slices.Contains(process.AnswerTimers, timer.Name) {
			continue
		}
		for _, p := range contexts.Processes() {
			if p.Name != of.Process {
				continue
			}
			for err := errKilled; errors.Is(err, errKilled); {
				if err = tr.postman.runner().Fire(tr.t().Context(), p, e); err != nil && !errors.Is(err, errKilled) {
					tr.t().Fatal(err)
				}
			}
		}
	}
}

func (tr *traveller) t() *testing.T { return tr.postman.t }

func longCourses() []longCourse {
	hold := sends("A", func(of domain.OfPatient) any {
		return patient.HoldDose{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("Neutrophils low")}
	})
	resume := sends("A", func(of domain.OfPatient) any {
		return patient.ResumeDose{OfPatient: of, On: "2026-02-03", Reasoned: domain.Because("Neutrophils recovered")}
	})
	void := sends("A", func(of domain.OfPatient) any {
		return patient.VoidVisit{OfPatient: of, Visit: "week-4", Reasoned: domain.Because("The wrong patient")}
	})
	stop, goOn, sign := sends("A", stopTreatment), sends("A", treatOn), sends("A", signs)
	replace := func(tr *traveller) error {
		for n, k := range supply.StockDecider.Fold(stockOf(tr.world, "A")...).Kits.All() {
			if k.Patient == tr.who && k.Visit == "week-4" && k.Status == supply.KitIsDispensed {
				return tr.send(tr.crc, supply.ReplaceKit{Site: "A", OfPatient: tr.of(), Kit: n, Cause: supply.KitWasDamaged,
					Reasoned: domain.Because("torn")})
			}
		}
		return errNotYet
	}
	first := dispenseAt("A", "")
	return []longCourse{
		{"visit, loss, replacement", []func(*traveller) error{first, visitAt("A"), loseAt("A", "week-4"), dispenseAt("A", "week-4"), replace}},
		{"the last kit is lost, and others come", []func(*traveller) error{first, visitAt("A"), loseAt("A", "week-4"), loseAt("A", "week-4"),
			shipTo("A", "1004")}},
		{"transfer without a kit", []func(*traveller) error{first, visitAt("A"), loseAt("A", "week-4"), loseAt("A", "week-4"), transferTo("B"),
			shipTo("B", "1004")}},
		{"transfer there and back", []func(*traveller) error{first, visitAt("A"), transferTo("B"), transferTo("A")}},
		{"transfer with a kit", []func(*traveller) error{first, visitAt("A"), shipTo("B", "1004"), transferTo("B"), dispenseAt("B", "week-4")}},
		{"recall of drug at home", []func(*traveller) error{first, recall, withdrawRecall, recall, transferTo("B")}},
		{"recall in error", []func(*traveller) error{first, recall, toldOfRecall, transferTo("B"), withdrawRecall}},
		{"amendment, signed in time", []func(*traveller) error{first, amended, visitAt("A"), sign, late}},
		{"amendment, signed late", []func(*traveller) error{first, amended, visitAt("A"), late, sign}},
		{"amendment, never signed", []func(*traveller) error{first, amended, visitAt("A"), late}},
		{"dose held and resumed", []func(*traveller) error{first, hold, visitAt("A"), resume, suspend(true), suspend(false),
			dispenseAt("A", "week-4")}},
		{"treatment ends in error", []func(*traveller) error{first, visitAt("A"), stop, goOn}},
		{"treatment ends twice", []func(*traveller) error{first, visitAt("A"), stop, goOn, stop}},
		{"treatment ends in error without a kit", []func(*traveller) error{first, visitAt("A"), loseAt("A", "week-4"), loseAt("A", "week-4"),
			stop, goOn}},
		{"visit in error", []func(*traveller) error{first, visitAt("A"), void, visitAt("A")}},
	}
}

// run takes a patient through the course, and says how it stands at the end.
func (c longCourse) run(t *testing.T, random *rand.Rand) string {
	t.Helper()
	w := newWorld(t, 10)
	w.treated(func(t *study.Treatment) { t.Randomised = false }, oneArm)
	w.must(w.manager, study.AddSite{AtSite: domain.ForSite(w.study, "B"), Name: "Eppendorf", Country: "DE", Zone: "Europe/Berlin"})
	w.must(w.manager, study.ActivateSite{AtSite: domain.ForSite(w.study, "B"), On: "2026-01-01"})
	p := &postman{courier: w.courier(w.part), t: t, runners: []*sagas.Runner{w.runner(w.part)}}
	p.round(false)
	w.ship("1001", "1002", "1003")
	tr := &traveller{world: w, postman: p, who: w.request()}
	p.round(false)
	if random != nil {
		p.random = random
		p.runners = append(p.runners, w.runner(w.newPart()))
		for _, r := range p.runners {
			r.Fault = func(string) error {
				if random.IntN(12) == 0 {
					return errKilled
				}
				return nil
			}
		}
	}
	for i, step := range c.steps {
		err := step(tr)
		if err != nil && random != nil { // somebody waits for what is on its way
			p.round(false)
			err = step(tr)
		}
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		p.round(true)
	}
	p.round(false)
	tr.fireAll() // some timers were set when their time had come
	p.round(false)
	return tr.stands()
}

// stands is what the patient has, lacks and is told: kits by visit, and open alerts by kind and site.
func (tr *traveller) stands() string {
	tr.t().Helper()
	who := patient.Decider.Initial
	for _, e := range tr.events(patient.Decider.Stream(string(tr.who))) {
		who = patient.Decider.Evolve(who, e.(patient.Event))
	}
	lines := []string{fmt.Sprintf("at %s, treatment %s", who.Site, who.Treatment)}
	for _, at := range []supply.LocationID{"A", "B"} {
		waits := map[string]int{}
		for _, k := range supply.StockDecider.Fold(stockOf(tr.world, at)...).Kits.All() {
			if k.Patient == tr.who && (k.Status == supply.KitIsAllocated || k.Status == supply.KitIsDispensed) {
				waits[fmt.Sprintf("at %s, visit %q: %s", at, k.Visit, k.Status)]++
			}
		}
		for what, n := range waits {
			lines = append(lines, fmt.Sprint(what, " ", n))
		}
	}
	told := map[safety.AlertID]string{}
	for _, e := range tr.past {
		switch e := e.Event.(type) {
		case safety.AlertRaised:
			switch e.Kind {
			case safety.PatientWithoutKit, safety.ReconsentOverdue, safety.RecalledKitAtHome:
				told[e.Alert] = fmt.Sprintf("%s at %s", e.Kind, e.Site)
			}
		case safety.AlertClosed:
			delete(told, e.Alert)
		case process.MessageParked:
			lines = append(lines, "parked: "+e.Process)
		}
	}
	for _, what := range told {
		lines = append(lines, what)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Whatever becomes of a patient, it comes to the same when every process is told late, twice and in any order, each of them in its own,
// by two programs that are killed now and then: the same kits at the same visits, the same open alerts, at the same sites.
func TestWhateverTheOrderItComesToTheSame(t *testing.T) {
	for _, course := range longCourses() {
		t.Run(course.name, func(t *testing.T) {
			t.Parallel()
			want := course.run(t, nil)
			for seed := range uint64(3) {
				if got := course.run(t, rand.New(rand.NewPCG(seed, 11))); got != want {
					t.Errorf("in the order of seed %d it comes to\n%s\n\nand undisturbed to\n%s", seed, got, want)
				}
			}
		})
	}
}
