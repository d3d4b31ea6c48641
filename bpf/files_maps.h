/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What the programs that judge the use of files share with guard/kernel:
 * plans, rules, subjects, verdicts kept, reports. files_layout.go mirrors the
 * layouts.
 */
#ifndef GABION_FILES_MAPS_H
#define GABION_FILES_MAPS_H

#include "process_maps.h"

/* The same bits as policy.Access in Go. */
enum access {
	A_READ = 1 << 0,
	A_MODIFY = 1 << 1,
	A_APPEND = 1 << 2,
	A_CREATE = 1 << 3,
	A_DELETE = 1 << 4,
	A_RENAME = 1 << 5,
	A_LINK = 1 << 6,
	A_CHMOD = 1 << 7,
	A_EXECUTE = 1 << 8,
	A_ALL = (1 << 9) - 1,
};

#define FILE_DEPTH 128 /* directories above a file that are followed */

/* file_plan.flags */
enum {
	FP_OBSERVE = 1 << 0,
	FP_CANARY = 1 << 1, /* everything is refused: the container that hooks are tried in */
};

/* The files section of one container. */
struct file_plan {
	__u32 set; /* of file_rules */
	__u8 mode; /* enum mode */
	__u8 flags;
	__u16 restricts; /* accesses that some rule is about: what cannot be followed is refused these */
	__u32 plan;	 /* tag of the plan, part of count_key */
	__u32 root_dev;
	__u64 root_ino;
	__u64 suspects; /* groups of deny rules: who cannot be told is in them */
	__u64 groups;	/* not 0: verdicts depend on the program */
};

/* file_rule_key.kind. Those of subjects are S_SUBJECT more. */
enum {
	F_FILE = 1,    /* a: hash of the path */
	F_DIR = 2,     /* a: hash of the directory's path: files directly in it */
	F_TREE = 3,    /* a: hash of the directory's path: it, and all below */
	F_NAME = 4,    /* a: hash of the base name */
	F_OBJECT = 6,  /* a: inode, b: device */
	F_DIROBJ = 7,  /* a: inode, b: device: the directory and all below */
	F_DIR1OBJ = 8, /* a: inode, b: device: files directly in the directory */
	S_SUBJECT = 16,
	F_CHUNK = 256, /* added for every further part of a long list */
};

struct file_rule_key {
	__u32 set;
	__u32 kind;
	__u64 a;
	__u64 b;
};

/* clause.what */
enum { W_DENY = 1, W_ALLOW = 2, W_CEILING = 3, W_WAIVE = 4, W_SUBJECT = 5 };

/* What one rule says of the files that an entry is about. */
struct clause {
	__u16 access;
	__u8 what;
	__u8 group; /* of programs that it is about; 0: all */
	__u16 rule;
	__u16 order; /* the lowest is named */
};

#define CLAUSES 7
#define CHUNKS 8

struct file_rule {
	__u32 n;
	__u32 more; /* the next part exists */
	struct clause c[CLAUSES];
};

/* Part of every key of a verdict kept. */
struct file_state {
	__u64 generation; /* grows when a directory is renamed or rules change */
	__u32 overlays;	  /* a managed container has used an overlay that is not its root */
	__u32 pad;
};

/* A verdict kept: what may be done without asking again. The two words hold
 * 112 bits of who, what and when beside the mask of 16, so that an entry that
 * is written while it is read is no entry. */
struct file_kept {
	__u64 tag;
	__u64 mask;
};

#define KEPT_BITS 14

/* A program that verdicts were asked for, by what its file is now. */
struct subject_key {
	__u32 set;
	__u32 dev;
	__u64 dentry;
	__u64 ino;
	__u64 name; /* hash_len of its name */
	__u64 generation;
};

struct file_detail {
	__u64 time;
	__u32 pid;
	__u32 ppid;
	__u32 uid;
	__u32 dev;
	__u32 exe_dev;
	__u16 exe_len;
	__u16 path_len;
	__u8 too_deep;
	__u8 exe_deep;
	__u16 access;
	__u32 pad;
	/* Components, leaf first, each ended by NUL. The room behind PATH_BUF is
	 * for the last one. */
	char exe[PATH_BUF + NAME_BUF];
	char path[PATH_BUF + NAME_BUF];
};

#define REC_FILE 16

struct file_record {
	__u32 type;
	__u32 cid;
	struct file_detail detail;
};

struct file_seen_key {
	__u32 cid;
	__u32 access;
	__u64 dir;
	__u64 exe;
};

#define K_FILE 8

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct file_plan);
} file_plans SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct file_rule_key);
	__type(value, struct file_rule);
} file_rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct file_state);
} file_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << KEPT_BITS);
	__type(key, __u32);
	__type(value, struct file_kept);
} file_kept SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct subject_key);
	__type(value, __u64);
} file_subjects SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct file_seen_key);
	__type(value, __u32);
} file_seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 512);
	__type(key, struct count_key);
	__type(value, struct file_detail);
} file_details SEC(".maps");

#endif
