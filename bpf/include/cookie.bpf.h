/* The cookie of a probe: SipHash-2-4 of the two endpoints, as package cookie
 * defines it. Little-endian targets only, like siphash.bpf.h.
 */
#ifndef SYNOPTIC_COOKIE_BPF_H
#define SYNOPTIC_COOKIE_BPF_H

#include <stdbool.h>

#include "siphash.bpf.h"

/* The hash over target address, target port, source address, source port, all
 * as they stand in a packet; an IPv4 address is the first word. Its low 32 bits
 * are the cookie. The message is 12 or 36 bytes, so the ports and the halves of
 * the source address lie across its words. v6 is a constant at each call.
 *
 * This is the message; four rounds and the sum are then still to come.
 */
static __always_inline struct siphash cookie_words(struct siphash_key key, const __be32 *target, __be16 target_port,
						   const __be32 *source, __be16 source_port, const bool v6)
{
	struct siphash s;
	__u64 low, high;

	siphash_init(&s, key);
	if (!v6) {
		siphash_word(&s, target[0] | (__u64)target_port << 32 | (__u64)source[0] << 48);
		siphash_end(&s, source[0] >> 16 | (__u64)source_port << 16, 12);
		return s;
	}
	low = source[0] | (__u64)source[1] << 32;
	high = source[2] | (__u64)source[3] << 32;
	siphash_word(&s, target[0] | (__u64)target[1] << 32);
	siphash_word(&s, target[2] | (__u64)target[3] << 32);
	siphash_word(&s, target_port | low << 16);
	siphash_word(&s, low >> 48 | high << 16);
	siphash_end(&s, high >> 48 | (__u64)source_port << 16, 36);
	return s;
}

/* The whole hash. */
static __always_inline __u64 cookie_hash(struct siphash_key key, const __be32 *target, __be16 target_port,
					 const __be32 *source, __be16 source_port, const bool v6)
{
	struct siphash s = cookie_words(key, target, target_port, source, source_port, v6);

	_Pragma("unroll") for (int round = 0; round < 4; round++)
		siphash_round(&s);
	return siphash_sum(&s);
}

#endif
