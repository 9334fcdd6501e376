// Package loadtest submits diaries to Casebook over its public HTTP API, and measures throughput, latency, the delay of
// the views, and memory. It can alternate with another system that gets the same load, so that both are measured under
// the same conditions. Begin reading at Diary.
package loadtest
