package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/audit"
	"casebook/domain"
	"casebook/domain/user"
	"casebook/embedded/storetest"
	"casebook/eventlog"
	auditviews "casebook/readmodels/audit"
	projectionviews "casebook/readmodels/projection"
)

// TestAuditVerifyFindsEveryForgery forges events in a running installation with the official client, looks at each way out,
// and verifies the record against the running server and offline.
func TestAuditVerifyFindsEveryForgery(t *testing.T) {
	dir := t.TempDir()
	verify := func(code int) (findings []audit.Finding, summary audit.Summary) {
		t.Helper()
		lines := bufio.NewScanner(strings.NewReader(tool(t, code, "audit", "verify", "--data", dir, "--json")))
		for lines.Scan() {
			if strings.Contains(lines.Text(), `"events":`) {
				if err := json.Unmarshal(lines.Bytes(), &summary); err != nil {
					t.Fatal(err)
				}
				break
			}
			var f audit.Finding
			if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
				t.Fatal(err)
			}
			findings = append(findings, f)
		}
		return findings, summary
	}
	t.Run("running", func(t *testing.T) {
		in := startIn(t, dir)
		admin := in.account("admin", user.Grant{Role: user.Admin})
		mallory := in.account("mallory", user.Grant{Role: user.CRC, Study: "PAIN1", Site: "01"})
		in.account("anna", user.Grant{Role: user.CRC, Study: "PAIN1", Site: "01"})
		if findings, summary := verify(exitOK); len(findings) > 0 || summary.Events == 0 {
			t.Fatalf("a sound record has %+v: %+v", findings, summary)
		}
		metadata, err := json.Marshal(eventlog.Metadata{Actor: "admin", Role: "admin", Reason: "as agreed", Command: "GrantRole",
			CommandID: "0d3c56a0-2f34-4b8e-9b0e-6a1f2f6a9c55", RecordedAt: time.Now().UTC(), Schema: 1, PreviousHash: "bm8="})
		if err != nil {
			t.Fatal(err)
		}
		grant, err := json.Marshal(user.RoleGranted{User: "mallory", Grant: user.Grant{Role: user.Auditor, Study: "PAIN1"}})
		if err != nil {
			t.Fatal(err)
		}
		position, err := storetest.Forge(t.Context(), in.stores.eventStoreURL, "user-mallory", "RoleGranted", grant, metadata)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := storetest.Forge(t.Context(), in.stores.eventStoreURL, "user-anna", "PasswordSet",
			[]byte(`{"digest":"x"}`), nil); err != nil {
			t.Fatal(err)
		}
		// Another program's event is left alone.
		if _, err := storetest.Forge(t.Context(), in.stores.eventStoreURL, "crm-1", "ProcessTimerStarted", []byte(`{}`), nil); err != nil {
			t.Fatal(err)
		}
		last := in.must(admin, user.RegisterUser{OfUser: domain.ForUser("other"), Name: "Other"})

		var trail struct{ Items []auditviews.AuditEvent }
		in.query(admin, "/api/v1/audit/accounts/events?user=mallory", last.Position, &trail)
		marked := 0
		for _, e := range trail.Items {
			if e.Damaged != "" {
				if marked++; e.Actor != "" || e.Reason != "" || e.Position != int64(position) {
					t.Errorf("the audit index shows %+v", e)
				}
			}
		}
		if marked != 1 {
			t.Errorf("%d events are marked as damaged: %+v", marked, trail.Items)
		}
		var list projectionviews.ProjectionList
		in.query(admin, "/api/v1/projections", 0, &list)
		if len(list.Damaged) != 2 || list.Damaged[0].Stream != "user-mallory" || list.Damaged[1].Stream != "user-anna" {
			t.Errorf("the damaged streams are %+v", list.Damaged)
		}
		request, err := http.NewRequest(http.MethodGet, in.url+"/api/v1/audit/studies/PAIN1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, text := in.do(request, mallory); status != http.StatusForbidden {
			t.Errorf("the forged role reads the trail: %d %s", status, text)
		}
		if status, _, text := in.command(admin, "", user.RevokeRole{OfUser: domain.ForUser("mallory"),
			Grant: user.Grant{Role: user.CRC, Study: "PAIN1", Site: "01"}, Reasoned: domain.Because("left")}); status != http.StatusConflict ||
			!strings.Contains(text, "record_damaged") {
			t.Errorf("a command on the damaged account is answered with %d %s", status, text)
		}
		if request, err = http.NewRequest(http.MethodGet, "http://"+in.adminAddress+"/metrics", nil); err != nil {
			t.Fatal(err)
		}
		if _, text := in.do(request, ""); !strings.Contains(text, "\ncasebook_damaged_streams 2\n") {
			t.Error("no metric says that two streams are damaged")
		}
		for _, args := range [][]string{{"list"}, {"verify", "user-directory"}} {
			if printed := tool(t, exitOK, append(append([]string{"projections"}, args...), "--data", dir)...); !strings.Contains(printed,
				"user-mallory is damaged from its event 4 on") {
				t.Errorf("projections %v prints %s", args, printed)
			}
		}
		if printed := tool(t, exitOK, "users", "list", "--data", dir); strings.Contains(printed, "auditor") ||
			!strings.Contains(printed, "user-mallory is damaged from its event 4 on") {
			t.Errorf("users list prints %s", printed)
		}
		if request, err = http.NewRequest(http.MethodGet, in.url+"/readyz", nil); err != nil {
			t.Fatal(err)
		}
		if _, text := in.do(request, ""); !strings.Contains(text, `"damagedStreams":2`) {
			t.Errorf("readiness is %s", text)
		}
		if findings, summary := verify(exitFailure); len(findings) != 2 || summary.Damaged != 2 {
			t.Errorf("against the running server, verify finds %+v", findings)
		}
	})
	if findings, _ := verify(exitFailure); len(findings) != 2 || findings[0].Stream != "user-mallory" || findings[0].Check != audit.Chain {
		t.Errorf("offline, verify finds %+v", findings)
	}
	if printed := tool(t, exitFailure, "audit", "verify", "--data", dir); !strings.Contains(printed, "findings  2, in 2 damaged streams") {
		t.Errorf("it prints %s", printed)
	}
}

// TestDamageIsResolvedOnTheMachine forges the account of a nurse, resolves the damage as two administrators, and looks at each
// way out.
func TestDamageIsResolvedOnTheMachine(t *testing.T) {
	in := install(t)
	own := map[domain.UserID]string{"anna": "gravel lantern oboe thicket", "boris": "marble ferry willow cobalt"}
	var admin string
	for _, id := range []domain.UserID{"anna", "boris"} {
		password := own[id]
		handedOut := passwordIn(t, tool(t, exitOK, "users", "add", string(id), "--name", string(id), "--role", "admin", "--data", in.dir))
		_, session := in.signIn(id, handedOut)
		in.must(session.Token, user.ChangePassword{OfUser: domain.ForUser(id), Password: password, CurrentPassword: handedOut})
		if id != "anna" { // the first administrator of a record is made by the operator alone
			in.send(administrator("first.admin"), user.ConfirmAccount{OfUser: domain.ForUser(id)})
		}
		_, session = in.signIn(id, password)
		admin = session.Token
	}
	in.account("mallory", user.Grant{Role: user.CRC, Study: "PAIN1", Site: "01"})
	grant, err := json.Marshal(user.RoleGranted{User: "mallory", Grant: user.Grant{Role: user.Auditor, Study: "PAIN1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.Forge(t.Context(), in.stores.eventStoreURL, "user-mallory", "RoleGranted", grant, nil); err != nil {
		t.Fatal(err)
	}
	revoke := user.RevokeRole{OfUser: domain.ForUser("mallory"), Grant: user.Grant{Role: user.CRC, Study: "PAIN1", Site: "01"},
		Reasoned: domain.Because("left")}
	if status, _, text := in.command(admin, "", revoke); status != http.StatusConflict || !strings.Contains(text, "record_damaged") {
		t.Errorf("a command on the damaged account is answered with %d %s", status, text)
	}
	resolve := []string{"audit", "resolve", "user-mallory", "--revision", "4", "--reason", "The credentials were stolen, and are replaced",
		"--as", "anna", "--confirmed-by", "boris", "--data", in.dir}
	typed(t, own["anna"], "wrong")
	tool(t, exitFailure, resolve...)
	typed(t, own["anna"], own["anna"])
	printed := tool(t, exitFailure, append(slices.Clone(resolve), "--confirmed-by", "anna")...)
	if !strings.Contains(printed, "second_person_required") {
		t.Errorf("one person alone is answered: %s", printed)
	}
	typed(t, own["anna"], own["boris"])
	tool(t, exitOK, resolve...)

	last := in.must(admin, revoke)
	var list projectionviews.ProjectionList
	in.query(admin, "/api/v1/projections", last.Position, &list)
	if len(list.Damaged) != 1 || list.Damaged[0].Resolution == nil || list.Damaged[0].Resolution.ConfirmedBy != "boris" {
		t.Errorf("the damaged streams are %+v", list.Damaged)
	}
	var trail struct{ Items []auditviews.AuditEvent }
	in.query(admin, "/api/v1/audit/accounts/events?user=mallory", last.Position, &trail)
	marked, revoked := 0, 0
	for _, e := range trail.Items {
		switch {
		case e.Damaged != "":
			marked++
		case e.Type == "RoleRevoked":
			revoked++
		}
	}
	if marked != 1 || revoked != 1 {
		t.Errorf("the trail of the account is %+v", trail.Items)
	}
	for address, want := range map[string]string{"http://" + in.adminAddress + "/metrics": "\ncasebook_damaged_streams 0\n",
		in.url + "/readyz": `"damagedStreams":0`} {
		request, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, text := in.do(request, ""); !strings.Contains(text, want) {
			t.Errorf("%s does not say %s", address, want)
		}
	}
	for _, args := range [][]string{{"projections", "verify", "user-directory"}, {"projections", "verify", "audit-index"}, {"users", "list"}} {
		tool(t, exitOK, append(args, "--data", in.dir)...)
	}
	if printed := tool(t, exitOK, "projections", "list", "--data", in.dir); !strings.Contains(printed, "by anna and boris") {
		t.Errorf("projections list prints %s", printed)
	}
	if printed := tool(t, exitOK, "audit", "verify", "--data", in.dir); !strings.Contains(printed, "as anna and boris have decided") ||
		!strings.Contains(printed, "findings  0, in 0 damaged streams") {
		t.Errorf("audit verify prints %s", printed)
	}
}
