package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gabion-dev/gabion/workload"
)

// ErrBusy: so much waits already that no more is taken; trying later helps.
var ErrBusy = errors.New("too much is waiting already")

// Images is what the console needs of the supply chain. Implementations are
// safe for concurrent use. An image is named by the digest of its manifest, or
// of its configuration where no manifest is known.
type Images interface {
	// Images lists every image that is kept, in any order.
	Images(ctx context.Context) ([]Image, error)
	// Unscanned lists images of running containers that are not kept.
	Unscanned(ctx context.Context) ([]RunningImage, error)
	// Image tells about one; ErrNotFound when it is not kept.
	Image(ctx context.Context, digest string) (ImageDetail, error)
	// ImageFindings and ImagePackages give all of one image, most urgent first
	// and by name.
	ImageFindings(ctx context.Context, digest string) ([]ImageFinding, error)
	ImagePackages(ctx context.Context, digest string) ([]ImagePackage, error)
	// ImageDocument prints the report or the bill of materials.
	ImageDocument(ctx context.Context, digest, format string) (ImageDocument, error)

	// ScanTargets tells how the registries are that are looked at again and again.
	ScanTargets(ctx context.Context) ([]ScanTarget, error)
	// Scans are those that were asked for, newest first; bounded.
	Scans(ctx context.Context) ([]ImageScan, error)
	// ScanImage asks for one. ErrRefused when it cannot be done, ErrBusy when
	// too many wait.
	ScanImage(ctx context.Context, what ImageToScan, actor string) (ImageScan, error)
	// Hook receives the notifications of a ScanTarget's registry; nil when the
	// target does not exist or asks for none.
	Hook(target string) http.Handler
}

// Severities counts by severity.
type Severities struct {
	Critical   int `json:"critical"`
	High       int `json:"high"`
	Medium     int `json:"medium"`
	Low        int `json:"low"`
	Negligible int `json:"negligible"`
	Unknown    int `json:"unknown"`
}

// Sum is how many there are.
func (s Severities) Sum() int {
	return s.Critical + s.High + s.Medium + s.Low + s.Negligible + s.Unknown
}

// Image is one line of the list of images. Its figures count what no decision
// has settled.
type Image struct {
	Digest   string   `json:"digest" doc:"Of the manifest, or of the configuration where no manifest is known"`
	Names    []string `json:"names" doc:"References that pointed at it when it was last seen"`
	Platform string   `json:"platform,omitempty"`
	System   string   `json:"system,omitempty" doc:"Operating system inside"`
	Size     int64    `json:"size" doc:"Bytes of its layers as transported"`
	// Complete is false when something could not be examined: the figures are
	// then lower bounds.
	Complete  bool       `json:"complete"`
	Gaps      int        `json:"gaps" doc:"Things that could not be examined"`
	Open      Severities `json:"open" doc:"Open findings by severity"`
	Exploited int        `json:"exploited" doc:"Open findings with known exploitation"`
	Fixable   int        `json:"fixable" doc:"Open findings that have a fix"`
	Used      int        `json:"used" doc:"Open findings in programs that were seen running"`
	Priority  int        `json:"priority" doc:"Highest priority of an open finding, 0 to 100"`
	Secrets   int        `json:"secrets"`
	Checks    int        `json:"checks" doc:"Failed checks of the configuration"`
	Packages  int        `json:"packages"`
	Signed    string     `json:"signed,omitempty" enum:"valid,invalid,none" doc:"Missing: nobody looked"`
	// Violations counts what is beyond the ScanTargets it belongs to.
	Violations int            `json:"violations"`
	Targets    []string       `json:"targets" doc:"ScanTargets that found it"`
	Running    int            `json:"running" doc:"Containers of it that run here now"`
	Workloads  []workload.Ref `json:"workloads" doc:"Of the running containers"`
	ScannedAt  time.Time      `json:"scannedAt" doc:"When its content was read"`
	MatchedAt  time.Time      `json:"matchedAt" doc:"When it was last compared with advisories"`
	SeenAt     time.Time      `json:"seenAt" doc:"When it was last found in a registry, running or asked for"`
	Database   ImageDatabase  `json:"database"`
}

// ImageDatabase says which advisories an image was compared with.
type ImageDatabase struct {
	Digest     string    `json:"digest,omitempty"`
	Data       time.Time `json:"data,omitzero" doc:"Newest advisory in it"`
	Advisories int       `json:"advisories"`
	Embedded   bool      `json:"embedded,omitempty" doc:"The snapshot inside the program"`
}

// RunningImage is an image that runs here and was never scanned.
type RunningImage struct {
	Reference   string         `json:"reference"`
	Digest      string         `json:"digest,omitempty"`
	Containers  int            `json:"containers"`
	ContainerID string         `json:"containerID" doc:"One of them; scanning it scans the image"`
	Workloads   []workload.Ref `json:"workloads"`
}

// ImageDetail is everything about one image but its findings and packages.
// Lists are bounded; Omitted says how many entries were left out of all of them.
type ImageDetail struct {
	Image
	ConfigID      string           `json:"configID,omitempty"`
	Created       time.Time        `json:"created,omitzero"`
	User          string           `json:"user,omitempty"`
	Command       []string         `json:"command"`
	Base          *ImageBase       `json:"base,omitempty"`
	Layers        []ImageLayer     `json:"layers"`
	Plan          []ImageStep      `json:"plan" doc:"What to do, best first"`
	Unfixed       int              `json:"unfixed" doc:"Open findings that no step of the plan closes"`
	Settled       int              `json:"settled" doc:"Findings that a decision has settled"`
	SecretList    []ImageSecret    `json:"secretList"`
	CheckList     []ImageCheck     `json:"checkList"`
	Signatures    []ImageSignature `json:"signatures"`
	ViolationList []ImageViolation `json:"violationList"`
	GapList       []ImageGap       `json:"gapList"`
	Containers    []ImageContainer `json:"containers"`
	Omitted       int              `json:"omitted,omitempty"`
}

// ImageBase is the base image, as far as it is known.
type ImageBase struct {
	Name   string `json:"name,omitempty"`
	Layers int    `json:"layers" doc:"How many of the lowest layers are its"`
	How    string `json:"how" doc:"How it was found out"`
}

// ImageLayer is one layer and what it brought.
type ImageLayer struct {
	Digest   string `json:"digest"`
	Size     int64  `json:"size"`
	Command  string `json:"command,omitempty"`
	Base     bool   `json:"base,omitempty"`
	Packages int    `json:"packages"`
	Findings int    `json:"findings" doc:"Open ones"`
	Secrets  int    `json:"secrets"`
}

// ImageStep is one thing to do that closes findings.
type ImageStep struct {
	Do       string   `json:"do"`
	Where    string   `json:"where"`
	Closes   []string `json:"closes"`
	Worst    string   `json:"worst"`
	Priority int      `json:"priority"`
}

// ImageFinding is one vulnerability in one package.
type ImageFinding struct {
	ID        string    `json:"id"`
	Aliases   []string  `json:"aliases"`
	Severity  string    `json:"severity"`
	Score     float64   `json:"score,omitempty" doc:"CVSS base score"`
	Exploited bool      `json:"exploited,omitempty"`
	EPSS      float64   `json:"epss,omitempty" doc:"Probability of exploitation within 30 days, 0 to 1"`
	Summary   string    `json:"summary,omitempty"`
	URL       string    `json:"url,omitempty"`
	Published time.Time `json:"published,omitzero"`
	Package   string    `json:"package"`
	Version   string    `json:"version"`
	Ecosystem string    `json:"ecosystem,omitempty"`
	Path      string    `json:"path"`
	Layer     int       `json:"layer" doc:"From 0; -1 when unknown"`
	Base      bool      `json:"base,omitempty" doc:"The base image brought it"`
	Fix       string    `json:"fix,omitempty"`
	State     string    `json:"state"`
	Decision  string    `json:"decision,omitempty" doc:"Who settled it and why"`
	Expires   time.Time `json:"expires,omitzero" doc:"Until when that counts"`
	Priority  int       `json:"priority"`
	Reasons   []string  `json:"reasons"`
	Used      *bool     `json:"used,omitempty" doc:"A program of the package was seen running; missing when nobody watched"`
	Exposed   *bool     `json:"exposed,omitempty" doc:"A container of the image was reached from outside; missing when nobody watched"`
}

// ImagePackage is one package of an image.
type ImagePackage struct {
	Name      string   `json:"name"`
	Version   string   `json:"version"`
	Ecosystem string   `json:"ecosystem,omitempty"`
	PURL      string   `json:"purl,omitempty"`
	Path      string   `json:"path"`
	Layer     int      `json:"layer"`
	Licenses  []string `json:"licenses"`
	Findings  int      `json:"findings" doc:"Open ones"`
	Worst     string   `json:"worst,omitempty"`
}

// ImageSecret is a credential in an image; never the credential itself.
type ImageSecret struct {
	Title       string `json:"title"`
	Severity    string `json:"severity"`
	Where       string `json:"where"`
	Line        int    `json:"line,omitempty"`
	Masked      string `json:"masked"`
	Fingerprint string `json:"fingerprint"`
	Layer       int    `json:"layer"`
	Deleted     bool   `json:"deleted,omitempty" doc:"A later layer removed it, yet it can be pulled"`
	State       string `json:"state"`
	Decision    string `json:"decision,omitempty"`
}

// ImageCheck is one judgement of the image's configuration.
type ImageCheck struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Severity string   `json:"severity"`
	Status   string   `json:"status" enum:"pass,fail,unknown"`
	Evidence []string `json:"evidence"`
	Remedy   string   `json:"remedy,omitempty"`
	State    string   `json:"state"`
	Decision string   `json:"decision,omitempty"`
}

// ImageSignature is one signature or attestation.
type ImageSignature struct {
	Kind      string    `json:"kind"`
	Valid     bool      `json:"valid"`
	Why       string    `json:"why,omitempty"`
	Identity  string    `json:"identity,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	Predicate string    `json:"predicate,omitempty"`
	SignedAt  time.Time `json:"signedAt,omitzero"`
}

// ImageViolation is one reason why an image is beyond what a ScanTarget allows.
type ImageViolation struct {
	Rule   string `json:"rule"`
	Object string `json:"object"`
}

// ImageGap is something that could not be examined.
type ImageGap struct {
	Where string `json:"where"`
	What  string `json:"what"`
	Means string `json:"means,omitempty"`
	Do    string `json:"do,omitempty"`
	Minor bool   `json:"minor,omitempty"`
}

// ImageContainer is a container of an image that runs here now.
type ImageContainer struct {
	ID        string       `json:"id"`
	Name      string       `json:"name"`
	Workload  workload.Ref `json:"workload"`
	StartedAt time.Time    `json:"startedAt"`
	// By says how it is known to be of this image: "digest", or "name", which a
	// tag that moved can make wrong.
	By string `json:"by" enum:"digest,name"`
}

// ImageDocument is a file to download.
type ImageDocument struct {
	Name, ContentType string
	Data              []byte
}

// ScanTarget is a registry that is looked at by a schedule.
type ScanTarget struct {
	Name     string    `json:"name"`
	Registry string    `json:"registry"`
	Schedule string    `json:"schedule,omitempty"`
	State    string    `json:"state" enum:"scanning,waiting,failed"`
	Problem  string    `json:"problem,omitempty"`
	Last     time.Time `json:"last,omitzero" doc:"End of the last sweep"`
	Images   int       `json:"images" doc:"Found by the last sweep"`
	Scanned  int       `json:"scanned" doc:"Of them read anew"`
	Failed   int       `json:"failed" doc:"Could not be scanned"`
	Webhook  bool      `json:"webhook,omitempty"`
}

// ImageToScan names an image by reference or by a container that runs here.
type ImageToScan struct {
	Reference string `json:"reference,omitempty" maxLength:"512" doc:"Of a registry; docker: or containerd: before it takes the image of this machine"`
	Container string `json:"container,omitempty" maxLength:"128" doc:"Identifier of a container that runs here"`
}

// ImageScan is a scan that was asked for.
type ImageScan struct {
	ID      string    `json:"id"`
	What    string    `json:"what"`
	Actor   string    `json:"actor"`
	State   string    `json:"state" enum:"waiting,scanning,done,failed"`
	Problem string    `json:"problem,omitempty"`
	Digest  string    `json:"digest,omitempty" doc:"Of the image, once done"`
	Asked   time.Time `json:"asked"`
	Ended   time.Time `json:"ended,omitzero"`
}
