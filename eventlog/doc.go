// Package eventlog is the product's one way to the event store. It turns typed events into stored ones and back: stable
// names, schema versions with upcasting, JSON, metadata, and in every event the hash of the stream's event before it.
//
// It knows no particular event: casebook/eventlog/catalog registers those of the domain. Begin reading at Log.
package eventlog
