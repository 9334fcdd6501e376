// Package form is the kernel of everything that is filled in: questionnaires of patients (domain/instrument) and case
// report forms. It holds what they have in common: items with their types, code lists, units and ranges, rules that say
// which items are asked, items that are derived from others, and checks over the whole.
//
// A Definition is the data as it is published. Compile refuses what could not be used and makes a Form of it, which never
// changes. A Form looks at what was entered in one of two ways: Evaluate says everything that is to be said about it,
// for forms whose faults are queried; Check takes it as a whole or refuses it, for questionnaires.
//
// # The order of evaluation
//
// The order is fixed: every entry is read and held against its item; items are derived, each after those that it is
// derived from; skip rules are computed, all of them over the same values; what is not asked then counts as unanswered;
// checks come last. So a derivation sees what was entered under a skipped item, a skip rule sees what was derived, and a
// check sees neither an answer nor a derived value of an item that is not asked. Because of the order, skip rules and
// derivations cannot depend on each other in circles.
//
// This package knows no events, no patients, no times: what becomes of a finding is decided by those who call it. Begin
// reading at Definition, then Evaluate.
package form
