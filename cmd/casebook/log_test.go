package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"casebook/domain/refuse"
)

// TestR27_TheLogNamesNoPatient writes entries as the rooms do, with what names patients.
func TestR27_TheLogNamesNoPatient(t *testing.T) {
	var out bytes.Buffer
	logger := logFlags{}.logger(&out)
	broken := errors.New("the stream's hash chain is broken at diary-PAIN1.S-0001@7")
	logger.Warn("append is sent again", "stream", "patient-PAIN1.S-0001", "error", fmt.Errorf("load saga-enrollment.PAIN1.S-0001: %w", broken))
	logger.Error("a timer's step failed", "process", "diary-follow-up", "instance", "PAIN1.S-0001")
	logger.Error("a request failed", "error", refuse.NotFound("patient_not_found", "there is no patient %s", "PAIN1.S-0001"))
	logger.Info("listening", "address", "127.0.0.1:8080", "stream", "study-PAIN1", "file", "casebook.log")
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if strings.Contains(line, "S-0001") {
			t.Errorf("the log names a patient: %s", line)
		}
	}
	for _, kept := range []string{"127.0.0.1:8080", "study-PAIN1", "casebook.log", "diary-follow-up", "patient-PAIN1.(patient)", "hash chain is broken",
		"diary-PAIN1.(patient)@7", "saga-enrollment.PAIN1.(patient)"} {
		if !strings.Contains(out.String(), kept) {
			t.Errorf("the log lacks %s:\n%s", kept, out.String())
		}
	}
}
