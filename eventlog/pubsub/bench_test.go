package pubsub_test

import (
	"fmt"
	"testing"

	"casebook/eventlog/pubsub"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// BenchmarkSubscriber measures how fast one subscriber catches up with its group. It acknowledges each message at once.
func BenchmarkSubscriber(b *testing.B) {
	for _, inFlight := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("in-flight=%d", inFlight), func(b *testing.B) {
			topic, p := uuid.NewString(), newPublisher(b, theNode)
			payload := make([]byte, 400)
			for sent := 0; sent < b.N; {
				batch := make([]*message.Message, min(1000, b.N-sent))
				for i := range batch {
					batch[i] = message.NewMessage(uuid.NewString(), payload)
				}
				must(b, p.Publish(topic, batch...))
				sent += len(batch)
			}
			b.ResetTimer()
			messages := subscribe(b, newSubscriber(b, theNode, func(c *pubsub.SubscriberConfig) { c.InFlight = inFlight }), topic)
			for range b.N {
				(<-messages).Ack()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkPublisher measures several goroutines that each publish one message at a time.
func BenchmarkPublisher(b *testing.B) {
	topic, p := uuid.NewString(), newPublisher(b, theNode)
	payload := make([]byte, 400)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := p.Publish(topic, message.NewMessage(uuid.NewString(), payload)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
