package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/png"
	"net/http"
	"strings"
	"testing"

	"casebook/commands"
	usercommands "casebook/commands/user"
	"casebook/domain"
	"casebook/domain/user"

	"rsc.io/qr"
)

// activate takes an account with a code, on a device with a key of its own.
func (p person) activate(t *testing.T, code, device string) reply {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return p.post(activateRoute, fmt.Sprintf(`{"user":%q,"code":%q,"password":%q,"device":{"id":%q,"name":"A telephone","key":%q}}`,
		p.id, code, p.password, device, base64.StdEncoding.EncodeToString(der)))
}

// codeOf is the code that the answer to a command shows.
func codeOf(t *testing.T, r reply) string {
	t.Helper()
	if r.StatusCode != http.StatusOK {
		t.Fatalf("answered %d: %s", r.StatusCode, r.body)
	}
	var answer struct {
		commands.Answer
		Revealed usercommands.ActivationCode `json:"revealed"`
	}
	if err := json.Unmarshal(r.body, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Revealed.Code == "" || !strings.Contains(answer.Revealed.URL, answer.Revealed.Code) {
		t.Fatalf("the answer shows %+v", answer.Revealed)
	}
	data, is := strings.CutPrefix(answer.Revealed.QR, "data:image/png;base64,")
	shown, err := png.Decode(base64.NewDecoder(base64.StdEncoding, strings.NewReader(data)))
	want, failed := qr.Encode(answer.Revealed.URL, qr.M)
	if err != nil || failed != nil || !is {
		t.Fatalf("the picture is %.40s: %v, %v", answer.Revealed.QR, err, failed)
	}
	for x := range want.Size {
		for y := range want.Size {
			const margin = 4 // modules around the code (ISO/IEC 18004)
			gray, _, _, _ := shown.At((x+margin)*want.Scale, (y+margin)*want.Scale).RGBA()
			if (gray == 0) != want.Black(x, y) {
				t.Fatalf("the picture is not that of %s", answer.Revealed.URL)
			}
		}
	}
	return answer.Revealed.Code
}

// TestAPatientTakesTheOwnAccount: staff of the site open it and hand out a code; nobody but the patient knows the password. A lost phone
// is replaced.
func TestAPatientTakesTheOwnAccount(t *testing.T) {
	c := serve(t, nil)
	tr := newTrial(t)
	crc := c.as(tr.crc)
	p := person{client: c, id: domain.UserID(strings.ToLower(unique("patient."))), password: "velvet anchor copper mist"}
	of := domain.ForPatient(tr.patient)
	open := user.OpenPatientAccount{OfUser: domain.ForUser(p.id), OfPatient: of}
	c.as(tr.otherCRC).command(open).refused(t, http.StatusForbidden, "not_allowed")
	c.as(tr.manager).command(open).refused(t, http.StatusForbidden, "not_allowed")
	opened := crc.command(open)
	code := codeOf(t, opened)
	if strings.Contains(string(opened.body), "digest") {
		t.Errorf("the answer shows %s", opened.body)
	}
	crc.command(open).refused(t, http.StatusConflict, "user_exists")

	p.trySignIn(p.password, "").refused(t, http.StatusUnauthorized, "sign_in_failed")
	p.activate(t, "wrong", "phone-1").refused(t, http.StatusUnauthorized, "activation_failed")
	for _, missing := range []string{`{}`, fmt.Sprintf(`{"user":%q,"password":"x"}`, p.id),
		fmt.Sprintf(`{"user":%q,"code":%q,"password":%q}`, p.id, code, p.password)} {
		p.post(activateRoute, missing).refused(t, http.StatusBadRequest, "value_missing")
	}
	p.post("/api/v1/sign-in", `{}`).refused(t, http.StatusBadRequest, "value_missing")
	p.post(activateRoute, fmt.Sprintf(`{"user":%q,"code":%q,"password":%q,"device":{"id":"x","key":"AAAA"}}`, p.id, code, p.password)).
		refused(t, http.StatusBadRequest, "malformed_key")
	weak := p
	weak.password = "password1234"
	weak.activate(t, code, "phone-1").refused(t, http.StatusUnprocessableEntity, "weak_password")

	session := read[Session](t, p.activate(t, strings.ToUpper(strings.ReplaceAll(code, "-", " \u2013 ")), "phone-1"))
	phone := c
	phone.token = session.Token
	works(t, "the phone of the activation", p, session, phone)
	p.activate(t, code, "phone-2").refused(t, http.StatusUnauthorized, "activation_failed") // it is good once
	_, second := p.signInOn("phone-3")                                                      // the password is the patient's
	if second.get("/api/v1/me").StatusCode != http.StatusOK {
		t.Error("the patient cannot sign in on another device")
	}

	another := user.IssueActivationCode{OfUser: domain.ForUser(p.id), OfPatient: of, PhoneLost: true, Reasoned: domain.Because("stolen")}
	c.as(tr.otherCRC).command(another).refused(t, http.StatusForbidden, "not_allowed")
	ofStaff := another
	ofStaff.User = tr.crc
	crc.command(ofStaff).refused(t, http.StatusUnprocessableEntity, "not_a_patients_account")
	again := codeOf(t, crc.command(another))
	hasEnded(t, p, session, phone)
	p.password = "another phrase of the patient"
	session = read[Session](t, p.activate(t, again, "phone-4"))
	phone.token = session.Token
	works(t, "the new phone", p, session, phone)
	admin := c.as(account(t, "admin", user.Grant{Role: user.Admin}))
	if listed := accountIn(t, admin, p.id, 0); listed.Name != "" || len(listed.Devices) != 1 || listed.Devices[0].Device != "phone-4" {
		t.Errorf("the directory lists %+v", listed)
	}
}
