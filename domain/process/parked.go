package process

import (
	"casebook/domain"
	"casebook/domain/personal"
	"casebook/domain/refuse"
)

// ParkedEvent is an event of a parked message: a message that a process could not handle.
type ParkedEvent interface{ parkedEvent() }

// parkedEvents are the events of a parked message, under the names that the log knows them by.
var parkedEvents = []domain.EventType{
	domain.Stored[MessageParked]("MessageParked"),
	domain.Stored[ParkedMessageRetried]("ParkedMessageRetried"),
	domain.Stored[ParkedMessageAbandoned]("ParkedMessageAbandoned"),
}

// Parked names a parked message.
type Parked struct {
	// Process is the process that could not handle the message.
	Process string `json:"process"`
	// Event is the id of the event that the message is about.
	Event string `json:"event"`
}

// String is the id of the parked message's stream.
func (p Parked) String() string { return p.Process + "." + p.Event }

// MessageParked sets aside a message that kept failing, so that it does not block other messages.
type MessageParked struct {
	Parked
	Study domain.StudyID `json:"study,omitempty"`
	// Stream and Revision are the event's place in the log, Type is its stored name.
	Stream   string `json:"stream"`
	Revision uint64 `json:"revision"`
	Type     string `json:"type"`
	Reason   string `json:"reason"`
}

// ParkedMessageRetried gives the message to its process once more.
type ParkedMessageRetried struct {
	Parked
	Study  domain.StudyID `json:"study,omitempty"`
	Reason personal.Text  `json:"reason"`
	// Stream and Revision are the event's place in the log.
	Stream   string `json:"stream"`
	Revision uint64 `json:"revision"`
}

// ParkedMessageAbandoned ends the message without another try; somebody has done what it was about.
type ParkedMessageAbandoned struct {
	Parked
	Study  domain.StudyID `json:"study,omitempty"`
	Reason personal.Text  `json:"reason"`
}

func (MessageParked) parkedEvent()          {}
func (ParkedMessageRetried) parkedEvent()   {}
func (ParkedMessageAbandoned) parkedEvent() {}

// ParkedState is the state of a parked message.
type ParkedState struct {
	Message MessageParked
	// Waiting says that the message is parked now, until somebody retries or abandons it.
	Waiting bool
}

// ParkedDecider is the decider of parked messages; a stream's id is Parked.String.
var ParkedDecider = domain.Decider[ParkedState, ParkedEvent]{Category: "parked", Key: byMessage, Events: parkedEvents, Evolve: evolveParked}

func evolveParked(s ParkedState, event ParkedEvent) ParkedState {
	switch e := event.(type) {
	case MessageParked:
		s.Message, s.Waiting = e, true
	case ParkedMessageRetried, ParkedMessageAbandoned:
		s.Waiting = false
	}
	return s
}

// ParkMessage parks a message. The runner of processes sends it.
type ParkMessage struct {
	Message MessageParked `json:"message"`
}

// RetryParkedMessage gives a parked message to its process once more.
type RetryParkedMessage struct {
	domain.InStudy  `doc:"The study that the message is about"`
	Process         string `json:"process" minLength:"1" maxLength:"100" doc:"The process that could not deal with it"`
	Event           string `json:"event" minLength:"1" maxLength:"100" doc:"Id of the event that the message is about"`
	domain.Reasoned `doc:"What has changed"`
}

// AbandonParkedMessage ends a parked message without another try.
type AbandonParkedMessage struct {
	domain.InStudy  `doc:"The study that the message is about"`
	Process         string `json:"process" minLength:"1" maxLength:"100" doc:"The process that could not deal with it"`
	Event           string `json:"event" minLength:"1" maxLength:"100" doc:"Id of the event that the message is about"`
	domain.Reasoned `doc:"Who has seen to it, and how"`
}

// Park parks a message. It records nothing if the message is parked already.
func Park(s ParkedState, cmd ParkMessage, _ domain.Call) ([]ParkedEvent, error) {
	if s.Waiting {
		return nil, nil
	}
	return []ParkedEvent{cmd.Message}, nil
}

// Retry gives a parked message to its process once more. It refuses reason_required, value_too_long and
// message_not_parked.
func Retry(s ParkedState, cmd RetryParkedMessage, _ domain.Call) ([]ParkedEvent, error) {
	if err := s.checkDecision(cmd.Study, cmd.Reason); err != nil {
		return nil, err
	}
	return []ParkedEvent{ParkedMessageRetried{Parked: s.Message.Parked, Study: s.Message.Study, Reason: cmd.Reason,
		Stream: s.Message.Stream, Revision: s.Message.Revision}}, nil
}

// Abandon ends a parked message. It refuses reason_required, value_too_long and message_not_parked.
func Abandon(s ParkedState, cmd AbandonParkedMessage, _ domain.Call) ([]ParkedEvent, error) {
	if err := s.checkDecision(cmd.Study, cmd.Reason); err != nil {
		return nil, err
	}
	return []ParkedEvent{ParkedMessageAbandoned{Parked: s.Message.Parked, Study: s.Message.Study, Reason: cmd.Reason}}, nil
}

// checkDecision refuses a decision without a reason, or about a message that the study has not parked.
func (s ParkedState) checkDecision(study domain.StudyID, reason personal.Text) error {
	if err := domain.Reason(reason); err != nil {
		return err
	}
	if !s.Waiting || s.Message.Study != study {
		return refuse.NotFound("message_not_parked", "the study has no such parked message").At("event").
			Do("use a process and an event from the list of parked messages")
	}
	return nil
}

// aboutMessage is a command about a message that a process could not handle.
type aboutMessage interface{ message() Parked }

func (c ParkMessage) message() Parked          { return c.Message.Parked }
func (c RetryParkedMessage) message() Parked   { return Parked{Process: c.Process, Event: c.Event} }
func (c AbandonParkedMessage) message() Parked { return Parked{Process: c.Process, Event: c.Event} }

// byMessage is the Key of ParkedDecider.
func byMessage(command any) (id string, ok bool) {
	c, ok := command.(aboutMessage)
	if !ok {
		return "", false
	}
	return c.message().String(), true
}
