package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"image"
	"image/png"
	"net/http"
	"slices"
	"strings"
	"testing"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/user"
	diaryviews "casebook/readmodels/diary"
)

// face is an image, and faceHash its hash.
var face, faceHash = func() ([]byte, string) {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 12, 8))); err != nil {
		panic(err)
	}
	sum := sha256.Sum256(b.Bytes())
	return b.Bytes(), hex.EncodeToString(sum[:])
}()

// publishTranslated publishes the instrument sleep, which is there in English and German, and its image.
func (s *diarySite) publishTranslated(late instrument.LatePolicy) instrument.Reference {
	s.t.Helper()
	d := daily("sleep", late)
	d.Language, d.Wording, d.RiskRules, d.Scores = "en", "2.0", nil, nil
	d.Items = []instrument.Item{{ID: "mood", Text: "How do you feel?", Type: instrument.Choice, Required: true,
		Image:   &instrument.Image{SHA256: faceHash, Alt: "A face"},
		Options: []instrument.Option{{Value: "good", Label: "Good"}, {Value: "bad", Label: "Bad"}}}}
	d.Translations = []instrument.Translation{{Language: "de", Wording: "2.0-DE", Title: "Schlaf",
		Items: map[instrument.ItemID]instrument.TranslatedItem{"mood": {Text: "Wie geht es Ihnen?", ImageAlt: "Ein Gesicht",
			Options: map[string]string{"good": "Gut", "bad": "Schlecht"}}}}}
	inStudy := domain.ForStudy(s.study)
	s.refused(s.manager, "unknown_image", instrument.PublishInstrument{InStudy: inStudy, Instrument: d})
	s.refused(s.manager, "invalid_image", instrument.PublishImage{InStudy: inStudy, Content: []byte("<svg/>"), Alt: "A face"})
	s.must(s.manager, instrument.PublishImage{InStudy: inStudy, Content: face, Alt: "A face"})
	s.must(s.manager, instrument.PublishInstrument{InStudy: inStudy, Instrument: d})
	hash, err := d.SHA256()
	if err != nil {
		s.t.Fatal(err)
	}
	return instrument.Reference{ID: d.ID, Version: d.Version, SHA256: hash}
}

// TestPatientsReadTheirLanguage shows an instrument in the languages that it has, and records which one was shown.
func TestPatientsReadTheirLanguage(t *testing.T) {
	s := openDiarySite(t)
	of := s.takesPart(54, "sleep")
	phone := s.phone(of)
	shown := func(query string) (asked instrument.Asked) {
		t.Helper()
		r := s.ask(http.MethodGet, "/api/v1/me/instruments/sleep"+query, phone)
		if err := json.Unmarshal([]byte(r.body), &asked); err != nil || r.status != http.StatusOK {
			t.Fatalf("%q is answered %d %s, %v", query, r.status, r.body, err)
		}
		return asked
	}
	title := func(position uint64) string {
		t.Helper()
		var list diaryviews.MyInstruments
		s.query(phone, "/api/v1/me/instruments", position, &list)
		at := slices.IndexFunc(list.Instruments, func(i diaryviews.MyInstrument) bool { return i.Instrument == "sleep" })
		if at < 0 || !slices.Equal(list.Instruments[at].Languages, []string{"en", "de"}) {
			t.Fatalf("the instruments are %+v", list)
		}
		return list.Instruments[at].Title
	}
	if own := shown(""); own.Language != "en" || own.Wording != "2.0" || own.Items[0].Text != "How do you feel?" || title(0) != "sleep" {
		t.Errorf("without a language, it is %+v", own)
	}
	if german := shown("?language=de-AT"); german.Language != "de" || german.Wording != "2.0-DE" ||
		german.Items[0].Options[1].Label != "Schlecht" || german.Items[0].Image.Alt != "Ein Gesicht" {
		t.Errorf("in German, it is %+v", german)
	}
	if r := s.ask(http.MethodGet, "/api/v1/me/instruments/sleep?language=fr", phone); r.status != http.StatusNotFound ||
		!strings.Contains(r.body, "language_not_offered") {
		t.Errorf("in French, it is answered %d %s", r.status, r.body)
	}
	set := s.must(s.crc, diary.SetDiaryLanguage{OfPatient: of, Language: "de-CH"}).Position
	if titled := title(set); titled != "Schlaf" || shown("").Language != "de" || shown("?language=en").Language != "en" {
		t.Errorf("after German was set, it is %s, %+v", titled, shown(""))
	}
	// One that the instrument does not have: its own.
	title(s.must(s.crc, diary.SetDiaryLanguage{OfPatient: of, Language: "fr"}).Position)
	if own := shown(""); own.Language != "en" {
		t.Errorf("after French was set, it is %+v", own)
	}
	entry := s.filledIn(of, "sleep", s.ago(2))
	entry.Zone, entry.Answers, entry.Language = "UTC", diary.Answers{"mood": "bad"}, "de"
	if d := s.diary(of, "sleep", ofDay(s.ago(2)), s.must(phone, entry).Position); d.Language != "de" || d.Answers["mood"] != "bad" {
		t.Errorf("recorded is %+v", d)
	}
}

// TestImagesOfInstrumentsAreShown loads an image as phones and the site do.
func TestImagesOfInstrumentsAreShown(t *testing.T) {
	s := openDiarySite(t)
	asked, other := s.takesPart(54, "sleep"), s.takesPart(54, "pain")
	own := "/api/v1/me/images/" + faceHash
	ofStudy := "/api/v1/studies/" + string(s.study) + "/images/" + faceHash
	phone := s.phone(asked)
	stranger := s.account("stranger", user.Grant{Role: user.CRC, Study: "OTHER", Site: "01"})
	parent := s.account("parent", user.Grant{Role: user.Caregiver, Study: s.study, Patient: asked.Patient, Relation: user.RelationParent})
	for _, of := range []struct{ path, token string }{{own, phone}, {own, parent}, {ofStudy, s.crc}, {ofStudy, s.manager}} {
		r := s.ask(http.MethodGet, of.path, of.token)
		if r.status != http.StatusOK || r.body != string(face) || r.header.Get("Content-Type") != "image/png" ||
			r.header.Get("Content-Encoding") != "" || r.header.Get("Cache-Control") != "private, max-age=31536000, immutable" ||
			r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s is answered %d %v", of.path, r.status, r.header)
		}
		head := s.ask(http.MethodHead, of.path, of.token)
		if head.status != http.StatusOK || head.body != "" || head.header.Get("Etag") != r.header.Get("Etag") {
			t.Errorf("%s: HEAD is answered %d %v", of.path, head.status, head.header)
		}
		if again := s.ask(http.MethodGet, of.path, of.token, "If-None-Match", r.header.Get("Etag")); again.status != http.StatusNotModified {
			t.Errorf("%s is answered %d again", of.path, again.status)
		}
	}
	// The audit trail has who published it, and not its bytes; neither has the answer to who did.
	auditor := s.account("auditor", user.Grant{Role: user.Auditor, Study: s.study})
	content := base64.StdEncoding.EncodeToString(face)
	for _, of := range []string{"ImagePublished", "ImageContentRecorded"} {
		r := s.ask(http.MethodGet, "/api/v1/audit/studies/"+string(s.study)+"/events?type="+of, auditor)
		if r.status != http.StatusOK || !strings.Contains(r.body, `"manager"`) || strings.Contains(r.body, content) {
			t.Errorf("the trail of %s is answered %d %s", of, r.status, r.body)
		}
	}
	var square bytes.Buffer
	if err := png.Encode(&square, image.NewGray(image.Rect(0, 0, 5, 5))); err != nil {
		t.Fatal(err)
	}
	status, answer, text := s.command(s.manager, "", instrument.PublishImage{InStudy: domain.ForStudy(s.study), Content: square.Bytes(),
		Alt: "A square"})
	if status != http.StatusOK || len(answer.Events) != 2 || strings.Contains(text, base64.StdEncoding.EncodeToString(square.Bytes())) {
		t.Errorf("the publication is answered %d %s", status, text)
	}
	for _, refused := range []struct {
		path, token string
		status      int
	}{
		{own, s.phone(other), http.StatusNotFound}, // is not asked it
		{own, s.crc, http.StatusForbidden},
		{ofStudy, phone, http.StatusForbidden},
		{ofStudy, stranger, http.StatusForbidden},
		{own, "", http.StatusUnauthorized},
		{strings.Replace(ofStudy, faceHash, strings.Repeat("0", 64), 1), s.crc, http.StatusNotFound},
	} {
		if r := s.ask(http.MethodGet, refused.path, refused.token); r.status != refused.status ||
			!strings.HasPrefix(r.header.Get("Content-Type"), "application/problem+json") || r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s is answered %d %v, want %d", refused.path, r.status, r.header, refused.status)
		}
	}
}
