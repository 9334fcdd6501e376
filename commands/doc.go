// Package commands is the one path that every command takes: authorise, load the state, decide, append once, answer.
// Nothing else appends domain events.
//
// A command is declared once, with the decision that it runs, the stream that it runs on, the scope that it touches and
// the roles that it is open to (see diary.go and its neighbours); All lists the declarations. Begin reading at Handler.
package commands
