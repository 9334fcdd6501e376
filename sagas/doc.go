// Package sagas is the engine of the process managers, processes for short: it defines what a process is, and runs it.
// The processes themselves are in a package for each context, such as sagas/enrollment. A process turns events into
// commands, and acts in no other way.
//
// There are three kinds. Define makes a process that keeps a state: it is pure, and returns, given what an instance of it
// remembers and what happened, what the instance remembers next, which commands to send and which timers to set. The
// Runner records that step in the instance's own stream before it sends anything, and sends with ids derived from the
// step; so a step is taken once, however often and in whatever order its event comes, and by however many programs.
// DefineByClock makes a process that works by the clock over very many instances, and keeps no state of its own.
// DefineRelay makes a process that passes events on to the outside.
//
// The Drive runs the processes that it is given: on Watermill's router, as consumer groups of the event store, or by the
// clock. Begin reading at sagas/enrollment, then process.go.
package sagas
