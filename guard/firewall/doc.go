// Package firewall enforces the network section of a plan on one node: who a
// container may connect to and who may connect to it, by address, port and
// protocol, for IPv4 and IPv6 alike.
//
// It does not look into what is said over a connection, and it never filters
// the node's own network. Layer 7 builds on its marks later.
//
// The one idea: rules are flattened before they reach the kernel, so that the
// longest prefix of a peer carries everything that applies to it, and a
// verdict is one look-up and one short walk. The same table is asked twice:
//
//   - cgroup hooks (connect, sendmsg) know the process. What is forbidden fails
//     at once with EPERM, and the denial names who tried.
//   - the floor, two small programs on every interface inside the container's
//     network namespace, sees every packet: raw and packet sockets, processes
//     that entered the namespace from elsewhere, connections older than the
//     plan, and everything that arrives. A flow table lets replies pass; a plan
//     that changes has a new generation, and flows are judged again.
//
// What stops what:
//
//	connect, sendto, connected UDP, TCP fast open, io_uring    hooks, EPERM; floor below
//	SOCK_RAW, SCTP, UDP-Lite, ICMP, tunnels                    floor
//	AF_PACKET frames                                           floor
//	options of AF_PACKET (queue bypass, rings) and AF_XDP      setsockopt hook, EPERM
//	ingress                                                    floor
//	AF_VSOCK                                                   nothing here: needs the LSM backend or seccomp
//
// Several containers in one network namespace (a pod) share a floor; a packet
// does not say whose it is, so the floor passes what any of them may do, while
// the hooks keep them apart. A quarantine of one of them cuts the whole
// namespace. A container on the node's network has no floor: its hooks refuse
// sockets of other kinds, and its Coverage says what is not enforced.
//
// Loopback is always allowed. Nothing else is implicit: a container's resolver
// must be listed like any peer. ARP, IPv6 neighbour discovery and multicast
// membership pass while they stay on the link. Later fragments follow their
// first one, and are judged by address alone when that was not seen. More than
// eight IPv6 extension headers are denied as too deep.
//
// A denial counts attempts: a TCP connection that is tried again by
// retransmission counts once, a datagram counts each time.
//
// Hooks that judge connections are attached to the root of all cgroups, so that
// a process that is moved stays who it is; guard/kernel's task numbers name it.
// The hook on socket options would cost every process something and goes to the
// container's own cgroup, where that is known.
//
// Everything is pinned. An agent that is killed leaves rules, hooks, floors
// and flows in force, and the next one takes them over.
package firewall
