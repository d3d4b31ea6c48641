// Package server shares one scanner between many CI jobs: its layer cache, its
// database and its credentials; and it is the client of it.
//
// It does not scan: a Backend does. The one idea: a client is not trusted with
// what others see. What it says of layers it examined itself is kept apart by
// client, it can name only registries the server allows, and what it sends is
// bounded in bytes, number and time before anything is decoded.
package server

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// Request asks for the scan of a registry's image.
type Request struct {
	Reference string `json:"reference"`
	Platform  string `json:"platform,omitempty"`
	// Credentials are used for this one scan, and neither kept nor logged.
	Credentials *Credentials `json:"credentials,omitempty"`
	Decisions   Decisions    `json:"decisions,omitzero"`
}

// Credentials reach a registry.
type Credentials struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Token    string `json:"token,omitempty"`
}

// Decisions are the client's own files, as they are.
type Decisions struct {
	Ignore     []byte   `json:"ignore,omitempty"`
	IgnoreName string   `json:"ignoreName,omitempty"`
	VEX        [][]byte `json:"vex,omitempty"`
	Base       string   `json:"base,omitempty"` // reference of the base image
}

// MergeRequest asks for the report of an image whose layers the client
// examined, or knows that the server has.
type MergeRequest struct {
	Version   string        `json:"version"` // of the extractor that made the contents
	Image     scan.Image    `json:"image"`
	Secrets   []scan.Secret `json:"secrets,omitempty"` // of the configuration
	Gaps      []scan.Gap    `json:"gaps,omitempty"`    // of layers the client lost
	Lost      []int         `json:"lost,omitempty"`    // indices of those
	Decisions Decisions     `json:"decisions,omitzero"`
}

// Backend does the work. Errors it returns are shown to clients.
type Backend interface {
	// Version is that of the extractor: contents by another are refused.
	Version() string
	Database() scan.Database
	// Scan examines a registry's image.
	Scan(ctx context.Context, r Request, progress func(Event)) (*scan.Report, error)
	// Merge makes a report of layers' contents, lowest first, as
	// inventory.Contents writes them; nil for a lost one.
	Merge(ctx context.Context, r MergeRequest, contents [][]byte) (*scan.Report, error)
	// Check reports whether bytes are contents at all.
	Check(contents []byte) error
}

// Layers keep contents by key: those of a client and, read only, the shared.
type Layers interface {
	// Get gives what the server itself examined.
	Get(diffID, version string) ([]byte, bool)
	// GetOf and PutOf keep what a client examined.
	GetOf(client, diffID, version string) ([]byte, bool)
	PutOf(client, diffID, version string, contents []byte) error
}

// Event is one line of an answer.
type Event struct {
	Queue    int          `json:"queue,omitempty"` // place in the queue, 1 is next
	Progress string       `json:"progress,omitempty"`
	Done     int64        `json:"done,omitempty"`
	Total    int64        `json:"total,omitempty"`
	Report   *scan.Report `json:"report,omitempty"`
	Error    *Error       `json:"error,omitempty"`
}

// Error is what went wrong, for people and for programs.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Do      string `json:"do,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Config bounds a server.
type Config struct {
	// Tokens are the clients: name -> token.
	Tokens map[string]string
	// Registries that may be named (globs over host[:port], "*" all); empty:
	// none, so that nobody can send the server where it should not go.
	Registries []string
	Parallel   int           // scans at once; 0: 2
	Queue      int           // scans waiting; 0: 64
	Timeout    time.Duration // of one scan; 0: 10 minutes
	MaxBody    int64         // of one request; 0: 64 MB
}

// Deps are what a server works with.
type Deps struct {
	Backend Backend
	Layers  Layers
	Log     *slog.Logger
	Now     func() time.Time
}

// New makes the handler.
func New(c Config, d Deps) (http.Handler, error) { return http.NewServeMux(), nil }

// Client asks a server.
type Client struct {
	URL, Token string
	HTTP       *http.Client
}

// Scan asks for the scan of a registry's image.
func (c *Client) Scan(ctx context.Context, r Request, progress func(Event)) (*scan.Report, error) {
	return nil, nil
}

// Missing tells which layers (diff ids) the server does not know.
func (c *Client) Missing(ctx context.Context, version string, diffIDs []string) ([]string, error) {
	return nil, nil
}

// Put sends the contents of one layer.
func (c *Client) Put(ctx context.Context, version, diffID string, contents []byte) error { return nil }

// Merge asks for the report of layers the server knows.
func (c *Client) Merge(ctx context.Context, r MergeRequest, progress func(Event)) (*scan.Report, error) {
	return nil, nil
}
