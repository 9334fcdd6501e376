package node

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// operationsProto describes the messages of the Operations service, which the official Go client lacks.
func operationsProto(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	const text, number, message = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_INT32,
		descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	field := func(name string, n int32, kind descriptorpb.FieldDescriptorProto_Type, of string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{
			Name: proto.String(name), Number: proto.Int32(n), Type: kind.Enum(), JsonName: proto.String(name),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
		if of != "" {
			f.TypeName = proto.String(of)
		}
		return f
	}
	with := func(name string, options ...*descriptorpb.FieldDescriptorProto) *descriptorpb.DescriptorProto {
		return &descriptorpb.DescriptorProto{
			Name:       proto.String(name),
			Field:      []*descriptorpb.FieldDescriptorProto{field("options", 1, message, "."+operationsPackage+"."+name+".Options")},
			NestedType: []*descriptorpb.DescriptorProto{{Name: proto.String("Options"), Field: options}},
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("operations.proto"), Package: proto.String(operationsPackage), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			with("StartScavengeReq", field("thread_count", 1, number, ""), field("start_from_chunk", 2, number, "")),
			with("StopScavengeReq", field("scavenge_id", 1, text, "")),
			{Name: proto.String("ScavengeResp"), Field: []*descriptorpb.FieldDescriptorProto{
				field("scavenge_id", 1, text, ""), field("scavenge_result", 2, number, ""),
			}},
			{Name: proto.String("SetNodePriorityReq"), Field: []*descriptorpb.FieldDescriptorProto{field("priority", 1, number, "")}},
			{Name: proto.String("Empty")},
		},
	}, nil)
	must(t, err)
	return file
}

const operationsPackage = "event_store.client.operations"

// operator calls methods of the Operations service.
type operator struct {
	t    *testing.T
	file protoreflect.FileDescriptor
	conn *grpc.ClientConn
	user *esdb.Credentials
}

func newOperator(t *testing.T, n *Node, transport credentials.TransportCredentials, user *esdb.Credentials) *operator {
	t.Helper()
	conn, err := grpc.NewClient(n.Addr(), grpc.WithTransportCredentials(transport))
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	return &operator{t: t, file: operationsProto(t), conn: conn, user: user}
}

// call calls a method and returns id and result of a scavenge.
func (o *operator) call(method, scavenge string, trailer *metadata.MD) (id string, result int64, err error) {
	o.t.Helper()
	request, response := "Empty", "Empty"
	switch method {
	case "StartScavenge", "StopScavenge":
		request, response = method+"Req", "ScavengeResp"
	case "SetNodePriority":
		request = "SetNodePriorityReq"
	}
	in := dynamicpb.NewMessage(o.file.Messages().ByName(protoreflect.Name(request)))
	if options := in.Descriptor().Fields().ByName("options"); options != nil {
		in.Mutable(options)
		if method == "StopScavenge" {
			in.Mutable(options).Message().Set(options.Message().Fields().ByName("scavenge_id"), protoreflect.ValueOfString(scavenge))
		} else {
			in.Mutable(options).Message().Set(options.Message().Fields().ByName("thread_count"), protoreflect.ValueOfInt32(1))
		}
	}
	out := dynamicpb.NewMessage(o.file.Messages().ByName(protoreflect.Name(response)))
	ctx := o.t.Context()
	if o.user != nil {
		basic := base64.StdEncoding.EncodeToString([]byte(o.user.Login + ":" + o.user.Password))
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Basic "+basic)
	}
	var options []grpc.CallOption
	if trailer != nil {
		options = append(options, grpc.Trailer(trailer))
	}
	err = o.conn.Invoke(ctx, "/"+operationsPackage+".Operations/"+method, in, out, options...)
	if response == "ScavengeResp" {
		id = out.Get(out.Descriptor().Fields().ByName("scavenge_id")).String()
		result = out.Get(out.Descriptor().Fields().ByName("scavenge_result")).Int()
	}
	return id, result, err
}

func TestOperations(t *testing.T) {
	n := openNode(t, func(o *Options) { o.Protected = []string{"trial-"} })
	c := connect(t, n)
	ops := newOperator(t, n, insecure.NewCredentials(), nil)
	for _, method := range []string{"MergeIndexes", "ResignNode", "SetNodePriority"} {
		if _, _, err := ops.call(method, "", nil); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	if _, _, err := ops.call("Shutdown", "", nil); status.Code(err) != codes.Unimplemented {
		t.Errorf("Shutdown: %v", err)
	}

	// A scavenge removes what is hidden, and nothing of protected streams.
	mustAppend(t, c, "s", esdb.NoStream{}, numbered("T", 0, 3)...)
	mustAppend(t, c, "trial-1", esdb.NoStream{}, numbered("T", 0, 3)...)
	_, err := c.DeleteStream(t.Context(), "s", esdb.DeleteStreamOptions{})
	must(t, err)
	id, result, err := ops.call("StartScavenge", "", nil)
	if err != nil || id == "" || result != scavengeStarted {
		t.Fatalf("the scavenge %q: result %d, %v", id, result, err)
	}
	eventually(t, "the removal of the events", func() bool {
		all, err := c.ReadAll(t.Context(), esdb.ReadAllOptions{}, 100)
		return !slices.ContainsFunc(drain(t, all, err), func(e *esdb.ResolvedEvent) bool { return e.Event.StreamID == "s" })
	})
	if got := describeStream(t, c, "trial-1"); len(got) != 3 {
		t.Errorf("of a protected stream there is %v", got)
	}

	eventually(t, "the end of the scavenge", func() bool {
		_, result, err := ops.call("StartScavenge", "", nil)
		return err == nil && result == scavengeStarted
	})
	eventually(t, "the end of another scavenge", func() bool {
		_, err := n.Scavenge(t.Context(), ScavengeOptions{DryRun: true})
		return err == nil
	})

	// While one scavenge runs there is no second one, and it can be stopped by its id.
	release := make(chan struct{})
	stopped := make(chan error, 1)
	go func() {
		_, err := n.scavenges.run(context.Background(), func(ctx context.Context) (ScavengeReport, error) {
			close(release)
			<-ctx.Done()
			return ScavengeReport{}, ctx.Err()
		})
		stopped <- err
	}()
	<-release
	running, result, err := ops.call("StartScavenge", "", nil)
	if err != nil || result != scavengeInProgress || running == "" || running == id {
		t.Errorf("a second scavenge: %q, result %d, %v", running, result, err)
	}
	var trailer metadata.MD
	if _, _, err := ops.call("StopScavenge", "unknown", &trailer); status.Code(err) != codes.NotFound ||
		strings.Join(trailer.Get("exception"), "") != "scavenge-not-found" {
		t.Errorf("stop an unknown scavenge: %v, %v", err, trailer)
	}
	if got, result, err := ops.call("StopScavenge", running, nil); err != nil || got != running || result != scavengeStopped {
		t.Errorf("stop the scavenge: %q, result %d, %v", got, result, err)
	}
	if err := <-stopped; err == nil {
		t.Error("the scavenge was not stopped")
	}

	// A restart of the groups drops their consumers.
	must(t, c.CreatePersistentSubscription(t.Context(), "s", "g", esdb.PersistentStreamSubscriptionOptions{}))
	sub, err := c.SubscribeToPersistentSubscription(t.Context(), "s", "g", esdb.SubscribeToPersistentSubscriptionOptions{})
	must(t, err)
	_, _, err = ops.call("RestartPersistentSubscriptions", "", nil)
	must(t, err)
	dropped := make(chan *esdb.PersistentSubscriptionEvent, 1)
	go func() { dropped <- sub.Recv() }()
	select {
	case e := <-dropped:
		if e.SubscriptionDropped == nil {
			t.Errorf("after the restart came %+v", e)
		}
	case <-time.After(10 * time.Second):
		t.Error("the restart dropped nobody")
	}
}

func TestOnlyOperatorsOperate(t *testing.T) {
	config, pool := selfSigned(t)
	n := openNode(t, withUsers, func(o *Options) { o.TLS = config })
	transport := credentials.NewClientTLSFromCert(pool, "")
	for _, user := range []string{"", "admin", "ops", "anna"} {
		var who *esdb.Credentials
		if user != "" {
			who = as(t, n, user)
		}
		o := newOperator(t, n, transport, who)
		for _, method := range []string{
			"StartScavenge", "StopScavenge", "MergeIndexes", "ResignNode", "SetNodePriority", "RestartPersistentSubscriptions",
		} {
			var trailer metadata.MD
			_, _, err := o.call(method, "none", &trailer)
			allowed := user == "admin" || user == "ops"
			denied := status.Code(err) == codes.PermissionDenied && strings.Join(trailer.Get("exception"), "") == "access-denied"
			if allowed == denied || !allowed && !denied {
				t.Errorf("%s as %s: %v, %v", method, fmt.Sprintf("%q", user), err, trailer)
			}
		}
	}
}
