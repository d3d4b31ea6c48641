/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What the network programs keep and share with guard/firewall: rules, floors,
 * flows, what was seen and what was denied.
 */
#ifndef GABION_NETWORK_MAPS_H
#define GABION_NETWORK_MAPS_H

#define AF_VSOCK 40
#define SOL_PACKET 263
#define SOL_XDP 283
#define IPPROTO_AH 51
#define IPPROTO_IGMP 2
#define IPPROTO_MPTCP 262
#define PACKET_OTHERHOST 3
#define BPF_SK_STORAGE_GET_F_CREATE 1

#define MAX_RANGES 64
#define MAX_MEMBERS 8
#define MAX_EXTENSIONS 8

/* Seconds-like unit of flow ages: 2^30 ns. */
#define UDP_IDLE 180
#define OTHER_IDLE 60

enum { DIR_EGRESS = 1, DIR_INGRESS = 2 };
enum { MECH_HOOK = 1, MECH_FLOOR = 2 };
enum { EFFECT_PASS = 0, EFFECT_BLOCKED = 1, EFFECT_WOULD = 2 };
enum { F_CONN = 0, F_FRAGMENT = 1 };
/* First byte of ring records; guard/kernel's are below 32. */
enum { REC_SEEN = 32, REC_CAUSE = 33 };

struct bpf_sockopt {
	union {
		struct bpf_sock *sk;
		__u64 : 64;
	} __attribute__((aligned(8)));
	union {
		void *optval;
		__u64 : 64;
	} __attribute__((aligned(8)));
	union {
		void *optval_end;
		__u64 : 64;
	} __attribute__((aligned(8)));
	__s32 level;
	__s32 optname;
	__s32 optlen;
	__s32 retval;
};

/* The longest prefix carries all that its covering prefixes say, so one
 * look-up finds the whole list. Lists are named by the hash of their content
 * and shared between containers. slot: one of two tables of a container, so
 * that a plan is replaced in one step (C_NET_SLOT). */
struct rule_key {
	__u32 prefixlen; /* 64 + length of the address prefix */
	__u32 cid;
	__u8 slot;
	__u8 dir;
	__u8 family; /* 4 or 6 */
	__u8 pad;
	__u8 addr[16];
};

enum { RANGE_DENY = 1, RANGE_ANY_PROTO = 2 };

struct range {
	__u8 proto;
	__u8 flags;
	__u16 lo, hi;
	__u16 rule;
};

/* Denies come first: the first range that matches decides. */
struct list {
	__u32 n;
	__u32 pad;
	struct range r[MAX_RANGES];
};

/* One network namespace with the containers that live in it. */
struct floor {
	__u64 netns; /* cookie, never reused while the machine runs */
	__u32 generation;
	__u32 n;
	__u32 cids[MAX_MEMBERS];
};

struct flow_key {
	__u32 floor;
	__u8 family;
	__u8 proto;
	__u8 kind;
	__u8 pad;
	__u16 lport, rport; /* fragments: the identification, low and high half */
	__u8 laddr[16];
	__u8 raddr[16];
};

struct flow {
	__u32 generation; /* of the verdict; 0: never judged */
	__u8 dir;	  /* who opened it; 0: not known */
	__u8 effect;
	__u8 fins; /* bit per direction */
	__u8 pad;
	__u32 seq; /* of the SYN that was judged */
	__u32 last;
};

struct happening {
	__u32 cid;
	__u32 reasons; /* not 0 before a decision: nothing can be looked up, and why */
	__u16 rule;
	__u16 peer_port;
	__u16 local_port;
	__u8 kind; /* enum kind */
	__u8 dir;
	__u8 family;
	__u8 proto;
	__u8 portless; /* a later fragment: the ports are not known */
	__u8 effect;
	__u8 mech;
	__u8 pad[3];
	__u32 generation; /* of the plan that decided */
	__u8 peer[16];
};

struct detail {
	__u64 time;
	__u32 pid, ppid, uid;
	__u16 peer_port, local_port;
	__u8 proto, family, mech, dir;
	__u8 pad[4];
	__u8 peer[16];
	char comm[16];
	char exe[32]; /* base name */
};

struct record {
	__u8 type;
	__u8 pad[3];
	__u32 cid;
	struct detail d;
};
struct record *type_record __attribute__((unused)); /* so that its layout reaches Go */

/* What was seen before, so that behaviour is reported once, and connections to
 * the same peer are judged once per plan. */
struct seen_key {
	__u32 cid;
	__u16 port;
	__u8 dir;
	__u8 proto;
	__u8 peer[16];
};

struct seen {
	__u32 generation; /* of the plan that allowed it; 0: none did */
	__u32 told;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1 << 20);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct rule_key);
	__type(value, __u64);
} net_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct list);
} net_lists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2048);
	__type(key, __u32);
	__type(value, struct floor);
} net_floors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow);
} net_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct seen_key);
	__type(value, struct seen);
} net_seen SEC(".maps");

/* What a cause was, for an agent that came later. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct count_key);
	__type(value, struct detail);
} net_details SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} net_lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 19);
} net_events SEC(".maps");

/* Sockets whose would-be denial the hook has counted already. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} net_judged SEC(".maps");

/* 0: packets that leave, 1: packets that arrive. The stubs call through this,
 * so a new agent changes every floor with two updates. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} net_programs SEC(".maps");

/* [0]: epoch of the settings that the maps belong to. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} net_state SEC(".maps");

#endif
