package notify

import (
	"encoding/json"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
)

const (
	// maxPayloadBytes keeps a message, with its headers, below the mebibyte that brokers accept by default.
	maxPayloadBytes = 512 << 10
	// maxTextBytes is the maximum size of a mail's body, because mail servers refuse large mails.
	maxTextBytes = 512 << 10
	// maxSubjectRunes is about as much as mail clients show.
	maxSubjectRunes = 200
	// maxTopicBytes is Kafka's limit for the name of a topic.
	maxTopicBytes = 249
)

// Message is one notification. Messages with the same ID are the same notification, sent again.
type Message struct {
	// ID is a UUID, derived from the alert and the channel.
	ID string
	// Topic is the broker's topic, such as casebook.alerts: letters, digits, dots, hyphens and underscores.
	Topic string
	// Subject is the subject of the e-mail. Line breaks in it become spaces.
	Subject string
	// Text is the plain text of the e-mail.
	Text string
	// To holds e-mail addresses. When it is empty, the e-mail goes to the recipients of the configuration.
	To []string
	// Payload is the message for brokers and webhooks: JSON of at most 512 KiB.
	Payload json.RawMessage
	// OccurredAt is when the reported event happened; zero if unknown.
	OccurredAt time.Time
	// TraceID and CorrelationID identify what caused the message; they may be empty.
	TraceID, CorrelationID string
}

// check rejects a message that no channel can send.
func (m Message) check() error {
	if _, err := uuid.Parse(m.ID); err != nil || len(m.ID) != 36 {
		return refused("message_id_invalid", "the id %q is not a UUID", m.ID).do("derive one from the alert and the channel").permanent()
	}
	return nil
}

// checkPayload rejects a payload that is missing, too large or not JSON.
func (m Message) checkPayload() error {
	switch {
	case len(m.Payload) == 0:
		return refused("message_without_payload", "message %s has no payload", m.ID).do("give it a payload").permanent()
	case len(m.Payload) > maxPayloadBytes:
		return refused("message_too_large", "the payload of message %s has %d bytes, more than %d", m.ID, len(m.Payload), maxPayloadBytes).
			do("send a reference to the data instead of the data").permanent()
	case !json.Valid(m.Payload):
		return refused("message_payload_invalid", "the payload of message %s is not JSON", m.ID).do("encode it as JSON").permanent()
	}
	return nil
}

// checkTopic rejects a topic that one of the brokers does not accept. Kafka limits the characters and the length, and
// NATS accepts no empty parts between dots.
func (m Message) checkTopic() error {
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
	}
	topic := "." + m.Topic + "."
	if m.Topic == "" || len(m.Topic) > maxTopicBytes || strings.Contains(topic, "..") ||
		strings.ContainsFunc(m.Topic, func(r rune) bool { return !legal(r) }) {
		return refused("message_topic_invalid", "message %s has the topic %q, which not every broker accepts", m.ID, m.Topic).
			do("name it with letters, digits, single dots, hyphens and underscores, such as casebook.alerts").permanent()
	}
	return nil
}

// oneLine replaces each run of spaces, line breaks and control characters by one space, so that the text cannot begin a
// header of its own.
func oneLine(text string) string {
	words := strings.FieldsFunc(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
	return strings.Join(words, " ")
}

// shortened returns at most n runes of the text. A text that was cut ends with an ellipsis.
func shortened(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}
