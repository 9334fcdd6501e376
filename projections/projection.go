package projections

import (
	"fmt"
	"reflect"

	"casebook/domain"
	"casebook/domain/diary"
	"casebook/domain/patient"
	"casebook/eventlog"
	"casebook/readmodels"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Envelope is an event with all that the log knows of it.
type Envelope = eventlog.Recorded

// Projection folds events into the documents of one view.
type Projection struct {
	// View says where the documents are, and the version of the fold.
	View readmodels.View

	keys    func(Envelope) []string
	begin   func(Envelope) bool             // nil where documents are begun by any event
	group   func(Envelope) string           // nil where every event names its documents
	streams func(domain.PatientID) []string // nil where one patient cannot be folded alone
	folds   map[reflect.Type]func(readmodels.Document, Envelope)
	blank   func(key string) readmodels.Document
	read    func(bson.Raw) (readmodels.Document, error)
	former  *Projection // the fold of the version before, where it is kept
}

// document is a pointer to D that is a readmodels.Document.
type document[D any] interface {
	*D
	readmodels.Document
}

// Fold is how one type of event changes a document.
type Fold[D any] struct {
	event reflect.Type
	apply func(*D, Envelope)
}

// On folds events of type E into documents. The function is pure: what it knows is the document, the event and its
// envelope.
func On[D, E any](fold func(doc *D, e E, at Envelope)) Fold[D] {
	return Fold[D]{event: reflect.TypeFor[E](), apply: func(doc *D, at Envelope) { fold(doc, at.Event.(E), at) }}
}

// New declares a projection. keys names the documents that an event touches.
func New[D any, P document[D]](view readmodels.View, keys func(Envelope) []string, folds ...Fold[D]) Projection {
	p := Projection{View: view, keys: keys, folds: map[reflect.Type]func(readmodels.Document, Envelope){},
		blank: func(key string) readmodels.Document {
			doc := P(new(D))
			doc.Head().ID = key
			return doc
		},
		read: func(raw bson.Raw) (readmodels.Document, error) {
			doc := P(new(D))
			return doc, bson.Unmarshal(raw, doc)
		},
	}
	for _, f := range folds {
		if p.folds[f.event] != nil {
			panic(fmt.Sprintf("projections: %s folds %v twice", view.Name, f.event))
		}
		p.folds[f.event] = func(doc readmodels.Document, at Envelope) { f.apply((*D)(doc.(P)), at) }
	}
	return p
}

// BegunBy returns the projection with a way to tell the events that are the first of each document they touch. The engine
// does not look for such a document in the store, where many are made and few are changed.
func (p Projection) BegunBy(first func(Envelope) bool) Projection {
	p.begin = first
	return p
}

// Grouped returns the projection with a way to tell the events about a group of documents, such as the kits of a
// shipment: of is the key of a document that stands for the group. The event that makes the group names its documents;
// later ones need not, and are folded into the same. The document of the group is folded too, and is a Group.
func (p Projection) Grouped(of func(Envelope) string) Projection {
	p.group = of
	return p
}

// InPlaceOf returns the projection with the one that it replaces, of the same view in an earlier version. While a program
// that starts with the new version builds it, it goes on folding what happens into the old build too, so that queries and
// those who wait for their own writes notice nothing. Keep the former fold for a release; without it the old build is shown
// as it was.
func (p Projection) InPlaceOf(former Projection) Projection {
	if former.View.Name != p.View.Name || former.View.Version >= p.View.Version {
		panic(fmt.Sprintf("projections: version %d of %s cannot be in place of version %d of %s", p.View.Version, p.View.Name, former.View.Version, former.View.Name))
	}
	p.former = &former
	return p
}

// inVersion returns the fold that makes a version of the view; false where this program does not have it.
func (p Projection) inVersion(version int) (Projection, bool) {
	for of := &p; of != nil; of = of.former {
		if of.View.Version == version {
			return *of, true
		}
	}
	return Projection{}, false
}

// Group is a document that stands for a group.
type Group interface {
	// Members are the keys of the group's documents, as the event that made the group has named them.
	Members() []string
}

// begins says whether the event is the first of each document that it touches.
func (p Projection) begins(at Envelope) bool { return p.begin != nil && p.begin(at) }

// Folds says whether the projection folds events of this type.
func (p Projection) Folds(event reflect.Type) bool { return p.folds[event] != nil }

// Touches names the documents that the event changes; none for events that the projection does not fold. Where the event
// is about a group, it names that too; if it names no documents besides, they are the group's members.
func (p Projection) Touches(at Envelope) (keys []string, group string) {
	if p.folds[reflect.TypeOf(at.Event)] == nil {
		return nil, ""
	}
	if p.group != nil {
		group = p.group(at)
	}
	return p.keys(at), group
}

// Blank returns the document of a key before its first event.
func (p Projection) Blank(key string) readmodels.Document { return p.blank(key) }

// Apply folds an event into a document, unless the document has seen it; it says whether it did. A fold that panics is
// an error that names the event.
func (p Projection) Apply(doc readmodels.Document, at Envelope) (folded bool, err error) {
	head := doc.Head()
	if head.Seen(at.Position) {
		return false, nil
	}
	defer func() {
		if r := recover(); r != nil {
			folded, err = false, p.failed("fold", at, fmt.Errorf("into %q: %v", head.ID, r))
		}
	}()
	p.folds[reflect.TypeOf(at.Event)](doc, at)
	head.See(at.Position)
	return true, nil
}

// touches is Touches for events that nobody has looked at before: a panic is an error that names the event.
func (p Projection) touches(at Envelope) (keys []string, group string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = p.failed("find the documents of", at, fmt.Errorf("%v", r))
		}
	}()
	keys, group = p.Touches(at)
	return keys, group, nil
}

// failed is the error of an event that the projection cannot get past.
func (p Projection) failed(what string, at Envelope, err error) error {
	return fmt.Errorf("%s cannot %s %s of %s@%d: %w", p.View.Name, what, at.Type, at.Stream, at.Revision, err)
}

// byPatient is the key of views that have a document a patient.
func byPatient(at Envelope) []string { return []string{string(patientOf(at))} }

// byStudy is the key of views that have a document a study.
func byStudy(at Envelope) []string { return []string{string(at.Metadata.Study)} }

// ofPatientAndDiary are the streams of views that are folded of nothing but a patient's way and diaries.
func ofPatientAndDiary(who domain.PatientID) []string {
	return []string{patient.Decider.Stream(string(who)), diary.Decider.Stream(string(who))}
}

func patientOf(at Envelope) domain.PatientID {
	if at.Metadata.Patient != "" {
		return at.Metadata.Patient
	}
	return domain.PatientID(at.StreamID())
}

// All lists all projections. A new view is named here.
func All() []Projection {
	return []Projection{StudyOverview, PatientList, PatientView, Diaries, DiaryCompliance,
		SagaMonitor, ParkedMessages, Alerts, KitInventory, Shipments, AuditIndex, SiteEnrollment, UserDirectory}
}

// ViewsOf names the views that fold events of the event's type.
func ViewsOf(event any) (names []string) {
	for _, p := range All() {
		if p.Folds(reflect.TypeOf(event)) {
			names = append(names, p.View.Name)
		}
	}
	return names
}

// NotShown lists the events that no view shows, each with the reason. The audit index has nearly all events, but does not
// show what they say.
var NotShown = map[string]string{
	"AccessRefused":   "the audit trail shows it",
	"RefusalsDropped": "the audit trail shows it",
	"ProcessAdvanced": "bookkeeping of process managers",

	"ProjectionRebuildRequested": "the list of projections shows what becomes of it",
	"ProjectionRebuildCancelled": "the list of projections shows what becomes of it",
	"ProjectionEventSkipped":     "the audit trail shows it",
	"ProjectionRetried":          "the audit trail shows it",
	"ProjectionBuildDropped":     "the list of projections shows what becomes of it",

	"PlaceReserved": "the patient's own events say the same",
	"PlaceRefused":  "the patient's own events say the same",
	"PlaceReleased": "the patient's own events say the same",

	"PatientRandomised":    "the saga monitor shows that it was drawn, and the arm is blinded",
	"RandomisationRefused": "the saga monitor shows why",
	"ListUploaded":         "lists are blinded",
	"ListGenerated":        "lists are blinded",
	"MinimisationDefined":  "how patients are drawn is blinded",
	"SchemeActivated":      "decisions read it",
	"InstrumentPublished":  "decisions read it",
	"CohortCapsSet":        "decisions read it",
	"EntrySkipped":         "lists are blinded",
	"StratumCorrected":     "the audit trail shows it",
	"SeedRevealed":         "the audit trail shows it",
	"DiaryReminderDue":     "reminders are for the patient's device",
	"BlindBroken":          "the alert that it raises is shown",
	"DepotOpened":          "decisions read it; the kits show where they are",
	"BatchReleased":        "lots may go with an arm",
	"LotRecalled":          "lots may go with an arm; the kits show that they are set aside",
	"ResupplyRuleSet":      "decisions read it; the shipments show what comes of it",
	"ResupplyFellShort":    "the alert that it raises is shown",
	"StockHeld":            "which kits are held is blinded; the saga monitor shows that some are",
	"StockRefused":         "the saga monitor shows why",
	"HoldReleased":         "which kits were held is blinded",
	"AllocationFailed":     "the saga monitor and the alert show it",
}
