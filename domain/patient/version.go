package patient

import (
	"slices"

	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
	"casebook/domain/study"
)

// ApplyProtocolVersion has an enrolled patient follow a newer version of the protocol.
type ApplyProtocolVersion struct {
	domain.OfPatient
	Version int         `json:"version" minimum:"1" doc:"The version of the protocol"`
	On      domain.Date `json:"on" doc:"First day on which the patient follows it"`
}

// RecordReconsentRefusal records that a patient does not sign the consent again.
type RecordReconsentRefusal struct {
	domain.OfPatient
	On     domain.Date   `json:"on" doc:"Day on which the patient refused"`
	Reason personal.Text `json:"reason,omitempty" maxLength:"500" doc:"Patients need not give one"`
}

// GivenReason returns the reason. It may be empty, because patients need not give one.
func (c RecordReconsentRefusal) GivenReason() personal.Text { return c.Reason }

// ProtocolVersionApplied says that a patient follows a newer version of the protocol.
type ProtocolVersionApplied struct {
	Patient domain.PatientID `json:"patient"`
	From    int              `json:"from"`
	To      int              `json:"to"`
	On      domain.Date      `json:"on"`
	// Reconsent is what the patient has to sign again; nil if nothing, or if only an earlier one is still awaited.
	Reconsent *Reconsent `json:"reconsent,omitempty"`
}

// Reconsent is a consent that a patient has to sign again.
type Reconsent struct {
	// Protocol is the version that asks for it. The form of a later version will do too.
	Protocol       int             `json:"protocol"`
	ConsentVersion string          `json:"consentVersion"`
	Since          domain.Date     `json:"since"`
	By             domain.Date     `json:"by"`
	Blocks         []study.Blocked `json:"blocks,omitempty"`
}

// ReconsentRefused says that a patient does not sign the consent again. What is blocked stays blocked.
type ReconsentRefused struct {
	Patient        domain.PatientID `json:"patient"`
	Protocol       int              `json:"protocol"`
	ConsentVersion string           `json:"consentVersion"`
	On             domain.Date      `json:"on"`
	Reason         personal.Text    `json:"reason,omitempty"`
}

func (ProtocolVersionApplied) patientEvent() {}
func (ReconsentRefused) patientEvent()       {}

// AboutPatient returns the patient that the event is about.
func (e ProtocolVersionApplied) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e ReconsentRefused) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e ScreenFailureRecorded) AboutPatient() domain.PatientID { return e.Patient }

// AboutPatient returns the patient that the event is about.
func (e ConsentRecorded) AboutPatient() domain.PatientID { return e.Patient }

// ProtocolIn returns the version of the protocol that the patient follows, 0 for none. Until the enrolment is requested, it is the
// one that is in force at the site. Then it is the one that made the patient eligible, until another is applied to the patient.
func (p Patient) ProtocolIn(s study.Study) int {
	switch p.Status {
	case StatusScreened, StatusConsented, StatusEnrollmentFailed:
		return s.InForceAt(p.Site, "")
	case StatusScreenFailed, StatusEnrolling, StatusEnrolled, StatusWithdrawn, StatusDiscontinued, StatusCompleted, StatusRegisteredInError:
	}
	return s.Following(p.Protocol)
}

// Follows returns the study as the patient's version of the protocol has it.
func (p Patient) Follows(s study.Study) study.Study { return s.As(p.ProtocolIn(s)) }

// Apply decides about ApplyProtocolVersion. It refuses malformed_date, captured_in_future, patient_not_found, patient_ended,
// patient_status, protocol_version_not_found, protocol_version_followed, protocol_not_approved, applied_before_approval,
// applied_before_enrollment and applied_before_former.
func Apply(p Patient, s study.Study, cmd ApplyProtocolVersion, call domain.Call) ([]Event, error) {
	// Who is not enrolled follows the site's version without it.
	err := domain.First(cmd.On.NotAfterToday("on", call), p.mustBe("apply a version of the protocol", StatusEnrolled))
	if err != nil {
		return nil, err
	}
	from := p.ProtocolIn(s)
	switch {
	case s.Version(cmd.Version) == nil:
		return nil, refuse.NotFound("protocol_version_not_found", "the study has no version %d of the protocol", cmd.Version).At("version").
			Do("check the number")
	case cmd.Version <= from:
		return nil, refuse.WrongState("protocol_version_followed", "the patient follows version %d of the protocol already", from).
			At("version").Do("nothing is left to do")
	}
	since, reached := s.Reached(cmd.Version, p.Site)
	if !reached {
		return nil, refuse.WrongState("protocol_not_approved", "version %d of the protocol is not approved for site %s", cmd.Version, p.Site).
			At("version").Do("record the approval of the ethics committee first (ICH E6(R3) 4.3.5)")
	}
	err = domain.First(cmd.On.NotBefore(since, "applied_before_approval", "on", "the change", "the approval"),
		cmd.On.NotBefore(p.EnrolledOn, "applied_before_enrollment", "on", "the change", "the enrolment"),
		cmd.On.NotBefore(p.AppliedOn, "applied_before_former", "on", "the change", "the change before"))
	if err != nil {
		return nil, err
	}
	return []Event{ProtocolVersionApplied{Patient: p.ID, From: from, To: cmd.Version, On: cmd.On,
		Reconsent: p.toSign(s, from, cmd.Version, cmd.On)}}, nil
}

// toSign returns what a patient has to sign again who goes from one version to another. The last version on the way that asks the
// patient counts. It returns nil for a patient who has signed the form of that version or a later one.
func (p Patient) toSign(s study.Study, from, to int, on domain.Date) *Reconsent {
	for n := to; n > from; n-- {
		if p.signature(s.Version(n).ConsentVersion) >= 0 {
			return nil
		}
		if asks := s.Version(n).Reconsent; asks.Concerns(p.Treatment != TreatmentEnded) {
			return &Reconsent{Protocol: n, ConsentVersion: s.Version(to).ConsentVersion, Since: on, By: on.AddDays(asks.WithinDays),
				Blocks: asks.Blocks}
		}
	}
	return nil
}

// RefuseReconsent decides about RecordReconsentRefusal. The patient may still sign later. It refuses malformed_date,
// captured_in_future, value_too_long, patient_not_found, patient_ended, no_reconsent_due, reconsent_refused and
// refused_before_application.
func RefuseReconsent(p Patient, cmd RecordReconsentRefusal, call domain.Call) ([]Event, error) {
	err := domain.First(cmd.On.NotAfterToday("on", call), domain.OptionalText("reason", cmd.Reason, 500), p.mustNotHaveEnded())
	if err != nil {
		return nil, err
	}
	switch {
	case p.Reconsent == nil:
		return nil, refuse.WrongState("no_reconsent_due", "the patient has no consent to sign again").At("patient").Do("nothing is left to do")
	case p.ReconsentRefusedOn != "":
		return nil, refuse.WrongState("reconsent_refused", "the patient has refused to sign already, on %s", p.ReconsentRefusedOn).
			At("patient").Do("decide whether the patient stays in the study")
	}
	err = cmd.On.NotBefore(p.Reconsent.Since, "refused_before_application", "on", "the refusal", "the change of the protocol")
	if err != nil {
		return nil, err
	}
	return []Event{ReconsentRefused{Patient: p.ID, Protocol: p.Reconsent.Protocol, ConsentVersion: p.Reconsent.ConsentVersion, On: cmd.On,
		Reason: cmd.Reason}}, nil
}

// liftedBy says whether a form is the one that was to be signed again: that of the version that asked for it, or of a later one.
func (r *Reconsent) liftedBy(protocol int, consent string) bool {
	return r != nil && (protocol >= r.Protocol || consent == r.ConsentVersion)
}

// Blocked says whether something is blocked until the patient signs the consent again.
func (p Patient) Blocked(what study.Blocked) bool {
	return p.Reconsent.blocks(what)
}

func (r *Reconsent) blocks(what study.Blocked) bool {
	return r != nil && slices.Contains(r.Blocks, what)
}

// mustHaveSignedAgain refuses visits that are blocked on a day until the patient signs the consent again (code reconsent_required).
func (p Patient) mustHaveSignedAgain(on domain.Date) error {
	if !p.Blocked(study.BlocksVisits) || on < p.Reconsent.Since {
		return nil
	}
	return refuse.WrongState("reconsent_required", "the patient has not signed consent version %s, as version %d of the protocol asks",
		p.Reconsent.ConsentVersion, p.Reconsent.Protocol).At("patient").Do("record the signature first (ICH E6(R3) 2.8.2)")
}

// signedAgain returns the patient after a signature that may have been awaited.
func (p Patient) signedAgain(e ConsentRecorded) Patient {
	if !e.Again || p.Reconsent == nil {
		return p
	}
	if i := p.signature(e.ConsentVersion); i >= 0 {
		p.Consents[i].lifted = p.Reconsent // the list is new with this signature
	}
	p.Reconsent, p.ReconsentRefusedOn = nil, ""
	return p
}

// wasBlocked says whether visits were blocked on a day, because the consent was signed again only later.
func (p Patient) wasBlocked(on domain.Date) bool {
	return slices.ContainsFunc(p.Consents, func(c Signature) bool {
		return c.lifted.blocks(study.BlocksVisits) && c.lifted.Since <= on && on < c.On
	})
}
