package policy

import (
	"slices"

	"github.com/gabion-dev/gabion/api/v1alpha1"
)

// SwitchInfo describes one switch of the hardening section.
type SwitchInfo struct {
	Switch Switch
	// Name is the word for it in policies and events: "mount".
	Name string
	// Preset is the weakest preset that has it: Baseline switches are part of
	// Restricted too.
	Preset v1alpha1.HardeningPreset
	// What is forbidden, and Why: each one sentence without a full stop.
	What, Why string
	// Technique holds MITRE ATT&CK ids.
	Technique []string
}

// Switches describes every switch, in the order of their numbers.
func Switches() []SwitchInfo {
	const base, all = v1alpha1.Baseline, v1alpha1.Restricted
	return []SwitchInfo{
		{SwitchMount, "mount", base,
			"mounting, remounting, unmounting and moving file systems, and changing the root of the mount tree",
			"a mount can bring the node's files into the container or hide what watches it", []string{"T1611"}},
		{SwitchUserNamespaces, "user-namespaces", all,
			"making a user namespace",
			"inside one every program has all capabilities, which opens most of the kernel's privileged code to attack", []string{"T1611", "T1068"}},
		{SwitchNamespaces, "namespaces", all,
			"making or entering namespaces of any kind",
			"entering the node's namespaces leaves the container, and new ones shed limits", []string{"T1611"}},
		{SwitchPtrace, "ptrace", all,
			"tracing another process, writing its memory and taking its file descriptors",
			"code injected into another process acts with that process's rights", []string{"T1055.008"}},
		{SwitchProcessRead, "process-read", all,
			"reading another process's memory, memory map or environment",
			"environments and memory hold passwords, tokens and keys", []string{"T1003.007", "T1552"}},
		{SwitchBPF, "bpf", base,
			"the bpf system call",
			"bpf programs run in the kernel, and can blind or replace what protects the node", []string{"T1014", "T1562.001"}},
		{SwitchModules, "modules", base,
			"loading kernel modules, also by asking for something that the kernel loads a module for",
			"a module is code in the kernel of the whole node", []string{"T1547.006", "T1014"}},
		{SwitchKexec, "kexec", base,
			"loading another kernel",
			"another kernel enforces nothing", []string{"T1542", "T1562.001"}},
		{SwitchKeys, "keys", all,
			"the kernel's key rings",
			"key rings are not part of any namespace: another container's keys can be found there", []string{"T1552"}},
		{SwitchPerf, "perf", base,
			"perf_event_open",
			"it samples other programs, and its code in the kernel has been a way in", []string{"T1068"}},
		{SwitchIoUring, "io-uring", all,
			"io_uring",
			"it does file and network work past filters of system calls, and has been a way into the kernel", []string{"T1068", "T1562.001"}},
		{SwitchUserfaultfd, "userfaultfd", base,
			"userfaultfd",
			"it stops the kernel in the middle of its work, which makes its races exploitable", []string{"T1068"}},
		{SwitchHandleOpen, "handle-open", base,
			"open_by_handle_at",
			"a file handle opens any file of a file system, whatever the container's mounts show of it", []string{"T1611"}},
		{SwitchDevices, "devices", base,
			"making device nodes, and opening block devices and the kernel's memory",
			"a block device is the node's disk, and the kernel's memory is everything", []string{"T1611", "T1006"}},
		{SwitchRawSockets, "raw-sockets", all,
			"raw and packet sockets",
			"they forge packets and read those of others", []string{"T1040", "T1557"}},
		{SwitchSocketFamilies, "socket-families", all,
			"sockets of families other than unix, IPv4, IPv6 and the netlink that programs use",
			"rarely used protocols are the kernel's least tested code", []string{"T1068"}},
		{SwitchRuntimeSockets, "runtime-sockets", base,
			"connecting to the sockets of container runtimes, the kubelet and the init system",
			"whoever speaks to the runtime starts privileged containers", []string{"T1611", "T1609"}},
		{SwitchKernelInterfaces, "kernel-interfaces", base,
			"writing below /proc/sys, /sys and other file systems by which the kernel is set up",
			"core_pattern, release_agent, uevent_helper and their like make the kernel start a program on the node", []string{"T1611"}},
		{SwitchSetuidFiles, "setuid-files", all,
			"giving a file the setuid or setgid bit, or capabilities",
			"such a file is a way back to privileges", []string{"T1548.001"}},
		{SwitchPrivilegeGain, "privilege-gain", all,
			"gaining another user or capabilities by starting a program",
			"a setuid program with a fault makes anyone root", []string{"T1548.001", "T1548.003"}},
		{SwitchWritableCode, "writable-code", all,
			"memory that is writable and code at once, or becomes code after it was writable",
			"exploits and loaders of packed programs write their code to memory first; compilers at run time (JVM, Node, .NET) need an exemption", []string{"T1620", "T1055"}},
		{SwitchSocketShell, "socket-shell", base,
			"starting a program whose standard input and output are a network socket",
			"that is what a reverse or bind shell is", []string{"T1059.004"}},
		{SwitchForeignFiles, "foreign-files", base,
			"opening files through the node's own mounts, by a descriptor or a process outside the container",
			"a descriptor that leaked into a container is a way to the node's files", []string{"T1611"}},
		{SwitchKernelLog, "kernel-log", base,
			"reading and clearing the kernel's log",
			"it tells addresses inside the kernel and what happens in other containers", []string{"T1082", "T1070.002"}},
		{SwitchChroot, "chroot", all,
			"chroot",
			"a second chroot leads out of the first, and new roots hide programs", []string{"T1611"}},
	}
}

// String is the switch's name, or "" of a number that is no switch.
func (s Switch) String() string {
	if all := Switches(); int(s) < len(all) {
		return all[s].Name
	}
	return ""
}

// SwitchNamed finds the switch of that name.
func SwitchNamed(name string) (Switch, bool) {
	all := Switches()
	i := slices.IndexFunc(all, func(s SwitchInfo) bool { return s.Name == name })
	if i < 0 {
		return 0, false
	}
	return all[i].Switch, true
}

// PresetSwitches lists the switches of a preset, in the order of their numbers;
// none of a preset that does not exist.
func PresetSwitches(p v1alpha1.HardeningPreset) []Switch {
	var out []Switch
	for _, s := range Switches() {
		if p == v1alpha1.Restricted || p == v1alpha1.Baseline && s.Preset == p {
			out = append(out, s.Switch)
		}
	}
	return out
}

// Decide gives the verdict about a program that does what a switch names. The
// rule is that of the switch; an exempt program may do it. It is the table that
// the kernel programs implement.
func (p *HardeningPlan) Decide(s Switch, by Exec) Decision {
	for i := range p.Deny {
		r := &p.Deny[i]
		if r.Switch != s {
			continue
		}
		if _, exempt := matchAllow(r.Exempt, &by); exempt {
			return Decision{}
		}
		return Decision{Deny: true, Reasons: ReasonDenied, Rule: r.Rule}
	}
	return Decision{}
}
