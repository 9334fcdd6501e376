// Package odm reads and writes files of the Operational Data Model of CDISC, versions 1.3.2 and 2.0, as one model.
//
// What a study's build and its data are made of has fields in the model. Everything else is kept as it stands, with the
// construct that it belongs to, and is written again with it. A Report names every construct of a file and what becomes
// of it. Metadata are read as a whole; clinical data are handed out patient by patient, so that memory does not grow with
// their number.
//
// What one version has no place for, and what Casebook knows and neither version has a place for, is written in the
// namespace urn:casebook:odm:1, in the extension points of the standard:
//
//   - cb:Construct, last in an element: constructs that the other version has a place for there;
//   - an attribute such as cb:Repeating: the value that the other version has for the attribute of that name;
//   - cb:Verified: the version of the value that source data verification looked at;
//   - cb:Hold: frozen or locked.
//
// Start with model.go, then codec.go, which says once for both directions and both versions what stands where.
package odm
