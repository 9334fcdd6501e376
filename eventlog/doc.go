// Package eventlog is the only package through which the product reaches the event store. It turns typed events into
// stored ones and back: stable names, schema versions with upcasting, JSON and metadata. The metadata of each event
// hold the hash of the event before it in the stream.
//
// The package knows no particular event. The contexts declare theirs, and a Registry is made of these declarations.
// Begin reading at Log.
package eventlog
