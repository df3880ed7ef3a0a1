/* From a frame to what the detector wants to know of it.
 *
 * Only what lies in the frame is read, and no more is demanded of it than that
 * the headers are there: captures are often cut behind them. Checksums are not
 * verified; who sends wrong ones accuses himself.
 */
#ifndef SYNOPTIC_WATCH_FRAME_BPF_H
#define SYNOPTIC_WATCH_FRAME_BPF_H

#include "maps.bpf.h"
#include "parse.bpf.h"

#define ETH_P_VLAN   0x8100
#define ETH_P_QINQ   0x88a8
#define ETH_P_QINQ1  0x9100
#define VLAN_TAGS    2
#define TCP_TO_FLAGS 14 /* bytes of a TCP header up to and with the flags */

enum frame {
	/* without addresses */
	FRAME_NOT_IP,
	FRAME_MALFORMED,
	FRAME_TOO_DEEP,
	/* with */
	FRAME_TCP,
	FRAME_UDP,
	FRAME_ICMP,
	FRAME_OTHER,
	FRAME_FRAGMENT, /* a later one */
	FRAME_TINY,     /* a first one that ends before the TCP flags */
};

struct packet {
	__u32 saddr[4] __attribute__((aligned(8))); /* network byte order, IPv4 as ::ffff:a.b.c.d */
	__u32 daddr[4];
	__u16 sport, dport; /* host byte order; valid iff has_ports */
	__u8 family;        /* 4 or 6 */
	__u8 protocol;
	__u8 has_ports;
	__u8 flags;  /* valid iff TCP */
	__u8 header; /* bytes of TCP header; valid iff TCP */
	__u8 ttl;
};

/* Where the transport header is, by the IP headers. */
struct walk {
	__u32 off;  /* from the start of the frame */
	__u32 left; /* bytes that belong to the datagram from there */
	__u8 next;  /* protocol */
	__u8 part;  /* of a datagram */
	__u8 later; /* and not the first */
};

#define FRAME_MAX 0x3fff /* offsets beyond are taken for malformed */

/* What walk_extensions() returns: the offset behind the extension headers in
 * the low 32 bits, the protocol there in the next 8, and these.
 */
#define WALK_PART     (1ULL << 40)
#define WALK_LATER    (1ULL << 41)
#define WALK_TOO_DEEP (1ULL << 62)
#define WALK_BROKEN   (1ULL << 63)

/* RFC 8200 4. off is where the header next begins. */
static __always_inline __u64 walk_extensions(void *data, void *end, __u32 off, __u8 next)
{
	__u64 fragment = 0;

	for (int i = 0; i < IPV6_MAX_EXTENSIONS; i++) {
		__u8 *ext = data + (off & FRAME_MAX);
		__u16 frag;

		if (!is_ipv6_extension(next))
			break;
		if ((void *)(ext + 8) > end || off > FRAME_MAX)
			return WALK_BROKEN;
		if (next == IPPROTO_AH) {
			off += ((__u32)ext[1] + 2) * 4;
		} else if (next != IPPROTO_FRAGMENT) {
			off += ((__u32)ext[1] + 1) * 8;
		} else {
			off += 8;
			frag = (__u16)ext[2] << 8 | ext[3];
			/* Neither: an atomic fragment (RFC 6946), a whole datagram. */
			if (frag & (IPV6_MORE_FRAGMENTS | IPV6_OFFSET_MASK))
				fragment |= WALK_PART;
			if (frag & IPV6_OFFSET_MASK)
				fragment |= WALK_LATER;
		}
		next = ext[0];
		/* What follows the header of a later fragment is data. */
		if (fragment & WALK_LATER)
			return off | (__u64)next << 32 | fragment;
	}
	if (is_ipv6_extension(next))
		fragment |= WALK_TOO_DEEP;
	return off | (__u64)next << 32 | fragment;
}

/* Functions of their own, so that the verifier goes through the loop once and
 * not in every state of its callers; few packets come here.
 */
__noinline __u64 walk_extensions_xdp(struct xdp_md *ctx, __u32 off, __u8 next)
{
	return walk_extensions((void *)(long)ctx->data, (void *)(long)ctx->data_end, off, next);
}

__noinline __u64 walk_extensions_tc(struct __sk_buff *ctx, __u32 off, __u8 next)
{
	return walk_extensions((void *)(long)ctx->data, (void *)(long)ctx->data_end, off, next);
}

/* What is behind the IP headers. */
static __always_inline enum frame parse_transport(void *data, void *end, const struct walk *w, struct packet *p)
{
	__u8 *l4 = data + (w->off & FRAME_MAX);
	__u32 there;

	p->protocol = w->next;
	if (w->later)
		return FRAME_FRAGMENT;
	if (w->next == (p->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return FRAME_ICMP;
	if (w->next != IPPROTO_TCP && w->next != IPPROTO_UDP && w->next != IPPROTO_SCTP)
		return FRAME_OTHER;
	if (w->off > FRAME_MAX || w->left < 4 || (void *)(l4 + 4) > end)
		return w->next == IPPROTO_SCTP ? FRAME_OTHER : FRAME_MALFORMED;
	p->sport = (__u16)l4[0] << 8 | l4[1];
	p->dport = (__u16)l4[2] << 8 | l4[3];
	p->has_ports = 1;
	if (w->next == IPPROTO_SCTP)
		return FRAME_OTHER;
	if (w->next == IPPROTO_UDP)
		return w->left < 8 ? FRAME_MALFORMED : FRAME_UDP;

	if (w->part && w->left < TCP_TO_FLAGS)
		return FRAME_TINY;
	if ((!w->part && w->left < sizeof(struct tcphdr)) || (void *)(l4 + TCP_TO_FLAGS) > end)
		return FRAME_MALFORMED;
	there = (l4[12] >> 4) * 4;
	if (there < sizeof(struct tcphdr) || (!w->part && there > w->left))
		return FRAME_MALFORMED;
	p->header = there;
	p->flags = l4[13] & TCP_FLAGS;
	return FRAME_TCP;
}

/* An IPv4 address as ::ffff:a.b.c.d, in halves, as it is read: the processor
 * would have a read wait for two writes that it covers.
 */
static __always_inline void mapped(__u32 *addr, __be32 ip)
{
	__u64 *half = (__u64 *)addr;

	half[0] = 0;
	half[1] = (__u64)ip << 32 | bpf_htonl(0xffff);
}

/* What nearly every packet is: TCP over IPv4 without tags, options and
 * fragments. Says of all others, and of what is wrong, only that they are not.
 */
static __always_inline bool parse_plain(void *data, void *end, struct packet *p)
{
	struct iphdr *ip = data + ETH_HLEN;
	__u8 *l4 = (void *)(ip + 1);
	__u32 total, there;

	if ((void *)l4 + sizeof(struct tcphdr) > end)
		return false;
	if (*(__be16 *)(data + ETH_HLEN - 2) != bpf_htons(ETH_P_IP) || *(__u8 *)ip != 0x45 ||
	    ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK) || ip->protocol != IPPROTO_TCP)
		return false;
	total = bpf_ntohs(ip->tot_len);
	there = (l4[12] >> 4) * 4;
	if (there < sizeof(struct tcphdr) || total < sizeof(*ip) + there)
		return false;
	mapped(p->saddr, ip->saddr);
	mapped(p->daddr, ip->daddr);
	p->sport = bpf_ntohs(*(__be16 *)l4);
	p->dport = bpf_ntohs(*(__be16 *)(l4 + 2));
	p->family = 4;
	p->protocol = IPPROTO_TCP;
	p->has_ports = 1;
	p->flags = l4[13] & TCP_FLAGS;
	p->header = there;
	p->ttl = ip->ttl;
	return true;
}

/* ctx is that of an XDP program, or of a TC program. */
static __always_inline enum frame parse_any(void *ctx, void *data, void *end, const bool xdp, struct packet *p)
{
	struct ethhdr *eth = data;
	struct walk w = {.off = ETH_HLEN};
	__u16 proto, frag;
	__u64 walked;

	if ((void *)(eth + 1) > end)
		return FRAME_MALFORMED;
	proto = bpf_ntohs(eth->h_proto);
	for (int i = 0; i < VLAN_TAGS && proto != ETH_P_IP; i++) {
		__u8 *tag = data + w.off;

		if (proto != ETH_P_VLAN && proto != ETH_P_QINQ && proto != ETH_P_QINQ1)
			break;
		if ((void *)(tag + 4) > end)
			return FRAME_MALFORMED;
		proto = (__u16)tag[2] << 8 | tag[3];
		w.off += 4;
	}
	if (proto == ETH_P_IP) {
		struct iphdr *ip = data + w.off;
		__u32 header, total;

		if ((void *)(ip + 1) > end)
			return FRAME_MALFORMED;
		header = ip->ihl * 4;
		total = bpf_ntohs(ip->tot_len);
		if (total == 0) /* left to the network card to fill in, or too long for the field */
			total = end - (void *)ip;
		if (ip->version != 4 || header < sizeof(*ip) || total < header || (void *)ip + header > end)
			return FRAME_MALFORMED;
		frag = bpf_ntohs(ip->frag_off);
		w.off += header;
		w.left = total - header;
		w.next = ip->protocol;
		w.part = (frag & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK)) != 0;
		w.later = (frag & IPV4_OFFSET_MASK) != 0;
		p->family = 4;
		p->ttl = ip->ttl;
		p->saddr[2] = p->daddr[2] = bpf_htonl(0xffff);
		p->saddr[3] = ip->saddr;
		p->daddr[3] = ip->daddr;
	} else if (proto == ETH_P_IPV6) {
		struct ipv6hdr *ip = data + w.off;
		__u32 payload;

		if ((void *)(ip + 1) > end || ip->version != 6)
			return FRAME_MALFORMED;
		w.off += sizeof(*ip);
		w.left = bpf_ntohs(ip->payload_len);
		w.next = ip->nexthdr;
		p->family = 6;
		p->ttl = ip->hop_limit;
		__builtin_memcpy(p->saddr, &ip->saddr, 16);
		__builtin_memcpy(p->daddr, &ip->daddr, 16);
		if (is_ipv6_extension(w.next)) {
			walked = xdp ? walk_extensions_xdp(ctx, w.off, w.next) : walk_extensions_tc(ctx, w.off, w.next);
			if (walked & WALK_BROKEN || (__u32)walked - w.off > w.left || (__u32)walked > FRAME_MAX)
				return FRAME_MALFORMED;
			if (walked & WALK_TOO_DEEP)
				return FRAME_TOO_DEEP;
			payload = w.left - ((__u32)walked - w.off);
			w.off = walked & FRAME_MAX;
			w.left = payload;
			w.next = walked >> 32;
			w.part = (walked & WALK_PART) != 0;
			w.later = (walked & WALK_LATER) != 0;
		}
	} else {
		return FRAME_NOT_IP;
	}
	return parse_transport(data, end, &w, p);
}

/* Functions of their own, so that what few packets need is out of the way of the
 * others.
 */
__noinline int parse_any_xdp(struct xdp_md *ctx, struct packet *p)
{
	return p ? parse_any(ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end, true, p) : FRAME_MALFORMED;
}

__noinline int parse_any_tc(struct __sk_buff *ctx, struct packet *p)
{
	return p ? parse_any(ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end, false, p) : FRAME_MALFORMED;
}

static __always_inline enum frame parse_frame(void *ctx, void *data, void *end, const bool xdp, struct packet *p)
{
	if (likely(parse_plain(data, end, p)))
		return FRAME_TCP;
	return xdp ? parse_any_xdp(ctx, p) : parse_any_tc(ctx, p);
}

#endif
