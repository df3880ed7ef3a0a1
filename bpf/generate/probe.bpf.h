/* The frame of a probe, byte for byte what package tx's Framer builds. */
#ifndef SYNOPTIC_GENERATE_PROBE_BPF_H
#define SYNOPTIC_GENERATE_PROBE_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "checksum.bpf.h"
#include "cookie.bpf.h"
#include "maps.bpf.h"
#include "target.bpf.h"

/* Bytes of a frame without TCP options. */
#define FRAME4 (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct tcphdr))
#define FRAME6 (sizeof(struct ethhdr) + sizeof(struct ipv6hdr) + sizeof(struct tcphdr))
/* The one option that a probe may carry. */
#define OPTION 4

/* A 16-bit word of the packet at a byte offset of a family's template. */
static __always_inline __u16 template16(const volatile struct family *f, __u32 offset)
{
	return f->frame[offset / 8] >> (offset % 8 * 8);
}

static __always_inline __u32 cookie4(__be32 addr, __be16 port, __be16 source_port)
{
	struct siphash_key key = {cookie_key.k0, cookie_key.k1};
	__be32 source = family4.source[0];

	return cookie_hash(key, &addr, port, &source, source_port, false);
}

static __always_inline __u32 cookie6(const struct address *a, __be16 port, __be16 source_port)
{
	struct siphash_key key = {cookie_key.k0, cookie_key.k1};
	__u64 first = family6.source[0], second = family6.source[1];
	__be32 target[] = {a->high, a->high >> 32, a->low, a->low >> 32};
	__be32 source[] = {first, first >> 32, second, second >> 32};

	return cookie_hash(key, target, port, source, source_port, true);
}

/* The option and, with it, the end of the frame. */
static __always_inline int write_option(void *option, void *end, const volatile struct family *f, __u32 offset)
{
	if (f->len == offset)
		return 1;
	if (option + OPTION > end)
		return 0;
	*(__u16 *)option = template16(f, offset);
	*(__u16 *)(option + 2) = template16(f, offset + 2);
	return 1;
}

/* What is patched into the TCP header. sum covers all but that. */
static __always_inline void write_tcp(struct tcphdr *tcp, __u64 sum, __u32 cookie, __be16 port, __be16 source_port)
{
	__be32 seq = bpf_htonl(cookie);

	tcp->source = source_port;
	tcp->dest = port;
	tcp->seq = seq;
	sum += (__u64)seq + port + source_port;
	if (cookie_in_ack) {
		tcp->ack_seq = seq;
		sum += seq;
	}
	tcp->check = ~checksum_fold(sum);
}

/* Every byte is written each time: pages come back as the receiver left them. */
static __always_inline int write_probe4(struct xdp_md *ctx, const struct address *a, __be16 port, __be16 source_port)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	__be32 addr = a->low;

	if (data + FRAME4 > end)
		return 0;
	_Pragma("unroll") for (__u32 i = 0; i < FRAME4 / 8; i++)
		((__u64 *)data)[i] = family4.frame[i];
	*(__u32 *)(data + 48) = family4.frame[6];
	*(__u16 *)(data + 52) = template16(&family4, 52);
	if (!write_option(data + FRAME4, end, &family4, FRAME4))
		return 0;
	ip->daddr = addr;
	ip->check = ~checksum_fold(family4.ip_sum + (__u64)addr);
	write_tcp((void *)(ip + 1), family4.tcp_sum + (__u64)addr, cookie4(addr, port, source_port), port, source_port);
	return 1;
}

static __always_inline int write_probe6(struct xdp_md *ctx, const struct address *a, __be16 port, __be16 source_port)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip = data + sizeof(struct ethhdr);
	__u64 sum = family6.tcp_sum;

	if (data + FRAME6 > end)
		return 0;
	_Pragma("unroll") for (__u32 i = 0; i < FRAME6 / 8; i++)
		((__u64 *)data)[i] = family6.frame[i];
	*(__u16 *)(data + 72) = template16(&family6, 72);
	if (!write_option(data + FRAME6, end, &family6, FRAME6))
		return 0;
	((__u32 *)&ip->daddr)[0] = a->high;
	((__u32 *)&ip->daddr)[1] = a->high >> 32;
	((__u32 *)&ip->daddr)[2] = a->low;
	((__u32 *)&ip->daddr)[3] = a->low >> 32;
	sum += (a->high & 0xffffffff) + (a->high >> 32) + (a->low & 0xffffffff) + (a->low >> 32);
	write_tcp((void *)(ip + 1), sum, cookie6(a, port, source_port), port, source_port);
	return 1;
}

#endif
