/* The two kinds of programs that are made of one source: XDP, and TC at the
 * ingress of a device (tcx). A function of both has ctx, of either, and says by
 * a constant which it is, so that what is the other's is not even compiled.
 */
#ifndef SYNOPTIC_VALIDATE_CONTEXT_BPF_H
#define SYNOPTIC_VALIDATE_CONTEXT_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

/* The bytes of the frame that can be read are [begin, end). */
static __always_inline void *frame_begin(void *ctx, const bool xdp)
{
	return (void *)(long)(xdp ? ((struct xdp_md *)ctx)->data : ((struct __sk_buff *)ctx)->data);
}

static __always_inline void *frame_end(void *ctx, const bool xdp)
{
	return (void *)(long)(xdp ? ((struct xdp_md *)ctx)->data_end : ((struct __sk_buff *)ctx)->data_end);
}

/* Of the frame there is so much, of which XDP counts only what can be read. */
static __always_inline __u32 frame_len(void *ctx, const bool xdp)
{
	if (!xdp)
		return ((struct __sk_buff *)ctx)->len;
	return frame_end(ctx, xdp) - frame_begin(ctx, xdp);
}

#define WHOLE_FRAME 0xffff

/* Makes so many bytes of the frame readable, if there are so many. A network
 * card may have left them in pages of their own, from where they are copied; the
 * stack would do it a little later. Pointers into the frame end here.
 */
static __always_inline void reach(void *ctx, const bool xdp, __u32 bytes)
{
	struct __sk_buff *skb = ctx;

	if (xdp)
		return;
	if (bytes > skb->len)
		bytes = skb->len;
	if (frame_end(ctx, xdp) - frame_begin(ctx, xdp) < bytes)
		bpf_skb_pull_data(skb, bytes);
}

#endif
