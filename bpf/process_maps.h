/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What the programs that judge program starts share: rules, verdicts on files,
 * reports, and their maps. guard/kernel/layout.go mirrors the layouts.
 */
#ifndef GABION_PROCESS_MAPS_H
#define GABION_PROCESS_MAPS_H

#include "gabion.h"

#define OVERLAYFS_MAGIC 0x794c7630
#define SIGKILL 9
#define SIGSTOP 19

#define MAX_DEPTH 32
#define NAME_BUF 256
#define PATH_BUF 1024
#define ARGS_BUF 512
/* A number of which only these bits are left, said in a way that the compiler
 * cannot take back and that old verifiers (6.1) understand. */
#define ONLY(x, mask)                                                                              \
	({                                                                                         \
		__u64 _n = (x);                                                                    \
		asm volatile("%0 &= %1" : "+r"(_n) : "i"(mask));                                   \
		_n;                                                                                \
	})

#define HOLD_ALIVE 1000000000ull /* an agent silent for longer gets nothing held for it */

/* exec_rule_key.kind */
enum {
	X_FILE = 1,   /* a: hash of the path */
	X_DIR = 2,    /* a: hash of the directory's path: files directly in it */
	X_TREE = 3,   /* a: hash of the directory's path: files anywhere below */
	X_NAME = 4,   /* a: hash of the base name or applet */
	X_APPLET = 5, /* a: hash of the applet's name */
	X_OBJECT = 6, /* a: inode, b: device */
	X_DIROBJ = 7, /* a: inode, b: device: files anywhere below the directory */
	X_DIR1OBJ = 8, /* a: inode, b: device: files directly in the directory */
	/* Of the same shapes, but giving bits: programs that start others, scripts. */
	X_CALLER = 16,
	X_SCRIPT = 32
	/* kind | n << 8: the n-th conditional rule on the same key */
};

/* exec_rule.has */
enum { H_ALLOW = 1, H_DENY = 2, H_EXEMPT = 4, H_MULTI = 8, H_WAIVE = 16, H_ANY = 31 };

struct exec_rule_key {
	__u32 set;
	__u32 kind;
	__u64 a;
	__u64 b;
};

struct exec_rule {
	union {
		struct {
			__u16 has;
			__u16 rule;  /* of the deny */
			__u16 order; /* among the denies: the lowest is named */
			__u16 conds; /* how many conditional rules follow; of those, the condition */
		};
		__u64 bits; /* X_CALLER, X_SCRIPT */
	};
};

#define MAX_USERS 16
#define COND_TEXT 256

/* In cond.args: any text within an argument, and any further arguments. No
 * pattern has these bytes, which are never UTF-8. */
enum { GLOB_ANY = 0xff, GLOB_REST = 0xfe };

struct cond_key {
	__u32 set;
	__u32 id;
};

/* What narrows a rule. */
struct cond {
	__u64 callers; /* 0: any */
	__u64 scripts; /* 0: any */
	__u32 users[MAX_USERS];
	__u16 nusers; /* 0: any */
	__u16 args_len;
	__u8 has_args;
	__u8 shell; /* scripts may follow options of shells */
	__u8 pad[2];
	char args[COND_TEXT]; /* each argument ended by NUL */
};

/* The program that a task runs, as one that may start others. */
struct caller {
	__u32 set; /* the bits mean something only in this set of rules */
	__u32 pad;
	__u64 bits;
};

/* Among the bits of callers; patterns have the others. */
#define CALLER_UNKNOWN (1ull << 62)
#define CALLER_OUTSIDE (1ull << 63)

enum { FIT_NO = 0, FIT_YES = 1, FIT_UNKNOWN = 2 };

struct pending {
	__u16 has;
	__u16 rule;
	__u16 order;
	__u16 cond;
};

#define MAX_PEND 64

struct file_key {
	__u64 ino;
	__u32 dev;
	__u32 ctime_nsec;
	__u64 ctime_sec;
	__u64 size;
};

/* values of files */
enum { F_IMAGE = 1, F_CHANGED = 2, F_NEW = 3 };

struct exec_detail {
	__u64 time;
	__u32 pid;
	__u32 ppid;
	__u32 uid;
	__u32 dev;
	__u16 path_len;
	__u16 args_len;
	__u8 too_deep;
	__u8 in_image;
	__u8 has_applet;
	__u8 nameless;
	__u64 signals; /* enum signal */
	char applet[64];
	char parent[64];
	char args[ARGS_BUF];
	/* Components, leaf first, each ended by NUL. The room behind PATH_BUF
	 * is for the last one. */
	char path[PATH_BUF + NAME_BUF];
};

/* exec_detail.signals */
enum signal {
	SIG_STDIN_SOCKET = 1 << 0,
	SIG_STDOUT_SOCKET = 1 << 1,
	SIG_TTY = 1 << 2,    /* standard input is a terminal */
	SIG_SETUID = 1 << 3, /* runs as another user or group than its starter */
	SIG_MEMFD = 1 << 4,
	SIG_DELETED = 1 << 5,
	SIG_OUTSIDE = 1 << 6, /* started from outside the container */
};

/* Records of both rings begin with their type. */
enum { REC_CAUSE = 1, REC_START = 2, REC_SEEN = 3, REC_VERIFY = 4, REC_MAPPED = 5 };

struct cause_record {
	__u32 type;
	__u32 pad;
	struct count_key key;
};

struct start_record {
	__u32 type;
	__u32 pid;
	__u64 cgroup;
	__u64 time;
	__u32 held;
	__u32 cid;
};

struct seen_record {
	__u32 type;
	__u32 cid;
	struct exec_detail detail;
};

/* A process stopped for code that it mapped from a file not compared yet. */
struct map_record {
	__u32 type;
	__u32 pid;
	__u32 cid;
	__u32 path_len;
	struct file_key key;
	char path[PATH_BUF + NAME_BUF];
};

struct seen_key {
	__u32 cid;
	__u32 in_image; /* and the signals, from bit 8 on */
	__u64 parent;
	__u64 object;
	__u64 args; /* hash of the beginning; 0: the entry counts the others */
};

/* How many command lines are told of one program, starter and set of signals. */
#define MAX_VARIANTS 64

struct held {
	__u64 cgroup;
	__u64 time;
	__u8 released;
	__u8 mapped; /* held for a file that it mapped, not for its program */
	__u16 pad;
	__u32 cid; /* not 0: held to compare its file with the image */
	__u64 caller;
};

struct name_info {
	char id[128];
};

struct scratch {
	struct seen_record out;
	__u64 comp[MAX_DEPTH];
	char name[NAME_BUF + 8];
	char args[ARGS_BUF + NAME_BUF];

	/* state of the walk */
	__u64 k0, k1;
	__u64 root_ino;
	__u32 root_dev;
	__u32 depth;
	__u64 dentry;
	__u32 done;
	__u32 at_root;
	__u32 set;
	__u32 path_len;

	/* what rules said */
	__u32 has;
	__u32 rule;
	__u32 order;

	/* the path */
	__u64 dir_hash;
	__u64 hash;

	/* the applet */
	__u64 applet;
	__u32 arg_from;
	__u32 arg_base;
	__u32 arg_end;
	__u32 args_len;
	__u32 args_cut; /* there are more than were read */
	__u32 i;

	/* conditional rules */
	struct exec_rule_key rkey;
	__u32 rmask;
	__u32 flags; /* container.flags */
	__u64 caller;
	__u64 self; /* the program's own bits, for what it starts */
	__u64 script;
	__u32 script_shell;
	__u32 npend;
	__u32 unsure; /* a condition could not be told */
	__u32 quiet;  /* the walk is along a script's path, not the program's */
	struct pending pend[MAX_PEND];
	__u32 arg_first;
	__u32 g_at, g_pat, g_len, g_star, g_mark, g_found;
	char pattern[COND_TEXT];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct exec_rule_key);
	__type(value, struct exec_rule);
} exec_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct file_key);
	__type(value, __u32);
} files SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct seen_key);
	__type(value, __u32);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct count_key);
	__type(value, struct exec_detail);
} details SEC(".maps");

/* What was put into a ring for a container, and what found no room. Counts of
 * denials are in counts whatever happens here. */
enum ring { RING_DENIALS = 0, RING_OBSERVATIONS = 1 };

struct account {
	__u64 told[2]; /* by enum ring */
	__u64 lost[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct account);
} accounts SEC(".maps");

/* Counts what came of a record: err is what bpf_ringbuf_output gave. */
static __noinline void account(__u32 cid, __u32 ring, long err)
{
	struct account fresh = {}, *a = bpf_map_lookup_elem(&accounts, &cid);
	__u64 *n;

	if (!a) {
		bpf_map_update_elem(&accounts, &cid, &fresh, BPF_NOEXIST);
		a = bpf_map_lookup_elem(&accounts, &cid);
		if (!a)
			return;
	}
	n = err ? &a->lost[ring & 1] : &a->told[ring & 1];
	__sync_fetch_and_add(n, 1);
}

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cond_key);
	__type(value, struct cond);
} exec_conds SEC(".maps");

/* thread id -> the program it runs; kept while a container has rules that ask. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct caller);
} callers SEC(".maps");

/* Processes that run a dynamic loader and have not mapped the program yet that
 * it was asked to run, by process id. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} loaders SEC(".maps");

/* process id -> stopped before its first instruction */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct held);
} held SEC(".maps");

/* cid -> the runtime's identifier, for the agent alone */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct name_info);
} names SEC(".maps");

#endif
