/* The table of sources.
 *
 * A set of 8 ways for each hash value. A source that is not there takes the
 * place of the least suspicious: an empty one, one that no policy could accuse
 * any more, or the one with the fewest ports in its present chain, and among
 * equals the one that has been silent longest. So sources that have sent one
 * probe each push out one another, and not the one that has sent two.
 *
 * Invariant, for a source that keeps its place: its slots hold its last
 * distinct ports, at most SLOTS of them, each with the time of the latest
 * probe to it. As every probe since the chain began went to a port of the
 * chain, and every later port pushes out an earlier one, slots with a time
 * from then on are the chain's ports, all of them or the last SLOTS. Either
 * decides a line that SLOTS ports cross.
 */
#ifndef SYNOPTIC_WATCH_TABLE_BPF_H
#define SYNOPTIC_WATCH_TABLE_BPF_H

#include <stddef.h>

#include "frame.bpf.h"

#define AGE_BITS 56
#define AGE_MASK ((1ULL << AGE_BITS) - 1)
#define HEAT_MAX 127 /* so that a rank is below 2^63 */

/* The set of a source. Pair-multiply-shift (Thorup, High Speed Hashing for
 * Integers and Strings, 2015, section 3.5) makes a word of which whoever does not
 * know the key can say nothing about any two addresses; the second line keeps
 * neighbouring addresses from being spread in a pattern.
 */
static __always_inline __u32 set_of(const __u64 *addr)
{
	__u64 hash = (table_key[0] + (addr[0] >> 32)) * (table_key[1] + (__u32)addr[0]) +
		     (table_key[2] + (addr[1] >> 32)) * (table_key[3] + (__u32)addr[1]) + table_key[4];

	hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93ULL;
	return (hash >> 32) * sets >> 32;
}

/* Makes the processor fetch what finding and choosing need, and what a new source
 * writes if it gets the way that it is likely to get, all at once. A lock is a
 * barrier: behind it they would wait again for what could come with it.
 */
static __always_inline void fetch(const struct set *set, __u32 at)
{
	const struct source *s = &set->way[likely_next[at & (NEXT - 1)] & (WAYS - 1)];

	for (__u32 i = offsetof(struct set, heat); i < offsetof(struct set, way); i += 64)
		*(volatile __u8 *)((void *)set + i);
	for (__u32 i = 0; i < offsetof(struct source, time); i += 64)
		*(volatile __u8 *)((void *)s + i);
}

/* The way that has a source, or nowhere, which is WAYS but a number that the
 * verifier does not know: so it has one state behind the loop and not nine.
 * With branches, for the processor foresees them where it matters, in a scan.
 */
static __always_inline __u32 find_way(const struct set *set, const __u64 *addr, __u32 nowhere)
{
	__u64 high = ~addr[0], low = ~addr[1];

	for (__u32 i = 0; i < WAYS; i++)
		if (set->inverse[i][1] == low && set->inverse[i][0] == high)
			return nowhere - (WAYS - i);
	return nowhere;
}

/* The loops below decide without branches: a comparison becomes a mask, all
 * ones if it holds. So the verifier has one state where it would have one for
 * each outcome, and the processor nothing to mispredict. OPAQUE keeps clang
 * from making branches of them again. Verifiers since Linux 6.18 make two
 * states of a mask that meets a constant, so what is chosen from begins with
 * something that they do not know.
 */
#define OPAQUE(x) asm volatile("" : "+r"(x))

static __always_inline __u64 if_zero(__u64 x)
{
	x = ((x | -x) >> 63) - 1;
	OPAQUE(x);
	return x;
}

/* For a and b that are less than 2^63 apart. */
static __always_inline __u64 if_less(__u64 a, __u64 b)
{
	a = (__s64)(a - b) >> 63;
	OPAQUE(a);
	return a;
}

/* The way whose loss is the least. */
static __always_inline __u32 least_suspicious(const struct set *set, __u64 now, __u64 horizon, __u32 nowhere)
{
	__u64 least = ~0ULL >> 1, at = nowhere;

	for (__u32 i = 0; i < WAYS; i++) {
		__u64 touched = set->touched[i], rank, less;

		rank = (touched & AGE_MASK) |
		       (((__u64)set->heat[i] << AGE_BITS) & ~if_less(horizon, now - touched));
		less = if_less(rank, least);
		least ^= (least ^ rank) & less;
		at ^= (at ^ i) & less;
	}
	return at;
}

/* The points of a slot, 0 for one that is not used. */
static __always_inline __u32 points_of(__u32 weights, __u32 port)
{
	return (weights >> ((port >> 17 & 3) * 8) & 0xff) & -(port >> 19 & 1);
}

/* The slot that has a port, or the first that is not used. */
static __always_inline __u32 find_slot(const struct source *s, __u32 port)
{
	__u64 at = s->used;

	for (__u32 i = 0; i < SLOTS; i++)
		at ^= (at ^ i) & if_zero((s->port[i] ^ port) & PORT_DISTINCT);
	return at;
}

static __always_inline __u32 oldest_slot(const struct source *s)
{
	__u64 oldest = ~0ULL >> 1, at = s->used;

	for (__u32 i = 0; i < SLOTS; i++) {
		__u64 less = if_less(s->time[i], oldest);

		oldest ^= (oldest ^ s->time[i]) & less;
		at ^= (at ^ i) & less;
	}
	return at;
}

#endif
