/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * How the floor reads a packet: which flow it belongs to, and what of it cannot
 * be read. Included by network.bpf.c, after network_maps.h.
 */
#ifndef GABION_NETWORK_PACKET_H
#define GABION_NETWORK_PACKET_H

struct packet {
	struct flow_key k;
	__u32 seq;
	__u32 frag_id;
	__u8 verdict; /* enum below */
	__u8 syn, fin, rst; /* syn: and no ack */
	__u8 frag;	    /* 1 first, 2 later */
	__u8 related;	    /* an ICMP error: k is the flow that it is about */
	__u8 icmp_proto;
	__u8 pad;
	__u32 reasons;
};

enum { P_JUDGE = 0, P_PASS = 1 };

static __always_inline int is_icmp_error(__u8 family, __u8 type)
{
	if (family == 4)
		return type == 3 || type == 11 || type == 12;
	return type >= 1 && type <= 4;
}

/* Who opened an echo: stands where the peer's port would, so that a question
 * is never taken for the answer to one that went the other way. 0: no echo. */
static __always_inline __u8 echo_opener(__u8 family, __u8 type, __u8 dir)
{
	if (type == (family == 4 ? 8 : 128))
		return dir;
	if (type == (family == 4 ? 0 : 129))
		return dir == DIR_EGRESS ? DIR_INGRESS : DIR_EGRESS;
	return 0;
}

/* An ICMP error speaks of a packet that went the other way. */
static __always_inline void parse_related(struct __sk_buff *skb, struct packet *p, __u32 off, __u8 dir)
{
	struct flow_key inner = {.floor = p->k.floor, .family = p->k.family};
	__u16 ports[2];
	__u8 *src = dir == DIR_INGRESS ? inner.laddr : inner.raddr;
	__u8 *dst = dir == DIR_INGRESS ? inner.raddr : inner.laddr;

	if (p->k.family == 4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
			return;
		inner.proto = ip.protocol;
		__builtin_memcpy(src, &ip.saddr, 4);
		__builtin_memcpy(dst, &ip.daddr, 4);
		off += ip.ihl * 4;
	} else {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.version != 6)
			return;
		inner.proto = ip.nexthdr;
		__builtin_memcpy(src, &ip.saddr, 16);
		__builtin_memcpy(dst, &ip.daddr, 16);
		off += sizeof(ip);
	}
	if (inner.proto == IPPROTO_ICMP || inner.proto == IPPROTO_ICMPV6) {
		__u8 h[8];

		if (bpf_skb_load_bytes(skb, off, h, sizeof(h)))
			return;
		inner.lport = h[4] << 8 | h[5];
		inner.rport = echo_opener(inner.family, h[0], dir == DIR_EGRESS ? DIR_INGRESS : DIR_EGRESS);
	} else {
		if (bpf_skb_load_bytes(skb, off, ports, 4))
			return;
		inner.lport = bpf_ntohs(dir == DIR_INGRESS ? ports[0] : ports[1]);
		inner.rport = bpf_ntohs(dir == DIR_INGRESS ? ports[1] : ports[0]);
	}
	struct flow *f = bpf_map_lookup_elem(&net_flows, &inner);
	if (f && f->effect != EFFECT_BLOCKED)
		p->related = 1;
}

/* Neighbour discovery and group membership stay on the link. */
static __always_inline int stays_on_link(const struct ipv6hdr *ip, __u8 type)
{
	const __u8 *d = ip->daddr.in6_u.u6_addr8;
	const __u8 *s = ip->saddr.in6_u.u6_addr8;
	__u64 sp, dp;

	if (type == 130 || type == 131 || type == 132 || type == 143)
		return ip->hop_limit == 1 && (d[0] == 0xff || (d[0] == 0xfe && (d[1] & 0xc0) == 0x80));
	if (type < 133 || type > 136 || ip->hop_limit != 255)
		return 0;
	/* No router passes on a link-local address, at either end: a neighbour is
	 * asked for its global address from a link-local one. */
	if (d[0] == 0xff || (d[0] == 0xfe && (d[1] & 0xc0) == 0x80) || (s[0] == 0xfe && (s[1] & 0xc0) == 0x80))
		return 1;
	__builtin_memcpy(&sp, s, 8);
	__builtin_memcpy(&dp, d, 8);
	return sp == dp;
}

static __always_inline void parse_l4(struct __sk_buff *skb, struct packet *p, __u32 off, __u8 dir)
{
	__u16 ports[2];

	switch (p->k.proto) {
	case IPPROTO_TCP: {
		struct tcphdr th;

		if (bpf_skb_load_bytes(skb, off, &th, sizeof(th))) {
			p->reasons = R_UNKNOWN;
			return;
		}
		p->seq = th.seq;
		p->syn = th.syn && !th.ack;
		p->fin = th.fin;
		p->rst = th.rst;
		ports[0] = th.source;
		ports[1] = th.dest;
		break;
	}
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case 33: /* DCCP */
	case 136: /* UDP-Lite */
		if (bpf_skb_load_bytes(skb, off, ports, sizeof(ports))) {
			p->reasons = R_UNKNOWN;
			return;
		}
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: {
		__u8 h[8];

		if (bpf_skb_load_bytes(skb, off, h, sizeof(h))) {
			p->reasons = R_UNKNOWN;
			return;
		}
		if (is_icmp_error(p->k.family, h[0]))
			parse_related(skb, p, off + 8, dir);
		p->k.lport = h[4] << 8 | h[5];
		p->k.rport = echo_opener(p->k.family, h[0], dir);
		return;
	}
	default:
		return;
	}
	p->k.lport = bpf_ntohs(dir == DIR_EGRESS ? ports[0] : ports[1]);
	p->k.rport = bpf_ntohs(dir == DIR_EGRESS ? ports[1] : ports[0]);
}

static __always_inline void parse_ip4(struct __sk_buff *skb, struct packet *p, __u32 off, __u8 dir)
{
	struct iphdr ip;

	p->k.family = 4;
	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5) {
		p->reasons = R_UNKNOWN;
		return;
	}
	__builtin_memcpy(p->k.laddr, dir == DIR_EGRESS ? &ip.saddr : &ip.daddr, 4);
	__builtin_memcpy(p->k.raddr, dir == DIR_EGRESS ? &ip.daddr : &ip.saddr, 4);
	p->k.proto = ip.protocol;
	if (ip.protocol == IPPROTO_IGMP && ip.ttl == 1 && (bpf_ntohl(ip.daddr) >> 28) == 14) {
		p->verdict = P_PASS;
		return;
	}
	__u16 frag = bpf_ntohs(ip.frag_off);
	if (frag & 0x3fff) {
		p->frag = frag & 0x1fff ? 2 : 1;
		p->frag_id = bpf_ntohs(ip.id);
		if (p->frag == 2)
			return;
	}
	parse_l4(skb, p, off + ip.ihl * 4, dir);
}

static __always_inline int is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
	       next == IPPROTO_FRAGMENT || next == IPPROTO_AH;
}

static __always_inline void parse_ip6(struct __sk_buff *skb, struct packet *p, __u32 off, __u8 dir)
{
	struct ipv6hdr ip;
	__u8 next, type;

	p->k.family = 6;
	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.version != 6) {
		p->reasons = R_UNKNOWN;
		return;
	}
	__builtin_memcpy(p->k.laddr, dir == DIR_EGRESS ? &ip.saddr : &ip.daddr, 16);
	__builtin_memcpy(p->k.raddr, dir == DIR_EGRESS ? &ip.daddr : &ip.saddr, 16);
	next = ip.nexthdr;
	off += sizeof(ip);
	/* Unrolled: kernels up to 6.1 take no loop that is entered in its middle,
	 * and the compiler makes one of this. */
#pragma unroll
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		struct frag_hdr eh; /* as long as the fixed part of all of them */

		if (!is_extension(next))
			break;
		if (bpf_skb_load_bytes(skb, off, &eh, sizeof(eh))) {
			p->reasons = R_UNKNOWN;
			return;
		}
		if (next == IPPROTO_FRAGMENT) {
			__u16 frag = bpf_ntohs(eh.frag_off);

			off += sizeof(eh);
			if (frag & 0xfff9) { /* not the whole packet in one "fragment" */
				p->frag = frag & 0xfff8 ? 2 : 1;
				p->frag_id = eh.identification;
				if (p->frag == 2) {
					p->k.proto = eh.nexthdr;
					return;
				}
			}
		} else if (next == IPPROTO_AH) {
			off += (eh.reserved + 2) * 4;
		} else {
			off += (eh.reserved + 1) * 8;
		}
		next = eh.nexthdr;
	}
	p->k.proto = next;
	if (is_extension(next)) {
		p->reasons = R_TOO_DEEP;
		return;
	}
	if (next == IPPROTO_ICMPV6 && !p->frag && !bpf_skb_load_bytes(skb, off, &type, 1) && stays_on_link(&ip, type)) {
		p->verdict = P_PASS;
		return;
	}
	parse_l4(skb, p, off, dir);
}

#endif
