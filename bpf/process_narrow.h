/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * Rules that hold under conditions: who starts a program, as which user, with
 * which arguments, and, of an interpreter, which script it is given.
 *
 * While a program's rules are consulted, those with a condition are only noted
 * (sc->pend); narrow() looks at the conditions when everything is known. What
 * cannot be known does not let an allow match, and lets a deny match.
 *
 * Sets of programs (callers) and of scripts are bits: each pattern of a set of
 * rules has one, and the maps say of a path which bits it has. Who starts a
 * program is the program that the task was running when it called execve: its
 * bits are kept by task, and inherited at fork.
 */
#ifndef GABION_PROCESS_NARROW_H
#define GABION_PROCESS_NARROW_H

#include "process_maps.h"

__u64 hash_name(struct scratch *sc, __u32 len);
__u64 hash_pair(struct scratch *sc, __u64 a, __u64 b);

#define NARROW_STEPS 2048

/* The bits that a path has under one kind of rule. */
__noinline __u64 bits_of(struct scratch *sc, __u32 kind, __u64 a, __u64 b)
{
	struct exec_rule_key key = {.kind = kind, .a = a, .b = b};
	struct exec_rule *r;

	if (!sc)
		return 0;
	key.set = sc->set;
	r = bpf_map_lookup_elem(&exec_rules, &key);
	return r ? r->bits : 0;
}

/* A deny that matches; the first of them is named. */
static __always_inline void deny_by(struct scratch *sc, __u32 rule, __u32 order)
{
	if (!(sc->has & H_DENY) || order < sc->order) {
		sc->order = order;
		sc->rule = rule;
	}
	sc->has |= H_DENY;
}

/* Notes one of the conditional rules on sc->rkey. */
static long pend_step(__u32 i, struct scratch **ctx)
{
	struct scratch *sc = *ctx;
	struct exec_rule_key key = sc->rkey;
	struct pending *p;
	struct exec_rule *r;

	key.kind |= (i + 1) << 8;
	r = bpf_map_lookup_elem(&exec_rules, &key);
	if (!r || !(r->has & sc->rmask))
		return 0;
	if (sc->npend >= MAX_PEND) { /* too many to look at all */
		sc->unsure = 1;
		if (r->has & H_DENY)
			deny_by(sc, r->rule, r->order);
		return 0;
	}
	p = &sc->pend[ONLY(sc->npend, MAX_PEND - 1)];
	p->has = r->has;
	p->rule = r->rule;
	p->order = r->order;
	p->cond = r->conds;
	sc->npend++;
	return 0;
}

/* -------------------------------------------------------------- arguments */

static long end_step(__u32 i, struct scratch **ctx)
{
	struct scratch *sc = *ctx;

	if (sc->g_at >= sc->args_len)
		return 1;
	return !sc->args[sc->g_at++ & (ARGS_BUF - 1)];
}

/* Where the arguments after the program's own name begin: behind the applet,
 * when there is one. */
static __always_inline void find_first_arg(struct scratch *sc)
{
	struct scratch *p = sc;

	sc->g_at = 0;
	if (sc->out.detail.has_applet)
		sc->g_at = sc->arg_from;
	else
		bpf_loop(ARGS_BUF, end_step, &p, 0);
	sc->arg_first = sc->g_at;
}

/* One step of comparing the arguments with sc->pattern. An argument ends with
 * NUL in both, which no "*" stands for. */
static long glob_step(__u32 i, struct scratch **ctx)
{
	struct scratch *sc = *ctx;
	__u32 at = sc->g_at, pat = sc->g_pat;
	__u8 want, c;

	if (pat >= sc->g_len) {
		sc->g_found = at >= sc->args_len ? (sc->args_cut ? FIT_UNKNOWN : FIT_YES) : FIT_NO;
		return 1;
	}
	want = sc->pattern[pat & (COND_TEXT - 1)];
	if (want == GLOB_REST) {
		sc->g_found = FIT_YES;
		return 1;
	}
	if (at >= sc->args_len) {
		sc->g_found = sc->args_cut ? FIT_UNKNOWN : FIT_NO;
		return 1;
	}
	if (want == GLOB_ANY) {
		sc->g_star = sc->g_pat = pat + 1;
		sc->g_mark = at;
		return 0;
	}
	c = sc->args[at & (ARGS_BUF - 1)];
	if (c == want) {
		if (!c)
			sc->g_star = 0;
		sc->g_at = at + 1;
		sc->g_pat = pat + 1;
		return 0;
	}
	at = sc->g_mark;
	if (!sc->g_star || !sc->args[at & (ARGS_BUF - 1)]) {
		sc->g_found = FIT_NO;
		return 1;
	}
	sc->g_at = sc->g_mark = at + 1;
	sc->g_pat = sc->g_star;
	return 0;
}

static __noinline int args_fit(struct scratch *sc, struct cond *c)
{
	struct scratch *p = sc;

	if (!sc->args_len)
		return FIT_UNKNOWN; /* they could not be read */
	sc->g_len = c->args_len;
	bpf_probe_read_kernel(sc->pattern, COND_TEXT, c->args);
	sc->g_at = sc->arg_first;
	sc->g_pat = sc->g_star = sc->g_mark = 0;
	sc->g_found = FIT_UNKNOWN;
	bpf_loop(NARROW_STEPS, glob_step, &p, 0);
	return sc->g_found;
}

/* ---------------------------------------------------------------- scripts */

/* Finds the first argument that is no option. Options of one letter that take
 * nothing and bring no code are passed over: u and w of every interpreter,
 * more of shells. Anything else may be code: then no script is known. */
static long option_step(__u32 i, struct scratch **ctx)
{
	struct scratch *sc = *ctx;
	__u32 at = sc->g_at;
	char c;

	if (at >= sc->args_len)
		return 1;
	c = sc->args[at & (ARGS_BUF - 1)];
	sc->g_at = at + 1;
	if (!sc->g_mark) { /* an argument begins */
		if (c != '-' || sc->g_star) {
			sc->g_at = at;
			sc->g_found = c ? FIT_YES : FIT_NO;
			return 1;
		}
		sc->g_mark = 1;
		return 0;
	}
	if (!c) {
		if (sc->g_mark == 1)
			return 1; /* "-": standard input */
		sc->g_mark = 0;
		return 0;
	}
	if (sc->g_star)
		return 1; /* a long option */
	if (c == '-' && sc->g_mark == 1)
		sc->g_star = 1;
	else if (c == 'e' || c == 'f' || c == 'x' || c == 'v' || c == 'C')
		sc->script_shell = 1;
	else if (c != 'u' && c != 'w')
		return 1;
	sc->g_mark++;
	return 0;
}

/* Goes along the script's path as it was given, and gathers the bits of the
 * directories above it. */
static long script_step(__u32 i, struct scratch **ctx)
{
	struct scratch *sc = *ctx;
	__u32 at = sc->g_at, len = sc->g_len;
	char c = 0;

	if (at < sc->args_len)
		c = sc->args[at & (ARGS_BUF - 1)];
	else if (sc->args_cut)
		return 1;
	sc->g_at = at + 1;
	if (c && c != '/') {
		if (len >= NAME_BUF - 1)
			return 1;
		sc->name[len & (NAME_BUF - 1)] = c;
		sc->g_len = len + 1;
		return 0;
	}
	sc->g_len = 0;
	if (len == 2 && sc->name[0] == '.' && sc->name[1] == '.')
		return 1;
	if (len && !(len == 1 && sc->name[0] == '.')) {
		sc->dir_hash = sc->hash;
		sc->hash = hash_name(sc, len & (NAME_BUF - 1));
		sc->hash = hash_pair(sc, sc->dir_hash, sc->hash);
		if (c)
			sc->script |= bits_of(sc, X_SCRIPT + X_TREE, sc->hash, 0);
	}
	if (!c)
		sc->g_found = FIT_YES;
	return !c;
}

static long walk_step(__u32 i, struct scratch **ctx);
static long down_step(__u32 i, struct scratch **ctx);

/* The directory that the script's name is looked up from, as sc->hash. Returns
 * 0 when it cannot be named. */
static __always_inline int script_base(struct scratch *sc)
{
	struct scratch *p = sc;
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct dentry *d = BPF_CORE_READ(task, fs, root.dentry);
	__u64 root_ino = sc->root_ino;

	sc->depth = 0;
	if (BPF_CORE_READ(d, d_sb, s_dev) != sc->root_dev ||
	    (root_ino ? BPF_CORE_READ(d, d_inode, i_ino) != root_ino : BPF_CORE_READ(d, d_sb, s_root) != d))
		return 0; /* another root: names mean something else */
	if (sc->args[sc->g_at & (ARGS_BUF - 1)] != '/')
		d = BPF_CORE_READ(task, fs, pwd.dentry);
	sc->out.detail.dev = BPF_CORE_READ(d, d_sb, s_dev);
	sc->dentry = (__u64)d;
	sc->done = 0;
	sc->at_root = sc->out.detail.dev == sc->root_dev && BPF_CORE_READ(d, d_inode, i_ino) == root_ino;
	if (!sc->at_root) {
		bpf_loop(MAX_DEPTH + 1, walk_step, &p, 0);
		if (!sc->done)
			return 0;
	}
	sc->hash = hash_pair(sc, sc->out.detail.dev, sc->at_root);
	bpf_loop(MAX_DEPTH, down_step, &p, 0);
	sc->script |= bits_of(sc, X_SCRIPT + X_TREE, sc->hash, 0);
	return 1;
}

/* The bits of the script that an interpreter is given by its arguments. */
__noinline int find_script(struct scratch *sc)
{
	struct scratch *p = sc;
	__u64 hash, dir_hash;
	__u32 dev;

	if (!sc)
		return 0;
	hash = sc->hash;
	dir_hash = sc->dir_hash;
	dev = sc->out.detail.dev;
	sc->script = 0;
	sc->script_shell = 0;
	sc->g_at = sc->arg_first;
	sc->g_mark = sc->g_star = 0;
	sc->g_found = FIT_NO;
	bpf_loop(ARGS_BUF, option_step, &p, 0);
	if (sc->g_found != FIT_YES)
		return 0;
	sc->g_found = FIT_NO;
	sc->quiet = 1;
	if (script_base(sc)) {
		sc->g_len = 0;
		bpf_loop(ARGS_BUF, script_step, &p, 0);
	}
	sc->quiet = 0;
	if (sc->g_found == FIT_YES)
		sc->script |= bits_of(sc, X_SCRIPT + X_FILE, sc->hash, 0) |
			      bits_of(sc, X_SCRIPT + X_DIR, sc->dir_hash, 0);
	else
		sc->script = 0;
	sc->hash = hash;
	sc->dir_hash = dir_hash;
	sc->out.detail.dev = dev;
	return 0;
}

/* ------------------------------------------------------------- conditions */

static __always_inline int user_fits(struct cond *c, __u32 uid)
{
	int i;

	for (i = 0; i < MAX_USERS; i++)
		if (i < c->nusers && c->users[i] == uid)
			return 1;
	return !c->nusers;
}

__noinline int fits(struct scratch *sc, __u32 id)
{
	struct cond_key key = {.id = id};
	int fit = FIT_YES, args;
	struct cond *c;

	if (!sc)
		return FIT_UNKNOWN;
	key.set = sc->set;
	c = bpf_map_lookup_elem(&exec_conds, &key);
	if (!c)
		return FIT_UNKNOWN;
	if (!user_fits(c, sc->out.detail.uid))
		return FIT_NO;
	if (c->callers && !(c->callers & sc->caller)) {
		if (!(sc->caller & CALLER_UNKNOWN))
			return FIT_NO;
		fit = FIT_UNKNOWN;
	}
	if (c->scripts && (!(c->scripts & sc->script) || sc->script_shell > c->shell))
		return FIT_NO;
	if (c->has_args) {
		args = args_fit(sc, c);
		if (args != FIT_YES)
			return args;
	}
	return fit;
}

static long narrow_step(__u32 i, struct scratch **ctx)
{
	struct scratch *sc = *ctx;
	struct pending *p;
	int fit;

	if (i >= sc->npend)
		return 1;
	p = &sc->pend[ONLY(i, MAX_PEND - 1)];
	if (!(p->has & H_DENY) && !(p->has & ~sc->has))
		return 0; /* said already */
	fit = fits(sc, p->cond);
	if (fit == FIT_NO)
		return 0;
	if (fit == FIT_UNKNOWN) {
		sc->unsure = 1;
		if (!(p->has & H_DENY))
			return 0;
	}
	if (p->has & H_DENY)
		deny_by(sc, p->rule, p->order);
	sc->has |= p->has;
	return 0;
}

/* Adds what the conditional rules say whose conditions hold. */
static __always_inline void narrow(struct scratch *sc)
{
	struct scratch *p = sc;

	find_first_arg(sc);
	sc->script = 0;
	if (sc->flags & C_SCRIPT_RULES)
		find_script(sc);
	bpf_loop(MAX_PEND, narrow_step, &p, 0);
}

/* ---------------------------------------------------------------- callers */

/* Whether a program that the task starts is started from outside the container:
 * by the runtime, also when that got its number by a socket that it opened. */
static __always_inline int from_outside(struct task_struct *task, __u32 tid)
{
	__u32 parent = BPF_CORE_READ(task, real_parent, tgid);

	return !bpf_map_lookup_elem(&tasks, &tid) ||
	       (!bpf_map_lookup_elem(&callers, &tid) && !bpf_map_lookup_elem(&tasks, &parent));
}

/* Which of the rules' callers starts the program: what the task ran before. */
static __always_inline __u64 caller_of(struct container *c, __u32 tid, int outside)
{
	struct caller *from;

	if (outside)
		return CALLER_OUTSIDE;
	from = bpf_map_lookup_elem(&callers, &tid);
	if (!from || from->set != c->rules)
		return CALLER_UNKNOWN;
	return from->bits;
}

#endif
