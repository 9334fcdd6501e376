package notify

import (
	"encoding/json"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
)

const (
	// maxPayloadBytes keeps a message, with its headers, below the mebibyte that brokers take by default.
	maxPayloadBytes = 512 << 10
	// maxTextBytes bounds a mail's body; mail servers refuse large mails.
	maxTextBytes = 512 << 10
	// maxSubjectRunes is about what mail clients show and what fits into one header.
	maxSubjectRunes = 200
	// maxTopicBytes is the longest name that Kafka gives a topic.
	maxTopicBytes = 249
)

// Message is one notification. The same ID is the same notification, however often it is sent.
type Message struct {
	// ID is a UUID, derived from the alert and the channel.
	ID string
	// Topic is where a broker puts the message, such as casebook.alerts: letters, digits, dots, hyphens, underscores.
	Topic string
	// Subject is one line for people; line breaks in it become spaces.
	Subject string
	// Text is plain text for people.
	Text string
	// To holds e-mail addresses; where it is empty, the channel's own recipients get the message.
	To []string
	// Payload is the message for programs: JSON of at most 512 KiB.
	Payload json.RawMessage
	// OccurredAt is when the thing happened that the message tells of; zero where nobody knows.
	OccurredAt time.Time
	// TraceID and CorrelationID lead back to what caused the message; they may be empty.
	TraceID, CorrelationID string
}

// check refuses a message that no channel can send.
func (m Message) check() error {
	if _, err := uuid.Parse(m.ID); err != nil || len(m.ID) != 36 {
		return refused("message_id_invalid", "the id %q is not a UUID", m.ID).do("derive one from the alert and the channel").forGood()
	}
	return nil
}

// checkPayload refuses what a program could not read.
func (m Message) checkPayload() error {
	switch {
	case len(m.Payload) == 0:
		return refused("message_without_payload", "message %s has nothing for programs", m.ID).do("give it a payload").forGood()
	case len(m.Payload) > maxPayloadBytes:
		return refused("message_too_large", "the payload of message %s has %d bytes, more than %d", m.ID, len(m.Payload), maxPayloadBytes).
			do("send a reference to the data instead of the data").forGood()
	case !json.Valid(m.Payload):
		return refused("message_payload_invalid", "the payload of message %s is not JSON", m.ID).do("encode it as JSON").forGood()
	}
	return nil
}

// checkTopic refuses a topic that one of the brokers does not know: the names that Kafka takes, without the empty parts
// that NATS does not.
func (m Message) checkTopic() error {
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
	}
	topic := "." + m.Topic + "."
	if m.Topic == "" || len(m.Topic) > maxTopicBytes || strings.Contains(topic, "..") ||
		strings.ContainsFunc(m.Topic, func(r rune) bool { return !legal(r) }) {
		return refused("message_topic_invalid", "message %s has the topic %q, which not every broker takes", m.ID, m.Topic).
			do("name it with letters, digits, single dots, hyphens and underscores, such as casebook.alerts").forGood()
	}
	return nil
}

// oneLine returns the text with every run of spaces, line breaks and control characters as one space: so nothing in it
// can begin a header.
func oneLine(text string) string {
	words := strings.FieldsFunc(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
	return strings.Join(words, " ")
}

// shortened returns at most n runes of the text, and says by an ellipsis that there was more.
func shortened(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}
