/* What the machine's sockets know of a packet.
 *
 * Asking them costs more than all the rest, and most packets belong to
 * conversations that were asked about a moment ago. Those are remembered in
 * flows for one to two ticks of 128 jiffies: 0.13 to 2.6 seconds, by the
 * kernel's HZ. Only what a socket has confirmed gets there, so nobody else can
 * fill it, and what he could not know is a key.
 */
#ifndef SYNOPTIC_WATCH_FLOW_BPF_H
#define SYNOPTIC_WATCH_FLOW_BPF_H

#include "frame.bpf.h"

#define FLOW_TICK  7 /* log2 of jiffies */
#define FLOW_STAMP 0xffffULL

static __always_inline __u64 flow_mix(__u64 x, __u64 word)
{
	x = (x ^ word) * 0xd6e8feb86659fd93ULL;
	return x ^ (x >> 32);
}

static __always_inline __u64 flow_hash(const struct packet *p)
{
	__u64 x = flow_key[0];

	if (p->family == 6) {
		x = flow_mix(x, (__u64)p->saddr[1] << 32 | p->saddr[0]);
		x = flow_mix(x, (__u64)p->daddr[1] << 32 | p->daddr[0]);
		x = flow_mix(x, (__u64)p->saddr[2] << 32 | p->daddr[2]);
	}
	x = flow_mix(x, (__u64)p->saddr[3] << 32 | p->daddr[3]);
	return flow_mix(x, flow_key[1] ^ ((__u64)p->protocol << 32 | (__u32)p->sport << 16 | p->dport));
}

static __always_inline __u64 flow_now(void) { return (bpf_jiffies64() >> FLOW_TICK) & FLOW_STAMP; }

static __always_inline bool flow_is_cached(const __u64 *flow, __u64 hash, __u64 now)
{
	__u64 was = *flow;

	return (was & ~FLOW_STAMP) == (hash & ~FLOW_STAMP) && ((now - was) & FLOW_STAMP) <= 1;
}

/* ctx is that of an XDP or a TC program, which both may ask. */
static __always_inline enum context ask_sockets(void *ctx, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};
	enum context known = CONTEXT_KNOWN;
	struct bpf_sock *sk;
	__u32 size;

	if (p->family == 4) {
		tuple.ipv4.saddr = p->saddr[3];
		tuple.ipv4.daddr = p->daddr[3];
		tuple.ipv4.sport = bpf_htons(p->sport);
		tuple.ipv4.dport = bpf_htons(p->dport);
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, p->saddr, 16);
		__builtin_memcpy(tuple.ipv6.daddr, p->daddr, 16);
		tuple.ipv6.sport = bpf_htons(p->sport);
		tuple.ipv6.dport = bpf_htons(p->dport);
		size = sizeof(tuple.ipv6);
	}
	if (p->protocol == IPPROTO_UDP) {
		sk = bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
		if (!sk)
			return CONTEXT_UNKNOWN;
		bpf_sk_release(sk);
		return CONTEXT_KNOWN;
	}
	sk = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return CONTEXT_UNKNOWN;
	/* A listener knows a port, not the connection. */
	if (sk->state == BPF_TCP_LISTEN)
		known = CONTEXT_UNKNOWN;
	else if (sk->state == BPF_TCP_NEW_SYN_RECV)
		known = CONTEXT_HANDSHAKE;
	bpf_sk_release(sk);
	return known;
}

#endif
