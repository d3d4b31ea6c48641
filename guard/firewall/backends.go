package firewall

import "github.com/gabion-dev/gabion/guard"

// Backends says what each mechanism is worth.
func Backends() []guard.Backend {
	return []guard.Backend{
		{
			ID: "cgroup/connect", Section: "network",
			Needs:     []string{"network programs", "cgroup/connect", "cgroup/sendmsg"},
			Guarantee: "a forbidden connect or send fails at once with EPERM, with the process known; pinned, so it outlives the agent",
			Stops:     []string{"TCP and UDP to peers that no rule names, IPv4 and IPv6", "socket families that bypass the floor, but for AF_VSOCK"},
			Passes:    []string{"packets made on raw sockets (the floor below drops them)", "AF_VSOCK sockets, which reach the hypervisor", "content on an allowed port"},
		},
		{
			ID: "tcx", Section: "network",
			Needs:     []string{"network programs", "tcx floor"},
			Guarantee: "every packet of the container's network namespace is judged, both ways; pinned, so it outlives the agent",
			Stops:     []string{"connections from peers that no rule names", "raw sockets and packet sockets", "established connections of a container in quarantine"},
			Passes:    []string{"containers on the host's network (only the hooks judge them)", "content on an allowed port"},
		},
		{
			ID: "clsact", Section: "network",
			Needs:     []string{"network programs", "clsact floor"},
			Guarantee: "the same as tcx on kernels that lack it; used only there",
		},
	}
}
