// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// Who a task is, and whether a container may start a program.
//
// Three raw tracepoints: fork hands the container's number to the child, exit
// takes it back, exec judges. A forbidden program is killed after the kernel
// loaded it and before its first instruction. Nothing here waits for the
// agent; what the agent must know is counted exactly and reported once.
#include "process_judge.h"

/* Set at load: which of the loads that are attached this one is. */
const volatile __u32 instance = 0;

char LICENSE[] SEC("license") = "GPL";

/* Room for one verdict: a tracepoint is not preempted. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

SEC("raw_tp/sched_process_fork")
int gabion_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (struct task_struct *)ctx->args[0];
	struct task_struct *child = (struct task_struct *)ctx->args[1];
	__u32 from = BPF_CORE_READ(parent, pid), cid = lookup_task(from), tid;
	struct caller *runs;

	if (!cid)
		return 0;
	tid = BPF_CORE_READ(child, pid);
	bpf_map_update_elem(&tasks, &tid, &cid, BPF_ANY);
	runs = bpf_map_lookup_elem(&callers, &from);
	if (runs)
		bpf_map_update_elem(&callers, &tid, runs, BPF_ANY);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int gabion_exit(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = (__u32)id, tgid = id >> 32;

	if (bpf_map_lookup_elem(&tasks, &tid)) {
		bpf_map_delete_elem(&tasks, &tid);
		bpf_map_delete_elem(&callers, &tid);
		bpf_map_delete_elem(&loaders, &tid);
	}
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

/* Stops a program whose file changed since it was compared with the image, for
 * the agent to compare it anew. Returns 0 when nobody is there to do it. */
static __noinline int hold_to_verify(struct settings *s, __u32 cid, __u64 caller)
{
	struct start_record rec = {.type = REC_VERIFY, .held = 1, .cid = cid};
	struct held fresh = {.cid = cid, .caller = caller};
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_ns();
	long err;

	if (now - s->heartbeat >= HOLD_ALIVE)
		return 0;
	rec.pid = tgid;
	rec.time = fresh.time = now;
	rec.cgroup = fresh.cgroup = bpf_get_current_cgroup_id();
	if (bpf_map_update_elem(&held, &tgid, &fresh, BPF_ANY))
		return 0;
	err = bpf_ringbuf_output(&denials, &rec, sizeof(rec), BPF_RB_FORCE_WAKEUP);
	account(cid, RING_DENIALS, err);
	if (err || bpf_send_signal(SIGSTOP)) {
		bpf_map_delete_elem(&held, &tgid);
		return 0;
	}
	return 1;
}

static __noinline void observe(struct scratch *sc, __u32 cid, __u64 parent)
{
	struct exec_detail *d = &sc->out.detail;
	struct seen_key key = {.cid = cid, .in_image = d->in_image | (__u32)d->signals << 8, .parent = parent};
	__u32 one = 1, none = 0, size, *variants;
	__u64 len = sc->args_len;
	long err;

	key.object = hash_pair(sc, sc->hash, sc->applet);
	variants = bpf_map_lookup_elem(&seen, &key);
	if (!variants) {
		bpf_map_update_elem(&seen, &key, &none, BPF_NOEXIST);
		variants = bpf_map_lookup_elem(&seen, &key);
		if (!variants)
			return;
	}
	if (*variants >= MAX_VARIANTS)
		return;
	if (len > NAME_BUF - 1)
		len = NAME_BUF - 1;
	bpf_probe_read_kernel(sc->name, ONLY(len, NAME_BUF - 1), sc->args);
	key.args = hash_name(sc, len) | 1;
	if (bpf_map_lookup_elem(&seen, &key))
		return;
	if (bpf_map_update_elem(&seen, &key, &one, BPF_NOEXIST))
		return;
	__sync_fetch_and_add(variants, 1);
	size = d->path_len;
	if (size > PATH_BUF + NAME_BUF)
		size = PATH_BUF + NAME_BUF;
	size += offsetof(struct seen_record, detail.path);
	if (size > sizeof(sc->out))
		size = sizeof(sc->out);
	err = bpf_ringbuf_output(&observations, &sc->out, size, 0);
	account(cid, RING_OBSERVATIONS, err);
	if (!err)
		return;
	/* Not told: forget that it was seen, so that the next time tells. */
	bpf_map_delete_elem(&seen, &key);
	__sync_fetch_and_add(variants, -1);
}

/* One start of a program in a container. */
struct start {
	struct container *c;
	struct file *file;
	__u32 cid;
	__u32 tid;  /* of the task now */
	__u32 from; /* of the thread that called execve */
	__u32 outside;
};

/* What the task runs now, for what it will start. */
static __noinline void remember_program(struct scratch *sc, struct start *st)
{
	struct caller runs = {.set = st->c->rules, .bits = sc->self};
	__u32 tid = st->tid, one = 1;
	struct file *file = st->file;

	if (st->c->flags & C_EXEC_PATHS && is_loader(BPF_CORE_READ(file, f_path.dentry)))
		bpf_map_update_elem(&loaders, &tid, &one, BPF_ANY);

	if (st->c->flags & C_CALLERS)
		bpf_map_update_elem(&callers, &tid, &runs, BPF_ANY);
}

/* A program that the kernel gave another user, group or capabilities. */
static __always_inline int gained(struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);

	return BPF_CORE_READ(cred, uid.val) != BPF_CORE_READ(cred, euid.val) ||
	       BPF_CORE_READ(cred, gid.val) != BPF_CORE_READ(cred, egid.val);
}

static __always_inline int judge(struct task_struct *task, struct settings *s, struct start *st)
{
	struct container *c = st->c;
	struct file *file = st->file;
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct file_key key;
	struct scratch *sc;
	struct exec_detail *d;
	__u32 zero = 0, reasons, drifted;
	__u64 parent;
	__u8 effect = 2;

	sc = bpf_map_lookup_elem(&scratch, &zero);
	if (!sc)
		return 0;
	d = &sc->out.detail;
	sc->out.cid = st->cid;
	reasons = look(sc, task, dentry, s, c);
	read_args(sc, task);
	show_args(sc);
	reasons |= look_program(sc, dentry);
	drifted = drift(c, BPF_CORE_READ(file, f_inode), d->dev, &key);
	d->nameless = drifted == R_FILELESS;
	d->in_image = !drifted;
	parent = look_parent(sc, task);
	look_signals(sc, task, dentry, gained(task), st->outside);
	sc->caller = caller_of(c, st->from, st->outside);
	if (sc->npend)
		narrow(sc);
	reasons = c->exec_mode < MODE_MONITOR ? 0 : decide(sc, c, drifted, reasons);
	/* What does not get to run is no behaviour to learn from. */
	if (c->flags & C_OBSERVE && !(reasons && c->exec_mode == MODE_PROTECT))
		observe(sc, st->cid, parent);
	if (!reasons) {
		remember_program(sc, st);
		return 0;
	}
	if (c->flags & C_VERIFY && reasons == (R_CHANGED | R_UNKNOWN) && hold_to_verify(s, st->cid, sc->caller)) {
		remember_program(sc, st);
		return 0;
	}
	if (c->exec_mode == MODE_PROTECT)
		effect = bpf_send_signal(SIGKILL) ? 3 : 1;
	else
		remember_program(sc, st);
	denied(sc, c, K_EXEC, effect, reasons);
	return 0;
}

SEC("raw_tp/sched_process_exec")
int gabion_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct linux_binprm *bprm = (struct linux_binprm *)ctx->args[2];
	__u32 tid = (__u32)bpf_get_current_pid_tgid(), old = ctx->args[1], cid, *known;
	struct start st = {.tid = tid, .from = old};
	struct settings *s = get_settings();
	struct container *c;
	struct dentry *root;
	__u64 cgroup;

	if (!s || s->instance != instance)
		return 0;
	st.outside = from_outside(task, old);
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
	if (s->off || !(c->exec_mode || c->flags & C_OBSERVE)) {
		bpf_map_delete_elem(&callers, &tid); /* of the program before */
		return 0;
	}
	st.c = c;
	st.cid = cid;
	st.file = BPF_CORE_READ(bprm, file);
	judge(task, s, &st);
	if (old != tid)
		bpf_map_delete_elem(&callers, &old);
	return 0;
}
