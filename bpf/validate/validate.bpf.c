//go:build ignore

/* Programs that take the answers to a scan's probes off a device before the
 * machine's own stack sees them: one for XDP and one for tcx, which judge alike.
 *
 *   frame -> to our address? -> SYN+ACK, reset or ICMP error that quotes a
 *            probe, to one of our ports? -> otherwise it passes, untouched
 *         -> cookie: does it bring back what only a probed host can know? If
 *            not it is counted and passes
 *         -> recent: has this endpoint said the same a moment ago?
 *         -> ring: a record of what was answered, for user space
 *         -> reset: a SYN+ACK is turned into the reset that ends the connection;
 *            all other answers are dropped
 *
 * The verdict is that of the classifier in package rx, up to the plan, which
 * this program does not know.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include "context.bpf.h"
#include "cookie.bpf.h"
#include "frame.bpf.h"
#include "maps.bpf.h"
#include "recent.bpf.h"
#include "reset.bpf.h"

/* What becomes of a frame. */
enum verdict {
	PASSES,
	DROPPED,
	TURNED, /* into a reset */
};

/* Where the frame is to and from, as it stands there; an IPv4 address is the
 * first word.
 */
struct ends {
	__be32 saddr[4];
	__be32 daddr[4];
};

static __always_inline bool same_address(const __be32 *a, const __be32 *b, const bool v6)
{
	if (!v6)
		return a[0] == b[0];
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

static __always_inline bool is_ours(const __be32 *addr, const bool v6)
{
	if (!v6)
		return has_source4 && addr[0] == source4;
	return has_source6 && addr[0] == source6[0] && addr[1] == source6[1] && addr[2] == source6[2] &&
	       addr[3] == source6[3];
}

static __always_inline bool is_our_port(__be16 port)
{
	return (__u16)(bpf_ntohs(port) - first_port) < ports;
}

static __always_inline __u64 hash_of(const __be32 *target, __be16 port, const __be32 *source, __be16 source_port,
				     const bool v6)
{
	struct siphash_key key = { .k0 = cookie_key.k0, .k1 = cookie_key.k1 };

	return cookie_hash(key, target, port, source, source_port, v6);
}

static __always_inline void write_answer(struct answer *to, const struct answer *a)
{
	__builtin_memcpy(to, a, sizeof(*a));
}

/* Gives a valid answer to user space, unless it came a moment ago, and reports
 * whether it is settled: what the ring had no room for is not. Nothing is
 * remembered of that, so that the target, which gets no reset either, may say it
 * again in a second (RFC 6298 2.1) and be heard.
 */
static __always_inline bool hand_over(struct counters *count, struct answer *a, const __be32 *from, __u64 hash,
				      const bool v6)
{
	__u64 *place, mark;

	a->time = bpf_ktime_get_ns();
	place = recent_place(hash);
	if (!place)
		return false;
	mark = mark_of(a, hash);
	if (*place == mark) {
		count->duplicate++;
		return true;
	}
	if (from) {
		struct answer_from *r = bpf_ringbuf_reserve(&answers, sizeof(*r), 0);

		if (!r)
			goto full;
		write_answer(&r->answer, a);
		__builtin_memset(r->from, 0, sizeof(r->from));
		__builtin_memcpy(r->from, from, v6 ? 16 : 4);
		bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	} else {
		struct answer *r = bpf_ringbuf_reserve(&answers, sizeof(*r), 0);

		if (!r)
			goto full;
		write_answer(r, a);
		bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	}
	*place = mark;
	count->valid++;
	return true;

full:
	count->full++;
	return false;
}

/* The same table is in package method: Method.Segment. */
static __always_inline bool brings_back(const struct tcphdr *tcp, __u8 flags, __u32 cookie, __u32 *delta)
{
	if (flags & TCP_RST) {
		if (cookie_in_ack)
			*delta = bpf_ntohl(tcp->seq) - cookie;
		else if (flags & TCP_ACK)
			*delta = bpf_ntohl(tcp->ack_seq) - cookie;
		else
			return false;
		return *delta <= 1 && (reset_deltas >> *delta & 1);
	}
	*delta = bpf_ntohl(tcp->ack_seq) - cookie;
	return syn ? *delta == 1 : *delta <= 1;
}

static __always_inline enum verdict judge_segment(void *ctx, const bool xdp, struct counters *count,
						  const struct upper *u, const struct ends *ends, __u8 ttl,
						  const bool v6)
{
	void *data = frame_begin(ctx, xdp), *data_end = frame_end(ctx, xdp);
	struct tcphdr *tcp = data + (u->at & OFFSET_MAX);
	struct ethhdr *eth = data;
	struct answer a = {};
	struct syn_ack s;
	__u32 delta = 0;
	__u64 hash;
	__u8 flags;

	if (u->at > OFFSET_MAX || (void *)(tcp + 1) > data_end || u->at + sizeof(*tcp) > u->end)
		goto foreign;
	if (!is_our_port(tcp->dest) || tcp->doff * 4 < sizeof(*tcp) || u->at + tcp->doff * 4 > u->end)
		goto foreign;
	flags = ((__u8 *)tcp)[13] & (TCP_SYN | TCP_RST | TCP_ACK);
	if (!(flags & TCP_RST) && flags != (TCP_SYN | TCP_ACK))
		goto foreign;

	hash = hash_of(ends->saddr, tcp->source, ends->daddr, tcp->dest, v6);
	if (!brings_back(tcp, flags, hash, &delta)) {
		count->bad_cookie++;
		return PASSES;
	}

	__builtin_memcpy(a.target, ends->saddr, v6 ? 16 : 4);
	a.port = bpf_ntohs(tcp->source);
	a.source_port = bpf_ntohs(tcp->dest);
	a.window = bpf_ntohs(tcp->window);
	a.ttl = ttl;
	a.what = flags | (v6 ? ANSWER_IPV6 : 0) | (delta ? ANSWER_NEXT : 0) |
		 (tcp->doff * 4 > sizeof(*tcp) ? ANSWER_OPTIONS : 0);
	if (!hand_over(count, &a, 0, hash, v6) || flags & TCP_RST || !reset)
		return DROPPED;

	__builtin_memcpy(s.saddr, ends->saddr, 16);
	__builtin_memcpy(s.daddr, ends->daddr, 16);
	s.sport = tcp->source;
	s.dport = tcp->dest;
	s.ack = tcp->ack_seq;
	__builtin_memcpy(s.mac, eth, sizeof(s.mac));
	/* To what came to everybody none is due. */
	if (s.mac[0][0] & 1 || !(xdp ? turn_xdp(ctx, &s, v6) : turn_tcx(ctx, &s, v6))) {
		count->unreset++;
		return DROPPED;
	}
	count->resets++;
	return TURNED;

foreign:
	count->foreign++;
	return PASSES;
}

/* RFC 792, RFC 4443 3: the error and what it quotes of our probe. */
static __always_inline enum verdict judge_error(void *ctx, const bool xdp, struct counters *count,
						const struct upper *u, const struct ends *ends, __u8 ttl,
						const bool v6)
{
	void *data = frame_begin(ctx, xdp), *data_end = frame_end(ctx, xdp);
	__u8 *icmp = data + (u->at & OFFSET_MAX);
	__be32 source[4] = {}, target[4] = {};
	struct answer a = {};
	__u8 type, code;
	__be16 *port;
	__u32 at;
	__u64 hash, says;

	if (u->at > OFFSET_MAX || (void *)(icmp + 8) > data_end || u->at + 8 > u->end)
		goto foreign;
	type = icmp[0];
	code = icmp[1];
	if (type >= ICMP_TYPES)
		goto foreign;
	says = v6 ? icmp6_codes[type][code >> 6] : icmp4_codes[type][code >> 6];
	if (!(says >> (code & 63) & 1))
		goto foreign;

	at = xdp ? quoted_tcp_xdp(ctx, u->at + 8, u->end, v6) : quoted_tcp_tcx(ctx, u->at + 8, u->end, v6);
	if (at == 0 || at > OFFSET_MAX)
		goto foreign;
	if (v6) {
		struct ipv6hdr *quote = (void *)(icmp + 8);

		if ((void *)(quote + 1) > data_end)
			goto foreign;
		__builtin_memcpy(source, &quote->saddr, 16);
		__builtin_memcpy(target, &quote->daddr, 16);
	} else {
		struct iphdr *quote = (void *)(icmp + 8);

		if ((void *)(quote + 1) > data_end)
			goto foreign;
		source[0] = quote->saddr;
		target[0] = quote->daddr;
	}
	port = data + at;
	if ((void *)port + 8 > data_end || !is_ours(source, v6) || !is_our_port(port[0]))
		goto foreign;

	hash = hash_of(target, port[1], source, port[0], v6);
	if (bpf_ntohl(*(__be32 *)(port + 2)) != (__u32)hash) {
		count->bad_cookie++;
		return PASSES;
	}
	__builtin_memcpy(a.target, target, v6 ? 16 : 4);
	a.port = bpf_ntohs(port[1]);
	a.source_port = bpf_ntohs(port[0]);
	a.window = (__u16)type << 8 | code;
	a.ttl = ttl;
	a.what = ANSWER_ICMP | (v6 ? ANSWER_IPV6 : 0);
	if (same_address(ends->saddr, target, v6))
		hand_over(count, &a, 0, hash, v6);
	else
		hand_over(count, &a, ends->saddr, hash, v6);
	return DROPPED;

foreign:
	count->foreign++;
	return PASSES;
}

/* A frame of one family. v6 is a constant at each call. */
static __always_inline enum verdict judge_ip(void *ctx, const bool xdp, struct counters *count, const bool v6)
{
	const __u32 upper = ETH_HLEN + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	const __u8 icmp = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	struct upper u = { .end = frame_len(ctx, xdp) };
	void *data, *data_end;
	struct ends ends = {};
	__u8 ttl, next;
	bool plain;

	reach(ctx, xdp, upper);
	data = frame_begin(ctx, xdp);
	data_end = frame_end(ctx, xdp);
	if (data + upper > data_end)
		goto foreign;
	if (v6) {
		struct ipv6hdr *ip = data + ETH_HLEN;

		__builtin_memcpy(ends.daddr, &ip->daddr, 16);
		__builtin_memcpy(ends.saddr, &ip->saddr, 16);
		ttl = ip->hop_limit;
		next = ip->nexthdr;
		plain = next == IPPROTO_TCP;
	} else {
		struct iphdr *ip = data + ETH_HLEN;

		ends.daddr[0] = ip->daddr;
		ends.saddr[0] = ip->saddr;
		ttl = ip->ttl;
		next = ip->protocol;
		plain = next == IPPROTO_TCP && ip->ihl == 5;
	}
	if (!is_ours(ends.daddr, v6) || !(next == IPPROTO_TCP || next == icmp || (v6 && is_extension(next))))
		goto foreign;

	reach(ctx, xdp, plain ? upper + sizeof(struct tcphdr) : WHOLE_FRAME);
	data = frame_begin(ctx, xdp);
	data_end = frame_end(ctx, xdp);
	if (v6 ? !ipv6_upper(ctx, xdp, data, data_end, ETH_HLEN, &u) : !ipv4_upper(data, data_end, ETH_HLEN, &u))
		goto foreign;
	if (u.protocol == IPPROTO_TCP)
		return judge_segment(ctx, xdp, count, &u, &ends, ttl, v6);
	if (u.protocol == icmp)
		return judge_error(ctx, xdp, count, &u, &ends, ttl, v6);

foreign:
	count->foreign++;
	return PASSES;
}

static __always_inline enum verdict judge(void *ctx, const bool xdp)
{
	struct ethhdr *eth = frame_begin(ctx, xdp);
	struct __sk_buff *skb = ctx;
	struct counters *count;
	__u32 zero = 0;

	count = bpf_map_lookup_elem(&counts, &zero);
	if (!count)
		return PASSES;
	if ((void *)(eth + 1) > frame_end(ctx, xdp))
		goto foreign;
	/* What was put together of several segments is no answer: none is of those
	 * that GRO and LRO join. What was tagged has its tag beside it.
	 */
	if (!xdp && (skb->gso_size || skb->vlan_present))
		goto foreign;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return judge_ip(ctx, xdp, count, false);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return judge_ip(ctx, xdp, count, true);

foreign:
	count->foreign++;
	return PASSES;
}

/* frags: headers are all we read, and frames may be larger than a page. */
SEC("xdp.frags")
int validate(struct xdp_md *ctx)
{
	switch (judge(ctx, true)) {
	case TURNED:
		return redirect ? bpf_redirect(ctx->ingress_ifindex, 0) : XDP_TX;
	case DROPPED:
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
}

#define TO_NEXT -1  /* TCX_NEXT of newer headers: the next program decides */
#define TO_NOBODY 2 /* TCX_DROP */

SEC("tcx/ingress")
int validate_tcx(struct __sk_buff *skb)
{
	switch (judge(skb, false)) {
	case TURNED:
		return bpf_redirect(skb->ifindex, 0);
	case DROPPED:
		return TO_NOBODY;
	default:
		return TO_NEXT;
	}
}

char __license[] SEC("license") = "Dual MIT/GPL";
