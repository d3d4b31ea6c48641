// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What policy forbids fails with EPERM: the start of a program, and the
// mapping of code from a file that is not the image's (a library, or a program
// that the loader was asked to run).
//
// Every hook is written once and offered in two ways: as an LSM program, and
// as one that runs before security_*() and can answer for it (fmod_ret), for
// kernels whose LSM list lacks bpf. The agent attaches the first that refuses a
// canary. The exec tracepoint goes on judging what passes here, so what cannot
// be known yet (arguments that cannot be read) is left to it: a start that was
// refused never gets there, hence no start has two verdicts.
//
// These programs can be preempted: they judge in a slot (slots.h).
#include "process_judge.h"
#include "slots.h"

/* Set at load: which of the loads that are attached this one is. */
const volatile __u32 instance = 0;

char LICENSE[] SEC("license") = "GPL";

#define EPERM 1
#define PROT_READ 1
#define PROT_EXEC 4
#define VM_EXEC 4
#define READ_IMPLIES_EXEC 0x0400000
#define ELF_MAGIC 0x464c457f
#define SHOWN_ARGS 24

/* --------------------------------------------------------------- programs */

/* Where the arguments of the execve that the task is in are in its memory; 0
 * when the call is of another kind (32-bit). */
static __noinline __u64 argv_of_call(struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	if (bpf_core_field_exists(regs->orig_ax)) {
		switch (BPF_CORE_READ(regs, orig_ax)) {
		case 59:
			return BPF_CORE_READ(regs, si);
		case 322: /* execveat */
			return BPF_CORE_READ(regs, dx);
		}
	} else if (bpf_core_field_exists(((struct pt_regs___arm64 *)regs)->syscallno)) {
		switch (BPF_CORE_READ((struct pt_regs___arm64 *)regs, syscallno)) {
		case 221:
			return BPF_CORE_READ((struct pt_regs___arm64 *)regs, regs[1]);
		case 281: /* execveat */
			return BPF_CORE_READ((struct pt_regs___arm64 *)regs, regs[2]);
		}
	}
	return 0;
}

/* The arguments of the call, which the kernel has copied already: another
 * thread may change them now. The tracepoint judges what was copied. Arguments
 * of more than 255 bytes end what is read. */
static __noinline int read_call_args(struct scratch *sc, __u64 argv)
{
	__u64 arg = 0, at = 0;
	long n;
	__u32 i;

	for (i = 0; i < SHOWN_ARGS; i++) {
		if (bpf_probe_read_user(&arg, sizeof(arg), (void *)(argv + i * 8)))
			return 0;
		if (!arg)
			break;
		n = bpf_probe_read_user_str(sc->args + ONLY(at, ARGS_BUF - 1), NAME_BUF, (void *)arg);
		if (n <= 0 || n >= NAME_BUF) {
			if (i < 4)
				return 0;
			break;
		}
		at += n;
		if (at >= ARGS_BUF) {
			at = ARGS_BUF - 1;
			break;
		}
	}
	sc->args_cut = !!arg;
	sc->args_len = at;
	return at > 0;
}

/* A program in a format that the kernel runs itself: judged as the tracepoint
 * will, but before it happens. */
static __noinline int refuse_program(struct scratch *sc, struct task_struct *task, struct linux_binprm *bprm,
				     struct settings *s, struct container *c)
{
	struct file *file = BPF_CORE_READ(bprm, file);
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct exec_detail *d = &sc->out.detail;
	struct file_key key;
	__u32 reasons, drifted;
	__u64 argv;
	int own, outside;

	reasons = look(sc, task, dentry, s, c);
	argv = argv_of_call(task);
	own = argv && read_call_args(sc, argv);
	show_args(sc);
	/* An interpreter gets other arguments than those of the call. */
	if (BPF_CORE_READ(bprm, interp) != BPF_CORE_READ(bprm, filename))
		own = 0;
	if (!own && (sc->npend || is_multi(sc, dentry)))
		return 0;
	if (look_program(sc, dentry))
		return 0;
	drifted = drift(c, BPF_CORE_READ(dentry, d_inode), d->dev, &key);
	d->nameless = drifted == R_FILELESS;
	d->in_image = !drifted;
	look_parent(sc, task);
	outside = from_outside(task, bpf_get_current_pid_tgid());
	look_signals(sc, task, dentry, 0, outside);
	sc->caller = caller_of(c, bpf_get_current_pid_tgid(), outside);
	if (sc->npend)
		narrow(sc);
	reasons = decide(sc, c, drifted, reasons);
	if (!reasons)
		return 0;
	/* Not compared in this state: the tracepoint holds it for the agent. */
	if (c->flags & C_VERIFY && reasons == (R_CHANGED | R_UNKNOWN) && bpf_ktime_get_ns() - s->heartbeat < HOLD_ALIVE)
		return 0;
	denied(sc, c, K_REFUSED, 1, reasons);
	return -EPERM;
}

/* A file that need not be listed but must be the image's own. sc->i is what
 * separates it from the image. Returns whether it is refused. */
static __noinline int refuse_file(struct scratch *sc, struct task_struct *task, struct dentry *dentry,
				  struct settings *s, struct container *c)
{
	struct exec_detail *d = &sc->out.detail;
	__u32 drifted = sc->i;

	look(sc, task, dentry, s, c);
	if (sc->set)
		consult(sc, X_FILE, sc->hash, 0, H_ANY);
	if (drifted != R_FILELESS && sc->has & H_EXEMPT)
		return 0;
	look_parent(sc, task);
	d->nameless = drifted == R_FILELESS;
	d->in_image = 0;
	sc->rule = c->drift_rule;
	return 1;
}

static __noinline int refuse_script(struct scratch *sc, struct task_struct *task, struct linux_binprm *bprm,
				    struct settings *s, struct container *c)
{
	struct dentry *dentry = BPF_CORE_READ(bprm, file, f_path.dentry);
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	__u32 dev = BPF_CORE_READ(inode, i_sb, s_dev), drifted;
	struct file_key key;
	__u64 argv;

	if (!(c->flags & C_DENY_DRIFT))
		return 0;
	drifted = drift(c, inode, dev, &key);
	if (!drifted)
		return 0;
	/* In Monitor the agent has told of it already. */
	if (c->exec_mode == MODE_MONITOR && c->flags & C_SCRIPTS && dev == c->root_dev &&
	    bpf_ktime_get_ns() - s->heartbeat < HOLD_ALIVE)
		return 0;
	sc->i = drifted;
	if (!refuse_file(sc, task, dentry, s, c))
		return 0;
	argv = argv_of_call(task);
	if (argv)
		read_call_args(sc, argv);
	show_args(sc);
	denied(sc, c, K_REFUSED, c->exec_mode == MODE_PROTECT ? 1 : 2, drifted);
	return c->exec_mode == MODE_PROTECT ? -EPERM : 0;
}

/* The container of the current task, as gabion_exec of process.bpf.c finds it. */
static __always_inline struct container *container_of_exec(struct task_struct *task, __u32 *cid)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid(), *known;
	struct container *c;
	struct dentry *root;
	__u64 cgroup;

	*cid = lookup_task(tid);
	if (*cid)
		return bpf_map_lookup_elem(&containers, cid);
	cgroup = bpf_get_current_cgroup_id();
	known = bpf_map_lookup_elem(&cgroups, &cgroup);
	if (!known || *known == CID_NONE)
		return NULL;
	*cid = *known;
	c = bpf_map_lookup_elem(&containers, cid);
	if (!c)
		return NULL;
	root = BPF_CORE_READ(task, fs, root.dentry);
	if (BPF_CORE_READ(root, d_sb, s_dev) != c->root_dev)
		return NULL;
	if (c->root_ino ? BPF_CORE_READ(root, d_inode, i_ino) != c->root_ino :
			  BPF_CORE_READ(root, d_sb, s_root) != root)
		return NULL;
	return c;
}

static __always_inline int check_exec(struct linux_binprm *bprm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct settings *s = get_settings();
	struct container *c;
	struct slot *slot;
	__u32 cid, magic = 0;
	int err;

	if (!s || s->off || s->instance != instance)
		return 0;
	c = container_of_exec(task, &cid);
	if (!c || c->exec_mode < MODE_MONITOR)
		return 0;
	bpf_core_read(&magic, sizeof(magic), &bprm->buf);
	/* What the tracepoint sees it also counts, when nothing is to be stopped. */
	if (magic == ELF_MAGIC && c->exec_mode != MODE_PROTECT)
		return 0;
	slot = take_slot();
	if (!slot)
		return 0; /* the tracepoint needs none */
	slot->sc.out.cid = cid;
	if (magic == ELF_MAGIC)
		err = refuse_program(&slot->sc, task, bprm, s, c);
	else
		err = refuse_script(&slot->sc, task, bprm, s, c);
	give_slot(slot);
	return err ? -EPERM : 0;
}

SEC("lsm/bprm_check_security")
int BPF_PROG(exec_lsm, struct linux_binprm *bprm)
{
	return check_exec(bprm);
}

SEC("fmod_ret/security_bprm_check")
int BPF_PROG(exec_fmod, struct linux_binprm *bprm)
{
	return check_exec(bprm);
}

/* --------------------------------------------------------------- mappings */

/* The file of a mapping as the container knows it. A mapping of an overlay's
 * file names the real one; where that keeps the path it was opened by, it lies
 * behind the file, and nothing that has a name says so. Hence what is read
 * there counts only when it is a file of the container's own overlay. */
static __always_inline struct dentry *mapped_dentry(struct file *file, __u32 root_dev)
{
	struct backing_file *b = (struct backing_file *)file;
	struct dentry *d = BPF_CORE_READ(file, f_path.dentry), *user;

	if (!bpf_core_field_exists(b->user_path) || BPF_CORE_READ(d, d_sb, s_dev) == root_dev)
		return d;
	user = BPF_CORE_READ(b, user_path.dentry);
	if (BPF_CORE_READ(user, d_sb, s_magic) == OVERLAYFS_MAGIC && BPF_CORE_READ(user, d_sb, s_dev) == root_dev)
		return user;
	return d;
}

/* Stops the process before it can use what it mapped, for the agent to compare
 * the file with the image: a chmod of a library is enough to make it another
 * file. Returns 0 when nobody is there to do it. */
static __noinline int hold_mapping(struct scratch *sc, struct settings *s, struct file_key *key)
{
	struct held fresh = {.cid = sc->out.cid, .mapped = 1};
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct map_record *rec;

	fresh.time = bpf_ktime_get_ns();
	if (fresh.time - s->heartbeat >= HOLD_ALIVE)
		return 0;
	rec = bpf_ringbuf_reserve(&denials, sizeof(*rec), 0);
	if (!rec)
		return 0;
	rec->type = REC_MAPPED;
	rec->pid = tgid;
	rec->cid = sc->out.cid;
	rec->path_len = sc->path_len;
	rec->key = *key;
	bpf_probe_read_kernel(rec->path, sizeof(rec->path), sc->out.detail.path);
	if (bpf_map_update_elem(&held, &tgid, &fresh, BPF_ANY)) {
		bpf_ringbuf_discard(rec, BPF_RB_NO_WAKEUP);
		return 0;
	}
	if (bpf_send_signal(SIGSTOP)) {
		bpf_map_delete_elem(&held, &tgid);
		bpf_ringbuf_discard(rec, BPF_RB_NO_WAKEUP);
		return 0;
	}
	bpf_ringbuf_submit(rec, BPF_RB_FORCE_WAKEUP);
	return 1;
}

/* Whether the program that a task runs is taken out of drift control: it may
 * map code that has no file (a JIT compiler's memfd). */
static __noinline int exempt_program(struct scratch *sc, struct task_struct *task, struct file *exe,
				     struct settings *s, struct container *c)
{
	look(sc, task, BPF_CORE_READ(exe, f_path.dentry), s, c);
	if (!sc->set)
		return 0;
	consult(sc, X_FILE, sc->hash, 0, H_ANY);
	return sc->has & H_EXEMPT;
}

/* A file that a dynamic loader maps: the first is the program that it was asked
 * to run, and judged like one; libraries must only not be denied. What a start
 * would show (arguments, the starter, an applet) is the loader's here: a rule
 * that asks for it does not allow. Returns the reasons against it. */
static __noinline __u32 judge_loaded(struct scratch *sc, struct task_struct *task, struct dentry *dentry,
				     struct settings *s, struct container *c)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32, reasons, only = R_DENIED;

	if (bpf_map_lookup_elem(&loaders, &tgid)) {
		bpf_map_delete_elem(&loaders, &tgid);
		only = ~0;
	}
	reasons = look(sc, task, dentry, s, c);
	if (is_multi(sc, dentry))
		reasons |= R_UNKNOWN;
	if (sc->set)
		consult(sc, X_FILE, sc->hash, 0, H_ANY);
	look_parent(sc, task);
	if (sc->npend)
		narrow(sc);
	return decide(sc, c, 0, reasons) & only;
}

/* opened: file is what the task opened, not what a mapping names. */
static __noinline int check_mapping(struct file *file, int opened)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct settings *s = get_settings();
	struct exec_detail *d;
	struct container *c;
	struct dentry *dentry;
	struct file_key key;
	struct inode *inode;
	struct file *exe;
	struct slot *slot;
	__u32 cid, dev, drifted = 0, reasons = 0;
	int protect, loader, held = 0;

	if (!file || !s || s->off || s->instance != instance)
		return 0;
	cid = lookup_task((__u32)bpf_get_current_pid_tgid());
	if (!cid)
		return 0;
	c = bpf_map_lookup_elem(&containers, &cid);
	if (!c || c->exec_mode < MODE_MONITOR || !(c->flags & (C_DENY_DRIFT | C_EXEC_PATHS)))
		return 0;
	exe = BPF_CORE_READ(task, mm, exe_file);
	loader = c->flags & C_EXEC_PATHS && exe && is_loader(BPF_CORE_READ(exe, f_path.dentry));
	if (!loader && !(c->flags & C_DENY_DRIFT))
		return 0;
	dentry = opened ? BPF_CORE_READ(file, f_path.dentry) : mapped_dentry(file, c->root_dev);
	inode = BPF_CORE_READ(dentry, d_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	/* The program itself was judged when it was started. */
	if (exe && BPF_CORE_READ(exe, f_inode) == inode)
		return 0;
	dev = BPF_CORE_READ(inode, i_sb, s_dev);
	if (c->flags & C_DENY_DRIFT)
		drifted = drift(c, inode, dev, &key);
	if (!drifted && !loader)
		return 0;
	protect = c->exec_mode == MODE_PROTECT;
	slot = take_slot();
	if (!slot) {
		untold(cid);
		return protect ? -EPERM : 0;
	}
	d = &slot->sc.out.detail;
	slot->sc.out.cid = cid;
	if (drifted == R_FILELESS && exe && exempt_program(&slot->sc, task, exe, s, c))
		drifted = 0;
	slot->sc.i = drifted;
	if (drifted && refuse_file(&slot->sc, task, dentry, s, c)) {
		if (c->flags & C_VERIFY && drifted == (R_CHANGED | R_UNKNOWN))
			held = hold_mapping(&slot->sc, s, &key);
		if (!held)
			reasons = drifted;
	}
	if (!reasons && !held && loader)
		reasons = judge_loaded(&slot->sc, task, dentry, s, c);
	if (reasons) {
		read_args(&slot->sc, task);
		show_args(&slot->sc);
		/* Who maps it, in the place of the applet that a library has not. */
		if (exe)
			bpf_probe_read_kernel_str(d->applet, sizeof(d->applet), BPF_CORE_READ(exe, f_path.dentry, d_name.name));
		denied(&slot->sc, c, K_MAP, protect ? 1 : 2, reasons);
	}
	give_slot(slot);
	return reasons && protect ? -EPERM : 0;
}

SEC("lsm/mmap_file")
int BPF_PROG(map_lsm, struct file *file, unsigned long reqprot, unsigned long prot)
{
	return prot & PROT_EXEC && check_mapping(file, 1) ? -EPERM : 0;
}

/* Here prot is what was asked for: the kernel has not yet added to it what an
 * old personality implies. */
SEC("fmod_ret/security_mmap_file")
int BPF_PROG(map_fmod, struct file *file, unsigned long prot)
{
	struct task_struct *task;

	if (!(prot & PROT_EXEC)) {
		task = bpf_get_current_task_btf();
		if (!(prot & PROT_READ) || !(BPF_CORE_READ(task, personality) & READ_IMPLIES_EXEC))
			return 0;
	}
	return check_mapping(file, 1) ? -EPERM : 0;
}

static __always_inline int check_protect(struct vm_area_struct *vma, unsigned long prot)
{
	if (!(prot & PROT_EXEC) || BPF_CORE_READ(vma, vm_flags) & VM_EXEC)
		return 0;
	return check_mapping(BPF_CORE_READ(vma, vm_file), 0) ? -EPERM : 0;
}

SEC("lsm/file_mprotect")
int BPF_PROG(protect_lsm, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	return check_protect(vma, prot);
}

SEC("fmod_ret/security_file_mprotect")
int BPF_PROG(protect_fmod, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	return check_protect(vma, prot);
}
