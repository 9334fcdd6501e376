package patient

import "casebook/domain"

// Status is the status of a patient in the study; "" before the screening.
type Status string

// The statuses of a patient.
const (
	StatusScreened         Status = "screened"
	StatusConsented        Status = "consented"
	StatusScreenFailed     Status = "screen_failed"
	StatusEnrolling        Status = "enrolling"
	StatusEnrolled         Status = "enrolled"
	StatusEnrollmentFailed Status = "enrollment_failed"
	StatusWithdrawn        Status = "withdrawn"
	StatusDiscontinued     Status = "discontinued"
	StatusCompleted        Status = "completed"
)

// Statuses are all statuses of a patient.
var Statuses = []Status{StatusScreened, StatusConsented, StatusScreenFailed, StatusEnrolling, StatusEnrolled, StatusEnrollmentFailed,
	StatusWithdrawn, StatusDiscontinued, StatusCompleted}

// Schema implements domain.HasSchema.
func (Status) Schema() domain.Schema { return domain.OneOf(Statuses...) }

// After returns the status after one more event. Decisions and views both use it.
func (s Status) After(event Event) Status {
	switch event.(type) {
	case Screened:
		return StatusScreened
	case ConsentRecorded:
		if s == StatusScreened { // a later signature of a new version does not change the status
			return StatusConsented
		}
	case ScreenFailureRecorded:
		return StatusScreenFailed
	case EnrollmentRequested:
		return StatusEnrolling
	case Enrolled:
		return StatusEnrolled
	case EnrollmentFailed:
		return StatusEnrollmentFailed
	case ConsentWithdrawn:
		return StatusWithdrawn
	case Discontinued:
		return StatusDiscontinued
	case Completed:
		return StatusCompleted
	case VisitRecorded: // changes no status
	}
	return s
}
