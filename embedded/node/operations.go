package node

import (
	"context"
	"strconv"
	"sync"

	"casebook/embedded/node/store"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
)

// The Operations service has no generated code in the official Go client, so its few small messages are encoded here.
const operationsName = "event_store.client.operations.Operations"

// operationsService is what the service has of a node that is alone. A node that is alone has no leader to resign and no
// priority, and its indexes need no merging: these calls do nothing. Shutdown is not served, because the process that
// opened the node closes it.
type operationsService struct{ node *Node }

var operations = grpc.ServiceDesc{
	ServiceName: operationsName,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{
		operation("StartScavenge", operationsService.startScavenge),
		operation("StopScavenge", operationsService.stopScavenge),
		operation("MergeIndexes", nothing("merge the indexes")),
		operation("ResignNode", nothing("let the node resign")),
		operation("SetNodePriority", nothing("set the priority of the node")),
		operation("RestartPersistentSubscriptions", operationsService.restartGroups),
	},
	Metadata: "operations.proto",
}

// scavengeRequest is StartScavengeReq or StopScavengeReq. Of the options only the id of the scavenge to stop matters.
type scavengeRequest struct{ id string }

func (r *scavengeRequest) parse(b []byte) error {
	return fields(b, func(num protowire.Number, typ protowire.Type, options []byte, _ uint64) error {
		if num != 1 || typ != protowire.BytesType {
			return nil
		}
		return fields(options, func(num protowire.Number, typ protowire.Type, v []byte, _ uint64) error {
			if num == 1 && typ == protowire.BytesType {
				r.id = string(v)
			}
			return nil
		})
	})
}

// operation describes a method of the service.
func operation(name string, serve func(operationsService, context.Context, *scavengeRequest) (frame, *failure)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error,
		interceptor grpc.UnaryServerInterceptor,
	) (any, error) {
		in := &scavengeRequest{}
		if err := decode(in); err != nil {
			return nil, err
		}
		handler := func(ctx context.Context, req any) (any, error) {
			answer, f := serve(srv.(operationsService), ctx, req.(*scavengeRequest))
			if f != nil {
				return nil, refuse(ctx, f)
			}
			return answer, nil
		}
		if interceptor == nil {
			return handler(ctx, in)
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + operationsName + "/" + name}, handler)
	}}
}

// The values of ScavengeResult.
const (
	scavengeStarted    = 0
	scavengeInProgress = 1
	scavengeStopped    = 2
)

func scavengeResp(id string, result uint64) frame {
	b := protowire.AppendTag(nil, 1, protowire.BytesType)
	b = protowire.AppendString(b, id)
	b = protowire.AppendTag(b, 2, protowire.VarintType)
	return protowire.AppendVarint(b, result)
}

// startScavenge begins a scavenge and does not wait for its end. Protected streams are left out, as always.
func (s operationsService) startScavenge(ctx context.Context, _ *scavengeRequest) (frame, *failure) {
	if f := s.node.authorizeOperation(ctx, "scavenge the log"); f != nil {
		return nil, f
	}
	if s.node.opts.ReadOnly {
		return nil, storeFailure(store.ErrReadOnly)
	}
	running, cancel := context.WithCancel(context.Background())
	id, began := s.node.scavenges.begin(cancel)
	if !began {
		cancel()
		return scavengeResp(id, scavengeInProgress), nil
	}
	by := callerOf(ctx).name
	s.node.workers.Go(func() {
		defer cancel()
		defer s.node.scavenges.end()
		report, err := s.node.store.Scavenge(running, ScavengeOptions{By: by})
		if err != nil {
			s.node.logger.Error("a scavenge ended early", "id", id, "by", by, "removed", report.Events, "error", err)
			return
		}
		s.node.logger.Info("a scavenge ended", "id", id, "by", by, "removed", report.Events, "streams", report.Streams)
	})
	return scavengeResp(id, scavengeStarted), nil
}

// stopScavenge stops the running scavenge. What it has removed stays removed.
func (s operationsService) stopScavenge(ctx context.Context, r *scavengeRequest) (frame, *failure) {
	if f := s.node.authorizeOperation(ctx, "stop a scavenge"); f != nil {
		return nil, f
	}
	if !s.node.scavenges.stop(r.id) {
		return nil, &failure{
			code: codes.NotFound, message: "no scavenge with the id " + strconv.Quote(r.id) + " is running",
			trailer: metadata.Pairs(trailerException, "scavenge-not-found", "scavenge-id", headerSafe(r.id)),
		}
	}
	return scavengeResp(r.id, scavengeStopped), nil
}

// nothing serves a call that a node that is alone has nothing to do for.
func nothing(what string) func(operationsService, context.Context, *scavengeRequest) (frame, *failure) {
	return func(s operationsService, ctx context.Context, _ *scavengeRequest) (frame, *failure) {
		return frame{}, s.node.authorizeOperation(ctx, what)
	}
}

// restartGroups drops all consumers and restarts every group from its stored state.
func (s operationsService) restartGroups(ctx context.Context, _ *scavengeRequest) (frame, *failure) {
	if f := s.node.authorizeOperation(ctx, "restart the groups of consumers"); f != nil {
		return nil, f
	}
	return frame{}, groupFailure(s.node.groups.Restart())
}

// scavenges knows the scavenge that runs.
type scavenges struct {
	mu     sync.Mutex
	id     string
	cancel context.CancelFunc
}

// begin registers a scavenge under a new id. If another one runs, it reports false and the id of that one.
func (s *scavenges) begin(cancel context.CancelFunc) (id string, began bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != "" {
		return s.id, false
	}
	s.id, s.cancel = uuid.NewString(), cancel
	return s.id, true
}

func (s *scavenges) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.cancel = "", nil
}

// stop cancels the scavenge with the id. It reports false if that one does not run.
func (s *scavenges) stop(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" || s.id != id {
		return false
	}
	s.cancel()
	return true
}

// cancelRunning cancels the scavenge that runs, if there is one.
func (s *scavenges) cancelRunning() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel()
	}
}

// run runs a scavenge that its caller waits for.
func (s *scavenges) run(ctx context.Context, scavenge func(context.Context) (ScavengeReport, error)) (ScavengeReport, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, began := s.begin(cancel); !began {
		return ScavengeReport{}, store.ErrScavengeRuns
	}
	defer s.end()
	return scavenge(ctx)
}
