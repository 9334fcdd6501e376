package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	identitycommands "casebook/commands/identity"
	"casebook/domain"
	"casebook/domain/identity"
	"casebook/domain/study"
	"casebook/domain/user"
)

// TestDailyLifeOfIdentities records, reads, corrects and erases who a patient is, and looks for what was recorded in all that the
// program has stored, logged and answered.
func TestDailyLifeOfIdentities(t *testing.T) {
	const id = domain.StudyID("WHO")
	in, inStudy := install(t), domain.ForStudy(id)
	at := func(site domain.SiteID, role user.Role, name domain.UserID) string {
		return in.account(name, user.Grant{Role: role, Study: id, Site: site})
	}
	s := &site{installation: in, study: id, manager: at("", user.DataManager, "manager"), crc: at("01", user.CRC, "crc.one"),
		otherCRC: at("02", user.CRC, "crc.two")}
	in.must(s.manager, study.CreateStudy{InStudy: inStudy, Title: "Who", Sponsor: "Nobody"})
	in.must(s.manager, study.PublishProtocolVersion{InStudy: inStudy, Protocol: study.Protocol{Version: 1, ConsentVersion: "1.0",
		Criteria: []study.Criterion{{ID: "adult"}}}})
	for _, at := range []domain.SiteID{"01", "02"} {
		in.must(s.manager, study.AddSite{AtSite: domain.ForSite(id, at), Name: "Hospital " + string(at), Country: "DE", Zone: "UTC"})
		in.must(s.manager, study.ActivateSite{AtSite: domain.ForSite(id, at), On: "2026-01-01"})
	}
	of := s.screened(nil)
	anna := identity.Details{Name: "Anna Beispielhuber", BirthDate: "1964-08-12", Email: "anna.b@example.org", Phone: "+49 30 99887766",
		Address: "Heidestrasse 17"}
	married := anna
	married.Name = "Anna Musterfrau"
	const reason = "Married; was Beispielhuber"
	read := identity.ReadIdentity{OfPatient: of, Purpose: identity.ToContact}

	s.refused(s.crc, "identity_not_recorded", read)
	in.must(s.crc, identity.RecordIdentity{OfPatient: of, Details: anna})
	s.refused(s.crc, "identity_recorded", identity.RecordIdentity{OfPatient: of, Details: anna})
	in.must(s.crc, identity.CorrectIdentity{OfPatient: of, Details: married, Reason: reason})
	s.refused(s.crc, "nothing_to_correct", identity.CorrectIdentity{OfPatient: of, Details: married, Reason: "again"})

	shown := func(key string) (answer struct{ Revealed identitycommands.Shown }) {
		t.Helper()
		status, _, text := in.command(s.crc, key, read)
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, text)
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for range 2 { // the second time, the first answer was lost
		who := shown("call-1").Revealed
		if who.Details != married || who.Reason != reason || who.RecordedBy != "crc.one" || len(who.Former) != 1 ||
			who.Former[0].Details != anna {
			t.Fatalf("it shows %+v", who)
		}
	}
	position := in.must(s.crc, read).Position
	var trail struct {
		Items []struct{ Type, Actor, About string }
	}

	// Nobody but the site's own staff may know, and nobody else finds out whether it is recorded.
	others := map[string]string{"another site": s.otherCRC, "data manager": s.manager, "monitor": at("01", user.Monitor, "monitor"),
		"auditor": at("", user.Auditor, "auditor"), "safety": at("", user.SafetyOfficer, "safety"),
		"statistician": at("", user.Statistician, "statistician"), "admin": in.account("admin.one", user.Grant{Role: user.Admin})}
	for who, token := range others {
		for _, command := range []any{read, identity.RecordIdentity{OfPatient: of, Details: anna},
			identity.CorrectIdentity{OfPatient: of, Details: anna, Reason: "x"}} {
			if status, _, text := in.command(token, "", command); status != http.StatusForbidden {
				t.Errorf("%s sends %T: %d %s", who, command, status, text)
			}
		}
	}
	for _, who := range []string{"auditor", "monitor"} {
		in.query(others[who], "/api/v1/audit/studies/WHO/events?site=01&type=IdentityRead", position, &trail)
		if len(trail.Items) != 3 || trail.Items[0].Actor != "crc.one" || trail.Items[0].About != "purpose: contact" {
			t.Errorf("the %s sees three readings as %+v", who, trail.Items)
		}
	}

	// Nothing of it is anywhere in the clear.
	known := []string{anna.Name, "Beispielhuber", married.Name, "1964-08-12", anna.Email, "99887766", "Heidestrasse"}
	for who, token := range others {
		for _, path := range []string{"/api/v1/patients/" + string(of.Patient), "/api/v1/patients/" + string(of.Patient) + "/history",
			"/api/v1/audit/studies/WHO/events", "/api/v1/streams/identity-" + string(of.Patient)} {
			request, err := http.NewRequest(http.MethodGet, in.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, text := in.do(request, token)
			mustLack(t, who+" at "+path, []byte(text), known)
		}
	}
	mustNotBeStored(t, in.dir, known)

	// Without its key, the identity is erased, and the clinical record goes on.
	var key string
	for e, err := range in.log.ReadStream(t.Context(), identity.Decider.Stream(string(of.Patient)), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if recorded, is := e.Event.(identity.Recorded); is {
			key = string(recorded.Key)
			if err := in.identities.Destroy(t.Context(), recorded.Key); err != nil {
				t.Fatal(err)
			}
		}
		mustLack(t, e.Type, e.Data, known)
	}
	if key == "" {
		t.Fatal("the key was not found")
	}
	s.refused(s.crc, "identity_erased", read)
	s.refused(s.crc, "identity_erased", identity.CorrectIdentity{OfPatient: of, Details: anna, Reason: "x"})
	s.refused(s.crc, "identity_recorded", identity.RecordIdentity{OfPatient: of, Details: anna})
	if v := s.patient(s.crc, of, 0); v.Patient != of.Patient {
		t.Errorf("the patient's view is %+v", v)
	}
}

// mustLack fails if a text has one of the words.
func mustLack(t *testing.T, where string, text []byte, words []string) {
	t.Helper()
	for _, word := range words {
		if bytes.Contains(text, []byte(word)) || bytes.Contains(bytes.ToLower(text), []byte(strings.ToLower(word))) {
			t.Errorf("%s has %q", where, word)
		}
	}
}
