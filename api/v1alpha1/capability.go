package v1alpha1

import (
	"slices"
	"strings"
)

// CapabilityNames are the names of Linux capabilities without "CAP_"; the
// index is the capability's number (include/uapi/linux/capability.h, Linux 6.12).
func CapabilityNames() []string {
	return []string{
		"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
		"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
		"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
		"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
		"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
		"CHECKPOINT_RESTORE",
	}
}

// Capability gives the number of a capability by its name, written with or
// without "CAP_"; false for a name that Linux does not have.
func Capability(name string) (number int, ok bool) {
	n := slices.Index(CapabilityNames(), strings.TrimPrefix(name, "CAP_"))
	return n, n >= 0
}
