// Package codebreak writes and opens code break envelopes: one sealed file per patient, from which a 24-hour centre reads the
// patient's arm in an emergency while the server cannot be reached (ICH E6(R3) 2.11.2). The files are encrypted with age, so
// that the tool of that name opens them as well. Exporter keeps them up to date; Open reads one, and needs no server.
//
// Neither the name nor the size of a file tells the patient or the arm. A file is written again with every event of its patient
// that it could show, and all files of a study with its protocol, so that the time of writing tells no arm either.
package codebreak

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"casebook/domain"
	"casebook/domain/blind"
	"casebook/domain/patient"
	"casebook/domain/study"
	"casebook/domain/supply"

	"filippo.io/age"
)

// Content is what an envelope says.
type Content struct {
	Study         domain.StudyID    `json:"study"`
	StudyTitle    string            `json:"studyTitle"`
	Patient       domain.PatientID  `json:"patient"`
	PatientNumber string            `json:"patientNumber,omitempty"`
	Site          domain.SiteID     `json:"site"`
	SiteName      string            `json:"siteName,omitempty"`
	Arm           Arm               `json:"arm"`
	Treatment     patient.Treatment `json:"treatment,omitempty"`
	Kits          []Kit             `json:"kits,omitempty"`
	DrawnAt       time.Time         `json:"drawnAt"`
	// AsOf is the position in the log up to which the content is complete, and SealedAt is when the envelope was written.
	AsOf     uint64    `json:"asOf"`
	SealedAt time.Time `json:"sealedAt"`
}

// Arm is the patient's arm, with what is to be known of it in an emergency.
type Arm struct {
	ID domain.ArmID `json:"id"`
	study.Emergency
}

// Kit is a kit that was allocated to the patient.
type Kit struct {
	Kit   supply.KitNumber `json:"kit"`
	Visit string           `json:"visit,omitempty"`
	// Status is what became of it last: allocated, dispensed, returned, not_returned, put_back, set_aside, lost, found, recalled at home,
	// or replaced.
	Status string      `json:"status"`
	On     domain.Date `json:"on,omitempty"`
}

// Envelope is an opened envelope.
type Envelope struct {
	Content
	// Fingerprint is the SHA-256 of the content, in hex. It is recorded when the opening is.
	Fingerprint string
	// Signed says that the content was signed by the installation with the given key.
	Signed bool
}

// sealed is what is encrypted, with blanks behind it.
type sealed struct {
	Content     json.RawMessage `json:"content"`
	Fingerprint string          `json:"fingerprint"`
	Signature   []byte          `json:"signature"`
}

// unit is the number of bytes to a multiple of which all envelopes are filled up.
const unit = 4096

// seal encrypts a content to the recipients. All contents that differ only in the arm get the same size: arms are all arms that the
// patient could be in.
func seal(c Content, arms []Arm, signer ed25519.PrivateKey, to []age.Recipient) ([]byte, error) {
	own, err := json.Marshal(c.Arm)
	if err != nil {
		return nil, err
	}
	most := len(own)
	for _, arm := range arms {
		other, err := json.Marshal(arm)
		if err != nil {
			return nil, err
		}
		most = max(most, len(other))
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	plain, err := json.Marshal(sealed{Content: text, Fingerprint: hex.EncodeToString(sum[:]), Signature: ed25519.Sign(signer, text)})
	if err != nil {
		return nil, err
	}
	size := len(plain) + most - len(own)
	return encrypt(blind.Fill(plain, (size+unit-1)/unit*unit), to)
}

func encrypt(plain []byte, to []age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// maxFile bounds how much of a file is read.
const maxFile = 256 << 20

func decrypt(file string, with []age.Identity) ([]byte, error) {
	f, err := os.Open(file) // #nosec G304 -- the person who opens the envelope names the directory
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	r, err := age.Decrypt(f, with...)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxFile))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	return plain, nil
}

// indexFile is the name of the index in the directory of envelopes. It is sealed as well, and holds no arms.
const indexFile = "index.age"

// index says in which file the envelope of each patient is.
type index struct {
	AsOf     uint64    `json:"asOf"`
	SealedAt time.Time `json:"sealedAt"`
	Entries  []Entry   `json:"entries"`
}

// Entry is a patient for whom there is an envelope.
type Entry struct {
	Patient       domain.PatientID   `json:"patient"`
	PatientNumber string             `json:"patientNumber,omitempty"`
	Site          domain.SiteID      `json:"site"`
	Kits          []supply.KitNumber `json:"kits,omitempty"`
	File          string             `json:"file"`
}

// Wanted says whose envelope is to be opened: the patient's by the id, or by the number of a kit and the study, or a file.
type Wanted struct {
	Patient domain.PatientID
	Study   domain.StudyID
	Kit     supply.KitNumber
	File    string
}

// Errors of Open and List.
var (
	ErrNoEnvelope = errors.New("there is no envelope for this patient")
	// ErrAltered means that an envelope says something else than what was sealed, or that it is another patient's.
	ErrAltered = errors.New("the envelope is not as it was sealed; do not rely on it")
)

// Open opens one envelope of a directory with the keys of a recipient. It opens no other envelope, only the index. It checks that
// the content is as it was sealed, and with the public key of the installation also who has sealed it; without it, anybody could
// have written the envelope who can write into the directory.
func Open(dir string, with []age.Identity, wanted Wanted, installation ed25519.PublicKey) (Envelope, error) {
	file := wanted.File
	if file == "" {
		entries, err := List(dir, with)
		if err != nil {
			return Envelope{}, err
		}
		e, err := find(entries, wanted)
		if err != nil {
			return Envelope{}, err
		}
		file, wanted.Patient = filepath.Join(dir, filepath.Base(e.File)), e.Patient
	}
	plain, err := decrypt(file, with)
	if err != nil {
		return Envelope{}, err
	}
	var in sealed
	var opened Envelope
	if err := errors.Join(json.Unmarshal(plain, &in), json.Unmarshal(in.Content, &opened.Content)); err != nil {
		return Envelope{}, fmt.Errorf("%w: %w", ErrAltered, err)
	}
	sum := sha256.Sum256(in.Content)
	opened.Fingerprint = hex.EncodeToString(sum[:])
	switch {
	case opened.Fingerprint != in.Fingerprint:
		return Envelope{}, fmt.Errorf("%w: its fingerprint is another", ErrAltered)
	case wanted.Patient != "" && opened.Patient != wanted.Patient:
		return Envelope{}, fmt.Errorf("%w: it is that of another patient", ErrAltered)
	case installation != nil && !ed25519.Verify(installation, in.Content, in.Signature):
		return Envelope{}, fmt.Errorf("%w: the installation with this key has not sealed it", ErrAltered)
	}
	opened.Signed = installation != nil
	return opened, nil
}

// List returns the patients for whom a directory has an envelope. It opens the index only, which holds no arms.
func List(dir string, with []age.Identity) ([]Entry, error) {
	plain, err := decrypt(filepath.Join(dir, indexFile), with)
	if err != nil {
		return nil, fmt.Errorf("read which envelope is whose: %w", err)
	}
	var of index
	if err := json.Unmarshal(plain, &of); err != nil {
		return nil, fmt.Errorf("read which envelope is whose: %w", err)
	}
	return of.Entries, nil
}

// find returns the entry that is wanted.
func find(entries []Entry, wanted Wanted) (found Entry, err error) {
	matches := 0
	for _, e := range entries {
		ofStudy := wanted.Study == "" || e.Patient.Study() == wanted.Study
		byKit := wanted.Kit != "" && contains(e.Kits, wanted.Kit) && ofStudy
		if e.Patient == wanted.Patient || byKit || wanted.Kit == "" && ofStudy && e.PatientNumber != "" &&
			strings.EqualFold(e.PatientNumber, string(wanted.Patient)) {
			found = e
			matches++
		}
	}
	switch matches {
	case 0:
		return found, ErrNoEnvelope
	case 1:
		return found, nil
	}
	return Entry{}, fmt.Errorf("%d patients have this number; name the study, or the patient", matches)
}

func contains(all []supply.KitNumber, kit supply.KitNumber) bool {
	for _, k := range all {
		if strings.EqualFold(string(k), string(kit)) {
			return true
		}
	}
	return false
}

// write puts a file in place at once, so that nobody reads half of one.
func write(dir, name string, content []byte) (err error) {
	f, err := os.CreateTemp(dir, ".writing-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}
