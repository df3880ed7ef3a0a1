//go:build ignore

/* An XDP program that takes the answers to a scan's probes off a device before
 * the machine's own stack sees them.
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

#include "cookie.bpf.h"
#include "frame.bpf.h"
#include "maps.bpf.h"
#include "recent.bpf.h"
#include "reset.bpf.h"

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

static __always_inline int judge_segment(struct xdp_md *ctx, struct counters *count, const struct upper *u,
					 const struct ends *ends, __u8 ttl, const bool v6)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct tcphdr *tcp = (void *)(long)ctx->data + (u->at & OFFSET_MAX);
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
		return XDP_PASS;
	}

	__builtin_memcpy(a.target, ends->saddr, v6 ? 16 : 4);
	a.port = bpf_ntohs(tcp->source);
	a.source_port = bpf_ntohs(tcp->dest);
	a.window = bpf_ntohs(tcp->window);
	a.ttl = ttl;
	a.what = flags | (v6 ? ANSWER_IPV6 : 0) | (delta ? ANSWER_NEXT : 0) |
		 (tcp->doff * 4 > sizeof(*tcp) ? ANSWER_OPTIONS : 0);
	if (!hand_over(count, &a, 0, hash, v6) || flags & TCP_RST || !reset)
		return XDP_DROP;

	__builtin_memcpy(s.saddr, ends->saddr, 16);
	__builtin_memcpy(s.daddr, ends->daddr, 16);
	s.sport = tcp->source;
	s.dport = tcp->dest;
	s.ack = tcp->ack_seq;
	if (!make_reset(ctx, &s, v6)) {
		count->unreset++;
		return XDP_DROP;
	}
	count->resets++;
	if (redirect)
		return bpf_redirect(ctx->ingress_ifindex, 0);
	return XDP_TX;

foreign:
	count->foreign++;
	return XDP_PASS;
}

/* RFC 792, RFC 4443 3: the error and what it quotes of our probe. */
static __always_inline int judge_error(struct xdp_md *ctx, struct counters *count, const struct upper *u,
				       const struct ends *ends, __u8 ttl, const bool v6)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
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

	at = quoted_tcp(ctx, u->at + 8, u->end, v6);
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
		return XDP_PASS;
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
	return XDP_DROP;

foreign:
	count->foreign++;
	return XDP_PASS;
}

/* A frame of one family. v6 is a constant at each call. */
static __always_inline int judge(struct xdp_md *ctx, struct counters *count, const bool v6)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct upper u = { .end = data_end - data };
	struct ends ends = {};
	__u8 ttl;

	if (v6) {
		struct ipv6hdr *ip = data + ETH_HLEN;

		if ((void *)(ip + 1) > data_end)
			goto foreign;
		__builtin_memcpy(ends.daddr, &ip->daddr, 16);
		if (!is_ours(ends.daddr, true) || !ipv6_upper(ctx, data, data_end, ETH_HLEN, &u))
			goto foreign;
		__builtin_memcpy(ends.saddr, &ip->saddr, 16);
		ttl = ip->hop_limit;
	} else {
		struct iphdr *ip = data + ETH_HLEN;

		if ((void *)(ip + 1) > data_end)
			goto foreign;
		ends.daddr[0] = ip->daddr;
		if (!is_ours(ends.daddr, false) || !ipv4_upper(data, data_end, ETH_HLEN, &u))
			goto foreign;
		ends.saddr[0] = ip->saddr;
		ttl = ip->ttl;
	}
	if (u.protocol == IPPROTO_TCP)
		return judge_segment(ctx, count, &u, &ends, ttl, v6);
	if (u.protocol == (v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return judge_error(ctx, count, &u, &ends, ttl, v6);

foreign:
	count->foreign++;
	return XDP_PASS;
}

/* frags: headers are all we read, and frames may be larger than a page. */
SEC("xdp.frags")
int validate(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct counters *count;
	__u32 zero = 0;

	count = bpf_map_lookup_elem(&counts, &zero);
	if (!count)
		return XDP_PASS;
	if ((void *)(eth + 1) > data_end)
		goto foreign;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return judge(ctx, count, false);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return judge(ctx, count, true);

foreign:
	count->foreign++;
	return XDP_PASS;
}

char __license[] SEC("license") = "Dual MIT/GPL";
