package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"casebook/access"
	"casebook/cmd/casebook/contexts"
	"casebook/codebreak"
	"casebook/domain"
	"casebook/domain/enrollment"
	"casebook/domain/patient"
	"casebook/domain/randomisation"
	"casebook/domain/safety"
	"casebook/domain/study"
	"casebook/domain/supply"
	"casebook/domain/user"
	"casebook/readmodels"
	patientviews "casebook/readmodels/patient"
	safetyviews "casebook/readmodels/safety"
)

// blinded is a randomised study with kits on a running server, which keeps code break envelopes.
type blinded struct {
	*site
	envelopes, key string
}

// The arms of the study. Their texts differ in length.
var blindedArms = []study.Arm{{ID: "VERUM-8XQ", Title: "Verum", Dose: "60 mg twice daily",
	InEmergency: strings.Repeat("Give naloxone. ", 90)},
	{ID: "PLCB-3KD", Title: "Placebo"}}

func openBlinded(t *testing.T) *blinded {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "centre.key")
	var public bytes.Buffer
	if code := run(t.Context(), []string{"codebreak", "key", key}, &public, io.Discard); code != exitOK {
		t.Fatalf("the key was not made: %d", code)
	}
	flags := flagsFor(filepath.Join(dir, "data"))
	flags.Codebreak = codebreakFlags{Dir: filepath.Join(dir, "envelopes"), Recipient: []string{strings.TrimSpace(public.String())}}
	s, err := startWith(context.Background(), flags, clock{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	in := installation{server: s, t: t, url: "http://" + s.httpAddress, dir: flags.Stores.Data}
	t.Cleanup(func() {
		if !s.ended {
			_ = s.close()
		}
	})
	const id = domain.StudyID("CODE")
	b := &blinded{site: &site{installation: in, study: id}, envelopes: flags.Codebreak.Dir, key: key}
	b.manager = in.account("manager", user.Grant{Role: user.DataManager, Study: id})
	b.crc = in.account("crc.one", user.Grant{Role: user.CRC, Study: id, Site: "01"})
	b.supplier = in.account("supplier", user.Grant{Role: user.UnblindedSupplyManager, Study: id})
	in.account("statistician", user.Grant{Role: user.Statistician, Study: id})
	in.account("safety", user.Grant{Role: user.SafetyOfficer, Study: id})
	inStudy := domain.ForStudy(id)
	in.must(b.manager, study.CreateStudy{InStudy: inStudy, Title: "Relief of pain", Sponsor: "Nobody"})
	b.publish(1, nil)
	in.must(b.supplier, supply.OpenDepot{InStudy: inStudy, Depot: "D", Name: "Depot"})
	in.must(b.manager, study.AddSite{AtSite: domain.ForSite(inStudy.Study, "01"), Name: "Charite", Country: "DE", Zone: "Europe/Berlin"})
	in.must(b.manager, study.ActivateSite{AtSite: domain.ForSite(inStudy.Study, "01"), On: "2026-01-01"})
	var csv strings.Builder
	var kits []supply.KitNumber
	csv.WriteString("kit,arm,lot,expiry\n")
	for i, at := range rand.New(rand.NewPCG(1, 2)).Perm(60) {
		kits = append(kits, supply.KitNumber(fmt.Sprintf("K-%02d", i)))
		fmt.Fprintf(&csv, "%s,%s,L1,2031-12-31\n", kits[i], blindedArms[at%2].ID)
	}
	in.must(b.supplier, supply.RegisterKits{InStudy: inStudy, Depot: "D", CSV: csv.String()})
	in.must(b.supplier, supply.ReleaseBatch{InStudy: inStudy, Lot: "L1", Certificate: "C-1"})
	create := supply.CreateShipment{FromLocation: supply.FromLocation{Study: id, From: "D"}, To: "01", Kits: kits,
		Reasoned: domain.Because("Start")}
	b.eventually("the depot has the kits", func() bool {
		status, _, _ := in.command(b.supplier, "", create)
		return status == http.StatusOK
	})
	in.must(b.supplier, supply.DispatchShipment{FromLocation: create.FromLocation, Shipment: "D-0001", On: "2026-01-05"})
	in.must(b.crc, supply.ReceiveShipment{AtLocation: supply.AtLocation{Study: id, Location: "01"}, From: "D", Shipment: "D-0001",
		On: "2026-01-06", Temperature: supply.TemperatureInRange})
	_, _, text := in.command(b.present("statistician"), "", randomisation.DefineMinimisation{InStudy: inStudy, Scheme: "m",
		Ratio: map[domain.ArmID]int{"VERUM-8XQ": 1, "PLCB-3KD": 1}, Metric: randomisation.MetricRange, P: 0.8})
	var defined struct {
		Events []struct {
			Data randomisation.MinimisationDefined
		}
	}
	if err := json.Unmarshal([]byte(text), &defined); err != nil || len(defined.Events) == 0 {
		t.Fatalf("minimisation is answered %s, %v", text, err)
	}
	in.must(b.present("statistician"), randomisation.ActivateRandomisation{InStudy: inStudy, Scheme: "m",
		SHA256: defined.Events[0].Data.SeedCommitment})
	in.must(b.manager, enrollment.OpenEnrollment{InStudy: inStudy, Caps: enrollment.Caps{Target: 20, Study: 30}})
	return b
}

// publish publishes a version of the protocol with what follows from an unblinding.
func (b *blinded) publish(version int, after *study.AfterUnblinding) {
	b.t.Helper()
	b.must(b.manager, study.PublishProtocolVersion{InStudy: domain.ForStudy(b.study), Protocol: study.Protocol{Version: version,
		ConsentVersion: "1.0", Arms: blindedArms, Visits: []study.Visit{{ID: "week-4", Day: 28}}, Criteria: []study.Criterion{{ID: "adult"}},
		Treatment: &study.Treatment{Randomised: true, Kits: true, DispensingVisits: []string{"week-4"}, InEmergency: "Call the poison centre",
			Titration: &study.Titration{Steps: 2}, AfterUnblinding: after,
			Factors: []study.Factor{{ID: "age", Levels: []string{"under-50", "50-or-more"},
				DerivedFrom: study.FromAge, Bounds: []int{50}}}}}})
}

// present returns a token of somebody who has just signed in.
func (b *blinded) present(id domain.UserID) string {
	b.t.Helper()
	token, err := b.tokens.SignFor(access.Proof{User: id, AuthenticatedAt: time.Now()}, time.Now(), time.Hour)
	if err != nil {
		b.t.Fatal(err)
	}
	return token
}

// armOf reads the patient's arm from the log.
func (b *blinded) armOf(of domain.OfPatient) (arm string) {
	b.t.Helper()
	for e, err := range b.log.ReadStream(b.t.Context(), randomisation.Decider.Stream(string(b.study)), 0) {
		if err != nil {
			b.t.Fatal(err)
		}
		if drawn, is := e.Event.(randomisation.PatientRandomised); is && drawn.Patient == of.Patient {
			plain, _ := drawn.Arm.Open()
			arm = string(plain)
		}
	}
	return arm
}

// shows sends a command that has to be answered with the patient's arm, or without any.
func (b *blinded) shows(token string, of domain.OfPatient, cmd randomisation.BreakBlind, arm bool) (text string) {
	b.t.Helper()
	var status int
	status, _, text = b.command(token, "", cmd)
	if status != http.StatusOK || strings.Contains(text, b.armOf(of)) != arm || !arm && strings.Contains(text, "revealed") {
		b.t.Errorf("%+v is answered %d %s", cmd, status, text)
	}
	if strings.Contains(text, `"revision"`) {
		b.t.Errorf("the answer tells how many events there were since the last one, which a forced draw has more of: %s", text)
	}
	return text
}

// alerts are those about a patient that the site sees.
func (b *blinded) alerts(of domain.OfPatient) (summaries []string) {
	b.t.Helper()
	var list readmodels.List[safetyviews.Alert]
	b.query(b.crc, fmt.Sprintf("/api/v1/studies/%s/alerts?site=01&limit=100", b.study), 0, &list)
	for _, a := range list.Items {
		if a.Patient == of.Patient && a.Kind == safety.BlindBroken {
			summaries = append(summaries, a.Summary)
		}
	}
	return summaries
}

// marked waits until the site sees that a patient is unblinded.
func (b *blinded) marked(of domain.OfPatient, kind study.Unblinding) (v patientviews.PatientDocument) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("%s is marked as unblinded: %s", of.Patient, kind), func() bool {
		v = b.patient(b.crc, of, 0)
		return v.Unblinded == kind
	})
	if !slices.ContainsFunc(v.Steps, func(s patientviews.Step) bool { return s.What == "PatientUnblinded" && s.Note == string(kind) }) {
		b.t.Errorf("the history is %+v", v.Steps)
	}
	var list readmodels.List[patientviews.PatientRow]
	b.eventually("the list marks the patient", func() bool {
		b.query(b.crc, fmt.Sprintf("/api/v1/studies/%s/patients?site=01&limit=100", b.study), 0, &list)
		return slices.ContainsFunc(list.Items, func(r patientviews.PatientRow) bool { return r.Patient == of.Patient && r.Unblinded == kind })
	})
	return v
}

// opened opens an envelope with the command line, which needs no server.
func (b *blinded) opened(dir string, args ...string) (e codebreak.Envelope, code int, text string) {
	b.t.Helper()
	var out, errOut bytes.Buffer
	code = run(context.Background(), append([]string{"codebreak", "open", "--json", "--dir", dir, "--identity", b.key}, args...),
		&out, &errOut)
	if code == exitOK {
		if err := json.Unmarshal(out.Bytes(), &e); err != nil {
			b.t.Fatal(err)
		}
	}
	return e, code, errOut.String()
}

// renewed waits until the patient's envelope says what holds.
func (b *blinded) renewed(of domain.OfPatient, what string, holds func(codebreak.Envelope) bool) (e codebreak.Envelope) {
	b.t.Helper()
	b.eventually("the envelope says "+what, func() bool {
		var code int
		e, code, _ = b.opened(b.envelopes, "--patient", string(of.Patient))
		return code == exitOK && holds(e)
	})
	return e
}

// TestDailyLifeOfUnblinding plays how arms become known, over HTTP and with the server off. Each scenario has the name that the
// people of a trial give it.
func TestDailyLifeOfUnblinding(t *testing.T) {
	b, whole := openBlinded(t), t
	dr := func() string { return b.investigator(true) }
	overdose := domain.Because("Suspected overdose")

	t.Run("emergency by site", func(t *testing.T) {
		b.t = t
		of := b.enrolled()
		cmd := randomisation.BreakBlind{Patient: of.Patient, Reasoned: overdose}
		b.refused(b.crc, "not_allowed", cmd)
		b.refused(b.investigator(false), "reauthentication_required", cmd)
		b.must(b.crc, patient.RecordDoseChange{OfPatient: of, Direction: patient.DoseUp, On: "2026-02-20", Reasoned: domain.Because("Pain")})
		if text := b.shows(dr(), of, cmd, true); !strings.Contains(text, `"doseStep":2`) || !strings.Contains(text, "poison centre") {
			t.Errorf("in an emergency, the dose is not shown: %s", text)
		}
		// The treatment goes on, because the protocol says nothing else.
		if v := b.marked(of, study.UnblindedInEmergency); v.Treatment != patient.TreatmentOn {
			t.Errorf("the treatment is %s", v.Treatment)
		}
		b.eventually("the site is told", func() bool {
			return slices.Equal(b.alerts(of), []string{"The treatment of patient " + string(of.Patient) + " was unblinded in an emergency."})
		})
		themselves := b.account("patient."+domain.UserID(strings.ToLower(strings.ReplaceAll(string(of.Patient), ".", "-"))),
			user.Grant{Role: user.PatientRole, Study: b.study, Patient: of.Patient})
		if v := b.patient(themselves, of, 0); v.Unblinded != "" ||
			slices.ContainsFunc(v.Steps, func(s patientviews.Step) bool { return s.What == "PatientUnblinded" }) {
			t.Errorf("the patient is shown %q and %+v", v.Unblinded, v.Steps)
		}
	})

	t.Run("at night by telephone, by kit number", func(t *testing.T) {
		b.t = t
		of := b.enrolled()
		kit := b.dispense(b.crc, of, "01", "2026-02-04")
		cmd := randomisation.BreakBlind{Study: b.study, Kit: kit, Reasoned: overdose, AskedBy: "Dr. Roth, emergency department, +49 30 1234"}
		b.shows(b.present("safety"), of, cmd, true)
		b.marked(of, study.UnblindedInEmergency)
		recorded := false
		for e, err := range b.log.ReadStream(t.Context(), randomisation.Decider.Stream(string(b.study)), 0) {
			if err != nil {
				t.Fatal(err)
			}
			broken, is := e.Event.(randomisation.BlindBroken)
			recorded = recorded || is && broken.Patient == of.Patient && broken.Kit == kit &&
				openedText(t, b.installation, broken.AskedBy) == string(cmd.AskedBy) &&
				slices.Equal(broken.KnownTo, []domain.UserID{"safety"})
		}
		if !recorded {
			t.Error("it is not recorded who asked, and by which kit")
		}
		cmd.Patient = b.enrolled().Patient
		b.refused(b.present("safety"), "kit_of_another_patient", cmd)
		cmd.Patient, cmd.Kit = "", "K-99"
		b.refused(b.present("safety"), "kit_without_patient", cmd)
		b.refused(dr(), "not_allowed", cmd) // an investigator of one site does not learn which kits there are elsewhere
		cmd.Kit = ""
		b.refused(b.present("safety"), "value_missing", cmd)
	})

	t.Run("SUSAR", func(t *testing.T) {
		b.t = t
		of, next := b.enrolled(), b.enrolled()
		before := b.patient(b.crc, of, 0)
		cmd := randomisation.BreakBlind{Patient: of.Patient, Kind: study.UnblindedForSafetyReport, Reasoned: domain.Because("SUSAR 2026-0007")}
		b.refused(dr(), "not_allowed", cmd)
		b.shows(b.present("safety"), of, cmd, true)
		// A later emergency of another patient has been handled, so nothing about the report is still to come.
		b.shows(dr(), next, randomisation.BreakBlind{Patient: next.Patient, Reasoned: overdose}, true)
		b.marked(next, study.UnblindedInEmergency)
		b.eventually("the site is told of the emergency", func() bool { return len(b.alerts(next)) == 1 })
		after := b.patient(b.crc, of, 0)
		if len(b.alerts(of)) != 0 || after.Unblinded != "" || len(after.Steps) != len(before.Steps) || after.UpdatedAt != before.UpdatedAt {
			t.Errorf("the site hears of the safety report: %v, %+v", b.alerts(of), after)
		}
		for _, q := range contexts.Queries() {
			path := strings.NewReplacer("{study}", string(b.study), "{site}", "01", "{patient}", string(of.Patient), "{kit}", "K-01").Replace(q.Path)
			for _, token := range []string{b.crc, b.investigator(false), b.manager} {
				for _, parameters := range []string{"?limit=200", "?site=01&limit=200", ""} {
					request, err := http.NewRequest(http.MethodGet, b.url+path+parameters, nil)
					if err != nil {
						t.Fatal(err)
					}
					if _, text := b.do(request, token); strings.Contains(text, "SUSAR") || token != b.manager && strings.Contains(text, "safety_report") {
						t.Errorf("%s shows of the safety report: %s", path, text)
					}
				}
			}
		}
	})

	t.Run("accidental", func(t *testing.T) {
		b.t = t
		of := b.enrolled()
		b.shows(b.present("crc.one"), of, randomisation.BreakBlind{Patient: of.Patient, Kind: study.UnblindedByAccident,
			Reasoned: domain.Because("The pharmacy's note was left on the box"), KnownTo: []domain.UserID{"crc.one"}}, false)
		b.marked(of, study.UnblindedByAccident)
		b.eventually("the alert says so", func() bool {
			return slices.Equal(b.alerts(of), []string{"The treatment of patient " + string(of.Patient) + " has become known by accident."})
		})
	})

	t.Run("after unblinding: the treatment ends, others assess", func(t *testing.T) {
		b.t = t
		b.publish(2, &study.AfterUnblinding{EndsTreatment: []study.Unblinding{study.UnblindedInEmergency}, AssessmentsByOthers: true})
		of := b.enrolled()
		kit := b.kitOf(b.crc, of, "01")
		b.shows(dr(), of, randomisation.BreakBlind{Patient: of.Patient, Reasoned: overdose}, true)
		b.marked(of, study.UnblindedInEmergency)
		b.eventually("the treatment has ended", func() bool { return b.patient(b.crc, of, 0).Treatment == patient.TreatmentEnded })
		b.eventually("the kit is set aside", func() bool { return b.setAside(b.crc, kit) })
		visit := patient.RecordVisit{OfPatient: of, Visit: "week-4", On: "2026-03-03"}
		b.refused(dr(), "assessor_unblinded", visit)
		b.must(b.crc, visit)
		b.renewed(of, "that the treatment has ended", func(e codebreak.Envelope) bool { return e.Treatment == patient.TreatmentEnded })
	})

	t.Run("envelope renewed with the draw, each kit and the arm's description", func(t *testing.T) {
		b.t = t
		of := b.enrolled()
		first := b.renewed(of, "the arm", func(e codebreak.Envelope) bool { return string(e.Arm.ID) == b.armOf(of) })
		if first.Study != b.study || first.Patient != of.Patient || first.Site != "01" || first.DrawnAt.IsZero() || first.AsOf == 0 {
			t.Errorf("the envelope is %+v", first)
		}
		kit := b.dispense(b.crc, of, "01", "2026-02-04")
		status := func(n supply.KitNumber, is string) func(codebreak.Envelope) bool {
			return func(e codebreak.Envelope) bool {
				return slices.ContainsFunc(e.Kits, func(k codebreak.Kit) bool { return k.Kit == n && k.Status == is })
			}
		}
		given := b.renewed(of, "that the kit was given out", status(kit, "dispensed"))
		if given.AsOf <= first.AsOf || given.Fingerprint == first.Fingerprint {
			t.Errorf("the envelope is as of %d with %s, and was %d with %s", given.AsOf, given.Fingerprint, first.AsOf, first.Fingerprint)
		}
		b.must(b.crc, supply.ReplaceKit{Site: "01", OfPatient: of, Kit: kit, Cause: supply.LostByPatient, Reasoned: domain.Because("Lost")})
		b.renewed(of, "that the kit was replaced", status(kit, "replaced"))
		b.renewed(of, "which kit comes next", status(b.kitOf(b.crc, of, "01"), "allocated"))
		b.must(b.crc, patient.RecordDoseChange{OfPatient: of, Direction: patient.DoseUp, On: "2026-02-20", Reasoned: domain.Because("Pain")})
		b.renewed(of, "the dose in force", func(e codebreak.Envelope) bool { return e.Arm.DoseStep == 2 })
		blindedArms[0].Dose, blindedArms[1].Dose = "30 mg twice daily", "2 capsules"
		b.publish(3, nil)
		b.must(b.crc, patient.ApplyProtocolVersion{OfPatient: of, Version: 3, On: domain.DateOf(time.Now().UTC())})
		b.renewed(of, "the new dose", func(e codebreak.Envelope) bool {
			return slices.Contains([]string{"30 mg twice daily", "2 capsules"}, e.Arm.Dose)
		})
	})

	t.Run("files tell neither patient nor arm", func(t *testing.T) {
		b.t = t
		arms, sizes := map[string]bool{}, map[int64]bool{}
		files, err := os.ReadDir(b.envelopes)
		if err != nil {
			t.Fatal(err)
		}
		files = slices.DeleteFunc(files, func(f os.DirEntry) bool { return strings.HasPrefix(f.Name(), ".") }) // they are being written
		for _, f := range files {
			text, err := os.ReadFile(filepath.Join(b.envelopes, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(f.Name(), "S-") || bytes.Contains(text, []byte("VERUM")) || bytes.Contains(text, []byte("PLCB")) {
				t.Errorf("%s shows something", f.Name())
			}
			if f.Name() != "index.age" {
				sizes[int64(len(text))] = true
				e, code, text := b.opened(b.envelopes, "--file", filepath.Join(b.envelopes, f.Name()))
				if code != exitOK {
					t.Fatal(text)
				}
				arms[string(e.Arm.ID)] = true
			}
		}
		if len(arms) != 2 || len(sizes) != 1 || len(files) < 6 {
			t.Errorf("%d files of %d arms have the sizes %v", len(files), len(arms), sizes)
		}
	})

	t.Run("server off: open an envelope, record the opening afterwards", func(t *testing.T) {
		b.t = t
		of := b.enrolled()
		kit := b.kitOf(b.crc, of, "01")
		b.renewed(of, "the kit", func(e codebreak.Envelope) bool { return len(e.Kits) == 1 })
		arm, installation := b.armOf(of), b.installationKey()
		// At night the centre has a copy of the directory, its key, and no server.
		centre := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(centre, os.DirFS(b.envelopes)); err != nil {
			t.Fatal(err)
		}
		if err := b.close(); err != nil {
			t.Fatal(err)
		}
		e, code, text := b.opened(centre, "--study", string(b.study), "--kit", string(kit), "--installation", installation)
		if code != exitOK || string(e.Arm.ID) != arm || e.Patient != of.Patient || !e.Signed {
			t.Fatalf("the envelope is %+v, %d %s", e, code, text)
		}
		if _, code, text := b.opened(centre, "--patient", "CODE.S-99"); code == exitOK || !strings.Contains(text, "no envelope") {
			t.Errorf("a patient without an envelope is answered %d %s", code, text)
		}
		foreign := base64.StdEncoding.EncodeToString(make([]byte, 32))
		if _, code, text := b.opened(centre, "--patient", string(of.Patient), "--installation", foreign); code == exitOK ||
			!strings.Contains(text, "do not rely") {
			t.Errorf("an envelope of another installation is answered %d %s", code, text)
		}
		// The server is there again.
		b.installation = startIn(whole, b.dir)
		b.t = t
		opened := randomisation.RecordCodeBreakOpened{OfPatient: of, Reasoned: overdose, OpenedAt: time.Now().Add(-time.Second),
			OpenedBy: "A. Berger", AskedBy: "Dr. Roth", KnownTo: []domain.UserID{"dr.one"}, Fingerprint: e.Fingerprint}
		b.refused(b.crc, "not_allowed", opened)
		early := opened
		early.OpenedAt = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
		if status, _, answer := b.command(b.present("safety"), "", early); status != http.StatusUnprocessableEntity ||
			!strings.Contains(answer, "opened_before_draw") {
			t.Errorf("an opening of 1900 is answered %d %s", status, answer)
		}
		status, _, answer := b.command(b.present("safety"), "", opened)
		if status != http.StatusOK || strings.Contains(answer, arm) {
			t.Fatalf("the opening is answered %d %s", status, answer)
		}
		b.marked(of, study.UnblindedInEmergency)
		b.eventually("the site is told", func() bool { return len(b.alerts(of)) == 1 })
	})

	t.Run("planned", func(t *testing.T) {
		b.t = t
		of := b.enrolled()
		cmd := randomisation.BreakBlind{Patient: of.Patient, Kind: study.UnblindedAsPlanned, Reasoned: domain.Because("End of the study")}
		b.refused(dr(), "enrollment_open", cmd)
		b.must(b.manager, enrollment.CloseEnrollment{InStudy: domain.ForStudy(b.study), Reasoned: domain.Because("Target reached")})
		b.refused(dr(), "participation_not_ended", cmd)
		b.must(b.crc, patient.CompletePatient{OfPatient: of, On: "2026-04-01"})
		b.refused(dr(), "participation_not_ended", cmd) // others still take part
		berlin, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		var taking readmodels.List[patientviews.PatientRow]
		b.query(b.crc, fmt.Sprintf("/api/v1/studies/%s/patients?site=01&status=enrolled&limit=100", b.study), 0, &taking)
		for _, r := range taking.Items {
			if r.Patient != of.Patient {
				b.must(b.crc, patient.CompletePatient{OfPatient: domain.ForPatient(r.Patient), On: domain.DateOf(time.Now().In(berlin))})
			}
		}
		b.shows(dr(), of, cmd, true)
		b.marked(of, study.UnblindedAsPlanned)
		// A later emergency of another patient has been told, so nothing about the planned unblinding is still to come.
		other := slices.IndexFunc(taking.Items, func(r patientviews.PatientRow) bool {
			return r.Patient != of.Patient && r.Unblinded == ""
		})
		if other < 0 {
			t.Fatal("every other patient is unblinded already")
		}
		next := domain.ForPatient(taking.Items[other].Patient)
		b.shows(dr(), next, randomisation.BreakBlind{Patient: next.Patient, Reasoned: overdose}, true)
		b.eventually("the site is told of the emergency", func() bool { return len(b.alerts(next)) == 1 })
		if told := b.alerts(of); len(told) != 0 {
			t.Errorf("an alert tells of what was planned: %v", told)
		}
	})

	t.Run("export by hand is recorded", func(t *testing.T) {
		b.t = t
		dir := filepath.Join(t.TempDir(), "by-hand")
		var public, out, errOut bytes.Buffer
		b.key = filepath.Join(t.TempDir(), "other.key")
		run(t.Context(), []string{"codebreak", "key", b.key}, &public, io.Discard)
		recipient := strings.TrimSpace(public.String())
		if code := run(t.Context(), []string{"codebreak", "export", "--data", b.dir, "--dir", dir, "--recipient", recipient}, &out,
			&errOut); code != exitOK {
			t.Fatalf("%d %s %s", code, &out, &errOut)
		}
		if _, code, _ := b.opened(dir, "--patient", "CODE.S-01"); code != exitOK {
			t.Error("the envelope does not open")
		}
		if _, code, _ := b.opened(b.envelopes, "--patient", "CODE.S-01"); code == exitOK {
			t.Error("another key opens the envelopes of the centre")
		}
		last, found, err := b.log.Last(t.Context(), randomisation.Decider.Stream(string(b.study)))
		exported, is := last.Event.(randomisation.CodeBreaksExported)
		if err != nil || !found || !is || !slices.Equal(exported.Recipients, []string{recipient}) || last.Metadata.Actor != "process:operator" {
			t.Errorf("the last event is %+v, %v", last.Event, err)
		}
	})
}

// installationKey returns the key with which envelopes are signed.
func (b *blinded) installationKey() string {
	b.t.Helper()
	to, err := recipients([]string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"})
	if err != nil {
		b.t.Fatal(err)
	}
	e, err := codebreak.NewExporter(codebreak.Options{Log: b.log, Recipients: to})
	if err != nil {
		b.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(e.PublicKey())
}
