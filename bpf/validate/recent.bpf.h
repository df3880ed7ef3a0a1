/* Which answers came a moment ago, so that a host that repeats itself does not
 * fill the ring. It forgets, and never mistakes: two answers are taken for one
 * if they have 64 bits of a keyed hash of both endpoints in common (the place and
 * the mark), and all that a verdict is made of. For answers of different
 * endpoints that is a chance of 1 in 2^48 for each, as 2^16 places are 16 of the
 * 64 bits.
 */
#ifndef SYNOPTIC_VALIDATE_RECENT_BPF_H
#define SYNOPTIC_VALIDATE_RECENT_BPF_H

#include "maps.bpf.h"

/* A moment is 2^29 ns, half a second: less than the second for which a scan
 * leaves an endpoint alone before it probes it again from the same port, when
 * its answer is news.
 */
#define MOMENT_BITS 29

/* The mark is one word, so that CPUs need no lock. What is added to the hash
 * is another number for each moment and kind of answer.
 */
static __always_inline __u64 mark_of(const struct answer *a, __u64 hash)
{
	/* Of a window, whether there is one. */
	__u64 detail = a->what & ANSWER_ICMP ? a->window : a->window != 0;

	return hash + (a->time >> MOMENT_BITS << 24 | detail << 8 | a->what) * 0x9e3779b97f4a7c15ULL;
}

static __always_inline __u64 *recent_place(__u64 hash)
{
	__u32 place = hash >> (64 - RECENT_BITS);

	return bpf_map_lookup_elem(&recents, &place);
}

#endif
