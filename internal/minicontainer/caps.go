package minicontainer

import "golang.org/x/sys/unix"

// containerCaps are the capabilities a container's root keeps: what runtimes
// give by default, without CAP_MKNOD, because there is no device filter here
// that would make it harmless.
func containerCaps() []int {
	return []int{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID,
		unix.CAP_KILL, unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETPCAP,
		unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW, unix.CAP_SYS_CHROOT,
		unix.CAP_AUDIT_WRITE, unix.CAP_SETFCAP,
	}
}

// dropCaps adds the steps that leave only containerCaps, now and after any
// execve.
func (p *program) dropCaps() {
	var keep uint64
	for _, c := range containerCaps() {
		keep |= 1 << c
	}
	for c := 0; c < 64; c++ {
		if keep&(1<<c) == 0 {
			// EINVAL for numbers the kernel does not know.
			p.try("drop capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c))
		}
	}
	p.try("clear ambient capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL)
	hdr := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{
		{Effective: uint32(keep), Permitted: uint32(keep)},
		{Effective: uint32(keep >> 32), Permitted: uint32(keep >> 32)},
	}
	p.do("set capabilities", unix.SYS_CAPSET, mem(p, hdr), mem(p, data))
}
