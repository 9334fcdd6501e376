package domain

import (
	"regexp"
	"slices"
	"strings"

	"casebook/domain/refuse"
)

// StudyID names a study: 1 to 32 letters, digits and hyphens, beginning with a letter or digit.
type StudyID string

// SiteID names a site within its study, in the same alphabet as a StudyID.
type SiteID string

// PatientID names a patient in the whole system. It consists of the study and the screening number (see NewPatientID),
// so two patients of one study can never share a screening number.
type PatientID string

// ArmID names an arm of a study's protocol. The arm of a patient and the arm of a kit are only passed on as a
// blind.Value.
type ArmID string

// UserID names a person: 1 to 64 lower-case letters, digits and . _ @ -. A process manager has a UserID that no person
// can have, with a colon in it.
type UserID string

const (
	// NamePattern matches the ids of studies and sites, and whatever else is named in their alphabet.
	NamePattern    = `^[A-Za-z0-9][A-Za-z0-9-]{0,31}$`
	patientPattern = `^[A-Za-z0-9][A-Za-z0-9-]{0,31}\.[A-Za-z0-9][A-Za-z0-9-]{0,31}$`
	personPattern  = `^[a-z0-9][a-z0-9._@-]{0,63}$`
	// userPattern also matches the names of process managers, which answers show where one of them acted.
	userPattern = `^(process:)?[a-z0-9][a-z0-9._@-]{0,63}$`
)

var (
	isName   = regexp.MustCompile(NamePattern).MatchString
	isPerson = regexp.MustCompile(personPattern).MatchString
)

// Schema implements HasSchema.
func (StudyID) Schema() Schema { return Schema{Pattern: NamePattern, Example: "PAIN1"} }

// Schema implements HasSchema.
func (SiteID) Schema() Schema { return Schema{Pattern: NamePattern, Example: "DE-01"} }

// Schema implements HasSchema.
func (PatientID) Schema() Schema { return Schema{Pattern: patientPattern, Example: "PAIN1.S-0001"} }

// Schema implements HasSchema.
func (UserID) Schema() Schema { return Schema{Pattern: userPattern, Example: "nurse.weber"} }

// NewPatientID returns the id of the patient with this screening number in this study.
func NewPatientID(study StudyID, screeningNumber string) PatientID {
	return PatientID(string(study) + "." + screeningNumber)
}

// Study returns the study that the patient belongs to, or "" for an id without one.
func (p PatientID) Study() StudyID {
	study, _, ok := strings.Cut(string(p), ".")
	if !ok {
		return ""
	}
	return StudyID(study)
}

// Validate refuses an id that NewPatientID could not have made of a valid study and number (code malformed_id).
func (p PatientID) Validate() error {
	study, number, ok := strings.Cut(string(p), ".")
	if !ok || !isName(study) || !isName(number) {
		return malformedID("patient", "patient", string(p), "the study's id, a dot and the screening number, such as PAIN1.S-0001")
	}
	return nil
}

// Validate refuses a malformed id (code malformed_id).
func (s StudyID) Validate() error { return validateName("study", "study", string(s)) }

// Validate refuses a malformed id (code malformed_id).
func (s SiteID) Validate() error { return validateName("site", "site", string(s)) }

// Validate refuses a malformed id (code malformed_id).
func (u UserID) Validate() error {
	if !isPerson(string(u)) {
		return malformedID("user", "user", string(u), "1 to 64 lower-case letters, digits and . _ @ -, beginning with a letter or digit")
	}
	return nil
}

// ValidateScreeningNumber refuses a screening number that cannot be part of a PatientID (code malformed_id).
func ValidateScreeningNumber(number string) error {
	return validateName("screeningNumber", "screening number", number)
}

func validateName(field, what, id string) error {
	if !isName(id) {
		return malformedID(field, what, id, "1 to 32 letters, digits and hyphens, beginning with a letter or digit")
	}
	return nil
}

// malformedID refuses an id in the field that commands usually have it in. Callers set another field with At.
func malformedID(field, what, id, want string) error {
	if id == "" {
		return refuse.Malformed("value_missing", "the field %q is missing: it names the %s", field, what).At(field).Do("use " + want)
	}
	return refuse.Malformed("malformed_id", "%q is not a %s id", shortened(id), what).At(field).Do("use " + want)
}

// shortened bounds how much of a sender's text a refusal repeats.
func shortened(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// Folded returns a number as it is compared: S-1 and s-1 are one number. Numbers have ASCII letters only (see NamePattern).
func Folded(number string) string { return strings.ToUpper(number) }

// maxSpelledLetters bounds how many letters of a number are spelled both ways: six letters have 64 spellings.
const maxSpelledLetters = 6

// OtherSpellings returns the other numbers that differ from this one in capital and small letters alone. Of a number with more than six
// letters, those in capital letters alone and in small letters alone are returned.
func OtherSpellings(number string) []string {
	all := []string{strings.ToLower(number), strings.ToUpper(number)}
	if letters := len(isLetter.FindAllString(number, -1)); letters <= maxSpelledLetters {
		all = []string{""}
		for i := range len(number) {
			c, next := number[i:i+1], []string{}
			for _, begun := range all {
				next = append(next, begun+strings.ToLower(c))
				if upper := strings.ToUpper(c); upper != strings.ToLower(c) {
					next = append(next, begun+upper)
				}
			}
			all = next
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(s string) bool { return s == number })
}

var isLetter = regexp.MustCompile(`[A-Za-z]`)
