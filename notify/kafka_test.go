package notify

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// startKafka runs a fake Kafka broker until the test ends.
func startKafka(t *testing.T, options ...kfake.Opt) (cluster *kfake.Cluster, hosts string) {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "casebook.alerts")}, options...)...)
	must(t, err)
	t.Cleanup(cluster.Close)
	return cluster, strings.Join(cluster.ListenAddrs(), ",")
}

func splitPort(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}

// records reads the first records of the topic.
func records(t *testing.T, hosts string, n int) []*sarama.ConsumerMessage {
	t.Helper()
	consumer, err := sarama.NewConsumer(strings.Split(hosts, ","), nil)
	must(t, err)
	defer func() { must(t, consumer.Close()) }()
	partition, err := consumer.ConsumePartition("casebook.alerts", 0, sarama.OffsetOldest)
	must(t, err)
	defer func() { must(t, partition.Close()) }()
	var all []*sarama.ConsumerMessage
	for range n {
		all = append(all, <-partition.Messages())
	}
	return all
}

func TestKafkaStoresAMessageWithItsKeyAndHeaders(t *testing.T) {
	cluster, hosts := startKafka(t)
	var acks []int16
	cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		acks = append(acks, request.(*kmsg.ProduceRequest).Acks)
		return nil, nil, false
	})
	m := anAlert()
	must(t, open(t, Config{Broker: "kafka://" + hosts}).Send(t.Context(), m))
	if diff := cmp.Diff([]int16{-1}, acks); diff != "" {
		t.Errorf("the producer does not wait for all replicas: %s", diff)
	}
	record := records(t, hosts, 1)[0]
	if string(record.Key) != m.ID || string(record.Value) != string(m.Payload) {
		t.Errorf("the record is %s: %s", record.Key, record.Value)
	}
	headers := map[string]string{}
	for _, h := range record.Headers {
		headers[string(h.Key)] = string(h.Value)
	}
	if diff := cmp.Diff(map[string]string{
		"_watermill_message_uuid": m.ID, MetadataContentType: "application/json", MetadataCorrelationID: m.CorrelationID,
		MetadataTraceID: m.TraceID, MetadataOccurredAt: "2026-03-01T20:30:00.000005Z",
	}, headers); diff != "" {
		t.Error(diff)
	}
}

// The broker stores the record but answers with an error. The producer's second attempt must not store it again.
func TestKafkaStoresAMessageOnceWhenTheAnswerIsLost(t *testing.T) {
	cluster, hosts := startKafka(t)
	lost := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "casebook.alerts", Err: kerr.NotEnoughReplicasAfterAppend})
	channel := open(t, Config{Broker: "kafka://" + hosts})
	must(t, channel.Send(t.Context(), anAlert()))
	if lost.Hits() != 1 {
		t.Fatalf("%d answers were lost, want one", lost.Hits())
	}
	if n := cluster.PartitionInfo("casebook.alerts", 0).HighWatermark; n != 1 {
		t.Errorf("the partition holds %d records, want one", n)
	}
}

func TestKafkaFailuresAndRejections(t *testing.T) {
	cluster, hosts := startKafka(t)
	channel := open(t, Config{Broker: "kafka://" + hosts})
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "casebook.alerts", Err: kerr.MessageTooLarge})
	wantProblem(t, channel.Send(t.Context(), anAlert()), "broker_rejected", true)
	fault.Remove()
	fault = cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: "casebook.alerts", Err: kerr.TopicAuthorizationFailed, Count: -1,
	})
	wantProblem(t, channel.Send(t.Context(), anAlert()), "broker_failed", false)
	fault.Remove()
	must(t, channel.Send(t.Context(), anAlert()))
}

func TestKafkaWithAPasswordOverTLS(t *testing.T) {
	pair, roots := selfSigned(t)
	_, hosts := startKafka(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "casebook", "hunter2"), kfake.TLS(&tls.Config{
		Certificates: pair.Certificates, MinVersion: tls.VersionTLS12,
	}))
	log := &logBuffer{}
	config := Config{Broker: fmt.Sprintf("kafka+tls://casebook:hunter2@%s", hosts), RootCAs: roots, Logger: log.logger()}
	must(t, open(t, config).Send(t.Context(), anAlert()))

	wrong := config
	wrong.Broker = fmt.Sprintf("kafka+tls://casebook:hunter22@%s", hosts)
	err := open(t, wrong).Send(t.Context(), anAlert())
	wantProblem(t, err, "broker_failed", false)
	config.Logger.Info("configured", "config", config, "and", wrong)
	wantNoSecret(t, "hunter2", err, config, wrong, log)
}
