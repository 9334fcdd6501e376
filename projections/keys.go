package projections

import (
	"reflect"

	"casebook/domain"
)

// Keys name the documents that an event changes. KeyOf and KeysOf make them from a method of the event itself, which is
// declared beside the event, so that no event can be forgotten here.
type Keys struct {
	of func(Envelope) []string
	// names says whether events of a type name documents, or a group of them.
	names func(reflect.Type) bool
	group func(Envelope) string // nil where every event names its documents
	// sparse says that some events name no document, though the view folds their type.
	sparse bool
}

// KeysOf returns the keys of the documents that an event is about. E is an interface whose methods tell what the event is
// about, or any where the envelope tells it. New panics where a view folds an event that is not an E.
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

// KeysOfSome is KeysOf for a view that shows some events of a type and passes over others.
func KeysOfSome[E any](keys func(e E, at Envelope) []string) Keys {
	some := KeysOf(keys)
	some.sparse = true
	return some
}

// KeyOf is KeysOf for events that are about one document.
func KeyOf[E any](key func(e E, at Envelope) string) Keys {
	return KeysOf(func(e E, at Envelope) []string { return []string{key(e, at)} })
}

// InGroups returns the keys for a view with events that are about a group of documents without naming them, such as the
// dispatch of a shipment, which is about its kits. An event of type Made makes the group and names its members. Later
// events that are an E change all members, unless they name documents themselves. group returns the key of the group's own
// document, which these events change too, and which is a Group.
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

// The keys of views for which the envelope tells the document.
var (
	// ByStream is for views that have one document per stream.
	ByStream = KeyOf(func(_ any, at Envelope) string { return at.StreamID() })
	// ByPatient is for views that have one document per patient.
	ByPatient = KeyOf(func(_ any, at Envelope) string { return string(PatientOf(at)) })
	// ByStudy is for views that have one document per study.
	ByStudy = KeyOf(func(_ any, at Envelope) string { return string(at.Metadata.Study) })
)

// PatientOf returns the patient that an event is about.
func PatientOf(at Envelope) domain.PatientID {
	if at.Metadata.Patient != "" {
		return at.Metadata.Patient
	}
	return domain.PatientID(at.StreamID())
}
