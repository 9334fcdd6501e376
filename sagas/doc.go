// Package sagas holds the process managers: each turns events into commands, and acts in no other way.
//
// A process is pure: React says which commands an event calls for. The Runner follows the log, sends the commands with
// ids derived from the event, and records how far it has come; so an event that comes twice, or again after a crash,
// changes nothing. Begin reading at Enrollment.
package sagas
