// Package commands is the one path that every command takes: authorise, load the state, decide, append once, answer.
// Nothing else appends domain events.
//
// Each command is declared once, in commands/<context>/commands.go: its decision and the decider that says on which
// streams it runs, the facts of other streams that the decision needs, the scope that it touches, and the roles that
// may send it. The scope and the stream follow from what the command embeds (domain.OfPatient and its neighbours).
// Begin reading at Handler.Do.
package commands
