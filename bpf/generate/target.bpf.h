/* The n-th target, as package target has it. */
#ifndef SYNOPTIC_GENERATE_TARGET_BPF_H
#define SYNOPTIC_GENERATE_TARGET_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.bpf.h"

/* A search among 2^20 ranges halves them as often. */
#define SEARCH_STEPS 21

/* In network byte order; IPv4 has only low, and of that only 32 bits. */
struct address {
	__be64 high, low;
};

static __always_inline int target4(__u32 rank, struct address *a)
{
	__u32 slot = rank >> family4.guide_shift, lo, hi;
	struct range4 *r;
	struct guide *g;

	if (family4.ranges == 1) {
		a->low = bpf_htonl((__u32)family4.base + rank);
		return 1;
	}
	g = bpf_map_lookup_elem(&guide4, &slot);
	if (!g)
		return 0;
	lo = g->first;
	hi = g->last;
	for (int i = 0; i < SEARCH_STEPS && lo < hi; i++) {
		__u32 mid = (lo + hi + 1) / 2;

		r = bpf_map_lookup_elem(&ranges4, &mid);
		if (!r)
			return 0;
		if (r->start <= rank)
			lo = mid;
		else
			hi = mid - 1;
	}
	r = bpf_map_lookup_elem(&ranges4, &lo);
	if (!r)
		return 0;
	a->low = bpf_htonl(r->lo + (rank - r->start));
	return 1;
}

static __always_inline int target6(__u64 rank, struct address *a)
{
	__u32 slot = rank >> family6.guide_shift, lo, hi;
	__u64 high, low, offset;

	if (family6.ranges == 1) {
		high = family6.base_high;
		low = family6.base;
		offset = rank;
	} else {
		struct guide *g = bpf_map_lookup_elem(&guide6, &slot);
		struct range6 *r;

		if (!g)
			return 0;
		lo = g->first;
		hi = g->last;
		for (int i = 0; i < SEARCH_STEPS && lo < hi; i++) {
			__u32 mid = (lo + hi + 1) / 2;

			r = bpf_map_lookup_elem(&ranges6, &mid);
			if (!r)
				return 0;
			if (r->start <= rank)
				lo = mid;
			else
				hi = mid - 1;
		}
		r = bpf_map_lookup_elem(&ranges6, &lo);
		if (!r)
			return 0;
		high = r->high;
		low = r->low;
		offset = rank - r->start;
	}
	low += offset;
	if (low < offset)
		high++;
	a->high = bpf_cpu_to_be64(high);
	a->low = bpf_cpu_to_be64(low);
	return 1;
}

#endif
