package kernel

import (
	"github.com/gabion-dev/gabion/policy"
)

// Sets of hooks for hardening and capabilities: backend A, and what stands in
// for parts of it where the kernel lets no call fail (B).
const (
	setHarden  = "harden"
	setHardenB = "hardenb"
)

// Hooks of setHarden.
const (
	hookCapable    = "use of a capability"
	hookMount      = "mount"
	hookUmount     = "umount"
	hookPivot      = "pivot_root"
	hookMoveMount  = "move_mount"
	hookUserNS     = "new user namespace"
	hookPerf       = "perf_event_open"
	hookChroot     = "chroot"
	hookModule     = "request for a module"
	hookReadCode   = "finit_module and kexec_file_load"
	hookLoadCode   = "init_module and kexec_load"
	hookSyslog     = "syslog"
	hookKeyAlloc   = "new key"
	hookKeyUse     = "use of a key"
	hookPtrace     = "ptrace"
	hookTraceme    = "PTRACE_TRACEME"
	hookKill       = "signal to the agent"
	hookBPF        = "bpf"
	hookBPFMap     = "taking the agent's maps"
	hookBPFProg    = "taking the agent's programs"
	hookUnpin      = "removing the agent's pins"
	hookRepin      = "renaming the agent's pins"
	hookAnon       = "io_uring and userfaultfd"
	hookSocket     = "socket"
	hookUnixConn   = "connect to a runtime's socket"
	hookUnixSend   = "datagram to a runtime's socket"
	hookOpenKernel = "open of devices and kernel files"
	hookNode       = "mknod"
	hookSetuid     = "chmod to setuid"
	hookSetXattr   = "setting file capabilities"
	hookStart      = "program on a network socket"
	hookGain       = "gain of privileges"
	hookCodeMap    = "mmap of writable code"
	hookCodeChange = "mprotect of written memory to code"
)

// Hooks of setHardenB.
const (
	hookExecB   = "kill of a program on a network socket, or that gained privileges"
	hookDeviceB = "mknod and open of devices by cgroup"
	hookSysctlB = "write of sysctls by cgroup"
	hookSocketB = "socket by cgroup"
)

// hardenHooks lists the hooks of backend A.
func hardenHooks() []hook {
	both := func(name, id, lsm, function string, canary func() error) hook {
		return hook{name: name, canary: canary, variants: []variant{
			{id + "_lsm", "lsm/" + lsm}, {id + "_fmod", "fmod_ret/security_" + function},
		}}
	}
	same := func(name, id, lsm string, canary func() error) hook { return both(name, id, lsm, lsm, canary) }
	module := same(hookModule, "module", "kernel_module_request", moduleCanary)
	module.counted = true
	traceme := same(hookTraceme, "traceme", "ptrace_traceme", tracemeCanary)
	gain := same(hookGain, "gain", "bprm_creds_from_file", gainCanary)
	traceme.children, gain.children = true, true
	bpfMap := same(hookBPFMap, "bpfmap", "bpf_map", nil)
	bpfProg := same(hookBPFProg, "bpfprog", "bpf_prog", nil)
	unpin := same(hookUnpin, "unpin", "inode_unlink", nil)
	repin := same(hookRepin, "repin", "inode_rename", nil)
	bpfMap.effect, bpfProg.effect, unpin.effect, repin.effect = mapCanaryOn, progCanaryOn, unpinCanaryOn, repinCanaryOn
	return []hook{
		same(hookCapable, "capable", "capable", capableCanary),
		same(hookMount, "mount", "sb_mount", mountCanary),
		same(hookUmount, "umount", "sb_umount", umountCanary),
		same(hookPivot, "pivot", "sb_pivotroot", pivotCanary),
		same(hookMoveMount, "move", "move_mount", moveCanary),
		both(hookUserNS, "userns", "userns_create", "create_user_ns", usernsCanary),
		same(hookPerf, "perf", "perf_event_open", perfCanary),
		same(hookChroot, "chroot", "path_chroot", chrootCanary),
		module,
		same(hookReadCode, "readcode", "kernel_read_file", finitCanary),
		same(hookLoadCode, "loadcode", "kernel_load_data", initCanary),
		same(hookSyslog, "syslog", "syslog", syslogCanary),
		same(hookKeyAlloc, "keyalloc", "key_alloc", keyCanary),
		same(hookKeyUse, "keyuse", "key_permission", keyCanary),
		same(hookPtrace, "ptrace", "ptrace_access_check", ptraceCanary),
		traceme,
		same(hookKill, "kill", "task_kill", killCanary),
		same(hookBPF, "bpf", "bpf", bpfCanary),
		bpfMap, bpfProg, unpin, repin,
		same(hookAnon, "anon", "inode_init_security_anon", anonCanary),
		same(hookSocket, "socket", "socket_create", rawSocketCanary),
		same(hookUnixConn, "unixconn", "unix_stream_connect", unixCanary(false)),
		same(hookUnixSend, "unixsend", "unix_may_send", unixCanary(true)),
		same(hookOpenKernel, "open", "file_open", secretCanary),
		same(hookNode, "mknod", "path_mknod", nodeCanary),
		same(hookSetuid, "chmod", "path_chmod", setuidCanary),
		same(hookSetXattr, "setxattr", "inode_setxattr", xattrCanary),
		both(hookStart, "start", "bprm_check_security", "bprm_check", startCanary),
		gain,
		same(hookCodeMap, "codemap", "mmap_file", codeMapCanary),
		same(hookCodeChange, "codeprot", "file_mprotect", codeChangeCanary),
	}
}

// part is what one hook does for a switch, and what stands in for it.
type part struct {
	hook string
	// instead is a hook of setHardenB; "" when nothing stands in. partly says
	// what it leaves open; "" when nothing.
	instead, partly string
}

// switchParts lists what a switch needs.
func switchParts(s policy.Switch) []part {
	only := func(hooks ...string) (out []part) {
		for _, h := range hooks {
			out = append(out, part{hook: h})
		}
		return out
	}
	open := part{hook: hookOpenKernel}
	switch s {
	case policy.SwitchMount:
		return only(hookCapable, hookMount, hookUmount, hookPivot, hookMoveMount)
	case policy.SwitchUserNamespaces:
		return only(hookUserNS)
	case policy.SwitchNamespaces:
		return only(hookCapable, hookUserNS)
	case policy.SwitchPtrace:
		return only(hookPtrace, hookTraceme)
	case policy.SwitchProcessRead:
		return only(hookOpenKernel, hookPtrace)
	case policy.SwitchBPF:
		return only(hookBPF)
	case policy.SwitchModules:
		return only(hookReadCode, hookLoadCode, hookModule)
	case policy.SwitchKexec:
		return only(hookReadCode, hookLoadCode)
	case policy.SwitchKeys:
		return only(hookKeyAlloc, hookKeyUse)
	case policy.SwitchPerf:
		return only(hookPerf)
	case policy.SwitchIoUring, policy.SwitchUserfaultfd:
		return only(hookAnon)
	case policy.SwitchHandleOpen:
		return only(hookCapable)
	case policy.SwitchDevices:
		open.instead, open.partly = hookDeviceB, "/proc/kcore can be read"
		return []part{open, {hook: hookNode, instead: hookDeviceB}}
	case policy.SwitchRawSockets, policy.SwitchSocketFamilies:
		return []part{{hook: hookSocket, instead: hookSocketB, partly: "only sockets of IPv4 and IPv6 are seen"}}
	case policy.SwitchRuntimeSockets:
		return only(hookUnixConn, hookUnixSend)
	case policy.SwitchKernelInterfaces:
		open.instead, open.partly = hookSysctlB, "only /proc/sys is guarded"
		return []part{open}
	case policy.SwitchSetuidFiles:
		return only(hookSetuid, hookNode, hookSetXattr, hookOpenKernel)
	case policy.SwitchPrivilegeGain:
		return []part{{hook: hookGain, instead: hookExecB}}
	case policy.SwitchWritableCode:
		return only(hookCodeMap, hookCodeChange)
	case policy.SwitchSocketShell:
		return []part{{hook: hookStart, instead: hookExecB}}
	case policy.SwitchForeignFiles:
		return only(hookOpenKernel)
	case policy.SwitchKernelLog:
		return only(hookSyslog)
	case policy.SwitchChroot:
		return only(hookChroot)
	}
	return nil
}

// selfHooks protect the agent from every managed container.
func selfHooks() []string {
	return []string{hookPtrace, hookKill, hookBPF, hookBPFMap, hookBPFProg, hookUnpin, hookRepin}
}
