// Package domain holds the words that every context of a trial shares: ids, local dates, the shape of a decider and
// what a decision may know about the call that asks for it.
//
// The room `domain` is pure. Nothing in it reads a clock, a file, the network or a random source; nothing in it imports
// another room. Each context below it (study, enrollment, patient, diary, user, ...) owns one kind of stream and holds
// its commands, its events, its state, one decision per command, and one Evolve. Begin reading in domain/diary.
package domain
