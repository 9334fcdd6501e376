package diary

import (
	"casebook/domain"
	"casebook/domain/refuse"
)

// SetDiaryLanguage says in which language the patient is shown diaries.
type SetDiaryLanguage struct {
	domain.OfPatient
	Language Language `json:"language" doc:"Language tag (RFC 5646)"`
}

// LanguageSet says in which language the patient is shown diaries.
type LanguageSet struct {
	Patient  domain.PatientID `json:"patient"`
	Language Language         `json:"language"`
	// Was is the language before; "" for none, and in events from before they said so.
	Was Language `json:"was,omitempty"`
}

// Changed implements domain.Changing.
func (e LanguageSet) Changed() []domain.ChangedValue {
	if e.Was == "" {
		return nil
	}
	return domain.ChangedText("language", e.Was, e.Language)
}

func (LanguageSet) diaryEvent() {}

// SetLanguage decides about SetDiaryLanguage. It records nothing where the language is set already, and refuses value_missing and
// malformed_language.
func SetLanguage(d Diary, cmd SetDiaryLanguage, _ domain.Call) ([]Event, error) {
	if cmd.Language == "" {
		return nil, refuse.Malformed("value_missing", "the language is missing").At("language").Do("use a tag of RFC 5646, such as de")
	}
	if err := cmd.Language.validate(); err != nil || cmd.Language == d.Language() {
		return nil, err
	}
	return []Event{LanguageSet{Patient: cmd.Patient, Language: cmd.Language, Was: d.Language()}}, nil
}
