// Package simulation builds a realistic study and lets simulated patients live through it, over the public HTTP API as
// any client would. What each patient will do is planned first, from a seed alone (see course.go); then the plan is acted
// out (see act.go). Every command carries a key derived from what it does, so that a run that was interrupted can be run
// again: what was done is answered, what was not is done. Begin reading at Run.
package simulation
