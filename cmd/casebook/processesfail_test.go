package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/enrollment"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/process"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/embedded/node/clustertest"
	"casebook/embedded/storetest"
	"casebook/eventlog"
	"casebook/readmodels"
	diaryviews "casebook/readmodels/diary"
	patientviews "casebook/readmodels/patient"
	"casebook/sagas"
)

// trialRun is how a run with failing processes is sized. CASEBOOK_TEST_PROCESSES=10m makes it longer, and CASEBOOK_TEST_SEED
// repeats the faults of another run.
type trialRun struct {
	duration     time.Duration
	seed         uint64
	election     time.Duration
	writeTimeout time.Duration
	phones       int
	coordinators int
	// between is the mean time between two faults of the cluster, and between two of the processes.
	between time.Duration
	// frozen is the longest time for which a process is frozen.
	frozen time.Duration
	kits   int
}

func sizedRun(t *testing.T) trialRun {
	t.Helper()
	r := trialRun{duration: 20 * time.Second, seed: rand.Uint64(), election: 500 * time.Millisecond, writeTimeout: 500 * time.Millisecond,
		phones: 6, coordinators: 2, between: 3 * time.Second, frozen: 4 * time.Second, kits: 300}
	if given := os.Getenv("CASEBOOK_TEST_PROCESSES"); given != "" {
		var err error
		if r.duration, err = time.ParseDuration(given); err != nil {
			t.Fatal(err)
		}
		r.election, r.writeTimeout = 2*time.Second, 2*time.Second
		r.phones, r.coordinators, r.between, r.frozen, r.kits = 16, 3, 5*time.Second, 20*time.Second, 2_900
	}
	if given := os.Getenv("CASEBOOK_TEST_SEED"); given != "" {
		var err error
		if r.seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestProcessesAndLeadersFailUnderLoad runs three processes of each role on a cluster of three nodes and one MongoDB. Phones
// submit diaries, coordinators enrol patients into a randomised study with kits, and people change sites and accounts. Leaders
// are killed, stopped, frozen, cut off and moved meanwhile, and processes are killed, frozen, stopped and started again. In the end
// nothing acknowledged is lost or recorded twice, nothing that is allowed was refused, no process has ended by itself, every
// enrolment has ended with one place, one arm and one kit, and all views equal a fresh fold.
func TestProcessesAndLeadersFailUnderLoad(t *testing.T) {
	r := sizedRun(t)
	t.Logf("seed %d", r.seed)
	tr := newTrial(t, r)
	tr.setUp()

	stalls := measureStalls(t)
	loaded, stop := context.WithCancel(t.Context())
	patience, cancel := context.WithTimeout(t.Context(), r.duration+3*time.Minute)
	defer cancel()
	var load, faults sync.WaitGroup
	tr.load(loaded, patience, &load)
	faulty, heal := context.WithTimeout(t.Context(), r.duration)
	defer heal()
	faults.Go(func() { tr.fleet.probe(loaded) })
	faults.Go(func() { tr.failLeaders(faulty) })
	faults.Go(func() { tr.failProcesses(faulty) })
	<-faulty.Done()
	time.Sleep(2 * time.Second) // the load goes on while everything comes back
	stop()
	load.Wait()
	faults.Wait()
	allowed := silenceBeyond + stalls()

	if err := tr.fleet.awaitServing(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := tr.fleet.awaitReady(t.Context(), 2*time.Minute); err != nil {
		t.Error(err)
	}
	tr.awaitEnrolled()
	tr.checkViews()
	if err := tr.fleet.stopAll(); err != nil {
		t.Error(err)
	}
	tr.checkLog()
	tr.report(allowed)
}

// trial is one run: a study that goes on while leaders and processes fail.
type trial struct {
	trialRun
	*ledger
	t       *testing.T
	cluster *clustertest.Cluster
	mongo   string
	keys    string
	sign    func(domain.UserID) string

	mu       sync.Mutex
	patients []domain.PatientID
	// requested holds when each patient's enrolment was acknowledged, and diaries the answer "worst" of each acknowledged one.
	requested map[domain.PatientID]time.Time
	diaries   map[domain.PatientID]map[string]int
	slowest   time.Duration // enrolment
	faults    map[string]int
	happened  []leaderFault
	// notShown are queries that did not show what they were asked to wait for.
	notShown []string
	shown    int
}

// leaderFault is something that happened to the leader.
type leaderFault struct {
	what       string
	begin, end time.Time
	election   time.Duration
}

const trialStudy = domain.StudyID("F1")

// The diaries of a patient begin on firstDay, so long ago that no phone comes to the last window.
const firstDay, lastDay = domain.Date("2016-02-01"), domain.Date("2026-01-01")

func newTrial(t *testing.T, r trialRun) *trial {
	t.Helper()
	tr := &trial{trialRun: r, t: t, requested: map[domain.PatientID]time.Time{}, diaries: map[domain.PatientID]map[string]int{},
		faults: map[string]int{}}
	tr.cluster = clustertest.Run(t, clustertest.Options{Election: r.election, WriteTimeout: r.writeTimeout})
	url, stop, err := storetest.Mongo(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	tr.mongo, tr.keys = url, t.TempDir()
	for _, name := range []string{tokenKeyFile, blindingKeyFile} {
		if _, err := access.LoadOrCreateKey(filepath.Join(tr.keys, name)); err != nil {
			t.Fatal(err)
		}
	}
	tokens, err := loadTokens(filepath.Join(tr.keys, tokenKeyFile), false)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	signed, fresh := map[domain.UserID]string{}, signedInAs(tokens, 12*time.Hour)
	tr.sign = func(u domain.UserID) string {
		mu.Lock()
		defer mu.Unlock()
		if signed[u] == "" {
			if signed[u], err = fresh(u); err != nil {
				t.Error(err)
			}
		}
		return signed[u]
	}
	tr.ledger = newLedger(newFleet(t, 3, "--eventstore", tr.cluster.URL(), "--mongo", url,
		"--key-file", filepath.Join(tr.keys, tokenKeyFile), "--blinding-key-file", filepath.Join(tr.keys, blindingKeyFile)))
	t.Cleanup(tr.client.CloseIdleConnections)
	if err := tr.fleet.awaitServing(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	return tr
}

// openLog connects to the log.
func (tr *trial) openLog() *eventlog.Log {
	tr.t.Helper()
	keys, err := blindingKeysIn(filepath.Join(tr.keys, blindingKeyFile), "", "")
	if err != nil {
		tr.t.Fatal(err)
	}
	log, err := eventlog.Connect(tr.t.Context(),
		eventlog.Options{URL: tr.cluster.NodeURL(), Registry: contexts.Registry(), BlindingKeys: keys})
	if err != nil {
		tr.t.Fatal(err)
	}
	return log
}

// setUp makes administrators, a randomised study with kits and a diary, and the first patients.
func (tr *trial) setUp() {
	tr.t.Helper()
	log := tr.openLog()
	handler := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Build: buildID()})
	err := (&server{handler: handler}).bootstrapAdmins(tr.t.Context(), "a password for a test")
	if err := errors.Join(err, log.Close()); err != nil {
		tr.t.Fatal(err)
	}
	in := installation{t: tr.t, url: tr.fleet.url()}
	admin, deputy := tr.sign(demoAdmin), tr.sign(demoDeputy)
	for name, grant := range map[domain.UserID]user.Grant{
		"manager": {Role: user.DataManager, Study: trialStudy}, "crc": {Role: user.CRC, Study: trialStudy, Site: "01"},
		"dr":       {Role: user.Investigator, Study: trialStudy, Site: "01"},
		"supplier": {Role: user.UnblindedSupplyManager, Study: trialStudy}, "statistician": {Role: user.Statistician, Study: trialStudy},
	} {
		in.must(admin, user.RegisterUser{OfUser: domain.ForUser(name), Name: string(name)})
		in.must(admin, user.GrantRole{OfUser: domain.ForUser(name), Grant: grant})
		if grant.Role.NeedsTwoPeople() {
			in.must(deputy, user.ConfirmAccount{OfUser: domain.ForUser(name)})
			in.must(deputy, user.ConfirmRole{OfUser: domain.ForUser(name), Grant: grant})
		}
	}
	inStudy := domain.ForStudy(trialStudy)
	for _, command := range []any{
		study.CreateStudy{InStudy: inStudy, Title: "x", Sponsor: "y"},
		study.PublishProtocolVersion{InStudy: inStudy, Protocol: study.Protocol{
			Version: 1, ConsentVersion: "1", Arms: []study.Arm{{ID: "X"}, {ID: "Y"}}, Visits: []study.Visit{{ID: "first"}},
			Instruments: []instrument.Definition{*instrument.PainDiary()},
			Treatment: &study.Treatment{
				Randomised: true, Kits: true, Factors: []study.Factor{{ID: "age", Levels: []string{"young", "old"}}},
			},
		}},
		study.AddSite{AtSite: domain.ForSite(inStudy.Study, "01"), Name: "Site", Country: "DE", Zone: "UTC"},
		study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, "01"), On: firstDay},
		enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 50, Study: 5_000}},
	} {
		in.must(tr.sign("manager"), command)
	}
	minimise(in, trialStudy, tr.sign("statistician"))
	supplySite(in, trialStudy, tr.sign("supplier"), tr.sign("crc"), tr.kits)
	patience, cancel := context.WithTimeout(tr.t.Context(), time.Minute)
	defer cancel()
	var wait sync.WaitGroup
	for i := range tr.phones {
		wait.Go(func() { tr.enrol(patience, fmt.Sprintf("P%d", i)) })
	}
	wait.Wait()
	if len(tr.patients) < tr.phones {
		tr.t.Fatalf("%d of the first %d patients were enrolled: %v", len(tr.patients), tr.phones, tr.wrong)
	}
}

// phoneOf names the account of a patient.
func phoneOf(who domain.PatientID) domain.UserID {
	return domain.UserID("phone." + strings.ToLower(string(who)))
}

// enrol screens a patient, records the consent, and asks for the enrolment. It waits a while for its end, and assigns the diary.
func (tr *trial) enrol(patience context.Context, number string) {
	who, crc := domain.NewPatientID(trialStudy, number), tr.sign("crc")
	of := domain.ForPatient(who)
	var last receipt
	for _, command := range []any{
		patient.ScreenPatient{AtSite: domain.ForSite(trialStudy, "01"), ScreeningNumber: number, On: firstDay},
		patient.RecordConsent{OfPatient: of, ConsentVersion: "1", On: firstDay},
		patient.EnrollPatient{OfPatient: of, On: firstDay, Factors: map[string]string{"age": []string{"young", "old"}[rand.IntN(2)]}},
	} {
		var accepted bool
		if last, accepted = tr.send(patience, crc, number+"/"+commandName(command), command); !accepted {
			return
		}
	}
	requested := time.Now()
	tr.mu.Lock()
	tr.requested[who] = requested
	tr.mu.Unlock()
	for tr.statusOf(patience, who, last.Position) != patient.StatusEnrolled {
		if patience.Err() != nil || time.Since(requested) > 30*time.Second {
			return // awaitEnrolled looks at it again
		}
		time.Sleep(50 * time.Millisecond)
	}
	tr.mu.Lock()
	tr.slowest = max(tr.slowest, time.Since(requested))
	tr.mu.Unlock()
	phone := domain.ForUser(phoneOf(who))
	for _, command := range []any{
		user.RegisterUser{OfUser: phone, Name: string(phoneOf(who))},
		user.GrantRole{OfUser: phone, Grant: user.Grant{Role: user.PatientRole, Study: trialStudy, Patient: who}},
	} {
		if _, accepted := tr.send(patience, tr.sign(demoAdmin), number+"/"+commandName(command), command); !accepted {
			return
		}
	}
	for _, command := range []any{
		diary.AssignInstrument{OfPatient: of, Instrument: "pain-diary", From: firstDay, Until: lastDay, On: firstDay},
		patient.RecordVisit{OfPatient: of, Visit: "first", On: firstDay},
	} {
		if _, accepted := tr.send(patience, crc, number+"/"+commandName(command), command); !accepted {
			return
		}
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.patients = append(tr.patients, who)
	tr.diaries[who] = map[string]int{}
}

// statusOf returns a patient's status; empty if the query was not answered.
func (tr *trial) statusOf(ctx context.Context, who domain.PatientID, position uint64) patient.Status {
	var v patientviews.PatientDocument
	tr.get(ctx, tr.sign("crc"), "/api/v1/patients/"+string(who), position, &v)
	return v.Status
}

// load lets people work until loaded ends. What they have begun then is answered for as long as patience lasts.
func (tr *trial) load(loaded, patience context.Context, wait *sync.WaitGroup) {
	for _, who := range slices.Clone(tr.patients) {
		wait.Go(func() { tr.phone(loaded, patience, who) })
	}
	for i := range tr.coordinators {
		wait.Go(func() {
			for n := 0; loaded.Err() == nil; n++ {
				tr.enrol(patience, fmt.Sprintf("C%d-%d", i, n))
				pause(loaded, time.Duration(rand.IntN(3000))*time.Millisecond)
			}
		})
	}
	wait.Go(func() {
		for n := 0; loaded.Err() == nil; n++ {
			tr.manage(patience, n)
			pause(loaded, time.Duration(rand.IntN(2000))*time.Millisecond)
		}
	})
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// phone submits one diary after the other. A few of them are corrected, and for a few a query has to show what was acknowledged.
func (tr *trial) phone(loaded, patience context.Context, who domain.PatientID) {
	crc, dr, of, asked := tr.sign("crc"), tr.sign("dr"), domain.ForPatient(who), 0
	for day := firstDay; loaded.Err() == nil; day = day.AddDays(1) {
		worst := 1 + rand.IntN(7)
		if rand.IntN(50) == 0 {
			worst = 9 // raises an alert
		}
		at, err := time.Parse(time.RFC3339, string(day)+"T20:30:00Z")
		if err != nil {
			tr.t.Error(err)
			return
		}
		r, accepted := tr.send(patience, tr.sign(phoneOf(who)), string(who)+string(day), diary.SubmitDiary{OfPatient: of,
			Instrument: "pain-diary", CapturedAt: at, Zone: "UTC", Answers: diary.Answers{"worst": worst, "least": 1, "average": 1,
				"now": 1, "rescue": false}})
		window := string(day) + "/evening"
		if accepted && rand.IntN(20) == 0 {
			worst = worst%7 + 1
			r, accepted = tr.send(patience, crc, string(who)+string(day)+"/ask", diary.AskDiaryCorrection{OfPatient: of,
				Instrument: "pain-diary", Window: window, Answers: diary.Answers{"worst": worst}, Reasoned: domain.Because("mistyped")})
			if accepted {
				asked++
				r, accepted = tr.send(patience, dr, string(who)+string(day)+"/correct", diary.CorrectDiary{OfPatient: of, Request: asked,
					Reasoned: domain.Because("the source says so")})
			}
		}
		if !accepted {
			return
		}
		tr.mu.Lock()
		tr.diaries[who][window] = worst
		tr.mu.Unlock()
		if rand.IntN(10) == 0 {
			tr.checkShown(loaded, who, window, r.Position)
		}
		pause(loaded, time.Duration(rand.IntN(200))*time.Millisecond)
	}
}

// checkShown asks for the newest diary. An answer has to show what was recorded up to the position.
func (tr *trial) checkShown(ctx context.Context, who domain.PatientID, window string, position uint64) {
	var page readmodels.List[diaryviews.Diary]
	path := fmt.Sprintf("/api/v1/patients/%s/diaries?limit=1&sort=newest", who)
	status := tr.get(ctx, tr.sign("crc"), path, position, &page)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if status != 200 {
		tr.faults[fmt.Sprintf("query answered %d", status)]++
		return
	}
	tr.shown++
	if len(page.Items) != 1 || page.Items[0].Window != window {
		tr.notShown = append(tr.notShown, fmt.Sprintf("%s of %s at %d: %+v", window, who, position, page.Items))
	}
}

// manage changes sites, caps and accounts, as people do.
func (tr *trial) manage(patience context.Context, n int) {
	inStudy, nurse := domain.ForStudy(trialStudy), domain.UserID(fmt.Sprintf("nurse.%d", n))
	site, grant := domain.SiteID(fmt.Sprintf("S%d", n)), user.Grant{Role: user.CRC, Study: trialStudy, Site: "01"}
	for _, c := range []struct {
		who     domain.UserID
		command any
	}{
		{"manager", study.AddSite{AtSite: domain.ForSite(inStudy.Study, site), Name: "Site", Country: "DE", Zone: "UTC"}},
		{"manager", study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, site), On: firstDay}},
		{"manager", enrollment.SetEnrollmentTarget{InStudy: inStudy, Caps: enrollment.Caps{Target: 51 + n, Study: 5_000}}},
		{demoAdmin, user.RegisterUser{OfUser: domain.ForUser(nurse), Name: string(nurse)}},
		{demoAdmin, user.GrantRole{OfUser: domain.ForUser(nurse), Grant: grant}},
		{demoAdmin, user.RevokeRole{OfUser: domain.ForUser(nurse), Grant: grant, Reasoned: domain.Because("left")}},
	} {
		if _, accepted := tr.send(patience, tr.sign(c.who), fmt.Sprintf("manage/%d/%s", n, commandName(c.command)), c.command); !accepted {
			return
		}
	}
}

// failLeaders lets something happen to the cluster's leader again and again. All nodes are well when it returns.
func (tr *trial) failLeaders(ctx context.Context) {
	random := rand.New(rand.NewPCG(tr.seed, 1))
	var kinds []int
	for ctx.Err() == nil {
		if len(kinds) == 0 {
			kinds = random.Perm(6) // each kind comes once before one comes again
		}
		pause(ctx, tr.between/2+time.Duration(random.Int64N(int64(tr.between))))
		if ctx.Err() != nil {
			return
		}
		f := leaderFault{begin: time.Now()}
		leader, err := tr.cluster.AwaitLeader(tr.t.Context())
		if err != nil {
			tr.t.Error(err)
			return
		}
		followers := tr.cluster.Followers()
		lagging := followers[random.IntN(2)]
		lagging.StopReplicating()
		back := func() error { return nil }
		kind := kinds[0]
		kinds = kinds[1:]
		switch kind {
		case 0:
			f.what = "leader killed"
			leader.Kill()
			back = leader.Restart
		case 1:
			f.what = "leader frozen"
			leader.Freeze()
			back = leader.Thaw
		case 2:
			f.what = "leader cut off"
			leader.CutOff()
			back = leader.Rejoin
		case 3:
			f.what = "leader moved"
			tr.cluster.MoveLeader(followers[random.IntN(2)])
		case 4:
			f.what = "leader stopped"
			leader.Stop()
			back = leader.Restart
		default:
			f.what = "quorum lost"
			for _, m := range followers {
				m.Freeze()
			}
			back = func() error { return errors.Join(followers[0].Thaw(), followers[1].Thaw()) }
			pause(ctx, time.Duration(500+random.IntN(2500))*time.Millisecond)
			lagging.CatchUp()
			err = back()
		}
		before := len(tr.cluster.Elections())
		if _, awaited := tr.cluster.AwaitLeader(tr.t.Context()); awaited != nil {
			err = errors.Join(err, awaited)
		}
		f.end = time.Now()
		for begun := f.end; !tr.acknowledgedAfter(begun) && time.Since(begun) < 30*time.Second; { // that must not need the former leader
			pause(ctx, 10*time.Millisecond)
			if ctx.Err() != nil {
				break
			}
		}
		if all := tr.cluster.Elections(); len(all) > 0 && f.what != "quorum lost" {
			f.election = all[max(0, min(before, len(all)-1))]
		}
		lagging.CatchUp()
		time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		if f.what != "quorum lost" {
			err = errors.Join(err, back())
		}
		if err != nil {
			tr.t.Error(err)
			return
		}
		tr.mu.Lock()
		tr.faults[f.what]++
		tr.happened = append(tr.happened, f)
		tr.mu.Unlock()
	}
}

// failProcesses kills, freezes and stops processes, of which another of the same role goes on, and starts them again. All
// processes run when it returns.
func (tr *trial) failProcesses(ctx context.Context) {
	random := rand.New(rand.NewPCG(tr.seed, 2))
	var wait sync.WaitGroup
	defer wait.Wait()
	busy := make(chan struct{}, 3) // faults at the same time
	var workers []int
	for ctx.Err() == nil {
		if len(workers) == 0 {
			workers = random.Perm(len(tr.fleet.workers)) // the same for processes
		}
		w := tr.fleet.workers[workers[0]]
		workers = workers[1:]
		kind, frozen := random.IntN(3), time.Duration(random.Int64N(int64(tr.frozen)))+time.Second
		away := time.Duration(random.IntN(3000)) * time.Millisecond
		pause(ctx, tr.between/2+time.Duration(random.Int64N(int64(tr.between))))
		if ctx.Err() != nil {
			return
		}
		if !tr.fleet.spare(w) {
			continue
		}
		what := []string{"killed", "frozen", "stopped"}[kind]
		tr.mu.Lock()
		tr.faults[w.role+" process "+what]++
		tr.mu.Unlock()
		busy <- struct{}{}
		wait.Go(func() {
			defer func() { <-busy }()
			switch what {
			case "frozen":
				w.freeze(ctx, frozen)
				return
			case "killed":
				w.kill()
			default:
				w.stop()
			}
			pause(ctx, away)
			w.start()
		})
	}
}

// awaitEnrolled waits until every enrolment that was requested has ended well. An enrolment whose answer was missed asks
// again after a while, so it waits longer than that.
func (tr *trial) awaitEnrolled() {
	tr.t.Helper()
	patience, cancel := context.WithTimeout(tr.t.Context(), sagas.AnswerWithin+2*time.Minute)
	defer cancel()
	late := 0
	for who, requested := range tr.requested {
		first := true
		for tr.statusOf(patience, who, 0) != patient.StatusEnrolled {
			if first {
				first = false
				late++
			}
			if patience.Err() != nil {
				tr.t.Errorf("%s, whose enrolment was requested %s ago, is %q", who, time.Since(requested).Round(time.Second),
					tr.statusOf(tr.t.Context(), who, 0))
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if !first {
			tr.slowest = max(tr.slowest, time.Since(requested))
		}
	}
	tr.t.Logf("%d enrolments, of which %d ended after the load", len(tr.requested), late)
}

// checkViews looks for each acknowledged diary in the views, and compares every view with a fresh fold.
func (tr *trial) checkViews() {
	tr.t.Helper()
	for _, missing := range tr.notShown {
		tr.t.Errorf("not shown: %s", missing)
	}
	patience, cancel := context.WithTimeout(tr.t.Context(), 5*time.Minute)
	defer cancel()
	var newest uint64
	for _, r := range tr.receipts {
		newest = max(newest, r.Position)
	}
	crc, total := tr.sign("crc"), 0
	for who, diaries := range tr.diaries {
		shown := map[string]int{}
		path := fmt.Sprintf("/api/v1/patients/%s/diaries?limit=200", who)
		for next := path; next != ""; {
			var page readmodels.List[diaryviews.Diary]
			if err := tr.ask(patience, crc, next, newest, &page); err != nil {
				tr.t.Fatal(err)
			}
			for _, d := range page.Items {
				shown[d.Window]++
				if worst, acknowledged := diaries[d.Window]; !acknowledged || fmt.Sprint(d.Answers["worst"]) != strconv.Itoa(worst) {
					tr.t.Errorf("%s of %s is shown with %v; acknowledged: %v, with %d", d.Window, who, d.Answers["worst"], acknowledged, worst)
				}
			}
			if next = ""; page.Next != "" {
				next = path + "&cursor=" + page.Next
			}
		}
		for window := range diaries {
			if shown[window] != 1 {
				tr.t.Errorf("%s of %s was acknowledged and is shown %d times", window, who, shown[window])
			}
		}
		total += len(diaries)
	}
	if total < 50 {
		tr.t.Errorf("only %d diaries were acknowledged", total)
	}
	views, documents := contexts.Views(), 0
	for _, view := range views {
		printed := tool(tr.t, exitOK, "projections", "verify", view.Name, "--json", "--eventstore", tr.cluster.URL(), "--mongo", tr.mongo)
		var compared comparison
		if err := json.Unmarshal([]byte(printed), &compared); err != nil {
			tr.t.Fatalf("%v: %s", err, printed)
		}
		if compared.Through.Commit < newest {
			tr.t.Errorf("%s has come to position %d, and %d was acknowledged", view.Name, compared.Through.Commit, newest)
		}
		documents += compared.Documents
	}
	tr.t.Logf("%d views with %d documents equal a fresh fold", len(views), documents)
}

// checkLog compares the log with what was acknowledged, and proves the record as an auditor does.
func (tr *trial) checkLog() {
	tr.t.Helper()
	log := tr.openLog()
	defer func() {
		if err := log.Close(); err != nil {
			tr.t.Error(err)
		}
	}()
	var events []eventlog.Recorded
	(installation{server: &server{log: log}, t: tr.t}).eachEvent(tr.t, func(e eventlog.Recorded) { events = append(events, e) })
	tr.check(tr.t, events)
	places, draws, kits := map[domain.PatientID]int{}, map[domain.PatientID]int{}, map[domain.PatientID]int{}
	confirmed, risks, alerts := map[domain.PatientID]int{}, map[string]bool{}, map[string]int{}
	of := map[supply.KitNumber]domain.PatientID{}
	for _, r := range events {
		switch e := r.Event.(type) {
		case enrollment.PlaceReserved:
			places[e.Patient]++
		case enrollment.PlaceReleased:
			tr.t.Errorf("the place of %s was released", e.Patient)
		case randomisation.PatientRandomised:
			draws[e.Patient]++
		case supply.KitAllocated:
			kits[e.Patient]++
			if other, has := of[e.Kit]; has {
				tr.t.Errorf("kit %s has two patients, %s and %s", e.Kit, other, e.Patient)
			}
			of[e.Kit] = e.Patient
		case patient.Enrolled:
			confirmed[e.Patient]++
		case diary.RiskFlagged:
			risks[r.ID.String()] = true
		case safety.AlertRaised:
			alerts[e.Source]++
		case process.MessageParked:
			tr.t.Errorf("a message of %s was parked: %s of %s@%d: %s", e.Process, e.Type, e.Stream, e.Revision, e.Reason)
		}
	}
	for who := range tr.requested {
		if places[who] != 1 || draws[who] != 1 || kits[who] != 1 || confirmed[who] != 1 {
			tr.t.Errorf("%s has %d places, %d arms, %d kits and %d confirmations, want one of each", who, places[who], draws[who], kits[who],
				confirmed[who])
		}
	}
	for risk := range risks {
		if alerts[risk] != 1 {
			tr.t.Errorf("the risk of event %s raised %d alerts", risk, alerts[risk])
		}
	}
	tr.t.Logf("%d events, %d risks with an alert each", len(events), len(risks))
	tr.t.Log(tool(tr.t, exitOK, "audit", "verify", "--eventstore", tr.cluster.NodeURL(), "--blinding-key-file",
		filepath.Join(tr.keys, blindingKeyFile)))
}

// report prints the figures of the run. It fails if the silence of a fault of the leader was longer than two elections, as its window
// may hold the next fault, by more than is allowed.
func (tr *trial) report(allowed time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var text strings.Builder
	fmt.Fprintf(&text, "%s under faults, seed %d\n", tr.duration, tr.seed)
	fmt.Fprintf(&text, "  acknowledged commands:%s\n", counted(tr.commands))
	fmt.Fprintf(&text, "  sent again until acknowledged: %d; sent to two processes at once: %d\n", tr.again, tr.twins)
	fmt.Fprintf(&text, "  answers after which a command was sent again:%s\n", counted(tr.errors))
	fmt.Fprintf(&text, "  faults:%s\n", counted(tr.faults))
	fmt.Fprintf(&text, "  enrolments: %d, the slowest took %s\n", len(tr.requested), tr.slowest.Round(time.Millisecond))
	fmt.Fprintf(&text, "  queries that waited for a position, and showed it: %d\n", tr.shown)
	fmt.Fprintf(&text, "  slowest start of a process: %s\n", tr.fleet.slowestStart.Round(time.Millisecond))
	begun, over := tr.acknowledged[0], tr.acknowledged[len(tr.acknowledged)-1]
	fmt.Fprintf(&text, "  longest silence: %s\n", tr.silence(begun, over).Round(time.Millisecond))
	kinds, longest := map[string][]leaderFault{}, time.Duration(0)
	for _, f := range tr.happened {
		longest = max(longest, f.election)
		kinds[f.what] = append(kinds[f.what], f)
	}
	for _, what := range []string{"leader killed", "leader frozen", "leader cut off", "leader moved", "leader stopped", "quorum lost"} {
		var election, silence, beyond time.Duration
		for i, f := range kinds[what] {
			s := tr.silence(f.begin, f.end.Add(2*time.Second))
			length := f.election
			if what == "quorum lost" {
				length = f.end.Sub(f.begin)
			}
			if s > length+longest+allowed {
				tr.t.Errorf("%s: the silence was %s, the election (or loss) took %s", what, s, length)
			}
			election, silence = max(election, length), max(silence, s)
			if i == 0 || s-length > beyond {
				beyond = s - length
			}
		}
		fmt.Fprintf(&text, "  %-15s %3d times; longest election (or loss) %s, longest silence %s, at most %s beyond it\n", what, len(kinds[what]),
			election.Round(time.Millisecond), silence.Round(time.Millisecond), beyond.Round(time.Millisecond))
	}
	tr.t.Log(text.String())
}
