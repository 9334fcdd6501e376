// Package audit proves the record: it checks that nothing in the log was altered, put there or taken away, as far as the log
// itself can show it. It only reads. Begin reading at Verify.
package audit
