package main

import (
	"io"
	"log/slog"
	"regexp"
	"strings"
)

type logFlags struct {
	Level slog.Level `help:"Lowest level that is logged: debug, info, warn or error." default:"info"`
}

// logger returns a logger that writes one line of JSON per entry. People who may not know patients read the log, so no
// entry names one.
func (f logFlags) logger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: f.Level, ReplaceAttr: maskPatients}))
}

// namedPatient finds patients in the names of streams, as errors quote them, and in sentences. The second group is the
// study.
var namedPatient = regexp.MustCompile(`(\b(?:patient-|diary-|saga-[a-z-]+\.|patient ))` + patientID)

// instance finds the instance of a process, which may be a patient.
var instance = regexp.MustCompile(`^()` + patientID + `$`)

// patientID matches a patient's id. Its group is the study.
const patientID = `([A-Za-z0-9][A-Za-z0-9-]*)\.[A-Za-z0-9][A-Za-z0-9-]*`

// maskPatients replaces the patients that an attribute of a log entry names.
func maskPatients(_ []string, a slog.Attr) slog.Attr {
	pattern := namedPatient
	if a.Key == "instance" {
		pattern = instance
	}
	var text string
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	default:
		return a
	}
	if !strings.Contains(text, ".") { // every id of a patient has one; the patterns cost more than the rest of an entry
		return a
	}
	return slog.String(a.Key, pattern.ReplaceAllString(text, "${1}${2}.(patient)"))
}
