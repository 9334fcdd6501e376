package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/IBM/sarama"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
)

const (
	kafkaDialTimeout = 5 * time.Second
	kafkaIOTimeout   = 10 * time.Second
	kafkaTries       = 3
	kafkaTryPause    = 250 * time.Millisecond
)

type kafkaPublisher struct{ *wmkafka.Publisher }

func connectKafka(address brokerAddress, secured *tls.Config, logger *slog.Logger) (kafkaPublisher, error) {
	publisher, err := wmkafka.NewPublisher(wmkafka.PublisherConfig{
		Brokers: address.hosts, OverwriteSaramaConfig: kafkaSettings(address, secured),
		// Repeats of a message have the same key. They are stored in one partition, where log compaction keeps one of them.
		Marshaler: wmkafka.NewWithPartitioningMarshaler(func(_ string, m *message.Message) (string, error) { return m.UUID, nil }),
	}, watermillLogger(logger))
	if err != nil {
		return kafkaPublisher{}, fmt.Errorf("connect to Kafka at %s: %w", strings.Join(address.hosts, ", "), err)
	}
	return kafkaPublisher{publisher}, nil
}

// kafkaSettings returns the settings of an idempotent producer, which waits for all replicas and whose retries are not
// stored twice.
func kafkaSettings(address brokerAddress, secured *tls.Config) *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = "casebook"
	c.Version = sarama.V2_1_0_0 // the oldest version that Kafka 4 supports
	c.Producer.Idempotent = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Net.MaxOpenRequests = 1 // sarama requires it of an idempotent producer
	c.Producer.Return.Successes = true
	c.Producer.Return.Errors = true
	c.Producer.Timeout = kafkaIOTimeout
	c.Producer.Retry.Max, c.Producer.Retry.Backoff = kafkaTries, kafkaTryPause
	c.Metadata.Retry.Max, c.Metadata.Retry.Backoff = kafkaTries, kafkaTryPause
	c.Metadata.Timeout = kafkaIOTimeout
	c.Net.DialTimeout, c.Net.ReadTimeout, c.Net.WriteTimeout = kafkaDialTimeout, kafkaIOTimeout, kafkaIOTimeout
	if secured != nil {
		c.Net.TLS.Enable, c.Net.TLS.Config = true, secured
	}
	if address.user != "" {
		c.Net.SASL.Enable, c.Net.SASL.Mechanism = true, sarama.SASLTypePlaintext
		c.Net.SASL.User, c.Net.SASL.Password = address.user, address.password
	}
	return c
}

func (p kafkaPublisher) publish(_ context.Context, topic string, m *message.Message) error {
	return p.Publish(topic, m)
}

func (p kafkaPublisher) rejects(err error) bool {
	return errors.Is(err, sarama.ErrMessageSizeTooLarge) || errors.Is(err, sarama.ErrInvalidTopic) || errors.Is(err, sarama.ErrInvalidRecord)
}
