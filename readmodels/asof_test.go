package readmodels_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/domain"
	"casebook/domain/refuse"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
	randomisationviews "casebook/readmodels/randomisation"
	studyviews "casebook/readmodels/study"
	supplyviews "casebook/readmodels/supply"

	gocmp "github.com/google/go-cmp/cmp"
)

// Deviations are shown with what was known of them at a moment, and filters are about that.
func TestDeviationsAsOf(t *testing.T) {
	s := connect(t, newDatabase())
	row := func(n int, states ...patientviews.DeviationState) patientviews.DeviationRow {
		r := patientviews.DeviationRow{Header: key(n), Study: "S", Patient: "S.1"}
		for _, state := range states {
			r.DeviationState = state
			r.Past = r.Past.Since(state.RecordedAt, state)
		}
		return r
	}
	at := func(n int, site domain.SiteID, status patientviews.DeviationStatus) patientviews.DeviationState {
		return patientviews.DeviationState{Site: site, Status: status, RecordedAt: minuteOf(n)}
	}
	put(t, s, patientviews.Deviations, row(1, at(0, "A", patientviews.DeviationProposed), at(10, "B", patientviews.DeviationDismissed)))
	put(t, s, patientviews.Deviations, row(2, at(5, "A", patientviews.DeviationProposed)))
	for name, c := range map[string]struct {
		query patientviews.DeviationsQuery
		want  []patientviews.DeviationStatus
	}{
		"now":                    {patientviews.DeviationsQuery{}, []patientviews.DeviationStatus{"dismissed", "proposed"}},
		"before all":             {patientviews.DeviationsQuery{AsOf: minuteOf(0).Add(-time.Second)}, nil},
		"before the second":      {patientviews.DeviationsQuery{AsOf: minuteOf(4)}, []patientviews.DeviationStatus{"proposed"}},
		"before the dismissal":   {patientviews.DeviationsQuery{AsOf: minuteOf(9)}, []patientviews.DeviationStatus{"proposed", "proposed"}},
		"dismissed then":         {patientviews.DeviationsQuery{AsOf: minuteOf(9), Status: "dismissed"}, nil},
		"at a site that it left": {patientviews.DeviationsQuery{AsOf: minuteOf(4), Site: "A"}, nil},
		"at the site of today":   {patientviews.DeviationsQuery{AsOf: minuteOf(9), Site: "B"}, nil},
		"at the dismissal":       {patientviews.DeviationsQuery{AsOf: minuteOf(10), Site: "B"}, []patientviews.DeviationStatus{"dismissed"}},
		"of the patient before":  {patientviews.DeviationsQuery{AsOf: minuteOf(4), Patient: "S.1"}, []patientviews.DeviationStatus{"proposed"}},
	} {
		c.query.Study = "S"
		list, err := patientviews.ListDeviations(t.Context(), everything(s), c.query)
		if err != nil {
			t.Fatal(err)
		}
		var got []patientviews.DeviationStatus
		for _, r := range list.Items {
			got = append(got, r.Status)
		}
		if diff := gocmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A stratum that has entries again was on the list, with the number of that time.
func TestEndingListsAsOf(t *testing.T) {
	s := connect(t, newDatabase())
	l := randomisationviews.EndingList{Header: key(1), Study: "S", Scheme: "list"}
	for n, left := range []int{4, 2, 400} {
		l.EntriesLeft = randomisationviews.EntriesLeft{Remaining: left, Few: left < 10, UpdatedAt: minuteOf(n)}
		l.Past = l.Past.Since(minuteOf(n), l.EntriesLeft)
	}
	put(t, s, randomisationviews.EndingLists, l)
	remaining := func(asOf time.Time) (all []int) {
		list, err := randomisationviews.ListEndingLists(t.Context(), everything(s), randomisationviews.EndingListsQuery{Study: "S", AsOf: asOf})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range list.Items {
			all = append(all, l.Remaining)
		}
		return all
	}
	got := [][]int{remaining(time.Time{}), remaining(minuteOf(-1)), remaining(minuteOf(0)), remaining(minuteOf(1)), remaining(minuteOf(2))}
	if diff := gocmp.Diff([][]int{nil, nil, {4}, {2}, nil}, got); diff != "" {
		t.Error(diff)
	}
}

// The doses that a patient has taken are those that were counted by then, at the site that had given out kits by then.
func TestDosingAsOf(t *testing.T) {
	s := connect(t, newDatabase())
	d := supplyviews.DosingDocument{Header: readmodels.Header{ID: "S.1"}, Patient: "S.1", Study: "S"}
	for n, step := range []supply.DosingStep{
		{What: supply.KitGiven, Kit: "K1", Visit: "week-0", Site: "A", On: "2026-03-01", DosesPerDay: 1},
		{What: supply.KitBack, Kit: "K1", On: "2026-03-11"},
		{What: supply.KitCounted, Kit: "K1", Used: 10},
		{What: supply.KitGiven, Kit: "K2", Visit: "week-4", Site: "B", On: "2026-03-11", DosesPerDay: 1},
		{What: supply.KitCounted, Kit: "K1", Used: 5},
	} {
		d.Take(supplyviews.DosingStep{At: minuteOf(n), DosingStep: step})
	}
	put(t, s, supplyviews.DosingCompliances, d)
	type line struct {
		Percent float64
		Kits    supply.KitNumber
	}
	lines := func(q supplyviews.DosingComplianceQuery) (all []line) {
		q.Study = "S"
		list, err := supplyviews.ListDosing(t.Context(), everything(s), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list.Items {
			of := line{}
			if d.Percent != nil {
				of.Percent = *d.Percent
			}
			for _, in := range d.Intervals {
				for _, k := range in.Kits {
					of.Kits += k.Kit
				}
			}
			all = append(all, of)
		}
		return all
	}
	query := func(n int, site domain.SiteID) supplyviews.DosingComplianceQuery {
		return supplyviews.DosingComplianceQuery{AsOf: minuteOf(n), Site: site}
	}
	got := [][]line{lines(supplyviews.DosingComplianceQuery{}), lines(query(-1, "")), lines(query(1, "")), lines(query(2, "A")),
		lines(query(2, "B")), lines(query(3, "B")), lines(query(3, "A")), lines(query(4, ""))}
	want := [][]line{{{50, "K1K2"}}, nil, {{0, "K1"}}, nil, nil, {{100, "K1K2"}}, nil, {{50, "K1K2"}}}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	then, err := supplyviews.LoadDosing(t.Context(), everything(s), supplyviews.PatientDosingQuery{Patient: "S.1", AsOf: minuteOf(1)})
	if err != nil || then.Percent != nil || len(then.Intervals) != 1 {
		t.Errorf("the patient's doses were %+v (%v)", then, err)
	}
}

func minuteOf(n int) time.Time { return moment(0).Add(time.Duration(n) * time.Minute) }

// livedKit is a kit with a state for each minute.
func livedKit(n int, states ...supplyviews.KitState) supplyviews.Kit {
	k := supplyviews.Kit{KitRow: supplyviews.KitRow{Header: key(n), Kit: supply.KitNumber(fmt.Sprint("K", n)), Study: "S"}}
	for minute, state := range states {
		k.KitState = state
		k.Note(supplyviews.Custody{RecordedAt: minuteOf(minute)})
	}
	return k
}

// A kit is listed where it was, and as it stood.
func TestKitsAsOf(t *testing.T) {
	s := connect(t, newDatabase())
	in := func(location supply.LocationID, status supply.KitStatus) supplyviews.KitState {
		return supplyviews.KitState{Location: location, Status: status}
	}
	put(t, s, supplyviews.KitInventories, livedKit(1,
		in("D", supply.KitRegistered), in("D", supply.KitAvailable), in("D", supply.KitInTransit),
		in("A", supply.KitAvailable), in("A", supply.KitIsAllocated)))
	put(t, s, supplyviews.KitInventories, livedKit(2, in("D", supply.KitRegistered), in("D", supply.KitAvailable)))
	asOf := func(n int) supplyviews.KitsQuery { return supplyviews.KitsQuery{AsOf: minuteOf(n)} }
	at := func(n int, location supply.LocationID, status supply.KitStatus) supplyviews.KitsQuery {
		return supplyviews.KitsQuery{AsOf: minuteOf(n), Location: location, Status: status}
	}
	for name, c := range map[string]struct {
		query supplyviews.KitsQuery
		want  []string
	}{
		"now":                   {supplyviews.KitsQuery{}, []string{"K1 A allocated", "K2 D available"}},
		"before all":            {asOf(-1), nil},
		"registered":            {asOf(0), []string{"K1 D registered", "K2 D registered"}},
		"on its way":            {asOf(2), []string{"K1 D in_transit", "K2 D available"}},
		"in the depot then":     {at(1, "D", ""), []string{"K1 D available", "K2 D available"}},
		"in the depot later":    {at(3, "D", ""), []string{"K2 D available"}},
		"available at the site": {at(3, "A", supply.KitAvailable), []string{"K1 A available"}},
		"allocated only later":  {at(3, "A", supply.KitIsAllocated), nil},
		"after all":             {asOf(9), []string{"K1 A allocated", "K2 D available"}},
	} {
		for _, order := range ordersOf("Kits") {
			c.query.Study, c.query.Sort = "S", order
			got := listed(t, 1, func(k supplyviews.KitRow) string { return fmt.Sprint(k.Kit, " ", k.Location, " ", k.Status) },
				func(p readmodels.Page) (readmodels.List[supplyviews.KitRow], error) {
					p.Sort = order
					c.query.Page = p
					return supplyviews.ListKits(t.Context(), everything(s), c.query)
				})
			if diff := gocmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s, in the order %q: %s", name, order, diff)
			}
		}
	}
}

// What is reconciled later was not, and doses were counted as they were counted then.
func TestReconciliationAsOf(t *testing.T) {
	s := connect(t, newDatabase())
	given := &supplyviews.Given{Patient: "S.1", Site: "A"}
	put(t, s, supplyviews.KitInventories, livedKit(1, supplyviews.KitState{Status: supply.KitAvailable},
		supplyviews.KitState{Status: supply.KitIsDispensed, KitUse: supplyviews.KitUse{Given: given, DispensedOn: "2026-03-01"}},
		supplyviews.KitState{Status: supply.KitIsReturned, KitUse: supplyviews.KitUse{Given: given, DispensedOn: "2026-03-01",
			BackOn: "2026-03-15", Reconciled: 1, Returned: 2, Used: 25, Lost: 1}}))
	sheet := func(q supplyviews.ReconciliationQuery) (all []supplyviews.AccountedKit) {
		q.Study = "S"
		list, err := supplyviews.ListReconciliation(t.Context(), everything(s), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range list.Items {
			all = append(all, supplyviews.AccountedKit{Kit: k.Kit, Patient: k.Patient, Site: k.Site, Reconciled: k.Reconciled,
				AccountedState: supplyviews.AccountedState{Status: k.Status, DispensedOn: k.DispensedOn, BackOn: k.BackOn, Used: k.Used,
					Returned: k.Returned, Lost: k.Lost}})
		}
		return all
	}
	out := supplyviews.AccountedKit{Kit: "K1", Patient: "S.1", Site: "A", AccountedState: supplyviews.AccountedState{
		Status: supply.KitIsDispensed, DispensedOn: "2026-03-01"}}
	back := out
	back.Reconciled, back.AccountedState = true, supplyviews.AccountedState{Status: supply.KitIsReturned, DispensedOn: "2026-03-01",
		BackOn: "2026-03-15", Used: 25, Returned: 2, Lost: 1}
	for name, c := range map[string]struct {
		query supplyviews.ReconciliationQuery
		want  []supplyviews.AccountedKit
	}{
		"now":             {supplyviews.ReconciliationQuery{}, []supplyviews.AccountedKit{back}},
		"nobody's yet":    {supplyviews.ReconciliationQuery{AsOf: minuteOf(0)}, nil},
		"given out":       {supplyviews.ReconciliationQuery{AsOf: minuteOf(1), Site: "A", Patient: "S.1"}, []supplyviews.AccountedKit{out}},
		"counted":         {supplyviews.ReconciliationQuery{AsOf: minuteOf(2), Site: "A"}, []supplyviews.AccountedKit{back}},
		"elsewhere":       {supplyviews.ReconciliationQuery{AsOf: minuteOf(2), Site: "B"}, nil},
		"somebody else's": {supplyviews.ReconciliationQuery{AsOf: minuteOf(2), Patient: "S.2"}, nil},
	} {
		if diff := gocmp.Diff(c.want, sheet(c.query)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		list, err := supplyviews.ListAccountabilityByPatient(t.Context(), everything(s), supplyviews.AccountabilityByPatientQuery{Study: "S",
			Site: c.query.Site, AsOf: c.query.AsOf})
		if c.query.Patient != "" && len(c.want) == 0 {
			continue // it has no filter by patient
		}
		sums := supplyviews.PatientAccountability{}
		for _, p := range list.Items {
			sums.Allocated, sums.Returned, sums.Used, sums.Lost = sums.Allocated+p.Allocated, sums.Returned+p.Returned, sums.Used+p.Used,
				sums.Lost+p.Lost
		}
		for _, k := range c.want {
			sums.Allocated, sums.Returned, sums.Used, sums.Lost = sums.Allocated-1, sums.Returned-k.Returned, sums.Used-k.Used, sums.Lost-k.Lost
		}
		if err != nil || sums != (supplyviews.PatientAccountability{}) {
			t.Errorf("%s: by patient, it is another %+v (%v)", name, sums, err)
		}
	}
}

// A green light that was withdrawn was there.
func TestShippingApprovalsAsOf(t *testing.T) {
	s := connect(t, newDatabase())
	a := supplyviews.ShippingApproval{Header: key(1), Study: "S", Site: "A"}
	for n, status := range []supplyviews.ApprovalStatus{supplyviews.ShippingIsApproved, supplyviews.ShippingIsWithdrawn} {
		a.ApprovalState = supplyviews.ApprovalState{Status: status, At: minuteOf(n)}
		a.Remember()
	}
	put(t, s, supplyviews.ShippingApprovals, a)
	lights := func(q supplyviews.ShippingApprovalsQuery) (all []supplyviews.ApprovalStatus) {
		q.Study = "S"
		list, err := supplyviews.ListShippingApprovals(t.Context(), everything(s), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list.Items {
			all = append(all, a.Status)
		}
		return all
	}
	got := [][]supplyviews.ApprovalStatus{lights(supplyviews.ShippingApprovalsQuery{}),
		lights(supplyviews.ShippingApprovalsQuery{AsOf: minuteOf(-1)}),
		lights(supplyviews.ShippingApprovalsQuery{AsOf: minuteOf(0), Site: "A", Status: "approved"}),
		lights(supplyviews.ShippingApprovalsQuery{AsOf: minuteOf(0), Status: "withdrawn"}),
		lights(supplyviews.ShippingApprovalsQuery{AsOf: minuteOf(1), Status: "withdrawn"}),
		lights(supplyviews.ShippingApprovalsQuery{AsOf: minuteOf(1), Site: "B"})}
	if diff := gocmp.Diff([][]supplyviews.ApprovalStatus{{"withdrawn"}, nil, {"approved"}, nil, {"withdrawn"}, nil}, got); diff != "" {
		t.Error(diff)
	}
}

// askers are asked about the past below. They see the study as a whole, with patients or without, or single sites.
var askers = map[string][]user.Grant{
	"data manager":        {{Role: user.DataManager, Study: "S"}},
	"supply manager":      {{Role: user.SupplyManager, Study: "S"}},
	"unblinded":           {{Role: user.UnblindedSupplyManager, Study: "S"}},
	"coordinator of A":    {{Role: user.CRC, Study: "S", Site: "A"}},
	"monitor of A and B":  {{Role: user.Monitor, Study: "S", Site: "A"}, {Role: user.Monitor, Study: "S", Site: "B"}},
	"of another study":    {{Role: user.DataManager, Study: "T"}},
	"supplier who visits": {{Role: user.SupplyManager, Study: "S"}, {Role: user.Monitor, Study: "S", Site: "A"}},
}

// mayKnow says whether an asker may read clinical data at a site, or in the whole study.
func mayKnow(asker string, site domain.SiteID) bool {
	return slices.ContainsFunc(askers[asker], func(g user.Grant) bool {
		return g.Study == "S" && (g.Site == "" || g.Site == site) && slices.Contains(access.ClinicalReaders, g.Role)
	})
}

// maySee says whether an asker has one of the roles at a site, or in the whole study.
func maySee(asker string, roles access.Permission, site domain.SiteID) bool {
	return slices.ContainsFunc(askers[asker], func(g user.Grant) bool {
		return g.Study == "S" && (g.Site == "" || g.Site == site) && slices.Contains(roles, g.Role)
	})
}

// engineOf answers queries from the documents in a store.
func engineOf(t *testing.T, s *readmodels.Store) *readmodels.Engine {
	t.Helper()
	for _, v := range contexts.Views() {
		if err := s.SaveCheckpoint(t.Context(), readmodels.Checkpoint{Collection: v.Collection(), View: v.Name, Version: v.Version,
			State: readmodels.Live}); err != nil {
			t.Fatal(err)
		}
	}
	return readmodels.NewEngine(readmodels.EngineOptions{Store: s, Queries: contexts.Queries()})
}

// asked asks as an adversary does, with what a request can have. The answer is the zero value where she is refused.
func asked[A any](t *testing.T, engine *readmodels.Engine, asker, query string, given map[string]string) (answer A, refused bool) {
	t.Helper()
	question := readmodels.Question{Query: query, Path: map[string]string{"study": "S"}, Given: map[string][]string{},
		Caller: readmodels.Caller{Principal: access.Principal{User: "eve", Grants: askers[asker]}}}
	for name, value := range given {
		if value != "" {
			question.Given[name] = []string{value}
		}
	}
	is, err := engine.Answer(t.Context(), question)
	if r, ok := refuse.As(err); ok && (r.Code == "not_allowed" || r.Code == "value_missing") {
		return answer, true
	} else if err != nil {
		t.Fatal(err)
	}
	return is.(A), false //nolint:forcetypeassert // the answer of the query
}

// moves are kits and patients that were moved between a depot and two sites.
type moves struct {
	engine   *readmodels.Engine
	patients []patientviews.PatientRow
	kits     []supplyviews.Kit
}

const minutesOfMoves = 6

var places = []supply.LocationID{"D", "A", "B"}

func movedAtRandom(t *testing.T, s *readmodels.Store) (m moves) {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same on every run
	for n := range 5 {
		id := domain.PatientID(fmt.Sprint("S.", n))
		p := patientviews.PatientRow{Header: readmodels.Header{ID: string(id)}, Patient: id, Study: "S"}
		for minute := range minutesOfMoves {
			if minute == 0 || random.IntN(4) == 0 {
				p.Site = domain.SiteID(places[1+random.IntN(2)])
				p.Sites = p.Sites.Since(minuteOf(minute), p.Site)
			}
		}
		m.patients = append(m.patients, p)
		put(t, s, patientviews.PatientLists, p)
	}
	for n := range 40 {
		var states []supplyviews.KitState
		var is supplyviews.KitState
		for range minutesOfMoves {
			is.Location, is.Status = places[random.IntN(3)], statuses[random.IntN(len(statuses))]
			if is.Patient == "" && random.IntN(3) == 0 {
				is.Patient = m.patients[random.IntN(len(m.patients))].Patient
			}
			if is.Recalled = is.Patient != "" && random.IntN(2) == 0; is.Recalled {
				is.RecallAction = supply.RecallActions[random.IntN(2)]
			}
			states = append(states, is)
		}
		m.kits = append(m.kits, livedKit(n, states...))
		put(t, s, supplyviews.KitInventories, m.kits[n])
	}
	m.engine = engineOf(t, s)
	return m
}

// question is what is asked about the past.
type question struct {
	asker  string
	moment time.Time
	place  supply.LocationID
	status supply.KitStatus
	action supply.RecallAction
}

// listed returns the lines of a list of kits, which asks for the place by a name of its own.
func (m moves) listed(t *testing.T, query, place string, q question) (lines []string, refused bool) {
	t.Helper()
	given := map[string]string{"asOf": q.moment.Format(time.RFC3339), place: string(q.place), "status": string(q.status)}
	if q.action != "" {
		given["action"] = string(q.action)
	}
	list, refused := asked[readmodels.List[supplyviews.KitRow]](t, m.engine, q.asker, query, given)
	for _, k := range list.Items {
		lines = append(lines, lineOf(k.Kit, k.KitState))
	}
	return lines, refused
}

func lineOf(of supply.KitNumber, is supplyviews.KitState) string {
	return fmt.Sprint(of, " ", is.Location, " ", is.Status, " ", is.Patient, " ", is.RecallAction)
}

// shown are the lines of kits that satisfied a condition at the moment. Their patients are left out where somebody may not know them.
func (m moves) shown(q question, keep, knows func(was, is supplyviews.KitState) bool) (lines []string) {
	for _, k := range m.kits {
		was, some := k.Past.At(q.moment)
		if !some || q.status != "" && was.Status != q.status || !keep(was, k.KitState) {
			continue
		}
		if !knows(was, k.KitState) {
			was.Patient, was.RecallAction = "", ""
		}
		lines = append(lines, lineOf(k.Kit, was))
	}
	return lines
}

// recalled are the lines that a list of recalled kits should have.
func (m moves) recalled(q question) []string {
	knows := func(supplyviews.KitState, supplyviews.KitState) bool { return mayKnow(q.asker, domain.SiteID(q.place)) }
	return m.shown(q, func(was, is supplyviews.KitState) bool {
		return was.Recalled && (q.action == "" || was.RecallAction == q.action && knows(was, is)) &&
			(q.place == "" || slices.ContainsFunc(m.patients, func(p patientviews.PatientRow) bool {
				there, _ := p.Sites.At(q.moment)
				return p.Patient == was.Patient && there == p.Site && string(p.Site) == string(q.place)
			}))
	}, knows)
}

// TestNobodyIsShownThePastOfOthers compares what everybody is shown of any moment with what a model of the rules shows: to people who are
// bound to sites, what was and is there, and patients to readers of clinical data alone, of where the kit was and of where it is.
func TestNobodyIsShownThePastOfOthers(t *testing.T) {
	m := movedAtRandom(t, connect(t, newDatabase()))
	lines := map[string]int{}
	compare := func(q question, what string, want, got any, refused, allowed bool) {
		t.Helper()
		if refused == allowed {
			t.Errorf("%s of %+v: refused %v", what, q, refused)
		}
		if diff := gocmp.Diff(want, got); allowed && diff != "" {
			t.Errorf("%s of %+v: %s", what, q, diff)
		}
	}
	ask := func(q question) {
		sees := func(place supply.LocationID) bool { return maySee(q.asker, access.StudyMembers, domain.SiteID(place)) }
		if q.action == "" {
			want := m.shown(q, func(was, is supplyviews.KitState) bool {
				return (q.place == "" || was.Location == q.place) && sees(is.Location)
			}, func(was, is supplyviews.KitState) bool {
				return mayKnow(q.asker, domain.SiteID(was.Location)) && mayKnow(q.asker, domain.SiteID(is.Location))
			})
			got, refused := m.listed(t, "Kits", "location", q)
			compare(q, "kits", want, got, refused, sees(q.place))
			lines["kits "+q.asker] += len(got)
		}
		allowed := maySee(q.asker, access.To(access.ClinicalReaders, access.UnblindedSupply), domain.SiteID(q.place))
		got, refused := m.listed(t, "RecalledKits", "site", q)
		compare(q, "recalled kits", m.recalled(q), got, refused, allowed)
		lines["recalled "+q.asker] += len(got)
	}
	for asker := range askers {
		for minute := -1; minute <= minutesOfMoves; minute++ {
			q := question{asker: asker, moment: minuteOf(minute)}
			want, got, refused := m.counted(t, q)
			compare(q, "accountability", want, got, refused, asker != "of another study")
			for _, q.place = range append(places, "") {
				for _, q.status = range []supply.KitStatus{statuses[0], ""} {
					for _, q.action = range []supply.RecallAction{supply.RecallActions[0], ""} {
						ask(q)
					}
				}
			}
		}
		some := map[string]bool{"kits": asker != "of another study", "recalled": asker != "of another study" && asker != "supply manager"}
		for list, any := range some {
			if n := lines[list+" "+asker]; n > 0 != any {
				t.Errorf("%s is shown %d lines of %s", asker, n, list)
			}
		}
	}
}

// counted returns how many kits should stand how, by place, and how many an asker is told to.
func (m moves) counted(t *testing.T, q question) (should, is map[supplyviews.LocationStatus]int, refused bool) {
	t.Helper()
	sees := func(place supply.LocationID) bool { return maySee(q.asker, access.StudyMembers, domain.SiteID(place)) }
	should, is = map[supplyviews.LocationStatus]int{}, map[supplyviews.LocationStatus]int{}
	for _, k := range m.kits {
		if was, some := k.Past.At(q.moment); some && sees(was.Location) && sees(k.Location) {
			should[supplyviews.LocationStatus{Location: was.Location, Status: was.Status}]++
		}
	}
	list, refused := asked[supplyviews.AccountabilityList](t, m.engine, q.asker, "Accountability",
		map[string]string{"asOf": q.moment.Format(time.RFC3339)})
	for _, a := range list.Items {
		for status, n := range a.Statuses {
			is[supplyviews.LocationStatus{Location: a.Location, Status: status}] += n
		}
	}
	return should, is, refused
}

// What was stopped is shown as it was, and to people who are bound to sites nothing of other sites.
func TestPausesAsOf(t *testing.T) {
	s := connect(t, newDatabase())
	o := studyviews.StudyOverview{Header: readmodels.Header{ID: "S"}, Study: "S"}
	some := []study.Activity{study.ActivityScreening, study.ActivityShipping}
	o.SiteOf("A").Pause(minuteOf(0), some[:1], "leave")
	o.SiteOf("A").Pause(minuteOf(1), some[1:], "no room")
	o.SiteOf("B").Pause(minuteOf(2), some[:1], "audit")
	of := o.SuspensionOf("DE", nil)
	of.Activities, of.Reason = some, "customs"
	o.RememberSuspensions(minuteOf(3))
	o.SiteOf("A").Resume(minuteOf(4), some[:1])
	o.SuspensionOf("DE", nil).Activities = nil
	o.DropEndedSuspensions()
	o.RememberSuspensions(minuteOf(5))
	o.SiteOf("A").Resume(minuteOf(6), some[1:])
	put(t, s, studyviews.StudyOverviews, o)
	engine := engineOf(t, s)
	both, audit, customs := "A[screening shipping]no room1m0s", "B[screening]audit2m0s", "DE[screening shipping]customs"
	less := "A[shipping]no room1m0s"
	stopped := map[int][]string{-1: nil, 0: {"A[screening]leave0s"}, 1: {both}, 2: {both, audit}, 3: {customs, both, audit},
		4: {customs, less, audit}, 5: {less, audit}, 6: {audit}}
	ask := func(asker string, minute int, given map[string]string) {
		p, refused := asked[studyviews.Pauses](t, engine, asker, "Pauses", given)
		if refused != (asker == "of another study") {
			t.Errorf("%s is refused %v", asker, refused)
		}
		var got, want []string
		for _, of := range p.Suspended {
			got = append(got, fmt.Sprint(of.Country, of.Activities, of.Reason))
		}
		for _, of := range p.Sites {
			got = append(got, fmt.Sprint(of.Site, of.Activities, of.Reason, of.Since.Sub(minuteOf(0))))
		}
		for _, line := range stopped[minute] {
			if site, _, _ := strings.Cut(line, "["); !refused && (site == "DE" || maySee(asker, access.StudyMembers, domain.SiteID(site))) {
				want = append(want, line)
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("%s at %d: %s", asker, minute, diff)
		}
	}
	for asker := range askers {
		for minute := range stopped {
			ask(asker, minute, map[string]string{"asOf": minuteOf(minute).Format(time.RFC3339)})
		}
		ask(asker, 6, nil)
	}
}

// A kit that changed too often for its history is listed before the first state that is remembered, as one of which nothing is known.
func TestKitsWhoseStateIsForgotten(t *testing.T) {
	s := connect(t, newDatabase())
	row := func(n, changes int) supplyviews.KitRow {
		k := supplyviews.KitRow{Header: key(n), Study: "S", Kit: supply.KitNumber(fmt.Sprint("K", n))}
		for i := range changes {
			k.KitState = supplyviews.KitState{Location: "A", Status: supply.KitAvailable, UpdatedAt: minuteOf(i)}
			k.Past = k.Past.Since(minuteOf(i), k.KitState)
		}
		return k
	}
	put(t, s, supplyviews.KitInventories, row(1, 120), row(2, 30))
	for name, c := range map[string]struct {
		query supplyviews.KitsQuery
		want  string
	}{
		"before the first that is remembered": {supplyviews.KitsQuery{AsOf: minuteOf(5)}, "[K1: true K2:available false]"},
		"from the first on":                   {supplyviews.KitsQuery{AsOf: minuteOf(20)}, "[K1:available false K2:available false]"},
		"where it is said to be first":        {supplyviews.KitsQuery{AsOf: minuteOf(5), Location: "A"}, "[K1: true K2:available false]"},
		"elsewhere":                           {supplyviews.KitsQuery{AsOf: minuteOf(5), Location: "B"}, "[]"},
		"with its first status":               {supplyviews.KitsQuery{AsOf: minuteOf(5), Status: supply.KitIsDispensed}, "[]"},
	} {
		c.query.Study = "S"
		list, err := supplyviews.ListKits(t.Context(), everything(s), c.query)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, k := range list.Items {
			got = append(got, fmt.Sprintf("%s:%s %t", k.Kit, k.Status, k.Unknown))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
	sums, err := supplyviews.ListAccountability(t.Context(), everything(s), supplyviews.AccountabilityQuery{Study: "S", AsOf: minuteOf(5)})
	if err != nil || fmt.Sprint(sums.Items) != "[{A 2 map[available:1 unknown:1]}]" {
		t.Errorf("the sums are %v, %v", sums.Items, err)
	}
}
