package output

import "synoptic/internal/result"

// Text is a Format of three words: endpoint, state, reason. An IPv6 address is
// in brackets. The first word is what other tools take as a target.
func Text(dst []byte, r *result.Record) []byte {
	dst = r.Addr.AppendTo(dst)
	dst = append(dst, ' ')
	dst = append(dst, r.State.String()...)
	dst = append(dst, ' ')
	dst = append(dst, r.Reason.String()...)
	return append(dst, '\n')
}
