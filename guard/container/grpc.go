package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// dial prepares a connection to a socket; it connects when first used and
// again after the other side restarts.
func dial(socket string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix:"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a local socket
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithNoProxy(),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", socket, err)
	}
	return conn, nil
}

// grpcErr turns the errors of gRPC into those of plugins. An Unavailable whose
// socket is not there means that the runtime is not.
func grpcErr(what, socket string, err error) error {
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.NotFound:
		return fmt.Errorf("%s: %w", what, ErrNotFound)
	case codes.Unavailable:
		if _, statErr := os.Stat(socket); errors.Is(statErr, fs.ErrNotExist) {
			return fmt.Errorf("%s: %s: %w", what, socket, ErrAbsent)
		}
	case codes.Unimplemented:
		return fmt.Errorf("%s: not served at %s: %w", what, socket, ErrAbsent)
	}
	return fmt.Errorf("%s: %w", what, err)
}
