/* SipHash-2-4 (Aumasson and Bernstein, 2012) for BPF programs.
 *
 * The caller packs its message into 64-bit little-endian words and feeds them
 * one by one, so nothing loops over bytes and the verifier sees straight-line
 * code. For a message of n bytes: feed floor(n/8) full words with
 * siphash_word(), then call siphash_finish() with the remaining n%8 bytes in
 * the low end of the last word; it adds the length itself.
 *
 * Compiled for little-endian targets only (bpfel), so a word loaded from
 * memory already has the byte order SipHash asks for.
 */
#ifndef SYNOPTIC_SIPHASH_BPF_H
#define SYNOPTIC_SIPHASH_BPF_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* The 128-bit key as the two little-endian words k0 (bytes 0..7) and k1. */
struct siphash_key {
	__u64 k0;
	__u64 k1;
};

struct siphash {
	__u64 v0, v1, v2, v3;
};

static __always_inline __u64 siphash_rotl(__u64 x, int by)
{
	return (x << by) | (x >> (64 - by));
}

static __always_inline void siphash_round(struct siphash *s)
{
	s->v0 += s->v1;
	s->v1 = siphash_rotl(s->v1, 13) ^ s->v0;
	s->v0 = siphash_rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = siphash_rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = siphash_rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = siphash_rotl(s->v1, 17) ^ s->v2;
	s->v2 = siphash_rotl(s->v2, 32);
}

/* The four constants spell "somepseudorandomlygeneratedbytes". */
static __always_inline void siphash_init(struct siphash *s, struct siphash_key key)
{
	s->v0 = key.k0 ^ 0x736f6d6570736575ULL;
	s->v1 = key.k1 ^ 0x646f72616e646f6dULL;
	s->v2 = key.k0 ^ 0x6c7967656e657261ULL;
	s->v3 = key.k1 ^ 0x7465646279746573ULL;
}

static __always_inline void siphash_word(struct siphash *s, __u64 word)
{
	s->v3 ^= word;
	siphash_round(s);
	siphash_round(s);
	s->v0 ^= word;
}

/* rest holds the last len%8 bytes of the message, len is the whole length. Four rounds
 * are then still to come, and the sum.
 */
static __always_inline void siphash_end(struct siphash *s, __u64 rest, __u8 len)
{
	siphash_word(s, rest | ((__u64)len << 56));
	s->v2 ^= 0xff;
}

static __always_inline __u64 siphash_sum(const struct siphash *s)
{
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* Both, with the rounds between them. */
static __always_inline __u64 siphash_finish(struct siphash *s, __u64 rest, __u8 len)
{
	siphash_end(s, rest, len);
	siphash_round(s);
	siphash_round(s);
	siphash_round(s);
	siphash_round(s);
	return siphash_sum(s);
}

#endif
