// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What policy forbids to do with files fails with EPERM.
//
// As in lsm.bpf.c every hook is offered as an LSM program and as one that runs
// before security_*() and can answer for it (fmod_ret). Opening is what happens
// all the time: its verdicts are kept by who, what and where, in one look-up
// that is wrong only if 112 bits of a keyed hash are equal by chance. Whatever
// could change a verdict (another plan, a renamed directory) begins a new
// generation of them. All other hooks are rare, and judge anew.
#include "files_judge.h"

/* Set at load: which of the loads that are attached this one is. */
const volatile __u32 instance = 0;

char LICENSE[] SEC("license") = "GPL";

#define EPERM 1
#define PF_IO_WORKER 0x10
#define S_IFMT 0170000
#define S_IFDIR 0040000

#define FMODE_READ 1
#define FMODE_WRITE 2
#define FMODE_EXEC 0x20
#define FMODE_NOACCOUNT 0x20000000
#define O_APPEND 02000
#define O_TRUNC 01000
#define PROT_WRITE 2
#define PROT_EXEC 4
#define MAP_SHARED 1
#define MAP_TYPE 0xf
#define F_SETFL 4
#define ATTR_TIMES (1 << 7 | 1 << 8 | 1 << 17) /* set, not moved on by a change */

static __always_inline struct file_state *get_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&file_state, &zero);
}

/* The container of the task. Threads that io_uring makes are not made by
 * fork: they are their process's. */
static __always_inline __u32 cid_of(struct task_struct *task)
{
	__u32 tid = task->pid, *known = bpf_map_lookup_elem(&tasks, &tid);
	__u64 cgroup;

	if (known)
		return *known;
	if (!(task->flags & PF_IO_WORKER))
		return 0;
	tid = task->tgid;
	known = bpf_map_lookup_elem(&tasks, &tid);
	if (!known) {
		cgroup = bpf_get_current_cgroup_id();
		known = bpf_map_lookup_elem(&cgroups, &cgroup);
	}
	return known && *known != CID_NONE ? *known : 0;
}

static __always_inline struct settings *judging(void)
{
	struct settings *s = get_settings();

	return s && !s->off && s->instance == instance ? s : NULL;
}

static __always_inline struct file_plan *plan_of(__u32 cid)
{
	struct file_plan *plan = bpf_map_lookup_elem(&file_plans, &cid);

	return plan && (plan->mode || plan->flags) ? plan : NULL;
}

/* No slot was free: a verdict that policy has something to say about is a
 * denial that nobody could tell apart. */
static __always_inline int no_room(struct file_plan *plan, __u32 cid, __u32 access)
{
	if (plan->mode < MODE_MONITOR || !(access & plan->restricts))
		return 0;
	untold(cid);
	return plan->mode == MODE_PROTECT;
}

/* One name, one verdict. Returns whether it is refused. */
static __always_inline int ask(struct use *u, struct dentry *dentry)
{
	struct file_plan *plan = plan_of(u->cid);
	struct slot *f;
	int err;

	u->keep = 0;
	if (!plan)
		return 0;
	if (plan->flags & FP_CANARY)
		return 1;
	if (BPF_CORE_READ(dentry, d_sb, s_flags) & SB_NOUSER) {
		u->keep = A_ALL; /* pipes, sockets and the like have no place */
		return 0;
	}
	f = take_slot();
	if (!f)
		return no_room(plan, u->cid, u->access);
	err = judge_use(f, plan, u, dentry);
	give_slot(f);
	return err;
}

static __noinline int ask_open(struct use *u, struct dentry *dentry)
{
	return ask(u, dentry);
}

/* ------------------------------------------------------- verdicts kept */

/* The verifier lets nothing be done with a pointer but to take another from it. */
static __always_inline __u64 apart(const void *a, const void *b)
{
	__u64 x = (__u64)a;

	asm volatile("%0 -= %1" : "+r"(x) : "r"((__u64)b));
	return x;
}

struct mixed {
	__u64 h, g;
};

static __always_inline void mix(struct mixed *m, __u64 word)
{
	m->h = (m->h ^ word) * 0x9e3779b97f4a7c15ull;
	m->h ^= m->h >> 32;
	m->g = (m->g + word) * 0xc2b2ae3d27d4eb4full;
	m->g ^= m->g >> 29;
}

/* Opening a file, and what is asked as often. */
static __always_inline int check_open(struct file *file, __u32 access, struct settings *s)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file_state *state = get_state();
	struct dentry *dentry = file->f_path.dentry, *exe = task->mm->exe_file->f_path.dentry;
	struct super_block *sb = dentry->d_sb;
	struct mixed m = {.h = s->hash_key[0], .g = s->hash_key[1]};
	struct use u = {.access = access};
	struct file_kept *kept;
	__u64 mask;
	__u32 at;

	u.cid = cid_of(task);
	if (!u.cid || !state)
		return 0;
	u.generation = state->generation;
	mix(&m, apart(dentry, sb));
	mix(&m, apart(dentry->d_parent, sb));
	mix(&m, (__u64)dentry->d_name.hash << 32 | dentry->d_name.len);
	mix(&m, dentry->d_inode->i_ino);
	mix(&m, (__u64)sb->s_dev << 32 | u.cid);
	mix(&m, apart(exe, sb));
	mix(&m, apart(exe->d_sb, sb));
	mix(&m, (__u64)exe->d_name.hash << 32 | exe->d_name.len);
	mix(&m, exe->d_inode->i_ino);
	mix(&m, u.generation);
	at = m.g >> (64 - KEPT_BITS);
	m.g = m.g << 16;
	kept = bpf_map_lookup_elem(&file_kept, &at);
	if (!kept)
		return 0;
	mask = 0;
	if (kept->tag == m.h) {
		mask = kept->mask;
		if ((mask ^ m.g) >> 16)
			mask = 0;
		if (mask && !(access & ~mask & A_ALL))
			return 0;
	}
	if (ask_open(&u, dentry))
		return 1;
	u.keep |= mask & A_ALL;
	if (u.keep) {
		/* mask | 1 << 15: never 0. */
		kept->tag = 0;
		kept->mask = m.g | u.keep | 1 << 15;
		kept->tag = m.h;
	}
	return 0;
}

/* How a file is opened. */
static __always_inline __u32 access_of(struct file *file)
{
	__u32 mode = file->f_mode, flags = file->f_flags, access = 0;

	if (flags & FMODE_EXEC)
		return A_EXECUTE;
	if (mode & FMODE_READ)
		access |= A_READ;
	if (mode & FMODE_WRITE)
		access |= flags & O_APPEND && !(flags & O_TRUNC) ? A_APPEND : A_MODIFY;
	return access;
}

static __always_inline int opened(struct file *file)
{
	struct settings *s;

	/* An overlay opens its real file in the opener's name. */
	if (file->f_mode & FMODE_NOACCOUNT)
		return 0;
	s = judging();
	if (!s)
		return 0;
	return check_open(file, access_of(file), s);
}

SEC("lsm/file_open")
int BPF_PROG(file_open_lsm, struct file *file)
{
	return opened(file) ? -EPERM : 0;
}

SEC("fmod_ret/security_file_open")
int BPF_PROG(file_open_fmod, struct file *file)
{
	return opened(file) ? -EPERM : 0;
}

/* A descriptor that another process hands over. */
SEC("lsm/file_receive")
int BPF_PROG(file_receive_lsm, struct file *file)
{
	return opened(file) ? -EPERM : 0;
}

SEC("fmod_ret/security_file_receive")
int BPF_PROG(file_receive_fmod, struct file *file)
{
	return opened(file) ? -EPERM : 0;
}

/* ---------------------------------------------------------- rare hooks */

/* A use of one name by the current task. Returns whether it is refused. */
static __noinline int check_name(struct dentry *dentry, __u32 access)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file_state *state = get_state();
	struct use u = {.access = access};

	if (!dentry || !state || !judging())
		return 0;
	u.cid = cid_of(task);
	if (!u.cid)
		return 0;
	u.generation = state->generation;
	return ask(&u, dentry);
}

/* One name more, or another, for a file. */
static __noinline int check_move(struct dentry *from, struct dentry *to, __u32 access, __u32 over)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file_state *state = get_state();
	struct use u = {.access = access}, back = {.access = over};
	struct file_plan *plan;
	struct slot *f;
	int err;

	if (!state || !judging())
		return 0;
	u.cid = back.cid = cid_of(task);
	if (!u.cid)
		return 0;
	plan = plan_of(u.cid);
	if (!plan)
		return 0;
	if (plan->flags & FP_CANARY)
		return 1;
	u.generation = back.generation = state->generation;
	f = take_slot();
	if (!f)
		return no_room(plan, u.cid, access | over);
	err = judge_use(f, plan, &u, from);
	if (!err)
		err = judge_use(f, plan, &back, to);
	if (!err)
		err = judge_move(f, plan, &u, from, to);
	/* Two files that change places. */
	if (!err && over == A_RENAME)
		err = judge_move(f, plan, &back, to, from);
	give_slot(f);
	return err;
}

#define NAMED(hook, what, ...)                                                                     \
	SEC("lsm/path_" #hook)                                                                     \
	int BPF_PROG(hook##_lsm, const struct path *dir, struct dentry *dentry)                    \
	{                                                                                          \
		return check_name(dentry, what) ? -EPERM : 0;                                      \
	}                                                                                          \
	SEC("fmod_ret/security_path_" #hook)                                                       \
	int BPF_PROG(hook##_fmod, const struct path *dir, struct dentry *dentry)                   \
	{                                                                                          \
		return check_name(dentry, what) ? -EPERM : 0;                                      \
	}

NAMED(unlink, A_DELETE)
NAMED(rmdir, A_DELETE)
NAMED(mkdir, A_CREATE)
NAMED(mknod, A_CREATE)
NAMED(symlink, A_CREATE)

#define OF_PATH(hook, what)                                                                        \
	SEC("lsm/path_" #hook)                                                                     \
	int BPF_PROG(hook##_lsm, const struct path *path)                                          \
	{                                                                                          \
		return check_name(path->dentry, what) ? -EPERM : 0;                                \
	}                                                                                          \
	SEC("fmod_ret/security_path_" #hook)                                                       \
	int BPF_PROG(hook##_fmod, const struct path *path)                                         \
	{                                                                                          \
		return check_name(path->dentry, what) ? -EPERM : 0;                                \
	}

OF_PATH(truncate, A_MODIFY)
OF_PATH(chmod, A_CHMOD)
OF_PATH(chown, A_CHMOD)

/* Since 6.2 ftruncate asks by the file. */
SEC("lsm/file_truncate")
int BPF_PROG(ftruncate_lsm, struct file *file)
{
	return check_name(file->f_path.dentry, A_MODIFY) ? -EPERM : 0;
}

SEC("fmod_ret/security_file_truncate")
int BPF_PROG(ftruncate_fmod, struct file *file)
{
	return check_name(file->f_path.dentry, A_MODIFY) ? -EPERM : 0;
}

/* The same arguments in both kinds of hook. */
#define ATTRIBUTE(hook)                                                                            \
	SEC("lsm/inode_" #hook)                                                                    \
	int BPF_PROG(hook##_lsm, void *idmap, struct dentry *dentry)                               \
	{                                                                                          \
		return check_name(dentry, A_CHMOD) ? -EPERM : 0;                                   \
	}                                                                                          \
	SEC("fmod_ret/security_inode_" #hook)                                                      \
	int BPF_PROG(hook##_fmod, void *idmap, struct dentry *dentry)                              \
	{                                                                                          \
		return check_name(dentry, A_CHMOD) ? -EPERM : 0;                                   \
	}

ATTRIBUTE(setxattr)
ATTRIBUTE(removexattr)
ATTRIBUTE(set_acl)
ATTRIBUTE(remove_acl)

static __always_inline int check_times(struct dentry *dentry, struct iattr *attr)
{
	return BPF_CORE_READ(attr, ia_valid) & ATTR_TIMES && check_name(dentry, A_CHMOD);
}

SEC("lsm/inode_setattr")
int BPF_PROG(times_lsm, void *idmap, struct dentry *dentry, struct iattr *attr)
{
	return check_times(dentry, attr) ? -EPERM : 0;
}

/* Before 6.3 the LSM hook has one argument less. */
SEC("lsm/inode_setattr")
int BPF_PROG(times_lsm_old, struct dentry *dentry, struct iattr *attr)
{
	return check_times(dentry, attr) ? -EPERM : 0;
}

SEC("fmod_ret/security_inode_setattr")
int BPF_PROG(times_fmod, void *idmap, struct dentry *dentry, struct iattr *attr)
{
	return check_times(dentry, attr) ? -EPERM : 0;
}

SEC("lsm/path_link")
int BPF_PROG(link_lsm, struct dentry *from, const struct path *dir, struct dentry *to)
{
	return check_move(from, to, A_LINK, A_CREATE) ? -EPERM : 0;
}

SEC("fmod_ret/security_path_link")
int BPF_PROG(link_fmod, struct dentry *from, const struct path *dir, struct dentry *to)
{
	return check_move(from, to, A_LINK, A_CREATE) ? -EPERM : 0;
}

static __always_inline int check_rename(struct dentry *from, struct dentry *to)
{
	return check_move(from, to, A_RENAME, to->d_inode ? A_RENAME : A_CREATE);
}

SEC("lsm/path_rename")
int BPF_PROG(rename_lsm, const struct path *from_dir, struct dentry *from, const struct path *to_dir, struct dentry *to)
{
	return check_rename(from, to) ? -EPERM : 0;
}

SEC("fmod_ret/security_path_rename")
int BPF_PROG(rename_fmod, const struct path *from_dir, struct dentry *from, const struct path *to_dir,
	     struct dentry *to)
{
	return check_rename(from, to) ? -EPERM : 0;
}

/* A file opened for appending stays so. */
static __always_inline int check_flags(struct file *file, unsigned int cmd, unsigned long arg)
{
	if (cmd != F_SETFL || arg & O_APPEND || !(file->f_flags & O_APPEND) || !(file->f_mode & FMODE_WRITE))
		return 0;
	return check_name(file->f_path.dentry, A_MODIFY);
}

SEC("lsm/file_fcntl")
int BPF_PROG(fcntl_lsm, struct file *file, unsigned int cmd, unsigned long arg)
{
	return check_flags(file, cmd, arg) ? -EPERM : 0;
}

SEC("fmod_ret/security_file_fcntl")
int BPF_PROG(fcntl_fmod, struct file *file, unsigned int cmd, unsigned long arg)
{
	return check_flags(file, cmd, arg) ? -EPERM : 0;
}

/* Mapping is executing, where it is code, and changing, where it is shared and
 * the file was opened for appending. */
static __always_inline int check_map(struct file *file, unsigned long prot, unsigned long flags)
{
	struct settings *s;
	__u32 access = 0;

	if (!file)
		return 0;
	if (prot & PROT_EXEC)
		access |= A_EXECUTE;
	if (prot & PROT_WRITE && (flags & MAP_TYPE) != 2 && file->f_flags & O_APPEND)
		access |= A_MODIFY;
	if (!access)
		return 0;
	s = judging();
	return s && check_open(file, access, s);
}

SEC("lsm/mmap_file")
int BPF_PROG(map_lsm, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
{
	return check_map(file, prot, flags) ? -EPERM : 0;
}

SEC("fmod_ret/security_mmap_file")
int BPF_PROG(map_fmod, struct file *file, unsigned long prot, unsigned long flags)
{
	return check_map(file, prot, flags) ? -EPERM : 0;
}

/* ------------------------------------------------------------ generations */

static __always_inline void renamed(struct dentry *dentry)
{
	struct file_state *state;
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	if (!inode || (BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFDIR)
		return;
	state = get_state();
	if (state)
		__sync_fetch_and_add(&state->generation, 1);
}

/* All below a renamed directory is at another place now, whoever renamed it. */
SEC("fexit/vfs_rename")
int BPF_PROG(renamed_dir, struct renamedata *rd)
{
	renamed(rd->old_dentry);
	if (rd->new_dentry)
		renamed(rd->new_dentry);
	return 0;
}
