package domain

import (
	"time"

	"casebook/domain/personal"
)

// A command's fields say what it is about: it embeds OfPatient, AtSite, InStudy or OfUser, or a struct of its context
// with the same methods. The stream that the command runs on, the scope in which it needs a role, its order in a batch
// and the metadata of its events follow from that. A doc:"..." tag on the embedded struct replaces the API's
// description of the last of its fields, if the command can describe the field more precisely.

// OfPatient is embedded by commands about one patient.
type OfPatient struct {
	Patient PatientID `json:"patient" doc:"The patient"`
}

// InStudy is embedded by commands about a study as a whole.
type InStudy struct {
	Study StudyID `json:"study" doc:"The study"`
}

// AtSite is embedded by commands about one site of a study.
type AtSite struct {
	Study StudyID `json:"study" doc:"The study"`
	Site  SiteID  `json:"site" doc:"The site"`
}

// OfUser is embedded by commands about one account.
type OfUser struct {
	User UserID `json:"user" doc:"The user"`
}

// Reasoned is embedded by commands with a reason (ICH E6(R3) 4.2.2(a)(ii)). The reason becomes part of the events'
// metadata.
type Reasoned struct {
	Reason personal.Text `json:"reason" minLength:"1" maxLength:"500" doc:"Why"`
}

// AboutPatient is a command, or an event, about one patient.
type AboutPatient interface{ AboutPatient() PatientID }

// AboutStudy is a command about a study as a whole.
type AboutStudy interface{ AboutStudy() StudyID }

// AboutSite is a command about one site, or one depot, of a study.
type AboutSite interface{ AboutSite() (StudyID, SiteID) }

// AboutUser is a command about one account.
type AboutUser interface{ AboutUser() UserID }

// WithReason is a command with a reason.
type WithReason interface{ GivenReason() personal.Text }

// WithCapture is a command with data that a device captured, at a time and in a time zone.
type WithCapture interface {
	Captured() (at time.Time, zone string)
}

// WithSignature is a command with a signature. Whoever signs the same again may get another signature.
type WithSignature interface {
	// WithoutSignature returns the command without it: two commands that are the same without it are the same. signed is false if it has
	// none, and then the command is not returned.
	WithoutSignature() (unsigned any, signed bool)
}

// AboutPatient returns the patient that the command is about.
func (o OfPatient) AboutPatient() PatientID { return o.Patient }

// AboutStudy returns the study that the command is about.
func (i InStudy) AboutStudy() StudyID { return i.Study }

// AboutSite returns the site that the command is about.
func (a AtSite) AboutSite() (StudyID, SiteID) { return a.Study, a.Site }

// AboutStudy returns the study that the site belongs to.
func (a AtSite) AboutStudy() StudyID { return a.Study }

// AboutUser returns the account that the command is about.
func (o OfUser) AboutUser() UserID { return o.User }

// GivenReason returns the reason.
func (r Reasoned) GivenReason() personal.Text { return r.Reason }

// ForPatient returns the field of a command about this patient.
func ForPatient(id PatientID) OfPatient { return OfPatient{Patient: id} }

// ForStudy returns the field of a command about this study.
func ForStudy(id StudyID) InStudy { return InStudy{Study: id} }

// ForSite returns the fields of a command about this site of the study.
func ForSite(study StudyID, site SiteID) AtSite { return AtSite{Study: study, Site: site} }

// ForUser returns the field of a command about this account.
func ForUser(id UserID) OfUser { return OfUser{User: id} }

// Because returns the field of a command with this reason.
func Because[T ~string](reason T) Reasoned { return Reasoned{Reason: personal.Text(reason)} }

// ByPatient is the Key of deciders with one stream per patient.
func ByPatient(command any) (id string, ok bool) {
	c, ok := command.(AboutPatient)
	if !ok {
		return "", false
	}
	return string(c.AboutPatient()), true
}

// ByStudy is the Key of deciders with one stream per study.
func ByStudy(command any) (id string, ok bool) {
	c, ok := command.(AboutStudy)
	if !ok {
		return "", false
	}
	return string(c.AboutStudy()), true
}

// ByUser is the Key of deciders with one stream per account.
func ByUser(command any) (id string, ok bool) {
	c, ok := command.(AboutUser)
	if !ok {
		return "", false
	}
	return string(c.AboutUser()), true
}
