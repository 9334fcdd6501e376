package patient_test

import (
	"testing"
	"time"

	"casebook/domain"
	"casebook/domain/patient"
	"casebook/domain/scenario"
	"casebook/domain/study"
)
