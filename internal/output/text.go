package output

import "synoptic/internal/result"

// Text is a Format of three words: endpoint, state, reason. An IPv6 address is
// in brackets. The first word is what other tools take as a target.
var Text = Format{Line: appendText, end: "\n"}

func appendText(dst []byte, r *result.Record) []byte {
	dst = r.Addr.AppendTo(dst)
	dst = append(dst, ' ')
	dst = append(dst, r.State.String()...)
	dst = append(dst, ' ')
	dst = append(dst, r.Reason.String()...)
	return append(dst, '\n')
}
