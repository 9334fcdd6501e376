package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"casebook/domain/user"
	"casebook/readmodels"
	auditviews "casebook/readmodels/audit"
	diaryviews "casebook/readmodels/diary"
	"casebook/simulation"
)

// TestR10_AnAuditorVerifiesAnEntryByTheKeyOfItsDevice, finds when the device was enrolled, and is told where that is recorded.
func TestR10_AnAuditorVerifiesAnEntryByTheKeyOfItsDevice(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	p := newPerson(t, c, user.Grant{Role: user.PatientRole, Study: tr.study, Patient: tr.patient})
	phone, err := simulation.NewPhoneKey()
	if err != nil {
		t.Fatal(err)
	}
	r := p.post("/api/v1/sign-in", fmt.Sprintf(`{"user":%q,"password":%q,"device":{"id":"phone-1","name":"A telephone","key":%q}}`, p.id,
		p.password, phone.Public))
	if r.StatusCode != http.StatusOK {
		t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
	app := c
	app.token = read[Session](t, r).Token
	entry := tr.entry(5)
	entry.Device = "phone-1"
	if entry, err = phone.Sign(entry); err != nil {
		t.Fatal(err)
	}
	position := app.accepted(entry).Position
	auditor := c.as(account(t, "auditor", user.Grant{Role: user.Auditor, Study: tr.study}))
	caughtUp(t, position)

	path := "/api/v1/audit/patients/" + string(tr.patient) + "/signed-entries"
	list := read[readmodels.List[diaryviews.SignedEntry]](t, auditor.get(path))
	if len(list.Items) != 1 {
		t.Fatalf("the auditor is shown %+v", list)
	}
	shown := list.Items[0]
	if shown.Verified != diaryviews.SignatureRight || shown.Signature != entry.Signature || shown.Key == nil ||
		!phone.Public.Signed([]byte(shown.Content), shown.Signature) || !shown.Key.Key.Signed([]byte(shown.Content), shown.Signature) {
		t.Errorf("the auditor is shown %+v", shown)
	}
	trail := "/api/v1/audit/studies/" + string(tr.study)
	rows := read[readmodels.List[auditviews.AuditEvent]](t, auditor.get(trail+"/events?type=DiarySubmitted&patient="+string(tr.patient)))
	if len(rows.Items) != 1 || rows.Items[0].Hash == "" || rows.Items[0].Hash != hashOf(t, shown.Stored) ||
		shown.Stored.Hash != rows.Items[0].Hash {
		t.Errorf("the trail has %+v, and its hash recomputed is %s", rows.Items, hashOf(t, shown.Stored))
	}
	c.as(tr.crc).get(path).refused(t, http.StatusForbidden, "not_allowed")

	told := auditor.get(trail+"/events?type=DeviceEnrolled&patient="+string(tr.patient)).refused(t, http.StatusBadRequest,
		"recorded_of_accounts")
	there := trail + "/accounts/" + string(p.id) + "/events"
	if told.Field != "type" || !strings.Contains(told.Remedy, there) {
		t.Errorf("the auditor is told %+v", told)
	}
	enrolments := read[readmodels.List[auditviews.AuditEvent]](t, auditor.get(there+"?type=DeviceEnrolled"))
	if len(enrolments.Items) != 1 || enrolments.Items[0].About != "phone-1" || !enrolments.Items[0].RecordedAt.Equal(shown.Key.EnrolledAt) {
		t.Errorf("there, the auditor finds %+v", enrolments)
	}
	never := auditor.get(trail + "/events?type=DeviceRevoked&patient=" + string(tr.patient))
	if none := read[readmodels.List[auditviews.AuditEvent]](t, never); len(none.Items) != 0 {
		t.Errorf("of what never happened, the auditor finds %+v", none)
	}
}

// hashOf recomputes the hash of a stored event, as the description says.
func hashOf(t *testing.T, e readmodels.Stored) string {
	t.Helper()
	id, err := hex.DecodeString(strings.ReplaceAll(e.ID, "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	data, err := base64.StdEncoding.DecodeString(e.Data)
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := base64.StdEncoding.DecodeString(e.Metadata)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for _, part := range [][]byte{id, []byte(e.Type), data, metadata} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}
