/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * The network floor: who may talk to whom, judged twice with one table.
 *
 * The cgroup hooks (connect, sendmsg, sock_create, setsockopt) know the task,
 * so a forbidden connection fails at once with EPERM and is told apart by
 * process. The floor (tcx programs on the container's own interfaces) sees
 * every packet, whoever made it and however: raw and packet sockets, processes
 * that joined the network namespace from elsewhere, connections older than the
 * policy, and everything that arrives. What a hook refused never reaches the
 * floor, so nothing is counted twice.
 *
 * The one idea: struct happening is question, answer and report in one. decide()
 * answers it for one container, decide_floor() for all containers that share a
 * network namespace; every program fills one in and hands it on.
 *
 * Per container there is only a stub of six instructions, made by the agent,
 * that names the floor and tail-calls the two programs here.
 */
#include "gabion.h"
#include "network_maps.h"
#include "network_packet.h"

char LICENSE[] SEC("license") = "GPL";

/* ------------------------------------------------------------- deciding */

static __always_inline __u8 refuse(struct happening *h, const struct container *c, __u32 reasons, __u16 rule)
{
	h->reasons = reasons;
	h->rule = rule;
	h->effect = c->net_mode == MODE_PROTECT ? EFFECT_BLOCKED : EFFECT_WOULD;
	return h->effect;
}

/* The verdict of one container's plan. Returns the effect and leaves it, with
 * reasons and rule, in h. The same table as policy.(*NetworkPlan).Decide. */
__noinline int decide(struct happening *h)
{
	if (!h)
		return 0;
	h->effect = EFFECT_PASS;
	h->rule = 0;
	__u32 cid = h->cid;
	struct container *c = bpf_map_lookup_elem(&containers, &cid);
	h->generation = 0;
	if (!c)
		return 0;
	h->generation = c->generation;
	if (c->flags & C_QUARANTINE) {
		h->reasons = R_QUARANTINE;
		h->effect = EFFECT_BLOCKED;
		return EFFECT_BLOCKED;
	}
	if (c->net_mode != MODE_PROTECT && c->net_mode != MODE_MONITOR)
		return 0;
	int egress = h->dir == DIR_EGRESS;
	int listed = c->flags & (egress ? C_EGRESS_LISTED : C_INGRESS_LISTED);
	__u16 list_rule = egress ? c->egress_list_rule : c->ingress_list_rule;

	if (h->reasons) {
		if (!listed)
			return 0;
		return refuse(h, c, h->reasons, list_rule);
	}
	struct rule_key k = {
		.prefixlen = h->family == 4 ? 64 + 32 : 64 + 128,
		.cid = cid,
		.slot = !!(c->flags & C_NET_SLOT),
		.dir = h->dir,
		.family = h->family,
	};
	__builtin_memcpy(k.addr, h->peer, 16);
	__u64 *id = bpf_map_lookup_elem(&net_rules, &k);
	struct list *l = id ? bpf_map_lookup_elem(&net_lists, id) : NULL;
	__u16 port = egress ? h->peer_port : h->local_port;

	if (id && !l) /* cannot happen while the agent keeps its order of updates */
		return refuse(h, c, R_UNKNOWN, list_rule);
	if (l) {
		for (__u32 i = 0; i < MAX_RANGES; i++) {
			if (i >= l->n)
				break;
			struct range *r = &l->r[i];

			if (!(r->flags & RANGE_ANY_PROTO) && r->proto != h->proto)
				continue;
			if (h->portless) {
				/* Ports unknown: a deny that may match does, an
				 * allow that may not match does not. */
				if (!(r->flags & RANGE_DENY) && (r->lo != 0 || r->hi != 0xffff))
					continue;
			} else if (port < r->lo || port > r->hi) {
				continue;
			}
			if (r->flags & RANGE_DENY)
				return refuse(h, c, R_DENIED, r->rule);
			return 0;
		}
	}
	if (!listed)
		return 0;
	return refuse(h, c, R_NOT_LISTED | (h->portless ? R_UNKNOWN : 0), list_rule);
}

/* The verdict of a network namespace: what one of its containers may do passes,
 * for a packet does not say whose it is. h->cid is the container to blame. */
__noinline int decide_floor(struct happening *h, __u32 fid)
{
	if (!h)
		return 0;
	struct floor *fl = bpf_map_lookup_elem(&net_floors, &fid);
	if (!fl)
		return 0;
	__u32 asked = h->reasons;
	__u32 cid = 0, reasons = 0;
	__u16 rule = 0;
	__u8 effect = 0;

	for (__u32 i = 0; i < MAX_MEMBERS; i++) {
		if (i >= fl->n)
			break;
		h->cid = fl->cids[i];
		h->reasons = asked;
		int e = decide(h);
		if (!e)
			return 0;
		if (!effect || e == EFFECT_WOULD) {
			cid = h->cid;
			reasons = h->reasons;
			rule = h->rule;
			effect = e;
		}
	}
	h->cid = cid;
	h->reasons = reasons;
	h->rule = rule;
	h->effect = effect;
	return effect;
}

/* ------------------------------------------------------------ reporting */

static __always_inline __u64 mix(__u64 h, __u64 v)
{
	h ^= v;
	h *= 0x9e3779b97f4a7c15ull;
	return h ^ (h >> 29);
}

/* Names what was asked for: peer, protocol, destination port and who noticed.
 * The opener's own port is no part of it. */
static __always_inline __u64 object_of(const struct happening *h)
{
	struct settings *s = get_settings();
	__u64 a, b, v = s ? s->epoch : 0;
	__u16 port = h->dir == DIR_EGRESS ? h->peer_port : h->local_port;

	__builtin_memcpy(&a, h->peer, 8);
	__builtin_memcpy(&b, h->peer + 8, 8);
	v = mix(v, a);
	v = mix(v, b);
	return mix(v, (__u64)port | (__u64)h->proto << 16 | (__u64)h->family << 24 | (__u64)h->mech << 32);
}

static __always_inline void fill(struct detail *d, const struct happening *h, int with_task)
{
	__builtin_memset(d, 0, sizeof(*d));
	d->time = bpf_ktime_get_ns();
	d->peer_port = h->peer_port;
	d->local_port = h->dir == DIR_EGRESS ? 0 : h->local_port;
	d->proto = h->proto;
	d->family = h->family;
	d->mech = h->mech;
	d->dir = h->dir;
	__builtin_memcpy(d->peer, h->peer, 16);
	if (with_task) {
		struct task_struct *t = (void *)bpf_get_current_task();
		const unsigned char *name = BPF_CORE_READ(t, mm, exe_file, f_path.dentry, d_name.name);

		d->pid = BPF_CORE_READ(t, tgid);
		d->ppid = BPF_CORE_READ(t, real_parent, tgid);
		d->uid = BPF_CORE_READ(t, cred, uid.val);
		BPF_CORE_READ_INTO(&d->comm, t, comm);
		if (name)
			bpf_probe_read_kernel_str(d->exe, sizeof(d->exe), name);
	}
}

static __always_inline void lost(__u32 cid)
{
	__u64 one = 1, *n = bpf_map_lookup_elem(&net_lost, &cid);

	if (n)
		__sync_fetch_and_add(n, 1);
	else
		bpf_map_update_elem(&net_lost, &cid, &one, BPF_ANY);
}

static __always_inline void denied(const struct happening *h, int with_task)
{
	__u32 cid = h->cid;
	struct container *c = bpf_map_lookup_elem(&containers, &cid);
	struct count_key k = {
		.cid = cid,
		.plan = c ? c->plan : 0,
		.kind = h->kind,
		.effect = h->effect,
		.rule = h->rule,
		.reasons = h->reasons,
		.object = object_of(h),
	};

	if (!count_cause(&k))
		return;
	struct detail d;
	fill(&d, h, with_task);
	bpf_map_update_elem(&net_details, &k, &d, BPF_ANY);
	/* A nudge so that the agent looks at the counts at once. It may be lost:
	 * the agent looks several times a second anyway. */
	struct record *r = bpf_ringbuf_reserve(&net_events, sizeof(*r), 0);
	if (r) {
		__builtin_memset(r, 0, sizeof(*r));
		r->type = REC_CAUSE;
		r->cid = h->cid;
		bpf_ringbuf_submit(r, 0);
	}
}

/* Addresses of private and link-local networks are told apart one by one: they
 * may be workloads. Clients from anywhere else are kept together by /16 or /32,
 * so that a public server does not report every visitor. */
static __always_inline void group_client(struct seen_key *k, __u8 family)
{
	__u8 a = k->peer[0], b = k->peer[1];

	if (family == 4) {
		if (a == 10 || a == 127 || (a == 172 && (b & 0xf0) == 16) || (a == 192 && b == 168) ||
		    (a == 169 && b == 254) || (a == 100 && (b & 0xc0) == 64))
			return;
		k->peer[2] = k->peer[3] = 0;
		return;
	}
	if ((a & 0xfe) == 0xfc || (a == 0xfe && (b & 0xc0) == 0x80))
		return;
	__builtin_memset(k->peer + 4, 0, 12);
}

static __always_inline void seen_key_of(struct seen_key *k, const struct happening *h)
{
	k->cid = h->cid;
	k->port = h->dir == DIR_EGRESS ? h->peer_port : h->local_port;
	k->dir = h->dir;
	k->proto = h->proto;
	__builtin_memcpy(k->peer, h->peer, 16);
	if (h->dir == DIR_INGRESS)
		group_client(k, h->family);
}

/* Whether the plan in force has allowed this very peer and port before, and
 * everything about it was reported. Only for what leaves: arriving clients are
 * kept in groups. */
static __always_inline int known_good(const struct happening *h, __u32 generation)
{
	struct seen_key k;

	seen_key_of(&k, h);
	struct seen *s = bpf_map_lookup_elem(&net_seen, &k);
	return s && s->told && s->generation && s->generation == generation;
}

/* Reports behaviour that was never seen, and remembers a clean verdict. */
static __always_inline void observed(const struct happening *h, int with_task)
{
	__u32 cid = h->cid;
	struct container *c = bpf_map_lookup_elem(&containers, &cid);
	struct seen fresh = {.told = 1};

	if (!c || !(c->flags & C_OBSERVE))
		return;
	if (h->effect == EFFECT_PASS && h->dir == DIR_EGRESS)
		fresh.generation = h->generation;
	struct seen_key k;
	seen_key_of(&k, h);
	struct seen *s = bpf_map_lookup_elem(&net_seen, &k);
	if (s) {
		if (s->generation != fresh.generation)
			s->generation = fresh.generation;
		return;
	}
	if (bpf_map_update_elem(&net_seen, &k, &fresh, BPF_NOEXIST))
		return;
	struct record *r = bpf_ringbuf_reserve(&net_events, sizeof(*r), 0);
	if (!r) {
		bpf_map_delete_elem(&net_seen, &k);
		lost(cid);
		return;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->type = REC_SEEN;
	r->cid = cid;
	fill(&r->d, h, with_task);
	bpf_ringbuf_submit(r, 0);
}

__noinline int denied_by_hook(struct happening *h)
{
	if (h)
		denied(h, 1);
	return 0;
}

__noinline int denied_by_floor(struct happening *h)
{
	if (h)
		denied(h, 0);
	return 0;
}

__noinline int observed_by_hook(struct happening *h)
{
	if (h)
		observed(h, 1);
	return 0;
}

/* Every container behind the floor: a packet does not say whose it is. */
__noinline int observed_by_floor(struct happening *h, __u32 fid)
{
	if (!h)
		return 0;
	struct floor *fl = bpf_map_lookup_elem(&net_floors, &fid);
	if (!fl)
		return 0;
	for (__u32 i = 0; i < MAX_MEMBERS; i++) {
		if (i >= fl->n)
			break;
		h->cid = fl->cids[i];
		observed(h, 0);
	}
	return 0;
}

/* ---------------------------------------------------------- cgroup hooks */

/* current_cid() of gabion.h for hooks where old kernels do not offer
 * bpf_get_current_pid_tgid(). */
static __always_inline __u32 hook_cid(void)
{
	/* Read directly: a probe-read helper costs more than the look-up after it. */
	__u32 tid = bpf_get_current_task_btf()->pid;
	__u32 *known = bpf_map_lookup_elem(&tasks, &tid);

	if (known)
		return *known;
	__u64 cg = bpf_get_current_cgroup_id();
	known = bpf_map_lookup_elem(&cgroups, &cg);
	if (!known || *known == CID_NONE)
		return 0;
	__u32 cid = *known;
	bpf_map_update_elem(&tasks, &tid, &cid, BPF_ANY);
	return cid;
}

static __always_inline int switched_off(void)
{
	struct settings *s = get_settings();

	return !s || s->off;
}

/* 127/8, ::1 and the unspecified address, which Linux takes for itself. */
static __always_inline int is_self(const struct happening *h)
{
	const __u8 *a = h->peer;
	__u64 hi, lo;

	if (h->family == 4)
		return a[0] == 127 || (a[0] | a[1] | a[2] | a[3]) == 0;
	__builtin_memcpy(&hi, a, 8);
	__builtin_memcpy(&lo, a + 8, 8);
	return hi == 0 && (lo == 0 || lo == bpf_cpu_to_be64(1));
}

static __always_inline void unmap(struct happening *h)
{
	__u64 hi;
	__u32 mid;

	__builtin_memcpy(&hi, h->peer, 8);
	__builtin_memcpy(&mid, h->peer + 8, 4);
	if (hi == 0 && mid == bpf_htonl(0xffff)) {
		h->family = 4;
		__builtin_memcpy(h->peer, h->peer + 12, 4);
		__builtin_memset(h->peer + 4, 0, 12);
	}
}

static __always_inline int leave(struct bpf_sock_addr *ctx, __u32 cid, int family)
{
	struct happening h = {
		.cid = cid,
		.kind = K_EGRESS,
		.dir = DIR_EGRESS,
		.family = family,
		.proto = (__u8)ctx->protocol,
		.peer_port = bpf_ntohs((__u16)ctx->user_port),
		.mech = MECH_HOOK,
	};
	__u32 w;

	if (ctx->protocol == IPPROTO_MPTCP)
		h.proto = IPPROTO_TCP;
	if (h.proto == IPPROTO_ICMP || h.proto == IPPROTO_ICMPV6)
		h.peer_port = 0; /* ping sockets carry an identifier there */
	if (family == 4) {
		w = ctx->user_ip4;
		__builtin_memcpy(h.peer, &w, 4);
	} else {
		w = ctx->user_ip6[0];
		__builtin_memcpy(h.peer, &w, 4);
		w = ctx->user_ip6[1];
		__builtin_memcpy(h.peer + 4, &w, 4);
		w = ctx->user_ip6[2];
		__builtin_memcpy(h.peer + 8, &w, 4);
		w = ctx->user_ip6[3];
		__builtin_memcpy(h.peer + 12, &w, 4);
		unmap(&h);
	}
	if (is_self(&h) || switched_off())
		return 1;
	struct container *c = bpf_map_lookup_elem(&containers, &cid);
	if (!c)
		return 1;
	if (!(c->flags & C_QUARANTINE) && known_good(&h, c->generation))
		return 1;
	int effect = decide(&h);
	if (effect) {
		denied_by_hook(&h);
		if (effect == EFFECT_BLOCKED)
			return 0;
		if (ctx->sk)
			bpf_sk_storage_get(&net_judged, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	}
	observed_by_hook(&h);
	return 1;
}

SEC("cgroup/connect4")
int net_connect4(struct bpf_sock_addr *ctx)
{
	__u32 cid = hook_cid();

	return cid ? leave(ctx, cid, 4) : 1;
}

SEC("cgroup/connect6")
int net_connect6(struct bpf_sock_addr *ctx)
{
	__u32 cid = hook_cid();

	return cid ? leave(ctx, cid, 6) : 1;
}

SEC("cgroup/sendmsg4")
int net_sendmsg4(struct bpf_sock_addr *ctx)
{
	__u32 cid = hook_cid();

	return cid ? leave(ctx, cid, 4) : 1;
}

SEC("cgroup/sendmsg6")
int net_sendmsg6(struct bpf_sock_addr *ctx)
{
	__u32 cid = hook_cid();

	return cid ? leave(ctx, cid, 6) : 1;
}

/* A way around the firewall was asked for: a socket family or kind whose
 * traffic no hook or floor would see. */
static __always_inline int family_denied(__u32 cid, __u32 family, __u32 proto)
{
	struct container *c = bpf_map_lookup_elem(&containers, &cid);

	if (!c || switched_off())
		return 0;
	if (!(c->flags & C_QUARANTINE) && !(c->flags & C_EGRESS_LISTED))
		return 0;
	struct happening h = {
		.cid = cid,
		.kind = K_SOCKET,
		.dir = DIR_EGRESS,
		.reasons = R_FAMILY,
		.peer_port = (__u16)family,
		.proto = (__u8)proto,
		.mech = MECH_HOOK,
	};
	int effect = decide(&h);
	if (!effect)
		return 0;
	denied_by_hook(&h);
	return effect == EFFECT_BLOCKED;
}

/* The kernel asks only for internet sockets. Raw ones, SCTP and the like
 * are judged by the floor; where a container has none, they are refused. */
SEC("cgroup/sock_create")
int net_sock_create(struct bpf_sock *ctx)
{
	__u32 cid = hook_cid();

	if (!cid)
		return 1;
	struct container *c = bpf_map_lookup_elem(&containers, &cid);
	if (!c || !(c->flags & C_NO_FLOOR))
		return 1;
	if (ctx->type == SOCK_STREAM && (ctx->protocol == IPPROTO_TCP || ctx->protocol == IPPROTO_MPTCP))
		return 1;
	if (ctx->type == SOCK_DGRAM &&
	    (ctx->protocol == IPPROTO_UDP || ctx->protocol == IPPROTO_ICMP || ctx->protocol == IPPROTO_ICMPV6))
		return 1;
	return !family_denied(cid, ctx->family, ctx->protocol);
}

/* Packet sockets can be told to bypass the queueing layer and with it the
 * floor, and XDP sockets always do; both need a socket option first. */
SEC("cgroup/setsockopt")
int net_setsockopt(struct bpf_sockopt *ctx)
{
	__s32 level = ctx->level;

	ctx->optlen = 0; /* the caller's own buffer is used as it is */
	if (level != SOL_PACKET && level != SOL_XDP)
		return 1;
	__u32 cid = hook_cid();
	if (!cid)
		return 1;
	return !family_denied(cid, level == SOL_PACKET ? AF_PACKET : AF_XDP, 0);
}

/* ------------------------------------------------------------ the floor */

static __always_inline __u32 flow_time(void)
{
	return (__u32)(bpf_ktime_get_coarse_ns() >> 30);
}

static __always_inline int fresh(const struct flow *f, __u8 proto, __u32 now)
{
	/* A closed connection answers for its last packets a while. */
	if (proto == IPPROTO_TCP)
		return f->fins != (DIR_EGRESS | DIR_INGRESS) || now - f->last < OTHER_IDLE;
	return now - f->last < (proto == IPPROTO_UDP ? UDP_IDLE : OTHER_IDLE);
}

static __always_inline void set_dir(struct happening *h, __u8 dir)
{
	h->dir = dir;
	h->kind = dir == DIR_EGRESS ? K_EGRESS : K_INGRESS;
	h->reasons = 0;
}

/* Asks the plan about a packet that no flow answers for. A flow whose opener is
 * not known (older than the floor, or pushed out of the flow table) passes when
 * either end may have opened it. */
static __always_inline int judge(struct happening *h, __u32 fid, __u8 opener, __u8 dir, int midstream)
{
	__u32 reasons = h->reasons;

	if (opener || !midstream) {
		set_dir(h, opener ? opener : dir);
		h->reasons = reasons;
		return decide_floor(h, fid);
	}
	set_dir(h, dir == DIR_EGRESS ? DIR_INGRESS : DIR_EGRESS);
	h->reasons = reasons;
	if (!decide_floor(h, fid))
		return EFFECT_PASS;
	set_dir(h, dir);
	h->reasons = reasons;
	return decide_floor(h, fid);
}

/* An allowed connection leaves the table with its last packet. One that
 * Monitor would block stays a while, so that stray packets after the end are
 * not taken for another attempt. */
static __always_inline int closing(struct flow *f, const struct flow_key *k, int fin, int rst, __u8 dir, __u32 now)
{
	int over = rst || (!fin && f->fins == (DIR_EGRESS | DIR_INGRESS));

	if (over && f->effect == EFFECT_PASS) {
		bpf_map_delete_elem(&net_flows, k);
		return TCX_NEXT;
	}
	f->last = now;
	f->fins |= rst ? DIR_EGRESS | DIR_INGRESS : fin ? dir : 0;
	return TCX_NEXT;
}

/* IPv4 TCP and UDP that the present plan has judged: most of all packets, so
 * they are answered before anything is prepared. only: the container, when the
 * floor has a single one, and the generation of its plan.
 * -2: not such a packet, look properly. */
static __always_inline int quick(struct __sk_buff *skb, __u32 fid, __u32 generation, __u8 dir, __u32 only,
				 __u32 only_generation)
{
	void *data = (void *)(long)skb->data;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct tcphdr *th = (void *)ip + sizeof(*ip);
	struct flow_key k = {.floor = fid, .family = 4};

	if ((void *)&th->seq > (void *)(long)skb->data_end)
		return -2;
	if (eth->h_proto != bpf_htons(ETH_P_IP) || *(__u8 *)ip != 0x45 || (ip->frag_off & bpf_htons(0x3fff)))
		return -2;
	k.proto = ip->protocol;
	/* Both protocols begin with the ports. */
	if (dir == DIR_EGRESS) {
		__builtin_memcpy(k.laddr, &ip->saddr, 4);
		__builtin_memcpy(k.raddr, &ip->daddr, 4);
		k.lport = bpf_ntohs(th->source);
		k.rport = bpf_ntohs(th->dest);
	} else {
		__builtin_memcpy(k.laddr, &ip->daddr, 4);
		__builtin_memcpy(k.raddr, &ip->saddr, 4);
		k.lport = bpf_ntohs(th->dest);
		k.rport = bpf_ntohs(th->source);
	}
	if (k.proto == IPPROTO_UDP) {
		struct flow *f = bpf_map_lookup_elem(&net_flows, &k);
		__u32 now = flow_time();

		if (!f || f->generation != generation || f->effect != EFFECT_PASS || !fresh(f, IPPROTO_UDP, now))
			return -2;
		if (f->last != now)
			f->last = now;
		return TCX_NEXT;
	}
	if (k.proto != IPPROTO_TCP || (void *)(th + 1) > (void *)(long)skb->data_end)
		return -2;
	if (th->syn && !th->ack) {
		/* A hook has judged this peer and port for the same plan. */
		struct happening h = {.cid = only, .dir = DIR_EGRESS, .proto = IPPROTO_TCP, .peer_port = k.rport};
		struct flow fresh_flow = {.generation = generation, .dir = dir, .seq = th->seq, .last = flow_time()};

		if (!only || dir != DIR_EGRESS)
			return -2;
		__builtin_memcpy(h.peer, k.raddr, 16);
		if (!known_good(&h, only_generation))
			return -2;
		bpf_map_update_elem(&net_flows, &k, &fresh_flow, BPF_ANY);
		return TCX_NEXT;
	}
	struct flow *f = bpf_map_lookup_elem(&net_flows, &k);
	if (!f || f->generation != generation)
		return -2;
	if (f->effect == EFFECT_BLOCKED)
		return TCX_DROP;
	if (th->rst || th->fin || f->fins)
		return closing(f, &k, th->fin, th->rst, dir, flow_time());
	return TCX_NEXT;
}

static __always_inline int floor_packet(struct __sk_buff *skb, __u8 dir)
{
	__u32 fid = skb->cb[0], l2 = skb->cb[1];
	struct floor *fl = bpf_map_lookup_elem(&net_floors, &fid);
	__u32 generation, cut = 0;
	__u16 ethertype;

	skb->cb[0] = 0;
	skb->cb[1] = 0;
	if (!fl || switched_off())
		return TCX_NEXT;
	if (dir == DIR_INGRESS && skb->pkt_type == PACKET_OTHERHOST)
		return TCX_NEXT;
	generation = fl->generation;
	__u32 only = 0, only_generation = 0; /* of a floor with one container */
	for (__u32 i = 0; i < MAX_MEMBERS; i++) {
		if (i >= fl->n)
			break;
		__u32 cid = fl->cids[i];
		struct container *c = bpf_map_lookup_elem(&containers, &cid);
		if (!c)
			continue;
		generation += c->generation;
		if (c->flags & C_QUARANTINE)
			cut = cid;
		if (fl->n == 1) {
			only = cid;
			only_generation = c->generation;
		}
	}
	if (!generation)
		generation = 1;
	if (l2 == sizeof(struct ethhdr) && !cut) {
		int verdict = quick(skb, fid, generation, dir, only, only_generation);

		if (verdict != -2)
			return verdict;
	}

	struct packet p = {};
	struct happening h = {.mech = MECH_FLOOR};

	p.k.floor = fid;
	if (l2) {
		/* From the frame itself: what a packet socket claims beside it does
		 * not count. */
		if (bpf_skb_load_bytes(skb, 12, &ethertype, 2))
			return TCX_DROP;
	} else {
		ethertype = (__u16)skb->protocol;
	}
	switch (ethertype) {
	case bpf_htons(ETH_P_IP):
		parse_ip4(skb, &p, l2, dir);
		break;
	case bpf_htons(ETH_P_IPV6):
		parse_ip6(skb, &p, l2, dir);
		break;
	case bpf_htons(ETH_P_ARP):
		return TCX_NEXT;
	default:
		/* Nothing that an internet socket would see. On the way in it can
		 * only reach packet sockets, which read before the floor anyway. */
		if (dir == DIR_INGRESS)
			return TCX_NEXT;
		p.reasons = R_FAMILY;
		p.k.rport = bpf_ntohs(ethertype);
	}
	if (p.verdict == P_PASS)
		return TCX_NEXT;

	h.family = p.k.family;
	h.proto = p.k.proto;
	h.portless = p.frag == 2;
	h.reasons = p.reasons;
	__builtin_memcpy(h.peer, p.k.raddr, 16);
	if (h.proto != IPPROTO_ICMP && h.proto != IPPROTO_ICMPV6) {
		h.peer_port = p.k.rport;
		h.local_port = p.k.lport;
	}

	__u32 now = flow_time();
	if (p.frag == 2) {
		p.k.kind = F_FRAGMENT;
		p.k.lport = (__u16)p.frag_id;
		p.k.rport = (__u16)(p.frag_id >> 16);
	}
	int tcp = p.k.proto == IPPROTO_TCP && p.frag != 2;
	struct flow *f = p.reasons ? NULL : bpf_map_lookup_elem(&net_flows, &p.k);
	__u8 opener = 0;

	if (f && !fresh(f, p.k.proto, now))
		f = NULL;
	if (cut) {
		/* Count an attempt, not every packet of a flow that dies slowly. */
		if (!(f && tcp && f->effect == EFFECT_BLOCKED && f->generation == generation &&
		      (!p.syn || f->seq == p.seq))) {
			set_dir(&h, dir);
			h.cid = cut;
			h.reasons = R_QUARANTINE;
			h.effect = EFFECT_BLOCKED;
			denied_by_floor(&h);
			if (tcp) {
				struct flow dead = {
					.generation = generation,
					.dir = f ? f->dir : 0,
					.effect = EFFECT_BLOCKED,
					.seq = p.seq,
					.last = now,
				};
				bpf_map_update_elem(&net_flows, &p.k, &dead, BPF_ANY);
			}
		}
		return TCX_DROP;
	}
	if (p.related)
		return TCX_NEXT;
	if (f && f->generation == generation) {
		if (tcp && p.syn) {
			/* The same attempt again was counted already. */
			if (f->effect == EFFECT_BLOCKED && f->seq == p.seq)
				return TCX_DROP;
		} else if (f->effect == EFFECT_PASS || tcp) {
			if (f->effect == EFFECT_BLOCKED)
				return TCX_DROP;
			if (tcp)
				closing(f, &p.k, p.fin, p.rst, dir, now);
			else
				f->last = now;
			goto pass;
		}
	}
	if (f && !(tcp && p.syn))
		opener = f->dir;

	int midstream = tcp && !p.syn;
	int effect = judge(&h, fid, opener, dir, midstream);

	/* Answers to a datagram, and the last packets of a connection, are no
	 * attempts. */
	if (effect && (tcp ? !(f && (p.fin || p.rst || f->fins)) : h.dir == dir)) {
		struct bpf_sock *sk = skb->sk;

		if (effect == EFFECT_BLOCKED || dir == DIR_INGRESS || !sk || !bpf_sk_storage_get(&net_judged, sk, 0, 0)) {
			h.effect = effect;
			denied_by_floor(&h);
		}
	}
	if (!p.reasons && !(midstream && (p.rst || p.fin) && !effect)) {
		struct flow fresh_flow = {
			.generation = generation,
			.dir = opener ? opener : midstream ? 0 : dir,
			.effect = effect,
			.seq = p.seq,
			.last = now,
		};
		bpf_map_update_elem(&net_flows, &p.k, &fresh_flow, BPF_ANY);
	}
	if (effect == EFFECT_BLOCKED)
		return TCX_DROP;
	/* Only what opens something is news. Sockets of TCP and UDP were seen by
	 * the hooks, with their process. */
	if (!midstream && !f && !p.reasons && p.frag != 2 &&
	    (dir == DIR_INGRESS || (p.k.proto != IPPROTO_TCP && p.k.proto != IPPROTO_UDP))) {
		set_dir(&h, dir);
		observed_by_floor(&h, fid);
	}
pass:
	if (p.frag == 1 && !p.reasons) {
		struct flow part = {.generation = generation, .dir = dir, .last = now};

		p.k.kind = F_FRAGMENT;
		p.k.lport = (__u16)p.frag_id;
		p.k.rport = (__u16)(p.frag_id >> 16);
		bpf_map_update_elem(&net_flows, &p.k, &part, BPF_ANY);
	}
	return TCX_NEXT;
}

SEC("classifier")
int net_floor_out(struct __sk_buff *skb)
{
	return floor_packet(skb, DIR_EGRESS);
}

SEC("classifier")
int net_floor_in(struct __sk_buff *skb)
{
	return floor_packet(skb, DIR_INGRESS);
}
