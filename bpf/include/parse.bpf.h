/* Bounded parsers for Ethernet, IPv4, IPv6 and TCP.
 *
 * Each takes a cursor, proves to the verifier that what it returns may be
 * read, and moves the cursor behind it. They tell a frame that is too short to
 * say anything (PARSE_SHORT: not even the addresses are there) from one that
 * contradicts itself (PARSE_MALFORMED: the fixed header can be read and is
 * wrong), because a caller may want to know whom a broken packet was for.
 */
#ifndef SYNOPTIC_PARSE_BPF_H
#define SYNOPTIC_PARSE_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* The low six bits of the TCP flags byte, RFC 9293 3.1. */
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20
#define TCP_FLAGS 0x3f
#define TCP_ECE_CWR 0xc0

enum parse_result {
	PARSE_OK,
	PARSE_SHORT,
	PARSE_MALFORMED,
};

/* The unread part of the frame, [pos, end). end is always the frame's end. */
struct cursor {
	void *pos;
	void *end;
};

/* What an IP header says of its payload, to which the cursor then points. */
struct payload {
	__u32 len;      /* bytes of payload by the IP header, without extension headers and padding */
	__u32 offset;   /* bytes from the start of the IP header to the payload */
	__u8 protocol;  /* of the payload, IPPROTO_* */
	__u8 fragment;  /* non-zero: only a part of a datagram; ports are there iff first is set */
	__u8 first;     /* valid iff fragment is set: offset 0 */
};

/* Extension headers looked through before an IPv6 packet counts as malformed.
 * RFC 8200 4.1 recommends each kind once, destination options twice: seven.
 */
#define IPV6_MAX_EXTENSIONS 8

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_OFFSET_MASK    0x1fff
#define IPV6_MORE_FRAGMENTS 0x0001
#define IPV6_OFFSET_MASK    0xfff8

static __always_inline enum parse_result parse_ethernet(struct cursor *c, struct ethhdr **eth)
{
	struct ethhdr *h = c->pos;

	if ((void *)(h + 1) > c->end)
		return PARSE_SHORT;
	*eth = h;
	c->pos = h + 1;
	return PARSE_OK;
}

/* RFC 791 3.1. *ip is valid unless PARSE_SHORT is returned. The header
 * checksum is left to the caller.
 */
static __always_inline enum parse_result parse_ipv4(struct cursor *c, struct iphdr **ip, struct payload *p)
{
	struct iphdr *h = c->pos;
	__u32 header, total, there;
	__u16 frag;

	if ((void *)(h + 1) > c->end)
		return PARSE_SHORT;
	*ip = h;
	header = h->ihl * 4;
	total = bpf_ntohs(h->tot_len);
	there = c->end - c->pos;
	if (h->version != 4 || header < sizeof(*h) || total < header || total > there)
		return PARSE_MALFORMED;
	frag = bpf_ntohs(h->frag_off);
	p->len = total - header;
	p->offset = header;
	p->protocol = h->protocol;
	p->fragment = (frag & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK)) != 0;
	p->first = (frag & IPV4_OFFSET_MASK) == 0;
	c->pos += header;
	return PARSE_OK;
}

#define IPV6_FRAGMENT (1ULL << 40)
#define IPV6_FIRST    (1ULL << 41)
#define IPV6_BROKEN   (1ULL << 63)

static __always_inline int is_ipv6_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
	       next == IPPROTO_FRAGMENT || next == IPPROTO_AH;
}

/* Walks the extension headers at offset of the frame, of which next is the
 * first. Returns their length in the low 32 bits, the protocol behind them in
 * the next 8, and IPV6_FRAGMENT and IPV6_FIRST, or IPV6_BROKEN.
 *
 * A function of its own, so that the verifier goes through the loop once and
 * not in every state of its callers; few packets come here.
 */
__noinline __u64 walk_ipv6_extensions(struct xdp_md *ctx, __u32 offset, __u8 next)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 skipped = 0;
	__u64 fragment = 0;

	for (int i = 0; i < IPV6_MAX_EXTENSIONS; i++) {
		__u8 *ext = data + ((offset + skipped) & 0x3fff);
		__u16 frag;

		if (!is_ipv6_extension(next))
			break;
		if ((void *)(ext + 8) > end || offset + skipped > 0x3fff)
			return IPV6_BROKEN;
		if (next == IPPROTO_FRAGMENT) {
			skipped += 8;
			frag = (__u16)ext[2] << 8 | ext[3];
			/* An atomic fragment (RFC 6946) is a whole datagram. */
			if (frag & (IPV6_MORE_FRAGMENTS | IPV6_OFFSET_MASK))
				fragment = IPV6_FRAGMENT | (frag & IPV6_OFFSET_MASK ? 0 : IPV6_FIRST);
		} else if (next == IPPROTO_AH) {
			skipped += (ext[1] + 2) * 4;
		} else {
			skipped += (ext[1] + 1) * 8;
		}
		next = ext[0];
		/* What follows the header of a later fragment is data. */
		if (fragment == IPV6_FRAGMENT)
			break;
	}
	return skipped | (__u64)next << 32 | fragment;
}

/* RFC 8200 3 and 4. *ip is valid unless PARSE_SHORT is returned. Jumbograms
 * (payload length 0) have no place on the links we serve and are malformed.
 */
static __always_inline enum parse_result parse_ipv6(struct xdp_md *ctx, struct cursor *c, struct ipv6hdr **ip,
						    struct payload *p)
{
	struct ipv6hdr *h = c->pos;
	__u32 len, skipped = 0;
	__u64 walked;

	if ((void *)(h + 1) > c->end)
		return PARSE_SHORT;
	*ip = h;
	c->pos = h + 1;
	len = bpf_ntohs(h->payload_len);
	if (h->version != 6 || len == 0 || len > (__u32)(c->end - c->pos))
		return PARSE_MALFORMED;
	p->fragment = 0;
	p->first = 0;
	p->protocol = h->nexthdr;
	if (is_ipv6_extension(h->nexthdr)) {
		walked = walk_ipv6_extensions(ctx, c->pos - (void *)(long)ctx->data, h->nexthdr);
		skipped = walked & 0x3fff;
		if (walked & IPV6_BROKEN || (__u32)walked > len || (__u32)walked > 0x3fff)
			return PARSE_MALFORMED;
		p->protocol = walked >> 32;
		p->fragment = (walked & IPV6_FRAGMENT) != 0;
		p->first = (walked & IPV6_FIRST) != 0;
	}
	p->len = len - skipped;
	p->offset = sizeof(*h) + skipped;
	c->pos += skipped;
	return PARSE_OK;
}

/* RFC 9293 3.1. len is what the IP header left for the segment. The cursor
 * stays at the TCP header; data begins at doff*4.
 */
static __always_inline enum parse_result parse_tcp(struct cursor *c, __u32 len, struct tcphdr **tcp)
{
	struct tcphdr *h = c->pos;

	if ((void *)(h + 1) > c->end || len < sizeof(*h))
		return PARSE_SHORT;
	*tcp = h;
	if (h->doff * 4 < sizeof(*h) || h->doff * 4 > len)
		return PARSE_MALFORMED;
	return PARSE_OK;
}

#endif
