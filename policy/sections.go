package policy

import (
	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// FilesPlan is the merged files section. A file that no rule covers is free. A
// file that an allow rule covers is guarded for the access that the rule names:
// only the programs that some allow rule with that access names may use it so.
// A deny wins.
//
// When policies of both scopes have allow rules, those of cluster scope are
// marked as a ceiling, and the two kinds are judged apart: where a ceiling rule
// covers the file, a ceiling rule must allow the use, and where another rule
// does, another one must.
type FilesPlan struct {
	Mode  v1alpha1.Mode `json:"mode"`
	Rules []FileRule    `json:"rules"`
	// Waive are uses that exceptions take out of every Deny rule; where rules
	// allow, they are among those too. A backend that cannot do this denies
	// more, never less.
	Waive []FileRule `json:"waive,omitempty"`
}

// FileRule is about one way or several of using files.
type FileRule struct {
	Rule int  `json:"rule"`
	Deny bool `json:"deny,omitempty"`
	// Ceiling is set for an allow rule of cluster scope beside others that are not.
	Ceiling bool   `json:"ceiling,omitempty"`
	Match   Match  `json:"match"` // MatchFile, MatchDir or MatchTree; the directory of a tree is covered too
	Path    string `json:"path"`  // absolute and clean; without the "/*" or "/**"
	Access  Access `json:"access"`
	// By are the programs that the rule speaks about; empty: all.
	By []ExecRule `json:"by,omitempty"`
}

// Access is a set of ways to use a file.
type Access uint16

// Ways to use a file. The values are part of the kernel programs' layout.
const (
	AccessRead    Access = 1 << iota // open for reading, list a directory, map
	AccessModify                     // open for writing, truncate
	AccessAppend                     // open for appending only
	AccessCreate                     // make a file, directory, socket, device or symbolic link
	AccessDelete                     // remove a file or directory
	AccessRename                     // rename it, or replace it by a rename
	AccessLink                       // make a hard link to it
	AccessChmod                      // change mode, owner, times or extended attributes
	AccessExecute                    // start it as a program, or map it as code

	// AccessWrite is what the word Write stands for: every change.
	AccessWrite = AccessModify | AccessAppend | AccessCreate | AccessDelete | AccessRename | AccessLink | AccessChmod
)

// CapabilitiesPlan is the merged capabilities section: using a capability that
// is not in Allow is denied, whatever the container was given.
type CapabilitiesPlan struct {
	Mode  v1alpha1.Mode `json:"mode"`
	Allow uint64        `json:"allow"` // bit n: capability number n (linux/capability.h)
	Rule  int           `json:"rule"`
}

// HardeningPlan is the merged hardening section.
type HardeningPlan struct {
	Mode v1alpha1.Mode   `json:"mode"`
	Deny []HardeningRule `json:"deny"` // by Switch, each at most once
}

// HardeningRule forbids what a switch names.
type HardeningRule struct {
	Switch Switch `json:"switch"`
	Rule   int    `json:"rule"`
	// Exempt are programs that may do it all the same (JIT compilers).
	Exempt []ExecRule `json:"exempt,omitempty"`
}

// Switch is one escape primitive that hardening forbids. The values are part
// of the kernel programs' layout: never renumber, add at the end.
type Switch uint8

// Switches. Switches() in hardening.go has their names and what each stops.
const (
	SwitchMount            Switch = iota // mount family: mount, remount, umount, move_mount, pivot_root
	SwitchUserNamespaces                 // new user namespaces
	SwitchNamespaces                     // unshare and setns of any kind, clone with new namespaces
	SwitchPtrace                         // ptrace, process_vm_*, pidfd_getfd, writing another's memory
	SwitchProcessRead                    // reading another process's memory or environment
	SwitchBPF                            // bpf()
	SwitchModules                        // loading kernel modules
	SwitchKexec                          // loading another kernel
	SwitchKeys                           // kernel keyrings
	SwitchPerf                           // perf_event_open
	SwitchIoUring                        // io_uring
	SwitchUserfaultfd                    // userfaultfd
	SwitchHandleOpen                     // open_by_handle_at
	SwitchDevices                        // making device nodes, opening block devices and kernel memory
	SwitchRawSockets                     // raw and packet sockets
	SwitchSocketFamilies                 // families other than unix, inet, inet6, netlink (route)
	SwitchRuntimeSockets                 // sockets of container runtimes and the kubelet
	SwitchKernelInterfaces               // writing to /proc/sys, /sys, cgroup, debugfs and their like
	SwitchSetuidFiles                    // setuid and setgid bits, file capabilities
	SwitchPrivilegeGain                  // gaining another user or capabilities by starting a program
	SwitchWritableCode                   // memory that is, or was, writable and becomes code
	SwitchSocketShell                    // a program whose standard input and output are a network socket
	SwitchForeignFiles                   // files reached through descriptors from outside the container's mounts
	SwitchKernelLog                      // reading or clearing the kernel's log
	SwitchChroot                         // chroot
	NumSwitches
)

// FileUse is what a decision about using a file needs to know.
type FileUse struct {
	Path   string `json:"path"` // as the container sees it, links resolved
	Access Access `json:"access"`
	Exec   Exec   `json:"exec"` // the program that does it
}

// Modes are the modes of the sections that the plan has, by the section's name.
func (p *Plan) Modes() map[string]v1alpha1.Mode {
	out := map[string]v1alpha1.Mode{}
	if p == nil {
		return out
	}
	if p.Process != nil {
		out["process"] = p.Process.Mode
	}
	if p.Files != nil {
		out["files"] = p.Files.Mode
	}
	if p.Capabilities != nil {
		out["capabilities"] = p.Capabilities.Mode
	}
	if p.Hardening != nil {
		out["hardening"] = p.Hardening.Mode
	}
	if p.Network != nil {
		out["network"] = p.Network.Mode
	}
	return out
}
