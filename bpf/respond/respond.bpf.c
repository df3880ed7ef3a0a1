//go:build ignore

/* An XDP program that plays every host of an address range.
 *
 *   frame -> in the range? -> well-formed TCP? -> count its flags
 *         -> path: policed or lost on the way?
 *         -> truth: SipHash(key, address, port) says open, closed, ...
 *         -> answer: what a host of this personality sends back
 *         -> lost? -> rewrite the frame in place -> send it back
 *
 * There is no state per host or connection: the hash is the host, and its
 * initial sequence number. (Only a lossy network remembers how often it was
 * asked, and a policer when.) Frames for other addresses, ARP and neighbour discovery pass to the
 * kernel, so real hosts can live beside it.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include "checksum.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"
#include "path.bpf.h"
#include "reply.bpf.h"
#include "siphash.bpf.h"

enum state {
	STATE_SILENT,
	STATE_OPEN,
	STATE_CLOSED,
	STATE_REJECTED,
};

static __always_inline bool in_range(const struct config *cfg, const __be32 *daddr, const bool v6)
{
	const __be32 *net = (const __be32 *)(v6 ? cfg->net6 : cfg->net4);
	const __be32 *mask = (const __be32 *)(v6 ? cfg->mask6 : cfg->mask4);

	if (!v6)
		return (daddr[0] & mask[0]) == net[0];
	return (daddr[0] & mask[0]) == net[0] && (daddr[1] & mask[1]) == net[1] &&
	       (daddr[2] & mask[2]) == net[2] && (daddr[3] & mask[3]) == net[3];
}

/* SipHash-2-4 over address and port as they stand in the packet: 6 or 18 bytes. */
static __always_inline __u64 endpoint_hash(const struct config *cfg, const struct probe *p, const bool v6)
{
	struct siphash s;

	siphash_init(&s, cfg->key);
	if (!v6)
		return siphash_finish(&s, (__u64)p->dport << 32 | p->daddr[0], 6);
	siphash_word(&s, (__u64)p->daddr[1] << 32 | p->daddr[0]);
	siphash_word(&s, (__u64)p->daddr[3] << 32 | p->daddr[2]);
	return siphash_finish(&s, p->dport, 18);
}

static __always_inline enum state state_of(const struct config *cfg, __u64 hash)
{
	__u64 n = hash & 0xffffffff;

	if (n < cfg->open_below)
		return STATE_OPEN;
	if (n < cfg->closed_below)
		return STATE_CLOSED;
	if (n < cfg->rejected_below)
		return STATE_REJECTED;
	return STATE_SILENT;
}

/* RFC 9293 3.10.7.1 and 3.10.7.2, and where hosts depart from them. The Go
 * function Personality.Reply is the same table.
 */
static __always_inline enum answer answer_to(enum personality personality, enum state state, __u8 flags)
{
	__u8 opening = flags & (TCP_SYN | TCP_ACK | TCP_FIN);

	if (flags & TCP_RST)
		return ANSWER_NONE;
	if (personality == PERSONALITY_SYNPROXY && opening == TCP_SYN)
		return ANSWER_SYN_ACK_BARE;
	if (state == STATE_CLOSED)
		return personality == PERSONALITY_REJECT ? ANSWER_ICMP : ANSWER_RST;
	if (state == STATE_REJECTED)
		return ANSWER_ICMP;
	if (state == STATE_SILENT)
		return ANSWER_NONE;

	if (personality == PERSONALITY_WINDOWS)
		return opening == TCP_SYN ? ANSWER_SYN_ACK : ANSWER_RST;
	if (personality == PERSONALITY_BSD) {
		if (opening == (TCP_FIN | TCP_ACK))
			return ANSWER_NONE;
		if (flags & TCP_ACK)
			return ANSWER_RST_WINDOW;
		return flags & TCP_SYN ? ANSWER_SYN_ACK : ANSWER_NONE;
	}
	if (flags & TCP_ACK)
		return ANSWER_RST;
	/* Linux drops SYN+FIN in LISTEN, tcp_rcv_state_process(). */
	return opening == TCP_SYN ? ANSWER_SYN_ACK : ANSWER_NONE;
}

/* Whether the segment belongs to a connection that a SYN+ACK of ours opened.
 * Nobody else knows the number, so an ACK scan is not taken for that. A FIN or
 * a SYN is not either: its reset is the end of the connection.
 */
static __always_inline bool is_established(const struct probe *p, enum answer to_syn, __u64 hash)
{
	return (p->flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK && p->ack == isn_of(hash) + 1 &&
	       (to_syn == ANSWER_SYN_ACK || to_syn == ANSWER_SYN_ACK_BARE);
}

/* Whether this answer is one of the first lose_tries of a lossy endpoint. */
static __always_inline bool is_lost(const struct config *cfg, struct counters *count, const struct probe *p,
				    __u64 hash, const bool v6)
{
	struct endpoint at = {};
	__u32 one = 1, *tried;

	if (cfg->lose_tries == 0 || hash >> 32 >= cfg->lost_below)
		return false;
	__builtin_memcpy(at.addr, p->daddr, v6 ? 16 : 4);
	__builtin_memcpy(at.port, &p->dport, 2);
	at.family = v6 ? 6 : 4;
	tried = bpf_map_lookup_elem(&tries, &at);
	if (!tried) {
		if (bpf_map_update_elem(&tries, &at, &one, BPF_NOEXIST) == 0)
			return true;
		/* Full, or another CPU was first. */
		tried = bpf_map_lookup_elem(&tries, &at);
		if (!tried) {
			count->loss_full++;
			return false;
		}
	}
	if (*tried >= cfg->lose_tries)
		return false;
	return __sync_fetch_and_add(tried, 1) < cfg->lose_tries;
}

/* A frame of one family. v6 is a constant at each call. */
static __always_inline int respond_to(struct xdp_md *ctx, const struct config *cfg, struct counters *count,
				      struct cursor *c, const struct ethhdr *eth, const bool v6)
{
	struct payload rest = {};
	enum parse_result parsed;
	struct iphdr *ip4 = 0;
	struct ipv6hdr *ip6 = 0;
	struct probe p = {};
	struct tcphdr *tcp;
	enum answer answer;
	enum state state;
	__u64 hash, sum;
	__u32 summed;
	int err;

	parsed = v6 ? parse_ipv6(ctx, c, &ip6, &rest) : parse_ipv4(c, &ip4, &rest);
	if (parsed == PARSE_SHORT)
		return XDP_PASS;
	if (v6) {
		__builtin_memcpy(p.saddr, &ip6->saddr, 16);
		__builtin_memcpy(p.daddr, &ip6->daddr, 16);
	} else {
		p.saddr[0] = ip4->saddr;
		p.daddr[0] = ip4->daddr;
	}
	if (!in_range(cfg, p.daddr, v6))
		return XDP_PASS;

	/* From here on the frame is ours: it is counted once and never passed. */
	if (parsed != PARSE_OK)
		goto malformed;
	if (!v6 && !cfg->skip_checksums) {
		if (checksum_frame(ctx, ETH_HLEN, rest.offset, 0) != 0xffff)
			goto bad_checksum;
	}
	if (rest.fragment) {
		count->fragment++;
		return XDP_DROP;
	}
	if (rest.protocol != IPPROTO_TCP) {
		count->non_tcp++;
		return XDP_DROP;
	}
	if (parse_tcp(c, rest.len, &tcp) != PARSE_OK)
		goto malformed;
	if (!cfg->skip_checksums) {
		sum = pseudo_sum(p.saddr, p.daddr, rest.len, IPPROTO_TCP, v6);
		summed = checksum_frame(ctx, ETH_HLEN + rest.offset, rest.len, sum);
		if (summed == CHECKSUM_BEYOND) /* longer than an Ethernet frame */
			goto malformed;
		if (summed != 0xffff)
			goto bad_checksum;
	}

	__builtin_memcpy(p.dst_mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(p.src_mac, eth->h_source, ETH_ALEN);
	p.l3_to_l4 = rest.offset;
	p.header = tcp->doff * 4;
	p.data = rest.len - p.header;
	p.seq = bpf_ntohl(tcp->seq);
	p.ack = bpf_ntohl(tcp->ack_seq);
	p.sport = tcp->source;
	p.dport = tcp->dest;
	p.flags = ((__u8 *)tcp)[13];

	count->tcp[p.flags & TCP_FLAGS]++;
	if (p.flags & TCP_ECE_CWR)
		count->ecn++;
	if (is_taken(cfg, count))
		return XDP_DROP;

	hash = endpoint_hash(cfg, &p, v6);
	state = state_of(cfg, hash);
	if (is_established(&p, answer_to(cfg->personality, state, TCP_SYN), hash)) {
		if (p.data)
			count->silent++;
		else
			count->accepted++;
		return XDP_DROP;
	}
	answer = answer_to(cfg->personality, state, p.flags);
	if (answer == ANSWER_NONE) {
		count->silent++;
		return XDP_DROP;
	}
	if (is_lost(cfg, count, &p, hash, v6)) {
		count->lost++;
		return XDP_DROP;
	}
	if (answer == ANSWER_ICMP)
		err = send_icmp(ctx, cfg, count, &p, v6);
	else
		err = send_tcp(ctx, count, &p, answer, hash, v6);
	if (err) {
		count->failed++;
		return XDP_DROP;
	}
	if (cfg->redirect)
		return bpf_redirect(ctx->ingress_ifindex, 0);
	return XDP_TX;

malformed:
	count->malformed++;
	return XDP_DROP;
bad_checksum:
	count->bad_checksum++;
	return XDP_DROP;
}

SEC("xdp")
int respond(struct xdp_md *ctx)
{
	struct cursor c = {
		.pos = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};
	struct counters *count;
	struct config *cfg;
	struct ethhdr *eth;
	__u32 zero = 0;

	cfg = bpf_map_lookup_elem(&knobs, &zero);
	count = bpf_map_lookup_elem(&counts, &zero);
	if (!cfg || !count)
		return XDP_ABORTED;
	if (parse_ethernet(&c, &eth) != PARSE_OK)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return respond_to(ctx, cfg, count, &c, eth, false);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return respond_to(ctx, cfg, count, &c, eth, true);
	return XDP_PASS;
}

char __license[] SEC("license") = "Dual MIT/GPL";
