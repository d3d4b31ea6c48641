/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * The verdict about using a file, written once for every hook that asks.
 *
 * Rules are about places (hash of the path below the root of the file's own
 * file system) and about objects (inode numbers), as those on programs are
 * (process_judge.h), and every one may be about some programs only: those
 * whose file is at a place that the rule names. What a rule says is a clause;
 * the clauses of all rules that a file meets add up to three masks, from
 * which every access is decided at once, so that one verdict can be kept for
 * all later ones.
 */
#ifndef GABION_FILES_JUDGE_H
#define GABION_FILES_JUDGE_H

#include "files_maps.h"

#define SLOT_MORE                                                                                  \
	struct file_record rec;                                                                    \
	__u64 comps[FILE_DEPTH];                                                                   \
	__u64 subject; /* groups that the program is in */                                         \
	__u64 found;   /* groups found on the way */                                               \
	__u64 place;   /* hash of the path */                                                      \
	__u64 dir;     /* hash of the directory's path */                                          \
	__u64 own;     /* inode to consult in place of the one that the name leads to */           \
	__u32 base;    /* 0, or S_SUBJECT */                                                       \
	__u32 dev;                                                                                 \
	__u32 loose;   /* the path leads to no root */                                             \
	__u32 len;                                                                                 \
	__u32 want;    /* accesses that the rule to name is about */                               \
	struct subject_key who;                                                                    \
	struct file_seen_key seen;                                                                 \
	struct cause_record cause;                                                                 \
	__u16 denied, waived, guarded, allowed, capped, granted;                                   \
	__u32 deny_order, deny_rule, guard_order, guard_rule;

#include "hash.h"
#include "slots.h"

#define PROC_MAGIC 0x9fa0
/* Every pid namespace has a procfs of its own, and a container may mount new
 * ones: to rules they are one. */
#define PROC_DEV 0xfffffff0u
#define SB_NOUSER (1ul << 31)
#define NEVER 0xffffffffu

static __always_inline void apply(struct slot *f, const struct clause *c)
{
	int in = f->subject >> (c->group & 63) & 1;

	switch (c->what) {
	case W_DENY:
		if (!in)
			return;
		f->denied |= c->access;
		if (c->access & f->want && c->order < f->deny_order) {
			f->deny_order = c->order;
			f->deny_rule = c->rule;
		}
		return;
	case W_WAIVE:
		if (in)
			f->waived |= c->access;
		return;
	case W_SUBJECT:
		f->found |= 1ull << (c->group & 63);
		return;
	case W_ALLOW:
		f->guarded |= c->access;
		if (in)
			f->allowed |= c->access;
		break;
	case W_CEILING:
		f->capped |= c->access;
		if (in)
			f->granted |= c->access;
		break;
	}
	if (c->access & f->want && c->order < f->guard_order) {
		f->guard_order = c->order;
		f->guard_rule = c->rule;
	}
}

struct consulting {
	struct file_rule_key key;
	struct slot *f;
};

static long consult_chunk(__u32 i, struct consulting *ctx)
{
	struct file_rule *r = bpf_map_lookup_elem(&file_rules, &ctx->key);
	struct slot *f = ctx->f;
	__u32 n;

	if (!r)
		return 1;
	for (n = 0; n < CLAUSES; n++) {
		if (n >= r->n)
			break;
		apply(f, &r->c[n]);
	}
	if (!r->more)
		return 1;
	ctx->key.kind += F_CHUNK;
	return 0;
}

/* Adds what the rules at one place say. Not static, so that the verifier looks
 * at it once. */
__noinline int file_consult(struct slot *f, __u32 kind, __u64 a, __u64 b)
{
	struct consulting ctx;

	if (!f || !f->sc.set)
		return 0;
	ctx.f = f;
	ctx.key.set = f->sc.set;
	ctx.key.kind = kind + f->base;
	ctx.key.a = a;
	ctx.key.b = b;
	/* Most entries do not exist. */
	if (!bpf_map_lookup_elem(&file_rules, &ctx.key))
		return 0;
	bpf_loop(CHUNKS, consult_chunk, &ctx, 0);
	return 0;
}

/* The device of a file as rules know it. */
static __noinline __u32 file_dev(struct dentry *dentry)
{
	struct super_block *sb = BPF_CORE_READ(dentry, d_sb);

	if (BPF_CORE_READ(sb, s_magic) == PROC_MAGIC)
		return PROC_DEV;
	return BPF_CORE_READ(sb, s_dev);
}

/* One step up from sc->dentry, without leaving its file system. */
static long file_step(__u32 i, struct slot **ctx)
{
	struct slot *f = *ctx;
	struct scratch *sc = &f->sc;
	struct dentry *d = (struct dentry *)sc->dentry, *parent = BPF_CORE_READ(d, d_parent);
	struct inode *inode = BPF_CORE_READ(d, d_inode);
	const unsigned char *name;
	char *path;
	__u64 ino;
	__u32 len, at;

	if (!i && f->own)
		inode = (struct inode *)f->own;
	if (inode) {
		ino = BPF_CORE_READ(inode, i_ino);
		if (ino == sc->root_ino && f->dev == sc->root_dev) {
			sc->at_root = 1;
			sc->done = 1;
			return 1;
		}
		if (parent != d) {
			file_consult(f, F_DIROBJ, ino, f->dev);
			if (i == 1)
				file_consult(f, F_DIR1OBJ, ino, f->dev);
			if (!i)
				file_consult(f, F_OBJECT, ino, f->dev);
		}
	}
	if (!parent || parent == d) {
		if (BPF_CORE_READ(d, d_sb, s_root) != d)
			f->loose = 1;
		sc->done = 1;
		return 1;
	}
	if (i >= FILE_DEPTH)
		return 1;
	len = BPF_CORE_READ(d, d_name.len);
	name = BPF_CORE_READ(d, d_name.name);
	if (len > 255)
		len = 255;
	if (bpf_probe_read_kernel(sc->name, len & 255, name))
		return 1;
	path = f->base ? f->rec.detail.exe : f->rec.detail.path;
	at = f->len;
	if (at < PATH_BUF) {
		bpf_probe_read_kernel(path + (at & (PATH_BUF - 1)), len & 255, name);
		at += len;
		if (at < PATH_BUF + NAME_BUF)
			path[at] = 0;
		f->len = at + 1;
	}
	f->comps[ONLY(i, FILE_DEPTH - 1)] = hash_name(sc, len & 255);
	sc->depth = i + 1;
	sc->dentry = (__u64)parent;
	return 0;
}

/* From the root down: the hash of every directory above the file. */
static long file_down(__u32 i, struct slot **ctx)
{
	struct slot *f = *ctx;

	if (i >= f->sc.depth)
		return 1;
	file_consult(f, F_TREE, f->place, 0);
	f->dir = f->place;
	f->place = hash_pair(&f->sc, f->place, f->comps[ONLY(f->sc.depth - 1 - i, FILE_DEPTH - 1)]);
	return 0;
}

/* Follows the name that is in sc.dentry to the root of its file system and adds
 * up what rules say on the way. Returns what keeps the path from being known. */
__noinline int file_look(struct slot *f)
{
	struct slot *p = f;
	struct scratch *sc;

	if (!f)
		return R_UNKNOWN;
	sc = &f->sc;
	f->dev = file_dev((struct dentry *)sc->dentry);
	f->loose = 0;
	f->len = 0;
	sc->depth = 0;
	sc->done = 0;
	sc->at_root = 0;
	bpf_loop(FILE_DEPTH + 1, file_step, &p, 0);
	f->place = hash_pair(sc, f->dev, sc->at_root);
	f->dir = f->place;
	bpf_loop(FILE_DEPTH, file_down, &p, 0);
	if (!sc->done)
		return R_TOO_DEEP;
	if (f->loose)
		return R_UNKNOWN;
	file_consult(f, F_TREE, f->place, 0);
	file_consult(f, F_FILE, f->place, 0);
	if (sc->depth) {
		file_consult(f, F_DIR, f->dir, 0);
		if (f->base)
			file_consult(f, F_NAME, f->comps[0], 0);
	}
	return 0;
}

static __always_inline void look_exe(struct slot *f, struct dentry *exe)
{
	f->base = S_SUBJECT;
	f->own = 0;
	f->sc.dentry = (__u64)exe;
	f->rec.detail.exe_deep = file_look(f) != 0;
	f->rec.detail.exe_len = f->len;
	f->rec.detail.exe_dev = f->dev;
	f->base = 0;
}

static __always_inline struct dentry *exe_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, mm, exe_file, f_path.dentry);
}

/* Which groups of programs the task's is in. */
static __noinline void find_subject(struct slot *f, struct file_plan *plan, struct dentry *exe, __u64 generation)
{
	struct subject_key *who = &f->who;
	__u64 *known;

	f->subject = 1;
	if (!plan->groups)
		return;
	if (!exe) {
		f->subject |= plan->suspects;
		return;
	}
	who->set = plan->set;
	who->generation = generation;
	who->dentry = (__u64)exe;
	who->dev = BPF_CORE_READ(exe, d_sb, s_dev);
	who->ino = BPF_CORE_READ(exe, d_inode, i_ino);
	who->name = BPF_CORE_READ(exe, d_name.hash_len);
	known = bpf_map_lookup_elem(&file_subjects, who);
	if (known) {
		f->subject = *known;
		return;
	}
	f->found = 0;
	look_exe(f, exe);
	f->subject = 1 | f->found;
	if (f->rec.detail.exe_deep)
		f->subject = 1 | plan->suspects;
	bpf_map_update_elem(&file_subjects, who, &f->subject, BPF_ANY);
}

/* What rules let the program not do with the file. own, when it is not 0, is
 * the inode that the name is going to lead to. */
static __noinline __u32 restricted(struct slot *f, struct file_plan *plan, struct dentry *dentry, __u64 own)
{
	__u32 unknown, mask;

	f->denied = f->waived = f->guarded = f->allowed = f->capped = f->granted = 0;
	f->deny_order = f->guard_order = NEVER;
	f->deny_rule = f->guard_rule = 0;
	f->own = own;
	f->base = 0;
	f->sc.dentry = (__u64)dentry;
	unknown = file_look(f);
	f->rec.detail.path_len = f->len;
	f->rec.detail.too_deep = unknown != 0;
	f->rec.detail.dev = f->dev;
	if (plan->mode < MODE_MONITOR)
		return 0;
	mask = (f->denied & ~f->waived) | (f->guarded & ~f->allowed) | (f->capped & ~f->granted);
	f->sc.has = 0;
	if (unknown) {
		mask |= plan->restricts;
		f->sc.has = unknown;
	}
	return mask & A_ALL;
}

static __always_inline void describe_use(struct slot *f, struct task_struct *task, struct dentry *exe)
{
	struct file_detail *d = &f->rec.detail;

	d->time = bpf_ktime_get_ns();
	d->pid = BPF_CORE_READ(task, tgid);
	d->ppid = BPF_CORE_READ(task, real_parent, tgid);
	d->uid = BPF_CORE_READ(task, cred, uid.val);
	d->exe_len = 0;
	if (exe) {
		f->sc.set = 0; /* only the path */
		look_exe(f, exe);
	}
}

static __always_inline __u64 exe_id(struct dentry *exe)
{
	if (!exe)
		return 0;
	return BPF_CORE_READ(exe, d_inode, i_ino) ^ (__u64)BPF_CORE_READ(exe, d_sb, s_dev) << 40;
}

/* Counts a use that is refused, or would be, and tells of a new one. mask are
 * the accesses that are. */
static __noinline void refused(struct slot *f, struct file_plan *plan, __u32 cid, struct task_struct *task, __u32 mask)
{
	struct dentry *exe = exe_of(task);
	struct count_key *key = &f->cause.key;

	__builtin_memset(&f->cause, 0, sizeof(f->cause));
	f->cause.type = REC_CAUSE;
	key->cid = cid;
	key->kind = K_FILE;
	key->plan = plan->plan;
	key->effect = plan->mode == MODE_PROTECT ? 1 : 2;
	key->reasons = f->sc.has;
	if (f->denied & ~f->waived & mask) {
		key->reasons |= R_DENIED;
		key->rule = f->deny_rule;
	}
	if (((f->guarded & ~f->allowed) | (f->capped & ~f->granted)) & mask) {
		key->reasons |= R_NOT_LISTED;
		if (!key->rule)
			key->rule = f->guard_rule;
	}
	/* The accesses are part of the cause, to be read by the agent. */
	key->object = (hash_pair(&f->sc, f->place, exe_id(exe)) & ~0xffffull) | mask;
	if (!count_cause(key))
		return;
	f->rec.detail.access = mask;
	describe_use(f, task, exe);
	bpf_map_update_elem(&file_details, key, &f->rec.detail, BPF_ANY);
	account(cid, RING_DENIALS, bpf_ringbuf_output(&denials, &f->cause, sizeof(f->cause), 0));
}

/* Tells of a use that was not seen before. Returns 0 when it could not be told. */
static __noinline int observe_use(struct slot *f, __u32 cid, struct task_struct *task, __u32 access)
{
	struct dentry *exe = exe_of(task);
	struct file_seen_key *key = &f->seen;
	__u32 size;
	long err;

	key->cid = cid;
	key->access = access;
	key->dir = f->dir;
	key->exe = exe_id(exe);
	if (bpf_map_lookup_elem(&file_seen, key))
		return 1;
	if (bpf_map_update_elem(&file_seen, key, &f->want, BPF_NOEXIST))
		return 1;
	f->rec.type = REC_FILE;
	f->rec.cid = cid;
	f->rec.detail.access = access;
	size = f->rec.detail.path_len;
	describe_use(f, task, exe);
	if (size > PATH_BUF + NAME_BUF)
		size = PATH_BUF + NAME_BUF;
	size += offsetof(struct file_record, detail.path);
	if (size > sizeof(f->rec))
		size = sizeof(f->rec);
	err = bpf_ringbuf_output(&observations, &f->rec, size, 0);
	account(cid, RING_OBSERVATIONS, err);
	if (!err)
		return 1;
	/* Not told: the next time tells. */
	bpf_map_delete_elem(&file_seen, key);
	return 0;
}

/* What one hook asks. */
struct use {
	__u32 cid;
	__u32 access;
	__u64 generation;
	__u32 keep;	/* what may be done without asking again, when it is allowed */
	__u32 binding;	/* what rules let the program not do */
};

static __always_inline void begin_use(struct slot *f, struct settings *s, struct file_plan *plan)
{
	f->sc.k0 = s->hash_key[0];
	f->sc.k1 = s->hash_key[1];
	f->sc.root_ino = plan->root_ino;
	f->sc.root_dev = plan->root_dev;
	f->sc.set = plan->set;
}

/* The verdict about one name. Returns whether it is refused. */
static __noinline int judge_use(struct slot *f, struct file_plan *plan, struct use *u, struct dentry *dentry)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct settings *s = get_settings();
	__u32 mask, bad;

	if (!s)
		return 0;
	begin_use(f, s, plan);
	find_subject(f, plan, exe_of(task), u->generation);
	f->want = u->access;
	mask = restricted(f, plan, dentry, 0);
	u->binding = mask;
	bad = mask & u->access;
	if (bad) {
		if (bad != u->access) {
			/* Again, for the rule to name. */
			f->want = bad;
			restricted(f, plan, dentry, 0);
		}
		refused(f, plan, u->cid, task, bad);
		u->keep = 0;
		return plan->mode == MODE_PROTECT;
	}
	u->keep = ~mask & A_ALL;
	if (plan->flags & FP_OBSERVE)
		u->keep = observe_use(f, u->cid, task, u->access) ? u->access : 0;
	return 0;
}

/* A file that gets another name, by a rename or a link, must not thereby come
 * from under rules that bind the program: it could do afterwards what it may
 * not do now. Returns whether that is refused. u is what was asked of the old
 * name. */
static __noinline int judge_move(struct slot *f, struct file_plan *plan, struct use *u, struct dentry *from,
				 struct dentry *to)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 inode = (__u64)BPF_CORE_READ(from, d_inode);
	struct settings *s = get_settings();
	__u32 gain;

	if (!u->binding || !inode || !s)
		return 0;
	begin_use(f, s, plan);
	gain = u->binding & ~restricted(f, plan, to, inode);
	if (!gain)
		return 0;
	f->want = gain;
	restricted(f, plan, from, 0);
	refused(f, plan, u->cid, task, u->access);
	return plan->mode == MODE_PROTECT;
}

#endif
