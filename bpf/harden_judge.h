/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What is told of a use of a hardening switch or a capability, and who may do
 * it all the same. Programs are told apart by their inodes: dozens of hooks
 * share this, and following and hashing paths in each would take the kernel
 * minutes to check when they are loaded.
 */
#ifndef GABION_HARDEN_JUDGE_H
#define GABION_HARDEN_JUDGE_H

#include "slots.h"
#include "harden_types.h"

/* A number of which only these bits are left, said in a way that the compiler
 * cannot take back and that old verifiers (6.1) understand. */
#define ONLY(x, mask)                                                                              \
	({                                                                                         \
		__u64 _n = (x);                                                                    \
		asm volatile("%0 &= %1" : "+r"(_n) : "i"(mask));                                   \
		_n;                                                                                \
	})

struct exempt_key {
	__u32 cid;
	__u32 dev;
	__u64 ino;
};

/* Programs of a container that may use a switch: bit n stands for switch n. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct exempt_key);
	__type(value, __u32);
} exempts SEC(".maps");

/* One name of the path, leaf first. */
static long name_step(__u32 i, struct scratch **ctx)
{
	struct scratch *sc = *ctx;
	struct dentry *d = (struct dentry *)sc->dentry, *parent;
	__u32 len, at = sc->path_len;

	parent = BPF_CORE_READ(d, d_parent);
	if (!parent || (parent == d && i)) {
		sc->done = 1;
		return 1;
	}
	len = BPF_CORE_READ(d, d_name.len);
	if (len > 255)
		len = 255;
	if (i >= MAX_DEPTH || at >= PATH_BUF)
		return 1;
	bpf_probe_read_kernel(sc->out.detail.path + ONLY(at, PATH_BUF - 1), ONLY(len, 255), BPF_CORE_READ(d, d_name.name));
	at += len;
	sc->out.detail.path[ONLY(at, 2047) < PATH_BUF + NAME_BUF ? ONLY(at, 2047) : 0] = 0;
	sc->path_len = at + 1;
	if (parent == d) {
		sc->done = 1;
		return 1;
	}
	sc->dentry = (__u64)parent;
	return 0;
}

/* Who does it: the program, its arguments, its parent. */
static __noinline int look_subject(struct scratch *sc, struct task_struct *task, struct dentry *dentry)
{
	struct exec_detail *d = &sc->out.detail;
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	__u64 arg_start, len;
	struct scratch *p = sc;
	struct file *parent;

	d->time = bpf_ktime_get_ns();
	d->pid = BPF_CORE_READ(task, tgid);
	d->ppid = BPF_CORE_READ(task, real_parent, tgid);
	d->uid = BPF_CORE_READ(task, cred, uid.val);
	d->dev = BPF_CORE_READ(dentry, d_inode, i_sb, s_dev);
	d->in_image = 0;
	d->has_applet = 0;
	d->nameless = 0;
	d->applet[0] = 0;
	d->parent[0] = 0;
	d->args_len = 0;
	sc->dentry = (__u64)dentry;
	sc->path_len = 0;
	sc->done = !dentry;
	if (dentry)
		bpf_loop(MAX_DEPTH + 1, name_step, &p, 0);
	d->path_len = sc->path_len;
	d->too_deep = !sc->done;
	if (!mm)
		return 0;
	arg_start = BPF_CORE_READ(mm, arg_start);
	len = BPF_CORE_READ(mm, arg_end) - arg_start;
	if (len > ARGS_BUF - 1)
		len = ARGS_BUF - 1;
	if (!bpf_probe_read_user(d->args, ONLY(len, ARGS_BUF - 1), (void *)arg_start))
		d->args_len = ONLY(len, ARGS_BUF - 1);
	parent = BPF_CORE_READ(task, real_parent, mm, exe_file);
	if (parent)
		bpf_probe_read_kernel_str(d->parent, sizeof(d->parent), BPF_CORE_READ(parent, f_path.dentry, d_name.name));
	return 0;
}

/* A use: of a switch or a capability, in which mode, by which rule. The
 * subject is the program when it is not the task's own, about what it was done
 * to. */
struct use {
	__u32 cid;
	__u16 rule;
	__u8 kind;
	__u8 what;
	__u32 mode;
	struct dentry *subject;
	struct dentry *about;
};

/* Counts a use, unless the program is exempt. The top byte of the object is the
 * number of the switch or capability, the rest tells programs apart. Returns
 * whether Protect refuses it. */
static __noinline int judge_use(struct use *use)
{
	struct count_key key = {.cid = use->cid, .kind = use->kind, .rule = use->rule};
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct container *c = bpf_map_lookup_elem(&containers, &use->cid);
	struct exempt_key who = {.cid = use->cid};
	struct cause_record rec = {.type = REC_CAUSE};
	struct dentry *dentry = use->subject, *about = use->about;
	struct slot *slot;
	__u32 *may;

	if (!c)
		return 0;
	if (!dentry)
		dentry = BPF_CORE_READ(task, mm, exe_file, f_path.dentry);
	who.ino = BPF_CORE_READ(dentry, d_inode, i_ino);
	who.dev = BPF_CORE_READ(dentry, d_inode, i_sb, s_dev);
	if (use->kind == K_HARDEN && BPF_CORE_READ(dentry, d_inode, i_nlink)) {
		may = bpf_map_lookup_elem(&exempts, &who);
		if (may && *may >> (use->what & 31) & 1)
			return 0;
	}
	if (use->mode == MODE_LEARN) {
		key.effect = EFFECT_SEEN;
		key.rule = 0;
	} else {
		key.effect = use->mode == MODE_PROTECT ? 1 : 2;
		key.reasons = use->kind == K_CAP ? R_NOT_LISTED : R_DENIED;
		key.plan = c->plan;
	}
	key.object = (__u64)use->what << 56 | ((who.ino ^ (__u64)who.dev << 24) & 0x00ffffffffffffffull);
	if (count_cause(&key)) {
		slot = take_slot();
		if (slot) {
			look_subject(&slot->sc, task, dentry);
			if (about)
				bpf_probe_read_kernel_str(slot->sc.out.detail.applet, sizeof(slot->sc.out.detail.applet),
							  BPF_CORE_READ(about, d_name.name));
			bpf_map_update_elem(&details, &key, &slot->sc.out.detail, BPF_ANY);
			give_slot(slot);
		}
		rec.key = key;
		bpf_ringbuf_output(&denials, &rec, sizeof(rec), 0);
	}
	return use->mode == MODE_PROTECT;
}

#endif
