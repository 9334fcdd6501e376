package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/supply"
	"casebook/domain/user"
	studyviews "casebook/readmodels/study"
	supplyviews "casebook/readmodels/supply"
)

// TestR27_NoWayOutTellsSupplyManagersOfPatients follows a kit on all ways by which a supply manager hears of it: the stream of
// changes, the answer to a command, and the overview of the study.
func TestR27_NoWayOutTellsSupplyManagersOfPatients(t *testing.T) {
	c := serve(t, nil)
	tr := newOpenTrial(t)
	caughtUp(t, tr.position)
	of := domain.ForPatient(tr.patient)
	for _, who := range []domain.UserID{
		account(t, "supply", user.Grant{Role: user.SupplyManager, Study: tr.study}),
		account(t, "unblinded", user.Grant{Role: user.UnblindedSupplyManager, Study: tr.study}),
	} {
		asker := c.as(who)
		told := func(where, text string) {
			t.Helper()
			if strings.Contains(text, string(tr.patient)) {
				t.Errorf("%s tells %s of the patient: %s", where, who, text)
			}
		}
		stream, readers, of01 := asker.hear(""), c.as(tr.crc).hear(""), asker.hear("?patient="+string(tr.patient))
		tr.send(t, "DEPOT", "01", tr.another(t))
		allocated := do(t, supply.DispenseUnscheduled{Site: "01", OfPatient: of, Reasoned: domain.Because("travels")})
		kit := allocated.Events[len(allocated.Events)-1].Data.(supply.KitAllocated).Kit
		dispensed := do(t, supply.DispenseKit{Site: "01", OfPatient: of, Kit: kit, On: "2026-02-03"})
		readers.until(tr.patient, supplyviews.KitInventories) // readers of clinical data are told
		for heard := false; !heard; {
			m := stream.next()
			told("the stream of changes", m.data)
			for _, change := range m.changes(t).Changes {
				heard = heard || change.Site == "01" && slices.Contains(change.Views, supplyviews.KitInventories.Name) &&
					m.changes(t).Position >= dispensed.Position
			}
		}
		select {
		case m := <-of01.messages:
			t.Errorf("%s, who listens to one patient, is told %+v", who, m)
		default:
		}
		r := asker.command(supply.ReportKitLost{AtLocation: supply.AtLocation{Study: tr.study, Location: "01"}, Kit: kit,
			Reasoned: domain.Because("lost by the patient")})
		if r.StatusCode != http.StatusOK || !strings.Contains(string(r.body), "KitLost") || !strings.Contains(string(r.body), string(kit)) {
			t.Fatalf("answered %d: %s", r.StatusCode, r.body)
		}
		told("the answer to a command", string(r.body))
		overview := asker.get("/api/v1/studies/" + string(tr.study))
		told("the overview", string(overview.body))
		for _, figure := range []string{"diaries", "lateDiaries", "missedWindows", "risks"} {
			if strings.Contains(string(overview.body), `"`+figure+`"`) {
				t.Errorf("the overview tells %s of %s: %s", who, figure, overview.body)
			}
		}
		if o := read[studyviews.StudyOverview](t, overview); o.Figures == nil || o.Figures.Enrolled != 1 {
			t.Errorf("%s sees %s", who, overview.body)
		}
	}
	if r := c.as(tr.crc).get("/api/v1/studies/" + string(tr.study)); !strings.Contains(string(r.body), `"diaries":`) {
		t.Errorf("a coordinator sees %s", r.body)
	}
	lost := c.as(tr.crc).command(supply.ReportKitLost{AtLocation: supply.AtLocation{Study: tr.study, Location: "01"}, Kit: tr.kit,
		Reasoned: domain.Because("not found")})
	if !strings.Contains(string(lost.body), string(tr.patient)) {
		t.Errorf("a coordinator's answer is %s", lost.body)
	}
}

// another registers one more kit at the depot and returns its number.
func (tr trial) another(t *testing.T) supply.KitNumber {
	t.Helper()
	kit := supply.KitNumber("K-" + strings.ReplaceAll(unique("9"), "_", ""))
	registered := do(t, supply.RegisterKits{InStudy: domain.ForStudy(tr.study), Depot: "DEPOT",
		CSV: "kit,arm,lot,expiry,units\n" + string(kit) + ",arm-a,LOT-SECRET,2031-09-09,28\n"})
	do(t, supply.TakeInDelivery{AtDepot: supply.AtDepot{Study: tr.study, Depot: "DEPOT"},
		Delivery: registered.Events[0].Data.(supply.KitsRegistered).Delivery})
	return kit
}
