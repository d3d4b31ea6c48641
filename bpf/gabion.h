/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What all kernel programs of Gabion share: who a task is, how a container is
 * set up, and where verdicts are counted. Go mirrors these layouts in
 * guard/kernel; LAYOUT changes whenever any of them does, so that an agent
 * never adopts maps it would misread.
 *
 * Identity: every managed container has a number (cid) that the agent gives
 * and never reuses while the maps live. A task gets the cid when it is first
 * seen in the container's cgroup; its children inherit it at fork and nothing
 * they do to namespaces or cgroups takes it away.
 */
#ifndef GABION_H
#define GABION_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#define LAYOUT 2

enum mode { MODE_LEARN = 1, MODE_MONITOR = 2, MODE_PROTECT = 3 };

/* The same bits as policy.Reason in Go. */
enum reason {
	R_DENIED = 1 << 0,
	R_NOT_LISTED = 1 << 1,
	R_DRIFT = 1 << 2,
	R_CHANGED = 1 << 3,
	R_FILELESS = 1 << 4,
	R_TOO_DEEP = 1 << 5,
	R_UNKNOWN = 1 << 6,
	R_QUARANTINE = 1 << 7,
	R_FAMILY = 1 << 8,
};

/* container.flags */
enum {
	C_DENY_DRIFT = 1 << 0,	   /* process: executables must be the image's own */
	C_EXEC_LISTED = 1 << 1,	   /* process: an allow list exists */
	C_EGRESS_LISTED = 1 << 2,  /* network: egress is listed */
	C_INGRESS_LISTED = 1 << 3, /* network: ingress is listed */
	C_QUARANTINE = 1 << 4,	   /* all network cut, whatever the mode */
	C_OBSERVE = 1 << 5,	   /* report first-seen behaviour */
	C_NO_FLOOR = 1 << 16,	   /* no packet program: sockets that only it would judge are refused */
	C_NET_SLOT = 1 << 17,	   /* which of the container's two network tables is in force */
	C_EXEC_PATHS = 1 << 7,	   /* process: verdicts depend on the path, so an unreadable one is denied */
	C_VERIFY = 1 << 8,	   /* process: the agent can compare a file with the image while its program is held */
	C_SCRIPTS = 1 << 9,	   /* process: the agent compares scripts on the root with the image (fanotify) */
	C_CALLERS = 1 << 10,	   /* process: some rule asks who starts a program */
	C_SCRIPT_RULES = 1 << 11,  /* process: some rule asks which script is run */
	C_SNAPSHOT = 1 << 6,	   /* process: the root is no overlay; the image's files are those listed in files */
};

struct container {
	__u32 flags;
	__u32 generation; /* grows with every change of plan: stale flow verdicts are re-judged */
	__u8 exec_mode;	  /* enum mode; 0: the section is absent */
	__u8 net_mode;
	__u16 list_rule;	 /* rule to name when nothing in the exec list matched */
	__u16 drift_rule;
	__u16 egress_list_rule;
	__u16 ingress_list_rule;
	__u16 pad;
	__u32 root_dev; /* s_dev of the container's root file system */
	__u32 plan;	/* tag of the plan, part of count_key: rule numbers mean something only with it */
	__u32 rules;	/* set of exec_rules in force; 0: none */
	__u64 root_ino; /* inode number of the container's root directory; 0 when it is its file system's own */
};

/* One per node. */
struct settings {
	__u32 layout;
	__u32 off;	       /* kill switch: not 0 means decide nothing, let everything pass */
	__u32 hold;	       /* not 0: stop the first program of an unknown container until the agent knows it */
	__u32 agent_tgid;
	__u64 heartbeat;       /* bpf_ktime_get_ns() of the agent's last sign of life */
	__u64 epoch;	       /* random, chosen when the maps were created: part of event ids */
	__u32 init_mntns;      /* inode number of the node's own mount namespace */
	__u32 init_pidns;
	__u64 hash_key[2];     /* secret key of every hash of a name */
	__u64 init_root_ino;   /* the node's own root directory */
	__u32 init_root_dev;
	__u32 instance;	       /* the load of the exec program that judges; any other one steps aside */
	__u32 next_cid;	       /* numbers are never given twice */
	__u32 next_set;
};

/* Exact counts per cause; the agent reads, never resets. */
struct count_key {
	__u32 cid;
	__u8 kind;    /* enum kind */
	__u8 effect;  /* 1 blocked, 2 would block, 3 not blocked */
	__u16 rule;
	__u32 reasons;
	union {
		__u32 plan; /* container.plan at the time */
		__u32 pad;
	};
	__u64 object; /* exec: hash of path; network: hash of peer, port and protocol */
};

enum kind { K_EXEC = 1, K_EGRESS = 2, K_INGRESS = 3, K_SOCKET = 4, K_AGENT = 5, /* exec judged and counted by the agent: scripts, held programs */
	    K_REFUSED = 6, /* exec judged before it happened */ K_MAP = 7 /* code mapped from a file */ };

struct count {
	__u64 n;
	__u64 first; /* bpf_ktime_get_ns() */
	__u64 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

/* thread id -> cid */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} tasks SEC(".maps");

/* cgroup-v2 id -> cid; CID_NONE: looked at and found to be no container */
#define CID_NONE 0xffffffffu
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct container);
} containers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct count_key);
	__type(value, struct count);
} counts SEC(".maps");

/* Causes that found no room in counts, by cid: proof of what was not told apart. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} overflow SEC(".maps");

/* Details of new causes (denials) and first-seen behaviour, apart so that a
 * flood of the one cannot push out the other. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} denials SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} observations SEC(".maps");

static __always_inline struct settings *get_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

/* The container of the current task, or 0. Tasks seen for the first time in a
 * managed cgroup are remembered. */
static __always_inline __u32 current_cid(void)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u32 *known = bpf_map_lookup_elem(&tasks, &tid);
	__u64 cg;

	if (known)
		return *known;
	cg = bpf_get_current_cgroup_id();
	known = bpf_map_lookup_elem(&cgroups, &cg);
	if (!known || *known == CID_NONE)
		return 0;
	__u32 cid = *known;
	bpf_map_update_elem(&tasks, &tid, &cid, BPF_ANY);
	return cid;
}

/* Counts one more of a cause. Returns 1 when the cause is new, so that the
 * caller reports its details once. */
static __always_inline int count_cause(const struct count_key *key)
{
	__u64 now = bpf_ktime_get_ns();
	struct count *c = bpf_map_lookup_elem(&counts, key);

	if (c) {
		__sync_fetch_and_add(&c->n, 1);
		c->last = now;
		return 0;
	}
	struct count fresh = {.n = 1, .first = now, .last = now};
	long err = bpf_map_update_elem(&counts, key, &fresh, BPF_NOEXIST);

	if (!err)
		return 1;
	c = bpf_map_lookup_elem(&counts, key);
	if (c) {
		__sync_fetch_and_add(&c->n, 1);
		c->last = now;
		return 0;
	}
	__u64 one = 1;
	__u64 *lost = bpf_map_lookup_elem(&overflow, &key->cid);
	if (lost)
		__sync_fetch_and_add(lost, 1);
	else
		bpf_map_update_elem(&overflow, &key->cid, &one, BPF_ANY);
	return 0;
}

#endif
