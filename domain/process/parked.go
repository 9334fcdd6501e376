package process

import (
	"casebook/domain"
	"casebook/domain/refuse"
)

// ParkedEvent is what can happen to a message that a process could not deal with.
type ParkedEvent interface{ parkedEvent() }

// parkedEvents are the events of a parked message, under the names that the log knows them by.
var parkedEvents = []domain.EventType{
	domain.Stored[MessageParked]("MessageParked"),
	domain.Stored[ParkedMessageRetried]("ParkedMessageRetried"),
	domain.Stored[ParkedMessageAbandoned]("ParkedMessageAbandoned"),
}

// Parked names a message that is set aside.
type Parked struct {
	// Process could not deal with it.
	Process string `json:"process"`
	// Event is the id of the event that the message is about.
	Event string `json:"event"`
}

// String is the id of the parked message's stream.
func (p Parked) String() string { return p.Process + "." + p.Event }

// MessageParked sets a message aside that kept failing, so that it does not block the others.
type MessageParked struct {
	Parked
	Study domain.StudyID `json:"study,omitempty"`
	// Stream, Revision and Type say where the event is to be found.
	Stream   string `json:"stream"`
	Revision uint64 `json:"revision"`
	Type     string `json:"type"`
	Reason   string `json:"reason"`
}

// ParkedMessageRetried hands the message to its process once more.
type ParkedMessageRetried struct {
	Parked
	Study  domain.StudyID `json:"study,omitempty"`
	Reason string         `json:"reason"`
	// Stream and Revision say where the event is to be found.
	Stream   string `json:"stream"`
	Revision uint64 `json:"revision"`
}

// ParkedMessageAbandoned gives the message up; somebody has seen to what it asked for.
type ParkedMessageAbandoned struct {
	Parked
	Study  domain.StudyID `json:"study,omitempty"`
	Reason string         `json:"reason"`
}

func (MessageParked) parkedEvent()          {}
func (ParkedMessageRetried) parkedEvent()   {}
func (ParkedMessageAbandoned) parkedEvent() {}

// ParkedState is a parked message as it stands.
type ParkedState struct {
	Message MessageParked
	// Waiting says that somebody has to decide about it.
	Waiting bool
}

// ParkedDecider is how the stream of a parked message works; its id is Parked.String.
var ParkedDecider = domain.Decider[ParkedState, ParkedEvent]{Category: "parked", Key: byMessage, Events: parkedEvents,
	Evolve: func(s ParkedState, event ParkedEvent) ParkedState {
		switch e := event.(type) {
		case MessageParked:
			s.Message, s.Waiting = e, true
		case ParkedMessageRetried, ParkedMessageAbandoned:
			s.Waiting = false
		}
		return s
	}}

// ParkMessage is sent by the machinery that runs processes.
type ParkMessage struct {
	Message MessageParked `json:"message"`
}

// RetryParkedMessage hands a parked message to its process once more.
type RetryParkedMessage struct {
	domain.InStudy  `doc:"The study that the message is about"`
	Process         string `json:"process" minLength:"1" maxLength:"100" doc:"The process that could not deal with it"`
	Event           string `json:"event" minLength:"1" maxLength:"100" doc:"Id of the event that the message is about"`
	domain.Reasoned `doc:"What has changed"`
}

// AbandonParkedMessage gives a parked message up.
type AbandonParkedMessage struct {
	domain.InStudy  `doc:"The study that the message is about"`
	Process         string `json:"process" minLength:"1" maxLength:"100" doc:"The process that could not deal with it"`
	Event           string `json:"event" minLength:"1" maxLength:"100" doc:"Id of the event that the message is about"`
	domain.Reasoned `doc:"Who has seen to it, and how"`
}

// Park sets a message aside. One that waits already is not parked twice.
func Park(s ParkedState, cmd ParkMessage, _ domain.Call) ([]ParkedEvent, error) {
	if s.Waiting {
		return nil, nil
	}
	return []ParkedEvent{cmd.Message}, nil
}

// Retry hands a parked message to its process once more. It refuses reason_required, value_too_long and message_not_parked.
func Retry(s ParkedState, cmd RetryParkedMessage, _ domain.Call) ([]ParkedEvent, error) {
	if err := s.mayDecide(cmd.Study, cmd.Reason); err != nil {
		return nil, err
	}
	return []ParkedEvent{ParkedMessageRetried{Parked: s.Message.Parked, Study: s.Message.Study, Reason: cmd.Reason,
		Stream: s.Message.Stream, Revision: s.Message.Revision}}, nil
}

// Abandon gives a parked message up. It refuses reason_required, value_too_long and message_not_parked.
func Abandon(s ParkedState, cmd AbandonParkedMessage, _ domain.Call) ([]ParkedEvent, error) {
	if err := s.mayDecide(cmd.Study, cmd.Reason); err != nil {
		return nil, err
	}
	return []ParkedEvent{ParkedMessageAbandoned{Parked: s.Message.Parked, Study: s.Message.Study, Reason: cmd.Reason}}, nil
}

func (s ParkedState) mayDecide(study domain.StudyID, reason string) error {
	if err := domain.Reason(reason); err != nil {
		return err
	}
	if !s.Waiting || s.Message.Study != study {
		return refuse.NotFound("message_not_parked", "the study has no such parked message").At("event").Do("the list of parked messages has them")
	}
	return nil
}

// aboutMessage is a command about a message that a process could not deal with.
type aboutMessage interface{ message() Parked }

func (c ParkMessage) message() Parked          { return c.Message.Parked }
func (c RetryParkedMessage) message() Parked   { return Parked{Process: c.Process, Event: c.Event} }
func (c AbandonParkedMessage) message() Parked { return Parked{Process: c.Process, Event: c.Event} }

// byMessage is the key of the streams of parked messages.
func byMessage(command any) (id string, ok bool) {
	c, ok := command.(aboutMessage)
	if !ok {
		return "", false
	}
	return c.message().String(), true
}
