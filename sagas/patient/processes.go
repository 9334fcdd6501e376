// Package patient holds the processes about patients: whether they sign the consent again in time, what follows when an arm has
// become known, and that a person takes part once.
package patient

import "casebook/sagas"

// Processes are the processes of this context.
var Processes = []sagas.Process{Reconsent, Unblinding, Rescreening}
