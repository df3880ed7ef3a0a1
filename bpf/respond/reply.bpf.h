/* Writing answers: the frame of the probe becomes the frame of the answer. */
#ifndef SYNOPTIC_RESPOND_REPLY_BPF_H
#define SYNOPTIC_RESPOND_REPLY_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>

#include "checksum.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"

#define WINDOW_SYN_ACK 65535
/* What the answer to an ACK carries from an open port of a BSD of old, where a
 * Window scan can tell it from a closed one. Its usual socket buffer.
 */
#define WINDOW_BSD_RST 16384

/* MSS of a 1500 byte link: kind 2, length 4, value. */
#define OPTION_MSS_IPV4 0x020405b4 /* 1460 */
#define OPTION_MSS_IPV6 0x020405a0 /* 1440 */

#define REPLY_TTL 64

enum answer {
	ANSWER_NONE,
	ANSWER_SYN_ACK,
	ANSWER_SYN_ACK_BARE, /* window 0, no options */
	ANSWER_RST,
	ANSWER_RST_WINDOW,   /* with a window other than 0 */
	ANSWER_ICMP,
};

/* What the answer needs to know of the probe. Family-dependent fields are
 * passed beside it.
 */
struct probe {
	__u8 dst_mac[ETH_ALEN];
	__u8 src_mac[ETH_ALEN];
	__u32 l3_to_l4;  /* bytes from the IP header to the TCP header */
	__u32 header;    /* bytes of the TCP header */
	__u32 data;      /* bytes behind it */
	__u32 seq;       /* host byte order, as are ack and the ports' pair */
	__u32 ack;
	__be16 sport;
	__be16 dport;
	__u8 flags;
	__be32 saddr[4]; /* IPv4: the first word */
	__be32 daddr[4];
};

/* Our initial sequence number: one per endpoint, so that an ACK of it is known
 * without having kept the SYN.
 */
static __always_inline __u32 isn_of(__u64 hash)
{
	return hash >> 16;
}

/* Makes the frame exactly size bytes long. The caller reloads its pointers. */
static __always_inline int resize(struct xdp_md *ctx, __u32 size)
{
	int delta = (int)size - (int)(ctx->data_end - ctx->data);

	return delta == 0 ? 0 : bpf_xdp_adjust_tail(ctx, delta);
}

static __always_inline void write_ethernet(struct ethhdr *eth, const struct probe *p, const bool v6)
{
	__builtin_memcpy(eth->h_dest, p->src_mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, p->dst_mac, ETH_ALEN);
	eth->h_proto = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
}

/* DF and id 0, as Linux sends what needs no reassembly (RFC 6864 4.1). */
static __always_inline void write_ipv4(struct iphdr *ip, __u32 payload, __u8 protocol, __be32 from, __be32 to)
{
	__u32 *word = (__u32 *)ip;
	__u64 sum;

	word[0] = bpf_htonl(0x45000000 | (sizeof(*ip) + payload));
	word[1] = bpf_htonl(0x00004000);
	word[2] = bpf_htonl(REPLY_TTL << 24 | protocol << 16);
	word[3] = from;
	word[4] = to;
	sum = (__u64)word[0] + word[1] + word[2] + from + to;
	ip->check = ~checksum_fold(sum);
}

static __always_inline void write_ipv6(struct ipv6hdr *ip, __u32 payload, __u8 protocol, const __be32 *from,
				       const __be32 *to)
{
	__u32 *word = (__u32 *)ip;

	word[0] = bpf_htonl(0x60000000);
	word[1] = bpf_htonl(payload << 16 | protocol << 8 | REPLY_TTL);
	__builtin_memcpy(&word[2], from, 16);
	__builtin_memcpy(&word[6], to, 16);
}

/* The part of a TCP or ICMPv6 checksum that comes from the IP header. */
static __always_inline __u64 pseudo_sum(const __be32 *a, const __be32 *b, __u32 len, __u8 protocol, const bool v6)
{
	__u64 sum = (__u64)bpf_htonl(len) + bpf_htonl(protocol) + a[0] + b[0];

	if (v6)
		sum += (__u64)a[1] + a[2] + a[3] + b[1] + b[2] + b[3];
	return sum;
}

static __always_inline int send_tcp(struct xdp_md *ctx, struct counters *count, const struct probe *p,
				    enum answer answer, __u64 hash, const bool v6)
{
	const __u32 l4 = ETH_HLEN + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	__u32 size = answer == ANSWER_SYN_ACK ? 24 : 20;
	__u32 seq, ack, flags, window = 0, *word;
	void *data, *end;
	__u64 sum;

	if (answer == ANSWER_SYN_ACK || answer == ANSWER_SYN_ACK_BARE) {
		flags = TCP_SYN | TCP_ACK;
		seq = isn_of(hash);
		ack = p->seq + 1;
		if (answer == ANSWER_SYN_ACK)
			window = WINDOW_SYN_ACK;
	} else {
		if (p->flags & TCP_ACK) {
			flags = TCP_RST;
			seq = p->ack;
			ack = 0;
		} else {
			flags = TCP_RST | TCP_ACK;
			seq = 0;
			ack = p->seq + p->data + (p->flags & TCP_FIN) + ((p->flags & TCP_SYN) >> 1);
		}
		if (answer == ANSWER_RST_WINDOW)
			window = WINDOW_BSD_RST;
	}

	if (resize(ctx, l4 + size) < 0)
		return -1;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + l4 + 20 > end)
		return -1;
	write_ethernet(data, p, v6);
	if (v6)
		write_ipv6(data + ETH_HLEN, size, IPPROTO_TCP, p->daddr, p->saddr);
	else
		write_ipv4(data + ETH_HLEN, size, IPPROTO_TCP, p->daddr[0], p->saddr[0]);

	word = data + l4;
	word[0] = (__u32)p->sport << 16 | p->dport; /* little-endian: the port first in memory is the low half */
	word[1] = bpf_htonl(seq);
	word[2] = bpf_htonl(ack);
	word[3] = bpf_htonl(size << 26 | flags << 16 | window);
	word[4] = 0;
	sum = pseudo_sum(p->daddr, p->saddr, size, IPPROTO_TCP, v6);
	sum += (__u64)word[0] + word[1] + word[2] + word[3];
	if (answer == ANSWER_SYN_ACK) {
		if (data + l4 + 24 > end)
			return -1;
		word[5] = v6 ? bpf_htonl(OPTION_MSS_IPV6) : bpf_htonl(OPTION_MSS_IPV4);
		sum += word[5];
	}
	word[4] = (__u16)~checksum_fold(sum);
	if (flags & TCP_SYN)
		count->syn_ack++;
	else
		count->rst++;
	return 0;
}

/* RFC 792 and RFC 4443 3.1: the error in front, then the datagram from its IP
 * header to as much of the TCP header as is configured. The quoted bytes stay
 * where they are; the frame grows at its head and is cut at its tail.
 */
static __always_inline int send_icmp(struct xdp_md *ctx, const struct config *cfg, struct counters *count,
				     const struct probe *p, const bool v6)
{
	const __u32 grow = 8 + (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	__u32 of_tcp = cfg->quote < p->header ? cfg->quote : p->header;
	__u32 quote = p->l3_to_l4 + of_tcp, size;
	const __be32 *from = p->daddr;
	__be32 router[4] = {};
	__u8 *icmp, type, code;
	void *data, *end;
	__u32 summed;
	__u64 sum;

	/* Long chains of extension headers are cut; so would RFC 4443's 1280. */
	if (quote > 1024)
		quote = 1024;
	size = 8 + quote;
	if (bpf_xdp_adjust_head(ctx, -(int)grow) < 0)
		return -1;
	if (resize(ctx, ETH_HLEN + grow + quote) < 0)
		return -1;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + ETH_HLEN + grow > end)
		return -1;

	if (v6 ? cfg->from_router6 : cfg->from_router4) {
		__builtin_memcpy(router, v6 ? cfg->router6 : cfg->router4, v6 ? 16 : 4);
		from = router;
	}
	write_ethernet(data, p, v6);
	if (v6)
		write_ipv6(data + ETH_HLEN, size, IPPROTO_ICMPV6, from, p->saddr);
	else
		write_ipv4(data + ETH_HLEN, size, IPPROTO_ICMP, from[0], p->saddr[0]);

	type = v6 ? cfg->icmp6_type : cfg->icmp4_type;
	code = v6 ? cfg->icmp6_code : cfg->icmp4_code;
	icmp = data + ETH_HLEN + grow - 8;
	*(__u32 *)icmp = bpf_htonl((__u32)type << 24 | (__u32)code << 16);
	*(__u32 *)(icmp + 4) = 0;
	sum = *(__u32 *)icmp;
	if (v6)
		sum += pseudo_sum(from, p->saddr, size, IPPROTO_ICMPV6, true);
	summed = checksum_frame(ctx, ETH_HLEN + grow, quote, sum);
	if (summed == CHECKSUM_BEYOND)
		return -1;
	*(__u16 *)(icmp + 2) = ~summed;
	count->icmp++;
	return 0;
}

#endif
