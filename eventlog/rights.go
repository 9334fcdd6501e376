package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/persistent"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Rights says what the account may do at the event store.
type Rights struct {
	// Append, ReadAll and ManageGroups are needed: to append to streams, to read $all, and to make groups of consumers.
	Append, ReadAll, ManageGroups bool
	// Delete says that the account may delete streams of the record, which nothing needs.
	Delete bool
}

// missing returns an ErrMissingRight that names the needed rights that are missing; nil for none.
func (l *Log) missing(r Rights, groups bool) error {
	var errs []error
	for _, right := range []struct {
		may  bool
		name string
	}{{r.Append, "append to streams"}, {r.ReadAll, "read $all"}, {r.ManageGroups || !groups, "make groups of consumers (it is not in $ops)"}} {
		if !right.may {
			errs = append(errs, l.explain(right.name, status.Error(codes.PermissionDenied, "access denied")))
		}
	}
	return errors.Join(errs...)
}

// CheckRights finds out what the account may do, without changing anything, and fails with ErrMissingRight where it lacks a
// right that is needed; groups says whether groups of consumers are.
func (l *Log) CheckRights(ctx context.Context, groups bool) (Rights, error) {
	stream := l.registry.Categories()[0] + "-rights-" + uuid.NewString()
	var r Rights
	var err error
	if r.Append, err = l.may(ctx, func(ctx context.Context, s *session) error {
		appending, err := s.streams.Append(ctx)
		if err != nil {
			return err
		}
		// An append without events is checked, and writes nothing.
		if err := appending.Send(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: &streams.AppendReq_Options{
			StreamIdentifier:       &shared.StreamIdentifier{StreamName: []byte(stream)},
			ExpectedStreamRevision: &streams.AppendReq_Options_NoStream{NoStream: &shared.Empty{}},
		}}}); err != nil {
			return err
		}
		_, err = appending.CloseAndRecv()
		return err
	}); err != nil {
		return r, err
	}
	if r.ReadAll, err = l.may(ctx, func(ctx context.Context, s *session) error {
		_, err := endOf(ctx, s.streams)
		return err
	}); err != nil {
		return r, err
	}
	if r.ManageGroups, err = l.may(ctx, func(ctx context.Context, s *session) error {
		// The group does not exist, so that nothing is deleted.
		_, err := s.groups.Delete(ctx, &persistent.DeleteReq{Options: &persistent.DeleteReq_Options{
			StreamOption: &persistent.DeleteReq_Options_All{All: &shared.Empty{}}, GroupName: stream}})
		if status.Code(err) == codes.NotFound {
			return nil
		}
		return err
	}); err != nil {
		return r, err
	}
	if r.Delete, err = l.may(ctx, func(ctx context.Context, s *session) error {
		// The stream does not have the revision that is named, so that nothing is deleted.
		_, err := s.streams.Delete(ctx, &streams.DeleteReq{Options: &streams.DeleteReq_Options{
			StreamIdentifier:       &shared.StreamIdentifier{StreamName: []byte(stream)},
			ExpectedStreamRevision: &streams.DeleteReq_Options_Revision{Revision: 1 << 30}}})
		if status.Code(err) == codes.FailedPrecondition {
			return nil
		}
		return err
	}); err != nil {
		return r, err
	}
	return r, l.missing(r, groups)
}

// may says whether the account may do what try does. Any other failure than a missing right is an error.
func (l *Log) may(ctx context.Context, try func(context.Context, *session) error) (bool, error) {
	_, err := callIn(ctx, l, func(ctx context.Context, s *session) (struct{}, error) { return struct{}{}, try(ctx, s) })
	switch status.Code(err) {
	case codes.OK:
		return true, nil
	case codes.PermissionDenied:
		return false, nil
	default:
		return false, fmt.Errorf("find out what the event store's account may do: %w", l.explain("connect", err))
	}
}
