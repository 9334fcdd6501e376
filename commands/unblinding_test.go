package commands_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/commands"
	randomisationcommands "casebook/commands/randomisation"
	usercommands "casebook/commands/user"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/record"
	"casebook/domain/study"
	"casebook/domain/user"
	"casebook/eventlog"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

// clocked is a process whose clock the test sets.
type clocked struct {
	process
	at *time.Time
}

func runClocked(t *testing.T) clocked {
	t.Helper()
	log, err := eventlog.Connect(t.Context(), eventlog.Options{URL: eventStoreURL, Registry: contexts.Registry(),
		BlindingKeys: blindingKeys(t)})
	if err != nil {
		t.Fatal(err)
	}
	at := now
	factors, err := access.NewFactors(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	h := commands.NewHandler(commands.Options{Log: log, Commands: contexts.Commands(), Now: func() time.Time { return at }, Factors: factors})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, log.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := h.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return clocked{process{Handler: h, t: t, log: log}, &at}
}

// drawnPatient is a patient of a new study who has been drawn, with the investigator.
func (p clocked) drawnPatient() (domain.PatientID, access.Principal) {
	trials++
	id := domain.StudyID(fmt.Sprintf("U%d-%d", trials, time.Now().UnixNano()%1_000_000))
	who, in := domain.NewPatientID(id, "S-1"), domain.ForStudy(id)
	manager := access.Principal{User: "manager", Grants: []user.Grant{{Role: user.DataManager, Study: id}}}
	statistician := access.Principal{User: "statistician", AuthenticatedAt: *p.at, Grants: []user.Grant{{Role: user.Statistician, Study: id}}}
	arm := func(id string) study.Arm {
		return study.Arm{ID: id, Title: "The arm " + id, Dose: "60 mg twice daily", InEmergency: "Give naloxone"}
	}
	p.must(manager, study.CreateStudy{InStudy: in, Title: "Relief of pain", Sponsor: "Nobody"})
	p.must(manager, study.PublishProtocolVersion{InStudy: in, Protocol: study.Protocol{Version: 1, ConsentVersion: "1",
		Arms: []study.Arm{arm("a"), arm("b")}, Treatment: &study.Treatment{Randomised: true, InEmergency: "Call the poison centre",
			Factors: []study.Factor{{ID: "sex", Title: "Sex", Levels: []string{"m", "f"}}}}}})
	p.must(manager, study.AddSite{AtSite: domain.ForSite(in.Study, "01"), Name: "Charite", Country: "DE", Zone: "Europe/Berlin"})
	p.must(manager, study.ActivateSite{AtSite: domain.ForSite(in.Study, "01"), On: "2026-01-01"})
	p.must(manager, enrollment.OpenEnrollment{InStudy: in, Caps: enrollment.Caps{Target: 5, Study: 10}})
	defined := p.must(statistician, randomisation.DefineMinimisation{InStudy: in, Scheme: "m", Ratio: map[domain.ArmID]int{"a": 1, "b": 1},
		Metric: randomisation.MetricRange, P: 0.8})
	p.must(statistician, randomisation.ActivateRandomisation{InStudy: in, Scheme: "m",
		SHA256: defined.Events[0].Data.(randomisation.MinimisationDefined).SeedCommitment})
	p.enrolled(who)
	p.must(access.Process("enrollment"), randomisation.RandomisePatient{InStudy: in, Site: "01", OfPatient: domain.ForPatient(who),
		Factors: map[string]string{"sex": "m"}, Request: 1})
	return who, access.Principal{User: "doctor", Grants: []user.Grant{{Role: user.Investigator, Study: id, Site: "01"}}}
}

// enrolled brings a patient as far as the draw.
func (p clocked) enrolled(who domain.PatientID) {
	p.t.Helper()
	crc := access.Principal{User: "crc", Grants: []user.Grant{{Role: user.CRC, Study: who.Study(), Site: "01"}}}
	_, number, _ := strings.Cut(string(who), ".")
	p.must(crc, patient.ScreenPatient{AtSite: domain.ForSite(who.Study(), "01"), ScreeningNumber: number, On: "2026-02-01"})
	p.must(crc, patient.RecordConsent{OfPatient: domain.ForPatient(who), ConsentVersion: "1", On: "2026-02-01"})
	p.must(crc, patient.EnrollPatient{OfPatient: domain.ForPatient(who), On: "2026-02-02", Factors: map[string]string{"sex": "m"}})
}

// TestR28_AnEmergencyUnblindingSaysWhatToDo unblinds a patient without naming the study, and sends the command again as
// somebody does who has not got the answer.
func TestR28_AnEmergencyUnblindingSaysWhatToDo(t *testing.T) {
	p := runClocked(t)
	who, doctor := p.drawnPatient()
	emergency := randomisation.BreakBlind{Patient: who, Reasoned: domain.Because("overdose")}
	send := func(after time.Duration, key string, by access.Principal) (commands.Answer, error) {
		*p.at = now.Add(after)
		by.AuthenticatedAt = *p.at // everybody signs in again
		return p.as(by, key, emergency)
	}
	first, err := send(0, "emergency", doctor)
	if err != nil {
		t.Fatal(err)
	}
	shown, ok := first.Revealed.(randomisationcommands.Unblinded)
	if want := []string{"Give naloxone", "Call the poison centre"}; !ok || shown.Study != who.Study() ||
		shown.StudyTitle != "Relief of pain" ||
		shown.Patient != who || shown.Arm == "" || shown.Title != "The arm "+string(shown.Arm) || shown.Dose != "60 mg twice daily" ||
		!reflect.DeepEqual(shown.ToDo, want) {
		t.Errorf("the answer is %+v", first.Revealed)
	}
	for i, minutes := range []int{1, 9} {
		again, err := send(time.Duration(minutes)*time.Minute, "emergency", doctor)
		if err != nil || !reflect.DeepEqual(again.Revealed, first.Revealed) || again.Revision != nil ||
			!reflect.DeepEqual(again.Events, first.Events) {
			t.Errorf("after %d minutes the answer is %+v, %v", minutes, again, err)
		}
		if n := p.count(first.Stream, "BlindShownAgain"); n != i+1 {
			t.Errorf("it was shown again %d times, and that is recorded %d times", i+1, n)
		}
	}
	late, err := send(11*time.Minute, "emergency", doctor)
	if err != nil || late.Revealed != nil || late.Revision != nil {
		t.Errorf("after 11 minutes the answer is %+v, %v", late, err)
	}
	// Somebody else with the same key unblinds for themselves, which is recorded as such.
	colleague := doctor
	colleague.User = "colleague"
	other, err := send(2*time.Minute, "emergency", colleague)
	if err != nil || other.CommandID == first.CommandID || other.Revealed == nil || p.count(first.Stream, "BlindBroken") != 2 {
		t.Errorf("a colleague's answer is %+v, %v", other, err)
	}
	if n := p.count(first.Stream, "BlindShownAgain"); n != 2 {
		t.Errorf("it was shown again twice, and that is recorded %d times", n)
	}
	emergency.Study = "ANOTHER"
	if _, err := send(0, "", doctor); code(err) != "malformed_id" {
		t.Errorf("with another study: %v", err)
	}
}

// TestR28_AnEmergencyUnblindingNeverHangsOnOneFactor: whatever keeps one investigator out, the patient is unblinded within
// minutes, by the same person or by another one, and it is recorded who asked.
func TestR28_AnEmergencyUnblindingNeverHangsOnOneFactor(t *testing.T) {
	p := runClocked(t)
	who, _ := p.drawnPatient()
	id, admin := who.Study(), access.Principal{User: "first.admin", Grants: []user.Grant{{Role: user.Admin}}}
	p.must(access.Principal{User: "manager", AuthenticatedAt: *p.at, Grants: []user.Grant{{Role: user.DataManager, Study: id}}},
		study.RequireSecondFactor{InStudy: domain.ForStudy(id), Required: true, Reasoned: domain.Because("the protocol asks for it")})
	caller := p.newDoctor(user.Grant{Role: user.Investigator, Study: id, Site: "01"})
	colleague := p.newDoctor(user.Grant{Role: user.Investigator, Study: id, Site: "01"})
	officer := p.newDoctor(user.Grant{Role: user.SafetyOfficer, Study: id})
	of := domain.ForUser(caller.id)
	emergency := randomisation.BreakBlind{Patient: who, Reasoned: domain.Because("overdose")}
	forCaller := emergency
	forCaller.AskedBy = "Dr. Lindner, by telephone"
	unblinds := func(who access.Principal, c randomisation.BreakBlind) string {
		answer, err := p.as(who, "", c)
		if err == nil && answer.Revealed == nil {
			return "nothing revealed"
		}
		return code(err)
	}
	othersUnblind := func(when string) {
		t.Helper()
		for name, d := range map[string]doctor{"a colleague": colleague, "the safety officer": officer} {
			*p.at = p.at.Add(time.Minute) // the next code of the app
			if got := unblinds(p.signIn(d, d.codeAt(*p.at)), forCaller); got != "" {
				t.Errorf("%s, %s: %q", when, name, got)
			}
		}
	}

	*p.at = p.at.Add(time.Minute)
	if got := unblinds(p.signIn(caller, caller.codeAt(*p.at)), emergency); got != "" {
		t.Fatalf("with everything at hand: %q", got)
	}
	// The phone is lost: a recovery code counts as the factor.
	if got := unblinds(p.signIn(caller, caller.recovery[0]), emergency); got != "" {
		t.Errorf("with a recovery code: %q", got)
	}
	// Every factor is lost, and an administrator removes it.
	othersUnblind("the factor is lost")
	p.must(admin, user.RemoveSecondFactor{OfUser: of, Reasoned: domain.Because("phone and codes are lost")})
	if got := unblinds(p.signIn(caller, ""), emergency); got != "account_not_confirmed" {
		t.Errorf("with a removed factor: %q", got)
	}
	othersUnblind("the factor was removed")
	// The password was reset.
	p.must(admin, user.ChangePassword{OfUser: of, Password: "gravel lantern oboe thicket"})
	if handedOut := p.signIn(doctor{id: caller.id, password: "gravel lantern oboe thicket"}, ""); !handedOut.MustChangePassword {
		t.Error("a password that was handed out need not be changed")
	}
	othersUnblind("the password was reset")
	// An administrator has locked the account: its owner can neither sign in nor use a session, and asks others.
	session := access.Proof{User: caller.id, IssuedAt: *p.at, AuthenticatedAt: *p.at}
	p.must(admin, user.LockUser{OfUser: of, Reasoned: domain.Because("a mistake")})
	if _, err := usercommands.SignIn(t.Context(), p.Handler, usercommands.Entered{User: caller.id, Password: "gravel lantern oboe thicket",
		Address: "10.0.0.1"}); code(err) == "" {
		t.Error("the owner of a locked account signs in")
	}
	if _, err := p.Authenticated(t.Context(), session); code(err) == "" {
		t.Error("the session of a locked account goes on")
	}
	othersUnblind("the account is locked")
	// The identity provider is down: a local sign-in does not need it, and the session of somebody else neither.
	ofProvider := p.newDoctor(user.Grant{Role: user.Investigator, Study: id, Site: "01"})
	*p.at = p.at.Add(2 * time.Hour)
	signedInElsewhere, err := p.Authenticated(t.Context(),
		access.Proof{User: ofProvider.id, IssuedAt: *p.at, AuthenticatedAt: p.at.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if got := unblinds(signedInElsewhere, emergency); got != "reauthentication_required" {
		t.Errorf("with a sign-in of an hour ago: %q", got)
	}
	othersUnblind("the identity provider is down")

	asked := 0
	for r, err := range p.log.ReadStream(t.Context(), randomisation.Decider.Stream(string(id)), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := r.Event.(randomisation.BlindBroken); ok && e.AskedBy == forCaller.AskedBy && r.Metadata.Actor != caller.id {
			asked++
		}
	}
	if asked != 10 {
		t.Errorf("it is recorded %d times who asked, want 10", asked)
	}
}

// doctor is somebody with a password and an app of their own.
type doctor struct {
	id       domain.UserID
	password string
	codeAt   func(time.Time) string
	recovery []string
}

// newDoctor registers a doctor with a second factor and a role, which two administrators give.
func (p clocked) newDoctor(g user.Grant) doctor {
	p.t.Helper()
	d := doctor{id: domain.UserID(fmt.Sprintf("doctor%d", time.Now().UnixNano())), password: "velvet anchor copper mist"}
	of, self := domain.ForUser(d.id), access.Principal{User: d.id, AuthenticatedAt: *p.at}
	first := access.Principal{User: "first.admin", Grants: []user.Grant{{Role: user.Admin}}}
	second := access.Principal{User: "second.admin", Grants: []user.Grant{{Role: user.Admin}}}
	p.must(first, user.RegisterUser{OfUser: of, Name: "A doctor"})
	p.must(first, user.GrantRole{OfUser: of, Grant: g})
	p.must(second, user.ConfirmRole{OfUser: of, Grant: g})
	p.must(self, user.ChangePassword{OfUser: of, Password: d.password})
	p.must(second, user.ConfirmAccount{OfUser: of})
	offered, _ := p.must(self, user.OfferSecondFactor{OfUser: of}).Revealed.(usercommands.OfferedFactor)
	key, err := otp.NewKeyFromURL(offered.URL)
	if err != nil {
		p.t.Fatal(err)
	}
	d.codeAt = func(at time.Time) string {
		code, err := totp.GenerateCode(key.Secret(), at)
		if err != nil {
			p.t.Fatal(err)
		}
		return code
	}
	enrolled, _ := p.must(self, user.EnrolSecondFactor{OfUser: of, Code: d.codeAt(*p.at)}).Revealed.(usercommands.EnrolledFactor)
	if d.recovery = enrolled.RecoveryCodes; len(d.recovery) == 0 {
		p.t.Fatal("there are no recovery codes")
	}
	return d
}

// signIn signs a doctor in.
func (p clocked) signIn(d doctor, code string) access.Principal {
	p.t.Helper()
	who, err := usercommands.SignIn(p.t.Context(), p.Handler, usercommands.Entered{User: d.id, Password: d.password, Code: code,
		Address: "10.0.0.1"})
	if err != nil {
		p.t.Fatalf("sign in: %v", err)
	}
	return who
}

// count returns how many events of a type a stream has, and checks that their metadata name the person and the reason.
func (p clocked) count(stream, name string) (n int) {
	p.t.Helper()
	for r, err := range p.log.ReadStream(p.t.Context(), stream, 0) {
		if err != nil {
			p.t.Fatal(err)
		}
		if r.Type == name {
			if n++; r.Metadata.Actor == "" || r.Metadata.Reason != "overdose" || r.Metadata.Command != "BreakBlind" {
				p.t.Errorf("the metadata of %s are %+v", name, r.Metadata)
			}
		}
	}
	return n
}

// TestR28_UnblindingWorksWhileTheDrawsAreDamaged: a damaged stream of draws stops draws, but no emergency of a patient who was
// drawn before the damage. When two administrators have resolved it, everything goes on in the study's stream.
func TestR28_UnblindingWorksWhileTheDrawsAreDamaged(t *testing.T) {
	p := runClocked(t)
	who, doctor := p.drawnPatient()
	doctor.AuthenticatedAt = *p.at
	stream := randomisation.Decider.Stream(string(who.Study()))
	late := domain.NewPatientID(who.Study(), "S-2")
	p.enrolled(late)
	forge(t, stream, "PatientRandomised", randomisation.PatientRandomised{Study: who.Study(), Patient: late}, forgedMetadata(t, "bm8="))
	draw := randomisation.RandomisePatient{InStudy: domain.ForStudy(who.Study()), Site: "01", OfPatient: domain.ForPatient(late),
		Factors: map[string]string{"sex": "m"}, Request: 1}
	p.refused("record_damaged", access.Process("enrollment"), draw)

	emergency := randomisation.BreakBlind{Patient: who, Reasoned: domain.Because("overdose")}
	first, err := p.as(doctor, string(who), emergency)
	if err != nil {
		t.Fatal(err)
	}
	shown, ok := first.Revealed.(randomisationcommands.Unblinded)
	if !ok || shown.Arm == "" || first.Stream == stream || p.count(first.Stream, "BlindBroken") != 1 {
		t.Errorf("the answer is %+v", first)
	}
	again, err := p.as(doctor, string(who), emergency)
	if err != nil || !reflect.DeepEqual(again.Revealed, first.Revealed) || p.count(first.Stream, "BlindShownAgain") != 1 {
		t.Errorf("the repeat is answered with %+v, %v", again, err)
	}
	// Who was drawn behind the damage, or was not, is not known.
	p.refused("record_damaged", doctor, randomisation.BreakBlind{Patient: late, Reasoned: domain.Because("overdose")})

	other, _ := p.drawnPatient()
	emergency.Patient = other
	doctor.Grants[0].Study = other.Study()
	if answer := p.must(doctor, emergency); answer.Stream != randomisation.Decider.Stream(string(other.Study())) {
		t.Errorf("without damage, the unblinding is recorded in %s", answer.Stream)
	}

	anna := access.Principal{User: "anna", AuthenticatedAt: *p.at, Grants: []user.Grant{{Role: user.Admin}}}
	ben := anna
	ben.User = "ben"
	damage, study, err := p.Reader().Damage(t.Context(), stream)
	if err != nil || damage == nil || study != who.Study() {
		t.Fatalf("the damage is %+v in study %s, %v", damage, study, err)
	}
	of := record.OfStream{Stream: stream, Revision: damage.Revision}
	p.must(anna, record.ResolveDamage{OfStream: of, Reasoned: domain.Because("stolen credentials")})
	p.refused("second_person_required", anna, record.ConfirmDamageResolution{OfStream: of})
	p.refused("record_damaged", access.Process("enrollment"), draw)
	p.must(ben, record.ConfirmDamageResolution{OfStream: of})
	p.refused("stream_not_damaged", ben, record.ConfirmDamageResolution{OfStream: of})
	drawn := p.must(access.Process("enrollment"), draw)
	if drawn.Stream != stream || len(drawn.Events) != 1 {
		t.Errorf("behind the damage, the draw is answered with %+v", drawn)
	}
	if last, _, err := p.log.Last(t.Context(), stream); err != nil || last.Revision != damage.Revision+1 {
		t.Errorf("behind the damage at %d, the draw is recorded at %d, %v", damage.Revision, last.Revision, err)
	}
	// A program that knows nothing of it yet goes on, too, and so does an unblinding.
	doctor.Grants[0].Study = who.Study()
	emergency.Patient = late
	if answer, err := runClocked(t).as(doctor, "", emergency); err != nil || answer.Stream != stream {
		t.Errorf("another program answers %+v, %v", answer, err)
	}
	if all, err := p.log.Damages(t.Context(), stream); err != nil || len(all) != 1 || all[0].Resolution == nil ||
		all[0].Resolution.ProposedBy != "anna" || all[0].Resolution.ConfirmedBy != "ben" {
		t.Errorf("the damages are %+v, %v", all, err)
	}
}
