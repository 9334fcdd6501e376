package sagas_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/domain/supply"
	"casebook/eventlog"
	"casebook/notify"
	"casebook/sagas"
	safetyprocesses "casebook/sagas/safety"
)

// percentiles reports p50 and p99 of durations, in milliseconds.
func percentiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(p float64) float64 {
		return float64(took[min(len(took)-1, int(p*float64(len(took))))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// processorTime is how long this program has kept processors busy, where the machine says it.
func processorTime() (time.Duration, bool) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, false
	}
	const user, system, tick = 11, 12, 10 * time.Millisecond // behind the program's name, which may hold blanks
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	u, err1 := strconv.Atoi(fields[user])
	s, err2 := strconv.Atoi(fields[system])
	return time.Duration(u+s) * tick, err1 == nil && err2 == nil
}

// stocked runs the processes on the world's own part, as a server does, and gives site A so many kits of each arm.
func (w *world) stocked(perArm int) {
	w.t.Helper()
	const most = 490 // of a delivery
	for from := 0; from < perArm; from += most {
		text, numbers := kits(10_000+2*from, min(perArm-from, most))
		if from == 0 {
			w.treated(nil, text)
			w.driveOn(w.part, contexts.Processes())
		} else {
			w.must(w.supplier(), supply.RegisterKits{InStudy: domain.ForStudy(w.study), Depot: "D", CSV: "kit,arm,lot,expiry\n" + text})
		}
		w.wait("DeliveryTakenIn", func(e any) bool { return e.(supply.DeliveryTakenIn).Delivery == from/most+1 })
		w.ship(numbers...)
	}
}

// BenchmarkEnrollment takes patients from the wish to enrol them to the confirmation: a place, held kits, a draw, a kit, and
// the confirmation, in six streams, by Watermill over the embedded event store.
func BenchmarkEnrollment(b *testing.B) {
	for _, concurrent := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("concurrent=%d", concurrent), func(b *testing.B) {
			w := newWorldInside(b, 100_000)
			n := max(b.N, concurrent)
			w.perStratum = n + 100
			w.stocked(n + concurrent)
			ready := make([]domain.PatientID, n)
			for i := range ready {
				ready[i] = w.consented()
			}
			w.measure(b, "enrolment", concurrent, ready, w.enrolment, "PatientEnrolled", "EnrollmentFailed")
		})
	}
}

// enrolment asks for the enrolment of a patient, and ends with its confirmation.
func (w *world) enrolment(e any) (who domain.PatientID, next any) {
	switch e := e.(type) {
	case domain.PatientID:
		return e, patient.EnrollPatient{OfPatient: domain.ForPatient(e), On: "2026-02-02"}
	case patient.Enrolled:
		return e.Patient, nil
	}
	return "", nil
}

// BenchmarkDispensing takes patients from a visit to the kit that they are handed at it: the visit, the kit that the process asks for,
// and the dispensing.
func BenchmarkDispensing(b *testing.B) {
	for _, concurrent := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("concurrent=%d", concurrent), func(b *testing.B) {
			w := newWorldInside(b, 100_000)
			n := max(b.N, concurrent)
			w.perStratum = n + 100
			w.stocked(2*n + concurrent)
			treated := make([]domain.PatientID, n)
			for i := range treated {
				treated[i] = w.request()
			}
			left := n
			w.wait("PatientEnrolled", func(any) bool { left--; return left == 0 })
			w.measure(b, "dispensing", concurrent, treated, w.dispensing, "KitAllocated", "KitDispensed", "AllocationFailed")
		})
	}
}

// dispensing records a patient's visit, gives out the kit that is allocated for it, and ends when it is given out.
func (w *world) dispensing(e any) (who domain.PatientID, next any) {
	switch e := e.(type) {
	case domain.PatientID:
		return e, patient.RecordVisit{OfPatient: domain.ForPatient(e), Visit: "week-4", On: "2026-02-03"}
	case supply.KitAllocated:
		if e.Visit == "week-4" {
			return e.Patient, supply.DispenseKit{Site: "A", OfPatient: domain.ForPatient(e.Patient), Kit: e.Kit, On: "2026-02-03"}
		}
	case supply.KitDispensed:
		return e.Patient, nil
	}
	return "", nil
}

// measure takes patients through a course, so many at once. course is given a patient to begin with, and then every event of the
// types; it returns the patient, and what the site sends next, nil at the end. Events that do not matter are of no patient.
func (w *world) measure(b *testing.B, unit string, concurrent int, patients []domain.PatientID,
	course func(e any) (domain.PatientID, any), types ...string) {
	b.Helper()
	var mu sync.Mutex
	asked, took := map[domain.PatientID]time.Time{}, []time.Duration{}
	done := make(chan struct{}, concurrent)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var group sync.WaitGroup
	send := func(command any) {
		group.Go(func() {
			if _, err := w.do(w.crc, command); err != nil {
				b.Error(err)
				done <- struct{}{}
			}
		})
	}
	go func() {
		_ = w.log.Follow(ctx, eventlog.Subscription{Types: types}, func(_ context.Context, batch eventlog.Batch) error {
			for _, e := range batch.Events {
				switch e.Event.(type) {
				case patient.EnrollmentFailed, supply.AllocationFailed:
					b.Errorf("%+v", e.Event)
					done <- struct{}{}
					continue
				}
				who, next := course(e.Event)
				mu.Lock()
				began, ours := asked[who]
				mu.Unlock()
				switch {
				case !ours:
				case next != nil:
					send(next)
				default:
					took = append(took, time.Since(began))
					done <- struct{}{}
				}
			}
			return nil
		})
	}()
	for range concurrent {
		done <- struct{}{}
	}
	before, _ := processorTime()
	stored := w.stats()
	b.ResetTimer()
	for _, p := range patients {
		<-done
		_, first := course(p)
		mu.Lock()
		asked[p] = time.Now()
		mu.Unlock()
		send(first)
	}
	for range concurrent {
		<-done
	}
	b.StopTimer()
	group.Wait()
	n := float64(len(patients))
	b.ReportMetric(n/b.Elapsed().Seconds(), unit+"s/s")
	counted := func(name string, from, to uint64) { b.ReportMetric(float64(to-from)/n, name+"/"+unit) }
	now := w.stats()
	counted("events", stored.Events, now.Events)
	counted("appends", stored.Appends, now.Appends)
	counted("syncs", stored.Commits, now.Commits)
	counted("deliveries", stored.EventsSent, now.EventsSent)
	if after, known := processorTime(); known {
		b.ReportMetric(float64((after-before).Microseconds())/1000/n, "cpu-ms/"+unit)
	}
	percentiles(b, took)
}

// BenchmarkAlert takes the time from the moment that a diary with a risk is accepted to its message at the broker, while a
// thousand diaries a second come in.
func BenchmarkAlert(b *testing.B) {
	const perSecond, seconds = 1000, 5
	w := newWorld(b, 100_000)
	var who []domain.PatientID
	for range perSecond {
		p := w.enroll()
		w.must(w.crc, diary.AssignInstrument{OfPatient: domain.ForPatient(p), Instrument: painDiary, From: "2026-02-03", Until: "2026-03-03"})
		w.must(w.crc, diary.AssignInstrument{OfPatient: domain.ForPatient(p), Instrument: phq9, From: "2026-02-03", Until: "2026-03-03"})
		who = append(who, p)
	}
	broker := &recorder{name: "broker"}
	accepted, took := map[domain.PatientID]time.Time{}, []time.Duration{}
	var mu sync.Mutex
	channel := timed{broker, func(m notify.Message) {
		var a safetyprocesses.AlertMessage
		if json.Unmarshal(m.Payload, &a) == nil && a.Level == 0 { // escalations come by the clock
			mu.Lock()
			defer mu.Unlock()
			if at, ok := accepted[a.Patient]; ok {
				took = append(took, time.Since(at))
			}
		}
	}}
	w.driveThese(slices.DeleteFunc(contexts.Processes(channel), sagas.Process.ByClock)) // nobody misses a diary meanwhile
	w.clock.set(berlin(3, 20, 30, 0))
	b.ResetTimer()
	for range b.N {
		var group sync.WaitGroup
		ticker := time.NewTicker(time.Second / perSecond * 10)
		sent := 0
		for second := range seconds {
			w.clock.set(berlin(3+second, 20, 30, 0))
			for i := 0; i < perSecond; i += 10 {
				<-ticker.C
				for _, p := range who[i : i+10] {
					sent++
					group.Go(func() {
						if second == 0 && i%100 == 0 && p == who[i] { // ten risks
							mu.Lock()
							accepted[p] = time.Now()
							mu.Unlock()
							w.must(w.phone(p), diary.SubmitDiary{OfPatient: domain.ForPatient(p), Instrument: phq9, CapturedAt: berlin(3+second, 20, 0, 0),
								Answers: riskyPHQ9()})
							return
						}
						w.must(w.phone(p), diary.SubmitDiary{OfPatient: domain.ForPatient(p), Instrument: painDiary, CapturedAt: berlin(3+second, 20, 0, 0),
							Answers: diary.Answers{"worst": 3, "least": 1, "average": 2, "now": 2, "rescue": false}})
					})
				}
			}
		}
		group.Wait()
		ticker.Stop()
		b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "diaries/s")
	}
	for range 100 {
		mu.Lock()
		n := len(took)
		mu.Unlock()
		if n >= perSecond/100 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.ReportMetric(float64(len(took)), "alerts")
	percentiles(b, took)
}

// timed calls seen before it hands a message on.
type timed struct {
	notify.Channel
	seen func(notify.Message)
}

func (t timed) Send(ctx context.Context, m notify.Message) error {
	t.seen(m)
	return t.Channel.Send(ctx, m)
}
