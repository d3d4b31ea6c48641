package console

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gabion-dev/gabion/event"
	"github.com/gabion-dev/gabion/workload"
)

// Errors that a Platform returns (wrapped) so that the API can answer rightly.
// Everything else becomes a 500 with a reference into the log.
var (
	// ErrNotFound: there is no such workload, policy, container or event.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the thing is not in a state that allows this (undo of
	// something already undone, release of a container that is not cut off).
	ErrConflict = errors.New("conflict")
	// ErrRefused: the request makes no sense for this thing (an unknown mode or
	// action, a policy that belongs to a file that may not be written).
	ErrRefused = errors.New("refused")
)

// Platform is everything the console needs of the node. Implementations are
// safe for concurrent use. What the store knows (counts of events, sizes,
// history) the console adds by itself.
type Platform interface {
	Overview(ctx context.Context) (Overview, error)
	// Workloads lists every workload that has a running container, a policy
	// or a profile, in any order.
	Workloads(ctx context.Context) ([]Workload, error)
	Workload(ctx context.Context, namespace, name string) (WorkloadDetail, error)
	// Policies lists the loaded policies and the files that were refused, in
	// any order; Source may be left empty here.
	Policies(ctx context.Context) ([]Policy, error)
	// Policy returns one by its ID ("WorkloadPolicy/shop/checkout",
	// "ClusterWorkloadPolicy/baseline").
	Policy(ctx context.Context, id string) (Policy, error)

	// Lint checks documents without loading them. Problems of severity
	// "error" would make Apply refuse.
	Lint(ctx context.Context, yaml []byte) ([]Problem, error)
	// Diff says as unified text what loading yaml would change in the plans
	// and documents in force. Empty: nothing. The error may be a *Problems.
	Diff(ctx context.Context, yaml []byte) (string, error)
	// Apply loads the documents and keeps them; it returns the IDs. The error
	// may be a *Problems, and then nothing was changed.
	Apply(ctx context.Context, yaml []byte, actor string) ([]string, error)
	Delete(ctx context.Context, id, actor string) error
	// Forecast says what the policy would have blocked in mode ("Protect"
	// mostly), judged from profiles and stored events.
	Forecast(ctx context.Context, id, mode string) (Forecast, error)
	// Promote sets the policy's mode.
	Promote(ctx context.Context, id, mode, actor string) error
	// Learn writes a policy (YAML) from the workload's profile.
	Learn(ctx context.Context, namespace, name string) ([]byte, error)

	// Act does action to the container and returns the event that records it.
	Act(ctx context.Context, containerID string, action Action, actor string) (event.Event, error)
	// Undo reverts an action. eventID is the event that records it, or the
	// value of "undo" in the evidence of an event that tells of it; the event of
	// the reversal has the same value as "undid".
	Undo(ctx context.Context, eventID, actor string) error
}

// Action is something a person can do to a container.
type Action string

// Actions. Quarantine is undone by Release, Pause by Resume; Kill is final.
const (
	Quarantine Action = "quarantine" // cut off from every network, processes kept
	Release    Action = "release"
	Pause      Action = "pause" // freeze every process
	Resume     Action = "resume"
	Kill       Action = "kill"
)

// Overview is the state of this node at one glance.
type Overview struct {
	Node      string    `json:"node" doc:"Name of the machine"`
	Version   string    `json:"version"`
	Revision  string    `json:"revision,omitempty"`
	Kernel    string    `json:"kernel,omitempty" doc:"Release of the running kernel"`
	StartedAt time.Time `json:"startedAt"`
	// Runtimes are the container runtimes found ("containerd 2.1 (/run/...)").
	Runtimes []string  `json:"runtimes"`
	Backends []Backend `json:"backends"`
	Features []Feature `json:"features"`
	Units    []Unit    `json:"units"`
	Coverage Totals    `json:"coverage"`
	Losses   []Loss    `json:"losses"`
	// Records says of every container what became of what the kernel programs
	// told of it.
	Records []Records `json:"records"`
}

// Records is what became of the records that the kernel programs made for one
// container in one ring. Decisions and counts of denials never depend on them.
type Records struct {
	ContainerID string       `json:"containerID"`
	Workload    workload.Ref `json:"workload,omitzero"`
	Ring        string       `json:"ring" enum:"denials,observations"`
	Seen        uint64       `json:"seen" doc:"Records made, the lost ones among them"`
	Lost        uint64       `json:"lost" doc:"Records that found no room in the ring"`
}

// Backend is an enforcement mechanism of this node.
type Backend struct {
	Name      string `json:"name" doc:"raw_tp+kill, fanotify, cgroup/connect, tcx, lsm"`
	Section   string `json:"section" doc:"process, files, capabilities, hardening or network"`
	Active    bool   `json:"active"`
	Guarantee string `json:"guarantee" doc:"One sentence: what it is worth"`
	// Why says why it is not active or less than it could be.
	Why string `json:"why,omitempty"`
}

// Feature is one thing the kernel was asked to do by a real attempt.
type Feature struct {
	Name   string `json:"name"`
	Works  bool   `json:"works"`
	Detail string `json:"detail,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Unit is one part of the process and its health.
type Unit struct {
	Name   string    `json:"name"`
	State  UnitState `json:"state" enum:"starting,ok,degraded,failed,stopped"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// UnitState is the health of a Unit.
type UnitState string

// Unit states.
const (
	UnitStarting UnitState = "starting"
	UnitOK       UnitState = "ok"
	UnitDegraded UnitState = "degraded"
	UnitFailed   UnitState = "failed"
	UnitStopped  UnitState = "stopped"
)

// Totals counts running containers by how they are covered. Each container is
// counted in exactly one of Enforced, Monitored, Learning and Blind; the
// weakest of its sections decides.
type Totals struct {
	Containers int `json:"containers"`
	Enforced   int `json:"enforced" doc:"Protect, and the mechanism can block"`
	Monitored  int `json:"monitored"`
	Learning   int `json:"learning" doc:"Learn, or no policy yet"`
	Blind      int `json:"blind" doc:"Policy asks for something that cannot be done or seen here"`
	// Unwatched says for each blind container why.
	Unwatched []Blind `json:"unwatched"`
}

// Blind is one container that is not covered as its policy wants.
type Blind struct {
	Workload    workload.Ref `json:"workload"`
	ContainerID string       `json:"containerID"`
	Container   string       `json:"container"`
	Section     string       `json:"section,omitempty"`
	Why         string       `json:"why"`
	Remedy      string       `json:"remedy,omitempty"`
}

// Loss counts something that could not be delivered or kept, since the start.
type Loss struct {
	What  string    `json:"what" doc:"Observations, causes, records..."`
	Where string    `json:"where,omitempty" doc:"The part or container"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last,omitzero"`
}

// Workload is one line of the list of workloads.
type Workload struct {
	Ref        workload.Ref `json:"ref"`
	Images     []string     `json:"images"`
	Containers int          `json:"containers" doc:"Running now"`
	// Mode is the effective mode per section; a section without a policy is
	// missing. Keys: process, files, capabilities, hardening, network.
	Mode     map[string]string `json:"mode"`
	Policies []string          `json:"policies" doc:"IDs of the policies that select it"`
	// Coverage is the weakest of the containers', one entry per section.
	Coverage []Coverage `json:"coverage"`
	// State is where the workload counts in Totals: enforced, monitored,
	// learning or blind; "idle" when no container runs.
	State string `json:"state" enum:"enforced,monitored,learning,blind,idle"`
	// Learned counts the entries of the profile.
	Learned     int  `json:"learned"`
	Quarantined bool `json:"quarantined"`
	// Blocked and WouldBlock are happenings of the last 24 hours. The console
	// fills them from the store.
	Blocked    uint64 `json:"blocked"`
	WouldBlock uint64 `json:"wouldBlock"`
}

// Coverage says how one section is enforced on a workload or container.
type Coverage struct {
	Section   string `json:"section" doc:"process, files, capabilities, hardening or network"`
	Mechanism string `json:"mechanism"`
	Guarantee string `json:"guarantee"`
	// Degraded says why it is less than it should be; empty when it is not.
	Degraded string `json:"degraded,omitempty"`
	// Unmatched are fields of rules that match nothing in this container.
	Unmatched []string `json:"unmatched,omitempty"`
}

// WorkloadDetail is everything about one workload.
type WorkloadDetail struct {
	Workload
	Running []Container `json:"running"`
	Profile Profile     `json:"profile"`
	Plan    Plan        `json:"plan"`
}

// Container is a running container and how it is covered.
type Container struct {
	workload.Container
	Coverage    []Coverage `json:"coverage"`
	Quarantined bool       `json:"quarantined"`
	Paused      bool       `json:"paused"`
	// EnforcedAfter is the time from the start of the container to the moment
	// its plan was in force, in microseconds. Zero: before the first instruction
	// or unknown.
	EnforcedAfterUS int64 `json:"enforcedAfterUS,omitempty"`
}

// Profile is what was learned about a workload.
type Profile struct {
	Since    time.Time `json:"since,omitzero"`
	Last     time.Time `json:"last,omitzero" doc:"When something new was last seen"`
	Replicas int       `json:"replicas" doc:"Containers observed so far"`
	// Processes, Egress and Ingress are bounded; Omitted says how many entries
	// were left out.
	Processes []LearnedProcess `json:"processes"`
	Egress    []LearnedPeer    `json:"egress"`
	Ingress   []LearnedPeer    `json:"ingress"`
	Omitted   int              `json:"omitted,omitempty"`
}

// LearnedProcess is a program that was seen running.
type LearnedProcess struct {
	Path    string    `json:"path"`
	Applet  string    `json:"applet,omitempty" doc:"Name a multi-call program acts under"`
	Parent  string    `json:"parent,omitempty"`
	InImage bool      `json:"inImage"`
	Count   uint64    `json:"count" doc:"Containers or times it was reported as first seen"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// LearnedPeer is the other end of connections that were seen.
type LearnedPeer struct {
	Workload workload.Ref `json:"workload,omitzero" doc:"Set when the peer is a workload known here"`
	Address  string       `json:"address,omitempty" doc:"Address, prefix or entity"`
	Port     uint16       `json:"port,omitempty" doc:"Destination port"`
	Protocol string       `json:"protocol"`
	Exe      string       `json:"exe,omitempty" doc:"Program that did it"`
	Count    uint64       `json:"count"`
	First    time.Time    `json:"first"`
	Last     time.Time    `json:"last"`
}

// Plan is the merged policy of a workload, explained rule by rule.
type Plan struct {
	ID    string     `json:"id,omitempty"`
	Rules []PlanRule `json:"rules"`
}

// PlanRule is one rule of a plan and the line of policy that made it.
type PlanRule struct {
	Section string `json:"section" doc:"process, files, capabilities, hardening or network"`
	Effect  string `json:"effect" enum:"allow,deny"`
	// What is the rule in words: "/usr/local/bin/node", "class shell",
	// "to data/orders-db on tcp/5432", "anything not in the image".
	What   string        `json:"what"`
	Reason string        `json:"reason,omitempty"`
	Rule   event.RuleRef `json:"rule"`
}

// Policy is one policy document and its status.
type Policy struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Mode      string `json:"mode" doc:"Default mode of its sections"`
	// File is where it was loaded from, Line where it begins there.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Source is the YAML of this one document as written.
	Source     string      `json:"source,omitempty"`
	Conditions []Condition `json:"conditions"`
	Workloads  []string    `json:"workloads" doc:"Workloads it selects, as namespace/name"`
	Containers int         `json:"containers" doc:"Running containers it covers"`
	// Problems are lint findings of the loaded document.
	Problems []Problem `json:"problems"`
	// Hits are happenings of the last 24 hours that its rules decided. The
	// console fills it from the store.
	Hits uint64 `json:"hits"`
}

// Condition is one part of a policy's status.
type Condition struct {
	Type    string    `json:"type" doc:"Ready, Enforced, Degraded"`
	Status  bool      `json:"status"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Problem is something wrong with a document, and where.
type Problem struct {
	Severity string `json:"severity" enum:"error,warning"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty" doc:"From 1; 0 when unknown"`
	Column   int    `json:"column,omitempty"`
	Field    string `json:"field,omitempty" doc:"spec.process.deny[0].class"`
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty" doc:"What to do about it"`
}

// Problems is the error of a document that was refused.
type Problems struct {
	List []Problem
}

// Error lists the problems, one a line.
func (p *Problems) Error() string {
	lines := make([]string, 0, len(p.List))
	for _, q := range p.List {
		line := q.Message
		if q.Field != "" {
			line = q.Field + ": " + line
		}
		if q.Line > 0 {
			line = fmt.Sprintf("line %d: %s", q.Line, line)
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return "policy refused"
	}
	return strings.Join(lines, "\n")
}

// Forecast is what a mode would have done, judged from what happened.
type Forecast struct {
	Policy string `json:"policy"`
	From   string `json:"from" doc:"Mode in force"`
	To     string `json:"to"`
	// Since is the beginning of what was judged.
	Since time.Time `json:"since,omitzero"`
	// Judged counts the distinct behaviours (profile entries and causes) that
	// were judged; WouldBlock those that would have been blocked.
	Judged     int            `json:"judged"`
	WouldBlock int            `json:"wouldBlock"`
	Items      []ForecastItem `json:"items" doc:"What would have been blocked, most frequent first, bounded"`
	Evidence   []Evidence     `json:"evidence"`
	// Ready says that the evidence suffices; Summary is the advice in a sentence.
	Ready   bool   `json:"ready"`
	Summary string `json:"summary"`
}

// ForecastItem is one behaviour that would have been blocked.
type ForecastItem struct {
	Kind     event.Kind     `json:"kind"`
	Workload workload.Ref   `json:"workload"`
	What     string         `json:"what" doc:"Program or peer"`
	Reasons  []string       `json:"reasons,omitempty"`
	Rule     *event.RuleRef `json:"rule,omitempty"`
	Count    uint64         `json:"count"`
	Last     time.Time      `json:"last,omitzero"`
}

// Evidence is one thing that promotion rests on: replicas seen, days observed.
type Evidence struct {
	Name string `json:"name"`
	Have string `json:"have"`
	Want string `json:"want,omitempty"`
	Met  bool   `json:"met"`
}
