package projections

import (
	"reflect"

	"casebook/domain"
)

// Keys name the documents that an event changes. They are made with KeyOf or KeysOf, by what an event says of itself: an
// event that is stored in domain beside its methods cannot be forgotten here.
type Keys struct {
	of func(Envelope) []string
	// names says whether events of a type name documents, or a group of them.
	names func(reflect.Type) bool
	group func(Envelope) string // nil where every event names its documents
}

// KeysOf returns the keys of the documents that an event is about. E is what the event has to be: an interface that tells
// what it is about, or any where the envelope does. New panics where a view folds an event that is no E.
func KeysOf[E any](keys func(e E, at Envelope) []string) Keys {
	return Keys{
		of: func(at Envelope) []string {
			if e, is := at.Event.(E); is {
				return keys(e, at)
			}
			return nil
		},
		names: func(event reflect.Type) bool { return event.AssignableTo(reflect.TypeFor[E]()) },
	}
}

// KeyOf is KeysOf for events that are about one document.
func KeyOf[E any](key func(e E, at Envelope) string) Keys {
	return KeysOf(func(e E, at Envelope) []string { return []string{key(e, at)} })
}

// InGroups returns the keys with events that are about a group of documents and do not name them, such as the dispatch of
// a shipment, which is about its kits. An event of type Made makes the group and names its documents; group is the key of
// a document that stands for it, which is folded too, and is a Group. Other events that are an E are about all documents
// of the group, unless they name documents themselves.
func InGroups[Made, E any](members Keys, group func(e E) string) Keys {
	made := reflect.TypeFor[Made]()
	return Keys{
		of:    members.of,
		names: func(event reflect.Type) bool { return members.names(event) || event.AssignableTo(reflect.TypeFor[E]()) },
		group: func(at Envelope) string {
			e, is := at.Event.(E)
			if event := reflect.TypeOf(at.Event); !is || event != made && members.names(event) {
				return ""
			}
			return group(e)
		},
	}
}

// The keys of views whose documents are told by the envelope alone.
var (
	// ByStream is for views that have one document per stream.
	ByStream = KeyOf(func(_ any, at Envelope) string { return at.StreamID() })
	// ByPatient is for views that have one document per patient.
	ByPatient = KeyOf(func(_ any, at Envelope) string { return string(PatientOf(at)) })
	// ByStudy is for views that have one document per study.
	ByStudy = KeyOf(func(_ any, at Envelope) string { return string(at.Metadata.Study) })
)

// PatientOf is the patient that an event is about.
func PatientOf(at Envelope) domain.PatientID {
	if at.Metadata.Patient != "" {
		return at.Metadata.Patient
	}
	return domain.PatientID(at.StreamID())
}
