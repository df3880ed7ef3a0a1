/* The order of a scan for BPF programs: package permute's bijection of [0, n)
 * for n up to 2^64. Go's goes on to 2^127; no kernel walks so far.
 *
 * With n <= 2^64 the rectangle that covers [0, n) has sides a >= b of at most
 * 2^32 and an area of at most 2^64, so that columns, rows and indexes fit 64
 * bits, sides do as well, and no sum below overflows. Nothing here wraps around but
 * the hash.
 */
#ifndef SYNOPTIC_PERMUTE_BPF_H
#define SYNOPTIC_PERMUTE_BPF_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define PERMUTE_ROUNDS 4

/* The most times that an index is sent through. For n < 4096 a cycle leaves the
 * excess of the rectangle, below 64, before it has gone through as many; for
 * larger n the chance of each further time is below 1/64.
 */
#define PERMUTE_WALKS 65

/* What permute.New makes of n and seed. */
struct permute {
	__u64 last; /* n - 1 */
	__u64 a, b; /* columns and rows */
	__u64 keys[PERMUTE_ROUNDS];
};

static __always_inline __u64 permute_mix(__u64 x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* The high 64 bits of the product of a keyed hash and m, by halves: BPF has no
 * product of 128 bits. As m <= 2^32, the product of either half with it fits.
 */
static __always_inline __u64 permute_offset(__u64 key, __u64 v, __u64 m)
{
	__u64 hash = permute_mix(v ^ key);

	return ((hash >> 32) * m + ((hash & 0xffffffff) * m >> 32)) >> 32;
}

/* x + y modulo m for x, y < m. A branch would go either way half of the time, which
 * no processor guesses; clang makes one of the product unless its factor is hidden
 * from it. An arithmetic shift and a mask would have the verifier of Linux 6.18 go both
 * ways.
 */
static __always_inline __u64 permute_add(__u64 x, __u64 y, __u64 m)
{
	__u64 less = x + y - m, negative = less >> 63;

	barrier_var(negative);
	return less + m * negative;
}

/* A place on the rectangle: that of a position and, at the end, that of its index. */
struct permute_cell {
	__u64 row, col;
};

/* One of the rounds that take a cell from its position to its index. round is a constant
 * at each call.
 */
static __always_inline void permute_round(const volatile struct permute *p, struct permute_cell *c, int round)
{
	__u64 a = p->a, b = p->b, key = p->keys[round];

	if (round % 2 == 0)
		c->col = permute_add(c->col, permute_offset(key, c->row, a), a);
	else
		c->row = permute_add(c->row, permute_offset(key, c->col, b), b);
}

/* The index of a cell that has gone through all rounds; it may be in the excess. */
static __always_inline __u64 permute_index(const volatile struct permute *p, const struct permute_cell *c)
{
	return c->row * p->a + c->col;
}

/* Goes on from the cell of a position, or of an index in the excess, to an index that
 * is at most last; the result is above it if that takes more than PERMUTE_WALKS times.
 */
static __always_inline __u64 permute_walk(const volatile struct permute *p, struct permute_cell c)
{
	__u64 index = 0;

	for (int walk = 0; walk < PERMUTE_WALKS; walk++) {
		_Pragma("unroll") for (int round = 0; round < PERMUTE_ROUNDS; round++)
			permute_round(p, &c, round);
		index = permute_index(p, &c);
		if (index <= p->last)
			break;
	}
	return index;
}

/* The cell of position i: the only division. */
static __always_inline struct permute_cell permute_cell_at(const volatile struct permute *p, __u64 i)
{
	struct permute_cell c = {.row = i / p->a};

	c.col = i - c.row * p->a;
	return c;
}

#endif
