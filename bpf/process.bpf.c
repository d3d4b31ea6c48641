// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Who a task is, and whether a container may start a program.
//
// Three raw tracepoints: fork hands the container's number to the child, exit
// takes it back, exec judges. A forbidden program is killed after the kernel
// loaded it and before its first instruction. Nothing here waits for the
// agent; what the agent must know is counted exactly and reported once.
//
// A rule on a path is a keyed hash of that path below the root of the file's
// own file system, so neither links, bind mounts, chroot nor new namespaces
// change what it means. Rules that deny also name the objects themselves, so
// that a renamed file or directory stays denied.
#include "gabion.h"

/* Set at load: which of the loads that are attached this one is. */
const volatile __u32 instance = 0;

char LICENSE[] SEC("license") = "GPL";

#define OVERLAYFS_MAGIC 0x794c7630
#define SIGKILL 9
#define SIGSTOP 19

#define MAX_DEPTH 32
#define NAME_BUF 256
#define PATH_BUF 1024
#define ARGS_BUF 512
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
	X_DIR1OBJ = 8 /* a: inode, b: device: files directly in the directory */
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
	__u16 has;
	__u16 rule;  /* of the deny */
	__u16 order; /* among the denies: the lowest is named */
	__u16 pad;
};

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
	char applet[64];
	char parent[64];
	char args[ARGS_BUF];
	/* Components, leaf first, each ended by NUL. The room behind PATH_BUF
	 * is for the last one. */
	char path[PATH_BUF + NAME_BUF];
};

/* Records of both rings begin with their type. */
enum { REC_CAUSE = 1, REC_START = 2, REC_SEEN = 3, REC_VERIFY = 4 };

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

struct seen_key {
	__u32 cid;
	__u32 in_image;
	__u64 parent;
	__u64 object;
};

struct held {
	__u64 cgroup;
	__u64 time;
	__u32 released;
	__u32 cid; /* not 0: held to compare its file with the image */
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
	__u32 i;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

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

/* Observations that found no room in the ring, by cid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

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

/* ------------------------------------------------------------ SipHash-1-3 */

#define ROTL(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
#define SIPROUND                                                                                   \
	do {                                                                                       \
		v0 += v1;                                                                          \
		v1 = ROTL(v1, 13) ^ v0;                                                            \
		v0 = ROTL(v0, 32);                                                                 \
		v2 += v3;                                                                          \
		v3 = ROTL(v3, 16) ^ v2;                                                            \
		v0 += v3;                                                                          \
		v3 = ROTL(v3, 21) ^ v0;                                                            \
		v2 += v1;                                                                          \
		v1 = ROTL(v1, 17) ^ v2;                                                            \
		v2 = ROTL(v2, 32);                                                                 \
	} while (0)

/* Of len (at most 255) bytes in sc->name, whose last word need not be clean. */
static __noinline __u64 hash_name(struct scratch *sc, __u32 len)
{
	__u64 v0 = sc->k0 ^ 0x736f6d6570736575ull;
	__u64 v1 = sc->k1 ^ 0x646f72616e646f6dull;
	__u64 v2 = sc->k0 ^ 0x6c7967656e657261ull;
	__u64 v3 = sc->k1 ^ 0x7465646279746573ull;
	__u64 m;
	__u32 i;

	for (i = 0; i < NAME_BUF / 8; i++) {
		if (i * 8 + 8 > len)
			break;
		m = *(__u64 *)(sc->name + i * 8);
		v3 ^= m;
		SIPROUND;
		v0 ^= m;
	}
	m = (__u64)len << 56;
	if (len & 7 && i < NAME_BUF / 8)
		m |= *(__u64 *)(sc->name + i * 8) & ((1ull << ((len & 7) * 8)) - 1);
	v3 ^= m;
	SIPROUND;
	v0 ^= m;
	v2 ^= 0xff;
	SIPROUND;
	SIPROUND;
	SIPROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}

static __noinline __u64 hash_pair(struct scratch *sc, __u64 a, __u64 b)
{
	*(__u64 *)sc->name = a;
	*(__u64 *)(sc->name + 8) = b;
	return hash_name(sc, 16);
}

/* ------------------------------------------------------------------ rules */

/* Adds what a rule says, as far as mask lets it. */
static __noinline int consult(struct scratch *sc, __u32 kind, __u64 a, __u64 b, __u32 mask)
{
	struct exec_rule_key key = {.set = sc->set, .kind = kind, .a = a, .b = b};
	struct exec_rule *r = bpf_map_lookup_elem(&exec_rules, &key);

	if (!r)
		return 0;
	if (r->has & H_DENY && (!(sc->has & H_DENY) || r->order < sc->order)) {
		sc->order = r->order;
		sc->rule = r->rule;
	}
	sc->has |= r->has & mask;
	return 0;
}

/* ------------------------------------------------------------------- walk */

/* One step up from sc->dentry, without leaving its file system. */
static long walk_step(__u32 i, struct scratch **ctx)
{
	struct scratch *sc = *ctx;
	struct dentry *d = (struct dentry *)sc->dentry, *parent;
	const unsigned char *name;
	struct inode *inode;
	__u64 ino;
	__u32 len, at, dev;

	parent = BPF_CORE_READ(d, d_parent);
	if (i) {
		inode = BPF_CORE_READ(d, d_inode);
		ino = BPF_CORE_READ(inode, i_ino);
		dev = sc->out.detail.dev;
		if (ino == sc->root_ino && dev == sc->root_dev) {
			sc->at_root = 1;
			sc->done = 1;
			return 1;
		}
		if (sc->set && parent != d) {
			consult(sc, X_DIROBJ, ino, dev, H_ANY);
			if (i == 1)
				consult(sc, X_DIR1OBJ, ino, dev, H_ANY);
		}
	}
	if (!parent || parent == d) {
		sc->done = 1;
		return 1;
	}
	if (i >= MAX_DEPTH)
		return 1;
	len = BPF_CORE_READ(d, d_name.len);
	name = BPF_CORE_READ(d, d_name.name);
	if (len > 255)
		len = 255;
	if (bpf_probe_read_kernel(sc->name, len & 255, name))
		return 1;
	at = sc->path_len;
	if (at < PATH_BUF) {
		bpf_probe_read_kernel(sc->out.detail.path + (at & (PATH_BUF - 1)), len & 255, name);
		at += len;
		if (at < PATH_BUF + NAME_BUF)
			sc->out.detail.path[at] = 0;
		sc->path_len = at + 1;
	}
	sc->comp[i & (MAX_DEPTH - 1)] = hash_name(sc, len & 255);
	sc->depth = i + 1;
	sc->dentry = (__u64)parent;
	return 0;
}

/* From the root down: the hash of every directory above the file. */
static long down_step(__u32 i, struct scratch **ctx)
{
	struct scratch *sc = *ctx;

	if (i >= sc->depth)
		return 1;
	if (sc->set)
		consult(sc, X_TREE, sc->hash, 0, H_ANY);
	sc->dir_hash = sc->hash;
	sc->hash = hash_pair(sc, sc->hash, sc->comp[(sc->depth - 1 - i) & (MAX_DEPTH - 1)]);
	return 0;
}

/* ---------------------------------------------------------------- applets */

static long arg_step(__u32 i, struct scratch **ctx)
{
	struct scratch *sc = *ctx;
	__u32 at = sc->arg_from + i;
	char c;

	if (at >= sc->args_len || at >= ARGS_BUF)
		return 1;
	c = sc->args[at & (ARGS_BUF - 1)];
	if (!c) {
		sc->arg_end = at;
		sc->done = 1;
		return 1;
	}
	if (c == '/')
		sc->arg_base = at + 1;
	return 0;
}

#define WORD(p) (*(__u64 *)(p))
#define W(a, b, c, d, e, f, g, h)                                                                  \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 |   \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)
#define FIRST7 0x00ffffffffffffffull
#define FIRST6 0x0000ffffffffffffull
#define CORE_PROG 17 /* length of --coreutils-prog= */

/* Whether sc->name begins like a program known to act under many names. */
static __always_inline int multi_name(struct scratch *sc)
{
	__u64 w = WORD(sc->name);

	return (w & FIRST7) == W('b', 'u', 's', 'y', 'b', 'o', 'x', 0) ||
	       (w & FIRST6) == W('t', 'o', 'y', 'b', 'o', 'x', 0, 0) ||
	       w == W('c', 'o', 'r', 'e', 'u', 't', 'i', 'l');
}

/* The name that a multi-call program is asked to act under: the base name of
 * its first argument, or of the next when that is the program's own name.
 * Returns 0 when known, or none is given; R_UNKNOWN when unreadable. */
static __noinline int find_applet(struct scratch *sc)
{
	struct scratch *p = sc;
	__u32 n, len, base, shown;

	sc->arg_from = 0;
	for (n = 0; n < 4; n++) {
		if (n && sc->arg_from >= sc->args_len)
			return 0;
		sc->arg_base = sc->arg_from;
		sc->done = 0;
		bpf_loop(ARGS_BUF, arg_step, &p, 0);
		if (!sc->done)
			return R_UNKNOWN;
		base = sc->arg_base & (ARGS_BUF - 1);
		len = sc->arg_end - sc->arg_base;
		if (!len)
			return 0;
		if (len > 255)
			return R_UNKNOWN;
		/* A login shell's name begins with a dash. */
		if (!n && sc->args[base] == '-') {
			base = (base + 1) & (ARGS_BUF - 1);
			len--;
		}
		WORD(sc->name) = 0;
		bpf_probe_read_kernel(sc->name, len & 255, sc->args + base);
		if (n && sc->name[0] == '-') {
			/* Options are not a name, but coreutils is told its name by one. */
			if (WORD(sc->name) != W('-', '-', 'c', 'o', 'r', 'e', 'u', 't') || len <= CORE_PROG)
				return 0;
			base = (base + CORE_PROG) & (ARGS_BUF - 1);
			len -= CORE_PROG;
			WORD(sc->name) = 0;
			bpf_probe_read_kernel(sc->name, len & 255, sc->args + base);
		}
		sc->arg_from = sc->arg_end + 1;
		if (multi_name(sc))
			continue;
		sc->applet = hash_name(sc, len & 255);
		if (sc->applet == sc->comp[0]) {
			sc->applet = 0;
			continue;
		}
		shown = len > 63 ? 63 : len;
		bpf_probe_read_kernel(sc->out.detail.applet, shown & 63, sc->args + base);
		sc->out.detail.applet[shown & 63] = 0;
		sc->out.detail.has_applet = 1;
		return 0;
	}
	return R_UNKNOWN;
}

/* ---------------------------------------------------------------- identity */

static __always_inline __u32 lookup_task(__u32 tid)
{
	__u32 *cid = bpf_map_lookup_elem(&tasks, &tid);

	return cid ? *cid : 0;
}

SEC("raw_tp/sched_process_fork")
int gabion_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (struct task_struct *)ctx->args[0];
	struct task_struct *child = (struct task_struct *)ctx->args[1];
	__u32 cid = lookup_task(BPF_CORE_READ(parent, pid)), tid;

	if (!cid)
		return 0;
	tid = BPF_CORE_READ(child, pid);
	bpf_map_update_elem(&tasks, &tid, &cid, BPF_ANY);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int gabion_exit(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = (__u32)id, tgid = id >> 32;

	if (bpf_map_lookup_elem(&tasks, &tid))
		bpf_map_delete_elem(&tasks, &tid);
	if (tid == tgid && bpf_map_lookup_elem(&held, &tgid))
		bpf_map_delete_elem(&held, &tgid);
	return 0;
}

/* ------------------------------------------------------------- start guard */

/* A program of a container that nobody told of: in namespaces of its own, on a
 * root of its own. Tells the agent, and stops it until the agent has answered. */
static __noinline int start_guard(struct settings *s, struct task_struct *task, struct linux_binprm *bprm,
				  __u64 cgroup)
{
	struct start_record rec = {.type = REC_START, .cgroup = cgroup};
	struct held fresh = {.cgroup = cgroup}, *h;
	struct super_block *sb, *root_sb;
	struct nsproxy *ns = BPF_CORE_READ(task, nsproxy);
	struct dentry *root;
	__u64 now;
	__u32 tgid;

	if (!ns || BPF_CORE_READ(ns, mnt_ns, ns.inum) == s->init_mntns ||
	    BPF_CORE_READ(ns, pid_ns_for_children, ns.inum) == s->init_pidns)
		return 0;
	root = BPF_CORE_READ(task, fs, root.dentry);
	root_sb = BPF_CORE_READ(root, d_sb);
	sb = BPF_CORE_READ(bprm, file, f_inode, i_sb);
	if (!sb || sb != root_sb)
		return 0;
	if (BPF_CORE_READ(root, d_inode, i_ino) == s->init_root_ino && BPF_CORE_READ(root_sb, s_dev) == s->init_root_dev)
		return 0;
	now = bpf_ktime_get_ns();
	tgid = bpf_get_current_pid_tgid() >> 32;
	rec.pid = tgid;
	rec.time = now;
	if (s->hold && !s->off && now - s->heartbeat < HOLD_ALIVE) {
		h = bpf_map_lookup_elem(&held, &tgid);
		fresh.time = now;
		/* Without a place in held nobody would know to release it. */
		if (!h && !bpf_map_update_elem(&held, &tgid, &fresh, BPF_NOEXIST)) {
			if (!bpf_send_signal(SIGSTOP))
				rec.held = 1;
			else
				bpf_map_delete_elem(&held, &tgid);
		}
	}
	bpf_ringbuf_output(&denials, &rec, sizeof(rec), rec.held ? BPF_RB_FORCE_WAKEUP : 0);
	return 0;
}

/* ------------------------------------------------------------------- exec */

static __always_inline void change_time(struct inode *inode, struct file_key *key)
{
	if (bpf_core_field_exists(inode->i_ctime_sec)) {
		key->ctime_sec = BPF_CORE_READ(inode, i_ctime_sec);
		key->ctime_nsec = BPF_CORE_READ(inode, i_ctime_nsec);
	} else if (bpf_core_field_exists(((struct inode___mid *)inode)->__i_ctime)) {
		key->ctime_sec = BPF_CORE_READ((struct inode___mid *)inode, __i_ctime.tv_sec);
		key->ctime_nsec = BPF_CORE_READ((struct inode___mid *)inode, __i_ctime.tv_nsec);
	} else {
		key->ctime_sec = BPF_CORE_READ((struct inode___old *)inode, i_ctime.tv_sec);
		key->ctime_nsec = BPF_CORE_READ((struct inode___old *)inode, i_ctime.tv_nsec);
	}
	/* The kernel notes in the top bit whether the time was asked for. */
	key->ctime_nsec &= 0x7fffffff;
}

/* What separates the file from the image's: a set of reasons, 0 when nothing. */
static __noinline __u32 drift(struct container *c, struct inode *inode, __u32 dev)
{
	struct file_key key = {.dev = dev};
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);
	struct inode *real = inode;
	struct dentry *upper;
	__u32 *verdict;

	if (!BPF_CORE_READ(inode, i_nlink))
		return R_FILELESS;
	if (dev != c->root_dev)
		return R_DRIFT;
	if (BPF_CORE_READ(sb, s_magic) == OVERLAYFS_MAGIC) {
		if (!bpf_core_type_exists(struct ovl_inode))
			return R_CHANGED | R_UNKNOWN;
		/* vfs_inode is inside ovl_inode: step back from one to the other. */
		struct ovl_inode *oi =
			(void *)inode - bpf_core_field_offset(struct ovl_inode, vfs_inode);

		upper = BPF_CORE_READ(oi, __upperdentry);
		if (!upper)
			return 0;
		/* The real file's times also move when it is written through a mapping. */
		real = BPF_CORE_READ(upper, d_inode);
	} else if (!(c->flags & C_SNAPSHOT)) {
		return 0;
	}
	key.ino = BPF_CORE_READ(real, i_ino);
	key.size = BPF_CORE_READ(real, i_size);
	change_time(real, &key);
	verdict = bpf_map_lookup_elem(&files, &key);
	if (!verdict)
		return c->flags & C_SNAPSHOT ? R_DRIFT : R_CHANGED | R_UNKNOWN;
	if (*verdict == F_IMAGE)
		return 0;
	return *verdict == F_CHANGED ? R_CHANGED : R_DRIFT;
}

/* Stops a program whose file changed since it was compared with the image, for
 * the agent to compare it anew. Returns 0 when nobody is there to do it. */
static __noinline int hold_to_verify(struct settings *s, __u32 cid)
{
	struct start_record rec = {.type = REC_VERIFY, .held = 1, .cid = cid};
	struct held fresh = {.cid = cid};
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_ns();

	if (now - s->heartbeat >= HOLD_ALIVE)
		return 0;
	rec.pid = tgid;
	rec.time = fresh.time = now;
	rec.cgroup = fresh.cgroup = bpf_get_current_cgroup_id();
	if (bpf_map_update_elem(&held, &tgid, &fresh, BPF_ANY))
		return 0;
	if (bpf_ringbuf_output(&denials, &rec, sizeof(rec), BPF_RB_FORCE_WAKEUP) || bpf_send_signal(SIGSTOP)) {
		bpf_map_delete_elem(&held, &tgid);
		return 0;
	}
	return 1;
}

static __noinline void report_cause(struct scratch *sc, struct count_key *key)
{
	struct cause_record rec = {.type = REC_CAUSE};

	bpf_map_update_elem(&details, key, &sc->out.detail, BPF_ANY);
	rec.key = *key;
	bpf_ringbuf_output(&denials, &rec, sizeof(rec), 0);
}

static __noinline void observe(struct scratch *sc, __u32 cid, __u32 in_image, __u64 parent)
{
	struct seen_key key = {.cid = cid, .in_image = in_image, .parent = parent};
	__u32 one = 1, size;
	__u64 n = 1, *l;

	key.object = hash_pair(sc, sc->hash, sc->applet);
	if (bpf_map_lookup_elem(&seen, &key))
		return;
	if (bpf_map_update_elem(&seen, &key, &one, BPF_NOEXIST))
		return;
	size = sc->out.detail.path_len;
	if (size > PATH_BUF + NAME_BUF)
		size = PATH_BUF + NAME_BUF;
	size += offsetof(struct seen_record, detail.path);
	if (size > sizeof(sc->out))
		size = sizeof(sc->out);
	if (!bpf_ringbuf_output(&observations, &sc->out, size, 0))
		return;
	/* Not told: forget that it was seen, so that the next time tells. */
	bpf_map_delete_elem(&seen, &key);
	l = bpf_map_lookup_elem(&lost, &cid);
	if (l)
		__sync_fetch_and_add(l, 1);
	else
		bpf_map_update_elem(&lost, &cid, &n, BPF_NOEXIST);
}

static __noinline int judge(struct task_struct *task, struct linux_binprm *bprm, struct settings *s,
			    struct container *c, __u32 cid)
{
	struct count_key key = {.cid = cid, .kind = K_EXEC};
	struct scratch *sc, *p;
	struct exec_detail *d;
	struct file *file, *parent_file;
	struct inode *inode, *parent_inode;
	struct dentry *dentry;
	struct mm_struct *mm;
	__u64 arg_start, parent = 0;
	__u32 zero = 0, reasons = 0, drifted, len;
	__u16 rule = 0;

	sc = bpf_map_lookup_elem(&scratch, &zero);
	if (!sc)
		return 0;
	p = sc;
	d = &sc->out.detail;
	file = BPF_CORE_READ(bprm, file);
	inode = BPF_CORE_READ(file, f_inode);
	dentry = BPF_CORE_READ(file, f_path.dentry);

	sc->k0 = s->hash_key[0];
	sc->k1 = s->hash_key[1];
	sc->root_ino = c->root_ino;
	sc->root_dev = c->root_dev;
	sc->set = c->rules;
	sc->dentry = (__u64)dentry;
	sc->depth = 0;
	sc->done = 0;
	sc->at_root = 0;
	sc->path_len = 0;
	sc->has = 0;
	sc->rule = 0;
	sc->order = 0;
	sc->applet = 0;
	sc->args_len = 0;
	sc->out.type = REC_SEEN;
	sc->out.cid = cid;
	d->time = bpf_ktime_get_ns();
	d->pid = BPF_CORE_READ(task, tgid);
	d->ppid = BPF_CORE_READ(task, real_parent, tgid);
	d->uid = BPF_CORE_READ(task, cred, uid.val);
	d->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	d->too_deep = 0;
	d->has_applet = 0;
	d->applet[0] = 0;

	/* The path below the root of the file's own file system. */
	bpf_loop(MAX_DEPTH + 1, walk_step, &p, 0);
	if (!sc->done) {
		reasons |= R_TOO_DEEP;
		d->too_deep = 1;
	}
	if (!sc->depth) {
		/* A file that is no file system's (memfd): its name is all there is. */
		len = BPF_CORE_READ(dentry, d_name.len);
		if (len > 255)
			len = 255;
		bpf_probe_read_kernel(d->path, len & 255, BPF_CORE_READ(dentry, d_name.name));
		bpf_probe_read_kernel(sc->name, len & 255, BPF_CORE_READ(dentry, d_name.name));
		d->path[len & 255] = 0;
		sc->path_len = (len & 255) + 1;
		sc->comp[0] = hash_name(sc, len & 255);
		sc->depth = 1;
	}
	d->path_len = sc->path_len;
	/* The container's own root begins apart: the same path below another root
	 * of the same file system is another path. */
	sc->hash = hash_pair(sc, d->dev, sc->at_root);
	sc->dir_hash = sc->hash;
	bpf_loop(MAX_DEPTH, down_step, &p, 0);

	/* The arguments, and the name a multi-call program acts under. */
	mm = BPF_CORE_READ(task, mm);
	arg_start = BPF_CORE_READ(mm, arg_start);
	len = BPF_CORE_READ(mm, arg_end) - arg_start;
	if (len > ARGS_BUF)
		len = ARGS_BUF;
	if (!bpf_probe_read_user(sc->args, len, (void *)arg_start)) {
		sc->args_len = len;
		bpf_probe_read_kernel(d->args, len, sc->args);
	}
	d->args_len = sc->args_len;

	if (sc->set) {
		consult(sc, X_DIR, sc->dir_hash, 0, H_ANY);
		consult(sc, X_NAME, sc->comp[0], 0, H_ANY);
		consult(sc, X_OBJECT, BPF_CORE_READ(inode, i_ino), d->dev, H_ANY);
	}
	len = BPF_CORE_READ(dentry, d_name.len);
	WORD(sc->name) = 0;
	bpf_probe_read_kernel(sc->name, len > 32 ? 32 : len, BPF_CORE_READ(dentry, d_name.name));
	if (sc->has & H_MULTI || multi_name(sc)) {
		reasons |= find_applet(sc);
		if (d->has_applet && sc->set) {
			consult(sc, X_NAME, sc->applet, 0, H_ANY);
			consult(sc, X_APPLET, sc->applet, 0, H_ANY);
		}
	}
	/* A multi-call program's own path is about its applets only when denied. */
	if (sc->set)
		consult(sc, X_FILE, sc->hash, 0, d->has_applet ? H_DENY | H_MULTI : H_ANY);

	if (!(c->flags & C_EXEC_PATHS))
		reasons = 0; /* no rule asks for the path */

	drifted = drift(c, inode, d->dev);
	d->nameless = drifted == R_FILELESS;
	d->in_image = !drifted;

	parent_file = BPF_CORE_READ(task, real_parent, mm, exe_file);
	if (parent_file) {
		parent_inode = BPF_CORE_READ(parent_file, f_inode);
		/* The runtime's own program is another file at every start (runc copies
		 * itself): it is no parent that could be learned. */
		if (lookup_task(d->ppid))
			parent = BPF_CORE_READ(parent_inode, i_ino) ^ (__u64)BPF_CORE_READ(parent_inode, i_sb, s_dev) << 40;
		d->parent[63] = 0;
		bpf_probe_read_kernel_str(d->parent, sizeof(d->parent),
					  BPF_CORE_READ(parent_file, f_path.dentry, d_name.name));
	} else {
		d->parent[0] = 0;
	}

	if (c->exec_mode < MODE_MONITOR) {
		if (c->flags & C_OBSERVE)
			observe(sc, cid, d->in_image, parent);
		return 0;
	}

	/* The decision table of policy.(*ProcessPlan).Decide. What could not be
	 * followed or read counts against the program only where it matters. */
	if (drifted == R_FILELESS)
		sc->has &= ~(H_ALLOW | H_EXEMPT | H_WAIVE); /* no list names what has no name */
	if (sc->has & H_DENY && !(sc->has & H_WAIVE)) {
		rule = sc->rule;
		reasons |= R_DENIED;
	}
	if (c->flags & C_DENY_DRIFT && drifted && !(sc->has & H_EXEMPT)) {
		if (!(reasons & R_DENIED))
			rule = c->drift_rule;
		reasons |= drifted;
	}
	if (c->flags & C_EXEC_LISTED && !(sc->has & H_ALLOW)) {
		if (!(reasons & (R_DENIED | R_DRIFT | R_CHANGED | R_FILELESS)))
			rule = c->list_rule;
		reasons |= R_NOT_LISTED;
	}
	/* What does not get to run is no behaviour to learn from. */
	if (c->flags & C_OBSERVE && !(reasons && c->exec_mode == MODE_PROTECT))
		observe(sc, cid, d->in_image, parent);
	if (!reasons)
		return 0;
	if (c->flags & C_VERIFY && reasons == (R_CHANGED | R_UNKNOWN) && hold_to_verify(s, cid))
		return 0;
	key.rule = rule;
	key.reasons = reasons;
	key.plan = c->plan;
	key.object = hash_pair(sc, sc->hash, sc->applet);
	key.effect = 2;
	if (c->exec_mode == MODE_PROTECT)
		key.effect = bpf_send_signal(SIGKILL) ? 3 : 1;
	if (count_cause(&key))
		report_cause(sc, &key);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int gabion_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct linux_binprm *bprm = (struct linux_binprm *)ctx->args[2];
	__u32 tid = (__u32)bpf_get_current_pid_tgid(), old = ctx->args[1], cid, *known;
	struct settings *s = get_settings();
	struct container *c;
	struct dentry *root;
	__u64 cgroup;

	if (!s || s->instance != instance)
		return 0;
	cid = lookup_task(tid);
	if (old != tid) {
		/* A thread that is not the first takes the first one's number. */
		__u32 was = lookup_task(old);

		if (was) {
			bpf_map_delete_elem(&tasks, &old);
			if (!cid) {
				cid = was;
				bpf_map_update_elem(&tasks, &tid, &cid, BPF_ANY);
			}
		}
	}
	if (cid) {
		c = bpf_map_lookup_elem(&containers, &cid);
		if (!c)
			return 0;
	} else {
		cgroup = bpf_get_current_cgroup_id();
		known = bpf_map_lookup_elem(&cgroups, &cgroup);
		if (!known)
			return start_guard(s, task, bprm, cgroup);
		cid = *known;
		if (cid == CID_NONE)
			return 0;
		c = bpf_map_lookup_elem(&containers, &cid);
		if (!c)
			return 0;
		/* The runtime's own process on its way in is not the container's
		 * before it stands on the container's root. */
		root = BPF_CORE_READ(task, fs, root.dentry);
		if (BPF_CORE_READ(root, d_sb, s_dev) != c->root_dev)
			return 0;
		if (c->root_ino ? BPF_CORE_READ(root, d_inode, i_ino) != c->root_ino :
				  BPF_CORE_READ(root, d_sb, s_root) != root)
			return 0;
		bpf_map_update_elem(&tasks, &tid, &cid, BPF_ANY);
	}
	if (s->off || !(c->exec_mode || c->flags & C_OBSERVE))
		return 0;
	return judge(task, bprm, s, c, cid);
}
