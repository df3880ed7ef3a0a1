/* The Internet checksum (RFC 1071) over packet bytes.
 *
 * A running sum is a 64-bit number of 16-bit words in memory order; it cannot
 * overflow for any frame. checksum_fold() brings it to the 16 bits that go
 * into, or are compared with, a header field.
 */
#ifndef SYNOPTIC_CHECKSUM_BPF_H
#define SYNOPTIC_CHECKSUM_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The longest run of bytes checksum_frame() takes. */
#define CHECKSUM_MAX 2047
#define CHECKSUM_BEYOND 0xffffffff

static __always_inline __u16 checksum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* One binary digit of the length: if it is set, the block of that many bytes
 * begins where the higher digits end. Deriving the offset from the length,
 * rather than moving a pointer, leaves the verifier with one state where the
 * two branches meet.
 */
#define CHECKSUM_OFFSET(size) (len & CHECKSUM_MAX & ~(2 * (size) - 1))

#define CHECKSUM_SHORT_BLOCK(size)                                     \
	if (len & (size)) {                                            \
		void *block = base + CHECKSUM_OFFSET(size);            \
		if (block + (size) > end)                              \
			return CHECKSUM_BEYOND;                        \
		_Pragma("unroll") for (int i = 0; i < (size) / 4; i++) \
			sum += ((__u32 *)block)[i];                    \
	}

#define CHECKSUM_LONG_BLOCK(size)                                      \
	if (len & (size)) {                                            \
		void *block = base + CHECKSUM_OFFSET(size);            \
		if (block + (size) > end)                              \
			return CHECKSUM_BEYOND;                        \
		sum += (__u32)bpf_csum_diff(0, 0, block, (size), 0);   \
	}

/* The folded sum of the len bytes (at most CHECKSUM_MAX) at offset (at most
 * 16383) of the frame and of sum; CHECKSUM_BEYOND if they are not all there.
 *
 * A function of its own, so that the verifier goes through its branches once
 * and not in every state of its callers. Blocks of 512 bytes are the most that
 * bpf_csum_diff() takes on any kernel, so the 1024 is two of them.
 */
__noinline __u32 checksum_frame(struct xdp_md *ctx, __u32 offset, __u32 len, __u64 sum)
{
	void *end = (void *)(long)ctx->data_end;
	void *base = (void *)(long)ctx->data + (offset & 0x3fff);

	if (offset > 0x3fff || len > CHECKSUM_MAX)
		return CHECKSUM_BEYOND;
	if (len >= 64) {
		if (len & 1024) {
			if (base + 1024 > end)
				return CHECKSUM_BEYOND;
			sum += (__u32)bpf_csum_diff(0, 0, base, 512, 0);
			sum += (__u32)bpf_csum_diff(0, 0, base + 512, 512, 0);
		}
		CHECKSUM_LONG_BLOCK(512)
		CHECKSUM_LONG_BLOCK(256)
		CHECKSUM_LONG_BLOCK(128)
		CHECKSUM_LONG_BLOCK(64)
	}
	CHECKSUM_SHORT_BLOCK(32)
	CHECKSUM_SHORT_BLOCK(16)
	CHECKSUM_SHORT_BLOCK(8)
	CHECKSUM_SHORT_BLOCK(4)
	if (len & 2) {
		void *block = base + CHECKSUM_OFFSET(2);
		if (block + 2 > end)
			return CHECKSUM_BEYOND;
		sum += *(__u16 *)block;
	}
	if (len & 1) {
		void *block = base + CHECKSUM_OFFSET(1);
		if (block + 1 > end)
			return CHECKSUM_BEYOND;
		sum += *(__u8 *)block;
	}
	return checksum_fold(sum);
}

#endif
