package content

import (
	_ "embed"
	"fmt"

	"go.yaml.in/yaml/v4"
)

//go:embed runtimesockets.yaml
var runtimeSockets []byte

// RuntimeSocket is a socket by which a node's containers or services are
// commanded.
type RuntimeSocket struct {
	// Name is the last part of the name that the server bound.
	Name string `yaml:"name"`
	// Of is whose socket it is.
	Of string `yaml:"of"`
}

// RuntimeSockets lists the sockets that no container has business with.
func RuntimeSockets() ([]RuntimeSocket, error) {
	var out []RuntimeSocket
	if err := yaml.Load(runtimeSockets, &out, yaml.WithKnownFields()); err != nil {
		return nil, fmt.Errorf("read runtime sockets: %w", err)
	}
	return out, nil
}
