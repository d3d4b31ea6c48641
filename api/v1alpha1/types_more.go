package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Exception is a dated, owned and reasoned waiver: of rules for containers, of
// findings in images, or both. With a namespace it loosens policies of that
// namespace; without one it has cluster scope and loosens policies of both
// scopes. Images belong to no namespace: rules for them want cluster scope.
// Past its date it is no exception.
type Exception struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec says what is waived, for whom, why and until when.
	Spec ExceptionSpec `json:"spec"`
}

// ExceptionSpec is the body of an Exception. Rules for containers want a
// selector, rules for images want images, and neither goes without such rules.
type ExceptionSpec struct {
	// Selector chooses the containers; "{}" means all of them.
	Selector *Selector `json:"selector,omitempty"`
	// Images are glob patterns for the images, as in a selector, or digests
	// ("sha256:..."); "**" means all of them.
	Images []string `json:"images,omitempty"`
	// Policy limits the exception to the policy of this name. Default: every
	// policy in reach.
	Policy string `json:"policy,omitempty"`
	// Rules are what is waived.
	Rules ExceptionRules `json:"rules"`
	// Owner is who answers for it: a person or a team.
	Owner string `json:"owner"`
	// Reason is why it is needed.
	Reason string `json:"reason"`
	// ExpiresAt is the moment from which it counts no more (RFC 3339).
	ExpiresAt metav1.Time `json:"expiresAt"`
}

// ExceptionRules are what an Exception waives; at least one list is needed.
type ExceptionRules struct {
	// Process are programs that may run although a rule denies them or no list
	// names them. Drift control still applies to them.
	Process []ProcessRule `json:"process,omitempty"`
	// Drift are paths whose programs need not be the image's own.
	Drift []DriftRule `json:"drift,omitempty"`
	// Files are uses of files that may be made although a rule denies them or no
	// rule allows them.
	Files []FileWaiver `json:"files,omitempty"`
	// Capabilities may be used although no list names them.
	Capabilities []string `json:"capabilities,omitempty"`
	// Hardening are switches that are off, for all programs or for some.
	Hardening []HardeningWaiver `json:"hardening,omitempty"`
	// Ingress are connections that may be accepted.
	Ingress []IngressRule `json:"ingress,omitempty"`
	// Egress are connections that may be made.
	Egress []EgressRule `json:"egress,omitempty"`
	// Vulnerabilities are findings in images that count no more.
	Vulnerabilities []VulnerabilityRule `json:"vulnerabilities,omitempty"`
	// Secrets are secrets in images that count no more.
	Secrets []SecretRule `json:"secrets,omitempty"`
	// Checks are failed checks of an image's configuration that count no more.
	Checks []CheckRule `json:"checks,omitempty"`
	// Licenses are denied licences that packages of images may have.
	Licenses []LicenseRule `json:"licenses,omitempty"`
}

// DriftRule names programs that drift control leaves alone.
type DriftRule struct {
	// Path is written as in ProcessRule.
	Path string `json:"path"`
	// Reason is for the reader.
	Reason string `json:"reason,omitempty"`
}

// ResponsePolicy says: when this happens, do that.
type ResponsePolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec is the condition and what is done.
	Spec ResponsePolicySpec `json:"spec"`
}

// ResponsePolicySpec is the body of a ResponsePolicy.
type ResponsePolicySpec struct {
	// Selector limits the policy to events of these containers. Default: every
	// event in reach, also those that belong to no container.
	Selector *Selector `json:"selector,omitempty"`
	// Match is a CEL expression over "event" that is true when the policy acts.
	Match string `json:"match"`
	// Mode: Monitor records what would be done, Protect does it. Default: Monitor.
	Mode Mode `json:"mode,omitempty"`
	// RateLimit bounds how often the policy acts. Default: 60 a minute, burst 10.
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
	// Actions are done in order; one that fails does not stop the next.
	Actions []ResponseAction `json:"actions"`
}

// RateLimit is a token bucket.
type RateLimit struct {
	// PerMinute is how many times a minute are allowed in the long run.
	PerMinute int `json:"perMinute"`
	// Burst is how many may come at once. Default: PerMinute.
	Burst int `json:"burst,omitempty"`
}

// ResponseAction is one thing to do; exactly one field is set.
type ResponseAction struct {
	// Notify tells someone.
	Notify *NotifyAction `json:"notify,omitempty"`
	// Quarantine cuts all network of the container and keeps its processes.
	Quarantine *QuarantineAction `json:"quarantine,omitempty"`
	// Pause freezes the container's processes.
	Pause *PauseAction `json:"pause,omitempty"`
	// Kill ends the container's processes.
	Kill *KillAction `json:"kill,omitempty"`
}

// NotifyAction tells someone; exactly one field is set.
type NotifyAction struct {
	// Webhook posts the event as JSON.
	Webhook *WebhookSink `json:"webhook,omitempty"`
	// Syslog sends the event as an RFC 5424 message.
	Syslog *SyslogSink `json:"syslog,omitempty"`
	// File appends the event as a line of JSON.
	File *FileSink `json:"file,omitempty"`
}

// WebhookSink posts events to a URL.
type WebhookSink struct {
	// URL is http or https.
	URL string `json:"url"`
	// SecretFile holds the key for the HMAC-SHA256 signature of the body.
	// Default: unsigned.
	SecretFile string `json:"secretFile,omitempty"`
}

// SyslogSink sends events to a syslog server.
type SyslogSink struct {
	// Address is "host:port".
	Address string `json:"address"`
	// Network: tcp, tls or udp. Default: tcp.
	Network SyslogNetwork `json:"network,omitempty"`
	// CAFile holds the certificates to trust, for tls. Default: the system's.
	CAFile string `json:"caFile,omitempty"`
}

// SyslogNetwork is how syslog messages travel.
type SyslogNetwork string

// Networks.
const (
	SyslogTCP SyslogNetwork = "tcp"
	SyslogTLS SyslogNetwork = "tls"
	SyslogUDP SyslogNetwork = "udp"
)

// FileSink appends events to a file.
type FileSink struct {
	// Path is absolute, on the node.
	Path string `json:"path"`
}

// QuarantineAction cuts the network of a container.
type QuarantineAction struct {
	// For is how long, as "90s", "15m" or "2h". Default: until someone undoes it.
	For string `json:"for,omitempty"`
}

// PauseAction freezes a container. It has no fields: write "pause: {}".
type PauseAction struct{}

// KillAction ends a container. It has no fields: write "kill: {}".
type KillAction struct{}

// Profile is what was learned about a workload. Gabion writes it, people read
// it and turn it into policy; it decides nothing.
type Profile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec is what was seen.
	Spec ProfileSpec `json:"spec"`
}

// ProfileSpec is the body of a Profile. Its metadata names the workload.
type ProfileSpec struct {
	// WorkloadKind is the kind of the workload ("Deployment", "Container").
	WorkloadKind string `json:"workloadKind,omitempty"`
	// Labels are those that all observed containers have in common.
	Labels map[string]string `json:"labels,omitempty"`
	// Images were run by the workload while it was observed.
	Images []LearnedImage `json:"images,omitempty"`
	// Containers is how many different containers were observed.
	Containers int `json:"containers,omitempty"`
	// RecentContainers are the latest of them, so that none is counted twice.
	RecentContainers []string `json:"recentContainers,omitempty"`
	// FirstSeen and LastSeen bound the observations.
	FirstSeen metav1.Time `json:"firstSeen,omitzero"`
	// LastSeen is the time of the latest observation.
	LastSeen metav1.Time `json:"lastSeen,omitzero"`
	// Processes are the programs that ran.
	Processes []LearnedProcess `json:"processes,omitempty"`
	// Files are the directories whose files were used, on nodes that can see it.
	Files []LearnedFile `json:"files,omitempty"`
	// Capabilities are those that were used, on nodes that can see it.
	Capabilities []LearnedCapability `json:"capabilities,omitempty"`
	// Egress are the connections that were made.
	Egress []LearnedPeer `json:"egress,omitempty"`
	// Ingress are the connections that were accepted.
	Ingress []LearnedPeer `json:"ingress,omitempty"`
	// Truncated is present when the bound on entries was reached: the profile
	// is then not the whole truth, and Learn refuses to call it that.
	Truncated *ProfileTruncated `json:"truncated,omitempty"`
}

// LearnedImage is an image that was run.
type LearnedImage struct {
	// Reference is the name it was started by.
	Reference string `json:"reference,omitempty"`
	// Digest is "sha256:...", when the runtime tells.
	Digest string `json:"digest,omitempty"`
	// Containers is how many different containers ran it.
	Containers int `json:"containers,omitempty"`
	// FirstSeen and LastSeen bound what was observed of it.
	FirstSeen metav1.Time `json:"firstSeen,omitzero"`
	// LastSeen is the time of the latest observation.
	LastSeen metav1.Time `json:"lastSeen,omitzero"`
}

// LearnedProcess is a program that ran, as started by one parent.
type LearnedProcess struct {
	// Path is the program as the container sees it. A part that looks made up
	// for one run is generalised: its directory ends in "/*".
	Path string `json:"path"`
	// Applet is the name a multi-call program acted under.
	Applet string `json:"applet,omitempty"`
	// Parent is the program that started it; empty for the container's first.
	Parent string `json:"parent,omitempty"`
	// NotInImage is true when the image does not have this program unchanged.
	NotInImage bool `json:"notInImage,omitempty"`
	// Args are the arguments it was seen with, without its own name, as far as
	// the node tells of different command lines: what looks made up for one run is "*", a last "**" stands
	// for more, and values of options that hold secrets are "*".
	Args [][]string `json:"args,omitempty"`
	// Users are the numbers of the users who started it.
	Users []uint32 `json:"users,omitempty"`
	// Images are those under which it was seen, by the first twelve digits of
	// their digests, or by reference. Default: all images of the profile.
	Images []string `json:"images,omitempty"`
	// Count is how many first observations were merged into this entry.
	Count uint64 `json:"count"`
	// FirstSeen and LastSeen bound the observations.
	FirstSeen metav1.Time `json:"firstSeen"`
	// LastSeen is the time of the latest observation.
	LastSeen metav1.Time `json:"lastSeen"`
}

// LearnedFile is a directory whose files were used by one program.
type LearnedFile struct {
	// Directory is as the container sees it. A part that looks made up for one
	// run, or stands for many directories, is generalised: it ends in "/**".
	Directory string `json:"directory"`
	// Program is what used them.
	Program string `json:"program,omitempty"`
	// Access says how.
	Access AccessList `json:"access"`
	// Images are those under which it was seen, by the first twelve digits of
	// their digests, or by reference. Default: all images of the profile.
	Images []string `json:"images,omitempty"`
	// Count is how many first observations were merged into this entry.
	Count uint64 `json:"count"`
	// FirstSeen and LastSeen bound the observations.
	FirstSeen metav1.Time `json:"firstSeen"`
	// LastSeen is the time of the latest observation.
	LastSeen metav1.Time `json:"lastSeen"`
}

// LearnedCapability is a Linux capability that one program used.
type LearnedCapability struct {
	// Name is without "CAP_": "NET_BIND_SERVICE".
	Name string `json:"name"`
	// Program is what used it.
	Program string `json:"program,omitempty"`
	// Images are those under which it was seen, by the first twelve digits of
	// their digests, or by reference. Default: all images of the profile.
	Images []string `json:"images,omitempty"`
	// Count is how many first observations were merged into this entry.
	Count uint64 `json:"count"`
	// FirstSeen and LastSeen bound the observations.
	FirstSeen metav1.Time `json:"firstSeen"`
	// LastSeen is the time of the latest observation.
	LastSeen metav1.Time `json:"lastSeen"`
}

// LearnedPeer is another end of connections. Workload or Address is set.
type LearnedPeer struct {
	// Workload is the peer, when it runs here.
	Workload *WorkloadPeer `json:"workload,omitempty"`
	// Address is the peer's address, when it is no workload known here.
	Address string `json:"address,omitempty"`
	// Port is the destination's protocol and port ("tcp/5432").
	Port Port `json:"port"`
	// Images are those under which it was seen, by the first twelve digits of
	// their digests, or by reference. Default: all images of the profile.
	Images []string `json:"images,omitempty"`
	// Count is how many first observations were merged into this entry.
	Count uint64 `json:"count"`
	// FirstSeen and LastSeen bound the observations.
	FirstSeen metav1.Time `json:"firstSeen"`
	// LastSeen is the time of the latest observation.
	LastSeen metav1.Time `json:"lastSeen"`
}

// ProfileTruncated counts observations that found no room, per list.
type ProfileTruncated struct {
	// Processes that ran and are not listed.
	Processes uint64 `json:"processes,omitempty"`
	// Egress connections that were made and are not listed.
	Egress uint64 `json:"egress,omitempty"`
	// Ingress connections that were accepted and are not listed.
	Ingress uint64 `json:"ingress,omitempty"`
	// Files that were used and are not listed.
	Files uint64 `json:"files,omitempty"`
	// Capabilities that were used and are not listed.
	Capabilities uint64 `json:"capabilities,omitempty"`
}
