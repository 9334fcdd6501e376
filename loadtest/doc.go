// Package loadtest puts the load on Casebook that it exists for, over its public HTTP API, and reports what came of it:
// throughput, latency, how far the views were behind, memory. It can put the same load on another system in turns, so
// that the two are compared in one session. Begin reading at Diary.
package loadtest
