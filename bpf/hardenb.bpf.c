// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What stands in for parts of hardening on kernels that let no call fail: the
// cgroup programs that every kernel has for devices, sysctls and sockets, and
// a kill of programs that were started as they must not be. A killed program
// has not run one instruction.
#include "harden_judge.h"

/* Set at load: which of the loads that are attached this one is. */
const volatile __u32 instance = 0;

char LICENSE[] SEC("license") = "GPL";

enum { DEV_BLOCK = 1, DEV_CHAR = 2, DEV_MKNOD = 1 };

struct bpf_cgroup_dev_ctx {
	__u32 access_type; /* access << 16 | type */
	__u32 major;
	__u32 minor;
};

struct bpf_sysctl {
	__u32 write;
	__u32 file_pos;
};

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

/* Judges a use of a switch; returns whether it is refused. */
static __noinline int refuse(struct harden *h, __u32 cid, __u32 sw)
{
	struct use use = {.cid = cid, .kind = K_HARDEN, .what = sw, .mode = h->mode};

	if (sw >= MAX_SWITCHES)
		return 0;
	use.rule = h->rule[sw];
	return judge_use(&use);
}

SEC("cgroup/dev")
int device_b(struct bpf_cgroup_dev_ctx *ctx)
{
	__u32 type = ctx->access_type & 0xffff, access = ctx->access_type >> 16;
	__u32 major = ctx->major, minor = ctx->minor, cid;
	struct harden *h = mine(&cid);

	if (!on(h, SW_DEVICES))
		return 1;
	if (type == DEV_CHAR && !(access & DEV_MKNOD && (major || minor)) &&
	    !((major == 1 && (minor == 1 || minor == 2 || minor == 4)) || major == 21 ||
	      (major == 10 && (minor == 236 || minor == 237)) || major == 202))
		return 1;
	return !refuse(h, cid, SW_DEVICES);
}

SEC("cgroup/sysctl")
int sysctl_b(struct bpf_sysctl *ctx)
{
	struct harden *h;
	__u32 cid;

	if (!ctx->write)
		return 1;
	h = mine(&cid);
	if (!on(h, SW_KERNEL_INTERFACES))
		return 1;
	return !refuse(h, cid, SW_KERNEL_INTERFACES);
}

SEC("cgroup/sock_create")
int socket_b(struct bpf_sock *ctx)
{
	__u32 type = ctx->type, family = ctx->family, cid, sw;
	struct harden *h;

	if (family == AF_PACKET || family == AF_XDP || (type == SOCK_RAW && (family == AF_INET || family == AF_INET6)))
		sw = SW_RAW_SOCKETS;
	else if (family != AF_UNIX && family != AF_INET && family != AF_INET6 && family != AF_NETLINK)
		sw = SW_SOCKET_FAMILIES;
	else
		return 1;
	h = mine(&cid);
	if (!on(h, sw))
		return 1;
	return !refuse(h, cid, sw);
}

/* The program has been loaded, its credentials are those that it got. */
static __noinline int started(struct harden *h, __u32 cid, struct task_struct *task)
{
	const struct cred___h *cred = BPF_CORE_READ((struct task_struct___h *)task, cred);
	__u32 uid = BPF_CORE_READ(cred, uid.val);
	__u64 has = 0, ambient = 0;

	if (on(h, SW_SOCKET_SHELL) && on_socket(task))
		return refuse(h, cid, SW_SOCKET_SHELL);
	if (on(h, SW_PRIVILEGE_GAIN) && uid) {
		bpf_core_read(&has, sizeof(has), &cred->cap_permitted);
		bpf_core_read(&ambient, sizeof(ambient), &cred->cap_ambient);
		/* Another user by the setuid bit, or capabilities by the file's. */
		if (BPF_CORE_READ(cred, euid.val) != uid || has & ~ambient)
			return refuse(h, cid, SW_PRIVILEGE_GAIN);
	}
	return 0;
}

SEC("raw_tp/sched_process_exec")
int exec_b(struct bpf_raw_tracepoint_args *ctx)
{
	struct harden *h;
	__u32 cid;

	h = mine(&cid);
	if (!h || !(h->deny & (1u << SW_SOCKET_SHELL | 1u << SW_PRIVILEGE_GAIN)))
		return 0;
	if (started(h, cid, (struct task_struct *)ctx->args[0]))
		bpf_send_signal(SIGKILL);
	return 0;
}
