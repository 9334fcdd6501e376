// Package domain holds what all contexts of a trial share: ids, local dates, the type of a decider, and what a decision
// may know about its call.
//
// The folder domain is pure. Nothing in it reads a clock, a file, the network or a random source, and nothing in it
// imports another room. Each context below it (study, enrollment, patient, diary, user, ...) owns a kind of stream and
// holds its commands, its events, its state, one decision per command, and one Evolve. Begin reading in domain/diary.
package domain
