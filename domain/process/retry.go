package process

import (
	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// Retried has an instance ask again for what it waits for. A person has decided that.
type Retried struct {
	Instance
	Study  domain.StudyID `json:"study,omitempty"`
	Site   domain.SiteID  `json:"site,omitempty"`
	Reason personal.Text  `json:"reason"`
}

func (Retried) processEvent() {}

// RetryProcess has one instance of a process ask again for what it waits for.
type RetryProcess struct {
	domain.InStudy  `doc:"The study that the process is about"`
	Process         string `json:"process" minLength:"1" maxLength:"100" doc:"The process manager"`
	Of              string `json:"of" minLength:"1" maxLength:"200" doc:"What the run is about, such as the patient"`
	domain.Reasoned `doc:"Why it is retried"`
}

// RetryInstance decides about RetryProcess. The commands of the instance's stage are then sent again with their keys, so
// nothing is done twice, and the instance is given the answers that it may have missed. RetryInstance refuses reason_required,
// value_too_long, process_not_found and process_ended.
func RetryInstance(s State, cmd RetryProcess, _ domain.Call) ([]Event, error) {
	if err := domain.Reason(cmd.Reason); err != nil {
		return nil, err
	}
	switch {
	case s.Steps == 0 || s.Study != cmd.Study:
		return nil, refuse.NotFound("process_not_found", "the study has no such process").At("of").
			Do("use a process from the study's list of processes")
	case s.Outcome == Completed || s.Outcome == Failed:
		return nil, refuse.WrongState("process_ended", "the process has ended, and waits for nothing").At("of").
			Do("retry a process that is stuck, held or under way")
	}
	return []Event{Retried{Instance: Instance{cmd.Process, cmd.Of}, Study: s.Study, Site: s.Site, Reason: cmd.Reason}}, nil
}
