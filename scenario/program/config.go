package program

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Config is the file that a service reads, by default /etc/<name>/config.json.
// Fields that a service has no use for are ignored by it.
type Config struct {
	// Listen is a TCP address: ":8080".
	Listen string `json:"listen"`
	// Title is what pages are headed with.
	Title string `json:"title,omitempty"`
	// Payments is the URL of the JSON-RPC service; Orders the address of the
	// orders database.
	Payments string `json:"payments,omitempty"`
	Orders   string `json:"orders,omitempty"`
	// API is the URL of the Kubernetes stand-in; TokenFile holds the token for it.
	API       string `json:"api,omitempty"`
	TokenFile string `json:"tokenFile,omitempty"`
	// Token and Secrets are what the Kubernetes stand-in accepts and holds.
	Token   string            `json:"token,omitempty"`
	Secrets map[string]string `json:"secrets,omitempty"`
}

// load reads the configuration of a service. Its file may be the first argument.
func (e *Env) load(name string) (Config, string, error) {
	file := "/etc/" + name + "/config.json"
	if len(e.Args) > 0 {
		file = e.Args[0]
	}
	c, err := readConfig(file)
	return c, file, err
}

func readConfig(file string) (Config, error) {
	c := Config{Listen: ":8080"}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("read configuration: %s is missing", file)
	}
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("read configuration %s: %w", file, err)
	}
	return c, nil
}
