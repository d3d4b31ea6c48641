// Package server shares one scanner between many CI jobs: its layer cache, its
// database and its credentials; and it is the client of it.
//
// It does not scan: a Backend does. The one idea: a client is not trusted with
// what others see. What it says of layers it examined itself is kept apart by
// client and never used for anybody else, it can name only registries the
// server allows, and what it sends is bounded in bytes, number and time before
// anything is decoded.
//
// The API is JSON over HTTP with "Authorization: Bearer TOKEN":
//
//	GET  /v1/info            -> Info
//	POST /v1/scan            Request -> stream of Event
//	POST /v1/layers/missing  MissingRequest -> MissingAnswer
//	PUT  /v1/layers/DIFFID?version=V  contents of a layer -> 204
//	POST /v1/merge           MergeRequest -> stream of Event
//	GET  /healthz, /metrics  without a token
//
// A stream is one Event per line; the last has Report or Error. Other answers
// that are not 2xx hold an Error.
package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gabion-dev/gabion/scan"
)

// Info says what a server works with.
type Info struct {
	Version  string        `json:"version"` // of the extractor
	Database scan.Database `json:"database"`
}

// Request asks for the scan of a registry's image.
type Request struct {
	Reference string `json:"reference"`
	Platform  string `json:"platform,omitempty"`
	// Credentials are used for this one scan, and neither kept nor logged.
	Credentials *Credentials `json:"credentials,omitempty"`
	Decisions   Decisions    `json:"decisions,omitzero"`
}

// Credentials reach a registry. They print as nothing.
type Credentials struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Token    string `json:"token,omitempty"`
}

// String implements fmt.Stringer: credentials are not for logs.
func (Credentials) String() string { return "(credentials)" }

// GoString implements fmt.GoStringer.
func (c Credentials) GoString() string { return c.String() }

// LogValue implements slog.LogValuer.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Decisions are the client's own files, as they are, and what goes with them.
type Decisions struct {
	Ignore     []byte   `json:"ignore,omitempty"`
	IgnoreName string   `json:"ignoreName,omitempty"`
	VEX        [][]byte `json:"vex,omitempty"`
	Base       string   `json:"base,omitempty"` // reference of the base image
}

// MissingRequest asks which layers, by their uncompressed digests, the server
// does not know as an extractor of this version sees them.
type MissingRequest struct {
	Version string   `json:"version"`
	Layers  []string `json:"layers"`
}

// MissingAnswer lists them, in the order asked.
type MissingAnswer struct {
	Missing []string `json:"missing"`
}

// MergeRequest asks for the report of an image whose layers the client
// examined, or knows that the server has. A directory is an image of one layer
// that is named by the digest of its contents.
type MergeRequest struct {
	Version   string        `json:"version"` // of the extractor that made the contents
	Image     scan.Image    `json:"image"`
	Secrets   []scan.Secret `json:"secrets,omitempty"` // of the configuration
	Gaps      []scan.Gap    `json:"gaps,omitempty"`    // of layers the client lost, and others
	Lost      []int         `json:"lost,omitempty"`    // indices of those layers
	Decisions Decisions     `json:"decisions,omitzero"`
}

// Backend does the work. Its errors are shown to clients. It is called from
// several goroutines.
type Backend interface {
	// Version is that of the extractor: contents by another are refused.
	Version() string
	Database() scan.Database
	// Scan examines a registry's image. Reference is a complete name
	// (host/repository:tag) without a scheme: open it as "registry:"+Reference,
	// or it could be taken for a path. Decisions.Base has the scheme already.
	Scan(ctx context.Context, r Request, progress func(Event)) (*scan.Report, error)
	// Merge makes a report of layers' contents, lowest first, as
	// inventory.Contents writes them; nil for a lost one.
	Merge(ctx context.Context, r MergeRequest, contents [][]byte) (*scan.Report, error)
	// Check reports whether bytes are contents at all.
	Check(contents []byte) error
}

// Layers keep contents. Implementations are safe for concurrent use.
type Layers interface {
	// Get gives what the server itself examined.
	Get(diffID, version string) ([]byte, bool)
	// GetOf and PutOf keep what a client examined, for that client alone.
	GetOf(client, diffID, version string) ([]byte, bool)
	PutOf(client, diffID, version string, contents []byte) error
}

// Event is one line of a stream. An empty one says that the server is alive.
type Event struct {
	Queue    int          `json:"queue,omitempty"` // place in the queue, 1 is next
	Progress string       `json:"progress,omitempty"`
	Done     int64        `json:"done,omitempty"`
	Total    int64        `json:"total,omitempty"`
	Report   *scan.Report `json:"report,omitempty"`
	Error    *Error       `json:"error,omitempty"`
}

// Codes of errors, for programs.
const (
	CodeUnauthorized = "unauthorized" // 401
	CodeInvalid      = "invalid"      // 400: the request cannot be read or is not allowed
	CodeForbidden    = "forbidden"    // 403: the registry is not on the server's list
	CodeVersion      = "version"      // 409: contents of another extractor
	CodeMissing      = "missing"      // 409: layers must be sent first
	CodeTooBig       = "too-big"      // 413
	CodeBusy         = "busy"         // 503, with Retry-After
	CodeFailed       = "failed"       // the scan gave no report
	CodeTimeout      = "timeout"      // the scan was not done in time
)

// Error is what went wrong, for people and for programs.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Do      string `json:"do,omitempty"`
	// Layers are those that are missing, with CodeMissing.
	Layers []string `json:"layers,omitempty"`
	status int
}

func (e *Error) Error() string {
	if e.Do == "" {
		return e.Message
	}
	return e.Message + "; " + e.Do
}

func refuse(status int, code, do, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Do: do, status: status}
}

// Config bounds a server. Zero bounds take their default.
type Config struct {
	// Tokens are the clients: name -> token of at least 16 characters.
	Tokens map[string]string
	// Registries that may be named (globs over host[:port], "*" for all public
	// ones); empty: none, so that nobody can send the server where it should not
	// go.
	Registries []string
	Parallel   int           // scans at once; 2
	Queue      int           // scans waiting; 64
	Uploads    int           // bodies being received at once; 8
	Timeout    time.Duration // of one scan, without waiting; 10 minutes
	MaxRequest int64         // bytes of a JSON request; 16 MiB
	MaxLayer   int64         // bytes of a layer's contents; 128 MiB
	MaxMerge   int64         // bytes of all contents of one image; 1 GiB
}

const maxLayers = 1024

// Deps are what a server works with.
type Deps struct {
	Backend Backend
	Layers  Layers
	Log     *slog.Logger // nil: silent
	// Alive is how often a waiting client hears something; 0: 15 seconds.
	Alive time.Duration
}

var _ http.Handler = (*Server)(nil)
