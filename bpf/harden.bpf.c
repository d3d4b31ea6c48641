// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// The ways out of containers, and capabilities: what a container's hardening
// forbids fails with EPERM. Every hook is written once and offered as an LSM
// program and as one that runs before security_*() and can answer for it.
//
// A task that is in no container costs one look-up. What several calls share a
// hook for is told apart by the system call that the task is in.
#include "harden_judge.h"

/* Set at load: which of the loads that are attached this one is. */
const volatile __u32 instance = 0;

char LICENSE[] SEC("license") = "GPL";

#define EPERM 1
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define S_IFBLK 0060000
#define S_IFCHR 0020000
#define S_ISUIDGID 06000
#define FMODE_WRITE 2
#define FMODE_INTERNAL 0x20000000 /* opened by a file system for itself */
#define O_TMPFILE_BIT 020000000
#define PROT_WRITE 2
#define PROT_EXEC 4
#define VM_WRITE 2
#define VM_EXEC 4
#define VM_SHARED 8
#define MAP_SHARED_ANY 3 /* MAP_SHARED, MAP_SHARED_VALIDATE */
#define CAP_DAC_READ_SEARCH 2
#define CAP_SYS_ADMIN 21
#define CAP_OPT_NOAUDIT 2
#define PTRACE_MODE_ATTACH 2
#define PTRACE_MODE_NOAUDIT 4
#define BPF_OBJ_FD_OF_LINK 30
#define TS_COMPAT 2

/* Names by which runtimes' sockets were bound: the last part. */
struct socket_name {
	char text[32];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct socket_name);
	__type(value, __u32);
} sockets SEC(".maps");

/* What is refused whatever the policy: kernel objects of Gabion's own. Key: an
 * enum own and a number. */
enum own { OWN_MAP = 1, OWN_PROG = 2, OWN_PIN_DIR = 3 /* inode number */ };
struct own_key {
	__u32 kind;
	__u32 id;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct own_key);
	__type(value, __u32);
} own SEC(".maps");

/* The hardening of the current task's container, if this load judges. */
static __always_inline struct harden *mine(__u32 *cid)
{
	struct settings *s;

	*cid = own_cid();
	if (!*cid)
		return NULL;
	s = get_settings();
	if (!s || s->off || s->instance != instance)
		return NULL;
	return bpf_map_lookup_elem(&hardening, cid);
}

static __always_inline int on(struct harden *h, __u32 sw)
{
	return h && h->mode && h->deny & 1u << sw;
}

/* Judges a use of a switch, and gives the answer. */
static __noinline int refuse(struct harden *h, __u32 cid, __u32 sw, struct dentry *subject, struct dentry *about)
{
	struct use use = {.cid = cid, .kind = K_HARDEN, .what = sw, .mode = h->mode, .subject = subject, .about = about};

	if (sw >= MAX_SWITCHES)
		return 0;
	use.rule = h->rule[sw];
	if (sw == SW_AGENT)
		use.mode = MODE_PROTECT;
	return judge_use(&use) ? -EPERM : 0;
}

static __noinline int check(__u32 sw, struct dentry *subject, struct dentry *about)
{
	struct harden *h;
	__u32 cid;

	h = mine(&cid);
	if (!on(h, sw))
		return 0;
	return refuse(h, cid, sw, subject, about);
}

#define BOTH(id, hook, func, call, ...)                                                            \
	SEC("lsm/" hook) int BPF_PROG(id##_lsm, ##__VA_ARGS__) { return (call) ? -EPERM : 0; }     \
	SEC("fmod_ret/" func) int BPF_PROG(id##_fmod, ##__VA_ARGS__) { return (call) ? -EPERM : 0; }

/* ------------------------------------------------------------ system calls */

enum call { CALL_OTHER, CALL_MOUNT, CALL_NAMESPACES, CALL_HANDLE, CALL_KEYS };

static __always_inline int call_native(__u32 nr)
{
	switch (nr) {
	case 155: /* pivot_root */
	case 165: /* mount */
	case 166: /* umount2 */
	case 428 ... 433: /* open_tree, move_mount, fsopen, fsconfig, fsmount, fspick */
	case 442: /* mount_setattr */
	case 467: /* open_tree_attr */
		return CALL_MOUNT;
	case 56:  /* clone */
	case 272: /* unshare */
	case 308: /* setns */
	case 435: /* clone3 */
		return CALL_NAMESPACES;
	case 304: /* open_by_handle_at */
		return CALL_HANDLE;
	case 248 ... 250: /* add_key, request_key, keyctl */
		return CALL_KEYS;
	}
	return CALL_OTHER;
}

static __always_inline int call_32(__u32 nr)
{
	switch (nr) {
	case 21:  /* mount */
	case 22:  /* umount */
	case 52:  /* umount2 */
	case 217: /* pivot_root */
	case 428 ... 433:
	case 442:
	case 467:
		return CALL_MOUNT;
	case 120: /* clone */
	case 310: /* unshare */
	case 346: /* setns */
	case 435: /* clone3 */
		return CALL_NAMESPACES;
	case 342: /* open_by_handle_at */
		return CALL_HANDLE;
	case 286 ... 288: /* add_key, request_key, keyctl */
		return CALL_KEYS;
	}
	return CALL_OTHER;
}

static __always_inline int call_arm64(__u32 nr)
{
	switch (nr) {
	case 39: /* umount2 */
	case 40: /* mount */
	case 41: /* pivot_root */
	case 428 ... 433:
	case 442:
	case 467:
		return CALL_MOUNT;
	case 97:  /* unshare */
	case 220: /* clone */
	case 268: /* setns */
	case 435: /* clone3 */
		return CALL_NAMESPACES;
	case 265: /* open_by_handle_at */
		return CALL_HANDLE;
	case 217 ... 219: /* add_key, request_key, keyctl */
		return CALL_KEYS;
	}
	return CALL_OTHER;
}

/* The kind of system call that the task is in. */
static __noinline int what_call(struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct task_struct___h *t = (void *)task;
	__u32 nr;

	if (bpf_core_field_exists(regs->orig_ax)) {
		nr = BPF_CORE_READ(regs, orig_ax) & ~0x40000000u; /* x32 has the same numbers */
		if (bpf_core_field_exists(t->thread_info.status) && BPF_CORE_READ(t, thread_info.status) & TS_COMPAT)
			return call_32(nr);
		return call_native(nr);
	}
	if (bpf_core_field_exists(((struct pt_regs___arm64 *)regs)->syscallno))
		return call_arm64(BPF_CORE_READ((struct pt_regs___arm64 *)regs, syscallno));
	return CALL_OTHER;
}

/* ------------------------------------------------------------ capabilities */

/* Whether the kernel would say no by itself, as cap_capable() does. */
static __noinline int has_not(const struct cred___h *cred, struct user_namespace *ns, int cap)
{
	struct user_namespace *own_ns = BPF_CORE_READ(cred, user_ns);
	__u64 effective = 0;

	if (cap < 0 || cap > 63)
		return 0;
	bpf_core_read(&effective, sizeof(effective), &cred->cap_effective);
	if (ns == own_ns)
		return !(effective >> (cap & 63) & 1);
	return BPF_CORE_READ(ns, level) <= BPF_CORE_READ(own_ns, level);
}

static __noinline int refuse_cap(struct harden *h, __u32 cid, __u32 cap)
{
	struct use use = {.cid = cid, .kind = K_CAP, .what = cap & 63, .mode = h->cap_mode, .rule = h->cap_rule};

	return judge_use(&use);
}

static __noinline int check_capable(const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct harden *h;
	__u32 cid, sw;
	int call;

	h = mine(&cid);
	if (!h)
		return 0;
	/* Credentials that are not the task's own are a file system's, which does
	 * what it must to do what was permitted. */
	if ((void *)cred != (void *)BPF_CORE_READ((struct task_struct___h *)task, real_cred))
		return 0;
	if (has_not((const struct cred___h *)cred, ns, cap))
		return 0;
	if (h->mode && (cap == CAP_SYS_ADMIN || cap == CAP_DAC_READ_SEARCH)) {
		call = what_call(task);
		sw = call == CALL_MOUNT	     ? SW_MOUNT :
		     call == CALL_NAMESPACES ? SW_NAMESPACES :
		     call == CALL_HANDLE     ? SW_HANDLE_OPEN :
					       MAX_SWITCHES;
		if (sw < MAX_SWITCHES && on(h, sw) && refuse(h, cid, sw, NULL, NULL))
			return -EPERM;
	}
	if (!h->cap_mode || (cap >= 0 && cap < 64 && h->cap_allow >> (cap & 63) & 1))
		return 0;
	if (!(opts & CAP_OPT_NOAUDIT))
		refuse_cap(h, cid, cap);
	return h->cap_mode == MODE_PROTECT ? -EPERM : 0;
}

BOTH(capable, "capable", "security_capable", check_capable(cred, ns, cap, opts), const struct cred *cred,
     struct user_namespace *ns, int cap, unsigned int opts)

/* ------------------------------------------- mounts, namespaces, privileged */

static __noinline int check_userns(void)
{
	struct harden *h;
	__u32 cid;

	h = mine(&cid);
	if (on(h, SW_USER_NAMESPACES))
		return refuse(h, cid, SW_USER_NAMESPACES, NULL, NULL);
	return on(h, SW_NAMESPACES) ? refuse(h, cid, SW_NAMESPACES, NULL, NULL) : 0;
}

BOTH(mount, "sb_mount", "security_sb_mount", check(SW_MOUNT, NULL, NULL))
BOTH(umount, "sb_umount", "security_sb_umount", check(SW_MOUNT, NULL, NULL))
BOTH(pivot, "sb_pivotroot", "security_sb_pivotroot", check(SW_MOUNT, NULL, NULL))
BOTH(move, "move_mount", "security_move_mount", check(SW_MOUNT, NULL, NULL))
BOTH(userns, "userns_create", "security_create_user_ns", check_userns())
BOTH(perf, "perf_event_open", "security_perf_event_open", check(SW_PERF, NULL, NULL))
BOTH(chroot, "path_chroot", "security_path_chroot", check(SW_CHROOT, NULL, NULL))
BOTH(module, "kernel_module_request", "security_kernel_module_request", check(SW_MODULES, NULL, NULL))

/* Asking for the size of the log, or unread part of it, tells nothing. */
BOTH(syslog, "syslog", "security_syslog", type != 9 && type != 10 && check(SW_KERNEL_LOG, NULL, NULL), int type)

/* enum kernel_read_file_id and kernel_load_data_id: 2 module, 3 kexec image, 4 kexec initramfs */
static __always_inline int check_code(int id)
{
	if (id == 2)
		return check(SW_MODULES, NULL, NULL);
	if (id == 3 || id == 4)
		return check(SW_KEXEC, NULL, NULL);
	return 0;
}

BOTH(readcode, "kernel_read_file", "security_kernel_read_file", check_code(id), struct file *file, int id)
BOTH(loadcode, "kernel_load_data", "security_kernel_load_data", check_code(id), int id)

/* Keys that the kernel uses for itself are not meant. */
static __noinline int check_keys(void)
{
	struct harden *h;
	__u32 cid;

	h = mine(&cid);
	if (!on(h, SW_KEYS) || what_call((struct task_struct *)bpf_get_current_task_btf()) != CALL_KEYS)
		return 0;
	return refuse(h, cid, SW_KEYS, NULL, NULL);
}

BOTH(keyalloc, "key_alloc", "security_key_alloc", check_keys())
BOTH(keyuse, "key_permission", "security_key_permission", check_keys())

/* -------------------------------------------------------- other processes */

static __always_inline int is_agent(struct task_struct *target)
{
	struct settings *s = get_settings();

	return s && s->agent_tgid && BPF_CORE_READ(target, tgid) == s->agent_tgid;
}

static __noinline int check_ptrace(struct task_struct *child, unsigned int mode)
{
	struct harden *h;
	__u32 cid, sw;

	if (!(mode & PTRACE_MODE_ATTACH))
		return 0;
	h = mine(&cid);
	if (!h)
		return 0;
	if (is_agent(child))
		sw = SW_AGENT;
	else if (on(h, SW_PTRACE))
		sw = SW_PTRACE;
	else if (on(h, SW_PROCESS_READ))
		sw = SW_PROCESS_READ;
	else
		return 0;
	if (mode & PTRACE_MODE_NOAUDIT)
		return h->mode == MODE_PROTECT || sw == SW_AGENT ? -EPERM : 0;
	return refuse(h, cid, sw, NULL, NULL);
}

BOTH(ptrace, "ptrace_access_check", "security_ptrace_access_check", check_ptrace(child, mode),
     struct task_struct *child, unsigned int mode)
BOTH(traceme, "ptrace_traceme", "security_ptrace_traceme", check(SW_PTRACE, NULL, NULL))

static __noinline int check_kill(struct task_struct *target, int sig)
{
	struct harden *h;
	__u32 cid;

	h = mine(&cid);
	if (!h || !sig || !is_agent(target))
		return 0;
	return refuse(h, cid, SW_AGENT, NULL, NULL);
}

BOTH(kill, "task_kill", "security_task_kill", check_kill(p, sig), struct task_struct *p, void *info, int sig)

/* -------------------------------------------------------------------- bpf */

/* enum bpf_cmd: a link of anyone, found by its number, can be taken off. */
static __noinline int check_bpf(int cmd)
{
	struct harden *h;
	__u32 cid;

	h = mine(&cid);
	if (on(h, SW_BPF))
		return refuse(h, cid, SW_BPF, NULL, NULL);
	if (h && cmd == BPF_OBJ_FD_OF_LINK)
		return refuse(h, cid, SW_AGENT, NULL, NULL);
	return 0;
}

BOTH(bpf, "bpf", "security_bpf", check_bpf(cmd), int cmd)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct bpf_map {
	u32 id;
};
struct bpf_prog_aux {
	u32 id;
};
struct bpf_prog {
	struct bpf_prog_aux *aux;
};
#pragma clang attribute pop

static __noinline int check_own(__u32 kind, __u32 id)
{
	struct own_key key = {.kind = kind, .id = id};
	struct harden *h;
	__u32 cid;

	h = mine(&cid);
	if (!h || !bpf_map_lookup_elem(&own, &key))
		return 0;
	return refuse(h, cid, SW_AGENT, NULL, NULL);
}

BOTH(bpfmap, "bpf_map", "security_bpf_map", check_own(OWN_MAP, BPF_CORE_READ(map, id)), struct bpf_map *map)
BOTH(bpfprog, "bpf_prog", "security_bpf_prog", check_own(OWN_PROG, BPF_CORE_READ(prog, aux, id)), struct bpf_prog *prog)

/* A pin that goes away ends what it holds. */
static __noinline int check_pin(struct dentry *dentry)
{
	struct dentry *d = dentry;
	__u32 i;

	if (BPF_CORE_READ(dentry, d_sb, s_magic) != 0xcafe4a11)
		return 0;
	for (i = 0; i < 5; i++) {
		d = BPF_CORE_READ(d, d_parent);
		if (check_own(OWN_PIN_DIR, (__u32)BPF_CORE_READ(d, d_inode, i_ino)))
			return -EPERM;
	}
	return 0;
}

BOTH(unpin, "inode_unlink", "security_inode_unlink", check_pin(dentry), struct inode *dir, struct dentry *dentry)
BOTH(repin, "inode_rename", "security_inode_rename", check_pin(dentry), struct inode *dir, struct dentry *dentry)

/* ------------------------------------------------- io_uring, userfaultfd */

static __noinline int check_anon(const struct qstr *name)
{
	__u64 w = 0;
	__u32 sw;

	bpf_probe_read_kernel(&w, sizeof(w), BPF_CORE_READ(name, name));
	if (w == W('[', 'i', 'o', '_', 'u', 'r', 'i', 'n'))
		sw = SW_IO_URING;
	else if (w == W('[', 'u', 's', 'e', 'r', 'f', 'a', 'u'))
		sw = SW_USERFAULTFD;
	else
		return 0;
	return check(sw, NULL, NULL);
}

BOTH(anon, "inode_init_security_anon", "security_inode_init_security_anon", check_anon(name), struct inode *inode,
     const struct qstr *name)

/* ---------------------------------------------------------------- sockets */

static __noinline int check_socket(int family, int type, int protocol, int kern)
{
	if (kern)
		return 0;
	if (family == AF_PACKET || family == AF_XDP || (type == SOCK_RAW && (family == AF_INET || family == AF_INET6)))
		return check(SW_RAW_SOCKETS, NULL, NULL);
	switch (family) {
	case AF_UNSPEC:
	case AF_UNIX:
	case AF_INET:
	case AF_INET6:
		return 0;
	case AF_NETLINK: /* routes, sockets, audit, devices, generic */
		if (protocol == 0 || protocol == 4 || protocol == 9 || protocol == 15 || protocol == 16)
			return 0;
	}
	return check(SW_SOCKET_FAMILIES, NULL, NULL);
}

BOTH(socket, "socket_create", "security_socket_create", check_socket(family, type, protocol, kern), int family, int type,
     int protocol, int kern)

struct bound {
	char path[128];
	struct socket_name name;
	__u32 len;
	__u32 base;
};

static long base_step(__u32 i, struct bound **ctx)
{
	struct bound *b = *ctx;

	if (i >= b->len || i >= 127)
		return 1;
	if (b->path[ONLY(i, 127)] == '/')
		b->base = i + 1;
	return 0;
}

/* Whether the socket was bound by a name that a runtime's would have, by
 * someone outside the container. */
static __noinline int is_runtime(struct sock *other, __u32 cid)
{
	struct unix_address *addr = BPF_CORE_READ((struct unix_sock *)other, addr);
	struct bound b = {}, *p = &b;
	__u32 len, server, *known;

	if (!addr)
		return 0;
	len = BPF_CORE_READ(addr, len);
	if (len < 4 || len > 110)
		return 0;
	server = BPF_CORE_READ((struct sock___h *)other, sk_peer_pid, numbers[0].nr);
	known = bpf_map_lookup_elem(&tasks, &server);
	if (known && *known == cid)
		return 0;
	len -= 2; /* sun_family */
	bpf_probe_read_kernel(b.path, ONLY(len, 127), addr->name + 2);
	b.len = len;
	bpf_loop(110, base_step, &p, 0);
	len = b.len - b.base;
	if (len >= sizeof(b.name.text))
		return 0;
	/* A name ends with a zero, an abstract one with its length. */
	bpf_probe_read_kernel(b.name.text, ONLY(len, sizeof(b.name.text) - 1), b.path + ONLY(b.base, 127));
	return bpf_map_lookup_elem(&sockets, &b.name) != NULL;
}

static __noinline int check_unix(struct sock *other)
{
	struct harden *h;
	__u32 cid;

	h = mine(&cid);
	if (!on(h, SW_RUNTIME_SOCKETS) || !is_runtime(other, cid))
		return 0;
	return refuse(h, cid, SW_RUNTIME_SOCKETS, NULL, NULL);
}

BOTH(unixconn, "unix_stream_connect", "security_unix_stream_connect", check_unix(other), struct sock *sock,
     struct sock *other)
BOTH(unixsend, "unix_may_send", "security_unix_may_send", check_unix(BPF_CORE_READ(other, sk)), struct socket *sock,
     struct socket *other)

/* ------------------------------------------------------------------ files */

static __noinline int is_interface(struct dentry *dentry, __u64 magic)
{
	struct dentry *d = dentry, *up, *top;
	const unsigned char *name;
	__u32 i;
	char c;

	switch (magic) {
	case 0x62656572: /* sysfs */
	case 0x27e0eb:	 /* cgroup */
	case 0x63677270: /* cgroup2 */
	case 0x64626720: /* debugfs */
	case 0x74726163: /* tracefs */
	case 0x73636673: /* securityfs */
	case 0xcafe4a11: /* bpf */
	case 0x62656570: /* configfs */
	case 0x6165676c: /* pstore */
	case 0xde5e81e4: /* efivarfs */
	case 0x42494e4d: /* binfmt_misc */
	case 0xf97cff8c: /* selinux */
	case 0x65735543: /* fusectl */
	case 0x7655821:	 /* resctrl */
		return 1;
	case 0x9fa0: /* proc */
		break;
	default:
		return 0;
	}
	/* What lies below a process's directory is that process's own. */
	top = d;
	for (i = 0; i < 16; i++) {
		up = BPF_CORE_READ(d, d_parent);
		if (!up || up == d)
			break;
		top = d;
		d = up;
	}
	name = BPF_CORE_READ(top, d_name.name);
	c = 0;
	bpf_probe_read_kernel(&c, 1, name);
	return c < '0' || c > '9';
}

/* A file of /proc that holds another process's memory or environment. */
static __noinline int is_secret(struct inode *inode, struct dentry *dentry)
{
	struct proc_inode *pi;
	struct hlist_node___h *first;
	struct task_struct *task;
	struct pid *pid;
	__u64 w = 0;

	bpf_probe_read_kernel(&w, sizeof(w), BPF_CORE_READ(dentry, d_name.name));
	if (w != W('e', 'n', 'v', 'i', 'r', 'o', 'n', 0) && w != W('p', 'a', 'g', 'e', 'm', 'a', 'p', 0) &&
	    (w & 0xffffffff) != W('m', 'e', 'm', 0, 0, 0, 0, 0) && (w & 0xffffffffff) != W('m', 'a', 'p', 's', 0, 0, 0, 0) &&
	    (w & 0xffffffffff) != W('a', 'u', 'x', 'v', 0, 0, 0, 0) && (w & 0xffffffffff) != W('s', 'm', 'a', 'p', 's', 0, 0, 0) &&
	    w != W('m', 'a', 'p', '_', 'f', 'i', 'l', 'e'))
		return 0;
	if (!bpf_core_type_exists(struct proc_inode))
		return 0;
	pi = (void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);
	pid = BPF_CORE_READ(pi, pid);
	if (!pid)
		return 0;
	first = BPF_CORE_READ((struct pid___h *)pid, tasks[0].first);
	if (!first)
		return 0;
	task = (void *)first - bpf_core_field_offset(struct task_struct___h, pid_links[0]);
	return BPF_CORE_READ(task, tgid) != bpf_get_current_pid_tgid() >> 32;
}

static __always_inline int is_kernel_memory(__u32 rdev)
{
	__u32 major = rdev >> 20, minor = rdev & 0xfffff;

	/* mem, kmem, port; SCSI generic; loop-control and mapper; msr */
	return (major == 1 && (minor == 1 || minor == 2 || minor == 4)) || major == 21 ||
	       (major == 10 && (minor == 236 || minor == 237)) || major == 202;
}

static __noinline int which_file(struct harden *h, struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	__u32 mode = BPF_CORE_READ(inode, i_mode), type = mode & S_IFMT;
	struct settings *s = get_settings();
	struct task_struct *task;
	struct mount *mnt;
	__u64 magic, w = 0;

	if (on(h, SW_DEVICES) &&
	    (type == S_IFBLK || (type == S_IFCHR && is_kernel_memory(BPF_CORE_READ((struct inode___h *)inode, i_rdev)))))
		return SW_DEVICES;
	if (type != S_IFREG && type != S_IFDIR)
		return MAX_SWITCHES;
	magic = BPF_CORE_READ(inode, i_sb, s_magic);
	if (on(h, SW_KERNEL_INTERFACES) && BPF_CORE_READ(file, f_mode) & FMODE_WRITE && is_interface(dentry, magic))
		return SW_KERNEL_INTERFACES;
	if (magic == 0x9fa0) {
		if (on(h, SW_PROCESS_READ) && is_secret(inode, dentry))
			return SW_PROCESS_READ;
		bpf_probe_read_kernel(&w, sizeof(w), BPF_CORE_READ(dentry, d_name.name));
		if (on(h, SW_DEVICES) && (w & FIRST6) == W('k', 'c', 'o', 'r', 'e', 0, 0, 0))
			return SW_DEVICES;
	}
	if (on(h, SW_SETUID_FILES) && type == S_IFREG && mode & S_ISUIDGID && BPF_CORE_READ(file, f_flags) & O_TMPFILE_BIT &&
	    !BPF_CORE_READ(inode, i_nlink))
		return SW_SETUID_FILES;
	if (on(h, SW_FOREIGN_FILES) && s) {
		task = (struct task_struct *)bpf_get_current_task();
		mnt = (void *)BPF_CORE_READ(file, f_path.mnt) - bpf_core_field_offset(struct mount, mnt);
		if (BPF_CORE_READ((struct mount___h *)mnt, mnt_ns, ns.inum) == s->init_mntns &&
		    BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum) != s->init_mntns)
			return SW_FOREIGN_FILES;
	}
	return MAX_SWITCHES;
}

#define FILE_SWITCHES                                                                              \
	(1u << SW_DEVICES | 1u << SW_KERNEL_INTERFACES | 1u << SW_PROCESS_READ | 1u << SW_SETUID_FILES |   \
	 1u << SW_FOREIGN_FILES)

static __noinline int check_open(struct file *file)
{
	struct harden *h;
	__u32 cid, sw;

	h = mine(&cid);
	if (!h || !h->mode || !(h->deny & FILE_SWITCHES) || BPF_CORE_READ(file, f_mode) & FMODE_INTERNAL)
		return 0;
	sw = which_file(h, file);
	if (sw >= MAX_SWITCHES)
		return 0;
	return refuse(h, cid, sw, NULL, BPF_CORE_READ(file, f_path.dentry));
}

BOTH(open, "file_open", "security_file_open", check_open(file), struct file *file)

static __noinline int check_mknod(struct dentry *dentry, unsigned short mode, unsigned int dev)
{
	__u32 type = mode & S_IFMT;

	if (type == S_IFBLK || (type == S_IFCHR && dev))
		return check(SW_DEVICES, NULL, dentry);
	if ((type == S_IFREG || !type) && mode & S_ISUIDGID)
		return check(SW_SETUID_FILES, NULL, dentry);
	return 0;
}

BOTH(mknod, "path_mknod", "security_path_mknod", check_mknod(dentry, mode, dev), const struct path *dir,
     struct dentry *dentry, unsigned short mode, unsigned int dev)

static __noinline int check_chmod(struct dentry *dentry, unsigned short mode)
{
	if (!(mode & S_ISUIDGID) || (BPF_CORE_READ(dentry, d_inode, i_mode) & S_IFMT) != S_IFREG)
		return 0;
	return check(SW_SETUID_FILES, NULL, dentry);
}

BOTH(chmod, "path_chmod", "security_path_chmod", check_chmod(BPF_CORE_READ(path, dentry), mode), const struct path *path,
     unsigned short mode)

static __noinline int check_xattr(struct dentry *dentry, const char *name)
{
	char want[] = "security.capability", got[sizeof(want)] = {};
	__u32 i;

	bpf_probe_read_kernel_str(got, sizeof(got), name);
	for (i = 0; i < sizeof(want); i++)
		if (got[i] != want[i])
			return 0;
	/* Overlayfs copies a file with its capabilities, as itself. */
	if (BPF_CORE_READ((struct task_struct___h *)bpf_get_current_task(), cred) !=
	    BPF_CORE_READ((struct task_struct___h *)bpf_get_current_task(), real_cred))
		return 0;
	return check(SW_SETUID_FILES, NULL, dentry);
}

BOTH(setxattr, "inode_setxattr", "security_inode_setxattr", check_xattr(dentry, name), void *idmap, struct dentry *dentry,
     const char *name)

/* --------------------------------------------------------------- programs */

static __noinline int check_start(struct linux_binprm *bprm)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct dentry *dentry;
	struct harden *h;
	__u32 cid;

	h = mine(&cid);
	if (!on(h, SW_SOCKET_SHELL) || !on_socket(task))
		return 0;
	dentry = BPF_CORE_READ(bprm, file, f_path.dentry);
	return refuse(h, cid, SW_SOCKET_SHELL, dentry, dentry);
}

BOTH(start, "bprm_check_security", "security_bprm_check", check_start(bprm), struct linux_binprm *bprm)

/* Programs that root starts gain nothing. */
static __noinline int check_gain(struct linux_binprm *bprm, struct file *file)
{
	const struct cred___h *cred = BPF_CORE_READ((struct linux_binprm___h *)bprm, cred), *was;
	__u64 had = 0, gets = 0;
	struct dentry *dentry;
	struct harden *h;
	__u32 cid;

	h = mine(&cid);
	if (!on(h, SW_PRIVILEGE_GAIN))
		return 0;
	was = BPF_CORE_READ((struct task_struct___h *)bpf_get_current_task(), cred);
	if (!BPF_CORE_READ(was, euid.val))
		return 0;
	bpf_core_read(&had, sizeof(had), &was->cap_permitted);
	bpf_core_read(&gets, sizeof(gets), &cred->cap_permitted);
	if (BPF_CORE_READ(was, euid.val) == BPF_CORE_READ(cred, euid.val) &&
	    BPF_CORE_READ(was, egid.val) == BPF_CORE_READ(cred, egid.val) && !(gets & ~had))
		return 0;
	dentry = BPF_CORE_READ(file, f_path.dentry);
	return refuse(h, cid, SW_PRIVILEGE_GAIN, dentry, dentry);
}

BOTH(gain, "bprm_creds_from_file", "security_bprm_creds_from_file", check_gain(bprm, file), struct linux_binprm *bprm,
     struct file *file)

/* ---------------------------------------------------------- writable code */

static __noinline int check_code_mapping(struct file *file, unsigned long prot, unsigned long flags)
{
	if (!(prot & PROT_EXEC))
		return 0;
	/* A file without a name is memory that is written through another mapping. */
	if (file && !(prot & PROT_WRITE) && BPF_CORE_READ(file, f_inode, i_nlink))
		return 0;
	return check(SW_WRITABLE_CODE, NULL, NULL);
}

SEC("lsm/mmap_file")
int BPF_PROG(codemap_lsm, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
{
	return check_code_mapping(file, prot, flags) ? -EPERM : 0;
}

SEC("fmod_ret/security_mmap_file")
int BPF_PROG(codemap_fmod, struct file *file, unsigned long prot, unsigned long flags)
{
	return check_code_mapping(file, prot, flags) ? -EPERM : 0;
}

/* As for mappings; and memory that was written to (anon_vma), or belongs to no
 * file, does not become code. */
static __noinline int check_code_change(struct vm_area_struct *vma, unsigned long prot)
{
	unsigned long flags;
	struct file *file;

	if (!(prot & PROT_EXEC))
		return 0;
	flags = BPF_CORE_READ(vma, vm_flags);
	if (flags & VM_EXEC && !(prot & PROT_WRITE))
		return 0;
	file = BPF_CORE_READ(vma, vm_file);
	if (file && !(prot & PROT_WRITE) && !(flags & VM_WRITE) && !BPF_CORE_READ((struct vm_area_struct___h *)vma, anon_vma) &&
	    BPF_CORE_READ(file, f_inode, i_nlink))
		return 0;
	return check(SW_WRITABLE_CODE, NULL, NULL);
}

BOTH(codeprot, "file_mprotect", "security_file_mprotect", check_code_change(vma, prot), struct vm_area_struct *vma,
     unsigned long reqprot, unsigned long prot)
