/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * The verdict about a program, written once for every hook that asks.
 *
 * A rule on a path is a keyed hash of that path below the root of the file's
 * own file system, so neither links, bind mounts, chroot nor new namespaces
 * change what it means. Rules that deny also name the objects themselves, so
 * that a renamed file or directory stays denied.
 */
#ifndef GABION_PROCESS_JUDGE_H
#define GABION_PROCESS_JUDGE_H

#include "process_maps.h"
#include "hash.h"
#include "process_narrow.h"

/* ------------------------------------------------------------------ rules */

/* Adds what a rule says, as far as mask lets it. */
__noinline int consult(struct scratch *sc, __u32 kind, __u64 a, __u64 b, __u32 mask)
{
	struct exec_rule_key key = {.kind = kind, .a = a, .b = b};
	struct scratch *p = sc;
	struct exec_rule *r;

	if (!sc)
		return 0;
	key.set = sc->set;
	r = bpf_map_lookup_elem(&exec_rules, &key);
	if (!r)
		return 0;
	if (r->has & H_DENY)
		deny_by(sc, r->rule, r->order);
	sc->has |= r->has & mask;
	if (r->conds) {
		sc->rkey = key;
		sc->rmask = mask;
		bpf_loop(r->conds, pend_step, &p, 0);
	}
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
		if (sc->set && !sc->quiet && parent != d) {
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
	if (at < PATH_BUF && !sc->quiet) {
		bpf_probe_read_kernel(sc->out.detail.path + (at & (PATH_BUF - 1)), len & 255, name);
		at += len;
		if (at < PATH_BUF + NAME_BUF)
			sc->out.detail.path[at] = 0;
		sc->path_len = at + 1;
	}
	sc->comp[ONLY(i, MAX_DEPTH - 1)] = hash_name(sc, len & 255);
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
	if (sc->quiet) {
		sc->script |= bits_of(sc, X_SCRIPT + X_TREE, sc->hash, 0);
	} else if (sc->set) {
		consult(sc, X_TREE, sc->hash, 0, H_ANY);
		if (sc->flags & C_CALLERS)
			sc->self |= bits_of(sc, X_CALLER + X_TREE, sc->hash, 0);
	}
	sc->dir_hash = sc->hash;
	sc->hash = hash_pair(sc, sc->hash, sc->comp[ONLY(sc->depth - 1 - i, MAX_DEPTH - 1)]);
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

#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFCHR 0020000
#define S_IFSOCK 0140000

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
		bpf_probe_read_kernel(sc->name, ONLY(len, 255), sc->args + base);
		if (n && sc->name[0] == '-') {
			/* Options are not a name, but coreutils is told its name by one. */
			if (WORD(sc->name) != W('-', '-', 'c', 'o', 'r', 'e', 'u', 't') || len <= CORE_PROG)
				return 0;
			base = (base + CORE_PROG) & (ARGS_BUF - 1);
			len -= CORE_PROG;
			WORD(sc->name) = 0;
			bpf_probe_read_kernel(sc->name, ONLY(len, 255), sc->args + base);
		}
		sc->arg_from = sc->arg_end + 1;
		if (multi_name(sc))
			continue;
		sc->applet = hash_name(sc, ONLY(len, 255));
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

/* ------------------------------------------------------------- the file */

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

/* What separates the file from the image's: a set of reasons, 0 when nothing.
 * With R_UNKNOWN, key is the state in which the file was not compared yet. */
static __noinline __u32 drift(struct container *c, struct inode *inode, __u32 dev, struct file_key *key)
{
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);
	struct inode *real = inode;
	struct dentry *upper;
	__u32 *verdict;

	__builtin_memset(key, 0, sizeof(*key));
	key->dev = dev;
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
	key->ino = BPF_CORE_READ(real, i_ino);
	key->size = BPF_CORE_READ(real, i_size);
	change_time(real, key);
	verdict = bpf_map_lookup_elem(&files, key);
	if (!verdict)
		return c->flags & C_SNAPSHOT ? R_DRIFT : R_CHANGED | R_UNKNOWN;
	if (*verdict == F_IMAGE)
		return 0;
	return *verdict == F_CHANGED ? R_CHANGED : R_DRIFT;
}

static __noinline void report_cause(struct scratch *sc, struct count_key *key)
{
	struct cause_record rec = {.type = REC_CAUSE};

	bpf_map_update_elem(&details, key, &sc->out.detail, BPF_ANY);
	rec.key = *key;
	account(key->cid, RING_DENIALS, bpf_ringbuf_output(&denials, &rec, sizeof(rec), 0));
}

/* ---------------------------------------------------------------- looking */

/* Fills in who asks and where the file is: its path, the hash of every
 * directory above it, and what the rules on those say. Returns R_TOO_DEEP when
 * the path could not be followed to its end. */
static __noinline __u32 look(struct scratch *sc, struct task_struct *task, struct dentry *dentry, struct settings *s,
			     struct container *c)
{
	struct scratch *p = sc;
	struct exec_detail *d = &sc->out.detail;
	__u32 len, reasons = 0;
	__u64 ino;

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
	sc->args_cut = 0;
	sc->flags = c->flags;
	sc->npend = 0;
	sc->unsure = 0;
	sc->quiet = 0;
	sc->self = 0;
	sc->caller = CALLER_UNKNOWN;
	d->signals = 0;
	sc->out.type = REC_SEEN;
	d->time = bpf_ktime_get_ns();
	d->pid = BPF_CORE_READ(task, tgid);
	d->ppid = BPF_CORE_READ(task, real_parent, tgid);
	d->uid = BPF_CORE_READ(task, cred, uid.val);
	d->dev = BPF_CORE_READ(dentry, d_inode, i_sb, s_dev);
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
	if (sc->set) {
		ino = BPF_CORE_READ(dentry, d_inode, i_ino);
		consult(sc, X_DIR, sc->dir_hash, 0, H_ANY);
		consult(sc, X_NAME, sc->comp[0], 0, H_ANY);
		consult(sc, X_OBJECT, ino, d->dev, H_ANY);
		if (sc->flags & C_CALLERS)
			sc->self |= bits_of(sc, X_CALLER + X_DIR, sc->dir_hash, 0) |
				    bits_of(sc, X_CALLER + X_FILE, sc->hash, 0) |
				    bits_of(sc, X_CALLER + X_OBJECT, ino, d->dev);
	}
	return reasons;
}

/* The arguments that the task's program was started with. */
static __noinline void read_args(struct scratch *sc, struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	__u64 arg_start = BPF_CORE_READ(mm, arg_start), len = BPF_CORE_READ(mm, arg_end) - arg_start;

	if (len > ARGS_BUF - 1) {
		len = ARGS_BUF - 1;
		sc->args_cut = 1;
	}
	if (!bpf_probe_read_user(sc->args, len & (ARGS_BUF - 1), (void *)arg_start))
		sc->args_len = len;
}

static __noinline void show_args(struct scratch *sc)
{
	__u64 len = sc->args_len;

	bpf_probe_read_kernel(sc->out.detail.args, len & (ARGS_BUF - 1), sc->args);
	sc->out.detail.args_len = len & (ARGS_BUF - 1);
}

/* Whether the program called so acts under the names it is given. */
static __noinline int is_multi(struct scratch *sc, struct dentry *dentry)
{
	WORD(sc->name) = 0;
	bpf_probe_read_kernel(sc->name, 8, BPF_CORE_READ(dentry, d_name.name));
	return sc->has & H_MULTI || multi_name(sc);
}

/* What the rules on a program say, after look(). Returns R_UNKNOWN when its applet cannot be read. */
static __noinline __u32 look_program(struct scratch *sc, struct dentry *dentry)
{
	struct exec_detail *d = &sc->out.detail;
	__u32 reasons = 0;

	if (is_multi(sc, dentry)) {
		reasons = find_applet(sc);
		if (d->has_applet && sc->set) {
			consult(sc, X_NAME, sc->applet, 0, H_ANY);
			consult(sc, X_APPLET, sc->applet, 0, H_ANY);
			if (sc->flags & C_CALLERS)
				sc->self |= bits_of(sc, X_CALLER + X_APPLET, sc->applet, 0);
		}
	}
	/* A multi-call program's own path is about its applets only when denied. */
	if (sc->set)
		consult(sc, X_FILE, sc->hash, 0, d->has_applet ? H_DENY | H_MULTI : H_ANY);
	return reasons;
}

/* Whether a program's name is that of a dynamic loader (ld-linux-x86-64.so.2,
 * ld-musl-x86_64.so.1, ld.so), which runs what it is given without an exec. */
static __always_inline int is_loader(struct dentry *dentry)
{
	char n[4] = {};

	bpf_probe_read_kernel(n, sizeof(n), BPF_CORE_READ(dentry, d_name.name));
	return n[0] == 'l' && n[1] == 'd' && (n[2] == '-' || (n[2] == '.' && n[3] == 's') || (n[2] == '6' && n[3] == '4'));
}

/* Who started the task: its program's name for people, its identity for
 * learning. */
static __noinline __u64 look_parent(struct scratch *sc, struct task_struct *task)
{
	struct file *file = BPF_CORE_READ(task, real_parent, mm, exe_file);
	struct exec_detail *d = &sc->out.detail;
	struct inode *inode;
	__u64 parent = 0;

	d->parent[0] = 0;
	if (!file)
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	/* The runtime's own program is another file at every start (runc copies
	 * itself): it is no parent that could be learned. */
	if (lookup_task(d->ppid))
		parent = BPF_CORE_READ(inode, i_ino) ^ (__u64)BPF_CORE_READ(inode, i_sb, s_dev) << 40;
	d->parent[63] = 0;
	bpf_probe_read_kernel_str(d->parent, sizeof(d->parent), BPF_CORE_READ(file, f_path.dentry, d_name.name));
	return parent;
}

/* Whether a descriptor is a network socket, or a terminal. */
static __noinline __u64 what_is(struct file **fds, __u32 n, __u64 socket)
{
	struct file *file = NULL;
	struct inode *inode;
	struct socket *sock;
	__u32 family, major;

	if (bpf_probe_read_kernel(&file, sizeof(file), fds + n) || !file)
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	switch (BPF_CORE_READ(inode, i_mode) & S_IFMT) {
	case S_IFSOCK:
		sock = BPF_CORE_READ(file, private_data);
		family = BPF_CORE_READ(sock, sk, __sk_common.skc_family);
		return family == AF_INET || family == AF_INET6 ? socket : 0;
	case S_IFCHR:
		major = BPF_CORE_READ(inode, i_rdev) >> 20;
		return !n && (major == 4 || major == 5 || (major >= 136 && major <= 143)) ? SIG_TTY : 0;
	}
	return 0;
}

/* Facts about a start that rules ask for (guard.Observation.Signals). secure is
 * whether it gains something by being started. */
static __noinline void look_signals(struct scratch *sc, struct task_struct *task, struct dentry *dentry, int secure,
				    int outside)
{
	struct file **fds = BPF_CORE_READ(task, files, fdt, fd);
	__u64 signals = 0;

	signals |= what_is(fds, 0, SIG_STDIN_SOCKET) | what_is(fds, 1, SIG_STDOUT_SOCKET);
	if (secure)
		signals |= SIG_SETUID;
	if (outside)
		signals |= SIG_OUTSIDE;
	if (!BPF_CORE_READ(dentry, d_inode, i_nlink)) {
		WORD(sc->name) = 0;
		bpf_probe_read_kernel(sc->name, 8, BPF_CORE_READ(dentry, d_name.name));
		signals |= (WORD(sc->name) & FIRST6) == W('m', 'e', 'm', 'f', 'd', ':', 0, 0) ? SIG_MEMFD : SIG_DELETED;
	}
	sc->out.detail.signals = signals;
}

/* The decision table of policy.(*ProcessPlan).Decide. reasons is what could not
 * be followed or read, which counts against the program only where it matters.
 * Returns all reasons, and leaves the rule to name in sc->rule. */
static __noinline __u32 decide(struct scratch *sc, struct container *c, __u32 drifted, __u32 reasons)
{
	__u32 rule = 0;

	if (!(c->flags & C_EXEC_PATHS))
		reasons = 0; /* no rule asks for the path */
	if (drifted == R_FILELESS) {
		sc->has &= ~(H_ALLOW | H_EXEMPT | H_WAIVE); /* no list names what has no name */
		sc->self = 0;
	}
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
	if (sc->unsure && reasons & (R_DENIED | R_NOT_LISTED))
		reasons |= R_UNKNOWN;
	sc->rule = rule;
	return reasons;
}

/* Counts one more of a cause, and reports a new one. */
static __noinline void denied(struct scratch *sc, struct container *c, __u8 kind, __u8 effect, __u32 reasons)
{
	struct count_key key = {
		.cid = sc->out.cid,
		.kind = kind,
		.effect = effect,
		.rule = sc->rule,
		.reasons = reasons,
		.plan = c->plan,
	};

	key.object = hash_pair(sc, sc->hash, sc->applet);
	if (count_cause(&key))
		report_cause(sc, &key);
}

#endif
