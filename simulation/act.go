package simulation

import (
	"context"
	"fmt"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/personal"
	"casebook/domain/user"
)

// closedAfterDays is after how many days a coordinator closes the window of an evening that was not answered. The
// window ends at midnight and accepts late entries until noon; then phones have a day and a half to come online.
const closedAfterDays = 3

// act simulates one day of a patient and of the patient's site.
func (s *simulation) act(ctx context.Context, c *course, day domain.Date) error {
	switch {
	case day == c.screenedOn:
		return s.screen(ctx, c)
	case c.failure != "" || c.enrolledOn == "" || day < c.enrolledOn || c.enrolledOn > s.lastDay():
		return nil
	case day > s.lastDay():
		return s.answer(ctx, c, day)
	case day == c.enrolledOn:
		if err := s.enrol(ctx, c); err != nil || c.enrolledOn != day {
			return err
		}
	case day == c.enrolledOn.AddDays(14) && (c.endsOn == "" || day < c.endsOn):
		if err := s.visit(ctx, c, day); err != nil {
			return err
		}
	}
	if err := s.meet(ctx, c, day); err != nil {
		return err
	}
	if err := s.answer(ctx, c, day); err != nil {
		return err
	}
	if day == c.endsOn {
		return s.end(ctx, c)
	}
	return nil
}

func (s *simulation) screen(ctx context.Context, c *course) error {
	crc, key, of := s.accounts[c.site.crc].token, "patient/"+c.number, domain.ForPatient(c.id())
	err := s.sendAll(ctx, crc, key,
		patient.ScreenPatient{
			AtSite: domain.ForSite(studyID, c.site.id), ScreeningNumber: c.number, On: c.screenedOn, Sex: c.sex, AgeYears: c.age,
		},
		patient.RecordConsent{OfPatient: of, ConsentVersion: consentVersion, On: c.screenedOn})
	if err == nil && c.failure != "" {
		err = s.sendAll(ctx, crc, key, patient.RecordScreenFailure{
			OfPatient: of, On: c.screenedOn.AddDays(1), Reasoned: domain.Because(c.failure),
		})
	}
	return err
}

// enrol enrols a patient, dispenses the first kit, and assigns the instruments. If the site has no kits, it moves
// c.enrolledOn to the next day.
func (s *simulation) enrol(ctx context.Context, c *course) error {
	crc, key, id := s.accounts[c.site.crc].token, "patient/"+c.number, c.id()
	enrol := patient.EnrollPatient{OfPatient: domain.ForPatient(id), On: c.enrolledOn,
		Criteria: map[string]bool{"pain-4": true, "opioids": false}}
	if c.incident == comesInPause && s.paused(c.enrolledOn) {
		return s.comeInPause(ctx, c, enrol)
	}
	if err := s.send(ctx, crc, key+"/enrol/"+string(c.enrolledOn), enrol); err != nil {
		return err
	}
	enrolledOn, err := s.waitEnrolled(ctx, c, crc)
	if err != nil {
		return err
	}
	if enrolledOn != c.enrolledOn {
		c.enrolledOn = enrolledOn
		return nil
	}
	if err := s.dispense(ctx, c, c.enrolledOn); err != nil {
		return err
	}
	until := c.enrolledOn.AddDays(84)
	for _, instrumentID := range []instrument.ID{instrument.PainDiary().ID, instrument.PHQ9().ID} {
		if err := s.send(ctx, crc, fmt.Sprintf("%s/assign/%s", key, instrumentID),
			diary.AssignInstrument{OfPatient: domain.ForPatient(id), Instrument: instrumentID, From: c.enrolledOn, Until: until,
				On: c.enrolledOn}); err != nil {
			return err
		}
	}
	phone := domain.UserID("phone." + string(c.site.id) + "." + lower(c.number))
	account := &Account{
		User: phone, name: string(phone),
		grants: []user.Grant{{Role: user.PatientRole, Study: studyID, Patient: id}},
	}
	if err := s.register(ctx, account, ""); err != nil {
		return err
	}
	token, err := s.SignAs(phone)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phones[id] = token
	return nil
}

// waitEnrolled waits until the enrolment process has ended. It returns the day of the enrolment or, if it failed, the
// day on which the site has to try again.
func (s *simulation) waitEnrolled(ctx context.Context, c *course, token string) (on domain.Date, err error) {
	err = s.waitUntil(ctx, func() (bool, error) {
		now, err := s.api.patient(ctx, token, c.id(), s.lastPosition())
		switch {
		case err != nil:
			return false, err
		case now.Status == patient.StatusEnrollmentFailed:
			on = c.enrolledOn.AddDays(1)
			s.report("", 0, 0, func(n *Counts) { n.NoKit++; n.Enrolled-- })
			return true, nil
		case now.Status != patient.StatusEnrolling && now.Status != patient.StatusConsented:
			// The patient is enrolled. In a repeated run the status may be a later one, and the first attempt may have failed.
			if on = c.enrolledOn; now.enrolledOn() > on {
				on = on.AddDays(1)
				s.report("", 0, 0, func(n *Counts) { n.NoKit++; n.Enrolled-- })
			}
			return true, nil
		}
		return false, nil
	})
	return on, err
}

// answer submits what the phone sends on a day, and lets the site correct and close diaries.
func (s *simulation) answer(ctx context.Context, c *course, day domain.Date) error {
	key := "patient/" + c.number
	s.mu.Lock()
	phone := s.phones[c.id()]
	s.mu.Unlock()
	crc := s.accounts[c.site.crc].token
	delay := c.enrolledOn.DaysSince(c.plannedOn) // the days of the PHQ-9 count from the enrolment
	for _, m := range c.moods {
		if m.day.AddDays(delay) == day && day <= s.lastDay() {
			if err := s.send(ctx, phone, key+"/mood/"+string(m.day), diary.SubmitDiary{
				OfPatient: domain.ForPatient(c.id()), Instrument: instrument.PHQ9().ID,
				CapturedAt: m.capturedAt.AddDate(0, 0, delay), Zone: c.site.zone, Answers: m.answers,
			}); err != nil {
				return err
			}
		}
	}
	var submitted []keyed
	for _, e := range c.evenings {
		if e.sentOn == day && !e.missed && !e.onPaper && e.day >= c.enrolledOn {
			submitted = append(submitted, keyed{key + "/evening/" + string(e.day), diary.SubmitDiary{
				OfPatient: domain.ForPatient(c.id()), Instrument: instrument.PainDiary().ID,
				CapturedAt: e.capturedAt, Zone: c.site.zone, Answers: e.answers,
			}})
		}
	}
	var err error
	switch len(submitted) {
	case 0:
	case 1:
		err = s.send(ctx, phone, submitted[0].key, submitted[0].command)
	default: // the phone was offline for days
		err = s.sendBatch(ctx, phone, submitted)
	}
	if err != nil {
		return err
	}
	return s.correctAndClose(ctx, c, crc, day, key)
}

// correctAndClose lets the site correct a patient's diaries and close the windows of missed ones.
func (s *simulation) correctAndClose(ctx context.Context, c *course, crc string, day domain.Date, key string) error {
	for i, e := range c.evenings {
		if e.day < c.enrolledOn {
			continue
		}
		if e.onPaper && e.day.AddDays(2) == day {
			err := s.send(ctx, crc, key+"/transcribe/"+string(e.day), diary.TranscribeDiary{
				OfPatient: domain.ForPatient(c.id()), Instrument: instrument.PainDiary().ID, AnsweredAt: e.capturedAt, Answers: e.answers,
				Source: diary.SourcePaper, Respondent: diary.RespondentPatient, Reasoned: domain.Because("The phone was broken"),
			})
			if err != nil {
				return err
			}
		}
		if e.correction > 0 && e.sentOn == day {
			err := s.send(ctx, crc, key+"/correct/"+string(e.day), diary.AskDiaryCorrection{
				OfPatient: domain.ForPatient(c.id()), Instrument: instrument.PainDiary().ID,
				Window: string(e.day) + "/evening", Reasoned: domain.Because("Patient called: slipped on the scale"), Answers: correction(e),
			})
			if err != nil {
				return err
			}
			investigator := s.accounts[c.site.investigator].token
			err = s.send(ctx, investigator, key+"/corrected/"+string(e.day), diary.CorrectDiary{OfPatient: domain.ForPatient(c.id()),
				Request: c.corrections(i, day), Reasoned: domain.Because("The patient confirms it")})
			if err != nil {
				return err
			}
		}
		if e.missed && e.day.AddDays(closedAfterDays) == day {
			noon := time.Date(e.capturedAt.Year(), e.capturedAt.Month(), e.capturedAt.Day()+1, 12, 0, 0, 0, e.capturedAt.Location())
			closing := diary.CloseDiaryWindows{OfPatient: domain.ForPatient(c.id()), Through: noon}
			if err := s.send(ctx, crc, key+"/close/"+string(e.day), closing); err != nil {
				return err
			}
		}
	}
	return nil
}

// corrections counts the corrections that were asked for until the day's of an evening.
func (c *course) corrections(evening int, day domain.Date) (n int) {
	for i, e := range c.evenings {
		if e.correction > 0 && e.day >= c.enrolledOn && (e.sentOn < day || e.sentOn == day && i <= evening) {
			n++
		}
	}
	return n
}

// correction returns the answers of a correction: the lower worst pain, and the other answers that must not exceed it.
func correction(e evening) map[instrument.ItemID]any {
	changes := map[instrument.ItemID]any{"worst": e.correction}
	for _, item := range []instrument.ItemID{"average", "least", "now"} {
		if e.answers[item].(int) > e.correction {
			changes[item] = e.correction
		}
	}
	return changes
}

func (s *simulation) end(ctx context.Context, c *course) error {
	crc, key, of := s.accounts[c.site.crc].token, "patient/"+c.number, domain.ForPatient(c.id())
	if c.withdrawn {
		return s.sendAll(ctx, crc, key, patient.WithdrawConsent{OfPatient: of, On: c.endsOn, Reason: personal.Text(c.endReason)})
	}
	return s.sendAll(ctx, crc, key, patient.DiscontinuePatient{OfPatient: of, On: c.endsOn, Reasoned: domain.Because(c.endReason)})
}

// keyed is a command with its idempotency key.
type keyed struct {
	key     string
	command any
}

// sendAll sends commands one after the other. The key of each is key and the command's name.
func (s *simulation) sendAll(ctx context.Context, token, key string, commands ...any) error {
	for _, command := range commands {
		if err := s.send(ctx, token, key+"/"+nameOf(command), command); err != nil {
			return err
		}
	}
	return nil
}

func (s *simulation) send(ctx context.Context, token, key string, command any) error {
	a, err := s.api.command(ctx, token, key, command)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	s.count(a)
	return nil
}

func (s *simulation) sendBatch(ctx context.Context, token string, commands []keyed) error {
	answers, err := s.api.batch(ctx, token, commands)
	if err != nil {
		return err
	}
	for _, a := range answers {
		s.count(a)
	}
	return nil
}

// count counts the events of an answer.
func (s *simulation) count(a answer) {
	s.report("", 0, 0, func(c *Counts) {
		s.position = max(s.position, a.Position)
		for _, e := range a.Events {
			switch e.Type {
			case "PatientScreened":
				c.Screened++
			case "ScreenFailureRecorded":
				c.ScreenFailures++
			case "EnrollmentRequested":
				c.Enrolled++ // the simulation waits for the confirmation
			case "KitDispensed":
				c.KitsDispensed++
			case "ConsentWithdrawn", "PatientDiscontinued":
				c.EndedEarly++
			case "TreatmentDiscontinued":
				c.TreatmentStopped++
			case "ConsentRecorded":
				if e.Data.Again {
					c.Reconsented++
				}
			case "DoseChanged":
				c.DosesChanged++
			case "KitReplacementAsked":
				c.KitsReplaced++
			case "DiarySubmitted":
				c.Diaries++
				if e.Data.Mode == diary.ByTranscription {
					c.Transcribed++
				}
				if e.Data.Late {
					c.Late++
				}
				if e.Data.AfterMissed {
					c.AfterMissed++
					c.Missed--
				}
			case "DiaryWindowMissed":
				c.Missed++
			case "DiaryCorrected":
				c.Corrected++
			}
		}
	})
}

func (s *simulation) lastPosition() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position
}
