package readmodels

import (
	"context"
	"errors"
	"slices"
	"time"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/instrument"
	"casebook/domain/patient"
	"casebook/domain/refuse"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// PatientViews is the view of whole patients, a document a patient.
var PatientViews = View{Name: "patient-view", Version: 1}

const (
	// TrendLength bounds the entries that a document keeps of each instrument: three months of a daily diary. Older ones
	// stay in the log. Without a bound every diary would rewrite all diaries before it.
	TrendLength = 90
	// maxSteps bounds the history of a patient's status; a patient has a dozen.
	maxSteps = 200
	// maxRisks bounds the risks kept, the newest.
	maxRisks = 100
)

// PatientView is all that is known of a patient, but for identity, which is held apart.
type PatientView struct {
	Header          `bson:",inline"`
	Patient         domain.PatientID `bson:"patient" json:"patient" doc:"The patient"`
	Study           domain.StudyID   `bson:"study" json:"study" doc:"The study"`
	Site            domain.SiteID    `bson:"site" json:"site" doc:"The site"`
	ScreeningNumber string           `bson:"screeningNumber" json:"screeningNumber" doc:"Number given at screening"`
	PatientNumber   string           `bson:"patientNumber,omitempty" json:"patientNumber,omitempty" doc:"Number given with the place"`
	Zone            string           `bson:"zone" json:"zone" doc:"IANA time zone the patient lives in"`
	Sex             patient.Sex      `bson:"sex,omitempty" json:"sex,omitempty" doc:"Sex, CDISC C66731"`
	AgeYears        int              `bson:"ageYears,omitempty" json:"ageYears,omitempty" doc:"Age at screening"`
	Status          patient.Status   `bson:"status" json:"status" enum:"screened,consented,screen_failed,enrolling,enrolled,enrollment_failed,withdrawn,discontinued,completed" doc:"Where the patient stands"`
	Steps           []Step           `bson:"steps" json:"steps" doc:"How the patient got there"`
	Instruments     []AnsweredBy     `bson:"instruments" json:"instruments" doc:"What the patient answers, with the trend"`
	Risks           []Risk           `bson:"risks" json:"risks" doc:"Risks flagged, the newest last, at most 100"`
	Compliance      Compliance       `bson:"compliance" json:"compliance" doc:"How the patient keeps the diaries"`
	UpdatedAt       time.Time        `bson:"updatedAt" json:"updatedAt" doc:"When the last of these facts was recorded"`
}

// Step is one step of a patient's way.
type Step struct {
	What       string        `bson:"what" json:"what" doc:"The event's name"`
	On         domain.Date   `bson:"on,omitempty" json:"on,omitempty" doc:"The day it happened, as the site wrote it"`
	Note       string        `bson:"note,omitempty" json:"note,omitempty" doc:"Version that was signed, or the reason"`
	By         domain.UserID `bson:"by" json:"by" doc:"Who recorded it"`
	RecordedAt time.Time     `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded"`
}

// AnsweredBy is an instrument as assigned to the patient, with the newest entries.
type AnsweredBy struct {
	Instrument instrument.ID `bson:"instrument" json:"instrument" doc:"The instrument"`
	Version    int           `bson:"version" json:"version" doc:"Version of its definition"`
	Title      string        `bson:"title" json:"title" doc:"Its title"`
	Zone       string        `bson:"zone" json:"zone" doc:"Zone that its windows follow"`
	From       domain.Date   `bson:"from" json:"from" doc:"First day"`
	Until      domain.Date   `bson:"until" json:"until" doc:"Last day on which a window opens"`
	Entries    []DiaryEntry  `bson:"entries" json:"entries" doc:"The newest windows in order of their opening, at most 90"`
}

// DiaryEntry is a decided window.
type DiaryEntry struct {
	Window      string             `bson:"window" json:"window" doc:"Local day and name of the window"`
	Opens       time.Time          `bson:"opens" json:"opens" doc:"When it opened"`
	Closes      time.Time          `bson:"closes" json:"closes" doc:"When it closed"`
	Missed      bool               `bson:"missed,omitempty" json:"missed,omitempty" doc:"It passed unanswered"`
	CapturedAt  *time.Time         `bson:"capturedAt,omitempty" json:"capturedAt,omitempty" doc:"When the patient answered, by the device's clock"`
	RecordedAt  time.Time          `bson:"recordedAt" json:"recordedAt" doc:"When the server recorded it"`
	Late        bool               `bson:"late,omitempty" json:"late,omitempty" doc:"Captured after the window"`
	AfterMissed bool               `bson:"afterMissed,omitempty" json:"afterMissed,omitempty" doc:"Received after the window had been recorded as missed"`
	Answers     map[string]any     `bson:"answers,omitempty" json:"answers,omitempty" doc:"The answers as they stand"`
	Scores      map[string]float64 `bson:"scores,omitempty" json:"scores,omitempty" doc:"Scores that could be computed"`
	Risks       []string           `bson:"risks,omitempty" json:"risks,omitempty" doc:"Rules that flagged a risk"`
	Corrections []Correction       `bson:"corrections,omitempty" json:"corrections,omitempty" doc:"What was changed, by whom and why"`
}

// Correction is one change of a recorded diary.
type Correction struct {
	Changes    []diary.Change `bson:"changes" json:"changes" doc:"Old and new values"`
	Reason     string         `bson:"reason" json:"reason" doc:"Why"`
	By         domain.UserID  `bson:"by" json:"by" doc:"Who"`
	RecordedAt time.Time      `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded"`
}

// Risk is a risk that a diary flagged.
type Risk struct {
	Instrument instrument.ID       `bson:"instrument" json:"instrument" doc:"The instrument"`
	Window     string              `bson:"window" json:"window" doc:"The window"`
	Rule       string              `bson:"rule" json:"rule" doc:"The rule that holds"`
	Severity   instrument.Severity `bson:"severity" json:"severity" enum:"watch,urgent" doc:"How soon somebody must look"`
	Message    string              `bson:"message" json:"message" doc:"What the site reads"`
	RecordedAt time.Time           `bson:"recordedAt" json:"recordedAt" doc:"When it was recorded"`
}

// Step adds a step of the patient's way.
func (v *PatientView) Step(s Step) {
	v.Steps = newest(append(v.Steps, s), maxSteps)
}

// Flag adds a risk, to the list and to its diary's entry.
func (v *PatientView) Flag(r Risk) {
	v.Risks = newest(append(v.Risks, r), maxRisks)
	if e := v.Entry(r.Instrument, r.Window); e != nil {
		e.Risks = append(e.Risks, r.Rule)
	}
}

// Assigned adds an instrument, or puts its new version in the place of the old.
func (v *PatientView) Assigned(a AnsweredBy) {
	for i := range v.Instruments {
		if v.Instruments[i].Instrument == a.Instrument {
			a.Entries = v.Instruments[i].Entries
			v.Instruments[i] = a
			return
		}
	}
	v.Instruments = append(v.Instruments, a)
}

// Entry returns the entry of a window, or nil where the document no longer has it.
func (v *PatientView) Entry(id instrument.ID, window string) *DiaryEntry {
	for i := range v.Instruments {
		if v.Instruments[i].Instrument != id {
			continue
		}
		entries := v.Instruments[i].Entries
		for j := range entries {
			if entries[j].Window == window {
				return &entries[j]
			}
		}
	}
	return nil
}

// Decided adds a decided window in the order of openings, in the place of what the document had of it.
func (v *PatientView) Decided(id instrument.ID, e DiaryEntry) {
	for i := range v.Instruments {
		a := &v.Instruments[i]
		if a.Instrument != id {
			continue
		}
		at, found := slices.BinarySearchFunc(a.Entries, e, func(a, b DiaryEntry) int {
			if c := a.Opens.Compare(b.Opens); c != 0 {
				return c
			}
			switch {
			case a.Window < b.Window:
				return -1
			case a.Window > b.Window:
				return 1
			}
			return 0
		})
		if found {
			a.Entries[at] = e
		} else {
			a.Entries = newest(slices.Insert(a.Entries, at, e), TrendLength)
		}
		return
	}
}

func newest[T any](all []T, most int) []T {
	if len(all) > most {
		return all[len(all)-most:]
	}
	return all
}

// PatientView returns all that is known of a patient; it refuses patient_not_found.
func (s *Store) PatientView(ctx context.Context, id domain.PatientID) (PatientView, error) {
	var v PatientView
	err := s.Collection(PatientViews).FindOne(ctx, bson.D{{Key: "_id", Value: string(id)}}).Decode(&v)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return v, refuse.NotFound("patient_not_found", "there is no patient %s", id).Do("check the id")
	}
	return v, err
}
