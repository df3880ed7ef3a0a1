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

/* The index at position i, which is at most last; false if a walk is not over
 * after PERMUTE_WALKS times. An index that lands in the excess has its column
 * and row already, so a walk divides only once.
 */
static __always_inline int permute_shuffle(const volatile struct permute *p, __u64 i, __u64 *index)
{
	__u64 a = p->a, b = p->b, last = p->last;
	__u64 row = i / a, col = i - row * a;

	for (int walk = 0; walk < PERMUTE_WALKS; walk++) {
		col = permute_add(col, permute_offset(p->keys[0], row, a), a);
		row = permute_add(row, permute_offset(p->keys[1], col, b), b);
		col = permute_add(col, permute_offset(p->keys[2], row, a), a);
		row = permute_add(row, permute_offset(p->keys[3], col, b), b);
		i = row * a + col;
		if (i <= last) {
			*index = i;
			return 1;
		}
	}
	return 0;
}

#endif
