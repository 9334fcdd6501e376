package access

import (
	"slices"

	"casebook/domain"
	"casebook/domain/user"
)

// MayKnowPatient reports whether the principal may know that something in the scope is about the scope's patient, or about
// which patient something at its site is: readers of clinical data there, the patient, caregivers, and the product's own processes.
// Others, such as supply managers, need not know. Every way out asks here: queries, changes, and the answers to commands.
func (p Principal) MayKnowPatient(scope domain.Scope) bool {
	return slices.ContainsFunc(p.Grants, func(g user.Grant) bool {
		return (g.Role == user.System || g.Role.IsOfOnePatient() || slices.Contains(ClinicalReaders, g.Role)) && covers(g, scope)
	})
}

// Masked returns the scope without its patient, if the principal may not know the patient.
func (p Principal) Masked(scope domain.Scope) domain.Scope {
	if scope.Patient != "" && !p.MayKnowPatient(scope) {
		scope.Patient = ""
	}
	return scope
}
