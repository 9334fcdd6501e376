package commands

import (
	"reflect"

	"casebook/domain"
)

var patientID = reflect.TypeFor[domain.PatientID]()

// withoutPatients returns the event without the patients that it names, for senders who may not know them. The lists in
// which it names them are left out.
func withoutPatients(event any) any {
	if event == nil || !namesPatients(reflect.TypeOf(event), nil) {
		return event
	}
	masked := reflect.New(reflect.TypeOf(event)).Elem()
	masked.Set(reflect.ValueOf(event))
	takeOutPatients(masked)
	return masked.Interface()
}

// shownToPatients returns the events as patients and caregivers are shown them.
func shownToPatients(events []AnsweredEvent) []AnsweredEvent {
	shown := make([]AnsweredEvent, 0, len(events))
	for _, e := range events {
		if of, is := e.Data.(domain.ShownInPart); is {
			if e.Data = of.ShownToPatients(); e.Data == nil {
				continue
			}
		}
		shown = append(shown, e)
	}
	return shown
}

// takeOutPatients changes an addressable value whose type names patients. It changes nothing that the value points to.
func takeOutPatients(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		v.SetZero()
		return
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.CanSet() && namesPatients(f.Type(), nil) {
			takeOutPatients(f)
		}
	}
}

// namesPatients says whether values of a type can hold the id of a patient. within are the types that it is part of.
func namesPatients(t reflect.Type, within []reflect.Type) bool {
	if t == patientID {
		return true
	}
	for _, outer := range within {
		if t == outer {
			return false
		}
	}
	within = append(within, t)
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && namesPatients(f.Type, within) {
				return true
			}
		}
	case reflect.Map:
		return namesPatients(t.Key(), within) || namesPatients(t.Elem(), within)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return namesPatients(t.Elem(), within)
	default:
	}
	return false
}
