package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VulnerabilityRule waives findings of a vulnerability.
type VulnerabilityRule struct {
	// ID is the vulnerability by any of its names ("CVE-2021-44228", "GHSA-..."),
	// or "*" for every one of a package that is then named.
	ID string `json:"id"`
	// Package is a glob pattern for the package's name. Default: any.
	Package string `json:"package,omitempty"`
	// Path is a glob pattern for where the package was found. Default: anywhere.
	Path string `json:"path,omitempty"`
	// UntilFixed: the rule counts only while no fixed version is known.
	UntilFixed bool `json:"untilFixed,omitempty"`
	// Reason is for the reader.
	Reason string `json:"reason,omitempty"`
}

// SecretRule waives secrets; one that matches has every part that is given.
type SecretRule struct {
	// Detector is the id of what found it ("private-key").
	Detector string `json:"detector,omitempty"`
	// Path is a glob pattern for where it is: a path, "env NAME", "label NAME".
	Path string `json:"path,omitempty"`
	// Fingerprint is the secret's own, as reports give it: 16 hex digits.
	Fingerprint string `json:"fingerprint,omitempty"`
	// Reason is for the reader.
	Reason string `json:"reason,omitempty"`
}

// CheckRule waives a check of the image's configuration.
type CheckRule struct {
	// ID is the check's.
	ID string `json:"id"`
	// Reason is for the reader.
	Reason string `json:"reason,omitempty"`
}

// LicenseRule lets packages have a licence that is denied.
type LicenseRule struct {
	// License is written as reports give it ("GPL-3.0-only").
	License string `json:"license"`
	// Package is a glob pattern for the package's name. Default: any.
	Package string `json:"package,omitempty"`
	// Reason is for the reader.
	Reason string `json:"reason,omitempty"`
}

// ScanTarget is a registry whose images are examined again and again. It has
// cluster scope.
type ScanTarget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec says which images are examined, when and how.
	Spec ScanTargetSpec `json:"spec"`
}

// ScanTargetSpec is the body of a ScanTarget. It names repositories or asks the
// catalogue for them; exactly one of the two.
type ScanTargetSpec struct {
	// Registry is "host" or "host:port".
	Registry string `json:"registry"`
	// Repositories are names below the registry ("team/app").
	Repositories []string `json:"repositories,omitempty"`
	// Catalog takes the repositories from the registry's own list.
	Catalog *CatalogSpec `json:"catalog,omitempty"`
	// Tags chooses tags. Default: all.
	Tags *TagSpec `json:"tags,omitempty"`
	// Platforms that are examined of images for several ("linux/amd64").
	// Default: linux/amd64.
	Platforms []string `json:"platforms,omitempty"`
	// Schedule is a cron expression of five fields in UTC ("0 3 * * *"),
	// "@hourly", "@daily", "@weekly", "@monthly", or "@every 6h". Default: once.
	Schedule string `json:"schedule,omitempty"`
	// Credentials say where user name and password are found, never what they
	// are. Default: Docker's configuration and its helpers.
	Credentials *RegistryCredentials `json:"credentials,omitempty"`
	// TLS says how the registry is trusted. Default: the system's authorities.
	TLS *RegistryTLS `json:"tls,omitempty"`
	// Limits spare the registry and the network.
	Limits *ScanLimits `json:"limits,omitempty"`
	// FailOn are what an image is reported for, in the words of gabion scan
	// --fail-on ("high", "kev", "fixable"). Default: nothing.
	FailOn []string `json:"failOn,omitempty"`
	// Webhook lets the registry tell of pushes, so that new images are examined
	// at once. Default: it does not.
	Webhook *ScanWebhook `json:"webhook,omitempty"`
}

// ScanWebhook says where the secret is that the registry sends with its
// notifications, in the header Authorization; exactly one of the two.
type ScanWebhook struct {
	// SecretEnv names an environment variable of the process that examines.
	SecretEnv string `json:"secretEnv,omitempty"`
	// SecretFile holds the secret, 16 characters or more: an absolute path.
	SecretFile string `json:"secretFile,omitempty"`
}

// CatalogSpec chooses from a registry's list of repositories.
type CatalogSpec struct {
	// Include are glob patterns; one must match. Default: all.
	Include []string `json:"include,omitempty"`
	// Exclude are glob patterns; none may match.
	Exclude []string `json:"exclude,omitempty"`
}

// TagSpec chooses tags of each repository.
type TagSpec struct {
	// Include are glob patterns; one must match. Default: all.
	Include []string `json:"include,omitempty"`
	// Exclude are glob patterns; none may match.
	Exclude []string `json:"exclude,omitempty"`
	// Newest is how many are left at most. Default: all.
	Newest int `json:"newest,omitempty"`
	// Order says what newest means. Default: Version.
	Order TagOrder `json:"order,omitempty"`
}

// TagOrder says which of two tags is newer: Version compares the names, numbers
// in them as numbers; Created reads when each image was made.
type TagOrder string

// Orders of tags.
const (
	TagOrderVersion TagOrder = "Version"
	TagOrderCreated TagOrder = "Created"
)

// RegistryCredentials are references; at most one way is given.
type RegistryCredentials struct {
	// UsernameEnv and PasswordEnv name environment variables of the process
	// that examines; they are given together.
	UsernameEnv string `json:"usernameEnv,omitempty"`
	// PasswordEnv names the variable with the password or token.
	PasswordEnv string `json:"passwordEnv,omitempty"`
	// File holds "user:password" or a token on one line: an absolute path.
	File string `json:"file,omitempty"`
	// Anonymous asks without credentials even if some are at hand.
	Anonymous bool `json:"anonymous,omitempty"`
}

// RegistryTLS says how a registry is trusted.
type RegistryTLS struct {
	// CAFile holds further authorities in PEM: an absolute path.
	CAFile string `json:"caFile,omitempty"`
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool `json:"insecureSkipVerify,omitempty"`
	// PlainHTTP speaks without TLS.
	PlainHTTP bool `json:"plainHTTP,omitempty"`
}

// ScanLimits spare the registry and the network.
type ScanLimits struct {
	// Parallel is how many images are examined at once. Default: 2.
	Parallel int `json:"parallel,omitempty"`
	// BytesPerSecond bounds what is pulled. Default: unbounded.
	BytesPerSecond int64 `json:"bytesPerSecond,omitempty"`
	// Timeout bounds one image, as "90s" or "10m". Default: 10m.
	Timeout string `json:"timeout,omitempty"`
}
