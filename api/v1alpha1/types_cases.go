package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PolicyTest says what policies must decide about one container. It lies
// beside them, and "gabion policy test" runs it; nodes take no notice of it.
type PolicyTest struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	// Spec is the container and the cases.
	Spec PolicyTestSpec `json:"spec"`
}

// PolicyTestSpec is the body of a PolicyTest.
type PolicyTestSpec struct {
	// Container is what policies select. Its namespace is the test's when it
	// names none.
	Container TestContainer `json:"container"`
	// At is the moment of the test, which decides about exceptions. Default: now.
	At metav1.Time `json:"at,omitzero"`
	// Peers are other containers that run then, by which cases name addresses.
	Peers []TestContainer `json:"peers,omitempty"`
	// Node are the node's own addresses.
	Node []string `json:"node,omitempty"`
	// Cases are what happens, each with the verdict that is wanted.
	Cases []TestCase `json:"cases"`
}

// TestContainer describes a container as selectors see it.
type TestContainer struct {
	// Namespace of its workload.
	Namespace string `json:"namespace,omitempty"`
	// Workload is the workload's name.
	Workload string `json:"workload,omitempty"`
	// Container is the container's own name.
	Container string `json:"container,omitempty"`
	// Image is the reference it was started from.
	Image string `json:"image,omitempty"`
	// ServiceAccount is the name of the service account.
	ServiceAccount string `json:"serviceAccount,omitempty"`
	// Labels of the container.
	Labels map[string]string `json:"labels,omitempty"`
	// Addresses of the container.
	Addresses []string `json:"addresses,omitempty"`
}

// TestCase is one happening and its verdict; exactly one of exec, connect,
// accept, file, capability, hardening and events is given.
type TestCase struct {
	// Name tells cases apart. Default: the happening in words.
	Name string `json:"name,omitempty"`
	// Exec starts a program.
	Exec *TestExec `json:"exec,omitempty"`
	// Connect makes a connection.
	Connect *TestConnection `json:"connect,omitempty"`
	// Accept is a connection that reaches the container.
	Accept *TestConnection `json:"accept,omitempty"`
	// File uses a file.
	File *TestFile `json:"file,omitempty"`
	// Capability uses the capability of this name.
	Capability string `json:"capability,omitempty"`
	// Hardening does what a switch forbids.
	Hardening *TestHardening `json:"hardening,omitempty"`
	// Events names a file beside this one with events as "gabion events --output
	// json" prints them; each of them must get the verdict.
	Events string `json:"events,omitempty"`
	// Want is the verdict: Allow or Deny. The mode plays no part in it.
	Want Action `json:"want"`
	// Rule is the rule that must decide, as "gabion policy explain" prints it:
	// the field ("spec.process.deny[0]"), or policy and field with a space between.
	Rule string `json:"rule,omitempty"`
	// Mode is the mode that must be in force for the section.
	Mode Mode `json:"mode,omitempty"`
}

// TestExec is the start of a program.
type TestExec struct {
	// Path of the program, links resolved.
	Path string `json:"path"`
	// Applet is the name that a multi-call program acts under.
	Applet string `json:"applet,omitempty"`
	// Args are the arguments after the program's own name.
	Args []string `json:"args,omitempty"`
	// Parent is the program that starts it. Default: something outside the container.
	Parent string `json:"parent,omitempty"`
	// User is the number of the user who starts it. Default: 0.
	User uint32 `json:"user,omitempty"`
	// Script is the file that an interpreter is given.
	Script string `json:"script,omitempty"`
	// NotInImage says that the image has no file there.
	NotInImage bool `json:"notInImage,omitempty"`
	// Changed says that the image's file was changed.
	Changed bool `json:"changed,omitempty"`
	// Fileless says that the program has no name in any file system.
	Fileless bool `json:"fileless,omitempty"`
}

// TestConnection is a new connection.
type TestConnection struct {
	// Peer is an address, or one of the peers as namespace/name.
	Peer string `json:"peer"`
	// Port is one port: "tcp/443".
	Port Port `json:"port"`
}

// TestFile is the use of a file.
type TestFile struct {
	// Path of the file, links resolved.
	Path string `json:"path"`
	// Access is one or several ways to use it; all must be allowed.
	Access AccessList `json:"access"`
	// Program is what uses it.
	Program string `json:"program"`
}

// TestHardening is a try of something that hardening can forbid.
type TestHardening struct {
	// Switch is the switch's name.
	Switch string `json:"switch"`
	// Program is what tries it.
	Program string `json:"program"`
}
