// Package sagas holds the process managers: the enrolment, the dispensing, the resupply, the upkeep of a study's supply,
// the follow-up of diaries, the safety of alerts, and what a patient leaves behind. Each turns events into commands, and
// acts in no other way.
//
// A process is pure: given what an instance of it remembers and what happened, it returns what it remembers next, which
// commands to send and which timers to set (Define). The Runner records that step in the instance's own stream before it
// sends anything, and sends with ids derived from the step; so a step is taken once, however often and in whatever order
// its event comes, and by however many programs. The Drive runs all processes on Watermill's router, as consumer groups of
// the event store. Begin reading at Enrollment.
package sagas
