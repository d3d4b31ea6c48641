// Package pack distributes advisory databases: as a signed artifact in a
// registry or an OCI layout, as one file for places without a network, and as
// deltas from an earlier one.
//
// It neither builds nor reads databases beyond their header and digest. The one
// idea: the local database is replaced in one step and only by one that was
// verified, so on any failure the old one goes on being used; what is trusted
// is a signature over digest and date, never the place a file came from.
//
// There is no built-in key: whoever publishes databases makes one (GenerateKey)
// and gives its public half to those who pull, by flag, file or the environment
// variable named KeyEnv.
package pack

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/gabion-dev/gabion/scan"
)

// KeyEnv is the environment variable that may hold public keys (PEM), or the
// path of a file with them.
const KeyEnv = "GABION_DB_KEY"

// Media types of the artifact.
const (
	ArtifactType  = "application/vnd.gabion.advisories.v1"
	DatabaseType  = "application/vnd.gabion.advisories.v1.database+zstd"
	DeltaType     = "application/vnd.gabion.advisories.v1.delta+zstd"
	StatementType = "application/vnd.gabion.advisories.v1.statement+json"
)

// Errors, matched with errors.Is. The error itself says what to do.
var (
	ErrNoDatabase = errors.New("no database")
	ErrUnsigned   = errors.New("not signed by a known key")
	ErrCorrupt    = errors.New("corrupt")
	ErrOlder      = errors.New("older than the one at hand")
	ErrNotFound   = errors.New("not found")
	ErrTooBig     = errors.New("too big")
)

// Statement is what is signed about a database.
type Statement struct {
	Digest string    `json:"digest"` // of the file: "sha256:..."
	Size   int64     `json:"size"`
	Built  time.Time `json:"built"`
	Data   time.Time `json:"data"`   // newest fact in it
	Format int       `json:"format"` // of this statement: 1
}

// Keys are public keys that are trusted.
type Keys []ed25519.PublicKey

// Remote says how to reach registries. The zero value works.
type Remote struct {
	Transport http.RoundTripper   // nil: the default, with the proxies of the environment
	Auth      authn.Authenticator // nil: Keychain
	Keychain  authn.Keychain      // nil: those of Docker and its helpers
	PlainHTTP bool                // also http:// registries other than on this machine
	UserAgent string
}

// Place is the directory of the local database.
type Place struct{ Dir string }

// DefaultPlace is $XDG_CACHE_HOME/gabion/db, else $HOME/.cache/gabion/db.
func DefaultPlace(getenv func(string) string) (Place, error) {
	return Place{}, errors.New("find place of the database: not built yet")
}

// Database is the path of the database file. It may not exist.
func (p Place) Database() string { return "" }

// Status is what is known of the local database.
type Status struct {
	Path     string        `json:"path"`
	Database scan.Database `json:"database"`
	Size     int64         `json:"size"`
	From     string        `json:"from,omitempty"` // where it came from
	Fetched  time.Time     `json:"fetched,omitzero"`
	Signed   string        `json:"signed,omitempty"` // id of the key; empty: not signed
	// Age is the time since the newest fact, DaysOld the same in whole days.
	Age     time.Duration `json:"-"`
	DaysOld int           `json:"daysOld"`
}

// Status reads the local database's header. ErrNoDatabase: there is none.
func (p Place) Status(now time.Time) (Status, error) { return Status{}, ErrNoDatabase }

// Options say how a database is taken.
type Options struct {
	Remote Remote
	Keys   Keys
	// Unsigned takes databases that no known key signed.
	Unsigned bool
	// Force takes a database that is older than the one at hand.
	Force bool
	// MaxSize of a database in bytes; 0: 8 GiB.
	MaxSize  int64
	Now      func() time.Time
	Progress func(done, total int64)
}

// Change is what an update did.
type Change struct {
	Status
	Updated bool  `json:"updated"` // false: it was up to date
	Delta   bool  `json:"delta"`   // by a delta from the old one
	Fetched int64 `json:"fetched"` // bytes that were carried
}

// Update brings the local database up to what ref ("registry/repo:tag",
// "oci:DIR:tag") holds.
func (p Place) Update(ctx context.Context, ref string, o Options) (Change, error) {
	return Change{}, errors.New("update database: not built yet")
}

// Import takes a database from a file: one that Export wrote, or a bare
// database, which has no signature.
func (p Place) Import(ctx context.Context, file string, o Options) (Change, error) {
	return Change{}, errors.New("import database: not built yet")
}

// Export writes the local database with its signature into one file.
func (p Place) Export(ctx context.Context, file string) error {
	return errors.New("export database: not built yet")
}

// Verify reads the whole local database and compares it with its digest and,
// with keys, its signature.
func (p Place) Verify(ctx context.Context, keys Keys) error { return ErrNoDatabase }

// PushOptions say how a database is published.
type PushOptions struct {
	Remote Remote
	Signer ed25519.PrivateKey // nil: not signed
	// Deltas makes deltas from up to so many databases that the reference held
	// before (Previous: their files).
	Previous []string
	Now      func() time.Time
}

// Push publishes a database file and returns the digest of the manifest.
func Push(ctx context.Context, file, ref string, o PushOptions) (string, error) {
	return "", errors.New("push database: not built yet")
}

// Mirror copies an artifact as it is, signature and deltas included.
func Mirror(ctx context.Context, from, to string, r Remote) (string, error) {
	return "", errors.New("mirror database: not built yet")
}

// GenerateKey makes a key pair, in PEM.
func GenerateKey(random io.Reader) (private, public []byte, err error) {
	return nil, nil, errors.New("generate key: not built yet")
}

// ParseKeys reads public keys in PEM, one or several.
func ParseKeys(pem []byte) (Keys, error) { return nil, errors.New("parse keys: not built yet") }

// ParseSigner reads a private key in PEM.
func ParseSigner(pem []byte) (ed25519.PrivateKey, error) {
	return nil, errors.New("parse key: not built yet")
}
