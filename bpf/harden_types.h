/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * Kernel types that the hardening programs touch besides those of vmlinux.h,
 * and what a container's hardening looks like (guard/kernel/harden.go mirrors
 * it). A name's ending after three underscores is ignored by the loader.
 */
#ifndef GABION_HARDEN_TYPES_H
#define GABION_HARDEN_TYPES_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* A set of capabilities is a structure of 64 bits in every kernel, whose field
 * changed its name. */
struct caps___any {
	u64 val;
};

typedef struct {
	unsigned int val;
} kgid_t___h;

struct user_namespace {
	int level;
};

struct cred___h {
	kuid_t uid;
	kuid_t euid;
	kgid_t___h egid;
	struct caps___any cap_permitted;
	struct caps___any cap_effective;
	struct caps___any cap_ambient;
	struct user_namespace *user_ns;
};

struct thread_info___h {
	u32 status; /* x86 */
};

struct hlist_node___h {
	struct hlist_node___h *next;
};

struct hlist_head___h {
	struct hlist_node___h *first;
};

struct pid___h {
	struct hlist_head___h tasks[1];
};

struct task_struct___h {
	struct thread_info___h thread_info;
	const struct cred___h *real_cred;
	const struct cred___h *cred;
	struct files_struct *files;
	struct hlist_node___h pid_links[1];
};

struct linux_binprm___h {
	struct cred___h *cred;
};

struct mount___h {
	struct mnt_namespace *mnt_ns;
};

struct inode___h {
	u32 i_rdev;
};

struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};

struct file___h {
	void *private_data;
};

struct sock___h {
	struct pid *sk_peer_pid;
};

struct unix_address {
	int len;
	char name[0]; /* struct sockaddr_un: the family, then the path */
};

struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
};

struct vm_area_struct___h {
	void *anon_vma;
};

#pragma clang attribute pop

#define W(a, b, c, d, e, f, g, h)                                                                  \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 |   \
	 (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)
#define FIRST6 0x0000ffffffffffffull

#define MAX_SWITCHES 32

/* The same numbers as policy.Switch in Go. */
enum {
	SW_MOUNT,
	SW_USER_NAMESPACES,
	SW_NAMESPACES,
	SW_PTRACE,
	SW_PROCESS_READ,
	SW_BPF,
	SW_MODULES,
	SW_KEXEC,
	SW_KEYS,
	SW_PERF,
	SW_IO_URING,
	SW_USERFAULTFD,
	SW_HANDLE_OPEN,
	SW_DEVICES,
	SW_RAW_SOCKETS,
	SW_SOCKET_FAMILIES,
	SW_RUNTIME_SOCKETS,
	SW_KERNEL_INTERFACES,
	SW_SETUID_FILES,
	SW_PRIVILEGE_GAIN,
	SW_WRITABLE_CODE,
	SW_SOCKET_SHELL,
	SW_FOREIGN_FILES,
	SW_KERNEL_LOG,
	SW_CHROOT,
	SW_AGENT = 31, /* no switch: what is done to the agent itself */
};

/* How a container is hardened, and which capabilities it may use. */
struct harden {
	__u8 mode; /* enum mode; 0: no hardening */
	__u8 cap_mode; /* 0: capabilities are free */
	__u16 cap_rule;
	__u32 deny; /* bit n: switch n */
	__u64 cap_allow;
	__u16 rule[MAX_SWITCHES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct harden);
} hardening SEC(".maps");

/* Kinds of causes. */
#define K_CAP 9
#define K_HARDEN 10
/* Effect of a count: seen while learning. */
#define EFFECT_SEEN 4

/* The container of the current task. A worker of io_uring is no child of
 * anyone, but belongs to the process that it works for. */
static __always_inline __u32 own_cid(void)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = (__u32)id, tgid = id >> 32;
	__u32 *cid = bpf_map_lookup_elem(&tasks, &tid);

	if (cid)
		return *cid;
	if (tid == tgid)
		return 0;
	cid = bpf_map_lookup_elem(&tasks, &tgid);
	return cid ? *cid : 0;
}

/* Whether a file is a socket of the network. */
static __always_inline int is_network(struct file *file)
{
	struct socket *sock;
	__u16 family;

	if ((BPF_CORE_READ(file, f_inode, i_mode) & 0170000) != 0140000)
		return 0;
	sock = BPF_CORE_READ((struct file___h *)file, private_data);
	family = BPF_CORE_READ(sock, sk, __sk_common.skc_family);
	return family == AF_INET || family == AF_INET6;
}

/* Whether the task's standard input and output are sockets of the network. */
static __noinline int on_socket(struct task_struct *task)
{
	struct fdtable *fdt = BPF_CORE_READ((struct task_struct___h *)task, files, fdt);
	struct file **fds = BPF_CORE_READ(fdt, fd), *file = NULL;

	if (BPF_CORE_READ(fdt, max_fds) < 2)
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), fds);
	if (!file || !is_network(file))
		return 0;
	file = NULL;
	bpf_probe_read_kernel(&file, sizeof(file), fds + 1);
	return file && is_network(file);
}

#endif
